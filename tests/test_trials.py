"""Searches: trials that are neither lost nor doubled, torn journals, lost storages, pruning. Runs are made up: no training here."""

import json
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from cvjax import config as configs
from cvjax import plan, storage, trials
from cvjax.errors import UserError
from cvjax.search import Between, Choice, Search
from cvjax.study import Study

ROOT = Path(__file__).parents[1]
SPACE = {"optim.lr": Between(1e-3, 1.0, log=True), "augment.flip": Choice((True, False)), "model.variant": Choice((8, 14))}


def searching(**settings):
    return Study(configs.load(str(ROOT / "experiments" / "digits.py")), search=Search(SPACE, {"val/top1": "max"}, **settings))


def ends(path, top, state="finished"):
    """Writes what a run that has ended leaves behind."""
    (path / "status.json").write_text(json.dumps({"state": state, "host": "here", "pid": 0, "heartbeat": "2026-01-01T00:00:00+00:00",
                                                  "final": {"val/top1": top}}))  # fmt: skip


def some(study, found, folder, count):
    """So many trials from proposal to result."""
    for _ in range(count):
        path, trial = trials.propose(study, found, folder)
        ends(path, trial.params["optim.lr"] / 2)
        trials.tell(study, found.search, trial, path)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsga2"])
def test_a_search_learns_and_goes_on_without_repeating_itself(tmp_path, sampler):
    found = searching(sampler=sampler, trials=40)
    for _ in range(2):  # as if the launcher had died between
        some(storage.open_storage(found, tmp_path, ""), found, tmp_path, 12)
    study = storage.open_storage(found, tmp_path, "")
    rates = [trial.params["optim.lr"] for trial in study.trials]
    assert len(rates) == 24 and len(set(rates)) == 24, "no draw twice"
    assert len(list(tmp_path.glob("0*"))) == 24 and all((path / "config.json").exists() for path in tmp_path.glob("0*"))
    for trial in study.trials:
        config = configs.read(tmp_path / trial.user_attrs["folder"])
        assert config.optim.lr == trial.params["optim.lr"] and config.model.variant == trial.params["model.variant"]


def test_a_search_of_enough_trials_asks_for_no_more(tmp_path):
    found = searching(trials=3)
    study = storage.open_storage(found, tmp_path, "")
    some(study, found, tmp_path, 3)
    assert trials.propose(study, found, tmp_path) is None and len(storage.counted(study)) == 3


def test_a_torn_journal_is_mended(tmp_path, capsys):
    found = searching(trials=9)
    some(storage.open_storage(found, tmp_path, ""), found, tmp_path, 3)
    journal = tmp_path / "trials.journal"
    journal.write_bytes(journal.read_bytes()[:-3])
    study = storage.open_storage(found, tmp_path, "")
    assert "torn line" in capsys.readouterr().out
    trials.restore(study, found, tmp_path)
    some(study, found, tmp_path, 1)
    assert len(storage.counted(study)) == 4


def test_a_lost_storage_is_made_again_from_the_runs(tmp_path):
    found = searching(trials=9)
    study = storage.open_storage(found, tmp_path, "")
    some(study, found, tmp_path, 3)
    trials.propose(study, found, tmp_path)  # still running when everything is lost
    before = [(trial.params, trial.state.name, trial.values) for trial in study.trials]
    (tmp_path / "trials.journal").unlink()
    study = storage.open_storage(found, tmp_path, "")
    trials.restore(study, found, tmp_path)
    assert [(trial.params, trial.state.name, trial.values) for trial in study.trials] == before
    assert len(storage.unfinished(study, tmp_path)) == 1


def test_poor_trials_are_pruned_by_what_they_measured(tmp_path):
    found = searching(trials=9, pruner="median")
    study = storage.open_storage(found, tmp_path, "")
    for number in range(6):
        path, trial = trials.propose(study, found, tmp_path)
        good = number < 5
        rows = [{"step": step, "epoch": step, "val/top1": 0.9 if good else 0.1} for step in (1, 2, 3)]
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert trials.poor(trial, found.search, path) != good
        ends(path, 0.9, "finished" if good else "stopped")
        if not good:
            (path / "pruned.json").write_text("{}")
        trials.tell(study, found.search, trial, path)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 5 + ["PRUNED"]
    assert plan.state(path) == "pruned"


WORKER = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
from pathlib import Path
from test_trials import searching, ends, storage, trials
found, folder = searching(trials=int(sys.argv[3])), Path(sys.argv[2])
study = storage.open_storage(found, folder, sys.argv[4])
while len(storage.counted(study)) < found.search.trials:
    begun = trials.propose(study, found, folder)
    if begun is None:
        break
    path, trial = begun
    ends(path, trial.params["optim.lr"])
    trials.tell(study, found.search, trial, path)
"""


def test_four_launchers_share_a_storage(tmp_path):
    """None lost, none doubled, none too many."""
    url, count = f"sqlite:///{tmp_path}/shared.db", 24
    storage.open_storage(searching(), tmp_path / "same", url)
    folders = [tmp_path / name / "same" for name in "abcd"]
    for folder in folders:
        folder.mkdir(parents=True)
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(ROOT), str(folder), str(count), url], stderr=subprocess.PIPE, text=True)
        for folder in folders
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=300)
        assert worker.returncode == 0, errors
    study = storage.open_storage(searching(), folders[0], url)
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert len(complete) == count and len({trial.params["optim.lr"] for trial in complete}) == count
    assert sorted(path.name for folder in folders for path in folder.glob("0*")) == sorted(trial.user_attrs["folder"] for trial in complete)


def test_a_storage_that_cannot_be_reached_is_told(tmp_path):
    with pytest.raises(UserError, match="--storage=sqlite:////nowhere/x.db cannot be used"):
        storage.open_storage(searching(), tmp_path, "sqlite:////nowhere/x.db")


def test_a_folder_of_another_search_is_refused(tmp_path):
    found = searching()
    assert plan.is_new_search(tmp_path, found)
    plan.describe(tmp_path, found, "here")
    assert not plan.is_new_search(tmp_path, searching(trials=99)), "more trials are the same search"
    other = Study(found.base, search=Search({"optim.lr": Between(0.1, 1.0)}, {"val/top1": "max"}))
    with pytest.raises(UserError, match="holds another study"):
        plan.is_new_search(tmp_path, other)


def test_a_draw_that_was_there_before_is_not_run_again(tmp_path):
    """The same settings and seed are the same run, bit for bit; a space without another ends the search."""
    space = {"optim.lr": Choice((0.1, 0.2)), "seed": Choice((0, 1))}
    found = Study(searching().base, search=Search(space, {"val/top1": "max"}, trials=9, sampler="tpe"))
    study = storage.open_storage(found, tmp_path, "")
    with pytest.raises(trials.Exhausted):
        for _ in range(9):
            some(study, found, tmp_path, 1)
    folders = [path.name for path in tmp_path.glob("*/")]
    assert len(folders) == len({name[5:] for name in folders}) == len(storage.counted(study)) == 4


def test_a_torn_list_of_runs_is_mended_from_the_folders(tmp_path):
    found = searching(trials=9)
    study = storage.open_storage(found, tmp_path, "")
    some(study, found, tmp_path, 3)
    whole = (tmp_path / "runs.jsonl").read_text()
    (tmp_path / "runs.jsonl").write_text(whole[:-20])
    assert plan.is_new_search(tmp_path, found), "a lost study.json is written again"
    trials.restore(study, found, tmp_path)
    assert sorted(line["folder"] for line in plan.lines(tmp_path / "runs.jsonl")) == sorted(path.name for path in tmp_path.glob("*/"))


def test_a_search_goes_on_where_its_folder_was_moved(tmp_path):
    found = searching(trials=9)
    (tmp_path / "a" / "lr").mkdir(parents=True)
    trials.propose(storage.open_storage(found, tmp_path / "a" / "lr", ""), found, tmp_path / "a" / "lr")
    (tmp_path / "a").rename(tmp_path / "b")
    study = storage.open_storage(found, tmp_path / "b" / "lr", "")
    assert len(storage.unfinished(study, tmp_path / "b" / "lr")) == 1


def test_other_searches_in_folders_of_one_name_share_no_storage(tmp_path):
    url = f"sqlite:///{tmp_path}/shared.db"
    first, second = searching(trials=3), searching(trials=3)
    second = Study(second.base, search=Search({"optim.lr": Choice((0.1, 0.2))}, {"val/top1": "max"}, trials=3))
    for found, place in ((first, tmp_path / "a" / "lr"), (second, tmp_path / "b" / "lr")):
        place.mkdir(parents=True)
        study = storage.open_storage(found, place, url)
        assert len(storage.counted(study)) == 0
        trials.propose(study, found, place)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"goals": {}}, "no goal"),
        ({"space": {"optim.lr": [0.1, 0.2]}}, "takes optim.lr from"),
        ({"goals": {"test/top1": "max"}, "pruner": "median"}, "cannot look at test/top1"),
        ({"goals": {"val/error": "min"}, "pruner": "median"}, "cannot look at val/error"),
    ],
)
def test_searches_that_cannot_be(settings, told):
    with pytest.raises(UserError, match=told):
        Search(**{"space": {"optim.lr": Between(0.1, 0.2)}, "goals": {"val/top1": "max"}, **settings})


def test_an_empty_choice_is_told():
    with pytest.raises(UserError, match="a choice of"):
        Choice(())
