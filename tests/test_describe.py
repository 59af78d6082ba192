"""Counts against arithmetic by hand, for each kind of operation that can hold a convolution or a product."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cvjax.describe import activations, layers, multiply_adds, parameters
from cvjax.layers.conv import Conv
from cvjax.models import ode_resnet, resnet

X = {"x": jax.ShapeDtypeStruct((2, 8, 8, 6), jnp.float32)}
KERNEL = jnp.ones((6, 6))


class Net(nn.Module):
    """`function(module, x)` as a model."""

    function: object

    @nn.compact
    def __call__(self, inputs, *, train):
        return {"y": self.function(inputs["x"])}


def matmul(x):
    return x @ KERNEL


@jax.custom_vjp
def relu(x):
    return nn.relu(x)


relu.defvjp(lambda x: (relu(x), x), lambda x, g: (g * (x > 0),))


PRODUCT = 2 * 8 * 8 * 6 * 6


@pytest.mark.parametrize(("function", "count"), [
    (matmul, PRODUCT),
    (lambda x: jnp.einsum("bhwc,bhwd->bcd", x, x), PRODUCT),
    (jax.jit(matmul), PRODUCT),
    (jax.checkpoint(matmul), PRODUCT),
    (jax.vmap(matmul), PRODUCT),
    (lambda x: jax.lax.scan(lambda c, _: (matmul(c), None), x, None, length=5)[0], 5 * PRODUCT),
    (lambda x: jax.lax.scan(lambda c, _: (jax.lax.fori_loop(0, 3, lambda i, c: matmul(c), c), None), x, None, length=2)[0], 6 * PRODUCT),
    (lambda x: jax.lax.while_loop(lambda c: c.sum() < 9, matmul, x), PRODUCT),
    (lambda x: jax.lax.cond(x.sum() > 0, lambda x: matmul(matmul(x)), matmul, x), 2 * PRODUCT),
    (lambda x: jax.lax.while_loop(lambda c: c[0] < 7, lambda c: (c[0] + 1, matmul(c[1])), (2, x))[1], 5 * PRODUCT),
    (lambda x: jax.lax.while_loop(lambda c: c[0] < 7, lambda c: (c[0] + 2, matmul(c[1])), (2, x))[1], PRODUCT),
    (lambda x: relu(matmul(x)), PRODUCT),
    (lambda x: nn.relu(x + 1), 0),
], ids=str)  # fmt: skip
def test_multiply_adds_by_hand(function, count):
    assert multiply_adds(Net(function), X) == count


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_a_pmap_counts_every_device(devices):
    mapped = jax.pmap(matmul, devices=jax.devices()[:devices])
    assert multiply_adds(Net(mapped), {"x": jax.ShapeDtypeStruct((devices, 8, 8, 6), jnp.float32)}) == devices * PRODUCT // 2


@pytest.mark.parametrize(("kw", "count", "learned"), [
    (dict(features=4, size=3), 2 * 8 * 8 * 4 * 9 * 6, 9 * 6 * 4),
    (dict(features=20, size=3, stride=2), 2 * 4 * 4 * 20 * 9 * 6, 9 * 6 * 20),
    (dict(features=12, size=3, groups=3), 2 * 8 * 8 * 12 * 9 * 2, 9 * 2 * 12),
    (dict(features=12, size=1), 2 * 8 * 8 * 12 * 6, 6 * 12),
])  # fmt: skip
def test_convolutions_by_hand(kw, count, learned):
    class One(nn.Module):
        @nn.compact
        def __call__(self, inputs, *, train):
            return {"y": Conv(**kw)(inputs["x"])}

    assert multiply_adds(One(), X) == count
    assert parameters(One(), X) == learned


def test_nothing_is_made_or_run():
    """A layer whose kernel alone would fill 4 TB is described."""

    class Huge(nn.Module):
        @nn.compact
        def __call__(self, inputs, *, train):
            return {"y": nn.Dense(10**6)(inputs["x"])}

    wide = {"x": jax.ShapeDtypeStruct((1, 10**6), jnp.float32)}
    assert parameters(Huge(), wide) == 10**12 + 10**6 and multiply_adds(Huge(), wide) == 10**12


def test_layers_by_hand():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, inputs, *, train):
            x = Conv(4, 3, 2, name="conv")(inputs["x"])
            return {"y": nn.Dense(5, name="head")(nn.relu(x).mean((1, 2)))}

    assert [tuple(layer) for layer in layers(Two(), X)] == [
        ("conv", (2, 4, 4, 4), 9 * 6 * 4, 2 * 4 * 4 * 4 * 9 * 6, 2 * 4 * 4 * 4),
        ("head", (2, 5), 4 * 5 + 5, 2 * 4 * 5, 2 * 5),
    ]


def test_layers_add_up_to_the_papers_resnet50():
    found = layers(resnet.Model(num_classes=1000, variant=50), {"image": jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)})
    assert sum(layer.parameters for layer in found) == 25_557_032
    assert sum(layer.multiply_adds for layer in found) == 4_089_184_256
    assert sum(layer.outputs for layer in found) == 11_114_984  # timm's and fvcore's 11.1 M "activations"
    assert found[0].name == "stem_conv" and found[0].output == (1, 112, 112, 64) and found[-1].name == "head"


def test_a_network_made_of_another_has_each_layer_once():
    image = {"image": jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)}
    names = [layer.name for layer in layers(ode_resnet.Model(10, 8, stages=(1,)), image)]
    assert len(set(names)) == len(names) and "stage1_ode/field/conv1" in names and "stage2_block1/conv1" in names


def test_other_tools_count_a_loop_once():
    """The compiler's estimate, which flax's table prints, sees one turn of a scan of five; so this file exists."""

    class Scan(nn.Module):
        @nn.compact
        def __call__(self, inputs, *, train):
            return {"y": jax.lax.scan(lambda c, _: (matmul(c), None), inputs["x"], None, length=5)[0]}

    x = jnp.ones((2, 8, 8, 6))
    compiled = jax.jit(lambda x: Scan().apply({}, {"x": x}, train=False)["y"]).lower(x).compile()
    theirs = compiled.cost_analysis()["flops"] / 2  # a multiplication and an addition
    assert multiply_adds(Scan(), X) == 5 * PRODUCT and theirs < 1.5 * PRODUCT
    table = nn.tabulate(Scan(), jax.random.key(0), compute_flops=True)({"x": x}, train=False)
    assert f"{10 * PRODUCT}" not in table.replace(",", "")


def test_activations_grow_with_the_batch():
    model = resnet.Model(num_classes=10, variant=8)
    one, two = ({"image": jax.ShapeDtypeStruct((n, 32, 32, 3), jnp.float32)} for n in (8, 16))
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), one)
    small, large = activations(model, variables, one), activations(model, variables, two)
    first_stage = 8 * 32 * 32 * 16 * 4
    assert 4 * first_stage < small < 40 * first_stage and 1.8 < large / small <= 2.01
