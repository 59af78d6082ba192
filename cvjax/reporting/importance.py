"""Which of the settings that differ between finished runs decided the result, and how much of a difference seeds alone make."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvjax.reporting import runs
from cvjax.reporting.runs import Run

FEWEST = 8  # finished runs below which nothing is said


def importance(found: Sequence[Run], keys: Sequence[str], metric: str) -> dict[str, float]:
    """Share of the variance that each setting explains, the largest first (fANOVA: Hutter, Hoos & Leyton-Brown 2014), by Optuna.

    Empty for fewer than 8 finished runs or when nothing differs.
    """
    judged = [(run, value) for run in found if run.finished and (value := runs.final(run, metric)) is not None and np.isfinite(value)]
    found_in_all = [key for key in keys if all(key in run.config for run, _ in judged)]
    differ = [key for key in found_in_all if len({_word(run.config[key]) for run, _ in judged}) > 1]
    if len(judged) < FEWEST or not differ or len({value for _, value in judged}) < 2:
        return {}
    import optuna  # a second or more, with all that it loads
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    spaces = {key: _distribution([run.config[key] for run, _ in judged]) for key in differ}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    for run, value in judged:
        params = {key: _word(run.config[key]) for key in spaces}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=spaces, value=value))
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


def _distribution(values: list[Any]) -> Any:
    """What the values of a setting were drawn from, as far as they say."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    distinct = {_word(value) for value in values}
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct):
        low, high = float(min(distinct)), float(max(distinct))
        return FloatDistribution(low, high, log=low > 0 and high / low >= 10)
    return CategoricalDistribution(sorted(distinct, key=str))


def _word(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else str(value)


def seed_noise(groups: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation over seeds, pooled over arms with two or more; None where there is none.

    Two single runs that differ by less than 2.8 of it may well be the same (1.96 x sqrt 2).
    """
    spread = [(len(values) - 1, float(np.var(values, ddof=1))) for values in groups if len(values) > 1]
    return float(np.sqrt(sum(n * v for n, v in spread) / sum(n for n, _ in spread))) if spread else None
