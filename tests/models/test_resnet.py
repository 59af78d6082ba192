"""ResNet against the paper's tables, its twins and its symmetries. Against torch's numbers: tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.describe import multiply_adds, parameters
from cvjax.models import resnet


def model(variant, shortcut="", classes=None, **kw):
    imagenet = len(resnet.VARIANTS[variant].blocks) == 4
    return resnet.Model(num_classes=classes or (1000 if imagenet else 10), variant=variant, shortcut=shortcut, **kw)


def picture(variant):
    size = 224 if len(resnet.VARIANTS[variant].blocks) == 4 else 32
    return {"image": jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)}


# He et al. 2015: sizes of Table 6 counted exactly; torchvision's documented counts for option B at 1000 classes
SIZES = [
    (20, "A", 269_722), (32, "A", 464_154), (44, "A", 658_586), (56, "A", 853_018), (110, "A", 1_727_962),
    (1202, "none", 19_421_274),
    (20, "B", 272_474), (32, "B", 466_906), (44, "B", 661_338), (56, "B", 855_770), (110, "B", 1_730_714),
    (18, "B", 11_689_512), (34, "B", 21_797_672), (34, "C", 22_716_840), (18, "A", 11_515_688), (34, "A", 21_623_848),
    (50, "B", 25_557_032), (101, "B", 44_549_160), (152, "B", 60_192_808),
]  # fmt: skip


@pytest.mark.parametrize(("variant", "shortcut", "count"), SIZES)
def test_parameters_as_published(variant, shortcut, count):
    assert parameters(model(variant, shortcut), picture(variant)) == count


@pytest.mark.parametrize(("variant", "count"), [(20, 40.6), (32, 68.9), (44, 97.2), (56, 125.5), (110, 252.9), (1202, 2829)])
def test_multiply_adds_of_the_cifar_family(variant, count):
    millions = multiply_adds(model(variant), picture(variant)) / 1e6
    assert round(millions, 0 if variant == 1202 else 1) == count


@pytest.mark.parametrize(
    ("variant", "shortcut", "bottleneck", "count"),
    [(18, "", "v1.5", 1.814), (34, "", "v1.5", 3.664), (34, "A", "v1.5", 3.644), (34, "none", "v1", 3.644),
     (50, "", "v1", 3.858), (101, "", "v1", 7.570), (152, "", "v1", 11.282),
     (50, "", "v1.5", 4.089), (101, "", "v1.5", 7.801), (152, "", "v1.5", 11.514)],
)  # fmt: skip
def test_multiply_adds_of_the_imagenet_family(variant, shortcut, bottleneck, count):
    assert round(multiply_adds(model(variant, shortcut, bottleneck=bottleneck), picture(variant)) / 1e9, 3) == count


@pytest.mark.parametrize("variant", [20, 18, 50])
def test_plain_twin_has_the_leaves_of_option_a(variant):
    shapes = [
        jax.tree.map(
            lambda x: x.shape, jax.eval_shape(lambda m=m: m.init(jax.random.key(0), {"image": jnp.zeros((1, 64, 64, 3))}, train=False))
        )
        for m in (model(variant, "A"), model(variant, "none"))
    ]
    assert shapes[0] == shapes[1]


def test_plain_twin_is_another_function():
    inputs = {"image": jax.random.normal(jax.random.key(1), (2, 8, 8, 3))}
    residual, plain = model(8, "A"), model(8, "none")
    variables = residual.init(jax.random.key(0), inputs, train=False)
    a, b = (m.apply(variables, inputs, train=False)["logits"] for m in (residual, plain))
    assert float(jnp.abs(a - b).max()) > 0.01


@pytest.mark.parametrize("train", [False, True])
def test_zero_gamma_makes_every_block_its_shortcut(train):
    inputs = {"image": jax.random.normal(jax.random.key(1), (2, 16, 16, 3))}
    net = model(14, "A", zero_init_gamma=True)
    variables = net.init(jax.random.key(0), inputs, train=False)
    out, _ = net.apply(variables, inputs, train=train, mutable=["batch_stats"])
    np.testing.assert_array_equal(out["stage1"], out["stem"])  # the stem's ReLU leaves nothing for the next to cut
    expected = jnp.pad(out["stem"][:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (8, 8)))
    np.testing.assert_array_equal(out["stage2"], expected)


def test_shapes_of_the_maps():
    net = model(50)
    out = jax.eval_shape(lambda: net.init_with_output(jax.random.key(0), {"image": jnp.zeros((2, 64, 64, 3))}, train=False)[0])
    assert {name: x.shape for name, x in out.items()} == {
        "stem_conv": (2, 32, 32, 64), "stem": (2, 16, 16, 64),
        "stage1": (2, 16, 16, 256), "stage2": (2, 8, 8, 512), "stage3": (2, 4, 4, 1024),
        "stage4": (2, 2, 2, 2048), "features": (2, 2048), "logits": (2, 1000),
    }  # fmt: skip


def test_odd_sizes_and_one_pixel():
    for size in (1, 7, 9):
        inputs = {"image": jnp.ones((2, size, size, 3))}
        out, _ = model(8).init_with_output(jax.random.key(0), inputs, train=False)
        assert bool(jnp.isfinite(out["logits"]).all())


def test_layers_are_numbered_from_stem_to_head():
    variables = jax.eval_shape(lambda: model(18).init(jax.random.key(0), {"image": jnp.zeros((1, 32, 32, 3))}, train=False))
    paths = ["/".join(key.key for key in path) for path, _ in jax.tree.leaves_with_path(variables["params"])]
    numbers = {path: resnet.layer(path) for path in paths}
    assert numbers["stem_conv/kernel"] == 0 and numbers["head/bias"] == 5
    assert numbers["stage3_block2/norm1/scale"] == 3 and numbers["stage4_block1/shortcut_conv/kernel"] == 4
    assert set(numbers.values()) == set(range(6))


@pytest.mark.parametrize(("kw", "words"), [
    ({"variant": 19}, "no variant 19; have \\[8, 14"), ({"shortcut": "D"}, "no shortcut 'D'"), ({"bottleneck": "v2"}, "'v1', 'v1.5'"),
])  # fmt: skip
def test_mistakes_are_named(kw, words):
    with pytest.raises(ValueError, match=words):
        resnet.Model(num_classes=10, **kw).init(jax.random.key(0), {"image": jnp.zeros((1, 8, 8, 3))}, train=False)
