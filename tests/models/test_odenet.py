"""ODE-Net and its relatives: parameters of the reference architecture, Euler's steps as residual blocks, stages that are equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.build import build, initial_state
from cvjax.config import load, override
from cvjax.describe import multiply_adds, parameters
from cvjax.errors import UserError
from cvjax.layers.odeblock import Field, TimeConv
from cvjax.models import ode_resnet, odenet, resnet

PICTURE = {"image": jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)}
IMAGES = {"image": jax.random.uniform(jax.random.key(0), (4, 16, 16, 1))}


@pytest.mark.parametrize(
    ("variant", "stem", "count"),
    [("resnet", "conv", 576_778), ("resnet", "res", 601_482), ("ode", "conv", 208_266), ("ode", "res", 232_970)],
)
def test_parameters_of_table_1(variant, stem, count):
    assert parameters(odenet.Model(10, variant, stem), PICTURE) == count


def test_multiply_adds_of_one_evaluation():
    one, two = (multiply_adds(odenet.Model(10, solve={"solver": "euler", "steps": n}), PICTURE) / 1e6 for n in (1, 2))
    assert 2.6 < two - one < 2.75, "both convolutions, and t's part, which no example computes again"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tied_euler_is_residual_blocks_over_their_number(dtype):
    k = 4
    tied = odenet.Model(7, width=8, dtype=dtype, solve={"solver": "euler", "steps": k})
    untied = odenet.Model(7, "untied", blocks=k, width=8, dtype=dtype)
    params = dict(tied.init(jax.random.key(1), IMAGES, train=False)["params"])
    shared = params.pop("ode")["field"]
    blocks = {f"block{i + 1}": shared for i in range(k)}
    ours = tied.apply({"params": {**params, "ode": {"field": shared}}}, IMAGES, train=False)["body"]
    theirs = untied.apply({"params": {**params, **blocks}}, IMAGES, train=False)["body"]
    np.testing.assert_allclose(ours, theirs, atol=1e-5 if dtype == "float32" else 0.05)
    assert float(jnp.abs(ours - tied.apply({"params": {**params, "ode": {"field": shared}}}, IMAGES, train=False)["stem"]).max()) > 0.1


def test_time_is_the_first_channel_of_the_convolution():
    x, t = jax.random.normal(jax.random.key(2), (3, 5, 6, 4)), jnp.array([0.0, 0.3, 1.0])
    layer = TimeConv(8)
    params = layer.init(jax.random.key(3), t, x)["params"] | {"bias": jnp.arange(8.0)}
    seen = jnp.concatenate([jnp.broadcast_to(t.reshape(3, 1, 1, 1), (3, 5, 6, 1)), x], -1)
    expected = jax.lax.conv_general_dilated(seen, params["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(layer.apply({"params": params}, t, x), expected + jnp.arange(8.0).reshape(1, 1, 1, 8), atol=1e-5)


def test_field_learns_by_the_convolutions_own_derivative():
    x, t = jax.random.normal(jax.random.key(2), (2, 5, 5, 8)), jnp.array([0.2, 0.9])
    field = Field(8, "tanh")
    params = field.init(jax.random.key(4), t, x)["params"]

    def along(step):
        moved = jax.tree.map(lambda p: p + step * jnp.sin(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
        return jnp.sin(field.apply({"params": moved}, t, x)).sum()

    direction = jax.tree.map(lambda p: jnp.sin(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
    gradient = jax.grad(lambda p: jnp.sin(field.apply({"params": p}, t, x)).sum())(params)
    slope = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(slope, (along(1e-3) - along(-1e-3)) / 2e-3, rtol=0.02, atol=0.05)


def test_a_stage_that_is_an_equation():
    picture = {"image": jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)}
    field = 2 * (9 * 65 * 64 + 64) + 3 * 2 * 64
    blocks = 2 * (2 * 9 * 64 * 64 + 4 * 64)
    assert parameters(ode_resnet.Model(10, 20), picture) == 269_722 - blocks + field
    model = ode_resnet.Model(10, 20, stages=(1, 3))
    names = jax.eval_shape(lambda: model.init(jax.random.key(0), {"image": jnp.zeros((1, 32, 32, 3))}, train=False))["params"]
    assert {"stage1_ode", "stage2_block3", "stage3_block1", "stage3_ode"} <= set(names)
    assert not {"stage1_block1", "stage3_block2"} & set(names)
    assert ode_resnet.layer("stage3_ode/field/conv1/kernel") == 3


def test_what_stands_after_a_stage_sees_its_map_and_changes_it():
    net, images = resnet.Model(7, 8), {"image": jnp.ones((2, 8, 8, 3))}
    variables, seen = net.init(jax.random.key(0), images, train=False), []

    def after(stage, x):
        seen.append((stage, x.shape))
        return 2 * x if stage == 3 else x

    plain, changed = (net.apply(variables, images, train=False, after=f) for f in (None, after))
    assert seen == [(1, (2, 8, 8, 16)), (2, (2, 4, 4, 32)), (3, (2, 2, 2, 64))]
    np.testing.assert_allclose(changed["features"], 2 * plain["features"], rtol=1e-5)


MISTAKES = [
    ({"model.solve.solver": "dopri8"}, "no solve.solver 'dopri8'; have 'euler'"),
    ({"model.solve.gradient": "backprop"}, "no solve.gradient 'backprop'; have 'adjoint'"),
    ({"model.solve.tol": 0.0}, "solve.tol is 0.0; it must be"),
    ({"model.solve.tol": -1.0}, "solve.tol is -1.0"),
    ({"model.solve.steps": -2}, "solve.steps is -2"),
    ({"model.solve.solver": "rk4"}, "set solve.steps"),
    ({"model.variant": "rk"}, "no variant 'rk'; have 'ode'"),
    ({"model.stem": "big"}, "no stem 'big'"),
    ({"model.activation": "gelu"}, "no activation"),
    ({"model.blocks": 0}, "blocks is 0"),
    ({"model.width": 33}, "a width of 33 channels does not divide into 32 groups"),
    ({"image.size": 8}, "images of 8 x 8 are too small; at least 12"),
]


@pytest.mark.parametrize(("settings", "says"), MISTAKES, ids=[repr(settings) for settings, _ in MISTAKES])
def test_mistakes_are_told_before_the_first_step(settings, says):
    config = load("experiments/odenet_mnist.py", "smoke")
    override(config, list(settings.items()))
    with pytest.raises(UserError, match=says) as error:
        initial_state(build(config))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"stages": (4,)}, "name some of"),
        ({"stages": ()}, "name some of"),
        ({"stages": (3, 3)}, "name one twice"),
        ({"variant": 8, "stages": (2,)}, "no block to replace"),
        ({"shortcut": "none"}, "no residual blocks"),
        ({"activation": "sin"}, "no activation"),
        ({"solve": {"tol": 2.0}}, "solve.tol is 2.0"),
    ],
)
def test_mistakes_of_stages(settings, says):
    with pytest.raises(ValueError, match=says):
        jax.eval_shape(lambda: ode_resnet.Model(10, **settings).init(jax.random.key(0), {"image": jnp.zeros((1, 8, 8, 3))}, train=False))
