"""The book's perceptron: its sizes, its initialisation, and that a gradient vanishes in it layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import mlp
from cvjax.probes import gradients
from cvjax.state import flat


def made(seed=0, **settings):
    model = mlp.Model(num_classes=10, **settings)
    x = {"image": jax.random.uniform(jax.random.key(9), (64, 28, 28, 1))}
    return model, x, model.init(jax.random.key(seed), x, train=False)


@pytest.mark.parametrize(("variant", "count"), [(1, 23_860), (2, 24_790), (3, 25_720), (4, 26_650)])
def test_parameters(variant, count):
    """784-30-10: 784 x 30 + 30 + 30 x 10 + 10; every hidden layer more has 30 x 30 + 30."""
    _, _, variables = made(variant=variant)
    assert sum(x.size for x in jax.tree.leaves(variables)) == count


def test_weights_start_as_the_book_says():
    first = made(variant=1)[2]["params"]["hidden1"]
    assert float(first["kernel"].std()) == pytest.approx(784**-0.5, rel=0.05)
    assert float(first["bias"].std()) == pytest.approx(1, abs=0.4)


def found(seed, **settings):
    model, x, variables = made(seed, **settings)

    def loss(params):
        out, _ = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return -jax.nn.log_softmax(out["logits"])[jnp.arange(64), jnp.arange(64) % 10].mean()

    return gradients.of_gradients(flat(jax.grad(loss)(variables["params"])), mlp.layer)


def test_the_gradient_falls_with_every_sigmoid_layer():
    for seed in range(3):
        measures = found(seed, variant=4)
        norms = [float(measures[f"gradients/hidden{i}/bias"]) for i in range(1, 5)]
        assert norms == sorted(norms) and float(measures["gradient_ratio"]) == pytest.approx(norms[-1] / norms[0], rel=1e-5)


@pytest.mark.parametrize("layer", ["relu", "batch_norm", "residual"])
def test_remedies_keep_it(layer):
    sigmoid, other = (np.mean([found(seed, variant=4, layer=kind)["gradient_ratio"] for seed in range(3)]) for kind in ("sigmoid", layer))
    assert other < sigmoid / 5


@pytest.mark.parametrize(("settings", "message"), [({"variant": 6}, "no variant 6"), ({"layer": "tanh"}, "no layer 'tanh'")])
def test_mistakes_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        made(**settings)
