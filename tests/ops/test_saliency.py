"""Maps of where a network looks: closed forms, and that nothing is turned or mirrored on the way to a grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops import saliency


def test_rollout_of_attention_to_oneself_is_the_identity():
    eye = jnp.broadcast_to(jnp.eye(5), (2, 3, 5, 5))
    np.testing.assert_allclose(saliency.rollout([eye] * 4), np.broadcast_to(np.eye(5), (2, 5, 5)), atol=1e-6)


@pytest.mark.parametrize("depth", [1, 2, 6])
def test_rollout_of_even_attention_is_even_beside_what_shortcuts_carry(depth):
    """(1/n + I) / 2 has the powers 2^-d I + (1 - 2^-d) / n."""
    n = 5
    expected = np.eye(n) * 0.5**depth + (1 - 0.5**depth) / n
    np.testing.assert_allclose(saliency.rollout([jnp.full((1, 2, n, n), 1 / n)] * depth)[0], expected, atol=1e-6)


def test_rollout_of_two_layers_by_hand():
    """The first layer swaps two places, the second looks at the first place only: (A2 + I) / 2 times (A1 + I) / 2, in this order."""
    first, second = jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([[1.0, 0.0], [1.0, 0.0]])
    found = saliency.rollout([first[None, None], second[None, None]])
    np.testing.assert_allclose(found[0], [[0.5, 0.5], [0.5, 0.5]])
    found = saliency.rollout([second[None, None], first[None, None]])
    np.testing.assert_allclose(found[0], [[0.75, 0.25], [0.75, 0.25]])


def test_rollout_averages_heads_and_its_rows_sum_to_1():
    layers = [jax.nn.softmax(jax.random.normal(key, (2, 3, 10, 10))) for key in jax.random.split(jax.random.key(0), 3)]
    found = saliency.rollout(layers)
    np.testing.assert_allclose(found.sum(-1), np.ones((2, 10)), atol=1e-5)
    np.testing.assert_allclose(found, saliency.rollout([weights.mean(1, keepdims=True) for weights in layers]), atol=1e-6)


def test_places_are_rows_of_the_picture_after_a_class_token():
    x = jnp.array([[9.0, 0, 1, 2, 3]])
    np.testing.assert_array_equal(saliency.grid(x)[0], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(saliency.grid(x[:, 1:])[0], [[0, 1], [2, 3]])
    with pytest.raises(ValueError, match="7 places make no square"):
        saliency.grid(jnp.zeros((1, 7)))


@pytest.mark.parametrize("n, side, token", [(1, 1, False), (2, 1, True), (4, 2, False), (5, 2, True), (196, 14, False), (197, 14, True)])
def test_a_class_token_is_told_by_the_number_of_places(n, side, token):
    assert saliency.side(n) == side and saliency.has_token(n) == token


def test_what_is_looked_at_is_the_class_tokens_row_or_the_mean_of_all():
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(1), (2, 10, 10)))
    np.testing.assert_allclose(saliency.looked_at(weights), np.asarray(weights)[:, 0, 1:].reshape(2, 3, 3))
    np.testing.assert_allclose(saliency.looked_at(weights[:, 1:, 1:]), weights[:, 1:, 1:].mean(1).reshape(2, 3, 3), atol=1e-7)
    pooled = weights[:, 1:, :4]  # nine places look at a grid of four
    np.testing.assert_allclose(saliency.looked_at(pooled), pooled.mean(1).reshape(2, 2, 2), atol=1e-7)


def test_grad_cam_by_hand():
    """Two maps, slopes with means 0.5 and -1: where the second is larger than half the first there is nothing."""
    maps = jnp.stack([jnp.array([[4.0, 0.0], [2.0, 2.0]]), jnp.array([[1.0, 1.0], [0.0, 3.0]])], -1)[None]
    slopes = jnp.stack([jnp.array([[2.0, 0.0], [0.0, 0.0]]), -jnp.ones((2, 2))], -1)[None]
    np.testing.assert_allclose(saliency.grad_cam(maps, slopes)[0], [[1.0, 0.0], [1.0, 0.0]])
