"""What there is to run: experiments, studies, models, tasks and data sources, with the first line of each file.

Found by looking into the folders and parsing docstrings; no file is imported, so a broken one is listed with the rest.
"""

import ast
import io
import sys
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent
FOLDERS = {  # heading -> folder below the repository, and how an entry is named there
    "Experiments": ("experiments", "--config={}"),
    "Sweeps": ("experiments/sweeps", "--study={}"),
    "Comparisons": ("experiments/comparisons", "--study={}"),
    "Models": ("cvjax/models", "model.name"),
    "Tasks": ("cvjax/tasks", "task.name"),
    "Data sources": ("cvjax/data", "data.name"),
}


class Entry(NamedTuple):
    name: str  # as one types it: a path for experiments, a bare name for parts of the package
    text: str  # first line of the docstring


def entries(root: Path = PACKAGE.parent) -> dict[str, list[Entry]]:
    """What each folder holds, headings in order; folders that are empty or absent are left out."""
    found = {}
    for heading, (folder, flag) in FOLDERS.items():
        files = sorted((root / folder).glob("[!_]*.py"))
        names = [f"{folder}/{file.name}" if "{}" in flag else file.stem for file in files]
        if files:
            found[heading] = [Entry(name, first_line(file)) for name, file in zip(names, files, strict=True)]
    return found


def first_line(path: Path) -> str:
    """The first line of a file's docstring, or what keeps it from having one."""
    try:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    except (SyntaxError, UnicodeDecodeError) as error:
        return f"(does not parse: {error.msg}, line {error.lineno})" if isinstance(error, SyntaxError) else "(not UTF-8 text)"
    return text.splitlines()[0].strip() if text and text.strip() else "(no docstring)"


def listing(root: Path = PACKAGE.parent, *, terminal: bool | None = None) -> str:
    """The list as text: aligned columns where it is piped, colours and wrapping to its width on a terminal."""
    found = entries(root)
    if not found:
        return f"nothing to list below {root}: looked for {', '.join(folder for folder, _ in FOLDERS.values())}"
    return _coloured(found) if (sys.stdout.isatty() if terminal is None else terminal) else _plain(found)


def _heading(heading: str) -> str:
    return f"{heading} ({FOLDERS[heading][1].format('FILE')})"


def _plain(found: dict[str, list[Entry]]) -> str:
    width = max(len(entry.name) for group in found.values() for entry in group)
    blocks = [
        "\n".join([_heading(heading), *(f"  {entry.name:<{width}}  {entry.text}" for entry in group)]) for heading, group in found.items()
    ]
    return "\n\n".join(blocks)


def _coloured(found: dict[str, list[Entry]]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=io.StringIO(), force_terminal=True, highlight=False)
    width = max(len(entry.name) for group in found.values() for entry in group)
    for heading, group in found.items():
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title=Text(_heading(heading), style="bold"), title_justify="left")
        table.add_column(style="cyan", no_wrap=True, min_width=width)
        table.add_column()
        for entry in group:
            table.add_row(Text("  " + entry.name), Text(entry.text))
        console.print(table, "")
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]
