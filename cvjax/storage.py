"""Where the trials of a search are kept: a journal of Optuna's in the study's folder, or any storage of Optuna's that machines share.

A trial counts once it has a run folder, which its attribute "folder" names.
"""

import datetime
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvjax import plan
from cvjax.errors import UserError
from cvjax.search import Search
from cvjax.study import Study

if TYPE_CHECKING:
    import optuna


def open_storage(found: Study, folder: Path, url: str) -> "optuna.Study":
    """The Optuna study of a search, made where there is none. Raises UserError when the storage cannot be reached.

    It is named as the folder and by what tells searches apart, so that another search in a folder of the same name is another study.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = found.search
    assert search is not None
    if url:
        store: Any = url
    else:
        path = folder / "trials.journal"
        repair(path)
        store = JournalStorage(JournalFileBackend(str(path)))
    directions: Any = ["maximize" if way == "max" else "minimize" for way in search.goals.values()]
    try:
        return optuna.create_study(
            storage=store,
            study_name=f"{folder.absolute().name}-{plan.search_digest(found)[:8]}",
            directions=directions,
            load_if_exists=True,
            pruner=_pruner(search),
        )
    except Exception as error:  # of SQLAlchemy and of every driver below it
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"--storage={url or folder / 'trials.journal'} cannot be used: {reason}") from error


def repair(path: Path) -> None:
    """Cuts a torn last line off a journal: the next record would be glued to it, and nothing could be read any more."""
    if not path.exists():
        return
    whole = path.read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    if kept != whole:
        print(f"cvjax: warning: {path} ended in a torn line, which is cut off; the run folders know the rest", flush=True)
        with open(path, "r+b") as file:
            file.truncate(len(kept))


def unfinished(study: "optuna.Study", folder: Path) -> list["optuna.trial.FrozenTrial"]:
    """The trials that the storage thinks are running, and whose runs lie in this folder, wherever it was when they began."""
    running = [trial for trial in counted(study) if trial.state.name == "RUNNING"]
    here = str(folder.resolve())
    return [trial for trial in running if trial.user_attrs["home"] == here or (folder / trial.user_attrs["folder"]).exists()]


def counted(study: "optuna.Study") -> list["optuna.trial.FrozenTrial"]:
    """Trials that are a part of the search; those that a dying launcher asked for and never began are none."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get("folder")]


def taken(study: "optuna.Study") -> list[int]:
    """Numbers of the trials that count, and of those that another launcher is asking for at this moment."""
    fresh = datetime.datetime.now() - datetime.timedelta(minutes=1)
    asking = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "RUNNING" and "folder" not in trial.user_attrs]
    return [trial.number for trial in (*counted(study), *(t for t in asking if t.datetime_start and t.datetime_start > fresh))]


def reattach(study: "optuna.Study", trial: "optuna.trial.FrozenTrial") -> "optuna.Trial":
    import optuna

    return optuna.trial.Trial(study, trial._trial_id)


def _pruner(search: Search) -> "optuna.pruners.BasePruner":
    from optuna import pruners

    kinds = {"none": pruners.NopPruner, "median": pruners.MedianPruner, "halving": pruners.SuccessiveHalvingPruner,
             "hyperband": pruners.HyperbandPruner, "wilcoxon": pruners.WilcoxonPruner}  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are experimental
        return kinds[search.pruner]()
