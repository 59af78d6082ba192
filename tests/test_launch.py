"""The command line as a user meets it: exit codes, one-line errors, and a run from training to report."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from cvjax.config import read
from cvjax.errors import UserError
from cvjax.predict import predict_files

ROOT = Path(__file__).parent.parent
ENV = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
DIGITS = "--config=experiments/digits.py"


def launch(*words, **kw):
    return subprocess.run([sys.executable, "launch.py", *map(str, words)], cwd=ROOT, env=ENV, capture_output=True, text=True, **kw)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on digits, stopped by SIGTERM on its way and continued by the same command."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    command = [sys.executable, "launch.py", "train", DIGITS, f"--workdir={folder}", "--config.train.duration=6 epochs",
               "--config.train.log_every=1 steps"]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = folder / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    assert "Run the same command to continue" in errors and json.loads((folder / "status.json").read_text())["state"] == "stopped"
    again = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    return folder


def test_a_run_learns_and_writes_every_step_once(run):
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "finished" and max(v for k, v in status["final"].items() if k.endswith("top1")) > 0.9
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines() if "train/loss" in line]
    assert steps == list(range(1, status["steps"] + 1))
    starts = json.loads((run / "run.json").read_text())
    assert len(starts) == 2 and starts[0]["parameters"] > 0 and starts[1]["step"] > 0
    assert list(run.glob("events.*"))


def test_eval_of_the_best_checkpoint(run):
    done = launch("eval", f"--workdir={run}", "--checkpoint=best")
    assert done.returncode == 0 and "top1" in done.stdout, done.stderr
    assert json.loads((run / "eval" / "val_best.json").read_text())["examples"] > 0


def test_predict_files_and_folders(run, tmp_path):
    for name, size in (("a.png", (8, 8)), ("deep/b.jpg", (30, 20)), ("deep/a.png", (9, 9))):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (9, 99, 200)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    done = launch("predict", f"--workdir={run}", tmp_path / "in", tmp_path / "in" / "a.png", f"--out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert "broken.jpg: skipped" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 4 and len({row["drawn"] for row in rows}) == 4
    assert all((tmp_path / "out" / row["drawn"]).is_file() and sum(row["confidence"]) <= 1.001 for row in rows)
    assert not list((tmp_path / "out").glob("*.part"))


def test_nothing_of_the_users_is_drawn_over(run, tmp_path):
    """Its own drawings of before may be; what other calls have drawn stays in the table."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in "abc":
        Image.new("RGB", (8, 8), (9, 99, 200)).save(photos / f"{name}.png")
    config, before = read(run), (photos / "a.png").read_bytes()
    with pytest.raises(UserError, match=r"photos/a.png would be overwritten; name another folder"):
        predict_files(config, run, [str(photos / "a.png")], "latest", photos)
    assert (photos / "a.png").read_bytes() == before and sorted(path.name for path in photos.iterdir()) == ["a.png", "b.png", "c.png"]
    for names in ("ab", "c", "a"):
        predict_files(config, run, [str(photos / f"{name}.png") for name in names], "latest", out)
    drawn = [json.loads(line)["drawn"] for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert sorted(drawn) == ["a.png", "b.png", "c.png"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "predictions.jsonl").write_text("my own\n")
    with pytest.raises(UserError, match=r"predictions.jsonl is not a table of drawings"):
        predict_files(config, run, [str(photos)], "latest", tmp_path / "other")
    assert (tmp_path / "other" / "predictions.jsonl").read_text() == "my own\n"


def test_explain(run, tmp_path):
    Image.new("RGB", (8, 8), (9, 99, 200)).save(tmp_path / "a.png")
    done = launch("explain", f"--workdir={run}", "--method=gradcam", tmp_path / "a.png")
    assert done.returncode == 0 and (run / "explanations" / "gradcam" / "a.png").is_file(), done.stderr
    done = launch("explain", f"--workdir={run}", "--method=attention", tmp_path / "a.png")
    assert done.returncode == 2 and done.stderr == "cvjax: error: models/resnet.py has no attention to look at; use --method=gradcam\n"
    done = launch("explain", f"--workdir={run}", "--method=gradcam")
    assert done.returncode == 2 and "explain needs pictures" in done.stderr and done.stderr.count("\n") == 1


def test_report_is_one_file(run):
    done = launch("report", f"--workdir={run}")
    assert done.returncode == 0 and done.stdout.strip().endswith("report.html"), done.stderr
    page = (run / "report.html").read_text()
    assert "<html" in page and "https://" not in page and (run / "curves.png").is_file() and (run / "images" / "predictions.png").is_file()


def test_a_finished_run_does_nothing(run):
    before = (run / "metrics.jsonl").read_text()
    done = launch("train", DIGITS, f"--workdir={run}", "--config.train.duration=6 epochs", "--config.train.log_every=1 steps")
    assert done.returncode == 0 and "is finished" in done.stdout
    assert (run / "metrics.jsonl").read_text() == before


def test_list():
    done = launch("list")
    assert done.returncode == 0 and "experiments/digits.py" in done.stdout and "resnet" in done.stdout


def test_help_names_every_verb():
    done = launch("--help")
    assert done.returncode == 0 and all(verb in done.stdout for verb in ("train", "eval", "predict", "report", "list", "--workdir"))


@pytest.mark.parametrize("words, says", [
    ([], "no verb"),
    (["trian"], "unknown verb 'trian', did you mean 'train'"),
    (["train"], "train needs --workdir"),
    (["train", "--workdir=x"], "train needs --config"),
    (["train", "--workdir=x", "--config=experiments/digit.py"], "did you mean 'experiments/digits.py'"),
    (["train", "--workdir=x", DIGITS + ":smok"], "did you mean 'smoke'"),
    (["train", "--workdir=x", DIGITS, "lr=1"], "stray word 'lr=1'"),
    (["train", "--workdir=x", DIGITS, "--wrokdir=y"], "wrokdir"),
    (["train", "--workdir=x", DIGITS, "--config.optim.lrr=1"], "config.optim.lrr is unknown, did you mean 'lr'"),
    (["train", "--workdir=x", DIGITS, "--config.optim.lr"], "needs a value"),
    (["train", "--workdir=x", DIGITS, "--config.optim.lr=fast"], "must be a number, not 'fast'"),
    (["eval", "--workdir=/nowhere"], "holds no run"),
    (["train", "--workdir=x", DIGITS, "--split=val"], "--split is not for train"),
    (["check", DIGITS, "--rerun=x"], "give one"),
    (["eval", DIGITS, "--workdir=x"], "not both"),
    (["train", "--workdir=x", "--config=digits"], "did you mean 'experiments/digits.py'"),
    (["describe", "--config=experiments/digits.py", "--batch_sizes=1,x"], "write whole numbers"),
    (["describe", DIGITS, "--seconds=1"], "are for describe --all"),
    (["describe", DIGITS, "--all"], "--config and --rerun describe one"),
    (["describe", "--all", "resnet51"], "did you mean 'resnet50'"),
    (["predict", "--workdir=/nowhere", "a.png"], "holds no run"),
    (["explain", "--workdir=/nowhere", "a.png"], "explain needs --method=attention|rollout|gradcam|queries"),
    (["explain", "--workdir=/nowhere", "--method=rollout", "a.png"], "holds no run"),
    (["explain", "--workdir=/nowhere", "--method=lime", "a.png"], "attention|rollout|gradcam"),
    (["report", "--workdir=/nowhere"], "/nowhere"),
    (["eval", "--workdir=x", "--checkpoint=newest"], "checkpoint"),
])  # fmt: skip
def test_mistakes_are_one_line_and_exit_2(words, says):
    done = launch(*words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("cvjax: error: ") and done.stderr.count("\n") == 1 and says in done.stderr
    assert not (ROOT / "x").exists()


def test_another_model_brings_its_own_settings(run):
    """`variant` is a number of ResNet's; what another model calls so is not held to that."""
    done = launch("check", DIGITS, "--config.model.name=resnet", "--config.model.shortcut=B", "--config.model.variant=14")
    assert done.returncode == 0 and "no mistake found" in done.stdout, done.stderr


def test_a_run_goes_on_without_its_config(run):
    done = launch("train", f"--workdir={run}")
    assert done.returncode == 0 and "is finished" in done.stdout, done.stderr


def test_describe():
    done = launch("describe", DIGITS, "--batch_sizes=2")
    assert done.returncode == 0 and "75,002" in done.stdout and "stage3_block1/conv2" in done.stdout, done.stderr
    done = launch("describe", "--all", "--seconds=0", "resnet50", "experiments/resnet_imagenet.py")
    assert done.returncode == 0 and done.stdout.count("25,557,032") == 2, done.stderr


def test_verify_writes_a_certificate_and_can_be_repeated(tmp_path):
    (tmp_path / "verify" / "whole" / "checkpoints").mkdir(parents=True)  # of an earlier proof
    done = launch("verify", DIGITS + ":smoke", f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    assert [proof["name"] for proof in certificate["proofs"]] == ["resume", "metrics", "other seed", "devices"]
    assert all(proof["holds"] for proof in certificate["proofs"]) and len(certificate["digest"]) == 64


def test_eval_of_reference_weights(tmp_path, dev_data):
    words = ["eval", "--config=experiments/digits.py", f"--init=torchvision:{dev_data / 'weights' / 'resnet20-12fca82f.th'}",
             "--config.model.variant=20"]  # fmt: skip
    done = launch(*words, "--config.image.channels=3", "--config.image.mean=(.5,.5,.5)", "--config.image.std=(.2,.2,.2)")
    assert done.returncode == 0 and "355 examples" not in done.stdout and "144 examples" in done.stdout, done.stderr
    done = launch(*words)
    assert done.returncode == 2 and "does not fill the model: params/stem_conv/kernel" in done.stderr
