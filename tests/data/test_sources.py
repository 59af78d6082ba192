"""The sources: what they say of themselves, what they read, and how they speak when something is wrong."""

import csv

import numpy as np
import pytest
from PIL import Image

from cvjax.data import digits, fake, folder
from cvjax.data._source import select
from cvjax.errors import UserError

# ---- splits


@pytest.mark.parametrize(
    ("spec", "items"),
    [
        ("train", list(range(10))),
        ("train[:4]", [0, 1, 2, 3]),
        ("train[7:]", [7, 8, 9]),
        ("train[:-8]", [0, 1]),
        ("train[-2:]", [8, 9]),
        ("train[20%:50%]", [2, 3, 4]),
        ("train[-10%:]", [9]),
        ("train[:33%]", [0, 1, 2]),
        ("train[:37%]", [0, 1, 2, 3]),
        ("train[:1]+val", [0, "a", "b"]),
    ],
)
def test_slices_are_written_as_tfds_writes_them(spec, items):
    assert select(spec, {"train": range(10), "val": ["a", "b"]}) == items


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("trian", "did you mean 'train'"),
        ("test", "have: train, val"),
        ("train[5]", "not understood"),
        ("train[:11]", "beyond its 10 examples"),
        ("train[3:3]", "is empty"),
    ],
)
def test_wrong_splits_are_explained(spec, message):
    with pytest.raises(UserError, match=message):
        select(spec, {"train": range(10), "val": range(2)})


# ---- digits, fake


def test_digits_are_split_evenly_by_class_and_share_nothing():
    train, val = digits.load("train"), digits.load("test")
    assert len(train) + len(val) == 1797 and train.info.image_size == (8, 8)
    share = np.bincount([val[i]["label"] for i in range(len(val))]) / np.bincount([train[i]["label"] for i in range(len(train))])
    assert ((share > 0.23) & (share < 0.26)).all()
    image = train[0]["image"]
    assert image.shape == (8, 8, 3) and image.dtype == np.uint8 and image.max() > 230
    assert (train[0]["image"][..., 0] == train[0]["image"][..., 2]).all()


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    example = digits.load("train")[0]
    assert example["label"] == labels[0]
    np.testing.assert_allclose(example["image"][..., 0] / 255 * 16, images[0].reshape(8, 8), atol=0.04)


def test_fake_pictures_can_be_told_apart_but_not_known_by_heart():
    train, val = fake.load("train", num_examples=60), fake.load("val", num_examples=60)
    assert not np.array_equal(train[0]["image"], val[0]["image"])
    means = np.stack([np.mean([train[i]["image"] for i in range(k, 60, 10)], 0) for k in range(10)])
    nearest = [np.square(means - val[i]["image"]).sum((1, 2, 3)).argmin() for i in range(60)]
    assert nearest == [val[i]["label"] for i in range(60)]
    np.testing.assert_array_equal(train[7]["image"], fake.load("train", num_examples=60)[7]["image"])


def test_fake_multilabel():
    source = fake.load("train", task="multilabel", num_classes=5)
    labels = np.stack([source[i]["label"] for i in range(50)])
    assert source.info.task == "multilabel" and labels.dtype == np.float32
    assert set(labels.sum(1)) == {1.0, 2.0} and labels.any(0).all()
    with pytest.raises(UserError, match="no data for task 'detecton'"):
        fake.load("train", task="detecton")


def test_an_index_beyond_the_end_is_an_error():
    with pytest.raises(IndexError):
        fake.load("train[:5]")[5]


# ---- folder


def fill(root, names, count=3, ending="png"):
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (6, 4), (k * 50, i * 10, 0)).save(root / name / f"{i}.{ending}")


def test_train_and_val_folders(tmp_path):
    fill(tmp_path / "train", ["cat", "ant", "bee"])
    fill(tmp_path / "val", ["ant", "bee", "cat"], 2)
    (tmp_path / "train" / "ant" / "notes.txt").write_text("no picture")
    (tmp_path / "train" / "ant" / ".hidden.png").write_text("no picture")
    (tmp_path / "train" / ".cache").mkdir()
    train, val = folder.load("train", root=str(tmp_path)), folder.load("val", root=str(tmp_path))
    assert train.info.classes == val.info.classes == ("ant", "bee", "cat")
    assert (len(train), len(val), train.info.task) == (9, 6, "classification")
    assert [train[i]["label"] for i in range(9)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert train[8]["image"].shape == (4, 6, 3) and train[8]["image"][0, 0].tolist() == [0, 20, 0]
    assert train.name(8).endswith("cat/2.png")
    assert len(folder.load("train[:4]+val", root=str(tmp_path))) == 10


def parts(root, fraction):
    """The names of the pictures in train and in val."""
    sources = [folder.load(split, root=str(root), split_fraction=fraction) for split in ("train", "val")]
    train, val = ({source.name(i).removeprefix(f"{root}/") for i in range(len(source))} for source in sources)
    assert not train & val
    return train, val


def test_a_split_fraction_takes_about_that_share_of_every_class(tmp_path):
    fill(tmp_path, ["a", "b"], 100)
    train, val = parts(tmp_path, 0.25)
    assert len(train | val) == 200
    assert all(19 <= sum(name.startswith(label) for name in val) <= 31 for label in "ab")


def test_a_split_fraction_keeps_every_picture_where_it_is(tmp_path):
    fill(tmp_path, ["a", "b"], 20)
    before = parts(tmp_path, 0.25)
    for i in range(20, 50):
        (tmp_path / "a" / f"{i}.png").write_bytes(b"")
        after = parts(tmp_path, 0.25)
        assert all(old <= new for old, new in zip(before, after, strict=True))
        before = after
    (tmp_path / "c").mkdir()
    for i in range(2):
        (tmp_path / "c" / f"{i}.png").write_bytes(b"")
    assert all(old <= new for old, new in zip(before, parts(tmp_path, 0.25), strict=True))
    (tmp_path / "b" / "3.png").unlink()
    assert all(new - {"c/0.png", "c/1.png"} <= old for old, new in zip(before, parts(tmp_path, 0.25), strict=True))


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.99])
def test_a_split_fraction_leaves_no_class_out(tmp_path, fraction):
    fill(tmp_path, ["one"], 1)
    fill(tmp_path, ["a", "b", "c"], 2)
    train, val = parts(tmp_path, fraction)
    assert sorted(name[0] for name in train) == ["a", "b", "c", "o"] and sorted(name[0] for name in val) == list("abc")


def test_a_small_class_lends_one_picture_until_it_has_its_own(tmp_path):
    fill(tmp_path, ["a"], 2)
    before = parts(tmp_path, 0.1)
    for i in range(2, 60):
        (tmp_path / "a" / f"{i}.png").write_bytes(b"")
        after = parts(tmp_path, 0.1)
        moved = before[1] - after[1]
        assert before[0] <= after[0] and len(moved) <= 1 and (not moved or len(before[1]) == 1)
        before = after


def table(root, rows, encoding="utf-8"):
    with open(root / "labels.csv", "w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows(rows)


def test_a_split_fraction_is_of_all_pictures_of_a_table(tmp_path):
    fill(tmp_path, ["images"], 64)
    sets = [";".join(name for k, name in enumerate("abcdef") if i >> k & 1) for i in range(64)]  # no two alike
    table(tmp_path, [("file", "labels"), *((f"images/{i}.png", labels) for i, labels in enumerate(sets))])
    train, val = parts(tmp_path, 0.25)
    assert 10 <= len(val) <= 22
    table(tmp_path, [("file", "labels"), *((f"images/{i}.png", "same") for i in range(64))])
    assert parts(tmp_path, 0.25) == (train, val)  # the labels have no say


def test_a_label_of_one_picture_is_in_train(tmp_path):
    fill(tmp_path, ["images"], 20)
    table(tmp_path, [("file", "labels"), *((f"images/{i}.png", f"l{i // 2 * 2 if i < 16 else i}") for i in range(20))])
    train, val = parts(tmp_path, 0.5)
    assert {f"images/{i}.png" for i in range(16, 20)} <= train and val


def test_several_labels_from_a_table(tmp_path):
    fill(tmp_path, ["images"], 4)
    rows = [("images/0.png", "sea;sun"), ("images/1.png", "sun"), ("images/2.png", ""), ("images/3.png", " sea ; tree")]
    table(tmp_path, [("file", "labels"), *rows])
    source = folder.load("train+val", root=str(tmp_path), split_fraction=0.5)
    assert source.info.task == "multilabel" and source.info.classes == ("sea", "sun", "tree")
    found = {source.name(i)[-5]: source[i]["label"].tolist() for i in range(4)}
    assert found == {"0": [1, 1, 0], "1": [0, 1, 0], "2": [0, 0, 0], "3": [1, 0, 1]}


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (lambda root: None, {"root": "nowhere"}, "no folder nowhere"),
        (lambda root: fill(root, ["a"]), {}, "no folder 'train'"),
        (lambda root: fill(root / "train", ["a"]), {"split_fraction": 0.5}, "already split"),
        (lambda root: (root / "train").mkdir(), {}, "no class folders"),
        (lambda root: (fill(root / "train", ["a"]), (root / "train" / "b").mkdir()), {}, "/b holds no pictures"),
        (lambda root: (fill(root / "train", ["a"]), fill(root / "val", ["a", "b"])), {}, "'val' has the class 'b'"),
        (lambda root: (fill(root / "train", ["a", "b"]), fill(root / "val", ["a"])), {}, "'train' has the class 'b'"),
        (lambda root: (root / "labels.csv").write_text("name\n"), {"split_fraction": 0.5}, "needs the columns"),
        (lambda root: (root / "labels.csv").write_text("file,labels\nx.png,a\n"), {"split_fraction": 0.5}, "line 2.*x.png"),
        (lambda root: table(root, [("labels", "file"), ("a",)]), {"split_fraction": 0.5}, "csv, line 2: .*'file' is empty"),
        (
            lambda root: table(root, [("file", "labels"), ("x.png", "Bär")], "latin-1"),
            {"split_fraction": 0.5},
            "labels.csv is not UTF-8; save it as",
        ),
        (lambda root: fill(root, ["a", "b"], 1), {"split_fraction": 0.5}, "leaves 'val' empty"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path, make, settings, message):
    make(tmp_path)
    with pytest.raises(UserError, match=message):
        folder.load("train", **{"root": str(tmp_path)} | settings)


def test_an_unreadable_picture_is_named(tmp_path):
    fill(tmp_path / "train", ["a"])
    (tmp_path / "train" / "a" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"a/0\.png: not a readable image"):
        folder.load("train", root=str(tmp_path))[0]


def test_what_only_looks_like_a_picture_is_passed_over(tmp_path):
    fill(tmp_path / "train", ["a"])
    (tmp_path / "train" / "a" / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "train" / "a" / "folder.jpg").mkdir()
    (tmp_path / "train" / "a" / "whole.png").symlink_to(tmp_path / "train" / "a" / "0.png")
    source = folder.load("train", root=str(tmp_path))
    assert [source.name(i)[-5:] for i in range(len(source))] == ["0.png", "1.png", "2.png", "e.png"]


def test_a_picture_that_is_gone_is_named(tmp_path):
    fill(tmp_path / "train", ["a"])
    source = folder.load("train", root=str(tmp_path))
    (tmp_path / "train" / "a" / "0.png").unlink()
    with pytest.raises(UserError, match=r"a/0\.png: cannot be read: No such file"):
        source[0]
