"""A finished run at work: measure it on a split, or let it look at pictures and draw what it sees."""

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from cvjax import checkpoint, step, workdir
from cvjax.build import Experiment, build, initial_state
from cvjax.data._buckets import alike
from cvjax.data._decode import ENDINGS, DecodeError, Encoded, is_picture
from cvjax.data._source import decoded
from cvjax.errors import UserError
from cvjax.evaluate import Evaluator
from cvjax.files import write_json
from cvjax.log import summary, unfinished
from cvjax.preprocess import host_eval
from cvjax.state import State
from cvjax.tiles import tiled

LABELS = "labels"


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


def evaluate_weights(config: ConfigDict, split: str, out: Path | None = None) -> dict[str, float]:
    """Measures weights that no run here has made, those of `config.init`, on one split; keeps what they say in `out`/eval, if given."""
    if not config.init:
        raise UserError("eval of a config needs weights: --init=torchvision:FILE or --init=RUN; or measure a run: --workdir=RUN")
    e = build(config, only=tuple(dict.fromkeys(("train", split))))
    if split not in e.splits:
        raise UserError(f"config.data.{split} is not set")
    if out and (out / "eval").exists():
        raise UserError(f"--out={out} holds an evaluation already, {out / 'eval'}; name another folder")
    values, rows = Evaluator(e)(initial_state(e, complete=True)[0], split)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        workdir.keep_predictions(out, e, split, rows)
    print(f"{config.init}, {len(e.splits[split])} examples. {summary(values)}")
    return values


def predict_files(config: ConfigDict, folder: Path, paths: list[str], which: str, out: Path) -> None:
    """Draws pictures (files, or folders with all below them) into `out`, with what the run says of each; see `draw_each`.

    Label maps are kept too, as index PNGs of the same names in `out`/labels.
    """
    files = pictures(paths, "predict")
    e, state = finished(config, folder, which, "predict")

    def draw(record: dict, example: dict, row: dict, path: Path) -> None:
        if hasattr(e.task, "label_map"):
            (out / LABELS).mkdir(exist_ok=True)
            e.task.label_map(row).save(out / LABELS / path.name)
        Image.fromarray(e.task.draw(decoded(record)["image"], row, e.info)).save(path)

    draw_each(e, state, files, out, "predictions.jsonl", draw)


def finished(config: ConfigDict, folder: Path, which: str, verb: str) -> tuple[Experiment, State]:
    """A run that is to look at pictures. Raises UserError for one that was trained on something else."""
    e = build(config, only=(), info=workdir.read_info(folder))
    if e.pixels is None:
        raise UserError(f"{folder} was trained on text; {verb} is for pictures, generate for text")
    return e, _restored(e, folder, which)[0]


def draw_each(e: Experiment, state: State, files: list[tuple[Path, str]], out: Path, table: str, draw: Callable) -> None:
    """Prints what the network says of each picture, and draws it into `out`; unreadable ones are named and skipped.

    files: pictures with the names to draw them under.
    table: file in `out` that gets a line of JSON a picture: its file, its drawing, its best classes and their probabilities.
    draw: `draw(record, example, row, path)` of what was read, what the network sees of it, and what `task.decode` makes of its outputs.
    """
    see, prepare = _seen(e, state), host_eval(e.pixels, replace(e.info, largest=None))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out={out} cannot be written: {error.strerror}") from None
    earlier = _earlier(out, table, files)
    done, half = 0, out / f"{table}.part"  # lists what is drawn before it is, so that nothing of ours is ever taken for the user's
    with open(half, "w") as lines:
        lines.writelines(line + "\n" for name, line in earlier.items() if name not in {name for _, name in files})
        for file, name in files:
            try:
                record = {"image": Encoded(file.read_bytes())}
                example = prepare(record)
            except (DecodeError, OSError) as error:
                print(f"{file}: skipped, {error}", file=sys.stderr)
                continue
            row, metrics = see(example, record["image"].size)
            if told := unfinished(metrics):
                print(f"warning: {file}: {told}", file=sys.stderr)
            lines.write(json.dumps({"file": str(file), "drawn": name, **e.task.describe(row, e.info)}) + "\n")
            lines.flush()
            draw(record, example, row, out / name)
            print(f"{file}: {' '.join(e.task.caption(row, e.info)[0].split())}")
            done += 1
    if not done:
        half.unlink()
        raise UserError("none of the pictures could be read")
    half.replace(out / table)
    print(f"pictures and {table} are in {out}")


def _seen(e: Experiment, state: State) -> Callable[[dict, tuple[int, int]], tuple[dict, dict]]:
    """`(example, (height, width)) -> (row, metrics)` of one picture, in the top left corner of the image where that is larger."""
    see, tile = step.forward(e), e.pixels.tile if e.pixels else ()

    def whole(example: dict, size: tuple[int, int]) -> tuple[dict, dict]:
        batch = batch_of(e, example)
        rows, metrics = jax.device_get(see(state, batch))
        canvas = batch["image"].shape[1:3]
        return {key: x[0][: size[0], : size[1]] if x.shape[1:3] == canvas else x[0] for key, x in rows.items()}, metrics

    def in_tiles(example: dict, size: tuple[int, int]) -> tuple[dict, dict]:
        found = []

        def kept(window: np.ndarray) -> dict:
            rows, metrics = jax.device_get(see(state, {"image": window}))
            found.append(metrics)
            return rows

        row = tiled(kept, example["image"][: size[0], : size[1]], *tile)
        return row, {name: float(np.mean([metrics[name] for metrics in found])) for name in found[0]}

    return in_tiles if tile else whole


def batch_of(e: Experiment, example: dict) -> dict:
    """A batch of one example, for a network to look at."""
    [padded] = alike([example], e.buckets)
    return {name: padded[name][None] for name in ("image", "size") if name in padded}


def _earlier(out: Path, table: str, files: list[tuple[Path, str]]) -> dict[str, str]:
    """The lines that earlier calls have written, by the name of the drawing.

    Raises UserError where a file would be overwritten that is not theirs: a picture that is to be looked at, or a table of something else.
    """
    found: dict[str, str] = {}
    for path in (out / f"{table}.part", out / table):  # the first is there where a call was killed, its last line perhaps torn
        try:
            lines = path.read_text().splitlines()[: -1 if path.name != table else None]
            found |= {json.loads(line)["drawn"]: line for line in lines}
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError):
            raise UserError(f"--out={out}: {path} is not a table of drawings and would be overwritten; name another folder") from None
    seen = {file.resolve() for file, _ in files}
    for _, name in files:
        for path in (out / name, out / LABELS / name):
            if path.exists() and (name not in found or path.resolve() in seen):
                raise UserError(f"--out={out}: {path} would be overwritten; name another folder")
    return found


def pictures(paths: list[str], verb: str) -> list[tuple[Path, str]]:
    """Every picture that the paths mean, with a file name of its own to draw it under. Raises UserError for a path that is not there."""
    if not paths:
        raise UserError(f"{verb} needs pictures: python launch.py {verb} --workdir=... photo.jpg folder/")
    return list(_named(paths))


def _named(paths: list[str]) -> Iterator[tuple[Path, str]]:
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
