"""dy/dt = f(t, y) from t = 0 to 1, and three gradients of the solution (Chen, Rubanova, Bettencourt & Duvenaud 2018, arXiv:1806.07366).

"adjoint" solves the paper's equation (4) backwards beside the state, which it computes again: memory does not grow with the number of
steps. "direct" differentiates the solver's own steps and keeps all they computed. "checkpointed" keeps the state before each step only and
computes the step again.

Every example of a batch has its own steps, so that a result depends neither on its neighbours nor on the number of devices, but for
rounding, which can tip the choice of a step; `control="batch"` gives all of them the same, chosen by their mean error, over all devices.
f must treat examples one by one (GroupNorm, no BatchNorm).

b batch · s anything else, the shape of an example's state
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from cvjax.ops import adaptive
from cvjax.ops.tableau import ADAPTIVE, FIXED, Tableau, by_example, combine, tableau

MOST_STEPS = 1_000_000
LEAST_TOL = 1e-7
GRADIENTS = ("adjoint", "checkpointed", "direct")
TALLIES = ("nfe_backward", "unfinished_backward")  # what the backward pass knows, see `odeint`


class Solve(NamedTuple):
    """How an equation is solved.

    solver: "euler", "midpoint", "rk4" (steps of a given size), "bosh3", "dopri5", "tsit5" (either).
    steps: so many of equal size; 0 lets the error estimate choose them.
    tol: error per step allowed, absolute and relative to the state, where the estimate chooses.
    gradient: "adjoint", "checkpointed" or "direct".
    max_steps: attempts after which an adaptive solve gives up, unfinished. "direct" needs memory for all, "checkpointed" for a state each.
    control: "example", each its own steps, or "batch", one sequence of steps for the whole batch.
    """

    solver: str = "dopri5"
    steps: int = 0
    tol: float = 1e-3
    gradient: str = "adjoint"
    max_steps: int = 100
    control: str = "example"

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Solve:
        """From settings by name. Raises ValueError that names the setting and the fix."""
        for key, value in settings.items():
            if key not in cls._fields:
                raise ValueError(f"solve has no {key!r}; have {', '.join(cls._fields)}")
            if type(value) is not type(cls._field_defaults[key]) and not (key == "tol" and type(value) is int):
                raise ValueError(f"solve.{key} is {value!r}; it must be like {cls._field_defaults[key]!r}")
        return cls(**settings).check()

    def check(self) -> Solve:
        """Itself. Raises ValueError that names the setting and the fix."""
        for name, words in (("solver", (*FIXED, *ADAPTIVE)), ("gradient", GRADIENTS), ("control", ("example", "batch"))):
            if getattr(self, name) not in words:
                raise ValueError(f"no solve.{name} {getattr(self, name)!r}; have {', '.join(map(repr, words))}")
        for name, least in (("steps", 0), ("max_steps", 1)):
            if type(getattr(self, name)) is not int or not least <= getattr(self, name) <= MOST_STEPS:
                raise ValueError(f"solve.{name} is {getattr(self, name)!r}; it must be a whole number from {least} to {MOST_STEPS}")
        if not self.steps and self.solver in FIXED:
            raise ValueError(
                f"{self.solver} has no error estimate to choose steps by; set solve.steps, or solve.solver to {' or '.join(ADAPTIVE)}"
            )
        if not LEAST_TOL <= self.tol < 1:
            raise ValueError(f"solve.tol is {self.tol}; it must be below 1 and at least {LEAST_TOL}, what float32 can tell apart")
        return self


class Stats(NamedTuple):
    """Of each example: how often f was evaluated, and 1 where the solve gave up before t = 1."""

    evaluations: Float32[Array, " b"]
    unfinished: Float32[Array, " b"]


Field = Callable[[Any, Float[Array, " b"], Float[Array, "b *s"]], Float[Array, "b *s"]]


def odeint(
    f: Field, params: Any, y: Float32[Array, "b *s"], how: Solve, tally: Float32[Array, "2"] | None = None
) -> tuple[Float32[Array, "b *s"], Stats]:
    """y at t = 1, and what it took.

    f: `f(params, t, y)`, a pure function; t has one number an example.
    tally: zeros. Their "gradient" is what the backward pass does: TALLIES, summed over the examples.
    """
    how.check()
    tally = jnp.zeros(len(TALLIES)) if tally is None else tally
    if how.gradient == "adjoint":
        return _adjoint(f, how, params, y, tally)
    y, stats = _steps(partial(f, params), y, how)
    again = stats.evaluations - (0 if how.steps else adaptive.START)
    counted = jnp.stack([again.sum(), stats.unfinished.sum()]) if how.gradient == "checkpointed" else jnp.zeros(len(TALLIES))
    return _tallied(y, tally, jax.lax.stop_gradient(counted)), stats


def _steps(f: Callable, y: Array, how: Solve) -> tuple[Array, Stats]:
    """The solution by steps that can be differentiated, with "adjoint" by a loop that cannot."""
    if not how.steps:
        end = adaptive.solve(f, y, how)
        return end.y, Stats(adaptive.evaluations(end, how), (end.t < 1).astype(jnp.float32))
    method = tableau(how.solver)

    def step(y: Array, number: Array) -> tuple[Array, None]:
        return fixed_step(lambda t, y: (f(t, y), ()), number / how.steps, 1 / how.steps, y, method)[0], None

    step = jax.checkpoint(step) if how.gradient == "checkpointed" else step
    y, _ = jax.lax.scan(step, y, jnp.arange(how.steps))
    return y, Stats(jnp.full(len(y), float(how.steps * method.stages)), jnp.zeros(len(y)))


def fixed_step(f: Callable, t: Array, h: float, y: Float[Array, "b *s"], method: Tableau) -> tuple[Float[Array, "b *s"], list]:
    """y after one step of size h for all examples. f(t, y) gives the slope and something more, which is returned for every stage."""
    slopes: list = []
    more: list = []
    for i in range(method.stages):
        slope, extra = f(jnp.full(len(y), t + method.c[i] * h), y + h * combine(method.a[i], slopes))
        slopes.append(slope)
        more.append(extra)
    return y + h * combine(method.b, slopes), more


# ---- the continuous adjoint


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _adjoint(f: Field, how: Solve, params: Any, y: Array, tally: Array) -> tuple[Array, Stats]:
    return _steps(partial(f, params), y, how)


def _adjoint_forward(f: Field, how: Solve, params: Any, y: Array, tally: Array) -> tuple:
    y, stats = _steps(partial(f, params), y, how)
    return (y, stats), (params, y)


def _adjoint_backward(f: Field, how: Solve, saved: tuple, gradients: tuple) -> tuple:
    """State y and adjoint a = dL/dy, side by side, solved in s = 1 - t; the parameters' gradient is the integral of a df/dparams."""
    params, y = saved
    both = jnp.stack([y, gradients[0].astype(y.dtype)], 1)
    backward = _backward_by_steps if how.steps else _backward_adaptive
    both, of_params, stats = backward(f, how, params, both)
    return of_params, both[:, 1], jnp.stack([stats.evaluations.sum(), stats.unfinished.sum()])


_adjoint.defvjp(_adjoint_forward, _adjoint_backward)


def _backward_by_steps(f: Field, how: Solve, params: Any, both: Array) -> tuple[Array, Any, Stats]:
    method, h = tableau(how.solver), 1 / how.steps

    def augmented(s: Array, both: Array) -> tuple[Array, Any]:
        slope, pull = jax.vjp(lambda params, y: f(params, 1 - s, y), params, both[:, 0])
        of_params, of_y = pull(both[:, 1])
        return jnp.stack([-slope, of_y], 1), of_params

    def step(carry: tuple, number: Array) -> tuple[tuple, None]:
        both, total = carry
        both, parts = fixed_step(augmented, number * h, h, both, method)
        for weight, part in zip(method.b, parts, strict=False):
            total = jax.tree.map(lambda x, dx, w=h * weight: x + w * dx, total, part) if weight else total
        return (both, total), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    (both, total), _ = jax.lax.scan(step, (both, zeros), jnp.arange(how.steps))
    return both, total, Stats(jnp.full(len(both), float(how.steps * method.stages)), jnp.zeros(len(both)))


def _backward_adaptive(f: Field, how: Solve, params: Any, both: Array) -> tuple[Array, Any, Stats]:
    def augmented(s: Array, both: Array) -> Array:
        slope, pull = jax.vjp(lambda y: f(params, 1 - s, y), both[:, 0])
        return jnp.stack([-slope, *pull(both[:, 1])], 1)

    def density(s: Array, both: Array, weight: Array) -> Any:
        _, pull = jax.vjp(lambda params: f(params, 1 - s, both[:, 0]), params)
        return pull(by_example(weight, both[:, 1]) * both[:, 1])[0]

    end, total = adaptive.solve_and_integrate(augmented, density, jax.tree.map(jnp.zeros_like, params), both, how)
    spent = adaptive.evaluations(end, how) + adaptive.NODES * end.attempts
    return end.y, total, Stats(spent.astype(jnp.float32), (end.t < 1).astype(jnp.float32))


@jax.custom_vjp
def _tallied(y: Array, tally: Array, counted: Array) -> Array:
    """y, through which the gradient passes; `tally` gets `counted` for its own."""
    return y


_tallied.defvjp(lambda y, tally, counted: (y, counted), lambda counted, g: (g, counted, jnp.zeros_like(counted)))
