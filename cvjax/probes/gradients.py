"""How large the gradient is, layer by layer: where it vanishes, the first layers do not learn.

Nielsen 2015, "Neural Networks and Deep Learning", chapter 5, measures the speed at which hidden layer l learns by the norm of the cost's
derivatives by its biases, averaged over the examples. Here every parameter array has its norm, and `gradient_ratio` is the last hidden
layer's over the first one's: of their biases where both have some, else of all their parameters.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def of_gradients(leaves: dict[str, jax.Array], layer: Callable[[str], int] | None) -> dict[str, jax.Array]:
    """{"gradients/hidden1/bias": norm, ..., "gradient_ratio": last hidden layer's over the first's}; no ratio without `layer`."""
    found = {f"gradients/{path}": jnp.linalg.norm(leaf) for path, leaf in leaves.items()}
    numbers = sorted({layer(path) for path in leaves})[:-1] if layer else []  # the last is the head
    if not numbers:
        return found
    assert layer is not None
    ends = [{path: leaf for path, leaf in leaves.items() if layer(path) == number} for number in (numbers[0], numbers[-1])]
    if all(any(path.endswith("/bias") for path in end) for end in ends):
        ends = [{path: leaf for path, leaf in end.items() if path.endswith("/bias")} for end in ends]
    first, last = (jnp.sqrt(sum((jnp.square(leaf).sum() for leaf in end.values()), jnp.float32(0))) for end in ends)
    return found | {"gradient_ratio": last / jnp.maximum(first, jnp.finfo(jnp.float32).tiny)}
