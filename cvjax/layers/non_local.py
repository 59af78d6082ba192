"""Attention inside a CNN: non-local blocks (Wang et al. 2018, arXiv:1711.07971) and SAGAN's (Zhang et al. 2019, arXiv:1805.08318).

Each position of a map asks every other one, and what they answer is added to it. Both blocks begin as the identity, bit for bit: the
non-local one ends in a BatchNorm whose scale starts at 0, SAGAN's in a number gamma that does. So they can be put into a trained network.

Where we depart from the papers:
- A non-local block's matrices start with variance 1 / inputs. The authors' 0.01 is about that for their 1,024 channels; for 16 it makes
  pairs so small that nothing moves.
- Convolutions have no biases. Softmax and BatchNorm would cancel those of phi, g and the last one.
- The Gaussian form is divided by sqrt(c) as the authors' code divides the embedded one; without it one position takes all the weight.
- SAGAN's h has c / 2 channels, as in its authors' code, but looks at all positions, as in the paper; spectral norm is left to its GAN.

b batch · h w height, width · c channels, d inner ones · n positions that ask, m that answer (a quarter of n where they are pooled)
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.layers.conv import Conv
from cvjax.layers.norm import BatchNorm
from cvjax.layers.pool import max_pool
from cvjax.ops import attention

FORMS = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")
INIT = nn.initializers.lecun_normal()


class NonLocal(nn.Module):
    """z_i = W_z y_i + x_i, where y_i = sum over j of f(x_i, x_j) g(x_j) / C: sections 3.1 and 3.2 of the paper.

    form: f and C. "gaussian": exp(x_i . x_j / sqrt(c)), C the sum over j. "embedded_gaussian": the same of theta(x_i) and phi(x_j).
        "dot_product": theta(x_i) . phi(x_j), C = m. "concatenation": ReLU(w . [theta(x_i), phi(x_j)]), C = m.
    pool: the x_j are 2x2 maxima, where the map has that many pixels: a quarter of the pairs (section 3.3).
    Parameters: `theta`, `phi`, `g` (c to c / 2), `out` (back to c), `norm`, and w, `pair` (2 d).
    The pairs' f / C (b 1 n m) are sown as "weights" where the collection "attention" is mutable.
    """

    form: str = "embedded_gaussian"
    pool: bool = True
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        if self.form not in FORMS:
            raise ValueError(f"non_local: no form {self.form!r}; have {', '.join(map(repr, FORMS))}")
        c = x.shape[-1]
        if c < 2:
            raise ValueError("non_local: half of 1 channel is none; the map must have at least 2")
        others = max_pool(x, 2, 2) if self.pool and min(x.shape[1:3]) > 1 else x
        value = _rows(Conv(c // 2, 1, dtype=self.dtype, kernel_init=INIT, name="g")(others))
        if self.form == "gaussian":
            query, key = _rows(x), _rows(others)
        else:
            query = _rows(Conv(c // 2, 1, dtype=self.dtype, kernel_init=INIT, name="theta")(x))
            key = _rows(Conv(c // 2, 1, dtype=self.dtype, kernel_init=INIT, name="phi")(others))
        if self.form.endswith("gaussian"):
            y = _attend(self, query, key, value)
        else:
            weights = (self._concatenation(query, key) if self.form == "concatenation" else _products(query, key)) / key.shape[1]
            _sow(self, weights)
            y = jnp.einsum("bhnm,bmhd->bnhd", weights.astype(value.dtype), value)
        y = Conv(c, 1, dtype=self.dtype, kernel_init=INIT, name="out")(y.reshape(*x.shape[:3], c // 2))
        return x + BatchNorm(dtype=self.dtype, scale_init=nn.initializers.zeros, name="norm")(y, train=train)

    def _concatenation(self, query: Float[Array, "b n 1 d"], key: Float[Array, "b m 1 d"]) -> Float[Array, "b 1 n m"]:
        """w . [theta, phi] is a number of the one who asks, plus a number of the one who answers."""
        init = nn.initializers.normal(1 / math.sqrt(2 * query.shape[-1]))
        asks, answers = self.param("pair", init, (2, query.shape[-1]), jnp.float32).astype(self.dtype)
        return nn.relu((query[:, :, 0] @ asks)[:, None, :, None] + (key[:, :, 0] @ answers)[:, None, None, :])


class SelfAttention(nn.Module):
    """y = gamma o + x, where o_j = v(sum over i of beta_ji h(x_i)), beta_j the softmax over i of f(x_i) . g(x_j), undivided: section 3.

    Parameters: `f`, `g` (c to c / 8), `h` (c to c / 2), `v` (back to c) and `gamma`, a number that starts at 0.
    The beta (b 1 n n) are sown as "weights" where the collection "attention" is mutable.
    """

    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        c = x.shape[-1]
        if c < 8:
            raise ValueError(f"non_local: an eighth of {c} channels is none; SAGAN's block must have at least 8")

        def projected(name: str, features: int, x: Array) -> Array:
            return Conv(features, 1, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform(), name=name)(x)

        key, query, value = (_rows(projected(name, c // part, x)) for name, part in (("f", 8), ("g", 8), ("h", 2)))
        y = _attend(self, query * math.sqrt(c // 8), key, value)  # for attention divides by it
        gamma = self.param("gamma", nn.initializers.zeros, (), jnp.float32)
        return x + gamma.astype(self.dtype) * projected("v", c, y.reshape(*x.shape[:3], c // 2))


def _rows(x: Float[Array, "b h w d"]) -> Float[Array, "b n 1 d"]:
    """Positions in a row, under one head."""
    return x.reshape(len(x), -1, 1, x.shape[-1])


def _products(query: Float[Array, "b n 1 d"], key: Float[Array, "b m 1 d"]) -> Float[Array, "b 1 n m"]:
    return jnp.einsum("bnhd,bmhd->bhnm", query, key)


def _attend(block: nn.Module, query: Array, key: Array, value: Array) -> Float[Array, "b n 1 d"]:
    if block.is_mutable_collection("attention"):
        _sow(block, attention.weights(query, key))
    return attention.attend(query, key, value)


def _sow(block: nn.Module, weights: Float[Array, "b 1 n m"]) -> None:
    if block.is_mutable_collection("attention") and not block.is_initializing():
        block.sow("attention", "weights", weights)
