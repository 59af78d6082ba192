"""The numbers that a reference's parameter names draw, for one of our models."""

import jax
import jax.numpy as jnp
from filled import fill

from cvjax.state import flat

AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}  # ours in torch's order


def drawn(model, size, reference_name):
    """Arrays by the reference's names, in torch's shapes."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), {"image": jnp.zeros((1, size, size, 3))}, train=False))
    names = {reference_name(path.partition("/")[2], model): leaf.shape for path, leaf in flat(shapes).items()}
    return {name: fill(name, tuple(shape[i] for i in AXES[len(shape)])) for name, shape in names.items()}
