"""Learning-rate schedules: pure functions `schedule(step) -> lr`, and `make`, which builds one from config.optim.

`step` counts the updates already made: the first update uses schedule(0), the last one schedule(total - 1).
Sources: step and constant warm-up: He et al. 2015 (arXiv:1512.03385); linear warm-up: Goyal et al. 2017
(arXiv:1706.02677); cosine: Loshchilov & Hutter 2017 (arXiv:1608.03983); inverse square root: Vaswani et al. 2017
(arXiv:1706.03762); one-cycle: Smith & Topin 2017 (arXiv:1708.07120) with the constants of torch's OneCycleLR.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int

from cvjax import config

Schedule = Callable[[Int[Array, ""] | int], Float32[Array, ""]]
NAMES = ("constant", "step", "cosine", "linear", "onecycle", "rsqrt")
SHAPES = ("linear", "constant")


def constant(lr: float) -> Schedule:
    return lambda step: jnp.full((), lr, jnp.float32)


def step(lr: float, boundaries: Sequence[int], factor: float) -> Schedule:
    """lr, multiplied by `factor` from each boundary on: schedule(boundaries[0]) is the first value that is changed."""
    values = jnp.asarray([lr * factor**i for i in range(len(boundaries) + 1)], jnp.float32)
    return lambda step: values[sum((jnp.asarray(step >= boundary, jnp.int32) for boundary in boundaries), jnp.int32(0))]


def cosine(lr: float, total: float, final: float = 0.0, start: float = 0) -> Schedule:
    """Half a cosine from `lr` at step `start` to `final` at step `total`."""
    return lambda step: final + (lr - final) * 0.5 * (1 + jnp.cos(jnp.pi * _progress(step, start, total)))


def linear(lr: float, total: float, final: float = 0.0, start: float = 0) -> Schedule:
    """A straight line from `lr` at step `start` to `final` at step `total`."""
    return lambda step: lr + (final - lr) * _progress(step, start, total)


def rsqrt(lr: float, timescale: int = 1) -> Schedule:
    """`lr` until step `timescale`, then lr * sqrt(timescale / step): half of it at step 4 * timescale."""
    timescale = max(timescale, 1)
    return lambda step: lr * jnp.sqrt(timescale / jnp.maximum(jnp.float32(step), timescale))


def onecycle(lr: float, total: int, rise: float, division: float = 25.0, final_division: float = 1e4) -> Schedule:
    """Half a cosine from lr / division up to `lr` in `rise` steps, another down to lr / division / final_division."""
    low, top, end = lr / division, max(rise - 1, 1e-6), max(total - 1, 1)
    down = cosine(lr, end, low / final_division, start=top)
    up = cosine(low, top, lr)
    return lambda step: jnp.where(step <= top, up(step), down(step))


def warm(schedule: Schedule, steps: int, start: float = 0.0, shape: str = "linear") -> Schedule:
    """`schedule` with its first `steps` values replaced by a warm-up; from step `steps` on it is `schedule` itself.

    "linear" rises from `start` (itself not used) to meet `schedule` at the last warm-up step; "constant" holds `start`.
    The value is a function of the step alone, so the warm-up cannot outlive its steps or survive a resume.
    """
    if steps == 0:
        return schedule

    def warmed(step: Int[Array, ""] | int) -> Float32[Array, ""]:
        part = (jnp.float32(step) + 1) / steps if shape == "linear" else 0.0
        return jnp.where(step < steps, start + (schedule(step) - start) * part, schedule(step))

    return warmed


def make(
    *,
    lr: float,
    total_steps: int,
    steps_per_epoch: int,
    schedule: str = "constant",
    warmup: str = "0 steps",
    warmup_lr: float = 0.0,
    warmup_shape: str = "linear",
    boundaries: tuple[str, ...] = (),
    factor: float = 0.1,
    final_lr: float = 0.0,
) -> Schedule:
    """The schedule that config.optim describes.

    Args:
        lr: the peak learning rate.
        schedule: one of NAMES.
        warmup: duration of the warm-up ("5 epochs"). For "onecycle" it is the rise to the peak, 30% of training when 0.
        warmup_lr: where a linear warm-up starts, or the rate that a constant one holds.
        warmup_shape: "linear" or "constant" (He et al.: 0.01 for 400 steps before ResNet-110's 0.1).
        boundaries: for "step", durations from the start of training at which lr is multiplied by `factor`.
        final_lr: for "cosine" and "linear", the learning rate that is reached at the end.

    Raises:
        UserError: naming the impossible key.
    """
    check_choice("schedule", schedule, NAMES)
    check_choice("warmup_shape", warmup_shape, SHAPES)
    check_range("lr", lr, 0, math.inf)
    check_range("warmup_lr", warmup_lr, 0, math.inf)
    check_range("final_lr", final_lr, 0, math.inf)
    warmup_steps = _warmup_steps(warmup, total_steps, steps_per_epoch)
    ends = _boundary_steps(boundaries, schedule, total_steps, steps_per_epoch)
    if schedule == "onecycle":
        if warmup_lr or warmup_shape != "linear":
            raise config.UserError("config.optim: warmup_lr and warmup_shape do not go with 'onecycle', which rises by itself")
        return onecycle(lr, total_steps, warmup_steps or 0.3 * total_steps)
    main = {
        "constant": lambda: constant(lr),
        "step": lambda: step(lr, ends, check_range("factor", factor, 0, math.inf)),
        "cosine": lambda: cosine(lr, total_steps, final_lr, start=warmup_steps),
        "linear": lambda: linear(lr, total_steps, final_lr, start=warmup_steps),
        "rsqrt": lambda: rsqrt(lr, warmup_steps),
    }[schedule]()
    return warm(main, warmup_steps, warmup_lr, warmup_shape)


def check_choice(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        close = config.did_you_mean(value, allowed)
        raise config.UserError(f"config.optim.{key} '{value}' is unknown{close}; have: {', '.join(allowed)}")


def check_range(key: str, value: float, low: float, high: float) -> float:
    """`value`, when it is in [low, high) (NaN never is). Raises UserError. What only the device knows was checked before."""
    if isinstance(value, jax.core.Tracer):
        return value
    if not low <= value < high:
        limits = f"at least {low:g}" + (f" and below {high:g}" if high < math.inf else " and finite")
        raise config.UserError(f"config.optim.{key} is {value}; it must be {limits}")
    return value


def _warmup_steps(warmup: str, total_steps: int, steps_per_epoch: int) -> int:
    count = config.steps(warmup, steps_per_epoch, "config.optim.warmup")
    if count > total_steps:
        told = f"is {count} steps, " if "epoch" in warmup else "is "
        raise config.UserError(f"config.optim.warmup={warmup} {told}longer than the training of {total_steps} steps; shorten it")
    return count


def _boundary_steps(boundaries: Sequence[str], schedule: str, total_steps: int, steps_per_epoch: int) -> list[int]:
    if bool(boundaries) != (schedule == "step"):
        fix = "are needed by" if schedule == "step" else "belong to schedule 'step', not to"
        raise config.UserError(f"config.optim.boundaries {fix} schedule '{schedule}'; they are {boundaries}")
    ends = [config.steps(boundary, steps_per_epoch, "config.optim.boundaries") for boundary in boundaries]
    if any(later <= earlier for earlier, later in pairwise(ends)):
        raise config.UserError(f"config.optim.boundaries must ascend; {', '.join(boundaries)} are steps {ends}")
    if ends and not 0 < ends[0] <= ends[-1] < total_steps:
        raise config.UserError(f"config.optim.boundaries {ends} must lie inside the training of {total_steps} steps")
    return ends


def _progress(step: Int[Array, ""] | int, start: float, total: float) -> Float32[Array, ""]:
    """How far `step` is from `start` to `total`, 0 to 1."""
    return jnp.clip((jnp.float32(step) - start) / max(total - start, 1e-6), 0.0, 1.0)
