"""U-Net against the paper's figure 1, and what its parts promise."""

import jax
import jax.numpy as jnp
import pytest

from cvjax.layers.upsample import OPERATIONS
from cvjax.models import unet


def shapes(size, channels=1, **settings):
    model = unet.Model(**{"num_classes": 2, "variant": "tiny", **settings})
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    return jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), {"image": x}, train=False), image)


def expected(width, levels, channels, classes):
    """Figure 1 counted by hand: pairs of 3x3 convolutions down, a 2x2 up-convolution and a pair up, 1x1 at the end."""
    convolution = lambda size, i, o: size * size * i * o + o  # noqa: E731
    total, before = 0, channels
    for level in range(levels):
        own = width * 2**level
        total += convolution(3, before, own) + convolution(3, own, own)
        before = own
    for level in reversed(range(levels - 1)):
        own = width * 2**level
        total += convolution(2, 2 * own, own) + convolution(3, 2 * own, own) + convolution(3, own, own)
    return total + convolution(1, width, classes)


def test_the_papers_network_has_23_convolutions_and_31_million_parameters():
    out, variables = shapes(64, variant="unet")
    kernels = [x for path, x in jax.tree.leaves_with_path(variables["params"]) if "kernel" in jax.tree_util.keystr(path)]
    assert len(kernels) == 23
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == expected(64, 5, 1, 2) == 31_030_658
    assert out["logits"].shape == (1, 64, 64, 2)


def test_figure_1s_sizes():
    assert unet.result(572, 5) == 388
    assert [n for n in range(180, 240) if unet.result(n, 5)] == [188, 204, 220, 236]
    assert all(unet.result(188 + 16 * m, 5) == 4 + 16 * m for m in range(30))
    assert unet.fitting(388, 5, valid=True) == (572, 92)
    assert unet.fitting(100, 5, valid=False) == (112, 0)


@pytest.mark.parametrize(("padding", "size"), [("same", (1, 1)), ("valid", (1, 1)), ("same", (33, 20)), ("valid", (7, 16))])
def test_scores_are_of_every_pixel_whatever_the_size(padding, size):
    model = unet.Model(num_classes=3, variant="tiny", padding=padding)
    image = jax.random.normal(jax.random.key(1), (2, *size, 3))
    out, _ = jax.jit(lambda x: model.init_with_output(jax.random.key(0), {"image": x}, train=False))(image)
    assert out["logits"].shape == (2, *size, 3) and bool(jnp.isfinite(out["logits"]).all())


def test_valid_convolutions_never_see_zeros():
    """Of a constant picture every pixel has the same scores: mirrored it is constant, where padded with zeros it is not."""
    image = jnp.ones((1, 20, 20, 3))
    for padding, constant in (("valid", True), ("same", False)):
        model = unet.Model(num_classes=3, variant="tiny", padding=padding)
        out, _ = jax.jit(lambda x, model=model: model.init_with_output(jax.random.key(0), {"image": x}, train=False))(image)
        spread = float(jnp.ptp(out["logits"], axis=(1, 2)).max())
        assert (spread < 1e-5) is constant


@pytest.mark.parametrize("upsample", OPERATIONS)
@pytest.mark.parametrize("skips", ["concat", "sum", "none"])
def test_every_part_fits_every_other(upsample, skips):
    out, _ = shapes(24, upsample=upsample, skips=skips, batch_norm=True)
    assert out["logits"].shape == (1, 24, 24, 2)


@pytest.mark.parametrize("skips", ["sum", "none"])
def test_only_joined_maps_widen_the_convolutions(skips):
    """The first convolution of each pair on the way up sees the doubled map alone: 9 values less for each channel of its own."""
    _, joined = shapes(64, variant="unet")
    _, other = shapes(64, variant="unet", skips=skips)
    sizes = [sum(x.size for x in jax.tree.leaves(variables["params"])) for variables in (joined, other)]
    assert sizes[0] - sizes[1] == sum(9 * width**2 for width in (64, 128, 256, 512))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"variant": "huge"}, "no variant 'huge'; have 'unet'"), ({"padding": "zeros"}, "no padding 'zeros'"),
     ({"upsample": "cubic"}, "no upsample"), ({"skips": "add"}, "no skips 'add'"), ({"dropout": 1.0}, "dropout 1.0"),
     ({"upsample": "unpool", "padding": "valid"}, "use padding 'same'")],
)  # fmt: skip
def test_mistakes_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        shapes(16, **settings)
