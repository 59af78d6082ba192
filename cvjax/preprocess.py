"""From a decoded picture to what the network sees: irregular work on the host, regular work in the compiled step.

The host resizes and crops to one size (and does RandAugment); the device pads, crops, flips, normalises, mixes and erases.
`config.image` says what a network expects and holds for training, evaluation and prediction; `config.augment` is training only. Of text,
which has neither, `pixels` is None. Pictures with label maps are cut to `config.image.size` for training only: they are evaluated as they
are, at their own resolution, padded to the largest of the split. Pictures with boxes keep their aspect ratio and are padded to one of few
sizes, so that few programs are compiled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from cvjax.data import _views, _views_boxes
from cvjax.data._augment_plane import MEAN as IMAGENET_MEAN
from cvjax.data._source import Info, Source
from cvjax.errors import UserError
from cvjax.ops import augment as device
from cvjax.state import example_keys

IMAGENET_STD = (0.229, 0.224, 0.225)
STRIDE = 32  # pixels; sides of padded pictures are multiples of it


@dataclass(frozen=True)
class Pixels:
    """`config.image`: what the network is fed.

    Attributes:
        size: height and width in pixels; of pictures with label maps, of what is cut out for training; of pictures with boxes, the shorter
            side, as far as the longer one allows.
        channels: 3, or 1 for grey.
        crop_fraction: for evaluation, the centre crop's share of the shorter side (0.875: 256 -> 224); 1 keeps all of it.
        mean, std: per channel, of pixels in 0-1.
        tile: of pictures with label maps, how predict goes through one: () at once, or (tile, margin) in pixels, see `cvjax.tiles`.
        longest: of pictures with boxes, the most pixels of the longer side; 0 means `size`, so that everything fits a square.
    """

    size: int
    channels: int = 3
    crop_fraction: float = 1.0
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    tile: tuple = ()
    longest: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.channels not in (1, 3):
            raise UserError(f"config.image: size={self.size}, channels={self.channels}; size is at least 1, channels 1 or 3")
        if self.longest and self.longest < self.size:
            raise UserError(f"config.image.longest is {self.longest}, less than the shorter side's size={self.size}; 0 means the same")
        if not 0 < self.crop_fraction <= 1:
            raise UserError(f"config.image.crop_fraction is {self.crop_fraction}; it must be above 0 and at most 1")
        if not all(isinstance(x, int | float) for x in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise UserError(f"config.image: mean={self.mean}, std={self.std}; they are numbers, and std is above 0")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise UserError(f"config.image.{name} has {len(getattr(self, name))} values for {self.channels} channels")
        whole = all(isinstance(x, int) and not isinstance(x, bool) for x in self.tile)
        if self.tile and not (len(self.tile) == 2 and whole and 0 <= 2 * self.tile[1] < self.tile[0]):
            rest = "it is (tile, margin) in whole pixels, the tile wider than two margins, such as (256, 32), or () for none"
            raise UserError(f"config.image.tile is {self.tile}; {rest}")

    @property
    def buckets(self) -> tuple[tuple[int, int], ...]:
        """(height, width) that pictures with boxes are padded to: every pair of the shorter side, 4/3 of it and the longest, at most nine.

        Where more than one process makes a batch, the largest alone: none knows the others' pictures.
        """
        longest = self.longest or self.size
        sides = sorted({-(-side // STRIDE) * STRIDE for side in (self.size, min(longest, -(-4 * self.size // 3)), longest)})
        pairs = sorted(((height, width) for height in sides for width in sides), key=lambda pair: (pair[0] * pair[1], pair))
        return tuple(pairs if jax.process_count() == 1 else pairs[-1:])


@dataclass(frozen=True)
class Augment:
    """`config.augment`: random changes of training images; 0 or "none" switches one off.

    Attributes:
        crop: "resized" (random area and aspect, host), "pad" (pad by `pad`, crop back, device) or "none" (centre crop); of pictures with
            boxes "detr" (that paper's random sizes and crops, host) or "none".
        scale: for "resized", the range of the crop's share of the area.
        randaugment: (operations, magnitude 0-30), e.g. (2, 9) (host).
        mixup, cutmix: alpha of the Beta distribution of the share; both set: each pair of examples takes one of them.
        erase: probability of erasing a rectangle.
        zoom, rotate, elastic, photometric: of pictures with label maps, see `cvjax.data._views.patch` (host): the range of the factor of
            size, degrees to either side, pixels of U-Net's elastic deformation, strength of changes of colour. Pictures with boxes take
            zoom and photometric.
        mosaic: of pictures with boxes, probability of putting four of them together (host).
    """

    crop: str = "none"
    pad: int = 4
    scale: tuple = (0.08, 1.0)
    flip: bool = False
    randaugment: tuple = ()
    mixup: float = 0.0
    cutmix: float = 0.0
    erase: float = 0.0
    zoom: tuple = (1.0, 1.0)
    rotate: float = 0.0
    elastic: float = 0.0
    photometric: float = 0.0
    mosaic: float = 0.0

    def __post_init__(self) -> None:
        if self.crop not in ("resized", "pad", "detr", "none"):
            raise UserError(f"config.augment.crop is '{self.crop}'; have: resized, pad, detr, none")
        for name in ("mixup", "cutmix", "erase", "pad", "rotate", "elastic", "photometric", "mosaic"):
            if getattr(self, name) < 0:
                raise UserError(f"config.augment.{name} is {getattr(self, name)}; it must not be negative")
        if len(self.zoom) != 2 or not 0 < self.zoom[0] <= self.zoom[1]:
            raise UserError(f"config.augment.zoom is {self.zoom}; it is a range of factors of the size, such as (0.5, 2.0)")
        for name in ("erase", "mosaic"):
            if getattr(self, name) > 1:
                raise UserError(f"config.augment.{name} is {getattr(self, name)}; it is a probability")
        if self.photometric > 1:
            raise UserError(f"config.augment.photometric is {self.photometric}; it is a strength from 0 to 1")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f"config.augment.scale is {self.scale}; it is a range of shares of the area, such as (0.08, 1.0)")
        if self.randaugment and not (len(self.randaugment) == 2 and all(isinstance(x, int) and 0 <= x <= 30 for x in self.randaugment)):
            raise UserError(
                f"config.augment.randaugment is {self.randaugment}; it is (operations, magnitude 0-30), such as (2, 9), or () for none"
            )

    @property
    def on_host(self) -> bool:
        """Whether the host must draw anew for each epoch, so that images cannot stay on the device."""
        return self.crop == "resized" or bool(self.randaugment)


def host_train(pixels: Pixels | None, augment: Augment, source: Source) -> Callable[[dict, np.random.Generator], dict]:
    """(record, rng) -> example of the network's size, uint8; what the pipeline's workers run while training. Text stays as it is."""
    info = source.info
    if pixels is None:
        return _views.text
    if info.task == "detection":
        others = source if augment.mosaic else None
        return partial(_views_boxes.scene, size=pixels.size, longest=pixels.longest, channels=pixels.channels, most=info.most_objects,
                       crop=augment.crop, zoom=augment.zoom, flip=augment.flip, photometric=augment.photometric, mosaic=augment.mosaic,
                       others=others)  # fmt: skip
    if info.task == "segmentation":
        return partial(_views.patch, size=pixels.size, channels=pixels.channels, mean=pixels.mean, zoom=augment.zoom, rotate=augment.rotate,
                       elastic=augment.elastic, photometric=augment.photometric)  # fmt: skip
    return partial(_views.training, size=pixels.size, channels=pixels.channels, crop=augment.crop, scale=augment.scale,
                   randaugment=augment.randaugment)  # fmt: skip


def host_eval(pixels: Pixels | None, info: Info) -> Callable[[dict], dict]:
    """record -> example of the network's size, uint8, the same every time; with a label map, of the size of the largest; with boxes, of its
    own, to be padded to one of `pixels.buckets`."""
    if pixels is None:
        return _views.text
    if info.task == "detection":
        return partial(_views_boxes.whole, size=pixels.size, longest=pixels.longest, channels=pixels.channels, most=info.most_objects)
    if info.task == "segmentation":
        return partial(_views.canvas, size=info.largest, channels=pixels.channels, mean=pixels.mean)
    return partial(_views.evaluation, size=pixels.size, channels=pixels.channels, crop_fraction=pixels.crop_fraction)


def device_train(batch: dict, pixels: Pixels | None, augment: Augment, seed: int, step: jax.Array, rows: jax.Array) -> dict:
    """The part of training's preprocessing that is compiled into the step. `rows`: positions in the global batch."""
    if pixels is None:
        return batch
    keys = example_keys(seed, "augment", step, rows)  # every function below draws from a stream of its own
    if augment.flip and "boxes" not in batch:  # mirrored on the host, where the padding is still to come
        batch = device.flip(batch, keys)
    batch = device_eval(batch, pixels)
    if augment.crop == "pad":
        batch = device.pad_crop(batch, keys, augment.pad)  # zeros around the standardised image, as He et al.
    if augment.erase:
        batch = device.erase(batch, keys, augment.erase)
    if augment.mixup and augment.cutmix:
        return device.mixup_or_cutmix(batch, keys, augment.mixup, augment.cutmix)
    if augment.mixup:
        return device.mixup(batch, keys, augment.mixup)
    if augment.cutmix:
        return device.cutmix(batch, keys, augment.cutmix)
    return batch


def device_eval(batch: dict, pixels: Pixels | None) -> dict:
    return batch if pixels is None else device.normalize(batch, pixels.mean, pixels.std)
