"""Reports out of run folders: one self-contained HTML page, and tables and a picture beside it.

Reads files only, so that a report of a hundred runs needs no accelerator and starts at once. The parts are in
`reporting/`: runs (reading), study (several runs), page (HTML), figures (curves), run_page and study_page (contents).
"""

import os
from collections.abc import Sequence
from pathlib import Path

from cvjax.errors import UserError
from cvjax.reporting import comparison, comparison_page, figures, page, run_page, runs, study, study_page


def report(workdirs: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Writes the report of one run, of several, or of a folder of runs, and returns the path of its report.html.

    One run: report.html and curves.png. Several: report.html, curves.png, results.csv (a line a run), results.md (a row a setting).
    out: folder to write into; by default the given folder, or what contains all the given ones.
    Raises UserError where no run is found, a file of a run is damaged, or the folder cannot be written.
    """
    folders = [Path(path) for path in ([workdirs] if isinstance(workdirs, str | Path) else workdirs)]
    if not folders:
        raise UserError("report needs a workdir: --workdir=DIR, a run or a folder of runs")
    found = runs.find(folders)
    folder = Path(out) if out is not None else _containing(folders)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if len(found) == 1:
            return _one(found[0], folder)
        return _several(found, folder, comparison.read(folders[0]) if len(folders) == 1 else None)
    except OSError as error:
        raise UserError(f"cannot write the report into {folder} ({error}); name another folder") from None


def summary(folder: Path) -> str:
    """The arms and the claims of a study, for a terminal; "" for a folder that holds none."""
    held = comparison.read(folder)
    return comparison_page.terminal(held) if held is not None else ""


def _one(run: runs.Run, folder: Path) -> Path:
    curves = run_page.panels(run, runs.main_metric([run]))
    if curves:
        figures.png(curves, folder / "curves.png", runs.title(run))
    return page.save(folder / "report.html", run_page.build(run))


def _several(found: list[runs.Run], folder: Path, held: comparison.Comparison | None) -> Path:
    studies = study.collect(found, held.names if held is not None else {})
    study.write_csv(studies, folder / "results.csv")
    study.write_markdown(studies, folder / "results.md")
    curves = [panel for one in studies for panel in study_page.panels(one, named=True)]
    if curves:
        figures.png(curves, folder / "curves.png", f"{len(found)} runs")
    if held is None:
        return page.save(folder / "report.html", study_page.build(studies, folder.resolve()))
    comparison_page.write(held, folder)
    html = study_page.build(studies, folder.resolve(), held.facts["source"], comparison_page.sections(held))
    return page.save(folder / "report.html", html)


def _containing(folders: list[Path]) -> Path:
    """The folder itself, or the innermost that holds all; the first where that would be the root of the disk."""
    if len(folders) == 1:
        return folders[0]
    common = Path(os.path.commonpath([path.resolve() for path in folders]))
    return folders[0] if common == Path(common.anchor) else common
