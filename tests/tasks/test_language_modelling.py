"""Masked and causal modelling: what is learned from, what is measured, and text in a config that was for pictures."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import measure
from cvjax.build import build, initial_state
from cvjax.config import load
from cvjax.data._source import Info
from cvjax.errors import UserError
from cvjax.evaluate import Evaluator
from cvjax.tasks import causal_modelling, masked_modelling
from tiny import tiny

INFO = Info(tuple("abcdefg"), 100, "text", length=20)
TOKENS = jax.random.randint(jax.random.key(0), (6, 20), 0, 7)


def test_only_what_was_hidden_is_learned_from():
    valid = jnp.arange(6) < 4
    batch = {"tokens": TOKENS, "valid": valid}
    given = masked_modelling.inputs(batch, jax.random.split(jax.random.key(1), 6), INFO)
    logits = jax.random.normal(jax.random.key(2), (6, 20, 8))
    loss = lambda x: masked_modelling.loss({"logits": x}, batch | given)["loss"]  # noqa: E731
    touched = np.abs(jax.grad(lambda x: loss(x).sum)(logits)).sum(-1) > 0
    assert np.array_equal(touched, given["masked"] & valid[:, None])
    assert float(loss(logits).count) == 4 * 3 == touched.sum(), "3 of 20 are 15 %"
    chance = jax.nn.softmax(logits)
    expected = -sum(math.log(chance[i, j, TOKENS[i, j]]) for i, j in np.argwhere(touched))
    assert float(loss(logits).sum) == pytest.approx(expected, rel=1e-5)


def test_the_mask_is_a_token_of_its_own():
    given = masked_modelling.inputs({"tokens": jnp.tile(TOKENS, (200, 1))}, jax.random.split(jax.random.key(1), 1200), INFO)
    assert masked_modelling.fields(INFO) == {"num_classes": 8} and causal_modelling.fields(INFO) == {"num_classes": 7}
    share = float((given["tokens"] == 7)[given["masked"]].mean())
    assert share == pytest.approx(0.8, abs=3 * (0.16 / int(given["masked"].sum())) ** 0.5)


@pytest.mark.parametrize("task", ["causal_modelling", "masked_modelling"])
def test_measured_alike_in_every_batch_size_and_perplexity_once(task):
    """20 examples in batches of 8 and 16: sums over all, exp of the mean and not the mean of exps."""
    found = []
    for size in (8, 16):
        e = build(tiny(task, data={"batch_size": size}))
        found.append(Evaluator(e)(initial_state(e)[0], "val")[0])
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=1e-5), name
    assert found[0]["val/perplexity"] == pytest.approx(math.exp(found[0]["val/loss"]))
    if task == "causal_modelling":  # a character a token
        assert found[0]["val/bits_per_character"] == pytest.approx(found[0]["val/loss"] / math.log(2), rel=1e-5)


@pytest.mark.parametrize(("settings", "said"), [
    ({"image": {"size": 8}}, r"config\.image\.size is for pictures, and the data are text; set image=\{\}"),
    ({"augment": {"flip": True}}, r"config\.augment is for pictures, and the data are text; set augment=\{\}"),
    ({"data": {"task": "classification"}, "image": {"size": 8}}, "for task 'classification', but config.task.name is 'causal_modelling'"),
    ({"model": {"places": 10}}, r"15 tokens, but model\.places is 10"),
])  # fmt: skip
def test_mistakes(settings, said):
    with pytest.raises(UserError, match=said):
        initial_state(build(tiny("causal_modelling", **settings)))


def test_described_where_the_text_is_not_there():
    e, assumed = measure.built(load("experiments/text_masked.py", "root=/nowhere/text.txt,length=32"))
    assert e.shape == "32 tokens" and e.fields == {"num_classes": 1001} and "1000 classes assumed: /nowhere/text.txt" in assumed
