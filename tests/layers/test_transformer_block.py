from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.layers.attention import Attention
from cvjax.layers.transformer import LAYERS, Block, Stack

X = jax.random.normal(jax.random.key(0), (2, 6, 16))


def near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def made(module, *inputs):
    return module, module.init(jax.random.key(1), *inputs)


def test_self_attention_knows_no_order():
    layer, variables = made(Attention(4), X)
    order = jnp.asarray([3, 1, 5, 0, 2, 4])
    near(layer.apply(variables, X[:, order]), layer.apply(variables, X)[:, order])


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_causal_block_sees_nothing_later(norm):
    block, variables = made(Block(2, 32, norm, causal=True), X)
    slopes = jax.jacobian(lambda x: block.apply(variables, x)[0, :, :3].sum(-1))(X)  # place, batch, place, channel
    later = np.asarray(jnp.abs(slopes[:, 0]).sum(-1))
    assert not np.triu(later, 1).any() and later[np.tril_indices(6)].all() and not slopes[:, 1].any()


def test_as_many_parameters_with_any_number_of_heads():
    counts = {heads: sum(x.size for x in jax.tree.leaves(made(Attention(heads), X)[1])) for heads in (1, 2, 8)}
    assert set(counts.values()) == {4 * (16 * 16 + 16)}


def test_one_place_at_a_time_from_a_cache_is_the_whole_sequence_at_once():
    block = Block(4, 32, causal=True)
    variables = block.init(jax.random.key(1), X)
    decoder = Block(4, 32, causal=True, decode=True)
    cache = decoder.init(jax.random.key(1), X)["cache"]
    step = jax.jit(lambda cache, x: decoder.apply({**variables, "cache": cache}, x, mutable=["cache"]))
    found = []
    for piece in (X[:, :2], X[:, 2:3], X[:, 3:4], X[:, 4:6]):
        y, kept = step(cache, piece)
        cache = kept["cache"]
        found.append(y)
    near(jnp.concatenate(found, 1), block.apply(variables, X))
    assert int(cache["attention"]["at"]) == 6


@pytest.mark.parametrize("layers", LAYERS[1:])
def test_scanned_blocks_are_the_blocks(layers):
    """Values and gradients; the parameters of block i are the i-th of each array."""
    block = partial(Block, 2, 32)
    apart, together = Stack(3, block), Stack(3, block, layers)
    params = together.init(jax.random.key(1), X)["params"]
    taken = {f"block{i + 1}": jax.tree.map(lambda x, i=i: x[i], params["blocks"]) for i in range(3)}
    assert not jnp.array_equal(taken["block1"]["mlp"]["hidden"]["kernel"], taken["block2"]["mlp"]["hidden"]["kernel"])

    def loss(stack):
        return jax.jit(jax.value_and_grad(lambda p: jnp.sin(stack.apply({"params": p}, X)).sum()))

    (value, gradient), (expected, of_blocks) = loss(together)(params), loss(apart)(taken)
    near(value, expected)
    for i in range(3):
        jax.tree.map(near, jax.tree.map(lambda x, i=i: x[i], gradient["blocks"]), of_blocks[f"block{i + 1}"])


def test_scanned_blocks_drop_and_show_each_their_own():
    stack = Stack(2, partial(Block, 2, 32, dropout=0.5), "scanned")
    variables = stack.init(jax.random.key(1), X)
    same = {"params": jax.tree.map(lambda x: x[:1].repeat(2, 0), variables["params"])}

    def hidden(x):
        _, kept = stack.apply(same, x, train=True, rngs={"dropout": jax.random.key(2)}, capture_intermediates=True, mutable=True)
        return kept["intermediates"]["blocks"]["mlp"]["__call__"][0], kept["attention"]["blocks"]["attention"]["weights"][0]

    dropped, weights = hidden(X)
    assert not jnp.array_equal(dropped[0] == 0, dropped[1] == 0)
    assert weights.shape == (2, 2, 2, 6, 6) and not jnp.array_equal(weights[0], weights[1])


def test_compiling_a_scan_does_not_grow_with_depth():
    def lines(depth, layers):
        stack = Stack(depth, partial(Block, 2, 32), layers)
        variables = jax.eval_shape(lambda: stack.init(jax.random.key(1), X))
        return jax.jit(stack.apply).lower(variables, X).as_text().count("\n")

    assert lines(24, "scanned") < 1.1 * lines(2, "scanned") and lines(24, "unrolled") > 8 * lines(2, "unrolled")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Attention(3), "3 heads do not divide a width of 16"),
        (Block(2, 32, "both"), "no norm 'both'; have 'pre', 'post'"),
        (Stack(2, partial(Block, 2, 32), "rolled"), "no layers 'rolled'; have 'unrolled', 'scanned'"),
    ],
)
def test_what_cannot_be_is_named(module, said):
    with pytest.raises(ValueError, match=said):
        module.init(jax.random.key(0), X)


def test_what_is_taken_may_be_other_than_what_is_looked_at():
    """Values that are all the same give one answer, whatever the keys; the keys alone say what weighs how much."""
    attention = Attention(2)
    variables = attention.init(jax.random.key(0), X)
    first, second = (attention.apply(variables, X, 2 * X, values=x) for x in (jnp.broadcast_to(X[:, :1], X.shape), X))
    np.testing.assert_allclose(first, jnp.broadcast_to(first[:, :1], first.shape), rtol=1e-5, atol=1e-6)
    assert not jnp.allclose(second, attention.apply(variables, X, X), atol=1e-4)
    np.testing.assert_array_equal(attention.apply(variables, X, X, values=X), attention.apply(variables, X))


def test_a_full_cache_is_named():
    decoder = Attention(2, causal=True, decode=True)
    variables = decoder.init(jax.random.key(0), X[:, :3])
    with pytest.raises(ValueError, match="6 places do not fit a cache of 3"):
        decoder.apply(variables, X, mutable=["cache"])
