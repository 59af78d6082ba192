"""The loop: build, rehearse, train, evaluate. One loop for every model and task; it knows none of them by name."""

import contextlib
import errno
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from cvjax import fitting, nonfinite, parallel, probe, provenance, step, workdir
from cvjax.batches import training
from cvjax.build import Experiment, build, initial_state
from cvjax.check import readable
from cvjax.checkpoint import Checkpoints
from cvjax.errors import Interrupted, TrainingFailed, UserError, disk_error
from cvjax.evaluate import Evaluator
from cvjax.log import Clock, Log, summary
from cvjax.state import State

STOP_AFTER = int(os.environ.get("CVJAX_STOP_AFTER", 0))  # a step at which to stop as if by a signal: for cvjax.verify
SKIPS = 20  # updates left out in a row (train.on_nan="skip") that end the run


def alone(e: Experiment, optimiser: Any, schedule: Callable) -> Callable:
    """The update `(state, rows, data) -> (state, values)` of one run by itself."""
    return parallel.per_device(step.update(e, optimiser, schedule), step.data_axes(e), donate=True)


def train(config: ConfigDict, folder: Path, update_of: Callable = alone, signals: Callable | None = None) -> dict[str, float]:
    """Trains an experiment in a work folder, or continues it there. Returns the metrics of the final evaluation.

    Args:
        update_of: makes the update; `cvjax.together` makes one that several runs share.
        signals: makes the list that a signal to stop is put into, a context; this process's own signals when not given.
    """
    e = build(config)
    with workdir.owned(folder):
        done = workdir.claim(folder, e)
        if done is not None:
            print(f"{folder} is finished, nothing to do. {summary(done)}")
            return done
        try:
            return _train(e, folder, update_of, signals or _watched_signals)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise disk_error(folder, 2**20) from error
            raise
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            reason = " ".join(str(error).splitlines()[0].split())
            raise UserError(f"out of memory; lower config.data.batch_size or raise config.train.accumulate ({reason})") from error


def _train(e: Experiment, folder: Path, update_of: Callable, signals: Callable) -> dict[str, float]:
    memory = {"best": None, "best_step": 0, "skipped": 0}
    with signals() as stop, Checkpoints(folder, e.training.keep, e.training.mode, writing=True) as checkpoints:
        state, optimiser, schedule = initial_state(e, restoring=bool(checkpoints.steps()))
        state, memory = checkpoints.restore(state) or (state, memory)
        start = int(state.step)
        provenance.record(folder, e, state, start)
        update = fitting.update(e, optimiser) if e.fitted else update_of(e, optimiser, schedule)
        with Log(folder, total_steps=e.total_steps, start_step=start, steps_per_epoch=e.steps_per_epoch) as log:
            try:
                evaluator = Evaluator(e)
                _rehearse(e, evaluator, state, checkpoints, memory)
                where = f"goes on from the checkpoint of step {start}" if start else "begins at step 0"
                devices = f"{jax.device_count()} device{'s' * (jax.device_count() > 1)}"
                log.say(f"{folder}: {where} of {e.total_steps}, {e.steps_per_epoch} steps per epoch, {devices}")
                state, memory = _loop(e, update, state, memory, evaluator, checkpoints, log, folder, stop)
                checkpoints.wait()
                final = _finish(e, state, memory, evaluator, folder)
                log.say(f"done. {summary(final)}")
            except Interrupted:
                raise
            except BaseException as failure:
                with contextlib.suppress(OSError):  # the disk may be what failed
                    workdir.status(folder, "failed", reason=f"{type(failure).__name__}: {failure}")
                raise
    return final


def _loop(e: Experiment, update: Callable, state: State, memory: dict, evaluator: Evaluator, checkpoints: Checkpoints,
          log: Log, folder: Path, stop: list[int]) -> tuple[State, dict]:  # fmt: skip
    """Steps until the end, an early one or a signal. The device never waits: a window is read when the next one runs."""
    log_every, eval_every, save_every = e.steps("log_every"), e.steps("eval_every"), e.steps("checkpoint_every")
    first, total = int(state.step), e.total_steps
    if 0 < STOP_AFTER <= first < total:
        raise Interrupted(f"at step {first}, where CVJAX_STOP_AFTER={STOP_AFTER} says to stop")
    batches, rows, clock = training(e, first, partial(workdir.note_unreadable, folder)), parallel.rows(e.loading.batch_size), Clock()
    previous: list = []
    window: list = []
    for number in range(first + 1, total + 1 if not _early(e, memory, first) else first + 1):
        with clock.waiting():
            data = next(batches)
        state, values = update(state, rows, data)
        window.append((number, values))
        clock.step(e.examples_per_step)
        if number == first + 1:
            parallel.one_replica(state)
        stopping = (parallel.agree_to_stop(stop, number) or 0 < STOP_AFTER <= number) and number < total
        if stopping:
            _deaf()
        evaluating = due(number, eval_every, last=number == total)
        saving = due(number, save_every, last=stopping or number == total)
        if evaluating or saving:
            previous, window = previous + window, []
        if evaluating or saving or due(number, log_every) or number == first + 1:
            broken = _write(log, previous, clock, memory, e.training.on_nan)
            if broken:
                where = nonfinite.dump(e, state, rows, training(e, broken - 1), broken, folder)
                raise TrainingFailed(f"{where}; the state before it is kept: python launch.py replay --workdir={folder}")
            previous, window = window, []
            workdir.status(folder, "running", step=number, steps=total, best=memory, reason="")
        if evaluating:
            value = _evaluate(e, evaluator, state, number, memory, log)
        early = _early(e, memory, number)
        if saving or early or memory["best_step"] == number:
            log.flush(to_disk=True)
            checkpoints.save(state, memory, value if memory["best_step"] == number else None)
        if evaluating or saving:
            clock.restart()
        if stopping:
            checkpoints.wait()
            workdir.status(folder, "stopped", reason="a signal")
            raise Interrupted(f"stopped by a signal; saved at step {number}. Run the same command to continue")
        if early:
            log.say(f"early stop: {early}")
            return state, memory
    if e.training.until is not None and not _early(e, memory, total):
        log.say(f"warning: {e.training.monitor} is {memory['best']} at best after {total} steps, not config.train.until={e.training.until}")
    return state, memory


def _early(e: Experiment, memory: dict, number: int) -> str:
    """Why training ends at this evaluation: it is good enough, or comes `patience` or more after the best one. "" goes on."""
    t, best = e.training, memory["best"]
    if best is None or not due(number, e.steps("eval_every"), last=number == e.total_steps):
        return ""
    if t.until is not None and (best >= t.until if t.mode == "max" else best <= t.until):
        return f"{t.monitor} is {best:.4g}, as good as config.train.until={t.until} asks"
    if t.patience and number - memory["best_step"] >= e.steps("patience"):
        return f"{t.monitor} has not improved since step {memory['best_step']}"
    return ""


def due(number: int, every: int, last: bool = False) -> bool:
    """True at every multiple of `every`, and at the last step."""
    return number % every == 0 or last


def _write(log: Log, window: list, clock: Clock, memory: dict, on_nan: str) -> int:
    """Fetches a window of steps and writes a line for each. Returns the number of a step that must stop the run, else 0."""
    if not window:
        return 0
    fetched = jax.device_get([values for _, values in window])
    speed = clock.read()
    for (number, _), values in zip(window, fetched, strict=True):
        finite = bool(values.pop("finite"))
        memory["skipped"] = 0 if finite else memory["skipped"] + 1
        values = {f"train/{name}": float(value) for name, value in values.items()}
        if on_nan == "skip":
            values["train/skipped"] = float(not finite)
        log.write(number, values | speed)
        if not finite and (on_nan == "stop" or memory["skipped"] == SKIPS):
            log.flush()
            return number
    log.progress(window[-1][0], values | speed)
    return 0


def _evaluate(e: Experiment, evaluator: Evaluator, state: State, number: int, memory: dict, log: Log) -> float:
    """Measures the val split, remembers the best value, returns the monitored one."""
    values, _ = evaluator(state, "val")
    log.write(number, values)
    log.say(f"epoch {number / e.steps_per_epoch:.4g}  step {number}  {summary(values)}")
    value, sign = values.get(e.training.monitor, np.nan), 1 if e.training.mode == "max" else -1
    if np.isfinite(value) and (memory["best"] is None or sign * value > sign * memory["best"]):
        memory |= {"best": value, "best_step": number}
    return value


def _rehearse(e: Experiment, evaluator: Evaluator, state: State, checkpoints: Checkpoints, memory: dict) -> None:
    """Everything that first happens after hours, now: a batch through every metric, a picture, a checkpoint there and back."""
    for split in ("test", "val"):
        if split in e.splits:
            readable(e, split, seconds=5)
            values, rows = evaluator(state, split, limit=1)
            with tempfile.TemporaryDirectory() as folder:
                workdir.keep_predictions(Path(folder), e, split, rows)
    counted = e.task.host_metrics(e.splits["val"])  # the first batch may lack a class and so the class's score
    measured = dict.fromkeys([*values, *(f"val/{name}" for name in (counted.names if counted is not None else ()))])
    if e.training.monitor not in measured:
        raise UserError(f"config.train.monitor='{e.training.monitor}' is not measured; have: {', '.join(measured)}")
    if not checkpoints.steps():
        checkpoints.save(state, memory, None)
        checkpoints.restore(state)  # raises what does not come back as it was


def _finish(e: Experiment, state: State, memory: dict, evaluator: Evaluator, folder: Path) -> dict[str, float]:
    """The final evaluation: of the test split if there is one, else of val; keeps every decoded row and a picture."""
    split = "test" if "test" in e.splits else "val"
    of_val, _ = evaluator(state, "val")
    final, rows = evaluator(state, split)
    final = final | of_val
    if jax.process_index() == 0:
        workdir.keep_predictions(folder, e, split, rows)
        probe.run(e, state, folder)
        workdir.status(folder, "finished", step=int(state.step), steps=e.total_steps, best=memory, final=final, reason="")
    return final


def _deaf() -> None:
    """On the way out a signal changes nothing: srun sends one to every process when the first has ended."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda *_: None)


@contextmanager
def _watched_signals() -> Iterator[list[int]]:
    """A list that the first SIGTERM, SIGINT, SIGUSR1 or SIGUSR2 puts its number into; a second Ctrl-C leaves at once."""
    received: list[int] = []

    def handle(number: int, _: object) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        if received:
            return  # job managers send more than one
        received.append(number)
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)  # JAX's own handler tells the other processes

    # With several processes SIGTERM is JAX's, see parallel.agree_to_stop; threads cannot watch signals at all.
    ours = (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2) + ((signal.SIGTERM,) if jax.process_count() == 1 else ())
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handle) for number in ours if main}
    try:
        yield received
    finally:
        for number, handler in before.items():
            if not received:  # after a signal ours stay: a second one must not kill what is on its way out
                signal.signal(number, handler)
