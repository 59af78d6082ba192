import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import describe
from cvjax.models.transformer import Model
from cvjax.tasks import causal_modelling

TOKENS = jax.random.randint(jax.random.key(0), (2, 7), 0, 5)


def made(variant, classes=5, **settings):
    model = Model(classes, variant, places=16, **settings)
    return model, jax.jit(lambda: model.init(jax.random.key(1), {"tokens": TOKENS}, train=False))()


@pytest.mark.parametrize(
    ("variant", "vocabulary", "places", "count"),
    [
        ("gpt2", 50257, 1024, 124_439_808),  # GPT2LMHeadModel
        ("gpt2-medium", 50257, 1024, 354_823_168),
        ("bert-base", 30522, 512, 109_514_298 - 2 * 768),  # BertForMaskedLM, less its segments
        ("bert-large", 30522, 512, 335_174_458 - 2 * 1024),
    ],
)
def test_parameters_of_the_published_networks(variant, vocabulary, places, count):
    model = Model(vocabulary, variant, places=places)
    assert describe.parameters(model, {"tokens": jax.ShapeDtypeStruct((1, 8), jnp.int32)}) == count


def test_a_gpt_sees_nothing_later_and_a_bert_everything():
    seen = {}
    for variant in ("gpt-tiny", "bert-tiny"):
        model, variables = made(variant)
        table = variables["params"]["embed"]["embedding"]

        def logits(x, model=model, variables=variables, table=table):
            """Of tokens given as mixtures, through an embedding that is linear."""
            params = {**variables["params"], "embed": {"embedding": jnp.concatenate([x, table])}}
            wide = Model(len(x) + len(table), model.variant, places=16)
            if "head_bias" in params:
                params["head_bias"] = jnp.zeros(len(x) + len(table))
            return wide.apply({"params": params}, {"tokens": jnp.arange(len(x))[None]}, train=False)["features"][0, :, :3].sum(-1)

        slopes = jax.jacobian(logits)(table[TOKENS[0]])
        seen[variant] = np.asarray(jnp.abs(slopes).sum(-1))  # place, token
    assert not np.triu(seen["gpt-tiny"], 1).any() and seen["gpt-tiny"][np.tril_indices(7)].all()
    assert seen["bert-tiny"].all()


def test_probabilities_of_all_texts_sum_to_one():
    """Of 3 letters and 5 places after the first: the losses are those of a joint distribution."""
    model, variables = made("gpt-tiny", classes=3)
    params = jax.tree.map(lambda x: 10 * x, variables["params"])  # far from uniform
    texts = jnp.asarray([(1, *rest) for rest in itertools.product(range(3), repeat=5)], jnp.int32)
    batch = {"tokens": texts, "valid": jnp.ones(len(texts), bool), "characters": jnp.full(len(texts), 5)}
    given = causal_modelling.inputs(batch, None, None)
    outputs = model.apply({"params": params}, given, train=False)

    def of_one(logits, target):
        one = {"target": target[None], "valid": jnp.ones(1, bool), "characters": jnp.full(1, 5)}
        return causal_modelling.loss({"logits": logits[None]}, one)["loss"].sum

    chances = jnp.exp(-jax.vmap(of_one)(outputs["logits"], given["target"]))
    np.testing.assert_allclose(float(chances.sum()), 1, rtol=1e-5)
    assert float(chances.max() / chances.min()) > 10
    whole = causal_modelling.loss(outputs, batch | given)
    np.testing.assert_allclose(float(whole["loss"].sum), float(-jnp.log(chances).sum()), rtol=1e-5)
    np.testing.assert_allclose(float(whole["bits_per_character"].sum), float(-jnp.log2(chances).sum()), rtol=1e-5)
    assert float(whole["bits_per_character"].count) == 5 * 243


def test_perplexity_is_of_the_mean_loss():
    assert causal_modelling.derived({"loss": math.log(7)})["perplexity"] == pytest.approx(7)


@pytest.mark.parametrize("position", ["learned", "sincos", "none"])
def test_from_a_cache_as_in_one_go(position):
    model, variables = made("gpt-mini", position=position)
    decoder = model.clone(decode=True)
    cache = decoder.init(jax.random.key(1), {"tokens": jnp.zeros((2, 16), jnp.int32)}, train=False)["cache"]
    found = []
    for piece in (TOKENS[:, :3], TOKENS[:, 3:4], TOKENS[:, 4:7]):
        out, kept = decoder.apply({**variables, "cache": cache}, {"tokens": piece}, train=False, mutable=["cache"])
        cache = kept["cache"]
        found.append(out["logits"])
    whole = model.apply(variables, {"tokens": TOKENS}, train=False)["logits"]
    np.testing.assert_allclose(jnp.concatenate(found, 1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"variant": "gpt3"}, "no variant 'gpt3'; have gpt2"),
        ({"position": "rotary"}, "no position 'rotary'"),
        ({"variant": "bert-tiny", "decode": True}, "sees both sides"),
        ({"dropout": -0.1}, "dropout -0.1; a share"),
        ({"places": 3}, r"7 tokens, but model\.places is 3"),
    ],
)
def test_what_cannot_be_is_named(settings, said):
    with pytest.raises(ValueError, match=said):
        Model(5, **{"variant": "gpt-tiny", **settings}).init(jax.random.key(0), {"tokens": TOKENS}, train=False)
