"""The sources: what they say of themselves, what they read, and how they speak when something is wrong."""

import csv

import numpy as np
import pytest
from PIL import Image

from cvjax.config import UserError
from cvjax.data import digits, fake, folder
from cvjax.data._source import select

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
    share = np.bincount([val[i]["label"] for i in range(len(val))]) / np.bincount(
        [train[i]["label"] for i in range(len(train))]
    )
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


def test_a_split_fraction_is_stratified_and_stays(tmp_path):
    fill(tmp_path, ["a", "b"], 20)
    splits = [folder.load(split, root=str(tmp_path), split_fraction=0.25) for split in ("train", "val")]
    files = [{source.name(i) for i in range(len(source))} for source in splits]
    assert [len(f) for f in files] == [30, 10] and not files[0] & files[1]
    assert sum("/a/" in name for name in files[1]) == 5
    again = folder.load("val", root=str(tmp_path), split_fraction=0.25)
    assert [again.name(i) for i in range(10)] == [splits[1].name(i) for i in range(10)]


def test_several_labels_from_a_table(tmp_path):
    fill(tmp_path, ["images"], 4)
    rows = [("images/0.png", "sea;sun"), ("images/1.png", "sun"), ("images/2.png", ""), ("images/3.png", " sea ; tree")]
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "labels"), *rows])
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
        (
            lambda root: (root / "labels.csv").write_text("file,labels\nx.png,a\n"),
            {"split_fraction": 0.5},
            "line 2.*x.png",
        ),
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
