"""Why a run ends early, each with the launcher's exit code and a message of one line."""

import difflib
import shutil
from collections.abc import Iterable
from pathlib import Path


class UserError(ValueError):
    """A mistake the user can mend. The message names the thing and the fix."""

    exit_code = 2


class TrainingFailed(RuntimeError):
    """Training cannot go on: a loss, or what is measured, is not finite."""

    exit_code = 1


class Interrupted(Exception):
    """A signal asked to stop and the state is saved: run me again."""

    exit_code = 75


def did_you_mean(word: str, words: Iterable[str]) -> str:
    words = list(words)
    begins = [known for known in words if len(str(word)) > 2 and str(known).startswith(str(word))]
    close = begins or difflib.get_close_matches(str(word), words, n=1)
    return f", did you mean '{close[0]}'?" if close else ""


def disk_error(folder: Path, needed: int) -> UserError:
    """What to say when `needed` bytes do not fit."""
    free = shutil.disk_usage(folder).free
    size = f"{free / 1e6:.1f} MB free, a checkpoint needs {needed / 1e6:.1f} MB"
    return UserError(f"the disk of {folder} is full: {size}; earlier checkpoints are intact: make room and run the same command again")


def some(words: list[str], most: int = 12) -> str:
    """ "a, b, c and 5 more" """
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
