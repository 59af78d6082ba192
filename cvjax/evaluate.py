"""One exact pass over a split: every example counts once, whatever the batch size and the number of devices."""

from collections.abc import Iterator

import jax
import numpy as np

from cvjax import parallel, step
from cvjax.build import Experiment
from cvjax.data import _pipeline
from cvjax.preprocess import host_eval
from cvjax.state import State


class Evaluator:
    """Evaluates states on one split; compiled once. Keeps the decoded split in memory when `data.cache` is "device"."""

    def __init__(self, e: Experiment, split: str, collect: bool = False):
        self.e, self.split, self.source = e, split, e.splits[split]
        self.metrics = e.task.host_metrics(self.source.info)
        self.collect = collect or self.metrics is not None
        self._step = parallel.per_device(step.evaluation(e, self.collect), (None, 0))
        self._kept: list[dict] | None = None

    def __call__(self, state: State, limit: int | None = None) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Metrics, named "val/loss" and the like, and with `collect` the decoded rows of every example.

        `limit` stops after so many batches: a rehearsal.
        """
        sums: dict[str, np.ndarray] = {}
        rows: list[dict] = []
        metrics = self.e.task.host_metrics(self.source.info)
        for number, batch in enumerate(self._batches()):
            if limit is not None and number >= limit:
                break
            terms, kept = jax.device_get(self._step(state, parallel.shard(batch)))
            for name, pair in terms.items():
                sums[name] = sums.get(name, 0.0) + np.asarray(pair, np.float64)
            if self.collect:
                rows.append({name: x[kept["valid"]] for name, x in kept.items()})
                if metrics is not None:
                    metrics.update(rows[-1], rows[-1])
        values = {name: total / max(count, 1) for name, (total, count) in sums.items()}
        values |= metrics.result() if metrics is not None else {}
        together = {name: np.concatenate([r[name] for r in rows]) for name in rows[0]} if rows else {}
        return {f"{self.split}/{name}": float(value) for name, value in values.items()}, together

    def _batches(self) -> Iterator[dict]:
        if self._kept is not None:
            yield from self._kept
            return
        kept = [] if self.e.loading.cache == "device" else None
        with _pipeline.eval_batches(
            self.source, host_eval(self.e.pixels), batch_size=self.e.loading.batch_size, workers=self.e.loading.workers,
            process_index=jax.process_index(), process_count=jax.process_count(),
        ) as batches:  # fmt: skip
            for batch in batches:
                if kept is not None:
                    kept.append(batch)
                yield batch
        self._kept = kept
