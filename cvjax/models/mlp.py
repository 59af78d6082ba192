"""Multi-layer perceptrons in which the gradient vanishes, or does not (Nielsen 2015, "Neural Networks and Deep Learning", chapter 5).

The book's network is rows of 30 sigmoid units, weights drawn from N(0, 1 / inputs), biases from N(0, 1). Each sigmoid layer shrinks the
gradient on its way back, by |w s'| <= |w| / 4. Three remedies of the decade after, one at a time: ReLU with He's initialisation (2015,
arXiv:1502.01852), BatchNorm before the sigmoid (2015, arXiv:1502.03167), and a shortcut around every layer but the first (2015,
arXiv:1512.03385).

Where we depart from the book: the classes compete in a softmax; there every class has a sigmoid of its own.

b batch · h w height, width · c channels · n units · k classes
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.layers.conv import he_fan_in
from cvjax.layers.norm import BatchNorm

VARIANTS = {n: (30,) * n for n in range(1, 6)}  # units of each hidden layer
LAYERS = ("sigmoid", "relu", "batch_norm", "residual")
SMALLEST = 1  # pixels on a side
TINY = {"variant": 2}


class Model(nn.Module):
    """A perceptron on the pixels of an image.

    variant: number of hidden layers, a key of VARIANTS.
    layer: "sigmoid", the book's; "relu"; "batch_norm", normalised before the sigmoid; "residual", a shortcut added to the sigmoid.
    dtype: of the arithmetic. Parameters and logits are float32 always.
    """

    num_classes: int
    variant: int = 2
    layer: str = "sigmoid"
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c. Returns "hidden1", "hidden2", ... (b n, `dtype`), the last of them as "features" (b n, float32),
        and "logits" (b k, float32)."""
        if self.variant not in VARIANTS:
            raise ValueError(f"mlp: no variant {self.variant}; have {', '.join(map(str, VARIANTS))} hidden layers")
        if self.layer not in LAYERS:
            raise ValueError(f"mlp: no layer {self.layer!r}; have {', '.join(map(repr, LAYERS))}")
        image = jnp.asarray(inputs["image"], self.dtype)
        x = image.reshape(len(image), -1)
        out: dict = {}
        for number, units in enumerate(VARIANTS[self.variant], 1):
            out[f"hidden{number}"] = x = self._hidden(x, units, number, train)
        out["features"] = jnp.asarray(x, jnp.float32)
        out["logits"] = nn.Dense(self.num_classes, kernel_init=book_kernel, bias_init=book_bias, name="head")(out["features"])
        return out

    def _hidden(self, x: Float[Array, "b m"], units: int, number: int, train: bool) -> Float[Array, "b n"]:
        relu, normed = self.layer == "relu", self.layer == "batch_norm"
        kernel, bias = (he_fan_in, nn.initializers.zeros) if relu else (book_kernel, book_bias)
        # A bias before BatchNorm would be taken away again.
        y = nn.Dense(units, not normed, dtype=self.dtype, kernel_init=kernel, bias_init=bias, name=f"hidden{number}")(x)
        if normed:
            y = BatchNorm(dtype=self.dtype, name=f"norm{number}")(y, train=train)
        y = nn.relu(y) if relu else jax.nn.sigmoid(y)
        return x + y if self.layer == "residual" and number > 1 else y


book_kernel = nn.initializers.variance_scaling(1.0, "fan_in", "normal")  # N(0, 1 / inputs)
book_bias = nn.initializers.normal(1.0)


def layer(path: str) -> int:
    """The number of the layer that a parameter belongs to: hidden layer n n - 1, the head last."""
    module = path.partition("/")[0]
    return max(VARIANTS) if module == "head" else int(module.removeprefix("hidden").removeprefix("norm")) - 1


def usual(variant: int) -> tuple[tuple[int, int, int], int]:
    """The image (h, w, c) and the number of classes that a variant is made for: MNIST's."""
    return (28, 28, 1), 10
