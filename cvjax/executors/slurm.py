"""Runs as the tasks of a Slurm job array: a plain script in the study's folder, submitted and left to Slurm.

A run that is pre-empted or reaches its time limit saves its state and exits with 75; the script puts its task back into the queue.
What was cancelled stays cancelled, what crashed is submitted again by the same `launch.py sweep`.
"""

import getpass
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cvjax import plan
from cvjax.errors import UserError
from cvjax.executors.local import LAUNCHER, needed
from cvjax.files import append_line, lines, now

DEFAULTS = {"signal": "USR2@120"}  # so many seconds before the time limit

SCRIPT = """\
#!/bin/bash
# One task of this array is one run: the line of folders.txt that has its number. Written by launch.py; to continue, run that again.
{options}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output={folder}/slurm/%A_%a.out
cd {here}
run=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {folder}/slurm/folders.txt)
export PYTHONUNBUFFERED=1
srun --kill-on-bad-exit=1 {python} {launcher} train --workdir="$run"
code=$?
if [ $code -eq 75 ]; then  # the state is saved: run me again
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
  sleep 60  # until Slurm takes this task away
fi
exit $code
"""


def options(text: str) -> dict[str, str]:
    """`partition=main,time=4:00:00,gpus-per-node=1` as options of sbatch. Raises UserError for a word that sets nothing."""
    found = dict(DEFAULTS)
    for word in filter(None, text.split(",")):
        key, equals, value = word.partition("=")
        if not equals or not key or not value:
            raise UserError(f"--slurm: '{word}' sets nothing; write option=value as sbatch takes them, 'partition=main,time=4:00:00'")
        found[key.strip().lstrip("-").replace("_", "-")] = value.strip()
    return found


def script(folder: Path, numbers: list[int], settings: dict[str, str], parallel: int) -> str:
    """The text that sbatch gets: an array of these run numbers, so many at a time."""
    name = re.sub(r"\W+", "_", folder.absolute().name)
    lines_ = {"job-name": name, "array": f"{_ranges(numbers)}%{min(parallel, len(numbers))}", **settings}
    return SCRIPT.format(
        options="\n".join(f"#SBATCH --{key}={value}" for key, value in lines_.items()),
        folder=shlex.quote(str(folder.absolute())),
        here=shlex.quote(str(Path.cwd())),
        launcher=shlex.quote(str(LAUNCHER)),
        python=shlex.quote(sys.executable),
    )


def _ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] -> "0-2,5" """
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def check(folder: Path, numbers: list[int], settings: dict[str, str]) -> None:
    """Raises UserError where there is no Slurm, or Slurm would refuse the script."""
    if shutil.which("sbatch") is None:
        raise UserError("--executor=slurm: there is no sbatch here; run this on a login node of the cluster, or use --executor=local")
    _slurm("sbatch", "--test-only", "--chdir=/", text=script(folder, numbers, settings, 1))


def submit(
    folder: Path, listed: list[plan.Run], settings: dict[str, str], parallel: int, retries: int, say: Callable[[str], None] = print
) -> None:
    """Hands every run that is neither done nor in the queue to Slurm, and returns."""
    if any(run.devices for run in listed):
        raise UserError("arms with devices of their own need --executor=local; in Slurm the options of sbatch say how many there are")
    (folder / "slurm").mkdir(exist_ok=True)
    waiting = queued(folder)
    numbers = []
    for run in listed:
        path = folder / run.folder
        if run.index not in waiting:
            plan.note_end(path)
            if needed(path, retries):
                numbers.append(run.index)
    say(f"{len(waiting)} runs are in the queue or running" if waiting else "no run of this study is in the queue")
    if numbers:
        (folder / "slurm" / "folders.txt").write_text("".join(f"{(folder / run.folder).absolute()}\n" for run in listed))
        path = folder / "slurm" / "array.sh"
        path.write_text(script(folder, numbers, settings, parallel))
        job = _slurm("sbatch", "--parsable", str(path.absolute())).split(";")[0].strip()
        append_line(folder / "slurm" / "jobs.jsonl", {"job": job, "time": now(), "runs": numbers})
        say(f"submitted {len(numbers)} runs as job {job}; how they stand: python launch.py status --workdir={folder}")


def queued(folder: Path) -> set[int]:
    """Numbers of the runs that Slurm has still to run, or runs now."""
    ours = {line["job"] for line in lines(folder / "slurm" / "jobs.jsonl")}
    if not ours:
        return set()
    tasks = _slurm("squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%F %K %T").splitlines()
    found = [task.split() for task in tasks]
    return {int(number) for job, number, state in found if job in ours and number.isdigit() and state not in ("COMPLETING",)}


def _slurm(*command: str, text: str | None = None) -> str:
    """What a command of Slurm prints. Raises UserError with the first line of what it complains of."""
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        reason = next((line for line in said if "error" in line.lower()), said[0])
        raise UserError(f"{command[0]} refuses: {reason.strip()}")
    return done.stdout
