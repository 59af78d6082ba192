"""From record numbers to stacked rows: what runs inside a worker thread or process. Imports no JAX, so that processes
start fast.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from cvjax.data._source import Source, decoded
from cvjax.errors import UserError

Rows = dict[str, np.ndarray]


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


def rows(source: Source, transform: Callable[..., dict], seed: int | None, task: Task) -> Rows:
    """The task's rows, transformed and stacked, with `valid`. Without a seed `transform` gets no generator
    (evaluation).
    """
    valid = np.array(task.indices) >= 0
    # A task of padding alone makes one row all the same, to know what shapes its zeros should have.
    real = [index for index in task.indices if index >= 0] or [0]
    records = _read(source, real)
    out = [_row(source, records, transform, seed, task, k) for k in range(len(real))]
    stacked = stack(out, lambda k: source.name(real[k]))
    return {**{key: _padded(value, valid) for key, value in stacked.items()}, "valid": valid}


def _read(source: Source, indices: list[int]) -> Iterator[dict]:
    yield from source.read_many(indices) if source.read_many else map(source.read, indices)


def _row(source: Source, records: Iterator[dict], transform: Callable, seed: int | None, task: Task, k: int) -> dict:
    try:
        # The generator depends on the row's place in the run alone: not on workers, hosts or what came before.
        rng = () if seed is None else (np.random.default_rng([seed % 2**63, task.step, task.first_row + k]),)
        return _labelled(source, decoded(transform(next(records), *rng)))
    except UserError as error:
        raise UserError(f"{source.name(max(task.indices[k], 0))}: {error}") from error
    except OSError as error:
        raise UserError(f"{source.name(max(task.indices[k], 0))}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise RuntimeError(f"{source.name(max(task.indices[k], 0))}: {type(error).__name__}: {error}") from error


def _labelled(source: Source, example: dict) -> dict:
    """The example, when it has a label: TFDS marks unknown ones with -1, which a loss would take for a class."""
    if source.info.task == "classification" and example["label"] < 0:
        raise UserError(f"its label is {example['label']}, so it has none; choose another split")
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


def start(source: Source, transform: Callable[..., dict], seed: int | None) -> None:
    """Runs once in a new process. Stopping is the parent's to decide: signals meant for the run are not for the
    workers.
    """
    global _job
    _job = (source, transform, seed)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def rows_in_process(task: Task) -> Rows:
    source, transform, seed = _job
    return rows(source, transform, seed, task)


def _die_with_parent() -> None:
    """A parent killed by `kill -9` cannot stop its workers, so they watch it."""
    parent = multiprocessing.parent_process()
    multiprocessing.connection.wait([parent.sentinel] if parent else [])
    os._exit(1)
