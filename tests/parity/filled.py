"""Numbers for the parameters and pictures of parity tests, drawn from names: both sides make them, nothing is stored."""

import zlib

import numpy as np

PLAIN = {"alexnet": 224, "vgg11": 64, "vgg13": 32, "vgg16": 96, "vgg19": 32, "vgg11_bn": 64, "vgg16_bn": 64}  # the images' size
VITS = [f"vit_{name}_224" for name in ("tiny_patch16", "small_patch16", "base_patch16", "base_patch32", "large_patch16")]
HYBRIDS = ("vit_small_r26_s32_224", "vit_base_r50_s16_224")
TRANSPOSED = [(2, 2, 0, 0), (3, 2, 1, 1), (4, 2, 1, 0), (3, 1, 1, 0), (5, 3, 2, 1), (2, 3, 0, 2)]  # kernel, stride, pad, output pad
RESIZED = [(10, 10), (15, 5), (7, 12), (3, 4), (1, 1)]  # 5x5 pictures to these sizes
POOLED = [(8, 2), (7, 2), (11, 3)]  # the pictures' size, the windows'


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The entries of a parameter by its torch name: weights around 0, BatchNorm's scales and variances around 0.7."""
    draw = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if len(shape) > 1:
        return draw * np.float32((2 / np.prod(shape[1:])) ** 0.5)
    positive = name.endswith(("running_var", "weight"))
    return np.exp(np.float32(0.1) * draw) * np.float32(0.7) if positive else np.float32(0.1) * draw


def image(size: int) -> np.ndarray:
    """Two pictures of numbers, NHWC."""
    return np.random.default_rng(size).standard_normal((2, size, size, 3)).astype(np.float32)


def sequence(n: int) -> np.ndarray:
    """Two sequences of n places and 16 channels."""
    return np.random.default_rng(n).standard_normal((2, n, 16)).astype(np.float32)


def tokens() -> np.ndarray:
    """Two texts of 12 tokens of a vocabulary of 23."""
    return np.random.default_rng(12).integers(0, 23, (2, 12))


def noise() -> np.ndarray:
    """A number for each of 16 patches of two pictures, by which they are put in order."""
    return np.random.default_rng(16).random((2, 16)).astype(np.float32)


def padded() -> tuple[np.ndarray, np.ndarray]:
    """Two pictures of 101 x 130 numbers, NHWC, the second smaller and zeros beyond; and True inside of them."""
    mask = np.ones((2, 101, 130), bool)
    mask[1, 70:], mask[1, :, 97:] = False, False
    return np.random.default_rng(101).standard_normal((2, 101, 130, 3)).astype(np.float32) * mask[..., None], mask


def objects() -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each of two pictures classes below 5 and boxes: centre, width and height, 0-1."""
    draws = np.random.default_rng(5)
    return [
        (draws.integers(0, 5, n), np.concatenate([draws.uniform(0.3, 0.7, (n, 2)), draws.uniform(0.1, 0.5, (n, 2))], 1).astype(np.float32))
        for n in (4, 2)
    ]
