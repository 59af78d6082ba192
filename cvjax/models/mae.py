"""Masked autoencoder (He, Chen, Xie, Li, Dollar & Girshick 2022, "Masked Autoencoders Are Scalable Vision Learners", arXiv:2111.06377).

A ViT sees a few patches of an image; a small Transformer behind it, given what became of these and a mask token for each of the others,
draws the pixels of the hidden ones. Afterwards the decoder is thrown away: the encoder's parameters have the paths of `models/vit.py`,
so that `--init=RUN` begins a ViT with position="sincos_2d" with them.

The loss is the paper's (section 3, "Reconstruction target"): the mean squared error of hidden patches alone, each patch's pixels
standardised by its own mean and variance. `cvjax.tasks.masked_modelling` takes it.

Where we depart from the paper: the sines and cosines of places are those of `cvjax.layers.position.sincos_2d`, MoCo v3's as big_vision
computes them, so that a ViT and its pre-training agree.

b batch · h w height, width · n patches · v visible ones · p pixel values of a patch · c channels
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, UInt32

from cvjax.layers import position
from cvjax.layers.patch import Embed
from cvjax.layers.transformer import Block, Stack
from cvjax.models.vit import SIZES, Size, sized

VARIANTS = {name: SIZES[name[0]] for name in ("B/16", "L/16", "H/14")}  # of section 4; the decoder is the same
SMALLEST = 16  # pixels on a side, of TINY
TINY = {"variant": "mu/8", "decoder": (1, 16, 2)}


class Model(nn.Module):
    """variant: of the encoder, as `models/vit.py` has it.

    ratio: share of the patches that is hidden.
    decoder: its blocks, channels and heads.
    layers: of both stacks, see `cvjax.layers.transformer.Stack`.
    """

    variant: str = "B/16"
    ratio: float = 0.75
    decoder: tuple[int, int, int] = (8, 512, 16)
    layers: str = "unrolled"
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c, normalised. inputs["seeds"]: uint32 b, a number an image to draw what is hidden.

        Returns "prediction" and "target" (b n p, float32), "masked" (b n, True where hidden) and "tokens" (b 1+v c).
        """
        size, patch = self._choices()
        image = jnp.asarray(inputs["image"])
        target = patches(image, patch)
        n = target.shape[1]
        order, visible = shuffled(inputs["seeds"], n, self.ratio)

        embedded = Embed(size.width, patch, "sincos_2d", dtype=self.dtype, name="embed")(image)
        seen = jnp.take_along_axis(embedded[:, 1:], order[:, :visible, None], axis=1)
        x = jnp.concatenate([embedded[:, :1], seen], 1)
        x = Stack(size.depth, partial(Block, size.heads, size.mlp, dtype=self.dtype), self.layers, name="encoder")(x, train=train)
        x = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(x)

        y = self._decoded(x, order, (image.shape[1] // patch, image.shape[2] // patch), train)
        prediction = nn.Dense(target.shape[-1], name="decoder_head")(y[:, 1:].astype(jnp.float32))
        masked = jnp.argsort(order, 1) >= visible
        return {"prediction": prediction, "target": standardised(target), "masked": masked, "tokens": x}

    def _decoded(self, x: Float[Array, "b v1 c"], order: Int[Array, "b n"], grid: tuple[int, int], train: bool) -> Array:
        """The class token and all places, in order: what the decoder makes of visible tokens and mask tokens."""
        depth, width, heads = self.decoder
        x = nn.Dense(width, dtype=self.dtype, name="decoder_embed")(x)
        nothing = self.param("mask_token", nn.initializers.normal(0.02), (width,), jnp.float32).astype(self.dtype)
        hidden = jnp.broadcast_to(nothing, (len(x), order.shape[1] - x.shape[1] + 1, width))
        places = jnp.argsort(order, 1)[:, :, None]
        tokens = jnp.take_along_axis(jnp.concatenate([x[:, 1:], hidden], 1), places, axis=1)
        tokens = tokens + jnp.asarray(position.sincos_2d(*grid, width), self.dtype)[None]
        block = partial(Block, heads, 4 * width, dtype=self.dtype)
        y = Stack(depth, block, self.layers, name="decoder")(jnp.concatenate([x[:, :1], tokens], 1), train=train)
        return nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="decoder_norm")(y)

    def _choices(self) -> tuple[Size, int]:
        if not 0 < self.ratio < 1:
            raise ValueError(f"mae: ratio {self.ratio}; it is the share of patches that are hidden, between 0 and 1")
        if len(self.decoder) != 3 or min(self.decoder) < 1 or self.decoder[1] % self.decoder[2]:
            raise ValueError(
                f"mae: decoder {self.decoder}; it is (blocks, channels, heads), at least 1 each, and the heads divide the channels"
            )
        return sized(self.variant)


def example(n: int, key: Array) -> dict:
    """Inputs to try the network with: n images."""
    return {"image": jax.random.normal(key, (n, SMALLEST, SMALLEST, 3)), "seeds": jnp.arange(n, dtype=jnp.uint32)}


def shuffled(seeds: UInt32[Array, "b"], n: int, ratio: float) -> tuple[Int[Array, "b n"], int]:
    """For each image an order of its patches, of which the first stay visible, and how many do: floor(n (1 - ratio)).

    Raises ValueError where none would.
    """
    visible = int(n * (1 - ratio))
    if not visible:
        raise ValueError(f"mae: a ratio of {ratio} leaves none of {n} patches visible; take less, or smaller patches")
    noise = jax.vmap(lambda seed: jax.random.uniform(jax.random.key(seed), (n,)))(seeds)
    return jnp.argsort(noise, 1), visible


def patches(image: Float[Array, "b h w c"], size: int) -> Float[Array, "b n p"]:
    """The pixels of every patch, row by row."""
    b, h, w, c = image.shape
    if h % size or w % size:
        raise ValueError(f"mae: an image of {h}x{w} pixels is not made of patches of {size}x{size}; change one")
    x = image.reshape(b, h // size, size, w // size, size, c).swapaxes(2, 3)
    return x.reshape(b, (h // size) * (w // size), size * size * c)


def standardised(x: Float[Array, "b n p"]) -> Float[Array, "b n p"]:
    """Every patch less its mean, over its deviation (with n - 1, and 1e-6 under the root, as in the authors' code)."""
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True, ddof=1) + 1e-6)
