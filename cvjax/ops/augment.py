"""Changes of a batch on the device, inside the compiled step: normalise, flip, pad-crop, erase, mixup, CutMix.

Every function takes a batch (a dict) and returns a new one. Randomness comes from one key per example, derived from the
example's row in the global batch, so results do not depend on how the batch is divided over devices; each function
draws from its own stream, so one array of keys serves all. Images are uint8 or float32, before or after `normalize`.

b batch · h w pixels · c channels · n objects. What lives in the image's plane rides along through flip and pad_crop:
`boxes` b n 4 (xyxy, pixels, float32), `masks` b n h w, `labels` b h w, `weights` b h w (of pixels).
"""

import zlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, Num, Shaped

from cvjax.ops.shuffle import _mix

Batch = dict[str, Array]
Keys = Key[Array, "b"]


def normalize(batch: Batch, mean: Sequence[float] | Array, std: Sequence[float]) -> Batch:
    """uint8 (or float in 0-1) images to standardised float32: (pixel / 255 - mean) / std.

    Args:
        mean, std: per channel, in 0-1; `mean` may also be an image (h w c), as in He et al. 2015.
    """
    image = batch["image"]
    pixels = image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image.astype(jnp.float32)
    centre, scale = (jnp.asarray(value, jnp.float32) for value in (mean, std))
    centre, scale = (value.reshape((1,) * (4 - value.ndim) + value.shape) for value in (centre, scale))
    return {**batch, "image": (pixels - centre) / scale}


# ---- geometry


def flip(batch: Batch, keys: Keys, probability: float = 0.5) -> Batch:
    """Mirrors left and right with the given probability."""
    mirrored = _uniforms(keys, "flip", 1)[:, 0] < probability
    width = batch["image"].shape[2]

    def plane(field: Shaped[Array, "b h w x"], outside: float | int) -> Shaped[Array, "b h w x"]:
        return jnp.where(_per_example(mirrored, 4), field[:, :, ::-1], field)

    def boxes(boxes: Float[Array, "b n 4"]) -> Float[Array, "b n 4"]:
        x1, y1, x2, y2 = jnp.split(boxes, 4, axis=-1)
        return jnp.where(_per_example(mirrored, 3), jnp.concatenate([width - x2, y1, width - x1, y2], -1), boxes)

    return _carry(batch, plane, boxes)


def pad_crop(batch: Batch, keys: Keys, pad: int, fill: float | int = 0, ignore: int = 255) -> Batch:
    """Pads by `pad` pixels on each side and cuts the old size out again, anywhere (He et al. 2015, section 4.2: pad 4).

    A batched dynamic_slice: the fastest of eight ways on a CPU (0.2 ms for 128x32x32x3; select chains take 14 ms).

    Args:
        fill: value of the padding. The paper pads the standardised image with zeros; on uint8 images give the mean.
        ignore: value of the padding in `labels`.
    """
    offsets = _position(_uniforms(keys, "pad_crop", 2), 2 * pad)
    height, width = batch["image"].shape[1:3]

    def plane(field: Shaped[Array, "b h w x"], outside: float | int) -> Shaped[Array, "b h w x"]:
        padded = jnp.pad(field, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=outside)
        return jax.vmap(lambda one, at: lax.dynamic_slice(one, (at[0], at[1], 0), field.shape[1:]))(padded, offsets)

    def boxes(boxes: Float[Array, "b n 4"]) -> Float[Array, "b n 4"]:
        shift = pad - jnp.tile(offsets[:, ::-1], 2)[:, None].astype(boxes.dtype)
        limits = jnp.asarray([width, height, width, height], boxes.dtype)[None, None]
        return jnp.clip(boxes + shift, 0, limits)

    return _carry(batch, plane, boxes, fill, ignore)


def _carry(
    batch: Batch,
    plane: Callable[[Shaped[Array, "b h w x"], float | int], Shaped[Array, "b h w x"]],
    boxes: Callable[[Float[Array, "b n 4"]], Float[Array, "b n 4"]],
    fill: float | int = 0,
    ignore: int = 255,
) -> Batch:
    """Applies one movement to the image and to all that lives in its plane. Boxes left without area become invalid."""
    moved = {**batch, "image": plane(batch["image"], fill)}
    if "labels" in batch:
        moved["labels"] = plane(batch["labels"][..., None], ignore)[..., 0]
    if "weights" in batch:
        moved["weights"] = plane(batch["weights"][..., None], 0)[..., 0]
    if "masks" in batch:
        moved["masks"] = jnp.moveaxis(plane(jnp.moveaxis(batch["masks"], 1, -1), 0), -1, 1)
    if "boxes" in batch:
        moved["boxes"] = boxes(batch["boxes"])
    if "box_valid" in batch:
        empty = (moved["boxes"][..., 2:] <= moved["boxes"][..., :2]).any(-1)
        moved["box_valid"] = batch["box_valid"] & ~empty
    return moved


# ---- erasing


def erase(
    batch: Batch,
    keys: Keys,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    noise: bool = True,
) -> Batch:
    """Random erasing (Zhong et al. 2017, arXiv:1708.04896): a rectangle of each image becomes noise, or zeros.

    The first of ten drawn rectangles that fits is taken; when none does, the image stays (the paper draws without end).

    Args:
        area: range of the rectangle's share of the image.
        aspect: range of its height / width, drawn uniformly as in the paper.
        noise: random bytes, for float images standardised to mean 0 and variance 1; False erases with zeros.
    """
    image = batch["image"]
    h, w = image.shape[1:3]
    draws = _uniforms(keys, "erase", 23)  # one call for all: each call of the generator costs half a second to compile
    tall, wide = _first_that_fits(draws[:, 3:13], draws[:, 13:], h, w, area, aspect)
    top, left = _position(draws[:, 1], h - tall), _position(draws[:, 2], w - wide)
    inside = _rectangles(top, left, tall, wide, h, w) & (draws[:, 0] < probability)[:, None, None]
    new = _noise(_stream(keys, "noise"), image) if noise else jnp.zeros_like(image)
    return {**batch, "image": jnp.where(inside[..., None], new, image)}


def _first_that_fits(
    areas: Float[Array, "b n"], aspects: Float[Array, "b n"], h: int, w: int, area: Sequence[float], aspect: Sequence[float]
) -> tuple[Int[Array, "b"], Int[Array, "b"]]:
    """(height, width) of the first of n rectangles that fits in h x w, from numbers in 0-1; 0 x 0 when none does."""
    size = h * w * (area[0] + (area[1] - area[0]) * areas)
    shape = aspect[0] + (aspect[1] - aspect[0]) * aspects
    sides = jnp.stack([jnp.round(jnp.sqrt(size * shape)), jnp.round(jnp.sqrt(size / shape))], -1).astype(jnp.int32)
    fits = (sides <= jnp.array([[[h, w]]])).all(-1)
    first = jnp.take_along_axis(sides, fits.argmax(-1)[:, None, None], axis=1)[:, 0]
    tall, wide = jnp.where(fits.any(-1)[:, None], first, 0).T
    return tall, wide


def _noise(keys: Keys, image: Num[Array, "b h w c"]) -> Num[Array, "b h w c"]:
    """Hashed pixel numbers: a tenth of the time of jax.random, on a CPU, and of its time to compile."""
    seeds = jax.random.key_data(keys)
    pixels = jnp.arange(image[0].size, dtype=jnp.uint32).reshape(1, *image.shape[1:])
    word = _mix(_mix(pixels ^ _per_example(seeds[:, 0], 4)) + _per_example(seeds[:, -1], 4))
    byte = (word >> 24).astype(jnp.uint8)
    return byte if image.dtype == jnp.uint8 else ((byte.astype(jnp.float32) - 127.5) / 73.9).astype(image.dtype)


# ---- mixing two images


def mixup(batch: Batch, keys: Keys, alpha: float) -> Batch:
    """Blends rows 0 and 1, 2 and 3, ... with shares from Beta(alpha, alpha) (Zhang et al. 2017, arXiv:1710.09412).

    Adds `label2` (the partner's label) and `share` (float32 b, the weight of one's own image and label).
    """
    own = _share(_uniforms(_pair_keys(batch, keys), "mixup", 3), alpha)
    return _mixed(batch, _blend(batch["image"], own), own)


def cutmix(batch: Batch, keys: Keys, alpha: float) -> Batch:
    """Pastes a rectangle of the neighbour's image (Yun et al. 2019, arXiv:1905.04899); same fields as `mixup`.

    The rectangle has the image's shape and 1 - Beta(alpha, alpha) of its area, less what the border cuts off; `share`
    is counted from the pixels.
    """
    image = batch["image"]
    h, w = image.shape[1:3]
    draws = _uniforms(_pair_keys(batch, keys), "cutmix", 5)
    side = jnp.sqrt(1 - _share(draws[:, :3], alpha))
    tall, wide = ((side * n).astype(jnp.int32) for n in (h, w))
    top, left = _position(draws[:, 3], h - 1) - tall // 2, _position(draws[:, 4], w - 1) - wide // 2
    inside = _rectangles(top, left, tall, wide, h, w)
    return _mixed(batch, jnp.where(inside[..., None], partner(image), image), 1 - inside.mean((1, 2), dtype=jnp.float32))


def mixup_or_cutmix(batch: Batch, keys: Keys, mixup_alpha: float, cutmix_alpha: float, switch: float = 0.5) -> Batch:
    """Each pair of neighbours takes CutMix with probability `switch`, else mixup."""
    coins = _uniforms(_pair_keys(batch, keys), "switch", 1)[:, 0] < switch
    blended, cut = mixup(batch, keys, mixup_alpha), cutmix(batch, keys, cutmix_alpha)
    image = jnp.where(_per_example(coins, 4), cut["image"], blended["image"])
    return _mixed(batch, image, jnp.where(coins, cut["share"], blended["share"]))


def partner(field: Num[Array, "b ..."]) -> Num[Array, "b ..."]:
    """Row i^1 in place of row i."""
    return field.reshape(-1, 2, *field.shape[1:])[:, ::-1].reshape(field.shape)


def _mixed(batch: Batch, image: Num[Array, "b h w c"], share: Float[Array, "b"]) -> Batch:
    return {**batch, "image": image, "label2": partner(batch["label"]), "share": share}


def _blend(image: Num[Array, "b h w c"], share: Float[Array, "b"]) -> Num[Array, "b h w c"]:
    own = _per_example(share, 4)
    mixture = own * image.astype(jnp.float32) + (1 - own) * partner(image).astype(jnp.float32)
    return (jnp.round(mixture) if image.dtype == jnp.uint8 else mixture).astype(image.dtype)


def _share(uniforms: Float[Array, "b 3"], alpha: float) -> Float[Array, "b"]:
    """Beta(alpha, alpha) without a rejection loop (Devroye 1996, "Random variate generation in one line of code")."""
    u, v, sign = uniforms.T
    spread = jnp.maximum(jnp.cos(2 * jnp.pi * v) ** 2, 1e-12) * jnp.expm1(-jnp.log(jnp.maximum(u, 1e-8)) / alpha)
    half = 0.5 / jnp.sqrt(1 + 1 / spread)
    return 0.5 + jnp.where(sign < 0.5, half, -half)


def _pair_keys(batch: Batch, keys: Keys) -> Keys:
    """Keys by which both of a pair draw the same: those of the even row."""
    if len(batch["image"]) % 2:
        raise ValueError(f"mixing pairs neighbours: the batch of a device must be even, not {len(batch['image'])}")
    return keys[jnp.arange(len(keys)) // 2 * 2]


# ---- parts


def _stream(keys: Keys, name: str) -> Keys:
    """Other keys for each name. As good here as fold_in, and without its half second of compilation."""
    bits = jax.random.key_data(keys) ^ jnp.uint32(zlib.crc32(name.encode()))
    return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(keys))


def _uniforms(keys: Keys, name: str, n: int) -> Float[Array, "b n"]:
    """n numbers in [0, 1) for each example, of the function's own stream."""
    return jax.vmap(lambda key: jax.random.uniform(key, (n,)))(_stream(keys, name))


def _position(uniform: Float[Array, "*b"], most: Int[Array, "*b"] | int) -> Int[Array, "*b"]:
    """A whole number from 0 to `most`, all equally likely, from one in [0, 1)."""
    return jnp.minimum((uniform * (most + 1)).astype(jnp.int32), most)  # float32 can round up to most + 1


def _per_example(values: Num[Array, "b"] | Bool[Array, "b"], ndim: int) -> Array:
    return values.reshape(-1, *[1] * (ndim - 1))


def _rectangles(
    top: Int[Array, "b"], left: Int[Array, "b"], tall: Int[Array, "b"], wide: Int[Array, "b"], h: int, w: int
) -> Bool[Array, "b h w"]:
    """True inside each rectangle; what lies beyond the image is cut off."""
    rows, columns = jnp.arange(h)[None] - top[:, None], jnp.arange(w)[None] - left[:, None]
    inside_rows, inside_columns = (rows >= 0) & (rows < tall[:, None]), (columns >= 0) & (columns < wide[:, None])
    return inside_rows[:, :, None] & inside_columns[:, None, :]
