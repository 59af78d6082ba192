"""The probe of tokens in the middle, on networks whose answers are known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.probes.middle import measure

UP = jnp.asarray([[(i + s) % 6 for i in range(40)] for s in range(5)], jnp.int32)  # every token is one more than the last, of 6
ANY = jnp.asarray(np.random.default_rng(0).integers(0, 6, (50, 40)), jnp.int32)


class NextIsOneMore(nn.Module):
    num_classes: int = 6

    def __call__(self, inputs, *, train):
        return {"logits": 50 * jax.nn.one_hot((inputs["tokens"] + 1) % 6, 6)}


class OneLessThanTheNext(nn.Module):
    """Knows a token by its right neighbour; where it is not hidden, or something else is, it says class 6."""

    num_classes: int = 7

    def __call__(self, inputs, *, train):
        x = inputs["tokens"]
        alone = (x == 6) & ((x == 6).sum(1, keepdims=True) == 1)
        return {"logits": 50 * jax.nn.one_hot(jnp.where(alone, (jnp.roll(x, -1, 1) - 1) % 6, 6), 7)}


def causal(texts):
    return {"tokens": texts[:, :-1], "target": texts[:, 1:]}


def masked(texts):
    return {"tokens": jnp.zeros_like(texts), "target": texts, "masked": texts < 0}


@pytest.mark.parametrize(("model", "inputs"), [(NextIsOneMore(), causal), (OneLessThanTheNext(), masked)])
def test_what_a_network_may_see_of_the_rest(model, inputs):
    found = measure(model, {}, inputs(UP))
    assert found["middle_accuracy"] == 1 and found["middle_loss"] == pytest.approx(0, abs=1e-6)
    texts = np.asarray(ANY)
    right = (texts[:, 12:28] == (texts[:, 11:27] + 1) % 6) if inputs is causal else (texts[:, 12:28] == (texts[:, 13:29] - 1) % 6)
    found = measure(model, {}, inputs(ANY))
    assert found["middle_accuracy"] == pytest.approx(right.mean(), abs=1e-6)
    assert found["middle_loss"] == pytest.approx(50 * (1 - right.mean()), rel=1e-5)


def test_pictures_have_no_tokens():
    assert measure(NextIsOneMore(), {}, {"image": jnp.zeros((1, 2, 2, 3))}) == {}
