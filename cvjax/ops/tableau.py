"""Explicit Runge-Kutta methods by name: Euler, midpoint and the classical RK4 are written here, pairs with an error estimate are diffrax's.

An error estimate is what adapts a step; a method without one takes steps of a given size.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

FIXED = ("euler", "midpoint", "rk4")
ADAPTIVE = ("bosh3", "dopri5", "tsit5")  # their last stage is the first of the next step


class Tableau(NamedTuple):
    """A method: stage i is evaluated at t + c[i] h and y + h sum_j a[i][j] k[j]; the step ends at y + h sum_j b[j] k[j].

    error: weights of the estimated error, () where there is none. order: of the error in h.
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    order: int
    error: tuple[float, ...] = ()

    @property
    def stages(self) -> int:
        """Evaluations of a step of given size: of a pair the last stage serves the error estimate only."""
        return len(self.b) - bool(self.error)


OWN = {
    "euler": Tableau(a=((),), b=(1.0,), c=(0.0,), order=1),
    "midpoint": Tableau(a=((), (0.5,)), b=(0.0, 1.0), c=(0.0, 0.5), order=2),
    "rk4": Tableau(a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), b=(1 / 6, 1 / 3, 1 / 3, 1 / 6), c=(0.0, 0.5, 0.5, 1.0), order=4),
}


@functools.cache
def tableau(name: str) -> Tableau:
    """The method called `name`, one of FIXED or ADAPTIVE."""
    if name in OWN:
        return OWN[name]
    import diffrax

    solver = getattr(diffrax, name.capitalize())()
    table = solver.tableau
    a = ((), *(tuple(map(float, row)) for row in table.a_lower))
    return Tableau(a, tuple(map(float, table.b_sol)), (0.0, *map(float, table.c)), solver.order(None), tuple(map(float, table.b_error)))


def combine(weights: Sequence[float], stages: Sequence[Float[Array, "b *s"]]) -> Float[Array, "b *s"] | float:
    """The weighted sum of stages; those of weight 0 are left out."""
    return sum((jnp.asarray(w, k.dtype) * k for w, k in zip(weights, stages, strict=False) if w), 0.0)


def by_example(x: Shaped[Array, " b"], like: Float[Array, "b *s"]) -> Shaped[Array, "b ..."]:
    """A number an example, with as many axes as `like`."""
    return x.reshape(-1, *[1] * (like.ndim - 1))
