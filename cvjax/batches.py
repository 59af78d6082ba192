"""Training data on the devices, whichever way it gets there: streamed batch by batch, or whole and once (`data.cache`)."""

import dataclasses
from collections.abc import Callable, Iterator

import jax

from cvjax import parallel
from cvjax.build import Experiment
from cvjax.data import _pipeline
from cvjax.preprocess import host_eval, host_train


def training(e: Experiment, start: int, report: Callable[[dict[str, str]], None] = lambda unreadable: None) -> Iterator[dict]:
    """What `step.update` takes as data from a step on: the same for every step number, whenever it is asked for.

    `report` is told of the records that could not be read, by name with the reason, all that were found so far, when there are new ones.
    """
    if e.loading.cache == "device":
        pixels = e.pixels and dataclasses.replace(e.pixels, crop_fraction=1.0)
        squares = host_eval(pixels, e.info)  # what host_train makes without a random crop
        rows, unreadable = _pipeline.whole(e.splits["train"], squares, e.loading.workers, e.loading.unreadable)
        report(unreadable)
        whole = parallel.replicate(rows)
        while True:
            yield whole
    with _pipeline.train_batches(
        e.splits["train"],
        host_train(e.pixels, e.augment, e.splits["train"]),
        batch_size=e.loading.batch_size,
        seed=e.seed,
        start_step=start,
        workers=e.loading.workers,
        kind=e.loading.worker_kind,
        unreadable=e.loading.unreadable,
        buckets=e.buckets,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    ) as batches:
        told = 0
        for batch in batches:
            if len(batches.unreadable) > told:
                report(batches.unreadable)
                told = len(batches.unreadable)
            yield parallel.shard(batch)
