"""How strongly each layer responds: the standard deviation of its BatchNorm's output, before ReLU and addition.

He et al. 2015 (arXiv:1512.03385), section 4.2 and Figure 7: residual functions are smaller than non-residual ones, the smaller the
deeper the network. Layers in the order of the network; projections in shortcuts are no layers of the paper's figure and left out.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvjax.layers.norm import BatchNorm


def captures(module: nn.Module, method: str) -> bool:
    return isinstance(module, BatchNorm) and method == "__call__" and "shortcut" not in (module.name or "")


def of_outputs(outputs: dict) -> dict[str, jax.Array]:
    """{"responses/stage1_block1/norm1": standard deviation over this device's examples}"""
    return {f"responses/{path}": jnp.std(x.astype(jnp.float32)) for path, x in _in_order(outputs)}


def measure(model: nn.Module, variables: dict, inputs: dict) -> dict[str, Any]:
    """{"layer_response": mean over layers, "layer_responses": one number a layer}; NaN and [] for a network without BatchNorm."""

    @jax.jit
    def responses(variables: dict, inputs: dict) -> list:
        _, kept = model.apply(variables, inputs, train=False, capture_intermediates=captures, mutable=["intermediates"])
        return [jnp.std(x) for _, x in _in_order(kept.get("intermediates", {}))]

    found = [float(x) for x in responses(variables, inputs)]
    return {"layer_response": sum(found) / len(found) if found else float("nan"), "layer_responses": found}


def _in_order(tree: dict, prefix: str = "") -> list[tuple[str, jax.Array]]:
    """(path, output) of the captured modules in the order in which the network ran: that of the collection."""
    found: list[tuple[str, jax.Array]] = []
    for name, value in tree.items():
        found += _in_order(value, f"{prefix}{name}/") if isinstance(value, dict) else [(prefix.rstrip("/"), value[0])]
    return found
