"""What a way back to full resolution leaves in the scores, and what the network costs.

`checkerboard`: the share of the variance in squares of 8 x 8 scores that alternates from pixel to pixel, down, across or both. Copies of a
kernel that overlap unevenly draw such a pattern (Odena, Dumoulin & Olah 2016, "Deconvolution and Checkerboard Artifacts", Distill).
A slope has nothing of it, an edge and white noise a few hundredths, a checkerboard 1.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cvjax import describe

SQUARE = 8
PICTURES = 32
TURNS = 5


def measure(model: Any, variables: dict, inputs: dict) -> dict[str, float]:
    """`checkerboard` of the scores of the first pictures, where a network has "scores" coarser than the picture of those;
    `forward_ms` and `multiply_adds` of one picture, `parameters`."""
    run = jax.jit(lambda v, x: model.apply(v, x, train=False))
    one = {"image": inputs["image"][:1]}
    found = [run(variables, {"image": image[None]}) for image in inputs["image"][:PICTURES]]
    scores = jnp.concatenate([out.get("scores", out["logits"]) for out in found])
    times = []
    for _ in range(TURNS):
        start = time.perf_counter()
        jax.block_until_ready(run(variables, one))
        times.append(time.perf_counter() - start)
    return {
        "checkerboard": float(checkerboard(scores)),
        "forward_ms": 1000 * min(times),
        "multiply_adds": describe.multiply_adds(model, one),
        "parameters": describe.count(variables["params"]),
    }


def checkerboard(scores: Float[Array, "b h w k"]) -> Float[Array, ""]:
    """Share of the variance within squares, 0-1, that alternates; what is left of a picture at its lower and right edge is passed over."""
    b, h, w, k = scores.shape
    rows, columns = h // SQUARE, w // SQUARE
    x = scores[:, : rows * SQUARE, : columns * SQUARE].reshape(b, rows, SQUARE, columns, SQUARE, k)
    x -= x.mean((2, 4), keepdims=True)
    amplitudes = jnp.einsum("bpiqjk,nij->nbpqk", x, _alternating())
    return SQUARE**2 * jnp.square(amplitudes).sum() / jnp.maximum(jnp.square(x).sum(), jnp.finfo(jnp.float32).tiny)


def _alternating() -> Float[np.ndarray, "3 s s"]:
    """What to weigh a square's scores with for the amplitudes of its three checkerboards, of which slopes and bends are no part."""
    at = np.linspace(-1, 1, SQUARE)
    sign, one = (-1.0) ** np.arange(SQUARE), np.ones(SQUARE)
    pairs = ((sign, one), (one, sign), (sign, sign), (one, one), (at, one), (one, at), (at, at), (at**2, one), (one, at**2))
    return np.linalg.pinv(np.stack([np.outer(*pair).ravel() for pair in pairs], 1))[:3].reshape(3, SQUARE, SQUARE).astype(np.float32)
