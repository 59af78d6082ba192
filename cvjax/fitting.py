"""Models that are fitted, not trained by gradient steps: a model file that has `fit` (SVMs on Fisher vectors).

`fit(model, inputs, num_examples, **config.optim)` checks its settings and returns a function `(params, examples, seed) -> params`, as
`optim.make` returns an optimiser; `examples()` passes once over the training split, in batches as evaluation sees them. The loop runs that
function as the one step of a run: killed before its end it begins again, and after it there is a checkpoint like any other.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvjax import parallel
from cvjax.build import Experiment
from cvjax.data import _pipeline
from cvjax.errors import TrainingFailed, UserError
from cvjax.evaluate import Evaluator
from cvjax.preprocess import device_eval, host_eval
from cvjax.state import State, flat


def update(e: Experiment, fit: Callable) -> Callable:
    """The step `(state, rows, data) -> (state, values)` of a fitted model: all of its training. It reads its examples itself."""

    def step(state: State, rows: Any, data: dict) -> tuple[State, dict]:
        start = time.perf_counter()
        try:
            params = fit(parallel.one_replica(state.params), partial(examples, e), e.seed)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{e.model_file.__name__} cannot be fitted: {str(error).splitlines()[0]}") from error
        seconds = time.perf_counter() - start
        odd = [path for path, leaf in flat(params).items() if not np.isfinite(leaf).all()]
        if odd:
            raise TrainingFailed(f"the fitted {odd[0]} is not finite")
        fitted = parallel.replicate(State(jnp.int32(1), params, state.stats, state.opt))
        values, _ = Evaluator(e)(fitted, "train")
        return fitted, {name.partition("/")[2]: value for name, value in values.items()} | {"fit_seconds": seconds, "finite": True}

    return step


def examples(e: Experiment) -> Iterator[dict]:
    """The training split once, in its order, normalised; `valid` is False where the last batch is filled up."""
    with _pipeline.eval_batches(
        e.splits["train"],
        host_eval(e.pixels, e.info),
        batch_size=e.loading.batch_size,
        workers=e.loading.workers,
        unreadable=e.loading.unreadable,
    ) as batches:
        for batch in batches:
            seen = device_eval(jax.tree.map(jnp.asarray, batch), e.pixels)
            yield e.task.inputs(seen, None, e.info) | {name: x for name, x in batch.items() if name != "image"}
