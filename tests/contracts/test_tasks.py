"""Every file in cvjax/tasks, by glob: its terms do not depend on devices, padding or order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import lookup, parallel, step
from cvjax.build import build, initial_state
from cvjax.data import _pipeline
from cvjax.preprocess import host_eval
from tiny import tiny

TASKS = lookup.names("tasks")


def setting(task, batch_size=16):
    e = build(tiny(task, data={"batch_size": batch_size, "num_examples": 24}))
    state, _, _ = initial_state(e)
    with _pipeline.eval_batches(e.splits["val"], host_eval(e.pixels, e.splits["val"].info), batch_size=16) as batches:
        return e, state, next(batches)


def terms_of(e, state, batch):
    """Loss terms of a batch on one device, without the loop."""
    variables = {"params": state.params, "batch_stats": state.stats}

    @jax.jit
    def terms(batch):
        given = e.task.inputs(batch, None, e.info)
        return e.loss(e.model.apply(variables, given, train=False), batch | given)

    return terms(shown(batch))


def shown(batch):
    """As the network sees it."""
    pictures = {"image": batch["image"].astype(np.float32) / 255 - 0.5} if "image" in batch else {}
    return jax.tree.map(jnp.asarray, {**batch, **pictures})


def spoilt(batch, real):
    """Other contents where an example is not real."""
    spoil = {"image": lambda x: 255 - x, "tokens": lambda x: 6 - x}
    keep = {name: real.reshape(-1, *[1] * (batch[name].ndim - 1)) for name in spoil if name in batch}
    return {**batch, **{name: np.where(k, batch[name], spoil[name](batch[name])) for name, k in keep.items()}}


@pytest.mark.parametrize("task", TASKS)
def test_file_is_complete(task):
    file = lookup.find("tasks", task)
    of_pictures = ("draw", "panel", "caption", "describe") if file.DATA != ("text",) else ()
    for name in ("NEEDS", "DATA", "TINY", "fields", "inputs", "loss", "derived", "decode", "host_metrics", *of_pictures):
        assert hasattr(file, name), f"tasks/{task}.py has no {name}"


@pytest.mark.parametrize("task", TASKS)
def test_eight_devices_equal_one(task):
    e, state, batch = setting(task)
    evaluation = step.evaluation(e, e.decode)
    many, rows = parallel.per_device(evaluation, (None, 0))(state, parallel.shard(batch))
    alone = jax.vmap(evaluation, (None, 0), axis_name=parallel.AXIS)(state, {k: x[None] for k, x in batch.items()})
    for name, (total, count, _) in many.items():
        np.testing.assert_allclose(total, alone[0][name][0][0], rtol=1e-5, err_msg=name)
        assert float(count) == pytest.approx(float(alone[0][name][1][0]), rel=1e-6)
    for name, x in rows.items():
        np.testing.assert_allclose(np.asarray(x, float), np.asarray(alone[1][name][0], float), rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("task", TASKS)
def test_a_training_step_draws_the_same_on_any_number_of_devices(task):
    """What a task draws of itself (which tokens are hidden) and what augmentation draws go by the example, not by the device."""
    e, state, batch = setting(task)
    state, optimiser, schedule = initial_state(e)
    update, rows = step.update(e, optimiser, schedule), np.arange(16)
    _, many = parallel.per_device(update, step.data_axes(e))(state, parallel.rows(16), parallel.shard(batch))
    _, alone = jax.vmap(update, (None, 0, 0), axis_name=parallel.AXIS)(state, rows[None], {name: x[None] for name, x in batch.items()})
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose(many[name], alone[name][0], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("task", TASKS)
def test_padding_counts_nothing_and_has_zero_gradient(task):
    e, state, batch = setting(task)
    real = np.arange(16) < 11
    padded = {**batch, "valid": real}
    noisy = spoilt(padded, real)
    short = {name: x[:11] for name, x in padded.items()}
    without = terms_of(e, state, short)
    for name, term in terms_of(e, state, noisy).items():
        np.testing.assert_allclose(term.sum, without[name].sum, rtol=1e-5, err_msg=name)
        assert float(term.count) == pytest.approx(float(without[name].count), rel=1e-6)

    def objective(outputs, batch):
        return sum(t.weight * t.sum for t in e.loss(outputs, batch).values() if t.weight)

    padded = shown(padded)
    given = e.task.inputs(padded, None, e.info)
    outputs = e.model.apply({"params": state.params, "batch_stats": state.stats}, given, train=False)
    floats = {name: x for name, x in outputs.items() if jnp.issubdtype(x.dtype, jnp.floating)}
    for name, slope in jax.jit(jax.grad(lambda x: objective(outputs | x, padded | given)))(floats).items():
        assert not np.any(np.asarray(slope)[~real]), f"{name}: padding has a gradient"


@pytest.mark.parametrize("task", TASKS)
def test_order_does_not_matter(task):
    e, state, batch = setting(task)
    turned = terms_of(e, state, {name: x[::-1] for name, x in batch.items()})
    for name, term in terms_of(e, state, batch).items():
        np.testing.assert_allclose(term.sum, turned[name].sum, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("task", TASKS)
def test_nothing_valid_is_zero_not_nan(task):
    e, state, batch = setting(task)
    for term in terms_of(e, state, {**batch, "valid": np.zeros(16, bool)}).values():
        assert float(term.sum) == 0 and float(term.count) == 0


@pytest.mark.parametrize("task", [task for task in TASKS if lookup.find("tasks", task).DATA[0] != "text"])
def test_what_is_said_of_a_picture(task):
    e, state, batch = setting(task)
    _, rows = parallel.per_device(step.evaluation(e, e.decode), (None, 0))(state, parallel.shard(batch))
    row = {name: np.asarray(x[0]) for name, x in rows.items()}
    text, right = e.task.caption(row, e.info)
    assert text and right in (True, False, None)
    assert e.task.panel(e.splits["val"][0]["image"], row, e.info).dtype == np.uint8
    picture = e.task.draw(e.splits["val"][0]["image"], row, e.info)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] == 3
    assert isinstance(e.task.describe({k: v for k, v in row.items() if k not in ("label", "valid")}, e.info), dict)
    assert jnp.isfinite(jnp.array([float(np.sum(np.asarray(x, float))) for x in row.values()])).all()


@pytest.mark.parametrize("task", TASKS)
def test_host_metrics_say_their_names(task):
    e, state, batch = setting(task)
    metrics = e.task.host_metrics(e.splits["val"])
    if metrics is None:
        pytest.skip("counted in the step")
    assert set(metrics.result()) <= set(metrics.names)
    _, rows = parallel.per_device(step.evaluation(e, e.decode), (None, 0))(state, parallel.shard(batch))
    rows = jax.tree.map(np.asarray, rows)
    metrics.update(rows, rows)
    assert set(metrics.result()) <= set(metrics.names) and all(np.isfinite(value) for value in metrics.result().values())
