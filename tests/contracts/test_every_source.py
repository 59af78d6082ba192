"""Every file in cvjax/data, by glob."""

import re
from pathlib import Path

import numpy as np
import pytest

from cvjax import lookup
from cvjax.data import _pipeline

SOURCES = lookup.names("data")
OFFLINE = [name for name in SOURCES if hasattr(lookup.find("data", name), "TINY")]
# With each task that a source makes data for, where it has TASKS.
KINDS = [(name, task) for name in OFFLINE for task in getattr(lookup.find("data", name), "TASKS", ("",))]


def tiny(name, task):
    file = lookup.find("data", name)
    return file.load(**file.TINY, **({"task": task} if task else {}))


def check_objects(source, i):
    """A record of detection: fields of one row for each object, boxes with an area inside the picture; and its truth."""
    record, truth, info = source[i], source.truth(i), source.info
    height, width = record["image"].shape[:2]
    boxes, count = record["boxes"], len(record["boxes"])
    assert (boxes.dtype, boxes.shape) == (np.float32, (count, 4)) and count <= info.most_objects
    assert (record["classes"].dtype, record["classes"].shape) == (np.int32, (count,))
    assert (record["ignored"].dtype, record["ignored"].shape) == (bool, (count,))
    assert record["index"] == i and record["index"].dtype == np.int32
    assert (boxes[:, 2:] > boxes[:, :2]).all() and boxes.min(initial=0) >= 0 and (boxes <= [width, height] * 2).all()
    assert ((record["classes"] >= 0) & (record["classes"] < len(info.classes))).all() and len(info.groups) in (0, len(info.classes))
    assert len(info.original_ids) in (0, len(info.classes))
    every = len(truth.boxes)
    assert (truth.boxes.dtype, truth.boxes.shape) == (np.float64, (every, 4)) and every >= count
    shapes = {
        field: (value.dtype.name, len(value))
        for field, value in truth._asdict().items()
        if field not in ("boxes", "segmentations", "image")
    }
    kinds = {"classes": "int64", "area": "float64", "crowd": "bool", "difficult": "bool", "ids": "int64"}
    assert shapes == {field: (kind, every) for field, kind in kinds.items()}
    again = source[i]
    assert all(np.array_equal(record[key], again[key]) for key in record)
    assert "masks" not in record or (record["masks"].dtype == bool and record["masks"].shape == (count, height, width))


def content(example):
    """What a network is to look at: a picture or a text."""
    return example["image"] if "image" in example else example["tokens"]


def keep(example, rng=None):
    """Without objects, of which every picture has another number."""
    return {key: value for key, value in example.items() if key not in ("boxes", "classes", "ignored", "masks")}


@pytest.mark.parametrize("name", sorted(set(SOURCES) - set(OFFLINE)))
def test_a_source_that_needs_files_has_its_own_test(name):
    tests = (Path(__file__).parents[1] / "data").glob("test_*.py")
    assert any(re.search(rf"from cvjax.data import .*\b{name}\b", path.read_text()) for path in tests)


@pytest.mark.parametrize(("name", "task"), KINDS)
def test_examples(name, task):
    source = tiny(name, task)
    assert len(source) == source.info.num_examples > 0
    for i in (0, len(source) - 1):
        found = content(source[i])
        if source.info.length:
            assert found.dtype == np.int32 and found.shape == (source.info.length,)
            assert found.min() >= 0 and found.max() < len(source.info.classes) and source[i]["characters"] > 0
        else:
            assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[-1] == 3
        if source.info.task == "segmentation":
            labels = source[i]["labels"]
            assert labels.dtype == np.uint8 and labels.shape == found.shape[:2]
            assert labels[labels != source.info.ignore].max() < len(source.info.classes)
            assert all(size <= largest for size, largest in zip(labels.shape, source.info.largest, strict=True))
        if source.info.task == "detection":
            check_objects(source, i)
        assert np.array_equal(found, content(source[i])), "the same index gives the same example"
    with pytest.raises(IndexError):
        source[len(source)]


@pytest.mark.parametrize(("name", "task"), KINDS)
def test_same_seed_same_order_other_seed_other_order(name, task):
    def first(seed):
        with _pipeline.train_batches(tiny(name, task), keep, batch_size=4, seed=seed) as batches:
            return np.stack([content(next(batches)) for _ in range(3)])

    assert np.array_equal(first(0), first(0))
    assert not np.array_equal(first(0), first(1))


@pytest.mark.parametrize(("name", "task"), KINDS)
def test_evaluation_counts_every_example_once(name, task):
    source = tiny(name, task)
    with _pipeline.eval_batches(source, keep, batch_size=7) as batches:
        rows = [(content(batch), batch["valid"]) for batch in batches]
    assert {len(found) for found, _ in rows} == {7}
    assert sum(int(valid.sum()) for _, valid in rows) == len(source)
    seen = np.concatenate([found[valid] for found, valid in rows])
    assert all(np.array_equal(seen[i], content(source[i])) for i in range(len(source)))
