"""The Transformer's block and stacks of it (Vaswani et al. 2017, arXiv:1706.03762, sections 3.1 and 3.3).

Post-norm is the original's order, LayerNorm after a sum; pre-norm (Xiong et al. 2020, arXiv:2002.04745) before a branch, as GPT-2 and ViT
have it. A stack can be scanned: one block is compiled, whatever the depth, and its parameters have a leading axis of blocks.

b batch · n places · c channels
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from cvjax.layers.attention import Attention


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x times the normal distribution's share below x (Hendrycks and Gimpel 2016, arXiv:1606.08415), by erf as torch has it.

    `jax.nn.gelu` takes erfc, more exact where the result is 1e-6 and less, and on a CPU three times as dear.
    """
    return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"gelu": gelu, "gelu_tanh": partial(nn.gelu, approximate=True), "relu": nn.relu}
LAYERS = ("unrolled", "scanned", "dots", "remat")


class Mlp(nn.Module):
    """Dense, activation, Dense, with dropout after each: `hidden` and `out`."""

    width: int
    activation: str = "gelu"
    dropout: float = 0.0
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], *, train: bool = False) -> Float[Array, "b n c"]:
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform(), bias_init=nn.initializers.normal(1e-6))
        rows = x.reshape(-1, x.shape[-1])  # XLA:CPU computes the gradients of two-dimensional products a tenth faster
        y = ACTIVATIONS[self.activation](dense(self.width, name="hidden")(rows))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        return nn.Dropout(self.dropout, deterministic=not train)(dense(x.shape[-1], name="out")(y)).reshape(x.shape)


class Block(nn.Module):
    """Attention of the sequence to itself, then an MLP at each place, each with a shortcut.

    heads, mlp: of the attention, hidden width of the MLP.
    norm: "pre" or "post". eps: of LayerNorm.
    causal, decode: see `cvjax.layers.attention.Attention`.
    dropout: of the branches' outputs and the MLP's hidden layer, not of attention weights.
    """

    heads: int
    mlp: int
    norm: str = "pre"
    causal: bool = False
    decode: bool = False
    dropout: float = 0.0
    activation: str = "gelu"
    eps: float = 1e-6
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], mask: Bool[Array, "#b #h #n #n"] | None = None, *, train: bool = False) -> Array:
        if self.norm not in ("pre", "post"):
            raise ValueError(f"transformer: no norm {self.norm!r}; have 'pre', 'post'")
        attention = Attention(self.heads, self.causal, self.decode, dtype=self.dtype, name="attention")
        mlp = Mlp(self.mlp, self.activation, self.dropout, self.dtype, name="mlp")
        norms = [nn.LayerNorm(epsilon=self.eps, dtype=self.dtype, name=f"norm{i}") for i in (1, 2)]

        def attended(x: Array) -> Array:
            return nn.Dropout(self.dropout, deterministic=not train)(attention(x, mask=mask, train=train))

        if self.norm == "pre":
            x = x + attended(norms[0](x))
            return x + mlp(norms[1](x), train=train)
        x = norms[0](x + attended(x))
        return norms[1](x + mlp(x, train=train))


class Stack(nn.Module):
    """`depth` blocks one after another.

    block: makes one, `block(name=...)`.
    layers: "unrolled", blocks `block1`, `block2`, ... each compiled; "scanned", one program for all, parameters stacked in `blocks`; "dots"
        and "remat" are scanned too and keep of the forward pass only products of matrices, or only what goes in and out of each block.
    """

    depth: int
    block: Callable[..., nn.Module]
    layers: str = "unrolled"

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], mask: Bool[Array, "#b #h #n #n"] | None = None, *, train: bool = False) -> Array:
        if self.layers not in LAYERS:
            raise ValueError(f"transformer: no layers {self.layers!r}; have {', '.join(map(repr, LAYERS))}")
        if self.layers == "unrolled":
            for i in range(1, self.depth + 1):
                x = self.block(name=f"block{i}")(x, mask, train=train)
            return x

        def body(block: nn.Module, x: Array, _: None) -> tuple[Array, None]:
            return block(x, mask, train=train), None

        policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable if self.layers == "dots" else None
        step: Any = body if self.layers == "scanned" else nn.remat(body, policy=policy, prevent_cse=False)
        axes: Any = {"params": 0, "cache": 0, "attention": 0, "intermediates": 0, "perturbations": 0}
        scan = nn.scan(step, variable_axes=axes, split_rngs={"params": True, "dropout": True}, length=self.depth)
        return scan(self.block(name="blocks"), x, None)[0]
