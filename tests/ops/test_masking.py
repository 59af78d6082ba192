import jax
import jax.numpy as jnp
import numpy as np

from cvjax.ops import masking

TOKENS = jax.random.randint(jax.random.key(0), (2000, 40), 0, 50)


def keys(seed):
    return jax.random.split(jax.random.key(seed), len(TOKENS))


def test_bert_s_shares():
    """15 % of the tokens; of these 80 % hidden, 10 % another, 10 % as they were, within three standard deviations."""
    seeds = masking.seeds(TOKENS, keys(1))
    corrupted, masked = masking.corrupt(TOKENS, seeds, vocabulary=50, mask=50)
    assert (masked.sum(1) == 6).all() and jnp.array_equal(corrupted[~masked], TOKENS[~masked])
    np.testing.assert_allclose(masked.mean(0), 0.15, atol=3 * (0.15 * 0.85 / 2000) ** 0.5 * 1.2)
    chosen, before = np.asarray(corrupted[masked]), np.asarray(TOKENS[masked])
    n = len(chosen)
    kept, other = 0.1 + 0.1 / 50, 0.1 * 49 / 50
    for share, found in ((0.8, chosen == 50), (kept, chosen == before), (other, (chosen != before) & (chosen < 50))):
        assert abs(found.mean() - share) < 3 * (share * (1 - share) / n) ** 0.5
    strangers = chosen[(chosen != before) & (chosen < 50)]
    assert len(set(strangers.tolist())) == 50, "any token of the vocabulary"


def test_at_least_one_is_hidden():
    _, masked = masking.corrupt(TOKENS[:, :2], masking.seeds(TOKENS, keys(1)), 50, 50)
    assert (masked.sum(1) == 1).all()


def test_an_example_has_its_own_seed_wherever_it_stands():
    alone = masking.seeds(TOKENS, None)
    assert jnp.array_equal(masking.seeds(TOKENS[::-1], None)[::-1], alone)
    assert jnp.array_equal(masking.seeds(TOKENS[5:6], None)[0], alone[5])
    assert len(set(np.asarray(alone).tolist())) == 2000
    assert int(masking.seeds(TOKENS[:1, ::-1], None)[0]) != int(alone[0]), "the order of the tokens counts"
    pictures = jax.random.normal(jax.random.key(0), (50, 4, 4, 3))
    assert len(set(np.asarray(masking.seeds(pictures, None)).tolist())) == 50


def test_a_step_draws_anew():
    a, b = (masking.seeds(TOKENS, keys(k)) for k in (1, 2))
    assert not jnp.array_equal(a, b) and jnp.array_equal(a, masking.seeds(TOKENS, keys(1)))
