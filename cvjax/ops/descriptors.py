"""Dense SIFT: what gradients around every grid point look like (Lowe 2004, "Distinctive Image Features from Scale-Invariant Keypoints").

A descriptor is 4 x 4 cells of `cell` pixels, in each a histogram of gradient orientations in 8 bins. A gradient is shared between the
nearest cells and bins by its distance from them. There is no detector: patches lie on a grid, upright and of one size, as they do in
image classification (Bosch et al. 2007; Vedaldi & Fulkerson 2008, VLFeat). Lowe's Gaussian window is one weight for each cell, as VLFeat's.

b batch · h w height, width · c channels · n patches · i j rows, columns of patches · d = 128
"""

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32

CELLS, BINS = 4, 8
LENGTH = CELLS * CELLS * BINS
LARGEST = 0.2  # of a component of the descriptor of length 1: a large gradient shall not decide alone


def dense_sift(image: Float[Array, "b h w c"], cell: int, step: int, dtype: DTypeLike = "float32") -> Float32[Array, "b n d"]:
    """Descriptors of all patches that lie inside the image, every `step` pixels, row by row; of length 1, or 0 where nothing changes.

    cell: side of a cell in pixels; a patch is 4 cells wide. dtype: of the histograms' sums.
    Raises ValueError where the image is smaller than a patch.
    """
    rows, columns = (pooling(size, cell, step) for size in image.shape[1:3])
    maps = jnp.asarray(orientations(image.mean(-1)), dtype)
    found = jnp.einsum("ih,bhwo,jw->bijo", jnp.asarray(rows, dtype), maps, jnp.asarray(columns, dtype))
    cells = found.reshape(len(image), len(rows) // CELLS, CELLS, len(columns) // CELLS, CELLS, BINS)
    x = _unit(cells.transpose(0, 1, 3, 2, 4, 5).reshape(len(image), -1, LENGTH).astype("float32"))
    return _unit(jnp.minimum(x, LARGEST))


def centres(size: int, cell: int, step: int) -> np.ndarray:
    """Where the patches' centres lie along a side of `size` pixels, as fractions of it. Raises ValueError where no patch fits."""
    if size < CELLS * cell:
        raise ValueError(f"a descriptor of {CELLS} cells of {cell} pixels needs {CELLS * cell} pixels, the image has {size}")
    return (np.arange(0, size - CELLS * cell + 1, step) + CELLS * cell / 2) / size


def orientations(grey: Float[Array, "b h w"]) -> Float[Array, "b h w o"]:
    """The length of each pixel's gradient, shared between the two nearest of 8 directions; direction 0 is that of growing x."""
    padded = jnp.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    x = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    y = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    turn = jnp.arctan2(y, x)[..., None] * BINS / (2 * jnp.pi) - jnp.arange(BINS)[None, None, None]
    apart = jnp.abs((turn + BINS / 2) % BINS - BINS / 2)
    return jnp.hypot(x, y)[..., None] * jnp.maximum(0, 1 - apart)


def pooling(size: int, cell: int, step: int) -> np.ndarray:
    """The weights with which the pixels of a side go into the cells of every patch: 4 rows a patch, `size` columns."""
    starts = centres(size, cell, step) * size - CELLS * cell / 2
    middles = starts[:, None] + (np.arange(CELLS) + 0.5) * cell - 0.5
    window = np.exp(-(((np.arange(CELLS) - (CELLS - 1) / 2) / (CELLS / 2)) ** 2) / 2)  # deviation: half a patch
    apart = np.abs(np.arange(size) - middles[..., None])
    return (window[:, None] * np.maximum(0, 1 - apart / cell)).reshape(-1, size)


def _unit(x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    """Each vector at length 1; one that is 0, or as good as, stays so."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)
