"""Folders of label maps: read as numbers, never as colours; and what is wrong with them is said before training."""

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cvjax.data import _labels, _pipeline, _views, masks
from cvjax.data._decode import DecodeError
from cvjax.errors import UserError

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, (6, 8)).astype(np.uint8)


def png(pixels, mode=None, **kw):
    out = io.BytesIO()
    image = Image.fromarray(pixels)
    if mode == "P":
        image = Image.frombytes("P", pixels.shape[::-1], pixels.tobytes())
        image.putpalette(RNG.integers(0, 256, 768, np.uint8).tobytes())
    image.save(out, "PNG", **kw)
    return out.getvalue()


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def add(root, name, labels=LABELS, image=None, split="train/"):
    """An image and its label map; the colours say nothing."""
    shape = labels.shape if isinstance(labels, np.ndarray) else (6, 8)
    write(root / f"images/{split}{name}.png", png(np.full((*shape, 3), 99, np.uint8) if image is None else image))
    write(root / f"labels/{split}{name}.png", png(labels) if isinstance(labels, np.ndarray) else labels)


def named(root, names="sky\nroad\ncar\n"):
    (root / "classes.txt").write_text(names)


# ---- numbers in a PNG


@pytest.mark.parametrize("mode", ["L", "P"])
def test_numbers_are_read_and_colours_are_not(mode):
    numbers = np.array([[0, 1, 2, 11], [20, 254, 255, 7]], np.uint8)
    found = _labels.values(png(numbers, mode))
    assert found.dtype == np.uint8 and (found == numbers).all()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palettes_of_few_bits(bits):
    numbers = np.arange(2**bits, dtype=np.uint8).reshape(2, -1)
    assert (_labels.values(png(numbers, "P", bits=bits)) == numbers).all()


def test_sixteen_bits_and_one():
    numbers = np.array([[0, 1, 256, 65535]], np.uint16)
    found = _labels.values(png(numbers))
    assert found.dtype == np.uint16 and (found == numbers).all()
    assert _labels.values(png(np.array([[False, True]]))).tolist() == [[0, 1]]


def test_grey_samples_of_four_bits_are_not_stretched():
    data = bytearray(b"\x89PNG\r\n\x1a\n")
    for kind, body in ((b"IHDR", struct.pack(">IIBBBBB", 4, 1, 4, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0\x01\x2f")), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    assert _labels.values(bytes(data)).tolist() == [[0, 1, 2, 15]]


def test_what_holds_no_numbers_is_refused():
    jpeg = io.BytesIO()
    Image.fromarray(LABELS).save(jpeg, "JPEG")
    for data, message in (
        (png(np.zeros((2, 2, 3), np.uint8)), "RGB pixels where class ids are expected; save it as a PNG with a palette"),
        (png(np.zeros((2, 2, 4), np.uint8)), "RGBA pixels"),
        (jpeg.getvalue(), "a PNG, not JPEG"),
        (png(LABELS)[:60], "not a readable PNG"),
        (b"", "not a readable PNG"),
    ):
        with pytest.raises(DecodeError, match=message):
            _labels.values(data)


# ---- folders


def test_split_folders(tmp_path):
    named(tmp_path)
    for name in "ab":
        add(tmp_path, name)
    add(tmp_path, "deep/c", LABELS[:4, :5], split="val/")
    train, val = masks.load("train", root=str(tmp_path)), masks.load("val", root=str(tmp_path))
    assert train.info.classes == ("sky", "road", "car") and train.info.task == "segmentation" and train.info.ignore == 255
    assert (len(train), train.info.image_size, train.info.largest) == (2, (6, 8), (6, 8))
    assert (train[0]["labels"] == LABELS).all() and train[0]["labels"].dtype == np.uint8 and train[0]["image"].shape == (6, 8, 3)
    assert len(val) == 1 and val.name(0).endswith("images/val/deep/c.png") and "weights" not in val[0]
    both = masks.load("train+val", root=str(tmp_path)).info
    assert both.image_size is None and both.largest == (6, 8)


def test_the_largest_height_and_width_may_be_of_two_images(tmp_path):
    named(tmp_path)
    add(tmp_path, "tall", np.zeros((9, 2), np.uint8))
    add(tmp_path, "wide", np.zeros((3, 7), np.uint8))
    assert masks.load("train", root=str(tmp_path)).info.largest == (9, 7)


def test_a_split_fraction_keeps_every_picture_where_it_is(tmp_path):
    def part(split):
        source = masks.load(split, root=str(tmp_path), split_fraction=0.3)
        return {source.name(i) for i in range(len(source))}

    named(tmp_path)
    for i in range(10):
        add(tmp_path, str(i), split="")
    before = part("val")
    for i in range(10, 60):
        add(tmp_path, str(i), split="")
    after = part("val")
    assert before <= after and 10 <= len(after) <= 27
    assert not after & part("train") and len(after | part("train")) == 60


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_split_fraction_leaves_no_split_empty(tmp_path, fraction):
    named(tmp_path)
    add(tmp_path, "a", split="")
    add(tmp_path, "b", split="")
    assert {len(masks.load(split, root=str(tmp_path), split_fraction=fraction)) for split in ("train", "val")} == {1}


def test_a_number_that_is_not_counted_becomes_255(tmp_path):
    add(tmp_path, "a", np.array([[0, 1, 9, 200]], np.uint8))
    source = masks.load("train", root=str(tmp_path), classes=("a", "b"), ignore=(9, 200))
    assert source[0]["labels"].tolist() == [[0, 1, 255, 255]]
    with pytest.raises(UserError, match=r"9 \(1 pixels\)"):
        masks.load("train", root=str(tmp_path), classes=("a", "b"), ignore=200)
    add(tmp_path, "a")
    assert masks.load("train", root=str(tmp_path), classes=("a", "b", "c"), ignore=()).info.ignore is None


def test_border_weights_lie_between_the_pieces_of_the_foreground(tmp_path):
    labels = np.zeros((5, 9), np.uint8)
    labels[:, :4], labels[:, 5:] = 1, 2
    add(tmp_path, "a", labels)
    weights = masks.load("train", root=str(tmp_path), classes=("a", "b", "c"), border=7.0)[0]["weights"]
    assert weights.dtype == np.float32 and (weights[:, 4] == 8).all() and (np.delete(weights, 4, 1) == 1).all()
    labels[:, 5:] = 255
    add(tmp_path, "a", labels)
    assert (masks.load("train", root=str(tmp_path), classes=("a", "b"), border=7.0)[0]["weights"] == 1).all(), (
        "what is ignored is no object"
    )
    with pytest.raises(UserError, match=r"data\.border is -1"):
        masks.load("train", root=str(tmp_path), classes=("a", "b", "c"), border=-1.0)


def test_batches_of_pieces_and_of_whole_pictures(tmp_path):
    named(tmp_path)
    add(tmp_path, "a", np.ones((5, 9), np.uint8))
    add(tmp_path, "b", np.ones((9, 5), np.uint8))
    source = pickle.loads(pickle.dumps(masks.load("train", root=str(tmp_path), border=10.0)))  # as worker processes get it

    def whole(record):
        return _views.canvas(record, size=(9, 9))

    with _pipeline.eval_batches(source, whole, batch_size=2) as batches:
        batch = next(batches)
    assert batch["image"].shape == (2, 9, 9, 3) and batch["labels"].dtype == np.uint8
    assert ((batch["labels"] == 1).sum((1, 2)) == 45).all() and (batch["weights"].sum((1, 2)) == 45).all()


# ---- what is wrong


def listed(*steps):
    """A set with a class list, made by steps."""

    def make(root):
        named(root)
        for step in steps:
            step(root)

    return make


def one(labels=LABELS, name="a", split="train/"):
    return lambda root: add(root, name, labels, image=np.zeros((6, 8, 3), np.uint8), split=split)


def spoil(file, data=None):
    """Writes something else into a file, or takes it away."""
    return lambda root: (root / file).write_bytes(data) if data else (root / file).unlink()


def odd(root):
    for name, value in (("b", 7), ("a", 9), ("c", 7)):
        labels = LABELS.copy()
        labels[0, :3] = value
        add(root, name, labels)


A = "labels/train/a.png"
ODD = rf"outside the class list: 7 \(6 pixels\), 9 \(3 pixels\), first in .*{A}; the classes are 0 to 2: lengthen"


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (lambda root: None, {}, r"no folder .*images"),
        (lambda root: (root / "images").mkdir(), {}, r"no folder .*labels"),
        (listed(one(split="")), {}, "no folder 'train'; make one, or set data.split_fraction"),
        (listed(one(split="")), {"split_fraction": 0.5}, "holds one picture"),
        (listed(one()), {"split_fraction": 0.5}, "already split into train"),
        (listed(one(), spoil("images/train/a.png")), {}, "images/train holds no pictures"),
        (listed(one(), one(name="b"), spoil(A)), {}, rf"images/train/a.png has no label map .*{A}; add it"),
        (listed(one(), spoil("images/train/a.jpg", b"x")), {}, "images/train/a.jpg and a.png have one name, and so one annotation"),
        (one(), {}, r"no class list: write the names.*classes\.txt"),
        (listed(one()), {"classes": ("a", "b", "c")}, "both name the classes"),
        (listed(one(), spoil("classes.txt", b"a\nb\na\n")), {}, "classes.txt names 'a' twice"),
        (listed(one(), spoil("classes.txt", b"\n")), {}, "names 0 classes"),
        (listed(one(), spoil("classes.txt", "Bär".encode("latin-1"))), {}, "not UTF-8"),
        (listed(one()), {"ignore": -1}, "data.ignore is -1"),
        (listed(odd), {}, ODD),
        (listed(one(np.full((6, 8), 300, np.uint16))), {}, r"outside the class list: 300 \(48 pixels\)"),
        (listed(one(png(np.zeros((6, 8, 3), np.uint8)))), {}, rf"{A}: RGB pixels where class ids are expected; save it as"),
        (listed(one(png(LABELS[:, :4]))), {}, rf"{A} is 6 x 4 pixels, but its image 6 x 8"),
        (listed(one(LABELS * 0 + 255), one(name="b")), {}, rf"every pixel of .*{A} is ignored, so"),
        (listed(one(b"no picture")), {}, rf"{A}: not a readable PNG"),
        (listed(one(), spoil("images/train/a.png", b"x")), {}, r"images/train/a.png: not a readable image"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(tmp_path, make, settings, message):
    make(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        masks.load("train", **{"root": str(tmp_path)} | settings)
    assert "\n" not in str(error.value)


def test_a_label_map_that_went_bad_later_is_named(tmp_path):
    named(tmp_path)
    add(tmp_path, "a")
    source = masks.load("train", root=str(tmp_path))
    write(tmp_path / "labels/train/a.png", png(LABELS + 5))
    with pytest.raises(UserError, match="outside the class list: 5, 6, 7"):
        source[0]
    with (
        pytest.raises(UserError, match=r"images/train/a\.png: label values"),
        _pipeline.eval_batches(source, dict, batch_size=1) as batches,
    ):
        next(batches)


def test_the_survey_counts_pixels_of_each_class():
    maps = [np.array([[0, 5], [5, 7]], np.uint8), np.array([[7, 5]], np.uint16)]
    seen = _labels.survey(
        2, lambda i: _labels.Labelled(maps[i], maps[i].shape), str, _labels.table({0: 0, 5: 1}, (7,)), ("a", "b", "c"), ""
    )
    assert seen.counts.tolist() == [1, 3, 0] and seen.largest == (2, 2) and seen.image_size is None
