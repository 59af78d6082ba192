"""What a study's report says: statistics against closed forms, and verdicts on made-up runs whose answer is known."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from cvjax import plan
from cvjax.report import report
from cvjax.reporting import comparison, comparison_page, statistics
from cvjax.reporting.importance import importance
from cvjax.reporting.runs import Run


def test_sign_flip_is_exact():
    assert statistics.sign_flip([1.0, 2.0, 3.0]) == 0.25 and statistics.sign_flip([5.0]) == 1.0
    assert statistics.sign_flip([1.0] * 5) == pytest.approx(2 / 2**5)
    x = np.random.default_rng(0).normal(0.5, 1, 9)
    theirs = stats.permutation_test((x,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided")
    assert statistics.sign_flip(x) == pytest.approx(theirs.pvalue)


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.5, 0.6]) == [1.0, 1.0] and statistics.holm([]) == []


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = [low <= 0 <= high for low, high in (statistics.interval(rng.normal(size=30)) for _ in range(200))]
    assert 0.88 <= np.mean(hits) <= 0.99
    assert statistics.interval([1.0]) is None and statistics.interval([2.0, 2.0]) == (2.0, 2.0)


def test_verdicts_are_wrong_as_seldom_as_they_say(differences=3, rounds=2000):
    """Three seeds, no difference in truth: at most one verdict in ten is not UNDECIDED (5 % on each side)."""
    drawn = np.random.default_rng(2).normal(size=(rounds, differences))
    decided = np.mean([statistics.verdict(list(row), ">") != "UNDECIDED" for row in drawn])
    assert 0.08 < decided < 0.12


@pytest.mark.parametrize(
    ("differences", "relation", "margin", "verdict"),
    [
        ([1.0, 2.0, 3.0], ">", 0, "PASS"),
        ([1.0, 2.0, 3.0], ">", 2.5, "UNDECIDED"),
        ([1.0, 2.0, 3.0], ">", 4, "FAIL"),
        ([-1.0, 2.0, 0.5], ">", 0, "UNDECIDED"),
        ([-1.0, -2.0], "<", 0, "UNDECIDED"),  # two seeds, one a third of the other away: t = 3, where 6.3 decides
        ([-1.0, -1.1], "<", 0, "PASS"),
        ([0.0, 0.0], "<=", 0, "PASS"),
        ([0.0, 0.0], "<", 0, "FAIL"),
        ([0.01, -0.01], "~", 0.02, "UNDECIDED"),
        ([0.001, -0.001], "~", 0.02, "PASS"),
        ([0.05, 0.06], "~", 0.02, "FAIL"),
        ([1.0], ">", 0, "UNDECIDED"),
    ],
)
def test_verdicts(differences, relation, margin, verdict):
    assert statistics.verdict(differences, relation, margin) == verdict


def study(folder, values, measured=("val/error",), claims=(), paper=None):
    """A study's folder with finished runs; `values`: arm -> [val/top1 of each seed], None for a run that has not begun."""
    lines = []
    for arm, tops in values.items():
        for seed, top in enumerate(tops):
            name = f"{len(lines):04d}-{arm}-{seed}"
            lines.append({"index": len(lines), "arm": arm, "seed": seed, "sets": {}, "folder": name, "config": "", "devices": 0})
            run = folder / name
            run.mkdir(parents=True)
            (run / "config.json").write_text(
                json.dumps({"seed": seed, "optim": {"lr": 0.1 if arm == "a" else 0.2}, "train": {"monitor": "val/top1"}})
            )
            if top is None:
                continue
            rows = [{"step": step, "epoch": step / 2, "train/top1": top - 0.1 + step / 100, "val/top1": top} for step in (1, 2, 3, 4)]
            (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            status = {"state": "finished", "step": 4, "steps": 4, "heartbeat": "2026-01-01T00:01:00+00:00", "final": {"val/top1": top}}
            (run / "status.json").write_text(json.dumps(status))
            (run / "run.json").write_text(json.dumps([{"time": "2026-01-01T00:00:00+00:00", "parameters": 10, "multiply_adds": 20}]))
    (folder / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    parts = [claim | dict(zip(plan.CLAIM, claim.pop("parts"), strict=True)) for claim in claims]
    (folder / "study.json").write_text(
        json.dumps({"source": "study.py", "measured": measured, "claims": parts, "paper": paper, "search": None})
    )
    return folder


CLAIM = {"name": "b errs less", "metric": "val/error", "says": "a > b", "parts": ("a", ">", "b", 0.0)}
PAPER = {"citation": "Who 2015", "protocol": "a long time", "numbers": {"val/error": {"a": 0.25}}, "differs": "it is short"}


def test_arms_claims_and_paper(tmp_path):
    found = comparison.read(study(tmp_path, {"a": [0.5, 0.52, 0.54], "b": [0.7, 0.71, 0.72]}, claims=[dict(CLAIM)], paper=PAPER))
    head, rows = comparison.table(found)
    assert head[:4] == ["arm", "seeds", "validation error", "paper"]
    assert rows[0][:4] == ["a", "3", "48.0 ± 2.0 % [46, 50]", "25.00 %"] and rows[1][3] == "–"
    (judged,) = comparison.claims(found)
    assert judged.verdict == "PASS" and "48.00 % against 29.00 %" in judged.evidence and "n = 3" in judged.evidence
    _, (line,) = comparison.tests(found)
    assert line == ["b", "-19.0 ± 1.0 %", "3", "0.25", "0.25"]


def test_a_claim_about_differences_pairs_seeds(tmp_path):
    says = dict(CLAIM, metric="val/top1", says="a - b < c - d", parts=("a - b", "<", "c - d", 0.0))
    values = {"a": [0.5, 0.6, 0.7], "b": [0.4, 0.5, 0.6], "c": [0.9, 0.7, 0.8], "d": [0.6, 0.41, 0.5]}  # 0.1 against 0.3, 0.29, 0.3
    (judged,) = comparison.claims(comparison.read(study(tmp_path / "all", values, claims=[dict(says)])))
    assert judged.verdict == "PASS" and "10.00 % against 29.67 %" in judged.evidence, judged
    (judged,) = comparison.claims(comparison.read(study(tmp_path / "one", values | {"d": [0.6, None, None]}, claims=[dict(says)])))
    assert judged.verdict == "UNDECIDED", "one seed has all four"


def test_a_half_finished_study_says_pending(tmp_path):
    found = comparison.read(study(tmp_path, {"a": [0.5, None], "b": [None, None]}, claims=[dict(CLAIM)]))
    assert [row[1] for row in comparison.table(found)[1]] == ["1 of 2, 1 pending", "0 of 2, 2 pending"]
    (judged,) = comparison.claims(found)
    assert judged.verdict == "UNDECIDED" and "pending: b" in judged.evidence


def test_train_measures_are_means_over_the_last_epoch(tmp_path):
    found = comparison.read(study(tmp_path, {"a": [0.5]}, measured=("train/error",)))
    assert found.values("a", "train/error")[0] == pytest.approx(1 - (0.5 - 0.1 + (0.03 + 0.04) / 2))


def test_every_form_of_the_report(tmp_path):
    study(tmp_path, {"a": [0.5, 0.52], "b": [0.7, 0.71]}, claims=[dict(CLAIM)], paper=PAPER)
    page = report([tmp_path]).read_text()
    for text in ("b errs less", "PASS", "Who 2015", "Not comparable, because it is short", "Learning curves"):
        assert text in page
    latex = (tmp_path / "comparison.tex").read_text()
    assert latex.count("&") % latex.count(r"\\") == 0 and r"49.0 $\pm$ 1.4 \%" in latex
    assert "| a | 2 |" in (tmp_path / "comparison.md").read_text()
    assert (tmp_path / "curves.png").exists() and len((tmp_path / "results.csv").read_text().splitlines()) == 5
    assert "PASS      b errs less" in comparison_page.terminal(comparison.read(tmp_path))


def test_a_claim_against_a_number_and_the_start_of_a_run(tmp_path):
    claim = {"name": "c", "metric": "start/top1", "says": "a > 0.3", "parts": ("a", ">", "0.3", 0.0)}
    study(tmp_path, {"a": [0.9, 0.91, 0.89]}, claims=[claim])
    held = comparison.read(tmp_path)
    assert comparison.claims(held)[0].verdict == "PASS"
    assert held.values("a", "start/top1")[0] == pytest.approx(0.9 - 0.1 + 0.01)


def test_curves_of_probes_are_means_over_finished_seeds(tmp_path):
    found = {}
    for seed, height in enumerate((1.0, 3.0, 99.0)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        curve = {"x": [0.1, 0.01], "y": [height, 2 * height], "xlabel": "tolerance"}
        (folder / "probes.json").write_text(json.dumps({"error": curve, "slope": 1.0, "layers": [1, 2]}))
        found[seed] = SimpleNamespace(path=folder, finished=seed < 2)
    c = SimpleNamespace(arms={"ODE-Net": found, "pending": {0: None}})
    assert comparison.curves(c) == {("error", "tolerance"): {"ODE-Net": [[0.1, 0.01], [2.0, 4.0]]}}


def test_what_is_left_to_the_network_counts_and_what_another_setting_says_does_not():
    arms = [(0.5, {"loss": 1}), (0.5, {"loss": 0}), (0.9, {"loss": 1, "layers": 0}), (0.1, {"loss": 1, "layers": 1})]
    shares = importance(_runs(arms), ["loss", "layers", "seed"], "val/top1")
    assert shares["layers"] > 0.9 and set(shares) == {"loss", "layers", "seed"}
    optimisers = [(0.5, {"momentum": 0.9, "name": "sgd"}), (0.9, {"b1": 0.9, "name": "adam"}), (0.1, {"name": "lion"})]
    assert set(importance(_runs(optimisers), ["momentum", "b1", "name", "seed"], "val/top1")) == {"name", "seed"}
    drawn = [(0.1 + 0.8 * (i % 2), {"lr": i / 7, **({"drop": 0.5} if i % 2 else {})}) for i in range(16)]
    assert importance(_runs(drawn)[:16], ["lr", "drop"], "val/top1")["drop"] > 0.9


def _runs(arms):
    finished = [(seed, {"state": "finished", "final": {"val/top1": top + seed / 100}}, given) for seed in range(3) for top, given in arms]
    return [Run(Path(), {"seed": seed, **given}, [], status, [], {}) for seed, status, given in finished]
