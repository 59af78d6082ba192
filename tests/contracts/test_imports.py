"""Who may import whom, read from the import statements; and other rules of the tree that a reader relies on."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = sorted((ROOT / "cvjax").rglob("*.py"))

# folder -> what its files may import from cvjax; everything else in cvjax is closed to them
MAY = {
    "ops": ("ops",),
    "layers": ("layers", "ops"),
    "models": ("models", "layers", "ops"),
    "tasks": ("tasks", "ops", "metrics", "state", "lettering", "overlay", "frames", "errors"),
    "metrics": ("metrics", "errors"),
    "probes": ("probes", "layers", "ops", "describe", "errors"),
    "data": ("data", "ops", "errors", "environment"),
    "reporting": ("reporting", "errors", "lettering", "files", "data", "metrics"),
}
CLOSED_TO_CORE = ("models", "tasks", "probes")  # the loop knows no model, task or data source by name


def imported(path: Path) -> set[str]:
    """Modules that a file imports, as dotted names ("cvjax.ops.boxes", "jax.numpy")."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def parts(name: str) -> list[str]:
    return name.split(".")


@pytest.mark.parametrize("path", PACKAGE, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_keep_their_direction(path):
    place = path.relative_to(ROOT / "cvjax").parts
    for name in imported(path):
        if not name.startswith("cvjax."):
            continue
        target = parts(name)[1]
        if len(place) > 1 and place[0] in MAY:
            assert target in MAY[place[0]], f"{path} may not import {name}"
        elif len(place) == 1:
            assert target not in CLOSED_TO_CORE, f"{path} may not import {name}: use lookup.find"
            if target == "data":
                assert parts(name)[2].startswith("_"), f"{path} names the data source {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_experiments_import_config_and_studies_only(path):
    ours = {name for name in imported(path) if name.startswith(("cvjax", "jax", "flax"))}
    assert all(name.startswith(("cvjax.config", "cvjax.study", "cvjax.search")) for name in ours), ours


@pytest.mark.parametrize("path", [p for p in PACKAGE if "metrics" in p.parts], ids=lambda p: p.name)
def test_metrics_need_numpy_opencv_and_pycocotools_only(path):
    free = {"numpy", "cv2", "math", "cvjax", "collections", "itertools", "typing", "dataclasses", "pycocotools", "__future__"}
    assert {parts(name)[0] for name in imported(path)} <= free


@pytest.mark.parametrize("path", PACKAGE, ids=lambda p: str(p.relative_to(ROOT)))
def test_house_rules(path):
    text = path.read_text()
    assert text.count("\n") <= 300, "past 300 lines a file wants to be two"
    if path.name != "parallel.py":
        assert not re.search(r"\bpmap\(", text), "parallel.py is the only file that says pmap"
    if path.name != "lookup.py":
        assert "import_module" not in text, "lookup.py is the only one that imports by name"
    assert not re.search(r"(config|cfg)[a-z_.]*\.get\(", text), "no default at the point of use"
    assert ast.get_docstring(ast.parse(text)) or not text.strip(), "a file begins by saying what it is"


def test_heavy_imports_wait():
    """tfds, matplotlib, sklearn, optuna and pycocotools are imported inside the functions that use them."""
    for path in PACKAGE:
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in top for alias in node.names} | {getattr(node, "module", "") for node in top}
        heavy = {
            name for name in names if parts(name or "")[0] in ("tensorflow_datasets", "matplotlib", "sklearn", "optuna", "pycocotools")
        }
        assert not heavy, f"{path}: {heavy}"
