"""A list of entries in a JSON file, as columns of which every mistake is named: file, entry and what to write instead. NumPy only."""

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from cvjax.errors import UserError, some

FLAGS = {"0": False, "0.0": False, "False": False, "1": True, "1.0": True, "True": True}
HUGE = 1e100  # pixels: areas of boxes below are floating-point numbers


def read(path: Path) -> Any:
    """What a JSON file holds. Raises UserError where it cannot be read, or is cut off."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, character {error.pos} of {len(error.doc)}"
        raise UserError(f"{path} is no whole JSON: {error.msg} at {where}; it may be cut off: copy or write it again") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8 at byte {error.start}; give the JSON file itself, not packed") from error
    except (RecursionError, ValueError) as error:
        what = "is nested too deeply" if isinstance(error, RecursionError) else "has a number of thousands of digits"
        raise UserError(f"{path} {what} for a file of instances or results; find out where it comes from") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; check the path") from error


class Table:
    """Entries of a list in a file, column by column: each is checked as a whole, and only when something is wrong, one by one."""

    def __init__(self, path: Path, entries: list[dict[str, Any]], name: str):
        self.path, self.entries, self.list = path, entries, name
        self.each(lambda entry: isinstance(entry, dict), "is no object; write {...} with its keys")

    def wrong(self, row: int, what: str) -> None:
        """Raises the UserError about an entry."""
        entry = self.entries[row]
        number = f" (id {entry['id']})" if isinstance(entry, dict) and "id" in entry else ""
        raise UserError(f"{self.path}: {f'{self.list}[{row}]' if self.list else f'entry {row}'}{number} {what}")

    def each(self, right: Callable[[Any], bool], what: str) -> None:
        for row, entry in enumerate(self.entries):
            if not right(entry):
                self.wrong(row, what)

    def column(self, name: str, mend: str = "write it") -> list:
        try:
            return [entry[name] for entry in self.entries]
        except KeyError:
            self.each(lambda entry: name in entry, f"has no '{name}'; {mend}")
            raise

    def lenient(self, name: str, otherwise: Any) -> list:
        """What stands there where it is of the type of `otherwise`, else that."""
        return [x if isinstance(x := entry.get(name), type(otherwise)) else otherwise for entry in self.entries]

    def flags(self, name: str) -> list[bool]:
        """bool n, of 0, 1, false or true; nothing is 0, and 1.0 is 1."""
        values = [str(entry.get(name, 0)) for entry in self.entries]
        if not set(values) <= FLAGS.keys():
            self.each(lambda entry: str(entry.get(name, 0)) in FLAGS, f"'{name}' is not 0 or 1; write one of them")
        return [FLAGS[x] for x in values]

    def texts(self, name: str) -> list[str]:
        values = self.column(name)
        if not set(map(type, values)) <= {str}:
            self.each(lambda entry: isinstance(entry[name], str), f"'{name}' is no text; write it in quotes")
        return values

    def whole(self, name: str) -> np.ndarray:
        """int64 n; 7.0 is 7."""
        values = self.column(name)
        if not set(map(type, values)) <= {int} or any(abs(x) >= 2**63 for x in values):
            self.each(lambda entry: _is_whole(entry[name]), f"'{name}' is no whole number; write one without quotes")
        return np.array([int(x) for x in values], np.int64)

    def positive(self, name: str) -> np.ndarray:
        values = self.whole(name)
        for row in np.flatnonzero(values < 1)[:1]:
            self.wrong(row, f"'{name}' is {values[row]}; write the picture's, in pixels")
        return values

    def unique(self, name: str) -> np.ndarray:
        values = self.whole(name)
        known, count = np.unique(values, return_counts=True)
        for value in known[count > 1][:1]:
            rows = np.flatnonzero(values == value)
            more = f" ({(count > 1).sum()} ids are used twice or more)" if (count > 1).sum() > 1 else ""
            self.wrong(rows[1], f"has the '{name}' of {self.list}[{rows[0]}]{more}; number them apart")
        return values

    def numbers(self, name: str, mend: str = "write it") -> np.ndarray:
        """float64 n, finite. `mend`: what to do where there is none."""
        values = self.column(name, mend)
        if not set(map(type, values)) <= {int, float}:
            self.each(lambda entry: _is_number(entry[name]), f"'{name}' is no number; write one without quotes")
        return self._finite(name, values)

    def boxes(self) -> np.ndarray:
        """float64 n 4, below `HUGE`."""
        values = self.column("bbox")
        lists = set(map(type, values)) <= {list} and set(map(len, values)) <= {4}
        if not (lists and set(map(type, chain.from_iterable(values))) <= {int, float}):
            self.each(lambda entry: _is_box(entry["bbox"]), "'bbox' is not four numbers; write [x, y, width, height]")
        found = self._finite("bbox", values).reshape(-1, 4)
        for row in np.flatnonzero((np.abs(found) >= HUGE).any(1))[:1]:
            self.wrong(row, f"'bbox' {values[row]} is beyond {HUGE:g} pixels; find out where it comes from")
        return found

    def _finite(self, name: str, values: list) -> np.ndarray:
        try:
            found = np.array(values, np.float64)
        except OverflowError:
            self.each(lambda entry: _fits(entry[name]), f"'{name}' is beyond all floating-point numbers; find out where it comes from")
            raise
        bad = ~np.isfinite(found.reshape(len(values), found.size // max(len(values), 1))).all(1)
        for row in np.flatnonzero(bad)[:1]:
            self.wrong(
                row, f"'{name}' is not finite: {values[row]} ({bad.sum()} such entries); find out where it comes from, or leave it out"
            )
        return found

    def known(self, name: str, values: np.ndarray, ids: np.ndarray, of: str) -> None:
        strange = np.flatnonzero(~np.isin(values, ids))
        for row in strange[:1]:
            listed = f" (they are {some([str(x) for x in sorted(ids.tolist())])})" if len(ids) else ""
            what = f"is of {name} {values[row]}, which is none of the {len(ids)} {of}{listed}"
            self.wrong(row, f"{what}; {len(strange)} of {len(values)} entries are so: is this the file that belongs to the other?")


def _is_whole(x: Any) -> bool:
    return type(x) in (int, float) and abs(x) < 2**63 and x == int(x)


def _is_number(x: Any) -> bool:
    return type(x) in (int, float)


def _is_box(x: Any) -> bool:
    return isinstance(x, list) and len(x) == 4 and all(map(_is_number, x))


def _fits(x: Any) -> bool:
    try:
        return bool(np.isfinite(np.array(x, np.float64)).all())
    except OverflowError:
        return False
