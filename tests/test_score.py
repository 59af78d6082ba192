"""The verb score: a table, and the twelve numbers as JSON on the last line; what is wrong in a file is said in a line, with exit code 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cvjax.data import _coco_json
from cvjax.errors import UserError
from cvjax.metrics.average_precision import NAMES
from cvjax.score import score

LAUNCH = Path(__file__).parents[1] / "launch.py"


def truth():
    box = [10.5, 20.0, 30.0, 40.0]
    triangle = [[10, 20, 40, 20, 10, 60]]
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 100, "width": 120} for i in (7, 3)],
        "categories": [{"id": 90, "name": "dog", "supercategory": "animal"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": box, "area": 1200.0, "iscrowd": 0, "segmentation": triangle},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 1, "segmentation": RUNS},
        ],
    }


RUNS = {"size": [100, 120], "counts": [0, 5, 95, 5, 11895]}


def results():
    return [{"image_id": 7, "category_id": 90, "bbox": [10.5, 20.0, 30.0, 40.0], "score": 0.1 + 0.2}]


def written(folder, truth, results):
    """--truth and --results for what is text as it is, all else as JSON."""
    files = {"truth": folder / "instances.json", "results": folder / "detections.json"}
    for name, content in (("truth", truth), ("results", results)):
        files[name].write_text(content if isinstance(content, str) else json.dumps(content))
    return files


def scored(folder, truth, results, iou="bbox"):
    files = written(folder, truth, results)
    return json.loads(score(files["truth"], files["results"], iou).splitlines()[-1])


def launched(*words):
    return subprocess.run([sys.executable, str(LAUNCH), "score", *map(str, words)], capture_output=True, text=True, timeout=300)


def test_the_command(tmp_path):
    """It says its numbers without a table on standard error, and without JAX."""
    files = written(tmp_path, truth(), results())
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("raise ImportError('score needs no JAX')")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    words = [sys.executable, str(LAUNCH), "score", f"--truth={files['truth']}", f"--results={files['results']}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    found = json.loads(last)
    assert (
        tuple(found) == NAMES
        and found["AR1"] == 1
        and found["AP"] == found["APm"] == pytest.approx(1)
        and found["APs"] == -1
        and found["APl"] == -1
    )
    assert any(line.split() == ["dog", "100.0", "1"] for line in table) and any(line.split() == ["cat", "–", "0"] for line in table)
    assert done.stderr == ""
    files["results"].write_text("[{]")
    for words in ((f"--truth={files['truth']}",), (f"--truth={files['truth']}", f"--results={files['results']}")):
        done = launched(*words)
        assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1, done.stderr


def test_no_detection_is_no_mistake(tmp_path):
    assert scored(tmp_path, truth(), []) == dict.fromkeys(NAMES, 0.0) | {"APs": -1.0, "APl": -1.0, "ARs": -1.0, "ARl": -1.0}


def _text(polygons):
    from cvjax.data._segmentations import run_lengths

    return run_lengths(polygons, (100, 120))["counts"].decode()


def test_masks(tmp_path):
    found = results()
    found[0] |= {"segmentation": {"size": [100, 120], "counts": _text([[10, 20, 40, 20, 10, 60]])}}
    assert scored(tmp_path, truth(), found, "segm")["AP"] == pytest.approx(1)
    assert scored(tmp_path, truth(), [found[0] | {"bbox": []}], "segm")["AP"] == pytest.approx(1)
    box_of_mask = scored(tmp_path, truth(), [{key: value for key, value in found[0].items() if key != "bbox"}])
    assert 0 < box_of_mask["AP"] <= 1


@pytest.mark.parametrize("seed", range(3))
def test_run_lengths_that_are_cut_off_are_told_from_whole_ones(seed):
    """pycocotools' own texts are right at any size; cut anywhere, they hang it."""
    from pycocotools import mask

    draw = np.random.default_rng(seed)
    height, width = (int(x) for x in draw.integers(1, 90, 2))
    pixels = draw.random((height, width)) < (0.02, 0.5, 0.999)[seed]
    text = mask.encode(np.asfortranarray(pixels.astype(np.uint8)))["counts"].decode()
    assert _coco_json.fault({"size": [height, width], "counts": text}, height, width) == ""
    assert all(_coco_json.fault({"size": [height, width], "counts": text[:k]}, height, width) for k in range(len(text)))


def test_number_0_is_told(tmp_path, capsys):
    content = truth()
    content["annotations"][0]["id"] = 0
    assert scored(tmp_path, content, results())["AP"] == 0
    assert "id 0" in capsys.readouterr().err


def test_sparse_files_are_scored(tmp_path):
    """pycocotools needs neither names nor sizes, nor whole numbers written as such."""
    content = truth()
    content["images"] = [{"id": 7}]
    content["categories"] = [{"id": 90}, {"id": 2}]
    for annotation in content["annotations"]:
        annotation["iscrowd"] = float(annotation["iscrowd"])
    found = [results()[0] | {"image_id": 7.0, "score": 1}]
    assert scored(tmp_path, content, found)["AP"] == pytest.approx(1)


def test_a_mark_before_the_text_is_no_mistake(tmp_path):
    """Windows tools begin UTF-8 files with one."""
    assert scored(tmp_path, "\ufeff" + json.dumps(truth()), results())["AP"] == pytest.approx(1)


def entry(number=0, **changes):
    """The result (or the annotation) with some keys changed, or left out where they are None."""

    def change(entries):
        entries[number] |= changes
        for key in [key for key, value in entries[number].items() if value is None]:
            del entries[number][key]

    return change


NAN = float("nan")


@pytest.mark.parametrize(
    "change, says",
    [
        (entry(image_id=5), r"entry 0 is of image_id 5, which is none of the 2 images of the truth \(they are 3, 7\); 1 of 1 entries"),
        (entry(category_id=0), r"category_id 0, which is none of the 2 categories of the truth \(they are 2, 90\)"),
        (entry(image_id=None), "entry 0 has no 'image_id'"),
        (entry(score=None), "has no 'score'"),
        (entry(score="0.5"), "'score' is no number"),
        (entry(score=True), "'score' is no number"),
        (entry(score=NAN), "'score' is not finite"),
        (entry(score=10**400), "'score' is beyond"),
        (entry(bbox=[0, 0, NAN, 1]), "'bbox' is not finite"),
        (entry(bbox=[0, 0, float("inf"), 1]), "'bbox' is not finite"),
        (entry(bbox=[0, 0, 1e308, 1e308]), "'bbox' .* is beyond 1e\\+100 pixels"),
        (entry(bbox=[0, 0, -1, 1]), "negative width or height"),
        (entry(bbox=[0, 0, 1]), "'bbox' is not four numbers"),
        (entry(bbox={"x": 1}), "'bbox' is not four numbers"),
        (entry(bbox=None), "neither 'bbox' nor 'segmentation'"),
        (entry(image_id="7"), "'image_id' is no whole number"),
        (entry(image_id=7.5), "'image_id' is no whole number"),
        (entry(image_id=10**30), "'image_id' is no whole number"),
        (lambda entries: entries.append(entries[0] | {"segmentation": RUNS}), "entry 1 has a 'segmentation' and the first entry has none"),
        (lambda entries: entries.append(5), r"entry 1 is no object"),
        (lambda entries: entries.append(entries[0] | {"bbox": None}), "entry 1 'bbox' is not four numbers"),
    ],
)  # fmt: skip
def test_results_that_are_wrong(tmp_path, change, says):
    found = results()
    change(found)
    with pytest.raises(UserError, match=says) as error:
        scored(tmp_path, truth(), found)
    assert "detections.json" in str(error.value) and "\n" not in str(error.value)


def test_categories_that_are_many_are_named_in_part(tmp_path):
    content = truth()
    content["categories"] = [{"id": k, "name": str(k)} for k in range(1, 91)]
    with pytest.raises(UserError, match=r"the 90 categories of the truth \(they are 1, 2, .*, 12 and 78 more\); 1 of 1"):
        scored(tmp_path, content, [results()[0] | {"category_id": 0}])


@pytest.mark.parametrize(
    "boxes, says",
    [
        ([[50, 40, 90, 80]] * 3, "3 of 3 boxes reach beyond their picture, first entry 0 (50, 40, 90, 80): are they x1 y1 x2 y2 where x y"),
        ([[0, 0, 10, 10]] * 26 + [[115, 0, 6.5, 9]] * 3, "3 of 29 boxes reach beyond their picture, first entry 26 (115, 0, 6.5, 9)"),
        ([[0, 0, 10, 10]] * 27 + [[115, 0, 6.5, 9]] * 3, ""),  # a tenth
        ([[50, 40, 90, 80]] * 2, ""),
        ([[-1, -1, 122, 102]] * 9, ""),
        ([[-1.5, 0, 9, 9]] * 9, "9 of 9 boxes reach beyond"),
        ([[0.1, 0.2, 0.9, 0.8]] * 4, "all 4 boxes are smaller than 2 pixels: are they shares of the picture where pixels are meant?"),
        ([[0.1, 0.2, 0.9, 2]] * 4, ""),
    ],
)
def test_boxes_of_another_form_are_asked_about(tmp_path, capsys, boxes, says):
    """Nothing that is measured changes; without sizes nobody knows what is beyond a picture."""
    scored(tmp_path, truth(), [results()[0] | {"bbox": box} for box in boxes])
    told = capsys.readouterr().err
    assert says in told and told.count("\n") == bool(says)
    assert told.startswith(f"cvjax: warning: {tmp_path / 'detections.json'}: ") or not says
    unsized = truth() | {"images": [{"id": 7}, {"id": 3}]}
    scored(tmp_path, unsized, [results()[0] | {"bbox": box} for box in boxes])
    assert "beyond" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "part, change, says",
    [
        ("annotations", entry(1, image_id=5), r"annotations\[1\] \(id 2\) is of image_id 5, which is none of the 2 images"),
        ("annotations", entry(1, category_id=5), "category_id 5, which is none of the 2 categories"),
        ("annotations", entry(1, id=1), r"annotations\[1\] \(id 1\) has the 'id' of annotations\[0\]"),
        ("images", entry(1, id=7), r"images\[1\] \(id 7\) has the 'id' of images\[0\]"),
        ("categories", entry(1, id=90), "has the 'id' of categories"),
        ("annotations", entry(area=None), "has no 'area'; write width x height of its box, or the area of its mask"),
        ("annotations", entry(bbox=None), "has no 'bbox'"),
        ("annotations", entry(bbox=[1, 2, 3, NAN]), "'bbox' is not finite"),
        ("annotations", entry(bbox=[1e200, 2, 3, 4]), "'bbox' .* is beyond"),
        ("annotations", entry(iscrowd=2), "'iscrowd' is not 0 or 1"),
        ("annotations", entry(iscrowd=0.5), "'iscrowd' is not 0 or 1"),
        ("annotations", lambda x: x.append(None), r"annotations\[2\] is no object"),
    ],
)  # fmt: skip
def test_truths_that_are_wrong(tmp_path, part, change, says):
    content = truth()
    change(content[part])
    with pytest.raises(UserError, match=says) as error:
        scored(tmp_path, content, results())
    assert "instances.json" in str(error.value)


def test_files_that_are_wrong(tmp_path):
    whole = json.dumps(truth(), indent=1)
    for content, says in (
        (whole[:300], rf"cut off|no whole JSON: .* at line {whole[:300].count(chr(10)) + 1}, character"),
        ("", "no whole JSON"),
        ("[" * 100_000 + "]" * 100_000, "is nested too deeply"),
        ("[" + "7" * 5000 + "]", "has a number of thousands of digits"),
        ([], "holds a list, not a file of instances"),
        ({"images": [], "categories": []}, "has no 'annotations'"),
        ({"images": {}, "categories": [], "annotations": []}, "'images' is a dict"),
    ):
        with pytest.raises(UserError, match=says):
            scored(tmp_path, content, results())
    with pytest.raises(UserError, match="holds a dict, not a list of results"):
        scored(tmp_path, truth(), truth())
    with pytest.raises(UserError, match="cannot be read: No such file"):
        score(tmp_path / "nothing.json", tmp_path / "nothing.json", "bbox")
    (tmp_path / "packed.json").write_bytes(b"\x1f\x8b\x08\xff")
    with pytest.raises(UserError, match="no text in UTF-8"):
        score(tmp_path / "packed.json", tmp_path / "nothing.json", "bbox")


@pytest.mark.parametrize(
    "segmentation, says",
    [
        ({"size": [120, 100], "counts": "0"}, r"size \[120, 100\]"),
        ({"size": [100, 120], "counts": [1, 2]}, "do not add up to the 12000 pixels"),
        ({"size": [100, 120], "counts": "P"}, "cut off"),
        ({"size": [100, 120], "counts": "\u1234"}, "no run lengths"),
        ({"size": [100, 120], "counts": "o" * 100_000 + "0"}, "no run lengths"),
        ({"size": [100, 120], "counts": _text([[10, 20, 40, 20, 10, 60]])[:5]}, "do not add up .* may be cut off"),
        ({"size": [100, 120], "counts": "~~~~"}, "no run lengths"),
        ({"size": [100, 120], "counts": "O0"}, "do not add up"),
        ([[10, 20, 40, 60]], "no list"),
        ([[10, 20, 40, 60], [1, 2, 3, 4, 5, 6]], "no list"),
        ({"size": [100, 120]}, "no 'counts'"),
        ([[1, 2, 3, 4, 5]], "no list"),
        ([[1, 2, 3, 4, 5, NAN]], "no list of numbers"),
        ([[1, 2, 3, 4, 5, 1e9]], "no list of numbers"),
        (["a"], "no list of numbers"),
        ("a", "no polygon"),
    ],
)
def test_masks_that_are_wrong(tmp_path, segmentation, says):
    with pytest.raises(UserError, match=f"entry 0 .*{says}"):
        scored(tmp_path, truth(), [results()[0] | {"segmentation": segmentation}], "segm")


def test_boxes_are_no_masks(tmp_path):
    with pytest.raises(UserError, match="has boxes and no 'segmentation'; score them with --iou=bbox"):
        scored(tmp_path, truth(), results(), "segm")
    content = truth()
    content["images"][0].pop("height")
    with pytest.raises(UserError, match="image 7 of the truth has no 'height'"):
        scored(tmp_path, content, [results()[0] | {"segmentation": RUNS}], "segm")
    content = truth()
    content["annotations"][0].pop("segmentation")
    with pytest.raises(UserError, match="annotation 1 has no polygon"):
        scored(tmp_path, content, [results()[0] | {"segmentation": RUNS}], "segm")


def test_what_is_written_is_read_again(tmp_path):
    files = written(tmp_path, truth(), [])
    first = _coco_json.read_truth(files["truth"])
    assert list(first.images) == [7, 3] and list(first.categories) == [2, 90] and first.categories[90] == ("dog", "animal")
    assert first.images[3] == ("3.jpg", 100, 120) and len(first.objects[3].ids) == 0 and first.objects[7].crowd.tolist() == [False, True]
    _coco_json.write_truth(tmp_path / "again.json", first)
    again = _coco_json.read_truth(tmp_path / "again.json")
    assert again[:2] == first[:2] and again.objects.keys() == first.objects.keys()
    for i in first.objects:
        assert all(np.array_equal(a, b) for a, b in zip(again.objects[i][:6], first.objects[i][:6], strict=True))
        assert again.objects[i].segmentations == first.objects[i].segmentations
    draw = np.random.default_rng(0)
    found = _coco_json.Results(np.array([7, 3]), np.array([2, 90]), draw.random(2).astype(np.float32), draw.random((2, 4)), [RUNS, RUNS])
    _coco_json.write_results(tmp_path / "found.json", found)
    read = _coco_json.read_results(tmp_path / "found.json", first)
    assert all(np.array_equal(a, b) for a, b in zip(read[:4], found[:4], strict=True)) and read.segmentations == found.segmentations
    with pytest.raises(ValueError):
        _coco_json.write_results(tmp_path / "found.json", found._replace(score=np.array([0.5, NAN])))


def test_a_set_to_train_on_needs_names_and_sizes(tmp_path):
    for part, key, says in (
        ("images", "file_name", "no 'file_name'"),
        ("images", "width", "no 'width'"),
        ("categories", "name", "no 'name'"),
    ):
        content = truth()
        content[part][1].pop(key)
        with pytest.raises(UserError, match=says):
            _coco_json.read_truth(written(tmp_path, content, [])["truth"])
    content = truth()
    content["images"][0]["height"] = 0
    with pytest.raises(UserError, match="'height' is 0"):
        _coco_json.read_truth(written(tmp_path, content, [])["truth"])
