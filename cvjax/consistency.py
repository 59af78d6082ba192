"""What can be wrong between the sections of an experiment, each of which is right by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

from cvjax import lookup, parallel
from cvjax.errors import UserError
from cvjax.preprocess import Augment, Pixels

if TYPE_CHECKING:
    from cvjax.build import Experiment

OF_LABELS = ("crop", "pad", "scale", "flip", "randaugment", "mixup", "cutmix", "erase")
OF_MAPS = ("flip", "erase", "zoom", "rotate", "elastic", "photometric")
OF_BOXES = ("crop", "flip", "zoom", "photometric", "mosaic")
CARRIED = {  # what pictures of a task have beside a label, which changes carry that, and which crops
    "segmentation": ("pictures with label maps", OF_MAPS, ("none",)),
    "detection": ("pictures with boxes", OF_BOXES, ("none", "detr")),
}


def check(e: Experiment) -> None:
    """Raises UserError for the first thing that is wrong between sections."""
    batch = e.loading.batch_size
    training = "train" in e.splits
    if e.splits:
        parallel.check_divides(batch, "config.data.batch_size", e.training.accumulate if training else 1)
    for name, source in e.splits.items():
        if source.info.classes != e.info.classes:
            odd = sorted(set(source.info.classes) ^ set(e.info.classes)) or ["their order"]
            raise UserError(f"config.data.{name} has other classes than the training data: {', '.join(odd[:5])}")
        if source.info.task not in e.task.DATA:
            raise UserError(f"config.data is for task '{source.info.task}', but config.task.name is '{e.task.__name__.rpartition('.')[2]}'")
    if training and not e.steps_per_epoch:
        raise UserError(f"config.data.batch_size={batch} is larger than the {e.info.num_examples} training examples; lower it")
    if training:
        _check_times(e)
    for name in e.training.probes:
        lookup.find("probes", name)
    if e.pixels is None and e.augment != Augment():
        raise UserError("config.augment is for pictures, and the data are text; set augment={}")
    if e.loading.cache == "device" and e.augment.on_host:
        raise UserError("config.augment.crop='resized' and randaugment work on the host: set config.data.cache='none'")
    if e.pixels is not None:
        _check_augment(e)
        _check_pixels(e.pixels, e.info.task)
    if e.info.task in ("segmentation", "detection"):
        _check_planes(e)
    if e.fitted and training:
        _check_fitted(e)
    rows = batch // jax.device_count() // e.training.accumulate
    if training and rows % 2 and (e.augment.mixup or e.augment.cutmix):
        raise UserError(f"mixup and cutmix pair neighbours, but a device holds {rows} examples; double config.data.batch_size")


def _check_times(e: Experiment) -> None:
    named = ("log_every", "eval_every", "checkpoint_every")
    for name in (*([] if e.fitted else ["duration"]), *named, *(["patience"] if e.training.patience else [])):
        e.steps(name)


def _check_augment(e: Experiment) -> None:
    """Changes that do not carry what the pictures have: a label, a label map or boxes. Raises UserError."""
    kind, of, crops = CARRIED.get(e.info.task, ("pictures with a label each", OF_LABELS, ("none", "resized", "pad")))
    plain = Augment()
    odd = [name for name, value in vars(e.augment).items() if name not in of and value != getattr(plain, name)]
    if odd:
        raise UserError(f"config.augment.{odd[0]} is not for {kind}; have: {', '.join(of)}")
    if e.augment.crop not in crops:
        raise UserError(f"config.augment.crop='{e.augment.crop}' is not for {kind}; have: {', '.join(crops)}")
    if e.augment.crop == "detr" and e.augment.zoom != plain.zoom:
        raise UserError(f"config.augment.zoom is {e.augment.zoom}, but crop='detr' draws sizes of its own; leave one of them away")


def _check_pixels(pixels: Pixels, task: str) -> None:
    """Settings of pictures of another kind. Raises UserError."""
    if pixels.tile and task != "segmentation":
        raise UserError("config.image.tile is for pictures with label maps; set it to ()")
    if pixels.longest and task != "detection":
        raise UserError("config.image.longest is for pictures with boxes; set it to 0")


def _check_planes(e: Experiment) -> None:
    """What pictures with label maps or boxes have no use for. Raises UserError."""
    what = {"segmentation": "label maps", "detection": "boxes"}[e.info.task]
    if e.loading.cache == "device":
        raise UserError(f"config.data.cache='device' holds pictures of one size, and those with {what} are made anew: set it to 'none'")
    if e.pixels is not None and e.pixels.crop_fraction != 1:
        raise UserError(f"config.image.crop_fraction is for labels of whole pictures: those with {what} are seen whole; set it to 1.0")


def _check_fitted(e: Experiment) -> None:
    """What a fitted model has no use for. Raises UserError."""
    name = e.model_file.__name__.rpartition(".")[2]
    if e.training.duration:
        raise UserError(f"config.train.duration is '{e.training.duration}', but models/{name}.py is fitted in one step; leave it away")
    if e.augment != Augment():
        raise UserError(f"config.augment changes pictures at random, but models/{name}.py is fitted to them as they are; set augment={{}}")
    for probe in e.training.probes:
        if {"of_gradients", "of_outputs"} & vars(lookup.find("probes", probe)).keys():
            raise UserError(f"probe {probe} looks at steps of training, but models/{name}.py is fitted in one; leave it out")
    if jax.process_count() > 1:
        raise UserError(f"models/{name}.py is fitted by one process; start one only")
