"""What a label for every pixel costs: a window slid over the picture, and the same weights as convolutions of the whole.

For squares of the first picture from 8 to 64 pixels on a side: milliseconds and multiply-adds of both, and how far their scores are apart.
(Long et al. 2015, arXiv:1411.4038, section 3.1, has the argument and one figure: 10 x 10 outputs, five times as fast.)
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvjax import describe
from cvjax.errors import UserError

SIDES = (8, 16, 32, 64)
TURNS = 5


def measure(model: Any, variables: dict, inputs: dict) -> dict[str, Any]:
    """Numbers at the largest square, and curves `{"x", "y", "xlabel"}` over the labelled pixels; of networks with a field `sliding`."""
    if not hasattr(model, "sliding"):
        raise UserError("the probe sliding measures networks that can slide, as patchnet; leave it out of config.train.probes")
    networks = {"windows": model.clone(sliding=True), "convolutions": model.clone(sliding=False)}
    rows = []
    for side in SIDES:
        square = {"image": inputs["image"][:1, :side, :side]}
        (slid, *of_windows), (whole, *of_whole) = (_measured(network, variables, square) for network in networks.values())
        rows.append((side**2, float(jnp.abs(slid - whole).max()), *of_windows, *of_whole))
    pixels, apart, slid_ms, slid_macs, whole_ms, whole_macs = np.transpose(rows)
    curves = {"ms_of_windows": slid_ms, "ms_of_convolutions": whole_ms, "windows_over_convolutions": slid_ms / whole_ms}
    return {
        "times_faster": float(slid_ms[-1] / whole_ms[-1]),
        "times_fewer_multiply_adds": float(slid_macs[-1] / whole_macs[-1]),
        "scores_apart": float(apart.max()),
        **{name: {"x": pixels.tolist(), "y": y.tolist(), "xlabel": "labelled pixels"} for name, y in curves.items()},
    }


def _measured(model: Any, variables: dict, inputs: dict) -> tuple[jax.Array, float, float]:
    """Scores, milliseconds (the shortest of TURNS), multiply-adds."""
    run = jax.jit(lambda v, x: model.apply(v, x, train=False)["logits"])
    scores, times = jax.block_until_ready(run(variables, inputs)), []
    for _ in range(TURNS):
        start = time.perf_counter()
        jax.block_until_ready(run(variables, inputs))
        times.append(time.perf_counter() - start)
    return scores, 1000 * min(times), float(describe.multiply_adds(model, inputs))
