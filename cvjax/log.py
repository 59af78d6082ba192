"""Where numbers go: metrics.jsonl (one JSON line per step), TensorBoard, and the terminal.

Only process 0 writes. Fractions are 0-1 in files and x100 on screen.
"""

import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import jax

from cvjax.reporting.words import in_detail

PERCENT = ("top1", "top5", "mAP", "f1", "accuracy", "mIoU", "fwIoU", "pixel_acc", "mean_acc", "boundary_F1", "AP", "AR")
EARLY = 100, 2000  # steps, at least and at most: in the first half of a run every detector may find one box over and over
SILENCE = 60  # seconds after which a log file that has no bar gets a line
SAME = 0.8  # mean IoU of the surest detections of different objects, above which they are one box


def screen(name: str, value: float) -> str:
    """A metric as people read it: `top1 91.25%`, `loss 0.2934`, `lr 0.1`."""
    short = name.rpartition("/")[2]
    if any(short.lower().startswith(word.lower()) for word in PERCENT):
        return f"{short} {100 * value:.2f}%"
    return f"{short} {value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{short} {value:.4g}"


def summary(values: dict[str, float]) -> str:
    """Metrics by split: "test: loss 0.12  top1 97.2%   val: loss 0.13"; without what metrics.jsonl has in detail."""
    values = {name: value for name, value in values.items() if not in_detail(name)}
    splits = dict.fromkeys(name.partition("/")[0] for name in values)
    return "   ".join(f"{split}: " + "  ".join(screen(n, v) for n, v in values.items() if n.startswith(f"{split}/")) for split in splits)


def truncate(path: Path, step: int) -> None:
    """Drops lines after `step` and a torn last line, so that a resumed run writes each step once. Warns where lines are missing."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):
            break
    if step and (not kept or json.loads(kept[-1])["step"] < step):
        last = json.loads(kept[-1])["step"] if kept else 0
        print(f"cvjax: warning: {path} is damaged: the lines of steps {last + 1} to {step} are lost", file=sys.stderr)
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept))
    os.replace(temporary, path)


def collapsed(values: Mapping[str, float]) -> str:
    """What to say of a detector that finds one box over and over, by its measured `same_box`; nothing of one that does not."""
    found = [f"{name} {value:.2f}" for name, value in values.items() if name.endswith("same_box") and value > SAME]
    told = "the surest detections of different objects are nearly one box, so what is asked of the network (queries, anchors) has collapsed"
    mend = "train longer, lower config.optim.lr or begin from trained weights; :overfit tells whether it can learn at all"
    return f"{found[0]}: {told}; {mend}" if found else ""


def unfinished(values: Mapping[str, float]) -> str:
    """What to say of solves that gave up, by their measured shares; nothing where there are none."""
    gave_up = [f"{name} {value:.3g}" for name, value in values.items() if "unfinished" in name and value > 0]
    told = "share of ODE solves that gave up at config.model.solve.max_steps, so that their results are not solutions"
    return f"{', '.join(gave_up)}: {told}" if gave_up else ""


class Log:
    """Metric writer of one run. Resuming cuts the files back to the step that is resumed from."""

    def __init__(self, workdir: Path, *, total_steps: int, start_step: int, steps_per_epoch: int):
        self.main = jax.process_index() == 0
        self.total, self.start, self.steps_per_epoch = total_steps, start_step, steps_per_epoch
        self._warned: set[str] = set()
        self._told = time.monotonic()
        if self.main:
            import tensorboardX

            truncate(workdir / "metrics.jsonl", start_step)
            self._lines = open(workdir / "metrics.jsonl", "a")
            self._board = tensorboardX.SummaryWriter(str(workdir), purge_step=start_step + 1 if start_step else None)
            self._bar = _bar()

    def __enter__(self) -> Self:
        if self.main:
            self._bar.start()
            self._task = self._bar.add_task("train", total=self.total, completed=self.start, text="compiling the first step")
        return self

    def __exit__(self, *_: object) -> None:
        if self.main:
            self._bar.stop()
            self._lines.close()
            self._board.close()

    def write(self, step: int, values: dict[str, float]) -> None:
        """One line for one step; `values` maps "train/loss" and the like to plain numbers."""
        if not self.main:
            return
        epoch = round(step / self.steps_per_epoch, 6)
        self._warn("unfinished", step, unfinished(values))
        if step >= max(EARLY[0], min(EARLY[1], self.total / 2)):
            self._warn("collapsed", step, collapsed(values))
        self._lines.write(json.dumps({"step": step, "epoch": epoch, **values}) + "\n")
        for name, value in values.items():
            if math.isfinite(value):
                self._board.add_scalar(name, value, step)

    def _warn(self, kind: str, step: int, told: str) -> None:
        if told and kind not in self._warned:
            self._warned.add(kind)
            self.say(f"warning: step {step}: {told}; said once, measured to the end")

    def progress(self, step: int, values: dict[str, float]) -> None:
        """Moves the bar to `step` and shows a few of the values, in a line now and then where there is no terminal; completes the files."""
        if not self.main:
            return
        shown = ("train/loss", "train/top1", "train/lr", "time/images_per_s", "time/data_wait")
        text = "  ".join(screen(name, values[name]) for name in shown if name in values)
        self._bar.update(self._task, completed=step, text=text)
        if not self._bar.console.is_terminal and time.monotonic() - self._told > SILENCE:
            self._told = time.monotonic()
            self.say(f"step {step} of {self.total}  {text}")
        self.flush()

    def say(self, text: str) -> None:
        """A line above the bar, in colourless words; also what a log file of a batch job shows."""
        if self.main:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def flush(self, to_disk: bool = False) -> None:
        """Hands the lines to the system; `to_disk` waits until a crash of the machine could not lose them: before a checkpoint."""
        if self.main:
            self._lines.flush()
            self._board.flush()
            if to_disk:
                os.fsync(self._lines.fileno())


def _bar() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        refresh_per_second=4,
        disable=threading.current_thread() is not threading.main_thread(),  # there is one bar on a screen
        transient=True,
    )


class Clock:
    """Wall time since the last reading, and how much of it was spent waiting for data."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forgets what has passed: it was an evaluation or a checkpoint, not training."""
        self._start, self._waited, self._images = time.perf_counter(), 0.0, 0

    def step(self, images: int) -> None:
        """Counts the images of a step that was handed to the devices."""
        self._images += images

    @contextmanager
    def waiting(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    def read(self) -> dict[str, float]:
        """Images per second and the share of time waiting for data (0-1); starts a new window."""
        passed = max(time.perf_counter() - self._start, 1e-9)
        values = {"time/images_per_s": self._images / passed, "time/data_wait": self._waited / passed}
        self.restart()
        return values
