"""CamVid, the ISBI membranes and the Data Science Bowl's nuclei: their layouts in small, and the real ones where they are."""

import numpy as np
import pytest
from PIL import Image

from cvjax.data import camvid, dsb2018, fake, isbi_membrane
from cvjax.data._border import border_weights
from cvjax.errors import UserError

LABELS = np.array([[0, 3, 11], [10, 5, 1]], np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def grey(shape):
    return np.full(shape, 77, np.uint8)


# ---- CamVid


def street(root, names=("train", "val")):
    for name in names:
        save(root / name / "0001.jpg", grey((2, 3, 3)))
        save(root / f"{name}annot" / "0001.png", LABELS)


def test_camvid(tmp_path):
    street(tmp_path)
    source = camvid.load("train+val", root=str(tmp_path))
    assert len(source) == 2 and len(source.info.classes) == 11 and source.info.ignore == 255
    assert source[1]["labels"].tolist() == [[0, 3, 255], [10, 5, 1]]
    with pytest.raises(UserError, match="no split 'test'"):
        camvid.load("test", root=str(tmp_path))
    street(tmp_path, ("test",))
    assert len(camvid.load("test", root=str(tmp_path))) == 1
    save(tmp_path / "valannot" / "0001.png", LABELS + 1)
    with pytest.raises(UserError, match=r"outside the class list: 12 \(1 pixels\), first in .*valannot/0001.png"):
        camvid.load("val", root=str(tmp_path))


def test_real_camvid(dev_data):
    train, val = (camvid.load(split, root=str(dev_data / "camvid")) for split in ("train", "val"))
    assert (len(train), len(val), train.info.largest) == (367, 101, (180, 240))
    assert not {train.name(i) for i in range(367)} & {val.name(i) for i in range(101)}
    street = np.bincount(np.concatenate([val[i]["labels"].ravel() for i in range(101)]), minlength=256)
    assert street[:11].min() > 0 and street[11:255].sum() == 0 and street[3] > 0.2 * street.sum()  # a fifth at least is road


# ---- ISBI 2012


def slices(root, count):
    for i in range(count):
        cells = np.full((8, 9), 255, np.uint8)
        cells[:, 4] = 0
        save(root / "image" / f"{i:02}.png", grey((8, 9)))
        save(root / "label" / f"{i:02}.png", cells)


@pytest.mark.parametrize(("count", "train"), [(24, 18), (30, 24)])
def test_the_last_six_slices_validate(tmp_path, count, train):
    slices(tmp_path, count)
    source, val = (isbi_membrane.load(split, root=str(tmp_path)) for split in ("train", "val"))
    assert (len(source), len(val), val.name(0)[-6:]) == (train, 6, f"{train:02}.png")
    assert [isbi_membrane.load("train[:5]", root=str(tmp_path)).name(i)[-6:-4] for i in range(5)] == ["00", "01", "02", "03", "04"]
    assert (source.info.classes, source.info.ignore, source.info.image_size) == (("membrane", "cell"), None, (8, 9))
    assert (source[0]["labels"] == (np.arange(9) != 4)).all() and "weights" not in source[0]


def test_membranes_between_cells_weigh_more(tmp_path):
    slices(tmp_path, 7)
    record = isbi_membrane.load("train", root=str(tmp_path), border=10.0)[0]
    assert (record["weights"] == np.where(record["labels"] == 0, 11, 1)).all()


def test_six_slices_are_too_few(tmp_path):
    slices(tmp_path, 6)
    with pytest.raises(UserError, match="holds 6 slices, but 6 are for validation"):
        isbi_membrane.load("train", root=str(tmp_path))


def test_real_membranes(dev_data):
    source = isbi_membrane.load("train+val", root=str(dev_data / "isbi_membrane"), border=10.0)
    assert (len(source), source.info.image_size) == (24, (512, 512))
    record = source[3]
    share = record["labels"].mean()
    assert 0.6 < share < 0.9  # most is cell
    assert record["image"][record["labels"] == 0].mean() < record["image"][record["labels"] == 1].mean() - 30  # membranes are dark
    membrane = record["weights"][record["labels"] == 0]
    assert (record["weights"][record["labels"] == 1] == 1).all() and membrane.mean() > 3 and membrane.max() <= 11


# ---- Data Science Bowl 2018


def nuclei(root, rows=("a,train", "b,val", "c,train")):
    for k, row in enumerate(rows):
        instances = np.zeros((4, 7), np.uint16)
        instances[:, :3], instances[:, 4:] = 1, 700 + k
        save(root / "images" / f"{row.split(',')[0]}.png", grey((4, 7)))
        save(root / "labels" / f"{row.split(',')[0]}.png", instances)
    (root / "index.csv").write_text("\n".join(("id,split", *rows)))


def test_nuclei_are_of_one_class_and_weights_lie_between_them(tmp_path):
    nuclei(tmp_path)
    train = dsb2018.load("train", root=str(tmp_path), border=10.0)
    assert [train.name(i)[-5:] for i in range(len(train))] == ["a.png", "c.png"] and len(dsb2018.load("val", root=str(tmp_path))) == 1
    assert train.info.classes == ("background", "nucleus") and train.info.ignore is None
    assert (train[1]["labels"] == (np.arange(7) != 3)).all() and (train[1]["weights"][:, 3] == 11).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no .*index.csv"),
        ("id,kind\na,b", "needs the columns"),
        ("id,split", "needs the columns"),
        ("id,split\nz,train", "lists 'z'"),
    ],
)
def test_what_is_wrong_with_the_index_is_said(tmp_path, content, message):
    nuclei(tmp_path)
    (tmp_path / "index.csv").unlink()
    if content:
        (tmp_path / "index.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        dsb2018.load("train", root=str(tmp_path))


def test_real_nuclei(dev_data):
    train, val = (dsb2018.load(split, root=str(dev_data / "dsb2018"), border=10.0) for split in ("train", "val"))
    assert (len(train), len(val)) == (258, 86) and train.info.largest == (360, 360)
    name = train.name(0)
    assert train.info.image_size is None and name.endswith(".png")
    instances = np.asarray(Image.open(name.replace("/images/", "/labels/")))
    record = train[0]
    assert instances.max() > 1 and (record["labels"] == (instances > 0)).all()
    np.testing.assert_array_equal(record["weights"], border_weights(instances))


# ---- made-up shapes


def test_fake_shapes_have_exact_label_maps_that_can_be_learned():
    source = fake.load("train", task="segmentation", num_classes=5, size=48, num_examples=40)
    assert source.info.classes == ("background", "shape 1", "shape 2", "shape 3", "shape 4") and source.info.largest == (48, 48)
    pictures, labels = (np.stack([source[i][key] for i in range(40)]) for key in ("image", "labels"))
    assert (np.bincount(labels.ravel()) > 40).all() and len(np.bincount(labels.ravel())) == 5
    means = np.stack([pictures[labels == k].mean(0) for k in range(5)])
    nearest = np.square(pictures[..., None, :] - means).sum(-1).argmin(-1)
    assert (nearest == labels).mean() > 0.99
    assert not np.array_equal(
        source[0]["labels"], fake.load("val", task="segmentation", num_classes=5, size=48, num_examples=40)[0]["labels"]
    )
    assert not fake.load("train", task="segmentation", num_classes=1)[0]["labels"].any()
    with pytest.raises(UserError, match="num_classes is 255; a label map has room for 254"):
        fake.load("train", task="segmentation", num_classes=255)
