import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops import attention
from cvjax.ops.attention import attend, weights

B, Q, K, H, D = 2, 300, 270, 2, 8  # two blocks of queries, the second one short


def draw(q=Q, k=K, seed=0, dtype=jnp.float32):
    shapes = ((B, q, H, D), (B, k, H, D), (B, k, H, 5))
    return [jax.random.normal(key, shape, dtype) for key, shape in zip(jax.random.split(jax.random.key(seed), 3), shapes, strict=True)]


def by_hand(query, key, value, allowed):
    """Equation 1 of the paper, a query and a head at a time, in float64."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    out = np.zeros((*query.shape[:3], value.shape[-1]))
    for b, i, h in np.ndindex(out.shape[:3]):
        look = allowed[b, h, i]
        if look.any():
            e = np.exp(key[b, look, h] @ query[b, i, h] / np.sqrt(query.shape[-1]))
            out[b, i, h] = e @ value[b, look, h] / e.sum()
    return out


MASKS = {
    "none": lambda: None,
    "padding": lambda: (jnp.arange(K)[None] < jnp.asarray([K, 31])[:, None])[:, None, None],
    "arbitrary": lambda: jax.random.bernoulli(jax.random.key(5), 0.3, (B, H, Q, K)),
    "one head": lambda: jax.random.bernoulli(jax.random.key(6), 0.3, (B, 1, Q, K)),
    "nothing": lambda: jnp.broadcast_to((jnp.arange(Q) % 7 > 0)[None, None, :, None], (1, 1, Q, K)),
}


@pytest.mark.parametrize("implementation", ["plain", "chunked"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_is_the_paper_s_equation(name, causal, implementation):
    query, key, value = draw()
    mask = MASKS[name]()
    allowed = np.broadcast_to(True if mask is None else np.asarray(mask), (B, H, Q, K))
    if causal:
        allowed = allowed & (np.arange(K) <= np.arange(Q)[:, None] + K - Q)
    found = attend(query, key, value, mask, causal=causal, implementation=implementation)
    np.testing.assert_allclose(found, by_hand(query, key, value, allowed), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MASKS)
def test_chunked_has_the_gradients_of_plain_and_none_where_nothing_is_looked_at(name):
    query, key, value = draw()
    mask = MASKS[name]()

    def gradients(implementation):
        def total(*x):
            return jnp.sin(attend(*x, mask, causal=True, implementation=implementation)).sum()

        return jax.jit(jax.grad(total, (0, 1, 2)))(query, key, value)

    plain, chunked = gradients("plain"), gradients("chunked")
    for a, b in zip(plain, chunked, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        assert bool(jnp.isfinite(b).all())
    blind = ~np.asarray(weights(query, key, mask, causal=True)).any(-1)  # b h q
    assert blind.any(), "the first queries of more queries than keys see nothing"
    assert not np.asarray(chunked[0]).swapaxes(1, 2)[blind].any() and not np.asarray(plain[0]).swapaxes(1, 2)[blind].any()


def test_no_key_at_all_may_be_looked_at():
    query, key, value = draw()
    for implementation in ("plain", "chunked"):
        out, back = jax.vjp(lambda *x, i=implementation: attend(*x, jnp.zeros((1, 1, 1, K), bool), implementation=i), query, key, value)
        assert not out.any() and not any(g.any() for g in back(jnp.ones_like(out)))


def test_rows_of_weights_sum_to_one_and_zero_queries_look_everywhere_alike():
    query, key, _ = draw()
    np.testing.assert_allclose(weights(query, key).sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(weights(0 * query, key), 1 / K, rtol=1e-5)


def test_logits_keep_unit_variance():
    """Of unit normal queries and keys; without the division it would be d."""
    query, key = (jax.random.normal(k, (1, 500, 1, 64)) for k in jax.random.split(jax.random.key(0)))
    logits = jnp.log(weights(query, key))
    np.testing.assert_allclose(float((logits - logits.mean(-1, keepdims=True)).var()), 1, rtol=0.05)


def test_keys_in_another_order_change_nothing_and_queries_take_theirs_along():
    query, key, value = draw()
    order = jax.random.permutation(jax.random.key(1), K)
    np.testing.assert_allclose(attend(query, key[:, order], value[:, order]), attend(query, key, value), rtol=1e-4, atol=1e-5)
    turned = jax.random.permutation(jax.random.key(2), Q)
    np.testing.assert_allclose(attend(query[:, turned], key, value), attend(query, key, value)[:, turned], rtol=1e-5, atol=1e-6)


def test_nothing_leaks_from_later_places():
    query, key, value = (x[:1, :6] for x in draw())
    for implementation in ("plain", "chunked"):
        for i in (1, 2):
            x = [query, key, value]
            slopes = jax.jacobian(
                lambda y, x=x, i=i, m=implementation: attend(*x[:i], y, *x[i + 1 :], causal=True, implementation=m).sum((0, 2, 3))
            )(x[i])
            later = np.asarray(jnp.abs(slopes).sum((1, 3, 4)))  # query, key
            assert not np.triu(later, 1).any() and np.tril(later).any()


def test_dropout_keeps_the_mean_and_is_none_without_a_key():
    query, key, value = draw(4, 16)
    for implementation in ("plain", "chunked"):
        many = jax.jit(jax.vmap(lambda k, m=implementation: attend(query, key, value, dropout=0.4, rng=k, implementation=m)))
        draws = many(jax.random.split(jax.random.key(0), 1000))
        np.testing.assert_allclose(draws.mean(0), attend(query, key, value), atol=0.12)
        assert float(draws.std(0).min()) > 0.01
    assert jnp.array_equal(attend(query, key, value, dropout=0.4), attend(query, key, value))


def test_half_precision_sums_in_full():
    query, key, value = draw(dtype=jnp.bfloat16)
    exact = attend(*(x.astype(jnp.float32) for x in (query, key, value)))
    for implementation in ("plain", "chunked"):
        found = attend(query, key, value, implementation=implementation)
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.02)


def test_chunked_needs_memory_that_grows_with_the_length():
    """What XLA plans for the gradient: twice the length is twice the memory, four times for plain."""

    def planned(implementation, n):
        x = jax.ShapeDtypeStruct((1, n, 2, 16), jnp.float32)
        gradient = jax.jit(jax.grad(lambda *x: attend(*x, implementation=implementation).sum(), (0, 1, 2)))
        return gradient.lower(x, x, x).compile().memory_analysis().temp_size_in_bytes

    assert planned("chunked", 4096) / planned("chunked", 2048) < 2.2
    assert planned("plain", 4096) / planned("plain", 2048) > 3.5


def test_long_sequences_choose_chunks():
    query, key, _ = draw(4, 4)
    assert attention._chosen(query, key, key, None, False, 0.0) == "plain"
    long = jnp.zeros((1, 4096, 1, 8))
    assert attention._chosen(long, long, long, None, False, 0.0) == "chunked"


def test_the_fused_kernel_is_chosen_where_it_can_be(monkeypatch):
    """On a GPU, in half precision, with values as wide as queries: SAGAN's are wider, for instance."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x, wide = jnp.zeros((1, 64, 1, 8), jnp.bfloat16), jnp.zeros((1, 64, 1, 32), jnp.bfloat16)
    assert attention._chosen(x, x, x, None, True, 0.0) == "cudnn"
    assert attention._chosen(x, x, wide, None, False, 0.0) == "plain" == attention._chosen(x, x, x, None, False, 0.1)
    assert attention._chosen(*[x.astype(jnp.float32)] * 3, None, False, 0.0) == "plain"
    long = jnp.zeros((1, 4096, 1, 8), jnp.bfloat16)
    assert attention._chosen(long[:, 1:], long, long, None, True, 0.0) == "chunked"


def test_no_queries_no_answers():
    query, key, value = draw()
    for implementation in ("plain", "chunked"):
        assert attend(query[:, :0], key, value, implementation=implementation).shape == (B, 0, H, value.shape[-1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(mask=jnp.ones((B, H, Q, K + 1), bool)), r"a mask of \(2, 2, 300, 271\) does not fit"),
        (dict(mask=jnp.ones((Q, K), bool)), r"it must be \(batch, heads, queries, keys\) = \(2, 2, 300, 270\)"),
        (dict(implementation="flash"), "no implementation 'flash'; have 'auto', 'plain'"),
        (dict(key=jnp.zeros((B, K, H, D + 1))), "do not fit each other"),
        (dict(key=jnp.zeros((1, K, H, D))), "do not fit each other"),
        (dict(mask=jnp.zeros((1, 1, Q, K))), "a mask is of bool, True where a query may look, not of float32"),
        (dict(dropout=1.0), "dropout 1.0; a share of at least 0 and below 1"),
    ],
)
def test_what_does_not_fit_is_named(change, said):
    query, key, value = draw()
    given = dict(query=query, key=key, value=value, mask=None, dropout=0.0, implementation="auto") | change
    with pytest.raises(ValueError, match=said):
        attention._check(**given)  # inside `attend`, before which these tests check shapes of their own
    with pytest.raises(ValueError, match="cudnn computes on an NVIDIA GPU in bfloat16 or float16"):
        attend(query, key, value, implementation="cudnn")
