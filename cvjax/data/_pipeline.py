"""From a source to host batches. A batch is a function of (seed, step): the step is the whole state of the pipeline.

`train_batches` streams shuffled, randomly transformed batches for ever; `eval_batches` passes once over every example;
`whole` reads a small set into memory for the device cache. Work is split into tasks of a few rows that worker threads
(the heavy parts, decoding and resizing, run outside Python's lock) or processes (for transforms written in Python)
carry out.

With several hosts each makes its own contiguous rows of the global batch.
"""

import faulthandler
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from cvjax import environment
from cvjax.data import _worker
from cvjax.data._buckets import Buckets, alike
from cvjax.data._source import Source
from cvjax.data._worker import Job, Rows, Task
from cvjax.errors import UserError
from cvjax.ops.shuffle import indices

AHEAD = 3  # batches being made while one is used


def train_batches(
    source: Source,
    transform: Callable[[dict, np.random.Generator], dict],
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    workers: int = 0,
    kind: str = "thread",
    unreadable: int = 0,
    buckets: Buckets = (),
    process_index: int = 0,
    process_count: int = 1,
) -> "Batches":
    """This host's rows of the batches of steps start_step, start_step + 1, ...; without end. Close it, or use it in a
    `with`.

    Args:
        transform: `(record, rng) -> example`; all randomness comes from `rng`. With kind="process" it and `source` must
            pickle.
        batch_size: global; a multiple of `process_count`, at most len(source).
        workers: threads or processes; 0 means one per core.
        kind: "thread" or "process".
        unreadable: so many different records that cannot be read are replaced by the ones after them, see `Batches.unreadable`.
        buckets: sizes that pictures of many sizes are padded to, see `_buckets`.

    Raises:
        UserError: sizes that do not fit; later, a record that cannot be read, by its name.
    """
    if batch_size > len(source):
        raise UserError(f"data.batch_size {batch_size} is more than the {len(source)} training examples")
    mine = _my_rows(batch_size, process_index, process_count)

    def tasks() -> Iterator[Task]:
        step = start_step
        while True:
            order = indices(step, len(source), batch_size, seed)
            yield Task(step, mine.start, tuple(order[mine].tolist()))
            step += 1

    return Batches(Job(source, transform, seed, unreadable > 0, buckets), tasks(), workers, kind, unreadable)


def eval_batches(
    source: Source,
    transform: Callable[[dict], dict],
    *,
    batch_size: int,
    workers: int = 0,
    kind: str = "thread",
    unreadable: int = 0,
    buckets: Buckets = (),
    process_index: int = 0,
    process_count: int = 1,
) -> "Batches":
    """This host's rows of one pass over the source, in its order; the end is padded with zeros and `valid` False.

    Every host gets the same number of batches, ceil(len(source) / batch_size), since all must take part in every step.
    `transform` is `record -> example`; the other arguments are those of `train_batches`.
    """
    mine = _my_rows(batch_size, process_index, process_count)

    def tasks() -> Iterator[Task]:
        for number in range(-(-len(source) // batch_size)):
            order = np.arange(number * batch_size, (number + 1) * batch_size)
            yield Task(number, mine.start, tuple(np.where(order < len(source), order, -1)[mine].tolist()))

    return Batches(Job(source, transform, None, unreadable > 0, buckets), tasks(), workers, kind, unreadable)


def whole(source: Source, transform: Callable[[dict], dict], workers: int = 0, unreadable: int = 0) -> tuple[Rows, dict[str, str]]:
    """All examples, transformed without randomness and stacked, in the order of the source: what a device cache
    holds. And why which records could not be read.
    """
    size = 256
    with eval_batches(source, transform, batch_size=min(size, len(source)), workers=workers, unreadable=unreadable) as batches:
        parts = list(batches)
    return {key: np.concatenate([part[key] for part in parts])[: len(source)] for key in parts[0]}, batches.unreadable


def unreadable(source: Source, seconds: float, workers: int = 0) -> dict[str, str]:
    """Records that cannot be read or decoded, by name with the reason; of as many as can be looked at in so many seconds."""
    found: dict[str, str] = {}

    def look(index: int) -> None:
        try:
            source[index]
        except UserError as error:
            found[source.name(index)] = str(error)

    end = time.monotonic() + seconds
    with ThreadPoolExecutor(workers or environment.cores()) as threads:
        for start in range(0, len(source), 256):
            list(threads.map(look, range(start, min(start + 256, len(source)))))
            if time.monotonic() > end:
                break
    return dict(sorted(found.items()))


def _my_rows(batch_size: int, process_index: int, process_count: int) -> slice:
    if batch_size % process_count:
        raise UserError(f"data.batch_size {batch_size} does not divide by {process_count} hosts")
    local = batch_size // process_count
    return slice(process_index * local, (process_index + 1) * local)


class Batches(Iterator[Rows]):
    """Batches in order, made ahead of time by workers. `close()` stops them; so do the end and an error.

    `unreadable` maps the name of each record that could not be read so far, and was replaced, to the reason.
    """

    def __init__(self, job: Job, tasks: Iterable[Task], workers: int, kind: str, unreadable: int):
        self.unreadable: dict[str, str] = {}
        self._limit = unreadable
        self._parts = workers or environment.cores()
        self._buckets = job.buckets
        self._pool, self._submit = _pool(job, self._parts, kind)
        self._tasks = iter(tasks)
        self._ahead: deque[list[Future]] = deque()
        for _ in range(AHEAD):
            self._order()

    def __next__(self) -> Rows:
        self._order()
        if not self._ahead:
            self.close()
            raise StopIteration
        try:
            parts = [self._result(future) for future in self._ahead.popleft()]
            self._count([unreadable for _, unreadable in parts])
        except BaseException:
            self.close()
            raise
        return _join([rows for rows, _ in parts], self._buckets)

    def _result(self, future: Future) -> tuple[Rows, dict[str, str]]:
        """What a worker made; reports its stack, once and again, where it takes too long."""
        while not wait([future], _worker.STALL).done:
            _report_stall()
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise UserError("a data worker process died; was it killed for memory? Fewer config.data.workers need less") from error

    def _count(self, found: list[dict[str, str]]) -> None:
        for unreadable in found:
            self.unreadable |= unreadable
        if len(self.unreadable) > self._limit:
            first = next(iter(self.unreadable.values()))
            raise UserError(
                f"{len(self.unreadable)} training records cannot be read, more than config.data.unreadable={self._limit}; {first}"
            )

    def close(self) -> None:
        """Stops the workers; what they were making is dropped. May be called twice."""
        self._tasks = iter(())
        self._ahead.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _order(self) -> None:
        """Hands the next batch's rows to the workers, an equal share to each."""
        task = next(self._tasks, None)
        if task is None:
            return
        share = -(-len(task.indices) // self._parts)
        starts = range(0, len(task.indices), share)
        pieces = [Task(task.step, task.first_row + at, task.indices[at : at + share]) for at in starts]
        self._ahead.append([self._submit(piece) for piece in pieces])


def _pool(job: Job, workers: int, kind: str) -> tuple[Executor, Callable]:
    """The workers and how to give them a task."""
    if kind == "thread":
        threads = ThreadPoolExecutor(workers, "cvjax-data")
        return threads, lambda task: threads.submit(_worker.rows, job, task)
    if kind != "process":
        raise UserError(f"data.worker_kind is '{kind}'; have: thread, process")
    # Not fork: JAX runs threads, and a forked copy of a locked lock never opens.
    processes = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _worker.start, (job,))
    return processes, lambda task: processes.submit(_worker.rows_in_process, task)


def _report_stall() -> None:
    """Prints where every thread stands; worker processes do so themselves. What a hung disk or an endless transform looks like."""
    print(f"cvjax: warning: no batch for {_worker.STALL:g} s; a data worker hangs or the disk does. Stacks:", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(sys.__stderr__ or 2)


def _join(parts: list[Rows], buckets: Buckets) -> Rows:
    if len(parts) == 1:
        return parts[0]
    parts = alike(parts, buckets, batched=True)
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
