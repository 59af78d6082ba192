"""The optimiser against hand-written steps, as torch defines them, and every refusal."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cvjax import optim
from cvjax.errors import UserError
from cvjax.models import vit

PARAMS = {"stem": {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]])}, "head": {"bias": jnp.array([0.5, -1.0])}}
GRADS = [jax.tree.map(lambda p, i=i: 0.3 * p + jnp.float32(i - 0.7), PARAMS) for i in range(3)]


def make(params=PARAMS, **settings):
    settings = {"name": "sgd", "lr": 0.1, "momentum": 0.0, "total_steps": 100, "steps_per_epoch": 10, **settings}
    return optim.make(params, **settings)[0]


def run(optimiser, grads=GRADS, params=PARAMS):
    """Parameters and optimiser state after one update for each of `grads`."""
    state = optimiser.init(params)
    for grad in grads:
        updates, state = jax.jit(optimiser.update)(grad, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def by_hand(step, slots=1):
    """`step(parameter, gradient, slots, count) -> (parameter, slots)` in NumPy over GRADS."""

    def one(p, *gs):
        p, s = np.asarray(p, np.float64), [np.zeros(p.shape)] * slots
        for count, g in enumerate(gs, start=1):
            p, s = step(p, np.asarray(g, np.float64), s, count)
        return p

    return jax.tree.map(one, PARAMS, *GRADS)


def close(got, want, rtol=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7), got, want)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torchs(nesterov):
    def step(p, g, slots, count):  # torch.optim.SGD: decay into the gradient, buffer without dampening, lr outside of it
        g = g + 0.01 * p
        buffer = 0.9 * slots[0] + g
        return p - 0.1 * (g + 0.9 * buffer if nesterov else buffer), [buffer]

    close(run(make(momentum=0.9, nesterov=nesterov, weight_decay=0.01))[0], by_hand(step))


def adam_direction(g, slots, count):
    m, v = 0.9 * slots[0] + 0.1 * g, 0.999 * slots[1] + 0.001 * g * g
    return m / (1 - 0.9**count) / (np.sqrt(v / (1 - 0.999**count)) + 1e-8), [m, v]


def test_adams_decay_is_part_of_the_gradient():
    def step(p, g, slots, count):
        direction, slots = adam_direction(g + 0.05 * p, slots, count)
        return p - 0.1 * direction, slots

    close(run(make(name="adam", weight_decay=0.05))[0], by_hand(step, slots=2))


def test_adamws_decay_is_not():
    def step(p, g, slots, count):
        direction, slots = adam_direction(g, slots, count)
        return p - 0.1 * 0.05 * p - 0.1 * direction, slots

    close(run(make(name="adamw", weight_decay=0.05))[0], by_hand(step, slots=2))


def test_lambs_step_is_as_long_as_the_parameters():
    def step(p, g, slots, count):
        direction, slots = adam_direction(g, slots, count)
        direction = direction + 0.05 * p
        return p - 0.1 * direction * np.linalg.norm(p) / np.linalg.norm(direction), slots

    close(run(make(name="lamb", weight_decay=0.05))[0], by_hand(step, slots=2))


def test_settings_reach_the_optimiser():
    def step(p, g, slots, count):
        m, v = 0.5 * slots[0] + 0.5 * g, 0.8 * slots[1] + 0.2 * g * g
        return p - 0.1 * m / (1 - 0.5**count) / (np.sqrt(v / (1 - 0.8**count)) + 0.1), [m, v]

    close(run(make(name="adam", b1=0.5, b2=0.8, eps=0.1))[0], by_hand(step, slots=2))


def decays(**settings):
    """How much of each parameter one step of pure decay takes away: lr * weight_decay, or nothing."""
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    after, _ = run(make(lr=1.0, weight_decay=0.25, **settings), [zero])
    return float((1 - after["stem"]["kernel"] / PARAMS["stem"]["kernel"]).mean()), float(
        (1 - after["head"]["bias"] / PARAMS["head"]["bias"]).mean()
    )


def test_decay_masks():
    assert decays() == (0.25, 0.25)
    assert decays(decay_vectors=False) == (0.25, 0.0)
    assert decays(no_decay="stem") == (0.0, 0.25)
    assert decays(no_decay="stem|bias$") == (0.0, 0.0)


def test_clip_bounds_the_global_norm():
    grad = jax.tree.map(lambda p: 10 * p, PARAMS)
    norm = float(optax.tree.norm(grad))
    moved = jax.tree.map(jnp.subtract, PARAMS, run(make(lr=1.0, clip=0.5), [grad])[0])
    close(moved, jax.tree.map(lambda g: 0.5 * g / norm, grad))
    small = jax.tree.map(lambda p: 1e-3 * p, PARAMS)
    close(jax.tree.map(jnp.subtract, PARAMS, run(make(lr=1.0, clip=0.5), [small])[0]), small, rtol=1e-3)


@pytest.mark.parametrize("name", optim.NAMES)
def test_frozen_parameters_stay_and_have_no_slots(name):
    settings = {"momentum": 0.9} if name == "sgd" else {}
    optimiser = make(name=name, freeze="stem", weight_decay=0.1, clip=1.0, **settings)
    after, state = run(optimiser)
    assert (after["stem"]["kernel"] == PARAMS["stem"]["kernel"]).all()
    assert (after["head"]["bias"] != PARAMS["head"]["bias"]).all()
    assert all(leaf.shape != (2, 2) for leaf in jax.tree.leaves(state))
    alone, _ = run(make({"head": PARAMS["head"]}, name=name, weight_decay=0.1, clip=1.0, **settings),
                   [{"head": g["head"]} for g in GRADS], {"head": PARAMS["head"]})  # fmt: skip
    close(after["head"], alone["head"])  # the frozen ones do not count in the clipped norm either


def test_layer_decay_scales_each_layer():
    """The number of layers between counts, not the numbers that the model file gives them."""
    numbers = {"stem": 0, "head": 3}
    grad = jax.tree.map(jnp.ones_like, PARAMS)
    after, _ = run(make(lr=1.0, layer_decay=0.5, layer=lambda path: numbers[path.split("/")[0]]), [grad])
    np.testing.assert_allclose(PARAMS["stem"]["kernel"] - after["stem"]["kernel"], 0.5)
    np.testing.assert_allclose(PARAMS["head"]["bias"] - after["head"]["bias"], 1.0)


def test_layer_decay_of_a_vit():
    """BEiT's: the last block at the rate times the decay, the first of six at its sixth power; a scanned stack is refused."""
    blocks = {f"block{i}": {"norm1": {"scale": jnp.ones(2)}} for i in range(1, 7)}
    params = {"embed": {"token": jnp.ones(2)}, "encoder": blocks, "head": {"bias": jnp.ones(2)}}
    transform = optim._scale_layers(params, 0.5, vit.layer)
    factors, _ = transform.update(params, transform.init(params), params)
    found = [float(factors["encoder"][f"block{i}"]["norm1"]["scale"][0]) for i in range(1, 7)]
    assert found == [0.5**n for n in range(6, 0, -1)]
    assert float(factors["embed"]["token"][0]) == 0.5**7 and float(factors["head"]["bias"][0]) == 1
    with pytest.raises(UserError, match="layer_decay is 0.5, but a scanned stack has its layers in one array"):
        optim._scale_layers({"encoder": {"blocks": {"norm1": {"scale": jnp.ones(2)}}}}, 0.5, vit.layer)


def test_layer_decay_beside_freezing():
    grad = jax.tree.map(jnp.ones_like, PARAMS)
    after, _ = run(make(lr=1.0, layer_decay=0.5, freeze="head", layer=lambda path: int("head" in path)), [grad])
    np.testing.assert_allclose(PARAMS["stem"]["kernel"] - after["stem"]["kernel"], 0.5)


def test_ema_in_closed_form():
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    optimiser = make(lr=1.0, ema=0.15)
    after, state = run(optimiser, [ones] * 3)  # the parameters go p, p-1, p-2, p-3
    lag = 0.0
    for moved, keep in ((1, 1 / 10), (2, 0.15), (3, 0.15)):  # (1 + n) / (10 + n) is 0.1, 0.18, 0.25
        lag = keep * lag + (1 - keep) * moved
    want = jax.tree.map(lambda p: p - lag, PARAMS)
    close(optim.averaged(after, state), want)
    assert optim.averaged(after, make().init(PARAMS)) is after


def test_ema_starts_as_a_copy_not_an_alias():
    average = optim.averaged(PARAMS, make(ema=0.9).init(PARAMS))
    assert (average["head"]["bias"] == PARAMS["head"]["bias"]).all()
    assert average["head"]["bias"].unsafe_buffer_pointer() != PARAMS["head"]["bias"].unsafe_buffer_pointer()


def test_ema_and_freeze_and_schedule_together_keep_int_counts():
    state = make(name="adamw", ema=0.9, freeze="stem", schedule="cosine", warmup="1 epochs").init(PARAMS)
    counts = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim == 0]
    assert len(counts) == 3 and all(count.dtype == jnp.int32 for count in counts)


def test_the_schedule_given_back_is_the_one_used():
    optimiser, schedule = optim.make(PARAMS, name="sgd", lr=0.4, momentum=0.0, total_steps=3, steps_per_epoch=1,
                                     schedule="linear", warmup="1 steps")  # fmt: skip
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    after, _ = run(optimiser, [ones] * 3)
    moved = float((PARAMS["head"]["bias"] - after["head"]["bias"])[0])
    assert moved == pytest.approx(sum(float(schedule(step)) for step in range(3)), rel=1e-6)
    assert moved > 0.4


def test_shapes_alone_are_enough():
    shapes = jax.eval_shape(lambda: PARAMS)
    close(run(make(shapes, freeze="stem", weight_decay=0.1, decay_vectors=False)), run(make(freeze="stem")))


@pytest.mark.parametrize("settings", [{}, {"freeze": "kernel"}])
def test_a_slower_part_learns_and_decays_at_its_share_of_the_rate(settings):
    """torch's parameter groups: AdamW of a group with another learning rate."""
    layer = {"kernel": PARAMS["stem"]["kernel"], "bias": PARAMS["head"]["bias"]}
    params = {"stem": layer, "stage1": layer, "head": layer}
    grads = [jax.tree.map(lambda p, i=i: 0.3 * p + jnp.float32(i - 0.7), params) for i in range(3)]
    common = {"name": "adamw", "weight_decay": 0.1, **settings}
    found, _ = run(make(params, slower=(("stem|stage", 0.1), ("^stem", 0.5)), **common), grads, params)
    for name, factor in (("head", 1), ("stage1", 0.1), ("stem", 0.05)):
        close(found[name], run(make(params, **{**common, "lr": 0.1 * factor}), grads, params)[0][name])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "adamm"}, "optim.name 'adamm' is unknown, did you mean 'adam'"),
        ({"lr": -0.1}, "optim.lr is -0.1"),
        ({"lr": float("nan")}, "optim.lr is nan"),
        ({"lr": float("inf")}, "optim.lr is inf"),
        ({"momentum": 1.0}, "optim.momentum is 1.0"),
        ({"nesterov": True, "momentum": 0.0}, "optim.nesterov needs"),
        ({"name": "adam", "b2": 1.0}, "optim.b2 is 1.0"),
        ({"name": "adam", "eps": -1.0}, "optim.eps is -1.0"),
        ({"weight_decay": -1e-4}, "optim.weight_decay is -0.0001"),
        ({"clip": -1.0}, "optim.clip is -1.0"),
        ({"ema": 1.0}, "optim.ema is 1.0"),
        ({"freeze": "stem|stage9"}, "optim.freeze: 'stage9' matches no parameter; top-level names: stem, head"),
        ({"freeze": "stem|"}, "optim.freeze: '' matches no parameter"),
        ({"freeze": "."}, "freezes every parameter"),
        ({"freeze": "ste["}, "optim.freeze 'ste\\[' is not a regular expression"),
        ({"no_decay": "pos"}, "optim.no_decay: 'pos' matches no parameter"),
        ({"layer_decay": 0.9}, "optim.layer_decay is 0.9, but the model file has no layer"),
        ({"layer_decay": 1.5}, "optim.layer_decay is 1.5"),
        ({"layer_decay": 0.0}, "optim.layer_decay is 0.0"),
        ({"slower": (("stage9", 0.1),)}, "optim.slower: 'stage9' matches no parameter; top-level names: stem, head"),
        ({"slower": (("stem", -0.1),)}, "optim.slower is -0.1"),
        ({"slower": ("stem", 0.1)}, "optim.slower has 'stem'; it holds pairs like"),
        ({"slower": (("stem", "0.1"),)}, "optim.slower has .*; it holds pairs like"),
    ],
)
def test_impossible_values_are_named(settings, words):
    with pytest.raises(UserError, match=words):
        make(**settings)
