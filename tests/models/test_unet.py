"""U-Net against the paper's figure 1, and what its parts promise."""

import jax
import jax.numpy as jnp
import numpy as np
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


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("size", [(1, 1), (7, 16), (33, 20)])
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


def test_without_bridges_the_fine_maps_do_not_matter():
    """The gradient by the picture comes through the coarsest map alone: a pixel's influence is that of its whole 4x4 cell's pooling."""
    model = unet.Model(num_classes=2, variant="tiny", skips="none")
    image = jax.random.normal(jax.random.key(1), (1, 16, 16, 3))
    variables = model.init(jax.random.key(0), {"image": image}, train=False)
    slope = jax.grad(lambda x: jnp.square(model.apply(variables, {"image": x}, train=False)["logits"]).sum())(image)
    bridged = unet.Model(num_classes=2, variant="tiny")
    variables = bridged.init(jax.random.key(0), {"image": image}, train=False)
    dense = jax.grad(lambda x: jnp.square(bridged.apply(variables, {"image": x}, train=False)["logits"]).sum())(image)
    assert np.isfinite(slope).all() and (np.asarray(dense) != 0).mean() > 0.99


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"variant": "huge"}, "no variant 'huge'; have 'unet'"), ({"padding": "zeros"}, "no padding 'zeros'"),
     ({"upsample": "cubic"}, "no upsample"), ({"skips": "add"}, "no skips 'add'"), ({"dropout": 1.0}, "dropout 1.0"),
     ({"upsample": "unpool", "padding": "valid"}, "use padding 'same'")],
)  # fmt: skip
def test_mistakes_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        shapes(16, **settings)
