"""The names of a set's classes, given in the config or written one a line into a file beside the pictures."""

from collections.abc import Sequence
from pathlib import Path

from cvjax.errors import UserError

MOST = 100_000  # classes


def class_list(file: Path, given: Sequence[str] = (), most: int = MOST) -> tuple[str, ...]:
    """The names in the order of the classes. Raises UserError for none, two lists, a name that stands twice, or more than `most`."""
    if given and file.exists():
        raise UserError(f"data.classes and {file} both name the classes; keep one of them")
    if not given and not file.is_file():
        raise UserError(f"there is no class list: write the names, one a line, into {file}, or set data.classes=('first', 'second')")
    return checked(tuple(given) or lines(file), "data.classes" if given else str(file), most)


def lines(file: Path) -> tuple[str, ...]:
    """A text file's lines that are not empty, without the blanks around them. Raises UserError for what cannot be read, or is not UTF-8."""
    try:
        return tuple(line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8; save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; mend or remove it") from error


def checked(names: tuple[str, ...], where: str, most: int = MOST) -> tuple[str, ...]:
    """The names, each of which stands once."""
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if not names or twice or len(names) > most:
        fault = f"names '{twice[0]}' twice; rename one" if twice else f"names {len(names)} classes, it must be 1 to {most}"
        raise UserError(f"{where} {fault}")
    return names
