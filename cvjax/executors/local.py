"""Runs as processes of this machine, several at a time, each on devices or cores of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cvjax import plan
from cvjax.environment import accelerated
from cvjax.errors import Interrupted, UserError
from cvjax.reporting.words import in_detail

POLL = 0.1  # seconds
LAUNCHER = Path(__file__).parents[2] / "launch.py"


@dataclass
class Slot:
    """A share of the machine: the GPUs or the cores that one run has to itself."""

    gpus: tuple[str, ...]
    cores: tuple[int, ...]
    folder: Path | None = None
    process: subprocess.Popen | None = None


class Pool:
    """Processes of `launch.py train`, at most one a slot. When this process dies, however it dies, they save and stop."""

    def __init__(self, parallel: int, environment: dict[str, str]):
        self.environment = environment
        gpus, cores = _gpus(), cores_here()
        shares = len(gpus) or len(cores)
        if not 1 <= parallel <= shares:
            raise UserError(f"--parallel is {parallel}; from 1 to {shares}, the {'GPUs' if gpus else 'cores'} of this machine")
        self.slots = [Slot(tuple(gpus[i::parallel]), tuple(cores[i::parallel])) for i in range(parallel)]

    def free(self) -> bool:
        return any(slot.process is None for slot in self.slots)

    def busy(self) -> bool:
        return any(slot.process is not None for slot in self.slots)

    def start(self, folder: Path, devices: int = 0) -> None:
        """Starts or continues the run in a folder, on so many of the slot's devices (0: all); what it says goes to log.txt there."""
        slot = next(slot for slot in self.slots if slot.process is None)
        variables = {"CVJAX_CORES": ",".join(map(str, slot.cores)), "CVJAX_LAUNCHER": str(os.getpid())}
        if slot.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(slot.gpus[: devices or None])
        elif devices:
            flags = self.environment.get("XLA_FLAGS", "")
            variables["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={devices}".strip()
        with open(folder / "log.txt", "a") as log:
            slot.folder, slot.process = folder, subprocess.Popen(
                [sys.executable, str(LAUNCHER), "train", f"--workdir={folder}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**self.environment, **variables}, start_new_session=True,
            )  # fmt: skip

    def ended(self) -> list[Path]:
        """Folders of the runs that have ended since the last call; a failure is written down there."""
        found = []
        for slot in self.slots:
            if slot.process is not None and slot.process.poll() is not None:
                assert slot.folder is not None
                if slot.process.returncode not in (0, Interrupted.exit_code):
                    plan.note_failure(slot.folder, slot.process.returncode)
                found.append(slot.folder)
                slot.folder = slot.process = None
        return found

    def running(self) -> list[Path]:
        return [slot.folder for slot in self.slots if slot.folder is not None]

    def stop(self, folder: Path | None = None) -> None:
        """Asks the run in a folder, or all runs, to save and stop."""
        for slot in self.slots:
            if slot.process is not None and folder in (None, slot.folder):
                slot.process.terminate()

    def wait(self) -> None:
        """Until every run has ended, however it ends."""
        for slot in self.slots:
            if slot.process is not None:
                slot.process.wait()


def cores_here() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if not accelerated():
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    try:
        found = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=True)
        return found.stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []


@contextmanager
def watched(pool: Pool) -> Iterator[Callable[[], None]]:
    """A function that, once a signal has asked to stop, lets every run save and stop, and raises Interrupted."""
    received: list[int] = []
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in (signal.SIGTERM, signal.SIGINT)}

    def check() -> None:
        if received:
            print(f"stopping; {len(pool.running())} runs save their state", flush=True)
            pool.stop()
            pool.wait()
            raise Interrupted("stopped by a signal; every run is saved. Run the same command to continue")

    try:
        yield check
    finally:
        pool.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def execute(
    folder: Path, listed: list[plan.Run], parallel: int, retries: int, environment: dict[str, str], say: Callable[[str], None] = print
) -> None:
    """Runs everything that is not finished, `parallel` at a time. A run that fails is started again, up to `retries` times in all.

    A run whose numbers are not finite is not: it would do the same again. Raises Interrupted when a signal asks to stop.
    """
    pool = Pool(parallel, environment)
    names = {folder / run.folder: f"{run.arm} seed {run.seed}" for run in listed}
    devices = {folder / run.folder: run.devices for run in listed}
    waiting = [path for path in names if needed(path, retries)]
    count, told = len(names) - len(waiting), False
    with watched(pool) as check:
        while waiting or pool.busy():
            check()
            if waiting and not pool.busy() and not told and all(plan.state(path) == "running" for path in waiting):
                told = True
                say(f"waiting for {len(waiting)} runs that other processes are at: {', '.join(path.name for path in waiting[:3])}")
            # One that a dying launcher left may still be saving.
            if pool.free() and (path := next((path for path in waiting if plan.state(path) != "running"), None)):
                waiting.remove(path)
                pool.start(path, devices[path])
            for path in pool.ended():
                if needed(path, retries):
                    waiting.insert(0, path)
                else:
                    count += 1
                    say(f"[{count}/{len(names)}] {names[path]}: {outcome(path)}")
            time.sleep(POLL)


def needed(path: Path, retries: int) -> bool:
    """Whether a run must be started: it is not finished, and has not failed for good."""
    state = plan.state(path)
    if state != "failed":
        return state not in ("finished", "pruned")
    failures = plan.failures(path)
    return len(failures) <= retries and not (failures and failures[-1]["reason"].startswith("TrainingFailed"))


def outcome(path: Path) -> str:
    """ "finished, val/top1 0.91" or "failed: ...", as the run's status says."""
    status = plan.read_json(path / "status.json")
    shown = {name: x for name, x in (status.get("final") or {}).items() if not name.endswith("loss") and not in_detail(name)}
    final = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
    return f"{status['state']}{': ' + status['reason'] if status.get('reason') else ''} {final}".strip()
