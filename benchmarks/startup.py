"""How long a user waits: from the command to the first training step of the quickstart, for --help, for a mistake, for an import.

    python benchmarks/startup.py [--rounds=3]

"cold" has an empty compile cache, "warm" the one that the run before it left. Prints the median and the range of wall seconds
and of CPU-seconds (user + system, of the whole process) over the rounds.
"""

import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

ROOT = Path(__file__).parents[1]
ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each is timed.")


def seconds(*words: str) -> tuple[float, float]:
    """Wall and CPU seconds of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first_step(cache: str) -> tuple[float, float]:
    """Wall and CPU seconds until the first step of the quickstart has been computed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "launch.py", "train", "--config=experiments/digits.py", f"--workdir={folder}/run"]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "JAX_COMPILATION_CACHE_DIR": cache},
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        while not Path(folder, "run", "status.json").exists():
            time.sleep(0.01)
        wall = time.perf_counter() - start
        process.send_signal(signal.SIGKILL)
        process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    timings: dict[str, list] = {}
    for _ in range(ROUNDS.value):
        with tempfile.TemporaryDirectory() as cache:
            timings.setdefault("command to first step, cold", []).append(first_step(cache))
            timings.setdefault("command to first step, warm", []).append(first_step(cache))
        timings.setdefault("import cvjax", []).append(seconds("-c", "import cvjax"))
        timings.setdefault("launch.py --help", []).append(seconds("launch.py", "--help"))
        mistake = ("launch.py", "train", "--config=experiments/digits.py", "--workdir=x", "--config.optim.lrr=1")
        timings.setdefault("a misspelt key", []).append(seconds(*mistake))
    for name, pairs in timings.items():
        wall, cpu = zip(*pairs, strict=True)
        print(f"{name}: {statistics.median(wall):.2f} s wall ({min(wall):.2f}-{max(wall):.2f}), {statistics.median(cpu):.2f} cpu-s")


if __name__ == "__main__":
    flags.FLAGS(sys.argv)
    main()
