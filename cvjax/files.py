"""Small files of a run or a study: written whole or a line at a time, read with a word about what is wrong. Free of JAX."""

import datetime
import json
import os
from pathlib import Path
from typing import Any

from cvjax.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Replaces a file in one move, so that a reader or a crash never meets half of it."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """The same for a value as JSON."""
    write_text(path, json.dumps(value, indent=1))


def read_json(path: Path) -> Any:
    """Raises UserError for a file that is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); bring back a backup, or choose another --workdir") from error


def append_line(path: Path, value: Any) -> None:
    """Adds a JSON line; on a line of its own even after a torn one."""
    torn = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with open(path, "a") as file:
        file.write("\n" * torn + json.dumps(value) + "\n")


def lines(path: Path) -> list[Any]:
    """The JSON lines of a file, less those that are torn; none where there is no file."""
    found = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
