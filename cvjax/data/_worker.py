"""From record numbers to stacked rows: what runs inside a worker thread or process. Imports no JAX, so that processes
start fast.
"""

import faulthandler
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from cvjax.data._buckets import Buckets, alike
from cvjax.data._decode import DecodeError
from cvjax.data._source import Source, Unreadable, decoded
from cvjax.errors import UserError

Rows = dict[str, np.ndarray]
STALL = float(os.environ.get("CVJAX_STALL_SECONDS", "300"))  # of work on a batch, after which stacks are printed
STAND_INS = 20  # how many records after an unreadable one are tried in its place


class Task(NamedTuple):
    """A run of rows of one global batch.

    Attributes:
        step: of the training step, or number of the evaluation batch.
        first_row: place of the first of them in the global batch.
        indices: record of each row; -1 is padding.
    """

    step: int
    first_row: int
    indices: tuple[int, ...]


class Job(NamedTuple):
    """What makes examples of records.

    Attributes:
        seed: without one `transform` gets no generator (evaluation).
        skip: the next readable record stands in for an unreadable one, which else is an error.
        buckets: what pictures of many sizes are padded to, see `_buckets`; () where all have one size.
    """

    source: Source
    transform: Callable[..., dict]
    seed: int | None
    skip: bool
    buckets: Buckets = ()


def rows(job: Job, task: Task) -> tuple[Rows, dict[str, str]]:
    """The task's rows, transformed and stacked, with `valid`; and why which records could not be read."""
    source = job.source
    valid = np.array(task.indices) >= 0
    # A task of padding alone makes one row all the same, to know what shapes its zeros should have.
    real = [index for index in task.indices if index >= 0] or [0]
    records = _read(source, real)
    out, unreadable = [], {}
    for k, index in enumerate(real):
        try:
            out.append(_row(job, index, records, task, k))
        except Unreadable as error:
            if not job.skip:
                raise
            unreadable[error.name] = str(error)
            out.append(_stand_in(job, index, task, k, error))
    out = alike(out, job.buckets)
    stacked = stack(out, lambda k: source.name(real[k]))
    return {**{key: _padded(value, valid) for key, value in stacked.items()}, "valid": valid}, unreadable


def _stand_in(job: Job, index: int, task: Task, k: int, why: Unreadable) -> dict:
    """The next record that can be read. Each draws anew, since a mosaic of the same draw would want the same unreadable picture."""
    source = job.source
    for further in range(1, 1 + STAND_INS):
        other = (index + further) % len(source)
        try:
            return _row(job, other, map(source.read, [other]), task, k, further)
        except Unreadable:
            continue
    raise UserError(f"{why}; the {STAND_INS} records after it cannot be read either")


def _read(source: Source, indices: list[int]) -> Iterator[dict]:
    return iter(source.read_many(indices)) if source.read_many else map(source.read, indices)


def _row(job: Job, index: int, records: Iterator[dict], task: Task, k: int, *again: int) -> dict:
    """`again`: number of a further try at the same row."""
    name = job.source.name(index)
    try:
        # The generator depends on the row's place in the run alone: not on workers, hosts or what came before.
        rng = () if job.seed is None else (np.random.default_rng([job.seed % 2**63, task.step, task.first_row + k, *again]),)
        return _labelled(job.source, decoded(job.transform(next(records), *rng)))
    except Unreadable:
        raise  # another record that the view is made of; it is named
    except DecodeError as error:
        raise Unreadable(name, str(error)) from error
    except OSError as error:
        raise Unreadable(name, f"cannot be read: {error.strerror or error}") from error
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except Exception as error:
        raise RuntimeError(f"{name}: {type(error).__name__}: {error}") from error


def _labelled(source: Source, example: dict) -> dict:
    """The example, when it has a label: TFDS marks unknown ones with -1, which a loss would take for a class."""
    if source.info.task == "classification" and example["label"] < 0:
        raise UserError(f"its label is {example['label']}, so it has none; choose another split")
    if source.info.task == "classification" and example["label"] >= len(source.info.classes):
        raise UserError(f"its label is {example['label']}, but there are {len(source.info.classes)} classes, from 0")
    return example


def _padded(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """As many rows as `valid` has, zeros where it is False (at the end)."""
    if valid.all():
        return values
    out = np.zeros((len(valid), *values.shape[1:]), values.dtype)
    out[valid] = values[: valid.sum()]
    return out


def stack(examples: list[dict[str, Any]], name: Callable[[int], str]) -> Rows:
    """Examples of equal fields and shapes, stacked field by field. Raises UserError when shapes differ."""
    out = {}
    for key in examples[0]:
        values = [np.asarray(example[key]) for example in examples]
        odd = next((k for k, value in enumerate(values) if value.shape != values[0].shape), None)
        if odd is not None:
            shapes = f"{values[odd].shape}, but that of {name(0)} {values[0].shape}"
            raise UserError(f"{name(odd)}: '{key}' has shape {shapes}; a batch needs one shape: resize or pad")
        out[key] = np.stack(values).astype(_plain(values[0].dtype), copy=False)
    return out


def _plain(dtype: np.dtype) -> np.dtype:
    """64-bit numbers as the 32-bit ones that devices compute with; everything else as it is."""
    return np.dtype({"int64": "int32", "float64": "float32"}.get(dtype.name, dtype))


# ---- worker processes

_job: Any = None


def start(job: Job) -> None:
    """Runs once in a new process. Stopping is the parent's to decide: signals meant for the run are not for the
    workers.
    """
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def rows_in_process(task: Task) -> tuple[Rows, dict[str, str]]:
    faulthandler.dump_traceback_later(STALL, repeat=True)  # where it hangs, if it does
    try:
        return rows(_job, task)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _die_with_parent() -> None:
    """A parent killed by `kill -9` cannot stop its workers, so they watch it."""
    parent = multiprocessing.parent_process()
    multiprocessing.connection.wait([parent.sentinel] if parent else [])
    os._exit(1)
