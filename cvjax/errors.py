"""Why a run ends early, each with the launcher's exit code and a message of one line."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake the user can mend. The message names the thing and the fix."""

    exit_code = 2


class TrainingFailed(RuntimeError):
    """Training cannot go on: a loss that is not finite."""

    exit_code = 1


class Interrupted(Exception):
    """A signal asked to stop and the state is saved: run me again."""

    exit_code = 75


def did_you_mean(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(word), list(words), n=1)
    return f", did you mean '{close[0]}'?" if close else ""
