"""Non-local blocks and SAGAN's against the papers' formulas in plain loops, as identities, and under exchanged positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.layers.non_local import FORMS, NonLocal, SelfAttention

X = jax.random.normal(jax.random.key(0), (2, 4, 6, 8))
BLOCKS = [*FORMS, "sagan"]


def block(name, **kw):
    return SelfAttention() if name == "sagan" else NonLocal(name, **kw)


def call(name, net, variables, x, train=False):
    kw = {} if name == "sagan" else {"train": train}
    return net.apply(variables, x, mutable=["batch_stats"], **kw)[0]


def begun(name, **kw):
    net = block(name, **kw)
    return net, net.init(jax.random.key(1), X, **({} if name == "sagan" else {"train": False}))


def filled(variables):
    """Parameters of size 0.5 instead of the initial ones, so that gains are not 0 and the softmax is far from even."""
    rng = np.random.default_rng(0)
    return {**variables, "params": jax.tree.map(lambda x: jnp.asarray(0.5 * rng.standard_normal(x.shape), x.dtype), variables["params"])}


def pair(name, params, a, b):
    """f(a, b) of two vectors, and whether the sum over b normalises it."""
    if name == "gaussian":
        return np.exp(a @ b / np.sqrt(len(a))), True
    if name == "sagan":
        return np.exp((b @ params["f"]["kernel"][0, 0]) @ (a @ params["g"]["kernel"][0, 0])), True
    theta, phi = a @ params["theta"]["kernel"][0, 0], b @ params["phi"]["kernel"][0, 0]
    if name == "embedded_gaussian":
        return np.exp(theta @ phi / np.sqrt(len(theta))), True
    if name == "dot_product":
        return theta @ phi, False
    return max(0.0, params["pair"].reshape(-1) @ np.concatenate([theta, phi])), False


def by_loops(name, variables, x, pool):
    """The block's result in evaluation, and every pair's f / C, position by position in float64."""
    params, x = jax.tree.map(lambda p: np.asarray(p, np.float64), variables["params"]), np.asarray(x, np.float64)
    out, looks = np.zeros_like(x), []
    for n, image in enumerate(x):
        asks = [image[i, j] for i in range(image.shape[0]) for j in range(image.shape[1])]
        cells = [image[i : i + 2, j : j + 2].max((0, 1)) for i in range(0, image.shape[0], 2) for j in range(0, image.shape[1], 2)]
        for at, a in enumerate(asks):
            answers = cells if pool else asks
            f = np.array([pair(name, params, a, b)[0] for b in answers])
            f = f / (f.sum() if pair(name, params, a, a)[1] else len(answers))
            looks.append(f)
            g = params["h" if name == "sagan" else "g"]["kernel"][0, 0]
            y = sum(weight * (b @ g) for weight, b in zip(f, answers, strict=True))
            if name == "sagan":
                y = params["gamma"] * (y @ params["v"]["kernel"][0, 0])
            else:
                y = (y @ params["out"]["kernel"][0, 0]) / np.sqrt(1 + 1e-5) * params["norm"]["scale"] + params["norm"]["bias"]
            out[n].reshape(-1, x.shape[-1])[at] = a + y
    return out, np.array(looks).reshape(len(x), 1, len(asks), -1)


@pytest.mark.parametrize(("name", "pool"), [*((form, pool) for form in FORMS for pool in (True, False)), ("sagan", False)])
def test_formulas_in_plain_loops(name, pool):
    net, variables = begun(name, **({} if name == "sagan" else {"pool": pool}))
    variables = filled(variables)
    expected, looks = by_loops(name, variables, X, pool)
    np.testing.assert_allclose(call(name, net, variables, X), expected, atol=2e-5)
    _, sown = net.apply(variables, X, mutable=["attention"], **({} if name == "sagan" else {"train": False}))
    np.testing.assert_allclose(sown["attention"]["weights"][0], looks, atol=2e-5)


@pytest.mark.parametrize("name", BLOCKS)
def test_begins_as_the_identity_with_a_gain_that_learns(name):
    net, variables = begun(name)
    assert "attention" not in variables
    for train in (False, True):
        np.testing.assert_array_equal(call(name, net, variables, X, train), X)

    def loss(params):
        return (call(name, net, {**variables, "params": params}, X, True) * jnp.sin(jnp.arange(X.size).reshape(X.shape))).sum()

    grads = jax.grad(loss)(variables["params"])
    gain = grads["gamma"] if name == "sagan" else grads["norm"]["scale"]
    assert (np.abs(gain) > 0).all()
    assert not jnp.abs(grads["g"]["kernel"]).any(), "only the gain can move first"


@pytest.mark.parametrize("name", BLOCKS)
def test_positions_exchanged_before_are_positions_exchanged_after(name):
    net, variables = begun(name, **({} if name == "sagan" else {"pool": False}))
    variables = filled(variables)
    order = np.random.default_rng(3).permutation(24)

    def exchanged(x):
        return x.reshape(2, 24, 8)[:, order].reshape(X.shape)

    for train in (False, True):
        after, before = exchanged(call(name, net, variables, X, train)), call(name, net, variables, exchanged(X), train)
        np.testing.assert_allclose(before, after, atol=2e-5)
    assert float(jnp.abs(before - X).max()) > 0.1


@pytest.mark.parametrize("shape", [(2, 1, 1, 8), (2, 1, 5, 8), (2, 3, 5, 8)])
def test_small_and_odd_maps(shape):
    for name in ("embedded_gaussian", "sagan"):
        net, variables = begun(name)
        assert bool(jnp.isfinite(call(name, net, filled(variables), jnp.ones(shape))).all())


def test_mistakes_are_named():
    for net, x, says in ((NonLocal("gausian"), X, "no form 'gausian'; have 'gaussian'"), (NonLocal(), X[..., :1], "half of 1 channel")):
        with pytest.raises(ValueError, match=says):
            net.init(jax.random.key(0), x, train=False)
    with pytest.raises(ValueError, match="an eighth of 4 channels"):
        SelfAttention().init(jax.random.key(0), X[..., :4])
