"""What the devices compute: one update, and one batch of an evaluation. Pure functions of (state, data).

Every loss term is a sum and a count. Sums of gradients and of terms are added over micro-batches and devices first and
divided by the total count once, so the update does not depend on how a batch was split.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cvjax import optim, parallel, probe
from cvjax.build import Experiment
from cvjax.ops.shuffle import indices
from cvjax.preprocess import device_eval, device_train
from cvjax.state import State, Term, example_keys, streams


def update(e: Experiment, optimiser: optax.GradientTransformation, schedule: Callable) -> Callable:
    """The function `(state, rows, data) -> (state, metrics)` of one training step, to be run by `parallel.per_device`.

    `rows` are the positions in the global batch of this device's examples. `data` is these examples, or, with
    `data.cache="device"`, the whole training set.
    """
    parts = e.training.accumulate

    def step(state: State, rows: jax.Array, data: dict) -> tuple[State, dict]:
        batch = _batch(e, state.step, rows, data) | {"keys": example_keys(e.seed, "task", state.step, rows)}
        micros = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)
        rngs = streams(e.seed, state.step, jax.lax.axis_index(parallel.AXIS))
        keys = jax.random.split(rngs["dropout"], parts)
        loss, grads, terms, stats = _gradients(e, state, micros, keys, rngs["depth"])
        loss, grads = parallel.psum((loss, grads))
        updates, opt = optimiser.update(grads, state.opt, state.params)
        values = {"lr": schedule(state.step), "grad_norm": optax.tree.norm(grads), "loss": loss}
        values |= {name: term.sum / jnp.maximum(term.count, 1) for name, term in parallel.psum(terms).items()}
        values |= probe.of_gradients(e, grads)
        values["finite"] = jnp.isfinite(loss) & jnp.isfinite(values["loss"]) & jnp.isfinite(values["grad_norm"])
        new = State(step=state.step + 1, params=optax.apply_updates(state.params, updates), stats=stats, opt=opt)
        return _unless_broken(state, new, values["finite"], e.training.on_nan == "skip"), values

    return step


def data_axes(e: Experiment) -> tuple[int | None, ...]:
    """How `(state, rows, data)` lie on the devices, for `parallel.per_device`: a cached training set is whole on each."""
    return (None, 0, None if e.loading.cache == "device" else 0)


def _unless_broken(old: State, new: State, finite: jax.Array, skip: bool) -> State:
    """`new` where it is finite. Else `old`, and with `skip` the next step; without, its step is negative and it stays as it is.

    So the state is still the one that met the bad batch when the host, which reads values later, hears of it.
    """
    going = finite & (old.step >= 0)
    step = new.step if skip else jnp.where(going, new.step, jnp.where(old.step < 0, old.step, -new.step))
    return jax.tree.map(lambda a, b: jnp.where(going, a, b), new, old).replace(step=step)


def _batch(e: Experiment, number: jax.Array, rows: jax.Array, data: dict) -> dict:
    """This device's examples of step `number` (from 0), drawn from the cache if there is one, augmented and normalised."""
    if e.loading.cache == "device":
        chosen = indices(number, len(e.splits["train"]), e.loading.batch_size, e.seed)[rows]
        data = {name: jnp.take(x, chosen, axis=0) for name, x in data.items()}
    return device_train(data, e.pixels, e.augment, e.seed, number, rows)


def seen(e: Experiment, number: int) -> Callable:
    """The function `(state, rows, data) -> batch` that gives all devices' examples as the network saw them in step `number` (from 0)."""
    return lambda state, rows, data: parallel.gather(_batch(e, jnp.int32(number), rows, data))


def _gradients(e: Experiment, state: State, micros: dict, keys: jax.Array, depth: jax.Array) -> tuple[jax.Array, Any, dict, Any]:
    """This device's part of the global objective and of its gradient, its terms, and the new BatchNorm statistics.

    micros: examples, with "keys", a random key each. keys: one a micro-batch, for dropout. depth: one for all, since the blocks that a
    mini-batch leaves out are the same throughout.
    A model's `tallies` name what only its backward pass knows, sums over examples: it finds zeros in inputs["tally"], and gives
    them these sums for their gradient.
    """

    captures = probe.captures(e)
    tallies = getattr(e.model, "tallies", ())

    def terms(learnt: Any, stats: Any, micro: dict, key: jax.Array) -> tuple[dict[str, Term], Any]:
        params, tally = learnt
        given = e.task.inputs(micro, micro["keys"], e.info)
        inputs = given | ({"tally": tally} if tallies else {})
        outputs, changed = e.model.apply(
            {"params": params, "batch_stats": stats}, inputs, train=True, rngs={"dropout": key, "depth": depth},
            capture_intermediates=captures, mutable=["batch_stats", *(["intermediates"] if captures else [])])  # fmt: skip
        found = reported(e, outputs, micro | given) | (probe.of_outputs(e, changed.get("intermediates", {})) if captures else {})
        return found, changed.get("batch_stats", {})

    def objective(learnt: Any, stats: Any, micro: dict, key: jax.Array, counts: dict | None) -> tuple[jax.Array, tuple]:
        found, stats = terms(learnt, stats, micro, key)
        counts = counts or parallel.psum({name: term.count for name, term in found.items()})
        weighted = [term.weight * term.sum / jnp.maximum(counts[name], 1) for name, term in found.items() if term.weight]
        return sum(weighted), ({name: term._replace(weight=0.0) for name, term in found.items()}, stats)

    def tallied(sums: jax.Array, found: dict[str, Term]) -> dict[str, Term]:
        examples = jnp.float32(len(keys) * jax.tree.leaves(micros)[0].shape[1])
        return found | {name: Term(sums[i], examples) for i, name in enumerate(tallies)}

    slope, learnt = jax.value_and_grad(objective, has_aux=True), (state.params, jnp.zeros(len(tallies)))
    if len(keys) == 1:
        (loss, (found, stats)), (grads, sums) = slope(learnt, state.stats, jax.tree.map(lambda x: x[0], micros), keys[0], None)
        return loss, grads, tallied(sums, found), stats

    # A first pass for the counts: they depend on the batch alone, so the compiler drops the network from it.
    counted = jax.lax.map(lambda x: {n: t.count for n, t in terms(learnt, state.stats, *x)[0].items()}, (micros, keys))
    counts = parallel.psum(jax.tree.map(lambda x: x.sum(0), counted))

    def accumulate(carry: tuple, x: tuple) -> tuple[tuple, dict]:
        loss, grads, stats = carry
        (value, (found, stats)), more = slope(learnt, stats, *x, counts)
        return (loss + value, jax.tree.map(jnp.add, grads, more), stats), found

    start = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, learnt), state.stats)
    (loss, (grads, sums), stats), found = jax.lax.scan(accumulate, start, (micros, keys))
    return loss, grads, tallied(sums, jax.tree.map(lambda x: x.sum(0), found)), stats


def reported(e: Experiment, outputs: dict, batch: dict) -> dict[str, Term]:
    """The task's terms, and what the network says of itself: outputs called "metric/...", a mean over batches and devices each.

    batch: with what the network was given, which may say more of it: which tokens were hidden.
    """
    return e.loss(outputs, batch) | {name: Term(x, jnp.ones(())) for name, x in _own(outputs).items()}


def _own(outputs: dict) -> dict[str, jax.Array]:
    return {name.removeprefix("metric/"): x for name, x in outputs.items() if name.startswith("metric/")}


def evaluation(e: Experiment, decode: Callable[[dict], dict]) -> Callable:
    """The function `(state, batch) -> (terms, rows)` of one evaluation batch, on the averaged parameters if there are any.

    `terms` are (sum, count, weight in the loss) by name; `rows` what `decode` makes of the outputs, and the batch's labels, of all devices.
    """

    def step(state: State, batch: dict) -> tuple[dict, dict]:
        batch = device_eval(batch, e.pixels)
        given = e.task.inputs(batch, None, e.info)
        outputs = _outputs(e, state, given)
        found = reported(e, outputs, batch | given)
        sums = parallel.psum({name: (term.sum, term.count) for name, term in found.items()})
        terms = {name: (*pair, jnp.float32(found[name].weight)) for name, pair in sums.items()}
        kept = {name: x for name, x in batch.items() if name != "image"} | decode(outputs)
        return terms, parallel.gather(kept)

    return step


def forward(e: Experiment) -> Callable:
    """`(state, batch) -> (e.decode(...), metrics)` on one device without labels: what prediction runs.

    batch: `image` and, of pictures that were padded, `size`.
    metrics: what the network says of itself, its outputs "metric/NAME".
    """

    @jax.jit
    def step(state: State, batch: dict) -> tuple[dict, dict]:
        outputs = _outputs(e, state, e.task.inputs(device_eval(batch, e.pixels), None, e.info))
        return e.decode(outputs), _own(outputs)

    return step


def _outputs(e: Experiment, state: State, inputs: dict) -> dict:
    """What the network says."""
    outputs: Any = e.model.apply(variables(state), inputs, train=False)
    return outputs


def variables(state: State) -> dict:
    """What a trained network is measured and looked at with: its averaged parameters, if there are any, and its statistics."""
    return {"params": optim.averaged(state.params, state.opt), "batch_stats": state.stats}
