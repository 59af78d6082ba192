"""Which of the settings that differ between finished runs decided the result, and how much of a difference seeds alone make."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvjax.reporting import runs, words
from cvjax.reporting.runs import Run

FEWEST = 8  # finished runs below which nothing is said


def importance(found: Sequence[Run], keys: Sequence[str], metric: str) -> dict[str, float]:
    """Share of the variance that each setting explains, the largest first (fANOVA: Hutter, Hoos & Leyton-Brown 2014), by Optuna.

    A setting that some runs leave to the network counts there as a value of its own; unless it then says no more than another setting, as
    the momentum says that the optimiser is SGD. Empty for fewer than 8 finished runs or when nothing differs.
    """
    judged = [(run, value) for run in found if run.finished and (value := runs.final(run, metric)) is not None and np.isfinite(value)]
    said = {key: [_word(run.config[key]) if key in run.config else words.MISSING for run, _ in judged] for key in keys}
    differ = [key for key in said if len(set(said[key])) > 1 and not (words.MISSING in said[key] and _repeats(said, key))]
    if len(judged) < FEWEST or not differ or len({value for _, value in judged}) < 2:
        return {}
    import optuna  # a second or more, with all that it loads
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    spaces = {key: _distribution(said[key]) for key in differ}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    for i, (_, value) in enumerate(judged):
        params = {key: said[key][i] for key in spaces}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=spaces, value=value))
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


def _distribution(values: list[Any]) -> Any:
    """What the values of a setting were drawn from, as far as they say."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    distinct = set(values)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct):
        low, high = float(min(distinct)), float(max(distinct))
        return FloatDistribution(low, high, log=low > 0 and high / low >= 10)
    return CategoricalDistribution(sorted(distinct, key=str))


def _repeats(said: dict[str, list[Any]], key: str) -> bool:
    """Whether a setting that comes before it, or one that all runs say, tells apart every run that it does; not one drawn anew for each."""
    others = [other for other in said if other not in (key, "seed") and len(set(said[other])) < len(said[other])]
    earlier = list(said)[: list(said).index(key)]
    finer = [other for other in others if len(set(zip(said[other], said[key], strict=True))) == len(set(said[other]))]
    return any(other in earlier or words.MISSING not in said[other] for other in finer)


def _word(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else str(value)


def seed_noise(groups: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation over seeds, pooled over arms with two or more; None where there is none.

    Two single runs that differ by less than 2.8 of it may well be the same (1.96 x sqrt 2).
    """
    spread = [(len(values) - 1, float(np.var(values, ddof=1))) for values in groups if len(values) > 1]
    return float(np.sqrt(sum(n * v for n, v in spread) / sum(n for n, _ in spread))) if spread else None
