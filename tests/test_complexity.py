"""All networks side by side: the papers' counts, the order of densities, fits against closed forms, and that nothing measured is lost."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from cvjax import complexity, config, lookup, measure
from cvjax.errors import UserError
from cvjax.reporting import complexity as findings
from cvjax.reporting import complexity_page

ROOT = Path(__file__).parents[1]
SLOW = "1202"  # layers: six seconds to trace


@pytest.fixture(scope="module")
def rows():
    return {network.name: complexity.facts(network) for network in complexity._of_models() if SLOW not in network.name}


def compare(out=None, words=("mlp-1", "mlp-2"), sizes=("1", "2"), seconds=0.001, workdir=None, experiments=ROOT / "nothing"):
    said = []
    complexity.compare(experiments, workdir, list(words), sizes, seconds, out, said.append)
    return said


# Canziani et al. redrawn: papers' and torchvision's own counts, parameters and 10^6 multiply-adds at 224 x 224
@pytest.mark.parametrize(("name", "parameters", "macs"), [
    ("alexnet", 61_100_840, 714), ("alexnet-two_gpu", 60_965_224, 725), ("vgg16", 138_357_544, 15_471), ("vgg19", 143_667_240, 19_632),
    ("resnet18", 11_689_512, 1_814), ("resnet50", 25_557_032, 4_089), ("resnet152", 60_192_808, 11_514),
    ("resnet20_cifar10", 269_722, 41), ("mlp-2", 24_790, 0),
])  # fmt: skip
def test_the_table_says_what_the_papers_say(rows, name, parameters, macs):
    assert rows[name]["parameters"] == parameters and round(rows[name]["multiply_adds"] / 1e6) == macs


def test_densities_stand_in_the_papers_order(rows):
    """VGG-19 uses its parameters worst; a deeper network of a family has less for each, though more in all."""
    one_crop = next(group for protocol, group in findings.protocols(rows.values()).items() if "1 crop" in protocol)
    assert min(one_crop, key=findings.density)["name"] == "vgg19"
    assert findings.density(rows["vgg19"]) == pytest.approx(0.50, abs=0.005) and findings.density(rows["alexnet"]) == pytest.approx(
        0.93, abs=0.005
    )
    assert findings.density(rows["resnet18"]) == pytest.approx(5.97, abs=0.005)
    assert findings.density(rows["resnet18"]) > findings.density(rows["resnet152"])
    assert (
        0 < rows["resnet152"]["top1"] - rows["resnet50"]["top1"] <= 2.5
        and rows["resnet152"]["multiply_adds"] > 2.8 * rows["resnet50"]["multiply_adds"]
    )


OF_PICTURES = [name for name in lookup.names("models") if not hasattr(lookup.find("models", name), "example")]


@pytest.mark.parametrize("name", OF_PICTURES)
def test_every_network_of_every_file_is_there(rows, name):
    file = lookup.find("models", name)
    mine = {network.name for network in complexity._of_models() if network.family == name}
    assert set(getattr(file, "PUBLISHED", {})) <= mine, "an accuracy of no network"
    assert all(0 < top1 < 100 and protocol for top1, protocol in getattr(file, "PUBLISHED", {}).values())
    variants = {complexity._key(n) for n in complexity._of_models() if n.family == name}
    assert len(variants) >= len(file.VARIANTS)
    assert any(row["multiply_adds"] for row in rows.values() if row["family"] == name)
    assert all(row["multiply_adds"] is not None or row["remark"] for row in rows.values()), "a line without numbers says why"


def test_no_accuracy_without_its_protocol(rows):
    assert all(bool(row["protocol"]) == (row["top1"] is not None) for row in rows.values())
    assert all(row["protocol"] in " ".join(complexity._line(row)) for row in rows.values())


def test_fits_by_hand():
    x = np.array([1e9, 2e9, 3e9, 5e9, 8e9])
    straight = findings.fit(list(zip(x, 0.1 + 2e-10 * x, strict=True)))
    assert straight.r2 == pytest.approx(1) and straight.spearman == pytest.approx(1) and straight.per_giga == pytest.approx(0.2)
    swapped = findings.fit(list(zip(x, [1, 2, 4, 3, 5], strict=True)))
    assert swapped.spearman == pytest.approx(1 - 6 * 2 / (5 * 24))  # 1 - 6 sum d^2 / (n (n^2 - 1))
    line, hyperbola = findings.curves([1, 2, 4, 8], [80 - 10 / t for t in (1, 2, 4, 8)])
    assert hyperbola == pytest.approx(1) and line < 0.8


def test_batch_is_the_one_most_networks_have():
    measured = [[1, 8, 32], [1, 8, 32], [1, 8]]
    rows = [{"measured": [{"batch": size} for size in sizes]} for sizes in measured]
    assert findings.batch(rows) == 8 and findings.batch([{"measured": []}]) is None


def test_kept_and_gone_on_with(tmp_path, monkeypatch):
    said = compare(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"complexity.json", "complexity.csv", "complexity.html", "measured.jsonl", "time.png", "memory.png"} <= names
    kept = json.loads((tmp_path / "complexity.json").read_text())["networks"]
    assert [len(row["measured"]) for row in kept] == [2, 2] and all(
        one["latency"] > 0 < one["memory"] for row in kept for one in row["measured"]
    )
    with open(tmp_path / "complexity.csv") as file:
        assert [line["batch"] for line in csv.DictReader(file)] == ["1", "2", "1", "2"]
    assert any("images/s" in line or "ms" in line for line in said) and "mlp-2" in (tmp_path / "complexity.html").read_text()
    monkeypatch.setattr(measure, "inference", lambda *_: pytest.fail("measured again"))
    compare(tmp_path)
    assert json.loads((tmp_path / "complexity.json").read_text())["networks"] == kept


def test_what_was_measured_before_ctrl_c_is_kept(tmp_path, monkeypatch):
    first = measure.inference

    def stopped(model, variables, blank, sizes, seconds):
        yield next(first(model, variables, blank, sizes, seconds))
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "inference", stopped)
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path)
    assert len((tmp_path / "measured.jsonl").read_text().splitlines()) == 1
    assert (tmp_path / "complexity.html").exists() and (tmp_path / "complexity.csv").exists()


def test_what_would_take_too_long_is_left_out():
    network = next(n for n in complexity._of_models() if n.name == "mlp-1")
    found = list(complexity._measured(network, [1, 10**9], 0.001))
    assert found[0].batch == 1 and found[1] == 10**9


def test_a_finished_run_brings_its_accuracy(tmp_path):
    for name, state in (("done", "finished"), ("half", "running")):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        (run / "config.json").write_text(config.to_json(config.load(str(ROOT / "experiments/digits.py"))))
        (run / "status.json").write_text(json.dumps({"state": state, "final": {"val/top1": 0.75}}))
    said = compare(words=["runs/*"], seconds=0, workdir=tmp_path / "runs")
    (line,) = [line for line in said if line.startswith("runs/")]
    assert "runs/done" in line and "75.00" in line and "run of this project, digits validation" in line and "75,002" in line


def test_an_experiment_that_cannot_be_built_is_a_line(tmp_path):
    (tmp_path / "broken.py").write_text('"""Broken."""\n\n\ndef get_config(arg=""):\n    return 1 / 0\n')
    said = compare(words=[f"{tmp_path.name}/*"], experiments=tmp_path, seconds=0.001, out=tmp_path / "out")
    assert any("ZeroDivisionError" in line for line in said) and (tmp_path / "out" / "complexity.html").exists()


def test_charts_of_a_protocol(rows, tmp_path):
    def one(batch, macs):
        return {"batch": batch, "memory": 1e6 * batch, **dict.fromkeys(("latency", "fastest", "cpu"), batch * macs / 1e10)}

    timed = [{**row, "measured": [one(b, row["multiply_adds"]) for b in (1, 8)]} for row in rows.values() if row["image"] == "224x224x3"]
    complexity_page.write(timed, tmp_path, "here", findings.headline(timed))
    assert {path.stem for path in tmp_path.glob("*.png")} == {"balls0", "speed0", "density0", "time", "memory", "throughput"}
    page = (tmp_path / "complexity.html").read_text()
    assert "least dense vgg19 (0.50" in page and "resnet50 → resnet101" in page and "1.000" in page


@pytest.mark.parametrize(("given", "says"), [
    ({"words": ["mpl-1"]}, "did you mean 'mlp-1'"),
    ({"sizes": ["0"]}, "write whole numbers"),
    ({"sizes": []}, "write whole numbers"),
    ({"seconds": -1}, "--seconds=-1"),
    ({"seconds": float("nan")}, "--seconds=nan"),
    ({"out": ROOT / "launch.py"}, "is a file; give a folder"),
    ({"workdir": Path("/nowhere")}, "is not a folder"),
])  # fmt: skip
def test_mistakes(given, says):
    with pytest.raises(UserError, match=says.replace("(", "\\(")):
        compare(**given)
