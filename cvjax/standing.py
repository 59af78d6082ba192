"""How the runs in a folder stand: a study's, finished or not, or any. Reads files only."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cvjax import plan
from cvjax.errors import UserError
from cvjax.files import lines, read_json
from cvjax.log import screen
from cvjax.reporting.words import aligned

HEAD = ("run", "state", "step", "best", "last sign", "where", "starts", "why")


def table(folder: Path) -> str:
    """A line a run and a line of totals. Raises UserError where there is no run."""
    runs = [folder / line["folder"] for line in lines(folder / "runs.jsonl")]
    runs += sorted(path.parent for path in folder.glob("*/config.json") if path.parent not in runs)
    if (folder / "config.json").exists():
        runs = [folder]
    if not runs:
        raise UserError(f"no run in {folder}: looked for runs.jsonl, and for config.json in it and in the folders in it")
    rows = [_row(run) for run in runs]
    states = [row[1] for row in rows]
    totals = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{aligned([HEAD, *rows])}\n{len(rows)} runs: {totals}"


def _row(run: Path) -> tuple[str, ...]:
    state = plan.state(run)
    if not (run / "status.json").exists():
        return (run.name, state, *[""] * (len(HEAD) - 2))
    status = read_json(run / "status.json")
    starts = len(read_json(run / "run.json")) if (run / "run.json").exists() else 0
    step = f"{status.get('step', 0)}/{status.get('steps') or '?'}"
    where = f"{status['host']} {status['pid']}" if state == "running" else status["host"]
    return run.name, state, step, _best(run, status), f"{_ago(status['heartbeat'])} ago", where, str(starts), status.get("reason") or ""


def _best(run: Path, status: dict[str, Any]) -> str:
    value = (status.get("best") or {}).get("best")
    return "" if value is None else screen(read_json(run / "config.json")["train"].get("monitor", "val/top1"), value)


def _ago(moment: str) -> str:
    seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
