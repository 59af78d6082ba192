"""Every file in cvjax/data, by glob."""

import re
from pathlib import Path

import numpy as np
import pytest

from cvjax import lookup
from cvjax.data import _pipeline

SOURCES = lookup.names("data")
OFFLINE = [name for name in SOURCES if hasattr(lookup.find("data", name), "TINY")]


def tiny(name):
    return lookup.find("data", name).load(**lookup.find("data", name).TINY)


def keep(example, rng=None):
    return example


@pytest.mark.parametrize("name", sorted(set(SOURCES) - set(OFFLINE)))
def test_a_source_that_needs_files_has_its_own_test(name):
    tests = (Path(__file__).parents[1] / "data").glob("test_*.py")
    assert any(re.search(rf"from cvjax.data import .*\b{name}\b", path.read_text()) for path in tests)


@pytest.mark.parametrize("name", OFFLINE)
def test_examples(name):
    source = tiny(name)
    assert len(source) == source.info.num_examples > 0
    for i in (0, len(source) - 1):
        example = source[i]
        assert example["image"].dtype == np.uint8 and example["image"].ndim == 3 and example["image"].shape[-1] == 3
        assert np.array_equal(example["image"], source[i]["image"]), "the same index gives the same example"
    with pytest.raises(IndexError):
        source[len(source)]


@pytest.mark.parametrize("name", OFFLINE)
def test_same_seed_same_order_other_seed_other_order(name):
    def first(seed):
        with _pipeline.train_batches(tiny(name), keep, batch_size=4, seed=seed) as batches:
            return np.stack([next(batches)["image"] for _ in range(3)])

    assert np.array_equal(first(0), first(0))
    assert not np.array_equal(first(0), first(1))


@pytest.mark.parametrize("name", OFFLINE)
def test_evaluation_counts_every_example_once(name):
    source = tiny(name)
    with _pipeline.eval_batches(source, keep, batch_size=7) as batches:
        rows = [(batch["image"], batch["valid"]) for batch in batches]
    assert {image.shape[0] for image, _ in rows} == {7}
    assert sum(int(valid.sum()) for _, valid in rows) == len(source)
    seen = np.concatenate([image[valid] for image, valid in rows])
    assert all(np.array_equal(seen[i], source[i]["image"]) for i in range(len(source)))
