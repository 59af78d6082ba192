"""Made-up pictures of a long-range question: do the signs in two opposite corners look the same?

One sign of 5 x 5 pixels lies in the top left corner and one in the bottom right, each a pixel to and fro, in noise; the label says whether
they are the same. Every index is another picture, the same for ever. Half of the pictures are "same", and each corner for itself has
every sign equally often in both classes, so it says nothing.

Whoever adds up what each corner says, and a convolutional network does that whose features see one corner each and are averaged before a
linear head, scores a(sign) + b(sign). Cross-entropy is convex in a and b and stays as it is when the signs are renamed, so its minimum
is at constant a and b: chance, 50 %. No such score, however found, gets more than 75 % right: if it calls i i and j j "same", then also i j
or j i, since a(i) + b(i) + a(j) + b(j) is above twice the threshold. No square of `size` - 11 pixels touches both corners.
"""

from functools import partial

import numpy as np

from cvjax.data._source import Info, Source, select
from cvjax.errors import UserError

TINY = {"split": "train", "size": 16, "num_examples": 20}
CORNER = 6  # pixels within which a sign lies
SIGNS = np.array(
    [
        [[c == "#" for c in row] for row in sign.split()]
        for sign in (
            "..#.. ..#.. ##### ..#.. ..#..",
            "#...# .#.#. ..#.. .#.#. #...#",
            "##### #...# #...# #...# #####",
            "##### ..... ##### ..... #####",
        )
    ]
)


def load(split: str, *, size: int = 40, noise: float = 16.0, num_examples: int = 100_000) -> Source:
    """Splits "train" and "val" of `num_examples` grey pictures each, `size` pixels wide; sliced as TFDS does.

    Args:
        noise: standard deviation of every pixel; a sign stands 64 above the ground.
    """
    if size < 2 * CORNER:
        raise UserError(f"config.data.size is {size}; two corners of {CORNER} pixels need at least {2 * CORNER}")
    if noise < 0:
        raise UserError(f"config.data.noise is {noise}; it must not be negative")
    if num_examples < 1:
        raise UserError(f"config.data.num_examples is {num_examples}; it must be at least 1")
    seeds = select(split, {"train": range(num_examples), "val": range(num_examples, 2 * num_examples)})
    info = Info(("different", "same"), len(seeds), image_size=(size, size))
    return Source(info, partial(_read, seeds, size, noise))


def _read(seeds: list[int], size: int, noise: float, index: int) -> dict:
    seed = seeds[index]
    rng = np.random.default_rng([2, seed])
    same, first = seed % 2, seed // 2 % len(SIGNS)  # equal shares of labels, and of signs in each
    second = (first + (0 if same else 1 + seed // 8 % 3)) % len(SIGNS)
    image = 96 + noise * rng.standard_normal((size, size), np.float32)
    for sign, corner in ((first, 0), (second, size - CORNER)):
        top, left = corner + rng.integers(0, CORNER - SIGNS.shape[1] + 1, 2)
        image[top : top + SIGNS.shape[1], left : left + SIGNS.shape[2]] += 64 * SIGNS[sign]
    return {"image": image.clip(0, 255).astype(np.uint8)[..., None].repeat(3, -1), "label": same}
