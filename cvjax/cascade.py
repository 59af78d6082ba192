"""Ensembles and cascades of finished runs: thresholds chosen on some images, accuracy and average multiply-adds measured on others."""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from cvjax import checkpoint, describe, workdir
from cvjax import config as configs
from cvjax.build import build, initial_state
from cvjax.errors import UserError
from cvjax.evaluate import Evaluator
from cvjax.files import read_json
from cvjax.log import unfinished
from cvjax.metrics.committee import MOST, NEVER, Choice, Committee, Outcome, Search, interval
from cvjax.reporting.committee import Result, Row
from cvjax.reporting.words import quantity
from cvjax.schema import assign

LEAST = 20  # images to choose on, and to measure on
WIDEST = 8  # times the input size of its training, that a network may be asked at


@dataclass(frozen=True)
class Member:
    """A finished run at one input size: what it predicts (split -> n k), and multiply-adds an image."""

    name: str
    probabilities: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    cost: int


def cascade(words: list[str], folder: Path, target: str, kind: str, which: str, say: Callable[[str], None] = print) -> Path:
    """Measures the runs that `words` name, chooses cascades of them, and writes cascade.html and its tables. Returns the page.

    words: folders of finished runs; FOLDER@SIZE for a run at another input size. target: "accuracy:0.9", "compute:40e6", or "" for a
    cascade as accurate as, and one as cheap as, every member. kind: of confidence. which: the "latest" or "best" checkpoint.
    """
    from cvjax.reporting import cascade_page

    wanted = read_target(target)
    if (folder / "config.json").exists():
        raise UserError(f"--workdir={folder} holds a run; name another folder for the cascade's pages")
    members = _members(words, which, say)
    result = _result(members, wanted, kind)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page = cascade_page.write(result, folder)
    except OSError as error:
        raise UserError(f"cannot write into {folder} ({error}); name another folder") from None
    say(cascade_page.terminal(result))
    return page


def read_target(text: str) -> tuple[str, float] | None:
    """ "accuracy:0.9" -> ("accuracy", 0.9). Raises UserError."""
    if not text:
        return None
    name, _, number = text.partition(":")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if name not in ("accuracy", "compute") or not 0 < value < np.inf or (name == "accuracy" and value > 1):
        raise UserError(f"--target={text}: write accuracy:0.9 (a fraction, at least) or compute:40e6 (average multiply-adds, at most)")
    return name, value


# ---- members


def _members(words: list[str], which: str, say: Callable) -> list[Member]:
    """Every run measured on what is for choosing and what is for measuring. Raises UserError for runs that make no committee."""
    if len(words) < 2:
        raise UserError("a cascade needs two runs or more: python launch.py cascade --workdir=... runs/small runs/large")
    parts = [_run(word) for word in words]
    same = [(folder.resolve(), config.image.size) for folder, config in parts]
    twice = [word for i, word in enumerate(words) if same[i] in same[:i]]
    if twice:
        raise UserError(f"{twice[0]} is named twice; a member that says the same again adds nothing")
    _check_alike(words, [config for _, config in parts])
    splits = ("val", "test") if all(config.data.to_dict().get("test") for _, config in parts) else ("val",)
    short = [_short(word) for word in words]
    members: list[Member] = []
    for word, name, (folder, config) in zip(words, short if len(set(short)) == len(words) else words, parts, strict=True):
        member = _measured(word, name, folder, config, splits, which, say)
        if members and any(not np.array_equal(member.labels[split], members[0].labels[split]) for split in splits):
            raise UserError(f"{word} and {words[0]} do not see the same images in the same order; train both on the same data")
        accuracy = (member.probabilities["val"].argmax(-1) == member.labels["val"]).mean()
        say(f"{word}: {100 * accuracy:.2f} % of {len(member.labels['val']):,} val images, {member.cost:,} multiply-adds")
        members.append(member)
    return members


def _run(word: str) -> tuple[Path, Any]:
    """Folder and config of a finished run of one label an image; "runs/r20@24" for pictures of 24 pixels."""
    match = re.fullmatch(r"(.+)@(\d+)", word)
    folder = Path(match[1] if match else word)
    config = configs.read(folder)
    if not (folder / "status.json").exists() or read_json(folder / "status.json")["state"] != "finished":
        raise UserError(f"{folder} is not finished; run the command that trains it again")
    if config.task.name != "classification":
        raise UserError(f"{folder} is a run of task '{config.task.name}'; a cascade is of runs that give an image one label")
    if not match:
        return folder, config
    widest = WIDEST * config.image.size
    if not 1 <= int(match[2]) <= widest:
        raise UserError(f"{word}: a network trained on pictures of {config.image.size} pixels is asked at 1 to {widest}")
    return folder, assign(config, [("image.size", match[2])])


def _check_alike(words: list[str], found: list[Any]) -> None:
    """Raises UserError where two runs are measured on different data, or one on images that it was trained on."""
    for word, config in zip(words, found, strict=True):
        for split in ("val", "test"):
            if _overlap(config.data.train, measured := config.data.to_dict().get(split) or ""):
                raise UserError(
                    f"{word} was trained on images of its {split} split: {config.data.train} and {measured}; a cascade needs others"
                )
    loop = ("train", "batch_size", "cache", "workers", "worker_kind", "unreadable")
    first, *others = [{key: value for key, value in config.data.to_dict().items() if key not in loop} for config in found]
    for word, other in zip(words[1:], others, strict=True):
        odd = sorted(key for key in {*first, *other} if first.get(key) != other.get(key))
        if odd:
            differ = ", ".join(f"{key}: {first.get(key)!r} and {other.get(key)!r}" for key in odd)
            raise UserError(f"{words[0]} and {word} are not measured on the same images: config.data differs ({differ})")


def _overlap(one: str, other: str) -> bool:
    """Whether two slices, as "train[:45000]" and "train[45000:]", share examples, as far as their texts tell."""
    a, b = (re.fullmatch(r"(\w+)(?:\[(\d*):(\d*)\])?", text) for text in (one, other))
    if not (a and b and a[1] == b[1]):
        return False
    (start, stop), (first, last) = ((int(s[2] or 0), int(s[3]) if s[3] else np.inf) for s in (a, b))
    return max(start, first) < min(stop, last)


def _measured(word: str, name: str, folder: Path, config: Any, splits: tuple[str, ...], which: str, say: Callable) -> Member:
    try:
        e = build(config, only=splits, info=workdir.read_info(folder))
        state, _ = checkpoint.restore_for_inference(folder, initial_state(e, restoring=True)[0], which)
        evaluator = Evaluator(e, decode=_probability)
        found = {split: evaluator(state, split) for split in splits}
        cost = describe.multiply_adds(e.model, e.blank())
    except UserError as error:
        if "@" in word:
            raise UserError(f"{word}: the network does not take pictures of this size: {error}") from error
        raise
    for values, _ in found.values():
        if told := unfinished(values):
            say(f"warning: {word}: {told}")
    rows = {split: rows for split, (_, rows) in found.items()}
    if not all(np.isfinite(row["probability"]).all() for row in rows.values()):
        raise UserError(f"{word} predicts probabilities that are not finite; leave it out")
    return Member(name, {s: row["probability"] for s, row in rows.items()}, {s: row["label"] for s, row in rows.items()}, cost)


def _short(word: str) -> str:
    """The run's own name, without the folders above it and, for a run of a study, without its number and hash."""
    return re.sub(r"^\d{4}-(.+)-[0-9a-f]{8}", r"\1", Path(word).name)


def _probability(outputs: dict) -> dict[str, Array]:
    return {"probability": jax.nn.softmax(outputs["logits"].astype("float32"))}


# ---- choosing and measuring


def _result(members: list[Member], wanted: tuple[str, float] | None, kind: str) -> Result:
    choosing, measuring, protocol = _divided(members)
    costs = [member.cost for member in members]
    alone = [float((predicted.argmax(-1) == choosing[1]).mean()) for predicted in choosing[0]]

    def committee(chosen: tuple[int, ...]) -> Committee:
        return Committee([measuring[0][i] for i in chosen], measuring[1], [costs[i] for i in chosen], kind)

    big = max(range(len(members)), key=lambda i: (costs[i], alone[i]))  # of equals in cost the better is the one to beat
    reference = committee((big,)).ensemble()

    def row(what: str, choice: Choice, outcome: Outcome, target: str = "", chosen: float | None = None) -> Row:
        names = [members[i].name for i in choice.members]
        return _row(what, names, choice, outcome, committee(choice.members).costs, reference, target, chosen)

    rows = [row("single", Choice((i,), ()), committee((i,)).ensemble()) for i in range(len(members))]
    for size in range(2, min(MOST, len(members)) + 1):
        for chosen in itertools.combinations(sorted(range(len(members)), key=lambda i: costs[i]), size):
            rows.append(row("ensemble", Choice(chosen, (NEVER,) * (size - 1)), committee(chosen).ensemble()))
    search = Search(*choosing, costs, kind)
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for target, value in [wanted] if wanted else _targets(costs, alone):
        found = search.best(target, value)
        if found is None:
            raise UserError(_unreachable(search, costs, target, value))
        choice, on_choosing = found
        aim = f"accuracy at least {100 * value:.2f} %" if target == "accuracy" else f"at most {quantity(value)} multiply-adds"
        rows.append(row("cascade", choice, committee(choice.members).cascade(choice.thresholds), aim, on_choosing))
        if choice.thresholds:
            curves.setdefault(rows[-1].name, _curve(committee(choice.members), choice.thresholds))
    if not curves:  # a network alone was best each time; the curve shows why
        ends = min((i for i in range(len(members)) if i != big), key=lambda i: costs[i]), big
        curves[" -> ".join(members[i].name for i in ends)] = _curve(committee(ends), (NEVER,))
    return Result(rows, protocol, kind, len(measuring[1]), curves)


def _divided(members: list[Member]) -> tuple[tuple[list[np.ndarray], np.ndarray], tuple[list[np.ndarray], np.ndarray], str]:
    """Predictions and labels to choose on, and to measure on; never the same images."""
    if "test" in members[0].labels:
        parts = [([m.probabilities[split] for m in members], members[0].labels[split]) for split in ("val", "test")]
        protocol = "chosen on the val split, measured on the test split"
    else:
        order = np.random.default_rng(0).permutation(len(members[0].labels["val"]))
        halves = (np.sort(order[::2]), np.sort(order[1::2]))
        parts = [([m.probabilities["val"][half] for m in members], members[0].labels["val"][half]) for half in halves]
        protocol = "chosen on one half of the val split, measured on the other (there is no test split)"
    for (_, labels), what in zip(parts, ("choose", "measure"), strict=True):
        if len(labels) < LEAST:
            raise UserError(f"there are {len(labels)} images to {what} on, a cascade needs {LEAST}: give the runs a larger val split")
    counts = f"{len(parts[0][1]):,} images chose, {len(parts[1][1]):,} measured"
    return parts[0], parts[1], f"{protocol}; {counts}"


def _targets(costs: list[int], alone: list[float]) -> list[tuple[str, float]]:
    """As accurate as each member but the cheapest is alone on the images to choose on, and at the cost of each of these."""
    dear = sorted(range(len(costs)), key=lambda i: (costs[i], alone[i]))[1:]
    wanted = [("accuracy", alone[i]) for i in dear] + [("compute", float(costs[i])) for i in dear]
    return list(dict.fromkeys(wanted))  # members may cost the same


def _unreachable(search: Search, costs: list[int], target: str, value: float) -> str:
    if target == "compute":
        return f"--target=compute:{value:g} is below the cheapest member, which takes {min(costs):,} multiply-adds"
    best = search.best("compute", float("inf"))
    assert best is not None  # without a bound on the cost there is always one
    return f"--target=accuracy:{value:g} is reached by no cascade of these runs; the best reaches {best[1]:.4f} on the images to choose on"


def _row(
    kind: str, names: list[str], choice: Choice, outcome: Outcome, costs: np.ndarray, big: Outcome, target: str, chosen: float | None
) -> Row:
    stages = [outcome.stage == stage for stage in range(len(names))]
    gains = outcome.right.astype(float) - big.right
    return Row(
        kind=kind,
        members=tuple(names),
        name=(" -> " if kind == "cascade" else " + ").join(names),
        target=target,
        thresholds=choice.thresholds if kind == "cascade" else (),
        accuracy=outcome.accuracy,
        between=interval(outcome.right),
        gain=float(gains.mean()),
        gain_between=interval(gains),
        average=outcome.cost,
        worst=float(costs[-1]),
        speedup=big.cost / outcome.cost,
        shares=tuple(float(inside.mean()) for inside in stages),
        accuracies=tuple(float(outcome.right[inside].mean()) if inside.any() else None for inside in stages),
        chosen_accuracy=chosen,
    )


def _curve(committee: Committee, thresholds: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """Average cost and accuracy over the first threshold, from 0 to never, the others as they are."""
    found = [committee.cascade((first, *thresholds[1:])) for first in committee.grids()[0]]
    return [outcome.cost for outcome in found], [outcome.accuracy for outcome in found]
