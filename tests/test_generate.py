"""Generation: as without a cache, as the network's probabilities say, and its mistakes in one line."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import config as configs
from cvjax import workdir
from cvjax.build import build
from cvjax.errors import UserError
from cvjax.generate import chosen, generate, written
from cvjax.models.transformer import Model
from cvjax.tasks.causal_modelling import following
from cvjax.train import train
from tiny import tiny

PROMPT = jnp.asarray([[1, 4, 2], [0, 0, 3]], jnp.int32)


def made(**settings):
    """A network of large random weights: what it writes depends on all that came before."""
    model = Model(97, "gpt-tiny", places=16, **settings)
    params = jax.jit(lambda: model.init(jax.random.key(1), {"tokens": PROMPT}, train=False))()["params"]
    return model, {"params": jax.tree.map(lambda x: 10 * x, params)}


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("settings", [{}, {"layers": "scanned"}, {"position": "sincos"}], ids=str)
def test_from_the_cache_as_from_the_whole_text(settings, temperature):
    model, variables = made(**settings)
    text = PROMPT
    whole = jax.jit(lambda x: model.apply(variables, {"tokens": x}, train=False)["logits"])
    for number in range(12):
        logits = whole(jnp.pad(text, ((0, 0), (0, 15 - text.shape[1]))))[:, : text.shape[1]]  # of what comes later it sees nothing
        text = jnp.concatenate([text, chosen(following({"logits": logits}), temperature, 3, number)[:, None]], 1)
    write = jax.jit(lambda x: written(model.clone(decode=True), following, variables, x, length=12, temperature=temperature, seed=3))
    assert jnp.array_equal(write(PROMPT), text[:, 3:])
    assert len(set(np.asarray(text[:, 3:]).ravel().tolist())) > 1, "a text of one token says little"


def test_places_are_enough_or_it_says_so():
    """3 tokens are read and 14 written: the network sees 16, for the last one written is not read."""
    model, variables = made()
    write = partial(written, model.clone(decode=True), following, variables, PROMPT, temperature=0, seed=0)
    assert jax.eval_shape(lambda: write(length=14)).shape == (2, 14) and write(length=1).shape == (2, 1)
    with pytest.raises(ValueError, match="17 tokens, but model.places is 16"):
        write(length=15)


def test_tokens_are_drawn_by_their_probabilities():
    logits = jnp.log(jnp.asarray([[0.5, 0.3, 0.2]]))
    for temperature, shares in ((1.0, np.array([0.5, 0.3, 0.2])), (0.5, np.array([0.25, 0.09, 0.04]) / 0.38)):
        drawn = np.asarray(jax.vmap(lambda n, t=temperature: chosen(logits, t, 0, n)[0])(jnp.arange(4000)))
        np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 4000, shares, atol=3 * 0.5 / 4000**0.5)
    assert int(chosen(logits, 0.0, 0, 7)[0]) == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A causal run on text of seven letters, 16 at a time, of which it sees 15; and folders of runs that do not write."""
    found = {task: tmp_path_factory.mktemp(task) for task in ("causal_modelling", "masked_modelling", "classification")}
    train(tiny("causal_modelling", train={"duration": "2 steps"}, model={"places": 20}), found["causal_modelling"])
    for task in ("masked_modelling", "classification"):
        workdir.claim(found[task], build(tiny(task)))
    return found


def write(folder, **settings):
    given = {"which": "latest", "prompt": "abc", "length": 12, "temperature": 1.0, "seed": 0, **settings}
    return generate(configs.read(folder), folder, **given)


def test_a_run_writes(runs, capsys):
    text = write(runs["causal_modelling"])
    assert text.startswith("abc") and len(text) == 15 and set(text) <= set("abcdefg") and not capsys.readouterr().err
    assert text == write(runs["causal_modelling"]) != write(runs["causal_modelling"], seed=1)
    write(runs["causal_modelling"], length=18)
    assert "training saw 15 places, and this text takes 20" in capsys.readouterr().err


@pytest.mark.parametrize(("task", "settings", "said"), [
    ("causal_modelling", {"length": 19}, r"21 tokens, but model\.places is 20"),
    ("causal_modelling", {"prompt": "abz"}, "'z' is not in the vocabulary"),
    ("causal_modelling", {"prompt": ""}, "--prompt is empty"),
    ("causal_modelling", {"length": 0}, "length is at least 1"),
    ("causal_modelling", {"temperature": -1.0}, "not negative"),
    ("causal_modelling", {"temperature": float("nan")}, "not negative"),
    ("causal_modelling", {"seed": -1}, "not negative"),
    ("masked_modelling", {}, "was trained for masked_modelling and writes no text"),
    ("classification", {}, "was trained for classification and writes no text"),
])  # fmt: skip
def test_mistakes(runs, task, settings, said):
    with pytest.raises(UserError, match=said) as caught:
        write(runs[task], **settings)
    assert "\n" not in str(caught.value)


def test_a_network_that_sees_both_sides_does_not_write(runs):
    config = configs.read(runs["causal_modelling"])
    config.model.variant = "bert-tiny"
    with pytest.raises(UserError, match="bert-tiny sees both sides"):
        generate(config, runs["causal_modelling"], "latest", "abc", 5, 1.0, 0)
