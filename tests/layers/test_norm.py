"""BatchNorm over all devices equals BatchNorm on one, and both equal the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.layers.norm import BatchNorm, FrozenBatchNorm

X = jax.random.normal(jax.random.key(0), (16, 3, 3, 5)) * 3 + jnp.arange(5.0).reshape(1, 1, 1, 5)
WEIGHT = jax.random.normal(jax.random.key(1), X.shape)  # makes the gradients of the sum below differ from zero
NORM = BatchNorm()
VARIABLES = {
    "params": {"scale": jnp.linspace(0.5, 2, 5), "bias": jnp.linspace(-1, 1, 5)},
    "batch_stats": {"mean": jnp.full(5, 0.1), "var": jnp.full(5, 0.7)},
}


def defined(params, x):
    """The paper's formula, derived by JAX."""
    mean, var = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
    parts = {key: value.reshape(1, 1, 1, 5) for key, value in params.items()}
    return (x - mean) / jnp.sqrt(var + 1e-5) * parts["scale"] + parts["bias"]


def loss_of(apply):
    return lambda params, x, weight: jnp.sum(jnp.sin(apply(params, x)) * weight)


def train(params, x):
    return NORM.apply({**VARIABLES, "params": params}, x, train=True, mutable=["batch_stats"])[0]


def test_forward_and_gradients_are_the_definition():
    params = VARIABLES["params"]
    np.testing.assert_allclose(train(params, X), defined(params, X), rtol=1e-4, atol=1e-5)
    ours, theirs = (jax.grad(loss_of(f), argnums=(0, 1))(params, X, WEIGHT) for f in (train, defined))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, theirs)


def test_eight_devices_equal_one_on_the_whole_batch():
    def step(params, x, weight):
        out, new = NORM.apply({**VARIABLES, "params": params}, x, train=True, mutable=["batch_stats"])
        grads, of_x = jax.grad(loss_of(train), argnums=(0, 1))(params, x, weight)
        return out, of_x, jax.tree.map(lambda g: jax.lax.psum(g, "batch"), grads), new["batch_stats"]

    split = [a.reshape(8, 2, *a.shape[1:]) for a in (X, WEIGHT)]
    mapped = jax.pmap(step, axis_name="batch", in_axes=(None, 0, 0))(VARIABLES["params"], *split)
    with_one = jax.vmap(step, axis_name="batch", in_axes=(None, 0, 0))(VARIABLES["params"], X[None], WEIGHT[None])
    for eight, one in zip(mapped[:2], with_one[:2], strict=True):
        np.testing.assert_allclose(eight.reshape(X.shape), one[0], rtol=1e-4, atol=1e-5)
    for ours, one in zip(jax.tree.leaves(mapped[2:]), jax.tree.leaves(with_one[2:]), strict=True):
        np.testing.assert_allclose(ours, jnp.broadcast_to(one, ours.shape), rtol=1e-4, atol=1e-5)


def test_running_statistics_are_those_of_torch():
    _, new = NORM.apply(VARIABLES, X, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.09 + 0.1 * X.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], 0.63 + 0.1 * X.var((0, 1, 2), ddof=1), rtol=1e-5)


def test_evaluation_uses_the_running_statistics_and_leaves_them():
    out, new = NORM.apply(VARIABLES, X, train=False, mutable=["batch_stats"])
    one = NORM.apply(VARIABLES, X[:1], train=False)
    np.testing.assert_allclose(out[:1], one, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, new["batch_stats"], VARIABLES["batch_stats"])
    scale, bias = (VARIABLES["params"][key].reshape(1, 1, 1, 5) for key in ("scale", "bias"))
    np.testing.assert_allclose(out, (X - 0.1) / jnp.sqrt(0.70001) * scale + bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_far_from_zero_the_variance_is_still_right(offset):
    out = train({"scale": jnp.ones(5), "bias": jnp.zeros(5)}, X + offset)
    np.testing.assert_allclose(out.std((0, 1, 2)), 1, rtol=1e-3)


def test_bfloat16_keeps_float32_statistics():
    norm = BatchNorm(dtype="bfloat16")
    out, new = norm.apply(VARIABLES, X.astype("bfloat16"), train=True, mutable=["batch_stats"])
    assert out.dtype == jnp.bfloat16 and all(x.dtype == jnp.float32 for x in jax.tree.leaves(new))
    np.testing.assert_allclose(out.astype(jnp.float32), train(VARIABLES["params"], X), atol=0.1)


def test_one_value_per_channel():
    out, new = NORM.apply(VARIABLES, X[:1, :1, :1], train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(out[0, 0, 0], VARIABLES["params"]["bias"], atol=1e-6)
    assert bool(jnp.isfinite(new["batch_stats"]["var"]).all())


def test_frozen_it_is_the_same_in_both_modes_and_has_no_parameters():
    fixed = {"batch_stats": VARIABLES["params"] | VARIABLES["batch_stats"]}
    assert jax.tree.map(jnp.shape, FrozenBatchNorm().init(jax.random.key(0), X, train=True)) == jax.tree.map(jnp.shape, fixed)
    for mode in (False, True):
        y, changed = FrozenBatchNorm().apply(fixed, X, train=mode, mutable=["batch_stats"])
        np.testing.assert_allclose(y, NORM.apply(VARIABLES, X, train=False), rtol=1e-6)
        assert all(jax.tree.leaves(jax.tree.map(jnp.array_equal, changed, fixed)))
