"""A study: arms x seeds of one experiment. What a file in experiments/sweeps/ or experiments/comparisons/ says, in plain Python.

An arm is a set of settings of the experiment. A sweep lists arms or searches for them; a comparison names them and holds them
against a paper. Free of JAX, so that a study of a hundred runs is told in a second.
"""

import ast
import inspect
import itertools
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict

from cvjax import config as configs
from cvjax.errors import UserError, did_you_mean
from cvjax.search import Search

Arm = dict[str, Any]
SIDE = r"\S+(?:\s+-\s+(?![0-9])\S+)?"
RELATION = re.compile(rf"({SIDE})\s*(<=|>=|<|>|~)\s*({SIDE})(?:\s*\+\s*([0-9.]+))?")


@dataclass(frozen=True)
class Claim:
    """An inequality between the means of two arms, or of an arm and a number: `Claim("degradation", "train/error", "plain-56 > plain-20")`.

    `says` may end in a margin in units of the metric, "res-56 <= res-20 + 0.01"; "one ~ eight + 0.01" says that they differ by no more.
    Instead of an arm there may be the difference of two: "res-56 - res-20 < plain-56 - plain-20".
    """

    name: str
    metric: str
    says: str

    def parts(self) -> tuple[str, str, str, float]:
        """Left side, relation, right side, margin."""
        match = RELATION.fullmatch(self.says.strip())
        if not match:
            form = "'arm > other arm' or 'arm > other arm + 0.01'"
            raise UserError(f"claim '{self.name}' says '{self.says}'; write it as {form}, with >, >=, <, <= or ~")
        left, right = (" ".join(side.split()) for side in (match[1], match[3]))
        return left, match[2], right, float(match[4] or 0)


def arms_of(side: str) -> list[str]:
    """The arms that a side of a claim names: one, two for their difference, none for a number."""
    return [] if number(side) is not None else side.split(" - ")


def number(text: str) -> float | None:
    """What the right side of a claim is worth where it is no arm."""
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class Paper:
    """What the paper says: its own numbers (metric -> arm -> value, fractions 0-1), how it got them, and why ours may not compare."""

    citation: str
    protocol: str
    numbers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    differs: str = ""


@dataclass(frozen=True)
class Study:
    """What is run.

    base: the experiment. arms: settings of each arm by its name; none where they are searched for.
    seeds: of every arm, or a mapping from arm to its seeds; () leaves the seed to base and arms.
    devices: how many JAX devices the runs of an arm use, where it says so; this decides speed and should not decide results.
    measured: the metrics to compare; the first decides. Those that start with "train/" are means over the last epoch.
    """

    base: ConfigDict
    arms: Mapping[str, Arm] = field(default_factory=dict)
    seeds: tuple[int, ...] | Mapping[str, tuple[int, ...]] = ()
    measured: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    paper: Paper | None = None
    search: Search | None = None
    devices: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.base, ConfigDict):
            raise UserError(f"the study's base is a {type(self.base).__name__}, not the ConfigDict that get_config returns")
        if not self.arms and self.search is None:
            raise UserError("the study has no arm; give it at least one")
        if not isinstance(self.arms, Mapping) or any(not isinstance(name, str) for name in self.arms):
            raise UserError(f"arms are settings by name, as {{'res-20': {{'model.variant': 20}}}}, not {self.arms!r}")
        for settings in self.arms.values():
            _plain(settings)
        if not isinstance(self.measured, list | tuple):
            raise UserError(f"measured is a row of metrics, as ('val/top1',), not {self.measured!r}")
        for seeds in self.seeds.values() if isinstance(self.seeds, Mapping) else (self.seeds,):
            if not isinstance(seeds, list | tuple | range) or any(type(seed) is not int for seed in seeds):
                raise UserError(f"seeds are a row of whole numbers, as (0, 1, 2), not {seeds!r}")
            if len(set(seeds)) < len(seeds):
                raise UserError(f"a seed is given twice in {seeds!r}, which is the same run; take one away")
        for claim in self.claims:
            left, _, right, _ = claim.parts()
            for arm in (*(arms_of(left) or [left]), *arms_of(right)):
                if arm not in self.arms:
                    raise UserError(f"claim '{claim.name}' names '{arm}'{did_you_mean(arm, self.arms)}; arms: {', '.join(self.arms)}")
        for metric, numbers in self.paper.numbers.items() if self.paper else ():
            for arm in numbers:
                if arm not in self.arms:
                    raise UserError(f"the paper's {metric} names '{arm}'{did_you_mean(arm, self.arms)}; arms: {', '.join(self.arms)}")
        for arm in (*(self.seeds if isinstance(self.seeds, Mapping) else ()), *self.devices):
            if arm not in self.arms:
                raise UserError(f"seeds or devices name '{arm}'{did_you_mean(arm, self.arms)}; arms: {', '.join(self.arms)}")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that the study names."""
        goals = self.search.goals if self.search else ()
        numbers = self.paper.numbers if self.paper else ()
        return (*self.measured, *(claim.metric for claim in self.claims), *numbers, *goals)

    def seeds_of(self, arm: str) -> tuple[int | None, ...]:
        """Seeds of an arm; (None,) where base or arm says it itself."""
        seeds = self.seeds if isinstance(self.seeds, Mapping) else {arm: self.seeds}
        return tuple(seeds[arm]) or (None,) if arm in seeds else (None,)


# ---- reading


def load(path: str, arg: str = "") -> Study:
    """The study of a file: its `get_study(arg)`, or `get_config(arg)` with `sweep()` or `get_hyper(hyper)`. Raises UserError."""
    return configs.run(path, lambda module: _study(module, path, arg))


def _study(module: types.ModuleType, path: str, arg: str) -> Study:
    if hasattr(module, "get_study"):
        found = module.get_study(arg)
        if not isinstance(found, Study):
            raise UserError(f"{path}: get_study returned {type(found).__name__}, not a cvjax.study.Study")
        return found
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} has no get_study(arg), and no get_config(arg) with sweep() or get_hyper(hyper)")
    if hasattr(module, "sweep"):
        arms = list(module.sweep())
    elif hasattr(module, "get_hyper"):
        arms = module.get_hyper(Hyper())
    else:
        raise UserError(f"{path} has no sweep() or get_hyper(hyper) that says which arms to run")
    takes = inspect.signature(module.get_config).parameters
    return of_arms(module.get_config(arg) if takes else module.get_config(), arms)


def of_arms(base: ConfigDict, arms: Iterable[Arm]) -> Study:
    """The study of a list of arms; those that differ in their seed only are one arm with several seeds. Raises UserError."""
    kept: dict[str, Arm] = {}
    seeds: dict[str, tuple[int, ...]] = {}
    for arm in map(_plain, arms):
        rest = {key: value for key, value in arm.items() if key != "seed"}
        seed, name = arm.get("seed"), repr(sorted(rest.items(), key=str))
        if "seed" in arm and (not isinstance(seed, int) or isinstance(seed, bool)):
            raise UserError(f"seeds are whole numbers, not {seed!r}")
        if name in kept and ("seed" not in arm or not seeds[name] or seed in seeds[name]):
            raise UserError(f"2 arms are the same: {arm}")
        kept[name] = rest
        seeds[name] = (*seeds.get(name, ()), *((seed,) if "seed" in arm else ()))
    found = named(kept.values())
    return Study(base, found, dict(zip(found, seeds.values(), strict=True)))


def _plain(arm: Arm) -> Arm:
    """An arm without "config." before its keys. Raises UserError for what is no mapping."""
    if not isinstance(arm, Mapping) or any(not isinstance(key, str) for key in arm):
        raise UserError(f"an arm is a dict of settings, as {{'optim.lr': 0.1}}, not {arm!r}")
    return {key.removeprefix("config."): value for key, value in arm.items()}


def named(arms: Iterable[Arm]) -> dict[str, Arm]:
    """Arms by names made of the settings in which they differ: "optim.lr=0.1,model.variant=20". Raises UserError for two equal arms."""
    plain = list(arms)
    keys = list(dict.fromkeys(key for arm in plain for key in arm))
    telling = [key for key in keys if len({repr(arm.get(key)) for arm in plain}) > 1] or keys
    for digits in (4, 8, 17):
        names = [",".join(f"{key}={text(arm[key], digits)}" for key in telling if key in arm) or "base" for arm in plain]
        if len(set(names)) == len(names):
            return dict(zip(names, plain, strict=True))
    raise UserError(f"2 arms are the same: {max(names, key=names.count)}")


def text(value: Any, digits: int = 4) -> str:
    """A value in a name: 0.0003, (1, 2) as 1-2."""
    if isinstance(value, list | tuple):
        return "-".join(text(part, digits) for part in value)
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def grid(text: str) -> list[Arm]:
    """The arms of `optim.lr=[1e-3,3e-4] seed=range(3)`: every combination. Raises UserError."""
    axes = []
    for word in re.findall(r"(?:\[[^\]]*\]|\([^)]*\)|[^\s\[(])+", text):
        key, equals, values = word.partition("=")
        if not equals or not key:
            raise UserError(f"--sweep: '{word}' sets nothing; write KEY=[VALUE,VALUE] or KEY=range(N), every bracket closed")
        axes.append([{key: value} for value in _values(values, word)])
    if not axes:
        raise UserError("--sweep is empty; write KEY=[VALUE,VALUE], as in --sweep='optim.lr=[1e-3,3e-4] seed=range(3)'")
    return Hyper().product(axes)


def _values(text: str, word: str) -> list[Any]:
    """The values of `[1e-3, 3e-4]`, `range(3)`, `range(2,9,3)` or a single value; words need no quotes."""
    if counted := re.fullmatch(r"range\(([-\d\s,]+)\)", text):
        try:
            found: list[Any] = list(range(*map(int, counted[1].split(","))))
        except (ValueError, TypeError) as error:
            raise UserError(f"--sweep: '{word}': {error}") from None
    elif text.startswith(("[", "(")):
        try:
            found = list(ast.literal_eval(text))
        except (ValueError, SyntaxError, TypeError):
            found = [part.strip() for part in text.strip("[]()").split(",") if part.strip()]
    else:
        found = [int(text) if re.fullmatch(r"-?\d+", text) else text]
    if not found:
        raise UserError(f"--sweep: '{word}' has no value")
    return found


class Hyper:
    """The `hyper` of `get_hyper(hyper)`: lists of arms, and what makes longer ones of them."""

    def sweep(self, name: str, values: Iterable[Any]) -> list[Arm]:
        """An arm for each value."""
        return [{name: value} for value in values]

    def fixed(self, name: str, value: Any, length: int = 1) -> list[Arm]:
        """The same value, `length` times."""
        return [{name: value} for _ in range(length)]

    def product(self, parts: Iterable[list[Arm]]) -> list[Arm]:
        """Every combination; the last part changes fastest."""
        return [_merged(arms) for arms in itertools.product(*parts)]

    def zipit(self, parts: Iterable[Iterable[Arm]], length: int | None = None) -> list[Arm]:
        """Arms taken side by side, the first `length` of them; parts of one arm go with every other."""
        rows = [list(part) for part in parts]
        longest = max(map(len, rows), default=0)
        if any(len(part) not in (1, longest) for part in rows):
            raise UserError(f"zipit: parts of {', '.join(str(len(part)) for part in rows)} arms do not fit together")
        return [_merged(arms) for arms in zip(*(part * longest if len(part) == 1 else part for part in rows), strict=True)][:length]

    def chainit(self, parts: Iterable[list[Arm]]) -> list[Arm]:
        """One part after the other."""
        return [arm for part in parts for arm in part]

    def __getattr__(self, name: str) -> Any:
        raise UserError(f"hyper has no {name}{did_you_mean(name, dir(Hyper))}; have: sweep, fixed, product, zipit, chainit")


def _merged(arms: Iterable[Arm]) -> Arm:
    merged: Arm = {}
    for arm in arms:
        for key in arm:
            if key in merged:
                raise UserError(f"'{key}' is set twice in one arm")
        merged |= arm
    return merged
