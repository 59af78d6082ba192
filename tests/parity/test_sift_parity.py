"""Dense SIFT against OpenCV's SIFT at the same places. Lowe's window weighs pixels there, whole cells here, so they differ a little."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from waves import CELL, CENTRES, picture

from cvjax.ops.descriptors import dense_sift

GOLDEN = np.load(Path(__file__).parent / "sift.npz")["descriptors"].astype(float)


def test_dense_sift_is_opencvs():
    image = jnp.asarray(picture(0.0), jnp.float32)[None, ..., None]
    side = image.shape[1] - 4 * CELL + 1
    grid = np.asarray(dense_sift(image, CELL, 1)[0]).reshape(side, side, 4, 4, 8)
    ours = np.stack([grid[y - 2 * CELL, x - 2 * CELL] for x, y in CENTRES])
    ours = ours[..., -np.arange(8) % 8].reshape(len(CENTRES), -1)  # OpenCV's y axis points upwards: directions turn the other way
    theirs = GOLDEN / np.linalg.norm(GOLDEN, axis=-1, keepdims=True)
    alike = (ours * theirs).sum(-1)
    assert alike.min() > 0.99
