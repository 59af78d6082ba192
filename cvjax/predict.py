"""A finished run at work: measure it on a split, or let it look at pictures and draw what it sees."""

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
from ml_collections import ConfigDict
from PIL import Image

from cvjax import checkpoint, step, workdir
from cvjax.build import Experiment, build, initial_state
from cvjax.data._decode import ENDINGS, DecodeError, Encoded, is_picture
from cvjax.data._source import decoded
from cvjax.errors import UserError
from cvjax.evaluate import Evaluator
from cvjax.files import write_json
from cvjax.log import summary, unfinished
from cvjax.preprocess import host_eval
from cvjax.state import State


def evaluate_run(config: ConfigDict, folder: Path, split: str, which: str) -> dict[str, float]:
    """Measures the "latest" or "best" checkpoint of a run on one split; writes eval/<split>_<which>.json and .npz."""
    have = [name for name in ("train", "val", "test") if name in config.data and config.data[name]]
    if split not in have:
        raise UserError(f"--split={split} is not in this run's data; have: {', '.join(have)}")
    e = build(config, only=(split,), info=workdir.read_info(folder))
    state, at = _restored(e, folder, which)
    values, rows = Evaluator(e)(state, split)
    n = len(e.splits[split])
    workdir.keep_predictions(folder, e, split, rows, name=f"{split}_{which}")
    write_json(folder / "eval" / f"{split}_{which}.json", {"step": at, "checkpoint": which, "examples": n, **values})
    print(f"{folder} at step {at}, {n} examples. {summary(values)}")
    return values


def evaluate_weights(config: ConfigDict, split: str) -> dict[str, float]:
    """Measures weights that no run here has made, those of `config.init`, on one split; writes nothing."""
    if not config.init:
        raise UserError("eval of a config needs weights: --init=torchvision:FILE or --init=RUN; or measure a run: --workdir=RUN")
    e = build(config, only=tuple(dict.fromkeys(("train", split))))
    if split not in e.splits:
        raise UserError(f"config.data.{split} is not set")
    values, _ = Evaluator(e)(initial_state(e, complete=True)[0], split)
    print(f"{config.init}, {len(e.splits[split])} examples. {summary(values)}")
    return values


def predict_files(config: ConfigDict, folder: Path, paths: list[str], which: str, out: Path) -> None:
    """Predicts pictures (files, or folders with all below them); draws each into `out` and prints a line for each.

    `out` also gets predictions.jsonl: a line per picture with its best classes and their probabilities.
    Raises UserError for a path that is not there, before anything is predicted; an unreadable picture is named and skipped.
    """
    files = list(_pictures(paths))
    e = build(config, only=(), info=workdir.read_info(folder))
    state, _ = _restored(e, folder, which)
    if e.pixels is None:
        raise UserError(f"{folder} was trained on text; predict is for pictures, generate for text")
    see, prepare = step.forward(e), host_eval(e.pixels)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out={out} cannot be written: {error.strerror}") from None
    done = 0
    with open(out / "predictions.jsonl", "w") as lines:
        for file, name in files:
            try:
                record = {"image": Encoded(file.read_bytes())}
                example, picture = prepare(record), decoded(record)["image"]
            except (DecodeError, OSError) as error:
                print(f"{file}: skipped, {error}", file=sys.stderr)
                continue
            rows, metrics = jax.device_get(see(state, example["image"][None]))
            if told := unfinished(metrics):
                print(f"warning: {file}: {told}", file=sys.stderr)
            row = {key: value[0] for key, value in rows.items()}
            Image.fromarray(e.task.draw(picture, row, e.info)).save(out / name)
            lines.write(json.dumps({"file": str(file), "drawn": name, **e.task.describe(row, e.info)}) + "\n")
            print(f"{file}: {' '.join(e.task.caption(row, e.info)[0].split())}")
            done += 1
    if not done:
        raise UserError("none of the pictures could be read")
    print(f"pictures and predictions.jsonl are in {out}")


def _pictures(paths: list[str]) -> Iterator[tuple[Path, str]]:
    """Every picture that the paths mean, with a file name of its own to draw it under."""
    if not paths:
        raise UserError("predict needs pictures: python launch.py predict --workdir=... photo.jpg folder/")
    taken: set[str] = set()
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f"there is no {path}")
        found = sorted(p for p in path.rglob("*") if is_picture(p)) if path.is_dir() else [path]
        if not found:
            raise UserError(f"{path} holds no picture ({', '.join(ENDINGS)})")
        for file in found:
            stem = "_".join(file.relative_to(path).with_suffix("").parts) if path.is_dir() else file.stem
            name = next(n for n in itertools.chain((f"{stem}.png",), (f"{stem}_{k}.png" for k in itertools.count(2))) if n not in taken)
            taken.add(name)
            yield file, name


def _restored(e: Experiment, folder: Path, which: str) -> tuple[State, int]:
    return checkpoint.restore_for_inference(folder, initial_state(e, restoring=True)[0], which)
