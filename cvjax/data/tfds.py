"""Any TensorFlow Datasets set that lies prepared as array_record on disk, read without TensorFlow.

Names, configs, versions, splits and slices are written as TFDS writes them: dataset="imagenet2012", "coco/2017",
"cifar10:3.0.2"; split="train[:90%]". The folder is `data_dir`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

from cvjax.config import UserError, did_you_mean
from cvjax.data._decode import Encoded
from cvjax.data._source import Info, Source


def load(split: str, *, dataset: str, data_dir: str | None = None) -> Source:
    """A classification set. Which features are the image and the label comes from the set's `supervised_keys`.

    Raises:
        UserError: the set is not prepared, or not as array_record (the message holds the command that mends it); a split that
            it does not have; no image or no class label in it.
    """
    import tensorflow_datasets as tfds  # takes seconds to import

    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    builder = _open(dataset, root)
    image, label = _features(dataset, builder.info, tfds)
    skip = {image: tfds.decode.SkipDecoding()}
    try:
        records = builder.as_data_source(split, decoders=skip)
    except (ValueError, KeyError, AssertionError) as error:
        sizes = ", ".join(f"{name} ({part.num_examples})" for name, part in builder.info.splits.items())
        near = did_you_mean(split.split("[")[0], builder.info.splits)
        reason = str(error).strip("\"'").split("\n")[0]
        raise UserError(f"{dataset} cannot give split '{split}'{near}; have: {sizes} ({reason})") from error
    if not len(records):
        raise UserError(f"split '{split}' of {dataset} is empty")
    shape = builder.info.features[image].shape
    size = (shape[0], shape[1]) if shape[0] and shape[1] else None
    info = Info(tuple(builder.info.features[label].names), len(records), image_size=size)
    return Source(info, partial(_read, records, image, label), partial(_name, dataset, split))


def _read(records: Any, image: str, label: str, index: int) -> dict:
    record = records[index]
    return {"image": Encoded(bytes(record[image])), "label": int(record[label])}


def _name(dataset: str, split: str, index: int) -> str:
    return f"{dataset} {split}, record {index}"


def _open(dataset: str, root: Path) -> Any:
    """The set's builder, made from its files alone: the code that once prepared it often needs TensorFlow."""
    from tensorflow_datasets.core import read_only_builder, registered

    prepare = f"tfds build {dataset} --file_format=array_record --data_dir={root}"
    missing = f"the TFDS data set '{dataset}' is not prepared in {root}; prepare it with: {prepare}"
    if not root.is_dir():
        raise UserError(missing)
    try:
        builder = read_only_builder.builder_from_files(dataset, data_dir=str(root))
    except (registered.DatasetNotFoundError, FileNotFoundError) as error:
        prepared = sorted(str(path.parent.parent.relative_to(root)) for path in root.rglob("dataset_info.json"))
        have = f" (there: {', '.join(prepared)})" if prepared else ""
        raise UserError(missing + have) from error
    formats = {form.value for form in builder.info.available_file_formats()}
    if "array_record" not in formats:
        convert = f"tfds convert_format --dataset_version_dir={builder.data_path} --out_file_format=array_record"
        have = ", ".join(sorted(formats))
        raise UserError(f"'{dataset}' is prepared as {have}, which has no random access; convert it with: {convert}")
    return builder


def _features(dataset: str, info: Any, tfds: Any) -> tuple[str, str]:
    """Names of the image and the label: the set's own `supervised_keys`, else the only features of these kinds."""
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    keys = info.supervised_keys or ()
    if len(keys) == 2 and all(isinstance(key, str) and isinstance(info.features[key], kind) for key, kind in zip(keys, kinds, strict=True)):
        return keys[0], keys[1]
    found = [[name for name, feature in info.features.items() if isinstance(feature, kind)] for kind in kinds]
    if [len(names) for names in found] != [1, 1]:
        have = ", ".join(info.features)
        raise UserError(f"'{dataset}' does not say which of its features are the image and its one class label; has: {have}")
    return found[0][0], found[1][0]
