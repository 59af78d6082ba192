"""One exact pass over a split: every example counts once, whatever the batch size and the number of devices."""

import itertools
from collections.abc import Callable, Iterator

import jax
import numpy as np

from cvjax import parallel, step
from cvjax.build import Experiment
from cvjax.data import _pipeline
from cvjax.preprocess import host_eval
from cvjax.state import State

KEPT = 2**30  # bytes of maps, such as label maps, that are kept of a split; the examples after them are only measured


class Evaluator:
    """Evaluates states on the splits of an experiment; compiled once.

    With `data.cache="device"` it keeps decoded splits. The last result is kept too: the end of a run asks for it again.
    `decode` says of outputs what to keep of every example; the task's own when not given.
    """

    def __init__(self, e: Experiment, decode: Callable[[dict], dict] | None = None):
        self.e = e
        self._step = parallel.per_device(step.evaluation(e, decode or e.decode), (None, 0))
        self._kept: dict[str, list[dict]] = {}
        self._last: tuple = ()

    def __call__(self, state: State, split: str, limit: int | None = None) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Metrics, named "val/loss" and the like, and of every example what `decode` says and its label; of maps as many as KEPT holds.

        `limit` stops after so many batches: a rehearsal.
        """
        if not self._last or self._last[0] is not state or self._last[1] != (split, limit):
            self._last = (state, (split, limit), self._pass(state, split, limit))
        return self._last[2]

    def _pass(self, state: State, split: str, limit: int | None) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        sums: dict[str, np.ndarray] = {}
        weights: dict[str, float] = {}
        rows: list[dict] = []
        room = KEPT
        metrics = self.e.task.host_metrics(self.e.splits[split])
        for batch in itertools.islice(self._batches(split), limit):
            terms, kept = jax.device_get(self._step(state, parallel.shard(batch)))
            for name, (*pair, weight) in terms.items():
                sums[name] = sums.get(name, 0.0) + np.asarray(pair, np.float64)
                weights[name] = float(weight)
            row = {name: x[kept["valid"]] for name, x in kept.items()}
            if metrics is not None:
                metrics.update(row, row)
            if room > 0:
                rows.append(row)
                room -= sum(x.nbytes for x in row.values() if x.ndim > 2)
        values = {name: total / max(count, 1) for name, (total, count) in sums.items()}
        values = {"loss": sum(weights[name] * value for name, value in values.items())} | values  # a task may have a term of this name
        values |= self.e.task.derived(values)
        values |= metrics.result() if metrics is not None else {}
        together = {name: np.concatenate([r[name] for r in rows]) for name in rows[0]}
        return {f"{split}/{name}": float(value) for name, value in values.items()}, together

    def _batches(self, split: str) -> Iterator[dict]:
        if split in self._kept:
            yield from self._kept[split]
            return
        kept = []
        source = self.e.splits[split]
        with _pipeline.eval_batches(
            source, host_eval(self.e.pixels, source.info), batch_size=self.e.loading.batch_size, workers=self.e.loading.workers,
            buckets=self.e.buckets, process_index=jax.process_index(), process_count=jax.process_count(),
        ) as batches:  # fmt: skip
            for batch in batches:
                if self.e.loading.cache == "device":
                    kept.append(batch)
                yield batch
        if kept:
            self._kept[split] = kept
