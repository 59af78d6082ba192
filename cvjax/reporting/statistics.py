"""What a handful of seeds can tell: intervals, paired tests, and verdicts on claims."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

RESAMPLES = 10_000
EXACT = 14  # pairs up to which every sign is tried: 2^14 sums
Verdict = Literal["PASS", "FAIL", "UNDECIDED"]


def interval(values: Sequence[float], share: float = 0.95) -> tuple[float, float] | None:
    """Bootstrap percentile interval of the mean (Efron 1979); None for fewer than two values. The same values, the same interval."""
    if len(values) < 2:
        return None
    x = np.asarray(values, float)
    means = x[np.random.default_rng(0).integers(len(x), size=(RESAMPLES, len(x)))].mean(1)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> list[float]:
    """a - b for the seeds that both have."""
    return [a[seed] - b[seed] for seed in a if seed in b]


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p of a paired permutation test: how often random signs give a mean as far from 0. Exact up to 14 pairs.

    n pairs can give no p below 2 / 2^n: 0.25 for three seeds, 0.06 for five.
    """
    x = np.asarray(differences, float)
    if len(x) <= EXACT:
        signs = np.array(list(itertools.product((1, -1), repeat=len(x))))
    else:
        signs = np.random.default_rng(0).choice((1, -1), size=(RESAMPLES, len(x)))
        signs[0] = 1  # what was observed is one of the ways: no p of 0
    observed, sums = abs(x.sum()), np.abs(signs @ x)
    return float((sums >= observed - 1e-12 * max(1.0, observed)).mean())


def holm(ps: Sequence[float]) -> list[float]:
    """p values of one family of tests, corrected so that one false alarm in the family is as rare as one alone (Holm 1979)."""
    order = np.argsort(ps)
    adjusted = np.maximum.accumulate([min(1.0, (len(ps) - rank) * ps[i]) for rank, i in enumerate(order)])
    return [float(adjusted[list(order).index(i)]) for i in range(len(ps))]


def bounds(differences: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Below and above which the mean difference lies, each with `level` (Student's t); None for fewer than two pairs.

    A bootstrap of three values covers the truth three times in four, too seldom to rest a verdict on; this allows for their number.
    """
    if len(differences) < 2:
        return None
    from scipy.stats import t

    x = np.asarray(differences, float)
    reach = float(t.ppf(level, len(x) - 1)) * x.std(ddof=1) / np.sqrt(len(x))
    return float(x.mean() - reach), float(x.mean() + reach)


def verdict(differences: Sequence[float], relation: str, margin: float = 0.0) -> Verdict:
    """Whether left - right `relation` margin holds, as far as the one-sided 95 % bounds of the mean difference over seeds decide it."""
    found = bounds(differences)
    if found is None:
        return "UNDECIDED"
    low, high = found[0] - margin, found[1] - margin
    near, far = -margin <= found[0] and found[1] <= margin, found[1] < -margin or found[0] > margin
    holds = {">": low > 0, ">=": low >= 0, "<": high < 0, "<=": high <= 0, "~": near}
    fails = {">": high <= 0, ">=": high < 0, "<": low >= 0, "<=": low > 0, "~": far}
    return "PASS" if holds[relation] else "FAIL" if fails[relation] else "UNDECIDED"
