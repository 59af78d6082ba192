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
    try:
        return importlib.import_module(f"cvjax.{kind}.{name}")
    except SyntaxError as error:
        raise no_python(Path(error.filename or name), error) from error


def no_python(path: Path, error: SyntaxError | ValueError) -> UserError:
    """What to say of a file that does not parse; ValueError is of one that is no text."""
    line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
    what = error.msg if isinstance(error, SyntaxError) else str(error)
    return UserError(f"{path.relative_to(HERE.parent) if path.is_relative_to(HERE.parent) else path}{line}: {what}; mend the file")
