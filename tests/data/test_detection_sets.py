"""Detection sets: COCO's json, VOC's xml, YOLO's text files and TFDS, made up here; and the real ones."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from cvjax import detections
from cvjax.data import _coco_json, _detection, _pipeline, coco, tfds, voc, yolo_txt
from cvjax.data._objects import Objects
from cvjax.errors import UserError
from cvjax.metrics.detection import DetectionScores
from cvjax.score import score

HEIGHT, WIDTH = 20, 30
SQUARE = [[4.0, 3.0, 14.0, 3.0, 14.0, 9.0, 4.0, 9.0]]  # a polygon: columns 4 to 13, rows 3 to 8


def picture(path, size=(HEIGHT, WIDTH)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), np.uint8)).save(path)
    return path


def objects(*boxes, **fields):
    count = len(boxes)
    none = np.zeros(count, bool)
    made = Objects(np.array(boxes, np.float64).reshape(-1, 4), np.arange(count), np.ones(count), none, none, np.arange(1, count + 1))
    return made._replace(**fields)


# ---- what all share


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([1.5, 2, 3, 4], [1.5, 2, 4.5, 6]),
        ([-5, -5, 10, 10], [0, 0, 5, 5]),
        ([25, 15, 100, 100], [25, 15, 30, 20]),
        ([29.99, 0, 5, 20], [29.99, 0, 30, 20]),
        ([3, 3, 0, 5], None),
        ([3, 3, 5, -1], None),
        ([30, 0, 5, 5], None),  # begins where the picture ends
        ([-5, 0, 5, 5], None),
        ([0, -9, 5, 5], None),
        ([np.nan, 0, 5, 5], None),
        ([3, 3, 1e-30, 5], None),  # nothing is left of it in float32
    ],
)
def test_boxes_are_clipped_and_those_without_area_are_left_out(box, expected):
    record = _detection.fields(objects([1, 1, 2, 2], box), (HEIGHT, WIDTH))
    rest = [] if expected is None else [expected]
    np.testing.assert_allclose(record["boxes"], [[1, 1, 3, 3], *rest], rtol=1e-6)
    assert record["classes"].tolist() == [0, 1][: 1 + len(rest)] and len(record["ignored"]) == 1 + len(rest)
    assert [record[key].dtype for key in ("boxes", "classes", "ignored")] == [np.float32, np.int32, bool]


# ---- COCO


CATEGORIES = [{"id": 7, "name": "dog", "supercategory": "animal"}, {"id": 3, "name": "car", "supercategory": "vehicle"}]


def annotation(number, image, box, category=3, **more):
    return {
        "id": number,
        "image_id": image,
        "bbox": box,
        "category_id": category,
        "area": 60.0,
        "iscrowd": 0,
        "segmentation": SQUARE,
    } | more


def instances(root, annotations, split="val", images=(5, 2, 9), categories=CATEGORIES):
    listed = [{"id": k, "file_name": f"{k}.png", "height": HEIGHT, "width": WIDTH} for k in images]
    file = root / "annotations" / f"instances_{split}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"images": listed, "annotations": annotations, "categories": categories}))
    for entry in listed:
        picture(root / split / entry["file_name"])
    return file


WHOLE = (
    annotation(11, 5, [4, 3, 10, 6]),
    annotation(12, 9, [-2, 0.5, 8, 4], 7),
    annotation(13, 5, [20, 5, 15, 5], 7, iscrowd=1, segmentation={"size": [HEIGHT, WIDTH], "counts": [405, 5, 190]}),
)


def test_coco(tmp_path):
    instances(tmp_path, WHOLE)
    source = coco.load("val", root=str(tmp_path))
    info = source.info
    assert (info.classes, info.original_ids, info.groups) == (("car", "dog"), (3, 7), ("vehicle", "animal"))
    assert (info.task, info.num_examples, info.most_objects, info.image_size) == ("detection", 3, 2, (HEIGHT, WIDTH))
    assert [source.name(i)[-5:] for i in range(3)] == ["5.png", "2.png", "9.png"]
    first, empty, last = (source[i] for i in range(3))
    assert first["boxes"].tolist() == [[4, 3, 14, 9], [20, 5, 30, 10]]
    assert (first["classes"].tolist(), first["ignored"].tolist(), first["index"]) == ([0, 1], [False, True], 0)
    assert empty["boxes"].shape == (0, 4) and empty["classes"].shape == (0,) and empty["index"] == 1
    assert last["boxes"].tolist() == [[0, 0.5, 6, 4.5]]
    truth = source.truth(2)
    assert truth.boxes.tolist() == [[-2, 0.5, 8, 4]] and truth.ids.tolist() == [12] and truth.area.tolist() == [60]
    assert source.truth(0).crowd.tolist() == [False, True] and source.truth(0).classes.tolist() == [0, 1]


def test_coco_masks_are_those_of_polygons_and_run_lengths(tmp_path):
    instances(tmp_path, WHOLE)
    record = coco.load("val", root=str(tmp_path), masks=True)[0]
    expected = np.zeros((2, HEIGHT, WIDTH), bool)
    expected[0, 3:9, 4:14] = True
    expected[1].T.reshape(-1)[405:410] = True  # run lengths go down the columns
    expected[1, 5:10, 20] = True
    assert record["masks"].dtype == bool and np.array_equal(record["masks"], expected)


def test_coco_masks_follow_the_boxes_that_stay(tmp_path, capsys):
    other = [[0.0, 0.0, 2.0, 0.0, 2.0, 2.0, 0.0, 2.0]]
    instances(tmp_path, [annotation(1, 5, [40, 3, 10, 6]), annotation(2, 5, [0, 0, 2, 2], segmentation=other)])
    record = coco.load("val", root=str(tmp_path), masks=True)[0]
    assert len(record["masks"]) == len(record["boxes"]) == 1 and record["masks"].sum() == 4 and record["masks"][0, :2, :2].all()


def test_coco_can_keep_the_numbers_that_no_category_has(tmp_path):
    instances(tmp_path, WHOLE)
    source = coco.load("val", root=str(tmp_path), holes=True)
    assert source.info.classes == ("id 0", "id 1", "id 2", "car", "id 4", "id 5", "id 6", "dog")
    assert source.info.original_ids == () and source[0]["classes"].tolist() == [3, 7] and source.truth(2).classes.tolist() == [7]


def test_coco_splits_slices_and_places(tmp_path):
    instances(tmp_path, WHOLE)
    instances(tmp_path, [annotation(1, 4, [1, 1, 2, 2])], "train2017", images=(4,))
    assert [coco.load("train2017+val[1:]", root=str(tmp_path)).name(i)[-5:] for i in range(3)] == ["4.png", "2.png", "9.png"]
    (tmp_path / "val").rename(tmp_path / "photos")
    moved = coco.load("val[:2]", root=str(tmp_path), annotations="annotations/instances_{split}.json", images="photos")
    assert len(moved) == 2 and moved[0]["image"].shape == (HEIGHT, WIDTH, 3)


def test_faulty_boxes_are_told_or_refused(tmp_path, capsys):
    faulty = [
        annotation(1, 2, [3, 3, 0, 5]),
        annotation(2, 2, [1, 1, 2, 2]),
        annotation(3, 9, [31, 0, 5, 5]),
        annotation(4, 9, [3, 3, 5, -2]),
    ]
    instances(tmp_path, faulty)
    source = coco.load("val", root=str(tmp_path))
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "3 of 4 boxes have no area in their picture (2 of zero or negative size and 1 outside" in told
    assert "first object 1 (id 1; x, y, w, h = 3, 3, 0, 5) of" in told and "val/2.png" in told
    assert told.endswith("(data.faulty); more than half: look at the annotations' form\n")
    assert source[1]["boxes"].tolist() == [[1, 1, 3, 3]] and len(source[2]["boxes"]) == 0 and source.info.most_objects == 1
    assert len(source.truth(2).boxes) == 2
    with pytest.raises(UserError, match=r"3 of 4 boxes .* first object 1 \(id 1.*2.png; mend the annotations, or set data.faulty='drop'"):
        coco.load("val", root=str(tmp_path), faulty="refuse")
    instances(tmp_path, [*faulty, *(annotation(k, 5, [1, 1, 5, 5]) for k in (5, 6))])
    coco.load("val", root=str(tmp_path))
    assert "3 of 6 boxes" in (told := capsys.readouterr().err) and "more than half" not in told
    with pytest.raises(UserError, match="data.faulty is 'keep'; have: drop, refuse"):
        coco.load("val", root=str(tmp_path), faulty="keep")


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ([[10, 8, 25, 18]] * 3, r"3 of 3 boxes reach beyond their picture, first object 1 \(id 1; .*18\) of .*5.png: are they x1"),
        ([[1, 1, 5, 5]] * 27 + [[26, 1, 5.5, 5]] * 4, r"4 of 31 boxes reach beyond their picture, first object 28 \(id 28;"),
        ([[1, 1, 5, 5]] * 27 + [[26, 1, 5.5, 5]] * 3, ""),
        ([[26, 1, 5, 5]] * 9, ""),  # a pixel too far
        ([[10, 8, 25, 18]] * 2, ""),
        ([[0.1, 0.2, 0.5, 0.6]] * 2, "all 2 boxes are smaller than 2 pixels: are they shares of the picture where pixels are meant"),
        ([[0.1, 0.2, 0.5, 0.6], [1, 1, 1, 2]], ""),
    ],
)
def test_boxes_of_another_form_are_asked_about(tmp_path, capsys, boxes, says):
    instances(tmp_path, [annotation(k, 5, box) for k, box in enumerate(boxes, 1)])
    source = coco.load("val", root=str(tmp_path), faulty="refuse")
    told = capsys.readouterr().err
    assert re.match(f"cvjax: warning: {says}", told) if says else not told
    assert told.count("\n") == bool(says) and len(source[0]["boxes"]) == len(boxes)


def test_no_object_is_lost_to_max_boxes(tmp_path):
    instances(tmp_path, WHOLE)
    assert coco.load("val", root=str(tmp_path), max_boxes=7).info.most_objects == 7
    with pytest.raises(UserError, match=r"5.png has 2 objects, more than data.max_boxes=1; set it to 2 or more"):
        coco.load("val", root=str(tmp_path), max_boxes=1)
    with pytest.raises(UserError, match="data.max_boxes is -1"):
        coco.load("val", root=str(tmp_path), max_boxes=-1)
    instances(tmp_path, [])
    assert coco.load("val", root=str(tmp_path)).info.most_objects == 1, "an array of no rows has no shape to compile for"


def test_what_is_wrong_with_a_json_is_said(tmp_path):
    file = instances(tmp_path, WHOLE)
    for settings, message in (
        ({"split": "train"}, "no split 'train'.*have: val"),
        ({"annotations": "other_{split}.json"}, r"there is no .*other_\*\.json"),
        ({"annotations": "instances.json"}, "{split} where the split's name stands"),
        ({"annotations": "/instances_{split}.json"}, "write a path below data.root"),
        ({"annotations": "annotations/*{split}.json"}, r"there is no .*annotations/\*\*\.json; set data.root or data.annotations"),
        ({"images": "pictures"}, r"lists 3 images, of which 3 are not there, first .*pictures/5.png; bring them, or set data.images"),
        ({"root": str(tmp_path / "none")}, "data.root: there is no folder"),
    ):
        with pytest.raises(UserError, match=message):
            coco.load(**{"split": "val", "root": str(tmp_path)} | settings)
    (tmp_path / "val" / "9.png").unlink()
    with pytest.raises(UserError, match=r"lists 3 images, of which 1 are not there, first .*9.png"):
        coco.load("val", root=str(tmp_path))
    text = file.read_text()
    for content in (
        text[: len(text) // 2],
        text.replace('"image_id": 5', '"image_id": 6'),
        text.replace('"category_id": 7', '"category_id": 8'),
        text.replace('"id": 12', '"id": 11'),
        text.replace("[4, 3, 10, 6]", "[4, NaN, 10, 6]"),
    ):
        assert content != text
        file.write_text(content)
        with pytest.raises(UserError, match="instances_val.json"):
            coco.load("val", root=str(tmp_path))


def test_splits_of_other_categories_do_not_mix(tmp_path):
    instances(tmp_path, WHOLE)
    instances(tmp_path, [], "train", categories=CATEGORIES[:1])
    with pytest.raises(UserError, match="have different categories"):
        coco.load("train+val", root=str(tmp_path))


def test_an_object_without_outline_has_no_mask(tmp_path):
    instances(tmp_path, [*WHOLE, annotation(14, 9, [1, 1, 2, 2], segmentation=[])])
    with pytest.raises(UserError, match=r"annotation 14 of .*9.png has no polygon.*; mend its segmentation, or set data.masks=False"):
        coco.load("val", root=str(tmp_path), masks=True)


@pytest.mark.parametrize(
    ("outline", "message"),
    [
        ([[1, 2, 3]], "no list"),
        ([[1, 2, 3, 4]], "no list"),
        ([[]], "no list"),
        ([["a", 1, 2, 3, 4, 5]], "no list of numbers"),
        ([[np.nan, 1, 2, 3, 4, 5]], "no list of numbers"),
        ([[1e9, 1, 2, 3, 4, 5]], "no list of numbers"),
        ("abc", "no polygon"),
        ({"size": [HEIGHT, WIDTH]}, "no 'counts'"),
        ({"size": [WIDTH, HEIGHT], "counts": [600]}, "of size"),
        ({"size": [HEIGHT, WIDTH], "counts": [-1, 601]}, "do not add up to the 600 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": [5, 5]}, "do not add up"),
        ({"size": [HEIGHT, WIDTH], "counts": "~~~~"}, "no run lengths"),
    ],
)
def test_an_outline_that_is_none_is_told_before_it_is_drawn(tmp_path, outline, message):
    instances(tmp_path, [*WHOLE, annotation(14, 9, [1, 1, 2, 2], segmentation=outline)])
    with pytest.raises(UserError, match=rf"annotation 14 of .*9.png has .*{message}.*; mend its segmentation, or set data.masks=False"):
        coco.load("val", root=str(tmp_path), masks=True)


def test_numbers_and_names_of_categories(tmp_path):
    far = [{"id": 10**12, "name": "dog"}, {"id": 3, "name": "car"}]
    instances(tmp_path, [annotation(1, 5, [1, 1, 2, 2], 10**12), annotation(2, 5, [1, 1, 2, 2])], categories=far)
    source = coco.load("val", root=str(tmp_path))
    assert source.info.original_ids == (3, 10**12) and source[0]["classes"].tolist() == [1, 0]
    with pytest.raises(UserError, match=r"instances_val.json has a category 1000000000000, and data.holes=True makes .*; set it to False"):
        coco.load("val", root=str(tmp_path), holes=True)
    for categories, message in (
        ([{"id": -1, "name": "dog"}, {"id": 3, "name": "car"}], r"instances_val.json has a category -1 \('dog'\); number the categories"),
        ([{"id": 1, "name": "car"}, {"id": 3, "name": "car"}], "instances_val.json names 'car' twice; rename one"),
        ([], "instances_val.json has no categories"),
    ):
        instances(tmp_path, [annotation(1, 5, [1, 1, 2, 2])] if categories else [], categories=categories)
        with pytest.raises(UserError, match=message):
            coco.load("val", root=str(tmp_path))


def test_a_picture_that_is_listed_twice_teaches_that_nothing_is_there(tmp_path):
    file = instances(tmp_path, WHOLE)
    file.write_text(file.read_text().replace('"file_name": "2.png"', '"file_name": "5.png"'))
    with pytest.raises(UserError, match=r"instances_val.json lists .*5.png twice, ids 5 and 2; list it once"):
        coco.load("val", root=str(tmp_path))


def test_pictures_to_be_tested_with_have_no_annotations(tmp_path, capsys):
    file = instances(tmp_path, [])
    file.write_text(file.read_text().replace('"annotations": [], ', ""))
    source = coco.load("val", root=str(tmp_path), masks=True)
    assert [len(source[i]["boxes"]) for i in range(3)] == [0, 0, 0]
    assert "instances_val.json has no 'annotations', so its pictures have no objects\n" in capsys.readouterr().err
    scores = DetectionScores(source)
    scores.update(perfect(source), {})
    assert np.isnan(scores.result()["coco/AP"])
    detections.write(tmp_path, "val", perfect(source), source)
    assert [x["id"] for x in json.loads((tmp_path / "val_truth.json").read_text())["images"]] == [5, 2, 9]


def perfect(source):
    """A batch in which every object was found, each picture padded with boxes of no size."""
    rows, most = [source.truth(i) for i in range(len(source))], source.info.most_objects
    boxes, classes = np.zeros((len(rows), most, 4), np.float32), np.zeros((len(rows), most), np.int32)
    scores = np.zeros((len(rows), most), np.float32)
    for i, one in enumerate(rows):
        corners = np.concatenate([one.boxes[:, :2], one.boxes[:, :2] + one.boxes[:, 2:]], 1) / [WIDTH, HEIGHT, WIDTH, HEIGHT]
        boxes[i, : len(corners)], classes[i, : len(corners)], scores[i, : len(corners)] = corners, one.classes, 0.9
    size = np.tile([HEIGHT, WIDTH], (len(rows), 1))
    found = {"detected_boxes": boxes, "detected_classes": classes, "detected_scores": scores}
    return {"index": np.arange(len(rows)), "original_size": size, "valid": np.ones(len(rows), bool), **found}


def test_annotations_that_are_counted_from_0_are_found(tmp_path, capsys):
    instances(tmp_path, [annotation(0, 5, [4, 3, 10, 6]), annotation(1, 9, [2, 2, 8, 4], 7)])
    source = coco.load("val", root=str(tmp_path))
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "instances_val.json has an annotation 0" in told and "it is number 2 here" in told
    assert [source.truth(i).ids.tolist() for i in range(3)] == [[2], [], [1]]
    scores = DetectionScores(source)
    scores.update(perfect(source), {})
    assert scores.result()["coco/AP"] == pytest.approx(1)


def test_two_files_that_count_alike_are_written_apart(tmp_path):
    """Pictures and objects of the one have the numbers of the other."""
    for split in ("train", "val"):
        instances(tmp_path, [annotation(1, 5, [4, 3, 10, 6]), annotation(2, 9, [2, 2, 8, 4], 7)], split)
    source = coco.load("train+val", root=str(tmp_path))
    detections.write(tmp_path, "both", perfect(source), source)
    truth_file, results_file = tmp_path / "both_truth.json", tmp_path / "both_detections.json"
    truth = _coco_json.read_truth(truth_file)
    assert list(truth.images) == [1, 2, 3, 4, 5, 6] and [one.ids.tolist() for one in truth.objects.values()] == [[1], [], [2], [3], [], [4]]
    assert json.loads(score(truth_file, results_file, "bbox").splitlines()[-1])["AP"] == pytest.approx(1)
    one = coco.load("val", root=str(tmp_path))
    detections.write(tmp_path, "both", perfect(one), one)
    assert list(_coco_json.read_truth(truth_file).images) == [5, 2, 9], "of a single file, the set's own"


def test_a_picture_of_another_size_than_its_annotations_is_named(tmp_path):
    instances(tmp_path, WHOLE)
    picture(tmp_path / "val" / "5.png", (WIDTH, HEIGHT))
    with pytest.raises(UserError, match=r"5.png: it is 30 x 20 pixels, but its annotations are for 20 x 30; .*EXIF may turn it"):
        coco.load("val", root=str(tmp_path))[0]
    picture(tmp_path / "val" / "5.png", (7, HEIGHT))
    with pytest.raises(UserError, match=r"5.png: it is 7 x 20 pixels, but its annotations are for 20 x 30; annotate the picture as it is"):
        coco.load("val", root=str(tmp_path))[0]


def test_real_coco(dev_data, capsys):
    mask = pytest.importorskip("pycocotools.coco")
    root = dev_data / "coco_tiny"
    source = coco.load("val", root=str(root), images="val2017", masks=True)
    assert not capsys.readouterr().err
    assert len(source.info.classes) == 80 and source.info.original_ids[-1] == 90 and source.info.groups[:2] == ("person", "vehicle")
    assert sum(len(source.truth(i).boxes) for i in range(43)) == 420 and sum(int(source.truth(i).crowd.sum()) for i in range(43)) == 6
    assert len(coco.load("val[:1]", root=str(root), images="val2017", holes=True).info.classes) == 91
    reference = mask.COCO(root / "annotations" / "instances_val.json")
    for i in range(0, 43, 6):
        record, truth = source[i], source.truth(i)
        entries = reference.loadAnns(truth.ids.tolist())
        assert [source.info.original_ids[k] for k in record["classes"]] == [entry["category_id"] for entry in entries]
        for drawn, entry in zip(record["masks"], entries, strict=True):
            np.testing.assert_array_equal(drawn, reference.annToMask(entry))


# ---- VOC


def sheet(name="a", boxes=((11, 6, 20, 10),), label="dog", difficult=0, size=f"<width>{WIDTH}</width><height>{HEIGHT}</height>", more=""):
    corners = ["".join(f"<{side}>{value}</{side}>" for side, value in zip(voc.SIDES, box, strict=True)) for box in boxes]
    each = [
        f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox><part><name>head</name></part></object>"
        for box in corners
    ]
    return f"<annotation><filename>{name}</filename><size>{size}</size>{''.join(each)}{more}</annotation>"


def folders(root, **sheets):
    """One picture and xml each, all in the split "train", which lists them as VOC lists one class."""
    for name, content in sheets.items():
        picture(root / "JPEGImages" / f"{name}.png")
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(content)
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("".join(f"{name}  1\n" for name in sheets))
    return str(root)


def test_voc(tmp_path, capsys):
    root = folders(tmp_path, b=sheet(boxes=[(1, 1, WIDTH, HEIGHT), (11, 6, 20, 10)]), a=sheet(label="car", difficult=1), c=sheet(boxes=[]))
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("c\nb -1\n")
    source = voc.load("train+val", root=root)
    assert [source.name(i)[-5] for i in range(len(source))] == ["b", "a", "c", "c"] and len(source.info.classes) == 20
    assert source[0]["boxes"].tolist() == [[0, 0, WIDTH, HEIGHT], [10, 5, 20, 10]] and source.truth(0).boxes[1].tolist() == [10, 5, 10, 5]
    assert source[0]["classes"].tolist() == [11, 11] and source[1]["classes"].tolist() == [6]
    assert source[1]["ignored"].tolist() == [True] and source.truth(1).difficult.tolist() == [True] and not source.truth(1).crowd.any()
    assert source[2]["boxes"].shape == (0, 4) and source.truth(1).ids.tolist() == [3] and source.truth(1).area.tolist() == [50]
    assert source.info.groups[:3] == ("vehicle", "vehicle", "animal") and source.info.most_objects == 2
    assert not capsys.readouterr().err


def test_voc_boxes_for_another_size_are_asked_about(tmp_path, capsys):
    voc.load("train", root=folders(tmp_path, a=sheet(boxes=[(11, 6, 45, 30)] * 3)))
    told = capsys.readouterr().err
    assert "3 of 3 boxes reach beyond their picture" in told and "a.png: are they for pictures of another size?" in told


def test_a_box_that_ends_where_it_begins_is_a_slip(tmp_path, capsys):
    source = voc.load("train", root=folders(tmp_path, a=sheet(boxes=[(5, 5, 5, 5), (11, 6, 20, 10)])))
    assert "1 of 2 boxes have no area in their picture (1 of zero or negative size)" in capsys.readouterr().err
    assert len(source[0]["boxes"]) == 1 and source.truth(0).boxes[0].tolist() == [4, 4, 0, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (sheet()[:-20], r"Annotations/a.xml is no whole XML \("),
        (sheet(size=""), "a.xml does not say the picture's size .height, width."),
        (sheet(size="<width>30</width><height>x</height>"), "does not say the picture's size"),
        (sheet(size="<width>20</width><height>30</height>"), "a.xml is for 30 x 20 pixels, but .*a.png has 20 x 30"),
        (sheet(boxes=[("one", 2, 3, 4)]), r"does not say object 1's box \(xmin, ymin, xmax, ymax\)"),
        (sheet(boxes=[("nan", 2, 3, 4)]), "does not say object 1's box"),
        (sheet(label=" "), "a.xml: object 1 has no name; write its class"),
        (sheet(difficult="True"), "a.xml: object 1 has <difficult>True</difficult>; write 0 or 1"),
        (sheet(difficult=2), "object 1 has <difficult>2</difficult>"),
        (sheet(label="wug"), r"no class: 'wug' \(1 objects\), first of .*a.png; set data.classes=\('wug',\)"),
        (sheet(more=sheet(label="wug").split("</size>")[1][:-13]), r"'wug' \(1 objects\).*set data.classes=\('aeroplane', .*, 'wug'\)"),
    ],
)
def test_what_is_wrong_with_an_xml_is_said(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        voc.load("train", root=folders(tmp_path, a=content))


@pytest.mark.parametrize(("flag", "expected"), [("1", True), ("1.0", True), ("0", False), ("0.0", False), (" ", False)])
def test_difficult_is_one_or_nought(tmp_path, flag, expected):
    source = voc.load("train", root=folders(tmp_path, a=sheet(difficult=flag)))
    assert source.truth(0).difficult.tolist() == [expected]


def test_names_of_pictures_may_have_blanks(tmp_path):
    root = folders(tmp_path, **{name: sheet(boxes=[]) for name in ("a b", "c 1", "d")})
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("c 1\na b  1\nd\t-1\na b\n")
    source = voc.load("train", root=root)
    assert [source.name(i).rpartition("/")[2] for i in range(len(source))] == ["c 1.png", "a b.png", "a b.png"]
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a c\n")
    with pytest.raises(UserError, match="lists 'a c', but"):
        voc.load("train", root=root)


def test_voc_files_that_cannot_be_read_are_named(tmp_path):
    root = folders(tmp_path, a=sheet())
    image, file, listed = (tmp_path / place for place in ("JPEGImages/a.png", "Annotations/a.xml", "ImageSets/Main/train.txt"))
    image.unlink()
    image.symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UserError, match=r"JPEGImages/a.png cannot be read: No such file"):
        voc.load("train", root=root)
    for path in (image, file, listed):
        path.unlink()
        path.mkdir()
        with pytest.raises(UserError, match=rf"{path.name} cannot be read: Is a directory"):
            voc.load("train", root=root)


def test_what_is_not_there_is_said(tmp_path):
    root = folders(tmp_path, a=sheet(), b=sheet())
    assert voc.load("train", root=root, classes=("cat", "dog")).info.classes == ("cat", "dog")
    with pytest.raises(UserError, match="data.classes names 'dog' twice"):
        voc.load("train", root=root, classes=("dog", "dog"))
    with pytest.raises(UserError, match="no split 'val'; have: train|no split 'val'.*have: train"):
        voc.load("val", root=root)
    (tmp_path / "Annotations" / "b.xml").unlink()
    with pytest.raises(UserError, match=r"lists 'b', but there is no .*Annotations/b.xml"):
        voc.load("train", root=root)
    (tmp_path / "JPEGImages" / "a.png").unlink()
    with pytest.raises(UserError, match=r"lists 'a', but .*JPEGImages has no such picture"):
        voc.load("train", root=root)
    with pytest.raises(UserError, match="data.root: there is no folder .*ImageSets"):
        voc.load("train", root=str(tmp_path / "Annotations"))


def test_real_blood_cells(dev_data, capsys):
    classes = ("RBC", "WBC", "Platelets")
    source = voc.load("train+val", root=str(dev_data / "bccd"), classes=classes)
    assert (len(source), source.info.image_size, source.info.most_objects, source.info.groups) == (292, (480, 640), 30, ())
    told = capsys.readouterr().err
    assert "2 of 3,943 boxes have no area in their picture (2 of zero or negative size), first object 4" in told and told.count("\n") == 1
    kinds = np.concatenate([source.truth(i).classes for i in range(292)])
    assert len(kinds) == 3943 and np.bincount(kinds).tolist()[1:] == [301, 292]
    with pytest.raises(UserError, match="'Platelets' .*'RBC' .*'WBC' .* set data.classes=.'Platelets', 'RBC', 'WBC'."):
        voc.load("val", root=str(dev_data / "bccd"))


# ---- YOLO's text files


def texts(root, names="classes", **lines):
    for name, content in lines.items():
        picture(root / "images" / "train" / f"{name}.png")
        (root / "labels" / "train").mkdir(parents=True, exist_ok=True)
        if content is not None:
            (root / "labels" / "train" / f"{name}.txt").write_text(content)
    if names == "classes":
        (root / "classes.txt").write_text("cat\ndog\n")
    elif names:
        (root / "data.yaml").write_text(names)
    return str(root)


@pytest.mark.parametrize("names", ["classes", "names: [cat, dog]", "nc: 2\nnames:\n  0: cat\n  1: dog\n"])
def test_yolo(tmp_path, names):
    root = texts(tmp_path, names, a="1 0.5 0.5 0.2 0.1\n\n0 0.1 0.9 0.4 0.4\n", b=None, c="")
    source = yolo_txt.load("train", root=root)
    assert (source.info.classes, len(source), source.info.most_objects) == (("cat", "dog"), 3, 2)
    np.testing.assert_allclose(source[0]["boxes"], [[12, 9, 18, 11], [0, 14, 9, 20]], rtol=1e-5)
    np.testing.assert_allclose(source.truth(0).boxes, [[12, 9, 6, 2], [-3, 14, 12, 8]], rtol=1e-12)
    assert source[0]["classes"].tolist() == [1, 0] and source.truth(0).ids.tolist() == [1, 2]
    assert len(source[1]["boxes"]) == len(source[2]["boxes"]) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2", "line 2: 4 numbers where 'class cx cy w h' are five"),
        ("0 0.5 0.5 0.2 0.2 0.9", "line 2: 6 numbers"),
        ("0 0.5 half 0.2 0.2", "line 2: '0 0.5 half 0.2 0.2' are not five numbers"),
        ("0 0.5 nan 0.2 0.2", "are not five numbers"),
        ("2 0.5 0.5 0.2 0.2", "line 2: no class is 2, they are 0 to 1: lengthen the class list, count from 0, or mend"),
        ("-1 0.5 0.5 0.2 0.2", "no class is -1"),
        ("0.5 0.5 0.5 0.2 0.2", "no class is 0.5"),
        ("0 15 9 6 2", "line 2: '15 9 6 2' are not between 0 and 1"),
        ("0 0.5 0.5 inf 0.2", "are not five numbers"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path, line, message):
    with pytest.raises(UserError, match=rf"labels/train/a.txt, {message}" if message.startswith("line") else message):
        yolo_txt.load("train", root=texts(tmp_path, a=f"1 0.5 0.5 0.2 0.1\n{line}\n"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("", r"there is no class list: write the names, one a line, into .*classes.txt, or `names: .first, second.` into .*data.yaml$"),
        ("names: [a, a]", "data.yaml names 'a' twice"),
        ("names: {1: a, 2: b}", "data.yaml needs `names`"),
        ("nc: 3", "data.yaml needs `names`"),
        ("names: [a", "data.yaml cannot be read"),
    ],
)
def test_a_class_list_that_is_none_is_said(tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        yolo_txt.load("train", root=texts(tmp_path, names, a=""))


def test_yolo_boxes_outside_or_without_size_are_left_out_or_refused(tmp_path, capsys):
    root = texts(tmp_path, a="0 0.5 0.5 -0.2 0.2\n0 0.5 0.5 0 0.2\n1 1.5 0.5 0.2 0.2\n1 1.000001 0.5 0.2 0.2\n")
    source = yolo_txt.load("train", root=root)
    told = capsys.readouterr().err
    assert "3 of 4 boxes have no area in their picture (2 of zero or negative size and 1 outside the picture), first object 1" in told
    np.testing.assert_allclose(source[0]["boxes"], [[27, 8, 30, 12]], atol=1e-3)
    with pytest.raises(UserError, match=r"3 of 4 boxes .*first object 1 .*a.png; mend the annotations"):
        yolo_txt.load("train", root=root, faulty="refuse")


def test_yolo_boxes_of_another_form_are_asked_about(tmp_path, capsys):
    yolo_txt.load("train", root=texts(tmp_path, a="0 0.1 0.1 0.6 0.5\n" * 3))
    assert "3 of 3 boxes reach beyond their picture" in (told := capsys.readouterr().err)
    assert "a.png: are they of corners where centre x, centre y, width and height are meant?" in told


def test_two_pictures_of_one_name_are_refused(tmp_path):
    of_texts, of_sheets = texts(tmp_path / "yolo", a=""), folders(tmp_path / "voc", a=sheet())
    picture(tmp_path / "yolo" / "images" / "train" / "a.jpg")
    picture(tmp_path / "voc" / "JPEGImages" / "a.jpg")
    for load, root in ((yolo_txt.load, of_texts), (voc.load, of_sheets)):
        with pytest.raises(UserError, match=r"/a.jpg and a.png have one name, and so one annotation; rename or remove one"):
            load("train", root=root)


def test_yolo_files_that_cannot_be_read_are_named(tmp_path):
    root = texts(tmp_path, a="")
    text = tmp_path / "labels" / "train" / "a.txt"
    text.unlink()
    text.symlink_to(tmp_path / "nowhere.txt")
    with pytest.raises(UserError, match=r"labels/train/a.txt cannot be read: No such file"):
        yolo_txt.load("train", root=root)
    text.unlink()
    text.mkdir()
    with pytest.raises(UserError, match=r"labels/train/a.txt cannot be read: Is a directory; mend or remove it"):
        yolo_txt.load("train", root=root)


def test_texts_without_a_picture_and_no_texts_at_all_are_said(tmp_path):
    root = texts(tmp_path, a="")
    (tmp_path / "labels" / "train" / "z.txt").write_text("")
    with pytest.raises(UserError, match=r"1 files in .*labels/train have no picture in .*images/train, first z.txt"):
        yolo_txt.load("train", root=root)
    (tmp_path / "images" / "val").mkdir()
    with pytest.raises(UserError, match="images/val holds no pictures"):
        yolo_txt.load("val", root=root)
    picture(tmp_path / "images" / "val" / "a.png")
    with pytest.raises(UserError, match="there is no folder .*labels/val"):
        yolo_txt.load("val", root=root)


# ---- TFDS


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """coco/2017, voc/2007 and "both", which has one class label too, in small under TFDS's own schemas."""
    import tensorflow_datasets as tfds

    root, features = tmp_path_factory.mktemp("tfds_objects"), tfds.features
    image = io.BytesIO()
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 7, np.uint8)).save(image, "JPEG")

    def prepare(dataset, content, records):
        class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            name, VERSION, pkg_dir_path = dataset.split("/")[0], tfds.core.Version("1.1.0"), root
            BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config) for config in dataset.split("/")[1:]]

            def _info(self):
                return tfds.core.DatasetInfo(builder=self, features=features.FeaturesDict(content), disable_shuffling=True)

            def _split_generators(self, _):
                return {"train": enumerate({"image": io.BytesIO(image.getvalue()), **record} for record in records)}

            def _generate_examples(self):
                raise NotImplementedError

        Builder(data_dir=str(root), file_format="array_record").download_and_prepare()

    def box(x1, y1, x2, y2):
        return features.BBox(ymin=y1 / HEIGHT, xmin=x1 / WIDTH, ymax=y2 / HEIGHT, xmax=x2 / WIDTH)

    names = [f"class {k}" for k in range(80)]
    objects = {"bbox": features.BBoxFeature(), "label": features.ClassLabel(names=names)}
    numbered = {"area": np.int64, "id": np.int64, "is_crowd": np.bool_}
    schema = {"image": features.Image(encoding_format="jpeg"), "image/filename": features.Text(), "image/id": np.int64}
    rows = [
        {"area": 40, "bbox": box(3, 4, 13, 9), "id": 900, "is_crowd": False, "label": 11},
        {"area": 70, "bbox": box(0, 0, 30, 20), "id": 901, "is_crowd": True, "label": 79},
        {"area": 0, "bbox": box(5, 5, 5, 9), "id": 902, "is_crowd": False, "label": 0},
    ]
    coco = [{"image/filename": f"{k}.jpg", "image/id": k, "objects": rows[:count]} for k, count in enumerate((2, 0, 3))]
    prepare("coco/2017", {**schema, "objects": features.Sequence({**objects, **numbered})}, coco)
    of_voc = {"bbox": features.BBoxFeature(), "label": features.ClassLabel(names=list(voc.GROUPS)), "is_difficult": np.bool_}
    pets = [
        {"bbox": box(11, 6, 20, 10), "label": 11, "is_difficult": True},
        {"bbox": box(1, 1, WIDTH, HEIGHT), "label": 0, "is_difficult": False},
    ]
    labels = {"image": schema["image"], "labels": features.Sequence(features.ClassLabel(names=list(voc.GROUPS)))}
    prepare("from_0", {**schema, "objects": features.Sequence({**objects, "id": np.int64})}, [
        {"image/filename": "a.jpg", "image/id": 0, "objects": [{"bbox": box(0, 0, 3, 3), "label": 4, "id": k} for k in (0, 1)]}
    ])  # fmt: skip
    prepare("voc/2007", {**labels, "objects": features.Sequence(of_voc)}, [{"labels": [0, 11], "objects": pets}])
    label = {"image": schema["image"], "label": features.ClassLabel(names=["x", "y"])}
    prepare("both", {**label, "objects": features.Sequence(objects)}, [{"label": 1, "objects": [{"bbox": box(0, 0, 3, 3), "label": 4}]}])
    return str(root)


tfds_warns = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the protobuf that TFDS brings


@tfds_warns
def test_tfds_coco(prepared, capsys):
    source = tfds.load("train", dataset="coco/2017", data_dir=prepared)
    info = source.info
    assert (info.task, len(info.classes), info.most_objects, info.image_size) == ("detection", 80, 100, None)
    ids = info.original_ids
    assert len(set(ids)) == 80 and (ids[0], ids[10], ids[11], ids[79]) == (1, 11, 13, 90) and sorted(ids) == list(ids)
    assert len(info.groups) == 80 and (info.groups[0], info.groups[1], info.groups[79]) == ("person", "vehicle", "indoor")
    first, empty, slip = (source[i] for i in range(3))
    np.testing.assert_allclose(first["boxes"], [[3, 4, 13, 9], [0, 0, 30, 20]], atol=1e-5)
    assert (first["classes"].tolist(), first["ignored"].tolist(), first["index"]) == ([11, 79], [False, True], 0)
    assert empty["boxes"].shape == (0, 4) and len(slip["boxes"]) == 2
    truth = source.truth(2)
    assert truth.ids.tolist() == [900, 901, 902] and truth.area.tolist() == [40, 70, 0] and truth.crowd.tolist() == [False, True, False]
    np.testing.assert_allclose(truth.boxes, [[3, 4, 10, 5], [0, 0, 30, 20], [5, 5, 0, 4]], atol=1e-5)
    source[2]
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "object 3 (id 902; x, y, w, h = 5, 5, 0, 4) of coco/2017 train, record 2 has no area" in told


@tfds_warns
def test_tfds_objects_that_are_counted_from_0_are_found(prepared):
    assert tfds.load("train", dataset="from_0", data_dir=prepared).truth(0).ids.tolist() == [1, 2]


@tfds_warns
def test_tfds_coco_numbers_are_those_of_the_real_one(dev_data):
    source = coco.load("val[:1]", root=str(dev_data / "coco_tiny"), images="val2017")
    from cvjax.data import _tfds_objects

    assert source.info.original_ids == _tfds_objects.COCO_IDS
    assert source.info.groups == tuple(group for group, count in _tfds_objects.COCO_GROUPS.items() for _ in range(count))


@tfds_warns
def test_tfds_voc_is_as_the_xml(prepared):
    source = tfds.load("train", dataset="voc/2007", data_dir=prepared)
    np.testing.assert_allclose(source[0]["boxes"], [[10, 5, 20, 10], [0, 0, WIDTH, HEIGHT]], atol=1e-5)
    assert source[0]["ignored"].tolist() == [True, False] and source.truth(0).difficult.tolist() == [True, False]
    assert source.info.classes == tuple(voc.GROUPS) and source.info.groups == tuple(voc.GROUPS.values()) and not source.info.original_ids


@tfds_warns
def test_tfds_objects_are_asked_for_where_there_is_a_class_label(prepared):
    assert tfds.load("train", dataset="both", data_dir=prepared)[0]["label"] == 1
    both = tfds.load("train", dataset="both", data_dir=prepared, labels="objects")
    assert both[0]["classes"].tolist() == [4] and both.info.groups == () == both.info.original_ids


@tfds_warns
def test_what_is_wrong_with_objects_of_tfds_is_said(prepared):
    load = dict(split="train", dataset="coco/2017", data_dir=prepared)
    with pytest.raises(UserError, match=r"record 0: it has 2 objects, more than data.max_boxes=1; set it to 2 or more"):
        tfds.load(**load, max_boxes=1)[0]
    assert len(tfds.load(**load, max_boxes=1).truth(0).boxes) == 2
    with pytest.raises(UserError, match=r"record 2: object 3 \(id 902.*has no area in the picture"):
        tfds.load(**load, faulty="refuse")[2]
    for settings, message in (({"max_boxes": 0}, "counting would read every picture"), ({"faulty": "keep"}, "data.faulty is 'keep'")):
        with pytest.raises(UserError, match=message):
            tfds.load(**load, **settings)


@tfds_warns
@pytest.mark.parametrize("label", [-1, 80])
def test_a_label_of_tfds_that_is_no_class_is_said(prepared, monkeypatch, label):
    source = tfds.load("train", dataset="coco/2017", data_dir=prepared)
    whole = tfds._fields

    def mislabelled(raw):
        fields = whole(raw)
        fields["objects/label"].int64_list.value[-1] = label
        return fields

    monkeypatch.setattr(tfds, "_fields", mislabelled)
    with pytest.raises(UserError, match=rf"record 0: object 2 \(id 901.*\) has label {label}, but there are 80 classes, from 0"):
        source[0]


def counted(record):
    return {"index": record["index"], "count": np.int32(len(record["boxes"]))}


@tfds_warns
def test_tfds_objects_in_batches_come_with_their_record(prepared):
    source = tfds.load("train", dataset="coco/2017", data_dir=prepared)
    with _pipeline.eval_batches(source, counted, batch_size=4, workers=1, kind="process") as batches:
        batch = next(batches)
    assert batch["index"].tolist() == [0, 1, 2, 0] and batch["count"].tolist() == [2, 0, 2, 0]
