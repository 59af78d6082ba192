"""Schedules at closed-form points, the He recipe's trace, and every refusal."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import schedule as schedules
from cvjax.errors import UserError


def trace(steps, **settings):
    settings = {"lr": 0.1, "total_steps": 100, "steps_per_epoch": 10, **settings}
    return np.asarray(jax.vmap(schedules.make(**settings))(jnp.asarray(steps, jnp.int32)))


HE = {"schedule": "step", "boundaries": ("32000 steps", "48000 steps"), "total_steps": 64000, "steps_per_epoch": 351}


def test_the_he_recipe():
    np.testing.assert_allclose(trace([0, 31999, 32000, 47999, 48000, 63999], **HE), [0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rtol=1e-6)


def test_resnet_110s_warmup_ends():
    """0.01 for 400 steps and then 0.1 again, which two published reproductions get silently wrong."""
    warmup = {"warmup": "400 steps", "warmup_lr": 0.01, "warmup_shape": "constant"}
    np.testing.assert_allclose(trace([0, 399, 400, 31999, 32000, 48000], **HE, **warmup), [0.01, 0.01, 0.1, 0.1, 0.01, 0.001], rtol=1e-6)


def test_constant_and_its_warmup():
    np.testing.assert_allclose(trace([0, 7, 99]), 0.1, rtol=1e-6)
    np.testing.assert_allclose(trace([0, 1, 3, 4, 99], warmup="4 steps"), [0.025, 0.05, 0.1, 0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(trace([0, 3], warmup="4 steps", warmup_lr=0.02), [0.04, 0.1], rtol=1e-6)


def test_warmup_before_a_step_schedule_does_not_move_the_boundaries():
    settings = {"schedule": "step", "boundaries": ("5 epochs",), "factor": 0.5, "warmup": "1 epochs"}
    np.testing.assert_allclose(trace([4, 9, 49, 50, 99], **settings), [0.05, 0.1, 0.1, 0.05, 0.05], rtol=1e-6)


def test_cosine_goes_from_the_end_of_the_warmup_to_the_final_value():
    steps = [9, 10, 40, 55, 100]
    want = [0.1, 0.1, 0.02 + 0.08 * 0.75, 0.06, 0.02]  # cos(pi / 3) = 1/2 a third of the way from 10 to 100
    np.testing.assert_allclose(trace(steps, schedule="cosine", final_lr=0.02, warmup="1 epochs"), want, rtol=1e-5)


def test_linear():
    np.testing.assert_allclose(trace([0, 25, 50, 100], schedule="linear", final_lr=0.02), [0.1, 0.08, 0.06, 0.02], rtol=1e-6)


def test_rsqrt_halves_at_four_times_the_warmup():
    settings = {"schedule": "rsqrt", "warmup": "10 steps"}
    np.testing.assert_allclose(trace([4, 9, 10, 40, 90], **settings), [0.05, 0.1, 0.1, 0.05, 0.1 / 3], rtol=1e-5)
    np.testing.assert_allclose(trace([0, 1, 4, 100], schedule="rsqrt"), [0.1, 0.1, 0.05, 0.01], rtol=1e-5)


def test_onecycle_is_torchs():
    """torch.optim.lr_scheduler.OneCycleLR(max_lr=0.1, total_steps=100): phases end at steps 29 and 99."""

    def torchs(step):
        start, peak, end = 0.1 / 25, 0.1, 0.1 / 25 / 1e4
        low, high, part = (start, peak, step / 29) if step <= 29 else (peak, end, (step - 29) / 70)
        return high + (low - high) / 2 * (1 + math.cos(math.pi * part))

    steps = [0, 1, 15, 29, 30, 64, 99]
    np.testing.assert_allclose(trace(steps, schedule="onecycle"), [torchs(s) for s in steps], rtol=1e-4, atol=1e-8)
    assert trace(range(100), schedule="onecycle", warmup="5 epochs").argmax() == 49


@pytest.mark.parametrize("name", schedules.NAMES)
def test_every_schedule_is_float32_positive_and_at_most_lr(name):
    settings = {"boundaries": ("50 steps",)} if name == "step" else {}
    for warmup in ("0 steps", "20 steps", "100 steps"):
        values = trace(range(100), schedule=name, warmup=warmup, **settings)
        assert values.dtype == np.float32 and (values > 0).all() and values.max() <= 0.1 * (1 + 1e-6)


def test_one_step_of_training():
    for name in ("constant", "cosine", "linear", "onecycle", "rsqrt"):
        assert np.isfinite(trace([0], schedule=name, total_steps=1, warmup="1 steps")).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"schedule": "cosin"}, "optim.schedule 'cosin' is unknown, did you mean 'cosine'"),
        ({"warmup": "11 epochs"}, "optim.warmup=11 epochs is 110 steps, longer than the training of 100 steps"),
        ({"warmup": "500 steps"}, "optim.warmup=500 steps is longer than the training of 100 steps; shorten it"),
        ({"warmup": "five epochs"}, "optim.warmup is 'five epochs'"),
        ({"warmup_shape": "cubic"}, "optim.warmup_shape 'cubic' is unknown"),
        ({"warmup_lr": -1.0}, "optim.warmup_lr is -1.0"),
        ({"final_lr": -1.0}, "optim.final_lr is -1.0"),
        ({"schedule": "step"}, "optim.boundaries are needed by schedule 'step'"),
        ({"boundaries": ("5 epochs",)}, "optim.boundaries belong to schedule 'step', not to schedule 'constant'"),
        ({"schedule": "step", "boundaries": ("5 epochs", "50 steps")}, "optim.boundaries must ascend"),
        ({"schedule": "step", "boundaries": ("10 epochs",)}, r"optim.boundaries \[100\] must lie inside"),
        ({"schedule": "step", "boundaries": ("0 steps",)}, r"optim.boundaries \[0\] must lie inside"),
        ({"schedule": "step", "boundaries": ("5 epochs",), "factor": -0.1}, "optim.factor is -0.1"),
        ({"schedule": "onecycle", "warmup_lr": 0.1}, "warmup_lr and warmup_shape do not go with 'onecycle'"),
    ],
)
def test_impossible_values_are_named(settings, words):
    with pytest.raises(UserError, match=words):
        trace([0], **settings)
