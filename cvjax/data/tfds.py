"""Any TensorFlow Datasets set that lies prepared as array_record on disk, read without TensorFlow.

Names, configs, versions, splits and slices are written as TFDS writes them: dataset="imagenet2012", "coco/2017",
"cifar10:3.0.2"; split="train[:90%]". The folder is `data_dir`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cvjax.data import _labels, _tfds_objects
from cvjax.data._decode import Encoded
from cvjax.data._labels import Labelled
from cvjax.data._objects import Objects
from cvjax.data._source import Info, Source, split_names
from cvjax.data._tfds_masks import MAPS, Maps
from cvjax.errors import UserError, did_you_mean


def load(split: str, *, dataset: str, data_dir: str | None = None, labels: str = "", faulty: str = "drop", max_boxes: int = 100) -> Source:
    """A classification set: its `supervised_keys` say which features are the image and the label. Or a segmentation set of `_tfds_masks`,
    whose label maps are all read once, to check them. Or a detection set of `_tfds_objects`.

    Args:
        labels: name of the feature that holds label maps, for segmentation on a set that has class labels too: "segmentation_mask" of
            oxford_iiit_pet. Or "objects", for detection on such a set. Where there are label maps or objects alone, it can be left out.
        faulty, max_boxes: of detection: what becomes of boxes without area, said at the first, see `_detection.source`; and what boxes are
            padded to: a record with more raises when it is read.

    Raises:
        UserError: the set is not prepared, or not as array_record (the message holds the command that mends it); a
            split that it does not have; no image or no class label in it; label maps that nothing is known of, or that do not fit.
    """
    import tensorflow_datasets as tfds  # takes seconds to import

    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    builder = _open(dataset, root)
    name = partial(_name, dataset, split)
    objects = _tfds_objects.reading(dataset, builder.info, labels, tfds, name, faulty, max_boxes)
    maps = None if objects else _maps(dataset, builder.info, labels, tfds)
    image, label = ("", "") if maps or objects else _features(dataset, builder.info, tfds)
    records = _records(dataset, builder, split)
    _check_files(builder, split)
    if objects:
        info = _tfds_objects.info(builder.info, objects, len(records))
        many = partial(_read_many_objects, records, objects)
        return Source(info, partial(_read_objects, records, objects), name, many, partial(_truth, records, objects))
    if maps:
        parse: Callable[[bytes], dict] = partial(_parse_map, maps)
        info = _survey(maps, records, name)
    else:
        parse = partial(_parse, image, label)
        shape = builder.info.features[image].shape
        size = (shape[0], shape[1]) if shape[0] and shape[1] else None
        info = Info(tuple(builder.info.features[label].names), len(records), image_size=size)
    return Source(info, partial(_read, records, parse), name, partial(_read_many, records, parse))


def _read(records: Any, parse: Callable[[bytes], dict], index: int) -> dict:
    return parse(records[index])


def _read_many(records: Any, parse: Callable[[bytes], dict], indices: Sequence[int]) -> list[dict]:
    return [parse(raw) for raw in records.__getitems__(list(indices))]


def _read_objects(records: Any, reading: _tfds_objects.Reading, index: int) -> dict:
    return _tfds_objects.record(reading, index, _fields(records[index]))


def _read_many_objects(records: Any, reading: _tfds_objects.Reading, indices: Sequence[int]) -> list[dict]:
    raws = records.__getitems__(list(indices))
    return [_tfds_objects.record(reading, index, _fields(raw)) for index, raw in zip(indices, raws, strict=True)]


def _truth(records: Any, reading: _tfds_objects.Reading, index: int) -> Objects:
    return _tfds_objects.truth(reading, _fields(records[index]))


def _fields(raw: bytes) -> Any:
    """The features of a serialized tf.train.Example; TFDS's own reading of all of them takes ten times as long."""
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example.FromString(raw).features.feature


def _parse(image: str, label: str, raw: bytes) -> dict:
    fields = _fields(raw)
    return {"image": Encoded(fields[image].bytes_list.value[0]), "label": fields[label].int64_list.value[0]}


def _parse_map(maps: Maps, raw: bytes) -> dict:
    fields = _fields(raw)
    numbers = maps.values(fields[maps.labels].bytes_list.value[0])
    return {"image": Encoded(fields[maps.image].bytes_list.value[0]), "labels": _labels.ids(numbers, maps.table)}


def _labelled(maps: Maps, records: Any, index: int) -> Labelled:
    fields = _fields(records[index])
    return Labelled(maps.values(fields[maps.labels].bytes_list.value[0]), Encoded(fields[maps.image].bytes_list.value[0]).size)


def _survey(maps: Maps, records: Any, name: Callable[[int], str]) -> Info:
    mend = "the set was prepared from other files than TFDS's own"
    seen = _labels.survey(len(records), partial(_labelled, maps, records), name, maps.table, maps.classes, mend, blank=True)
    return _labels.info(maps.classes, len(records), maps.table, seen)


def _maps(dataset: str, info: Any, labels: str, tfds: Any) -> Maps | None:
    """The set's label maps, when they are asked for by name or are the only labels there."""
    maps = MAPS.get(info.name)
    if labels and (maps is None or labels != maps.labels):
        have = ", ".join(f"{name} ({known.labels})" for name, known in MAPS.items())
        raise UserError(
            f"data.labels: no class list is known for '{labels}' of '{dataset}'; have: {have}; data 'masks' reads a folder of PNGs"
        )
    if maps is None or (not labels and any(isinstance(feature, tfds.features.ClassLabel) for feature in info.features.values())):
        return None
    lacking = [name for name in (maps.image, maps.labels) if name not in info.features]
    if lacking:
        raise UserError(f"'{dataset}' has no feature '{lacking[0]}'; has: {', '.join(info.features)}; choose a config that has label maps")
    return maps


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


def _records(dataset: str, builder: Any, split: str) -> Any:
    """The split's serialized records, by index."""
    from tensorflow_datasets.core.decode import DeserializeMethod

    try:
        return builder.as_data_source(split, deserialize_method=DeserializeMethod.RAW_BYTES, file_format="array_record")
    except (ValueError, KeyError, AssertionError) as error:
        splits = {name: part.num_examples for name, part in builder.info.splits.items()}
        near = did_you_mean(split, splits) if split.split("[")[0] not in splits else ""
        have = ", ".join(f"{name} ({size} examples)" for name, size in splits.items())
        reason = str(error).strip("\"'").split("\n")[0]
        reason = "it is empty" if "0 length" in reason else reason
        raise UserError(f"{dataset} cannot give split '{split}'{near}; have: {have} ({reason})") from error


def _check_files(builder: Any, split: str) -> None:
    """Raises UserError for the first file of a split that is absent, damaged, or holds another number of records than it should."""
    from array_record.python.array_record_module import ArrayRecordReader

    for name in split_names(split):
        info = builder.info.splits[name]
        for path, expected in zip(info.filepaths, info.shard_lengths, strict=True):
            try:
                reader = ArrayRecordReader(str(path))
                found, problem = reader.num_records(), ""
                reader.close()
            except Exception as error:  # the reader's own: RuntimeError, ValueError
                found, problem = -1, (str(error).splitlines() or ["it cannot be opened"])[0]
            if found != expected:
                size = f"{Path(path).stat().st_size:,} bytes" if Path(path).exists() else "absent"
                told = problem or f"it holds {found} records"
                raise UserError(f"{path} ({size}) should hold {expected} records, but {told}; it is cut short or damaged: prepare it again")


def _features(dataset: str, info: Any, tfds: Any) -> tuple[str, str]:
    """Names of the image and the label: the set's own `supervised_keys`, else the only features of these kinds."""
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    found = [[name for name, feature in info.features.items() if isinstance(feature, kind)] for kind in kinds]
    keys: Any = info.supervised_keys or ()
    if len(keys) == 2 and keys[0] in found[0] and keys[1] in found[1]:
        return keys[0], keys[1]
    if [len(names) for names in found] != [1, 1]:
        have = ", ".join(info.features)
        raise UserError(f"'{dataset}' does not say which of its features are the image and its one class label; has: {have}")
    return found[0][0], found[1][0]
