"""Runge-Kutta steps of adapted size, each example of a batch with its own (Hairer, Norsett & Wanner 1993, sections II.4 and II.5).

The controller is that of diffrax and torchdiffeq: a step of estimated error e tolerances is kept where e < 1, and the next is
0.9 e^(-1/order) times as long, at least 0.2 and at most 10 times. diffrax itself would do it one example at a time under `jax.vmap`;
written for the batch, f sees ordinary batches, and gradients of parameters are summed over them as they are made.

b batch · s anything else, the shape of an example's state
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32

from cvjax.ops.tableau import Tableau, by_example, combine, tableau

START = 2  # evaluations that choose the first step
NODES = 2  # of Gauss's quadrature in each step
SAFETY, LEAST, MOST = 0.9, 0.2, 10.0


class Place(NamedTuple):
    """Where the solves of a batch stand: time, size of the next step, state and its slope there, steps attempted so far."""

    t: Float32[Array, " b"]
    h: Float32[Array, " b"]
    y: Float32[Array, "b *s"]
    slope: Float32[Array, "b *s"]
    attempts: Int32[Array, " b"]


def solve(f: Callable, y: Float32[Array, "b *s"], how: Any) -> Place:
    """Where the solves end. how: an `ode.Solve`; with gradient "adjoint" reverse-mode differentiation is an error."""
    method = tableau(how.solver)
    place = _start(f, y, method, how)

    def attempt(place: Place) -> Place:
        return _attempt(f, place, method, how)[0]

    if how.gradient == "adjoint":
        return jax.lax.while_loop(lambda place: _going(place, how), attempt, place)

    def maybe(place: Place, _: None) -> tuple[Place, None]:
        return jax.lax.cond((place.t < 1).any(), attempt, lambda place: place, place), None

    return jax.lax.scan(jax.checkpoint(maybe) if how.gradient == "checkpointed" else maybe, place, None, how.max_steps)[0]


def solve_and_integrate(f: Callable, density: Callable, total: Any, y: Float32[Array, "b *s"], how: Any) -> tuple[Place, Any]:
    """`solve`, and `total` plus the integral of a density along the solution, summed over the batch.

    density: `density(t, y, weight)`, linear in weight, a number an example. Each step that was kept adds Gauss's quadrature of order 4
    over a cubic through states and slopes at its ends; so a batch needs one sum, where steps differ from example to example.
    """
    method = tableau(how.solver)

    def step(carry: tuple[Place, Any]) -> tuple[Place, Any]:
        old, total = carry
        new, kept, size = _attempt(f, old, method, how)
        weight = jnp.where(kept, size / NODES, 0)
        for node in (0.5 - 12**-0.5, 0.5 + 12**-0.5):
            part = density(old.t + node * size, _between(old, new, size, node), weight)
            total = jax.tree.map(jnp.add, total, part)
        return new, total

    return jax.lax.while_loop(lambda carry: _going(carry[0], how), step, (_start(f, y, method, how), total))


def evaluations(end: Place, how: Any) -> Float32[Array, " b"]:
    """How often f was evaluated for each example: to choose the first step, then for every attempt."""
    return (START + (len(tableau(how.solver).b) - 1) * end.attempts).astype(jnp.float32)


def _going(place: Place, how: Any) -> Bool[Array, ""]:
    return (place.t < 1).any() & (place.attempts.max() < how.max_steps)


def _attempt(f: Callable, old: Place, method: Tableau, how: Any) -> tuple[Place, Bool[Array, " b"], Float[Array, " b"]]:
    """One step of every example that has not arrived: where it leads, whether it was kept, and its size (0 for those that have)."""
    left = 1 - old.t
    size = jnp.minimum(old.h, left)
    h = by_example(size, old.y)
    slopes = [old.slope]
    for a, c in zip(method.a[1:], method.c[1:], strict=True):
        y = old.y + h * combine(a, slopes)
        slopes.append(f(old.t + c * size, y))
    # The last stage stands at the end of the step.
    scale = how.tol * (1 + jnp.maximum(jnp.abs(old.y), jnp.abs(y)))
    error = _size(h * combine(method.error, slopes) / scale, how)
    kept, going = error < 1, old.t < 1
    factor = jnp.clip(SAFETY * jnp.maximum(error, 1e-10) ** (-1 / method.order), jnp.where(kept, 1.0, LEAST), jnp.where(kept, MOST, SAFETY))
    there = by_example(kept, y)
    new = Place(
        t=jnp.where(kept, jnp.where(size < left, old.t + size, 1), old.t),
        h=jnp.where(going, size * factor, old.h),
        y=jnp.where(there, y, old.y),
        slope=jnp.where(there, slopes[-1], old.slope),
        attempts=old.attempts + going,
    )
    return new, kept, size


def _start(f: Callable, y: Float[Array, "b *s"], method: Tableau, how: Any) -> Place:
    """The first step by Hairer's rule (section II.4), from the slope at 0 and how it changes along a small step."""
    zero = jnp.zeros(len(y))
    slope, scale = f(zero, y), how.tol * (1 + jnp.abs(y))
    d0, d1 = _size(y / scale, how), _size(slope / scale, how)
    small = jnp.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / jnp.maximum(d1, 1e-5))
    d2 = _size((f(small, y + by_example(small, y) * slope) - slope) / scale, how) / small
    most = jnp.maximum(d1, d2)
    h = jnp.where(most <= 1e-15, jnp.maximum(1e-6, small * 1e-3), (0.01 / jnp.maximum(most, 1e-15)) ** (1 / method.order))
    return Place(zero, jnp.minimum(100 * small, h), y, slope, jnp.zeros(len(y), jnp.int32))


def _size(x: Float[Array, "b *s"], how: Any) -> Float[Array, " b"]:
    """Root mean square of each example, or of all together; step sizes are constants to differentiation."""
    square = jnp.square(jax.lax.stop_gradient(x)).mean(tuple(range(1, x.ndim)))
    return jnp.sqrt(jnp.full(len(x), _over_devices(square.mean())) if how.control == "batch" else square)


def _over_devices(x: Float[Array, ""]) -> Float[Array, ""]:
    """The mean over the devices that share the batch: of the mapped axis "batch", where it is bound."""
    try:
        return jax.lax.pmean(x, "batch")
    except NameError:
        return x


def _between(old: Place, new: Place, size: Float[Array, " b"], node: float) -> Float[Array, "b *s"]:
    """The state at a share `node` of a step, by Hermite's cubic."""
    h, x = by_example(size, old.y), node
    ends = (1 + 2 * x) * (1 - x) ** 2 * old.y + x**2 * (3 - 2 * x) * new.y
    return ends + h * (x * (1 - x) ** 2 * old.slope - x**2 * (1 - x) * new.slope)
