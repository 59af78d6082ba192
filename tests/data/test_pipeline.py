"""A batch is a function of (seed, step): whoever makes it, on however many workers and hosts, from whatever step on."""

import threading
import time
from functools import partial

import numpy as np
import pytest

from cvjax.data import _augment, _pipeline, _views, _worker, fake
from cvjax.data._source import Info, Source
from cvjax.data._worker import Task
from cvjax.errors import UserError

SOURCE = fake.load("train", num_examples=50, size=12)
RANDOM = partial(_views.training, size=8, crop="resized", randaugment=(1, 5))
FIXED = partial(_views.evaluation, size=8)


def take(count, transform=RANDOM, source=SOURCE, **settings):
    settings = {"batch_size": 8, "seed": 3, "workers": 2} | settings
    with _pipeline.train_batches(source, transform, **settings) as batches:
        return [next(batches) for _ in range(count)]


def same(a, b):
    return all(set(x) == set(y) and all(np.array_equal(x[k], y[k]) for k in x) for x, y in zip(a, b, strict=True))


def numbered(n):
    """A source whose records carry their number."""
    return Source(Info(("a",) * n, n), lambda i: {"image": np.full((2, 2, 3), i % 256, np.uint8), "label": i})


def plain(example, rng=None):
    return example


def test_fields_of_a_batch():
    batch = take(1)[0]
    assert {k: (v.shape, v.dtype.name) for k, v in batch.items()} == {
        "image": ((8, 8, 8, 3), "uint8"),
        "label": ((8,), "int32"),
        "valid": ((8,), "bool"),
    }
    assert batch["valid"].all()
    assert take(1, source=fake.load("train", task="multilabel"))[0]["label"].dtype == np.float32


def test_same_seed_same_batches_other_seed_others():
    assert same(take(8), take(8))
    assert not same(take(8), take(8, seed=4))


def test_any_step_can_be_the_first():
    assert same(take(9)[5:], take(4, start_step=5))


def drawn(example, rng):
    return {**example, "draw": rng.integers(2**31)}


def test_every_row_of_every_step_draws_anew():
    draws = np.concatenate([batch["draw"] for batch in take(12, drawn)])
    assert len(set(draws.tolist())) == 12 * 8


@pytest.mark.parametrize("workers", [1, 3, 0])
def test_the_number_of_workers_changes_nothing(workers):
    assert same(take(5), take(5, workers=workers))


def test_processes_make_the_same_batches_as_threads():
    assert same(take(5), take(5, kind="process"))


def test_hosts_tile_the_global_batch():
    parts = [take(7, process_index=host, process_count=4) for host in range(4)]
    tiled = [{k: np.concatenate([part[k] for part in step]) for k in step[0]} for step in zip(*parts, strict=True)]
    assert same(tiled, take(7))


def test_an_epoch_shows_each_example_at_most_once():
    labels = np.concatenate([b["label"] for b in take(6, plain, numbered(50))])
    assert len(set(labels.tolist())) == 48


@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 50])
@pytest.mark.parametrize("hosts", [1, 2])
def test_evaluation_counts_every_example_exactly_once(n, hosts):
    counts, seen = set(), []
    for host in range(hosts):
        batches = list(_pipeline.eval_batches(numbered(n), plain, batch_size=8, process_index=host, process_count=hosts))
        counts.add(len(batches))
        assert all(len(b["image"]) == len(b["valid"]) == 8 // hosts for b in batches)
        assert all((b["image"][~b["valid"]] == 0).all() for b in batches)
        seen += np.concatenate([b["label"][b["valid"]] for b in batches]).tolist()
    assert counts == {-(-n // 8)}
    assert sorted(seen) == list(range(n))


def test_evaluation_keeps_the_order_of_the_source():
    labels = np.concatenate([b["label"] for b in _pipeline.eval_batches(numbered(20), plain, batch_size=8)])
    assert labels[:20].tolist() == list(range(20))


def test_whole_holds_everything_in_order():
    data, _ = _pipeline.whole(numbered(600), plain)
    assert data["label"].tolist() == list(range(600)) and data["valid"].all() and data["image"].shape == (600, 2, 2, 3)


def test_closing_stops_the_workers():
    before = threading.active_count()
    batches = _pipeline.train_batches(SOURCE, RANDOM, batch_size=8, seed=0, workers=3)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    batches.close()
    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(batches)


def test_reading_ahead_has_an_end():
    reads = []
    source = Source(Info(("a",), 100), lambda i: reads.append(i) or {"image": np.zeros((2, 2, 3), np.uint8), "label": 0})
    with _pipeline.train_batches(source, plain, batch_size=4, seed=0, workers=2) as batches:
        next(batches)
        threading.Event().wait(0.2)
        assert len(reads) <= 4 * (1 + _pipeline.AHEAD)


def broken(error, index):
    if index == 13:
        raise error
    return {"image": np.zeros((2, 2, 3), np.uint8), "label": 0}


def file_name(index):
    return f"photos/{index}.jpg"


@pytest.mark.parametrize("kind", ["thread", "process"])
@pytest.mark.parametrize(
    ("error", "kind_of_error", "message"),
    [
        (KeyError("label"), RuntimeError, r"photos/13\.jpg: KeyError: 'label'"),
        (PermissionError(13, "Permission denied"), UserError, r"photos/13\.jpg: cannot be read: Permission denied"),
    ],
)
def test_a_failing_record_is_named(kind, error, kind_of_error, message):
    source = Source(Info(("a",), 20), partial(broken, error), file_name)
    with pytest.raises(kind_of_error, match=message):
        take(3, plain, source, kind=kind, workers=1)


def sometimes(bad, index):
    if index in bad:
        raise OSError("damaged")
    return {"image": np.full((2, 2, 3), index % 256, np.uint8), "label": index}


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_training_replaces_unreadable_records_and_names_them(kind):
    source = Source(Info(("a",) * 20, 20), partial(sometimes, (13, 14)), file_name)
    with _pipeline.train_batches(source, plain, batch_size=10, seed=0, workers=2, kind=kind, unreadable=2) as batches:
        labels = np.concatenate([next(batches)["label"] for _ in range(2)])
    assert sorted(labels) == [*range(13), 15, 15, 15, *range(16, 20)]
    assert batches.unreadable == {f"photos/{i}.jpg": f"photos/{i}.jpg: cannot be read: damaged" for i in (13, 14)}


def test_too_many_unreadable_records_stop_the_run():
    source = Source(Info(("a",) * 20, 20), partial(sometimes, (3, 13, 14)), file_name)
    with pytest.raises(UserError, match=r"3 training records cannot be read, more than config.data.unreadable=2; photos/"):
        take(4, plain, source, batch_size=10, unreadable=2)
    source = Source(Info(("a",) * 20, 20), partial(sometimes, range(20)), file_name)
    with pytest.raises(UserError, match=r"photos/\d+.jpg: cannot be read: damaged; the 20 records after it cannot be read either"):
        take(1, plain, source, unreadable=50)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_named(label):
    source = Source(Info(("a", "b", "c"), 8), lambda i: {"image": np.zeros((2, 2, 3), np.uint8), "label": label}, file_name)
    with pytest.raises(UserError, match=r"photos/\d.jpg: its label is"):
        take(1, plain, source, workers=1)


def test_every_unreadable_record_is_found():
    source = Source(Info(("a",) * 600, 600), partial(sometimes, (13, 599)), file_name)
    assert list(_pipeline.unreadable(source, seconds=60)) == ["photos/13.jpg", "photos/599.jpg"]


def test_evaluation_never_skips():
    source = Source(Info(("a",) * 20, 20), partial(sometimes, (13,)), file_name)
    with pytest.raises(UserError, match=r"photos/13.jpg: cannot be read"), _pipeline.eval_batches(source, plain, batch_size=10) as batches:
        list(batches)


def test_a_device_cache_replaces_unreadable_records_too():
    data, unreadable = _pipeline.whole(Source(Info(("a",) * 20, 20), partial(sometimes, (19,)), file_name), plain, unreadable=1)
    assert data["label"].tolist() == [*range(19), 0] and list(unreadable) == ["photos/19.jpg"]


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_worker_that_hangs_is_reported_with_stacks(kind, monkeypatch, capfd):
    monkeypatch.setattr(_worker, "STALL", 0.2)
    monkeypatch.setenv("CVJAX_STALL_SECONDS", "0.2")
    source = Source(Info(("a",), 8), slow, file_name)
    with _pipeline.train_batches(source, plain, batch_size=8, seed=0, workers=1, kind=kind) as batches:
        next(batches)
    said = capfd.readouterr().err
    assert "no batch for 0.2 s" in said and "in slow" in said


def slow(index):
    time.sleep(0.3)
    return {"image": np.zeros((2, 2, 3), np.uint8), "label": 0}


def test_pictures_of_different_sizes_are_named():
    source = Source(Info(("a",), 8), lambda i: {"image": np.zeros((2 + (i == 5), 2, 3), np.uint8), "label": 0}, file_name)
    with pytest.raises(UserError, match=r"photos/\d\.jpg: 'image' has shape"):
        take(1, plain, source, workers=1)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="batch_size 8 does not divide by 3 hosts"):
        take(1, process_count=3)
    with pytest.raises(UserError, match="batch_size 64 is more than the 50"):
        take(1, batch_size=64)
    with pytest.raises(UserError, match="have: thread, process"):
        take(1, kind="fork")


def test_views_take_encoded_and_decoded_pictures_alike():
    example = SOURCE[0]
    assert RANDOM(example, np.random.default_rng(0))["image"].shape == (8, 8, 3)
    assert FIXED(example)["image"].shape == (8, 8, 3)
    assert partial(_views.evaluation, size=8, channels=1)(example)["image"].shape == (8, 8, 1)
    assert Task(0, 0, (1, 2)).indices == (1, 2) and _augment.pixels(example) is example


def test_an_example_without_a_label_is_named():
    source = Source(Info(("a", "b", "c"), 4), lambda i: {"image": np.zeros((2, 2, 3), np.uint8), "label": -1 if i == 2 else 0})
    with pytest.raises(UserError, match="record 2: its label is -1"):
        list(_pipeline.eval_batches(source, lambda example: example, batch_size=4))
