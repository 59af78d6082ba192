"""Residual branches that are left out at random in training (Huang, Sun, Liu, Sedra & Weinberger 2016, arXiv:1603.09382).

One coin a block and mini-batch, the same on every device (random stream "depth"): a block that loses it is not computed at all.
In evaluation every branch is there, weighted by the probability with which it was in training.

`drop_path` is what other libraries call stochastic depth: a coin a block and *example*, branches scaled in training instead of in
evaluation. The expectation is the same, but every branch is computed.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

RULES = ("linear", "uniform", "sample")


def survival(number: int, blocks: int, last: float, rule: str) -> float:
    """Probability that block `number` (from 1) of `blocks` is kept: falling in a line to `last` (equation 4), or the same for all."""
    return last if rule == "uniform" else 1 - number / blocks * (1 - last)


def residual(
    module: nn.Module, branch: Callable, x: Float[Array, "b h w c"], shortcut: Float[Array, "b p q d"], probability: float, train: bool
) -> tuple[Float[Array, "b p q d"], Float32[Array, ""]]:
    """shortcut + branch(module, x), the branch left out with 1 - `probability` in training; and 1 or 0, whether it was computed.

    At probability 1 there is no coin and nothing to choose: the numbers are those of a network of constant depth.
    """
    if probability == 1 or module.is_initializing():
        return shortcut + branch(module, x), jnp.float32(1)
    if not train:
        y = branch(module, x)
        return shortcut + y * jnp.asarray(probability, y.dtype), jnp.float32(1)
    kept = jax.random.bernoulli(module.make_rng("depth"), probability)
    added = nn.cond(kept, lambda module, x, y: y + branch(module, x), lambda module, x, y: y, module, x, shortcut)
    return added, kept.astype(jnp.float32)


def drop_path(module: nn.Module, y: Float[Array, "b *s"], probability: float, train: bool) -> Array:
    """y / probability for the examples that keep their branch, 0 for the others."""
    if not train or probability == 1:
        return y
    kept = jax.random.bernoulli(module.make_rng("dropout"), probability, (len(y), *(1,) * (y.ndim - 1)))
    return jnp.where(kept, y / jnp.asarray(probability, y.dtype), jnp.zeros_like(y))
