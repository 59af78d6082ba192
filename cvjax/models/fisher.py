"""Classification before networks: local descriptors, an encoding of them all, a linear SVM (Perronnin, Sanchez & Mensink 2010).

"Improving the Fisher Kernel for Large-Scale Image Classification" (ECCV 2010): dense SIFT -> PCA -> mixture of Gaussians -> Fisher
vector -> signed square root -> length 1, in each cell of a spatial pyramid -> one linear SVM a class. Beside it the bag of words (Csurka
et al. 2004) and VLAD (Jegou et al. 2010), whose words are k-means centres of the same descriptors. Nothing is learned by gradient
steps: `fit` finds PCA, words and SVM with scikit-learn and scikit-image. The forward pass is a network's, so all else is as for any.

Where we depart from the paper: the descriptors see no colour; patches have sizes for small images (theirs: 16 pixels and up, every 4); the
SVM's C counts in units of 1 / mean |x|^2.

b batch · h w height, width · c channels · n descriptors · d their length after PCA · k words · m length of the encoding
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.models import _settings
from cvjax.ops import encodings
from cvjax.ops.descriptors import LENGTH, centres, dense_sift

VARIANTS = ("fisher", "vlad", "bow")
NORMS = ("none", "power", "l2", "power+l2")
SMALLEST = 16  # pixels on a side: one patch of the default's largest cells
TINY = {"variant": "fisher", "words": 2, "dims": 4, "cells": (2,), "step": 4}


class Model(nn.Module):
    """Scores of linear SVMs on an encoding of an image's dense SIFT descriptors.

    variant: "fisher", "vlad" or "bow", the bag of words.
    words: Gaussians of the mixture, or centres. dims: what PCA keeps of a descriptor's 128 numbers.
    norm: "none", "power" (signed square root), "l2" (length 1) or "power+l2", of each cell of the pyramid.
    pyramid: rows x columns that the image is cut into; the encodings of all cells stand one behind the other.
    cells: sides of the descriptors' cells in pixels, one a scale. step: pixels from patch to patch.
    dtype: of the descriptors' sums. Everything after them is float32.
    """

    num_classes: int
    variant: str = "fisher"
    words: int = 64
    dims: int = 64
    norm: str = "power+l2"
    pyramid: tuple[str, ...] = ("1x1",)
    cells: tuple[int, ...] = (2, 3, 4)
    step: int = 2
    dtype: DTypeLike = "float32"

    def setup(self) -> None:
        self._check()
        k, d = self.words, self.dims
        self.mean = self.param("pca_mean", nn.initializers.zeros, (LENGTH,))
        self.components = self.param("pca_components", nn.initializers.orthogonal(), (d, LENGTH))
        self.means = self.param("means", nn.initializers.normal(0.1), (k, d))
        if self.variant == "fisher":
            self.variances = self.param("variances", nn.initializers.constant(0.1), (k, d))
            self.priors = self.param("priors", nn.initializers.constant(1 / k), (k,))
        self.svm = nn.Dense(self.num_classes)

    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c. Returns "features" (b m), the encoding, and "logits" (b classes), the SVMs' scores."""
        encoding = self.encode(inputs)
        return {"features": encoding, "logits": self.svm(encoding)}

    def descriptors(self, inputs: dict) -> Float[Array, "b n 128"]:
        """Of all scales, one after the other."""
        image = inputs["image"]
        return jnp.concatenate([dense_sift(image, cell, self.step, self.dtype) for cell in self.cells], 1)

    def encode(self, inputs: dict) -> Float[Array, "b m"]:
        x = (self.descriptors(inputs) - self.mean[None, None]) @ self.components.T
        if self.variant == "fisher":
            mixture = (self.means, self.variances, self.priors)
            q = encodings.posteriors(x, *mixture)
            encode = lambda x, q: encodings.fisher_vector(x, q, *mixture)  # noqa: E731
        else:
            q = encodings.nearest(x, self.means)
            encode = (lambda x, q: encodings.vlad(x, q, self.means)) if self.variant == "vlad" else lambda x, q: encodings.bag_of_words(q)
        parts = [encode(x[:, inside], q[:, inside]) for inside in self._regions(*inputs["image"].shape[1:3])]
        return jnp.concatenate([self._normalised(part) for part in parts], -1)

    def _normalised(self, x: Float[Array, "b m"]) -> Float[Array, "b m"]:
        x = encodings.power(x) if "power" in self.norm else x
        return encodings.l2(x) if "l2" in self.norm else x

    def _regions(self, height: int, width: int) -> Iterator[np.ndarray]:
        """Which descriptors have their centre in each cell of the pyramid."""
        grids = [np.meshgrid(centres(height, cell, self.step), centres(width, cell, self.step), indexing="ij") for cell in self.cells]
        y, x = (np.concatenate([grid[axis].ravel() for grid in grids]) for axis in (0, 1))
        for rows, columns in map(_rows_and_columns, self.pyramid):
            for row in range(rows):
                for column in range(columns):
                    inside = np.flatnonzero((np.floor(y * rows) == row) & (np.floor(x * columns) == column))
                    if not len(inside):
                        raise ValueError(f"fisher: a cell of pyramid '{rows}x{columns}' has no descriptor in it; take fewer cells")
                    yield inside

    def _check(self) -> None:
        """Raises ValueError for settings that cannot be."""
        _settings.one_of(self, variant=VARIANTS, norm=NORMS)
        if not self.pyramid:
            raise ValueError("fisher: pyramid is empty; ('1x1',) is the whole image")
        if not 1 <= self.dims <= LENGTH:
            raise ValueError(f"fisher: dims is {self.dims}; PCA keeps from 1 to {LENGTH} of a descriptor's {LENGTH} numbers")
        if self.words < 1 or self.step < 1 or not self.cells or min(self.cells) < 1:
            raise ValueError(f"fisher: words={self.words}, step={self.step}, cells={self.cells}; all are at least 1")


def _rows_and_columns(text: str) -> tuple[int, int]:
    """ "2x3" -> 2, 3. Raises ValueError."""
    rows, _, columns = text.partition("x")
    if not (rows.isdigit() and columns.isdigit() and int(rows) * int(columns)):
        raise ValueError(f"fisher: pyramid has {text!r}; write rows and columns as '2x2'")
    return int(rows), int(columns)


def fit(
    model: Model, inputs: dict, num_examples: int, *, C: float = 0.3, samples: int = 100_000, iterations: int = 100, tolerance: float = 1e-3
) -> Callable[[dict, Callable[[], Iterator[dict]], int], dict]:
    """What stands in for an optimiser: a function `(params, examples, seed) -> params` that fits them to the training examples.

    model, inputs, num_examples: as built; inputs of one image, for its size; of the training split.
    C: of the SVMs with the squared hinge loss, for encodings scaled to a mean square length of 1.
    samples: descriptors, equally many of each image, that PCA and words are fitted to.
    iterations: of expectation maximisation, or passes of k-means, at most. tolerance: where the SVMs stop.
    Raises ValueError for settings that cannot be, before anything is read; where a class has no example, before anything is fitted.
    """
    for name, value in (("C", C), ("samples", samples), ("iterations", iterations), ("tolerance", tolerance)):
        if not 0 < value < np.inf:
            raise ValueError(f"{name} is {value}; it must be above 0")
    shapes = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), inputs, method="descriptors")[0])
    each = min(-(-samples // num_examples), shapes.shape[1])
    if each * num_examples < max(model.words, model.dims):
        have = f"{each * num_examples} descriptors, {each} of each of {num_examples} images"
        raise ValueError(f"{model.words} words and {model.dims} dims cannot be fitted to {have}; raise samples or lower config.model.words")

    def fitted(params: dict, examples: Callable[[], Iterator[dict]], seed: int) -> dict:
        found, labels = _sample(model, params, examples, each, seed)
        targets = _one_against_the_rest(labels, model.num_classes)
        params = {**params, **_words(model, found, iterations, seed)}
        encodings = (x for _, x in _passing(partial(model.apply, method="encode"), params, examples))
        return {**params, "svm": _machines(encodings, targets, C, tolerance, seed)}

    return fitted


def _sample(model: Model, params: dict, examples: Callable, each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`each` descriptors of every image, drawn without replacement, and all labels."""
    draw, found, labels = np.random.default_rng(seed), [], []
    for batch, x in _passing(partial(model.apply, method="descriptors"), params, examples):
        chosen = draw.permuted(np.tile(np.arange(x.shape[1]), (len(x), 1)), axis=1)[:, :each]
        found.append(np.take_along_axis(x, chosen[..., None], 1).reshape(-1, LENGTH))
        labels.append(batch["label"])
    return np.concatenate(found), np.concatenate(labels)


def _passing(function: Callable, params: dict, examples: Callable) -> Iterator[tuple[dict, np.ndarray]]:
    """Each batch of one pass, its padding left out, and what `function` makes of it."""
    compiled = jax.jit(function)
    for batch in examples():
        real = np.asarray(batch["valid"], bool)
        made = np.asarray(compiled({"params": params}, {"image": batch["image"]}))
        yield {"label": np.asarray(batch["label"])[real]}, made[real]


def _words(model: Model, descriptors: np.ndarray, iterations: int, seed: int) -> dict:
    """PCA, and the mixture of Gaussians or the centres."""
    from sklearn.decomposition import PCA

    pca = PCA(model.dims).fit(descriptors)
    x, found = pca.transform(descriptors), {"pca_mean": pca.mean_, "pca_components": pca.components_}
    if model.variant == "fisher":
        from skimage.feature import learn_gmm

        settings = {"covariance_type": "diag", "max_iter": iterations, "random_state": seed}
        mixture = _unwarned(lambda: learn_gmm(x, n_modes=model.words, gm_args=settings))
        found |= {"means": mixture.means_, "variances": mixture.covariances_, "priors": mixture.weights_}
    else:
        from sklearn.cluster import MiniBatchKMeans

        clusters = MiniBatchKMeans(model.words, max_iter=iterations, batch_size=4096, n_init=3, random_state=seed)
        found["means"] = _unwarned(lambda: clusters.fit(x)).cluster_centers_
    return {name: jnp.asarray(value, jnp.float32) for name, value in found.items()}


def _one_against_the_rest(labels: np.ndarray, classes: int) -> np.ndarray:
    """A column of truths for each class, of ids or multi-hot vectors. Raises ValueError for a class that has no example or all of them."""
    targets = labels > 0 if labels.ndim > 1 else labels[:, None] == np.arange(classes)
    odd = np.flatnonzero(targets.all(0) | ~targets.any(0))
    if len(odd):
        raise ValueError(
            f"class number {odd[0]} has {targets[:, odd[0]].sum()} of {len(labels)} training examples; an SVM needs both kinds"
        )
    return targets


def _machines(encodings: Iterator[np.ndarray], targets: np.ndarray, C: float, tolerance: float, seed: int) -> dict:
    """One linear SVM a class, as the weights of a dense layer for encodings as they are."""
    from sklearn.svm import LinearSVC

    x = _stacked(encodings, len(targets))
    scale = np.sqrt(np.einsum("nm,nm->", x, x) / len(x)) or 1.0
    x /= scale
    machines = [LinearSVC(C=C, tol=tolerance, random_state=seed, dual=True) for _ in targets.T]
    for machine, target in zip(machines, targets.T, strict=True):
        _unwarned(partial(machine.fit, x, target))
    kernel = np.concatenate([machine.coef_ for machine in machines]).T / scale
    bias = np.concatenate([machine.intercept_ for machine in machines])
    return {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}


def _stacked(parts: Iterator[np.ndarray], rows: int) -> np.ndarray:
    """As one float64 array, which the SVMs take without another copy."""
    first = next(parts)
    whole, at = np.empty((rows, first.shape[1])), 0
    for part in itertools.chain((first,), parts):
        whole[at : at + len(part)] = part
        at += len(part)
    return whole


def _unwarned(function: Callable) -> Any:
    """A fit that stops at its last iteration is one that is good enough: what it is worth, the evaluation says."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function()


def usual(variant: str) -> tuple[tuple[int, int, int], int]:
    """The image (h, w, c) and the number of classes that a variant is made for: CIFAR-10's."""
    return (32, 32, 3), 10
