"""From a name to a module: `find("models", "resnet")` is `cvjax/models/resnet.py`. The only importlib in the package."""

import importlib
from pathlib import Path
from types import ModuleType

from cvjax.errors import UserError, did_you_mean

HERE = Path(__file__).parent


def names(kind: str) -> list[str]:
    """Names of the modules in one folder of the package ("models", "tasks", "data"); private ones are left out."""
    return sorted(path.stem for path in (HERE / kind).glob("[!_]*.py"))


def find(kind: str, name: str) -> ModuleType:
    """The module `cvjax.<kind>.<name>`. Raises UserError with the names there are."""
    if name not in names(kind):
        raise UserError(f"there is no cvjax/{kind}/{name}.py{did_you_mean(name, names(kind))}; have: {', '.join(names(kind))}")
    return importlib.import_module(f"cvjax.{kind}.{name}")
