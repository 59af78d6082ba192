"""Stochastic depth by the paper's own figures, and by what a block that is left out must not do."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import parallel, step
from cvjax.batches import training
from cvjax.build import build, initial_state
from cvjax.layers import stochastic_depth
from cvjax.layers.norm import BatchNorm
from cvjax.models import resnet
from tiny import tiny


def test_expected_depth_is_the_papers():
    """Section 3: 54 blocks, p_L = 0.5: 40.25 on average, (3 L - 1) / 4."""
    kept = [stochastic_depth.survival(number, 54, 0.5, "linear") for number in range(1, 55)]
    assert sum(kept) == pytest.approx(40.25) and kept[-1] == 0.5
    assert {stochastic_depth.survival(number, 54, 0.7, "uniform") for number in range(1, 55)} == {0.7}


def net(**settings):
    model = resnet.Model(num_classes=5, variant=14, width=4, **settings)
    x = {"image": jax.random.normal(jax.random.key(1), (4, 8, 8, 3))}
    return model, x, resnet.Model(num_classes=5, variant=14, width=4).init(jax.random.key(0), x, train=False)


def apply(model, variables, x, seed, train=True):
    rngs = {"depth": jax.random.key(seed), "dropout": jax.random.key(seed)}
    return model.apply(variables, x, train=train, rngs=rngs, mutable=["batch_stats"])


def test_constant_depth_is_bit_identical():
    model, x, variables = net(survival=1.0)
    plain, _, _ = net()
    np.testing.assert_array_equal(apply(model, variables, x, 0)[0]["logits"], apply(plain, variables, x, 0)[0]["logits"])
    assert "metric/active_blocks" not in apply(model, variables, x, 0)[0]


@pytest.mark.parametrize(("drop", "expected"), [("linear", (3 * 6 - 1) / 4), ("uniform", 3)])
def test_as_many_blocks_are_computed_as_expected(drop, expected):
    model, x, variables = net(survival=0.5, drop=drop)
    active = jax.jit(jax.vmap(lambda seed: apply(model, variables, x, seed)[0]["metric/active_blocks"]))(jnp.arange(200))
    assert float(active.mean()) == pytest.approx(expected, abs=3 * np.sqrt(6 * 0.25 / 200))
    assert apply(model, variables, x, 0, train=False)[0]["metric/active_blocks"] == 6


def test_a_block_that_is_left_out_learns_nothing_and_changes_no_statistics():
    model, x, variables = net(survival=1e-6, drop="uniform")

    def loss(params):
        out, new = apply(model, {**variables, "params": params}, x, 0)
        return jnp.square(out["logits"]).sum(), (out, new)

    grads, (out, new) = jax.grad(loss, has_aux=True)(variables["params"])
    assert out["metric/active_blocks"] == 0
    for name in (name for name in grads if "block" in name):
        assert all(not leaf.any() for leaf in jax.tree.leaves(grads[name]))
        assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), new["batch_stats"][name], variables["batch_stats"][name]))
    assert jax.tree.leaves(grads["stem_conv"])[0].any()


def test_evaluation_weights_each_branch_by_its_probability():
    block = resnet.Block(((4, 3, 1), (4, 3, 1)), "A", False, 0.25, False, (1,), BatchNorm, "float32")
    whole = resnet.Block(((4, 3, 1), (4, 3, 1)), "none", False, 1.0, False, (1,), BatchNorm, "float32")
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
    variables = block.init(jax.random.key(1), x, train=False)
    variables["params"]["norm2"]["bias"] += 10.0  # so that the last ReLU of the plain twin cuts nothing off
    branch = whole.apply(variables, x, train=False)[0]
    np.testing.assert_allclose(block.apply(variables, x, train=False)[0], jax.nn.relu(x + 0.25 * branch), rtol=1e-5)


def test_drop_path_keeps_the_mean_and_draws_for_each_example():
    model, x, variables = net(survival=0.5, drop="sample")
    outs = jnp.stack([apply(model, variables, x, seed)[0]["stage1"] for seed in range(3)])
    changed = jnp.abs(outs - outs[:1]).max((2, 3, 4)) > 0
    assert bool(changed.any()) and not bool(changed.all())


class Dropped(nn.Module):
    @nn.compact
    def __call__(self, y):
        return stochastic_depth.drop_path(self, y, 0.25, True)


def test_drop_path_is_all_or_nothing_and_right_in_the_mean():
    out = Dropped().apply({}, jnp.ones((4000, 3)), rngs={"dropout": jax.random.key(0)})
    assert set(np.unique(out)) == {0.0, 4.0} and (out == out[:, :1]).all()
    assert float(out.mean()) == pytest.approx(1, abs=0.12)


def test_drop_path_is_likelier_in_later_blocks():
    assert [stochastic_depth.survival(number, 4, 0.5, "sample") for number in range(1, 5)] == [0.875, 0.75, 0.625, 0.5]


def test_a_block_that_is_left_out_is_not_computed():
    """Its convolutions stand inside the branch of a conditional, not before a choice between two results."""
    model, x, variables = net(survival=0.5)
    text = jax.jit(lambda: apply(model, variables, x, 0)[0]["logits"]).lower().as_text()
    outside = "".join(line for line in text.splitlines() if line.startswith("    ") and not line.startswith("     "))
    assert text.count("stablehlo.case") == 6 and text.count("stablehlo.convolution") == 13
    assert outside.count("stablehlo.convolution") == 1, "the stem's alone"


def test_all_devices_leave_out_the_same_blocks():
    """An average over devices of what each computed: whole numbers only, step after step."""
    e = build(tiny(model={"survival": 0.5, "variant": 14}, train={"duration": "4 steps"}))
    state, optimiser, schedule = initial_state(e)
    update = parallel.per_device(step.update(e, optimiser, schedule), step.data_axes(e))
    batches, found = training(e, 0, lambda bad: None), []
    for _ in range(4):
        state, values = update(state, parallel.rows(e.loading.batch_size), next(batches))
        found.append(float(values["active_blocks"]))
    assert all(value == int(value) and value <= 6 for value in found) and len(set(found)) > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"survival": 0.0}, "survival 0.0"), ({"survival": 0.5, "shortcut": "none"}, "leaves its shortcut"), ({"drop": "x"}, "no drop 'x'")],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        resnet.Model(num_classes=3, variant=8, **settings).init(jax.random.key(0), {"image": jnp.zeros((1, 8, 8, 3))}, train=False)
