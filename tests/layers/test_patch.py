import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.layers import position
from cvjax.layers.patch import POSITIONS, Embed, refitted

IMAGE = jax.random.normal(jax.random.key(0), (2, 8, 12, 3))


def test_a_patch_is_a_token_row_by_row():
    embed = Embed(16, 4, "none", token=False)
    variables = embed.init(jax.random.key(1), IMAGE)
    found = embed.apply(variables, IMAGE)
    kernel = np.asarray(variables["params"]["patch"]["kernel"]).reshape(-1, 16)
    assert found.shape == (2, 6, 16)
    for row, column in np.ndindex(2, 3):
        patch = np.asarray(IMAGE[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]).reshape(2, -1)
        np.testing.assert_allclose(found[:, 3 * row + column], patch @ kernel, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", POSITIONS)
@pytest.mark.parametrize("token", [True, False])
def test_places_are_added_and_differ(kind, token):
    embed = Embed(16, 4, kind, token)
    variables = embed.init(jax.random.key(1), 0 * IMAGE)
    places = embed.apply(variables, 0 * IMAGE)[0]  # of black patches nothing else is left
    assert places.shape == (6 + token, 16)
    different = {tuple(np.asarray(row)) for row in places[int(token) :]}
    assert len(different) == (1 if kind == "none" else 6)


def test_two_dimensional_places_share_rows_and_columns():
    embed = Embed(16, 4, "learned_2d", token=False)
    grid = embed.apply(embed.init(jax.random.key(1), 0 * IMAGE), 0 * IMAGE)[0].reshape(2, 3, 16)
    np.testing.assert_array_equal(grid[0, :, :8], np.broadcast_to(grid[0, :1, :8], (3, 8)))
    np.testing.assert_array_equal(grid[:, 0, 8:], np.broadcast_to(grid[:1, 0, 8:], (2, 8)))


def test_sines_turn_alike_everywhere():
    """The products of two places depend on their distance alone."""
    for table, far in ((position.sincos_1d(20, 16), lambda i: i), (position.sincos_2d(1, 20, 16), lambda i: i)):
        products = table @ table.T
        for gap in (0, 1, 5):
            np.testing.assert_allclose(np.diag(products, far(gap)), products[0, gap], rtol=1e-4)
    assert position.sincos_1d(3, 4)[1].tolist() == pytest.approx([np.sin(1), np.cos(1), np.sin(0.01), np.cos(0.01)])
    assert position.sincos_2d(2, 2, 4)[1].tolist() == pytest.approx([np.sin(1), np.cos(1), 0, 1])  # column 1, row 0


@pytest.mark.parametrize(
    ("table", "said"), [(lambda: position.sincos_1d(3, 5), "even width"), (lambda: position.sincos_2d(2, 2, 6), "4 divides")]
)
def test_widths_that_cannot_be(table, said):
    with pytest.raises(ValueError, match=said):
        table()


def test_images_that_are_not_made_of_patches():
    with pytest.raises(ValueError, match="8x12 pixels is not made of patches of 5x5"):
        Embed(16, 5).init(jax.random.key(0), IMAGE)


def test_a_table_for_another_size():
    ramp = jnp.stack([jnp.repeat(jnp.arange(4.0), 4), jnp.tile(jnp.arange(4.0), 4)], -1)  # row and column of 4x4
    wide = refitted(ramp, 64).reshape(8, 8, 2)
    np.testing.assert_allclose(wide[1:-1, 3, 0], np.arange(0.25, 3, 0.5), atol=1e-6)  # linear stays linear between the outer centres
    np.testing.assert_allclose(wide[3, 1:-1, 1], np.arange(0.25, 3, 0.5), atol=1e-6)
    whole = jnp.concatenate([jnp.full((1, 2), 9.0), ramp])
    assert jnp.array_equal(refitted(whole, 17), whole), "the same size is the same table"
    assert refitted(whole, 65)[0].tolist() == [9, 9], "the class token's place is kept aside"
    assert jnp.array_equal(refitted(whole, 16), ramp) and not refitted(ramp, 17)[0].any()
    assert refitted(ramp[:7], 17) is None and refitted(ramp, 7) is None
