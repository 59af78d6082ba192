"""Search spaces: from where a study draws its arms when it does not list them. Free of JAX and of Optuna, see `trials`."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvjax.errors import UserError

LISTED = ("grid", "random", "sobol")  # samplers that need no result: all their arms are known before the first run
ADAPTIVE = ("tpe", "cmaes", "nsga2")
PRUNERS = ("none", "median", "halving", "hyperband", "wilcoxon")


@dataclass(frozen=True)
class Between:
    """A number from low to high, evenly or (log) evenly in its logarithm; whole numbers when both ends are."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise UserError(f"a search from {self.low} to {self.high}: low must be below high" + ", and above 0 with log=True" * self.log)

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> Any:
        """The value below which `share` (0-1) of the space lies."""
        low, high = (math.log(self.low), math.log(self.high + self.whole)) if self.log else (self.low, self.high + self.whole)
        value = low + share * (high - low)
        value = math.exp(value) if self.log else value
        return min(int(value), self.high) if self.whole else float(f"{value:.6g}")


@dataclass(frozen=True)
class Choice:
    """One of these values."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values or isinstance(self.values, str):
            raise UserError(f"a choice of {self.values!r}; give it a row of values, as Choice((0.1, 0.2))")

    def at(self, share: float) -> Any:
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


@dataclass(frozen=True)
class Search:
    """Where to look and how.

    space: setting -> Between or Choice; the seed may be one. trials: how many arms. sampler: "grid" (every combination of choices),
    "random" or "sobol", listed before the first run; or
    "tpe", "cmaes", "nsga2", which learn from finished trials. goals: metric -> "max" or "min"; several need nsga2.
    pruner: stops trials that look poor by the first goal: "none", "median", "halving", "hyperband", "wilcoxon"; not before `warmup`
    evaluations: a high learning rate looks poor early and may end best.
    """

    space: Mapping[str, Between | Choice]
    goals: Mapping[str, str]
    trials: int = 20
    sampler: str = "tpe"
    pruner: str = "none"
    warmup: int = 0
    seed: int = 0

    @property
    def prunes_or_learns(self) -> bool:
        """Whether what runs have measured decides which others run: then the arms are Optuna's trials."""
        return self.sampler in ADAPTIVE or self.pruner != "none"

    def __post_init__(self) -> None:
        for name, words in (("sampler", (*LISTED, *ADAPTIVE)), ("pruner", PRUNERS)):
            if getattr(self, name) not in words:
                raise UserError(f"--{name} is '{getattr(self, name)}'; have: {', '.join(words)}")
        if not self.space:
            raise UserError("the search has no space; name at least one setting")
        for key, part in self.space.items():
            if not isinstance(part, Between | Choice):
                raise UserError(f"the search takes {key} from {part!r}; write Between(low, high) or Choice((value, value))")
        if not self.goals:
            raise UserError("the search has no goal; name a metric and 'max' or 'min', as {'val/top1': 'max'}")
        if self.trials < 1:
            raise UserError(f"--trials is {self.trials}; it must be at least 1")
        for metric, way in self.goals.items():
            if way not in ("max", "min"):
                raise UserError(f"the goal {metric} is '{way}'; have: max, min")
        if self.sampler == "grid":
            odd = [key for key, part in self.space.items() if not isinstance(part, Choice)]
            if odd:
                raise UserError(f"--sampler=grid needs choices, but {odd[0]} is a range; give values, or use --sampler=sobol")
            object.__setattr__(self, "trials", math.prod(len(part.values) for part in self.space.values() if isinstance(part, Choice)))
        first = next(iter(self.goals))
        if self.pruner != "none" and (not first.startswith("val/") or first.endswith("/error")):
            raise UserError(f"--pruner={self.pruner} cannot look at {first}: only at what is measured while a run trains, as val/top1")
        if len(self.goals) > 1 and (self.sampler != "nsga2" or self.pruner != "none"):
            raise UserError("several goals need --sampler=nsga2 and --pruner=none")

    def listed(self) -> list[dict[str, Any]]:
        """The arms of a sampler that needs no result; fewer than `trials` where it draws some twice."""
        if self.sampler == "grid":
            values = [part.values for part in self.space.values() if isinstance(part, Choice)]
            return [dict(zip(self.space, chosen, strict=True)) for chosen in itertools.product(*values)]
        if self.sampler == "sobol":
            from scipy.stats import qmc

            points = qmc.Sobol(len(self.space), seed=self.seed).random(1 << (self.trials - 1).bit_length())[: self.trials]
        else:
            points = np.random.default_rng(self.seed).random((self.trials, len(self.space)))
        arms = [{key: part.at(share) for (key, part), share in zip(self.space.items(), point, strict=True)} for point in points.tolist()]
        return [arm for number, arm in enumerate(arms) if arm not in arms[:number]]
