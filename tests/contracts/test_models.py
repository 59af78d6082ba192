"""Every file in cvjax/models, by glob: what any network must do before its author has written a test."""

import inspect
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import lookup
from cvjax.state import flat

MODELS = lookup.names("models")
CLASSES = 7


def tiny(name, **kw):
    file = lookup.find("models", name)
    classes = {"num_classes": CLASSES} if "num_classes" in inspect.signature(file.Model).parameters else {}
    return file.Model(**{**classes, **file.TINY, **kw})


def inputs_of(model, n, seed=0):
    """Pictures, or what the model file says that its network takes."""
    file = inspect.getmodule(type(model))
    if hasattr(file, "example"):
        return file.example(n, jax.random.key(seed))
    size = max(16, file.SMALLEST)
    return {"image": jax.random.normal(jax.random.key(seed), (n, size, size, 3))}


def answer(outputs):
    """What is learned from: the logits, and the boxes of a detector; or a prediction of something else than classes."""
    if "boxes" in outputs:
        return jnp.concatenate([outputs["logits"], outputs["boxes"]], -1)
    return outputs["logits"] if "logits" in outputs else outputs["prediction"]


def init(model):
    return jax.jit(lambda x: model.init(jax.random.key(0), x, train=False))(inputs_of(model, 1))


@partial(jax.jit, static_argnums=(0, 3))
def forward(model, variables, inputs, train):
    rngs = {"dropout": jax.random.key(1), "depth": jax.random.key(2)}
    out, _ = model.apply(variables, inputs, train=train, rngs=rngs, mutable=["batch_stats"])
    return out


@pytest.mark.parametrize("name", MODELS)
def test_file_is_complete(name):
    file = lookup.find("models", name)
    assert file.VARIANTS and isinstance(file.TINY, dict) and file.SMALLEST >= 1
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|\b(19|20)\d\d\b", file.__doc__), "the header cites its paper, with the year"
    fields = set(inspect.signature(file.Model).parameters) - {"name", "parent"}
    assert len(fields) < 10, f"a constructor keeps under ten fields: {sorted(fields)}"


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_finite_and_named_alike_in_both_modes(name):
    model = tiny(name)
    variables = init(model)
    outputs = [forward(model, variables, inputs_of(model, 4), train) for train in (False, True)]
    assert outputs[0].keys() == outputs[1].keys()
    assert all(bool(jnp.isfinite(x).all()) for out in outputs for x in out.values())


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_learns(name):
    """A step away from the beginning: what starts at 0 passes no gradient on. What can never have one the model file says: IDLE."""
    model, noise = tiny(name), np.random.default_rng(0)
    variables = init(model)
    params = jax.tree.map(lambda x: x if x.any() else jnp.asarray(0.1 * noise.standard_normal(x.shape), x.dtype), variables["params"])

    def loss(params):
        found = answer(forward(model, {**variables, "params": params}, inputs_of(model, 4), True))
        return jnp.square(found - jax.random.normal(jax.random.key(2), found.shape)).sum()

    grads = jax.jit(jax.grad(loss))(params)
    idle = getattr(lookup.find("models", name), "IDLE", "$^")
    dead = [path for path, g in flat(grads).items() if not jnp.abs(g).max() > 0 and not re.search(idle, path)]
    assert not dead, dead


@pytest.mark.parametrize("name", MODELS)
def test_jit_equals_eager_and_is_traced_once(name):
    model, traces = tiny(name), []
    variables = init(model)

    @jax.jit
    def compiled(variables, inputs):
        traces.append(1)
        return model.apply(variables, inputs, train=False)

    first = compiled(variables, inputs_of(model, 2))
    compiled(variables, inputs_of(model, 2, seed=1))
    assert len(traces) == 1
    eager = model.apply(variables, inputs_of(model, 2), train=False)
    for key, value in eager.items():
        np.testing.assert_allclose(first[key], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_batch_of_two_equals_two_batches_of_one(name):
    model = tiny(name)
    variables, inputs = init(model), inputs_of(model, 2)
    together = answer(forward(model, variables, inputs, False))
    apart = [answer(forward(model, variables, {name: x[i : i + 1] for name, x in inputs.items()}, False)) for i in range(2)]
    np.testing.assert_allclose(together, jnp.concatenate(apart), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_is_finite_close_and_leaves_parameters_alone(name):
    model, plain = tiny(name, dtype="bfloat16"), tiny(name)
    variables = init(model)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(variables))
    found, exact = (answer(forward(m, variables, inputs_of(model, 4), False)) for m in (model, plain))
    assert found.dtype == jnp.float32 and bool(jnp.isfinite(found).all())
    most = jnp.quantile(jnp.abs(found - exact), 0.99)  # of a maximum that rounding makes equal to its neighbour the switch may move
    assert float(most) < 0.1 * float(jnp.abs(exact).max()) + 0.05
