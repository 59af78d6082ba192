"""Which keys each section of an experiment takes, read off the source by `ast`.

A section goes whole into one constructor or function, whose signature is the schema; `config.checked` holds values against
it when the parts are built. Reading names from the source tells a typo in a tenth of a second, before JAX is imported.
"""

import ast
import functools
import math
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cvjax.config import override
from cvjax.errors import UserError, did_you_mean
from cvjax.lookup import HERE, names, no_python

# section -> where its schema is: {file: class or function}; {} stands for the section's own `name`
SECTIONS = {
    "task": {"tasks/{}.py": "loss"},  # or the model's, where the task needs its loss
    "model": {"models/{}.py": "Model"},
    "data": {"data/{}.py": "load", "settings.py": "Loading"},
    "image": {"preprocess.py": "Pixels"},
    "augment": {"preprocess.py": "Augment"},
    "optim": {"optim.py": "make"},
    "train": {"settings.py": "Training"},
}
NAMED = {"task": "tasks", "model": "models", "data": "data"}
GIVEN = {  # arguments that are not the user's to set
    "task": ("outputs", "batch", "of_model"),
    "model": ("num_classes",),
    "data": ("split",),
    "optim": ("params", "total_steps", "steps_per_epoch", "layer", "model", "inputs", "num_examples"),
}
PLAIN = ("seed", "init")


def assign(config: ConfigDict, assignments: list[tuple[str, Any]]) -> ConfigDict:
    """The config with these values: names first, since another model or data set has other settings. All names are checked."""
    names = [(key, value) for key, value in assignments if key.endswith(".name")]
    others = [(key, value) for key, value in assignments if not key.endswith(".name")]
    override(config, names)
    forget_leftovers(config, names)
    override(config, others)
    check_names(config)
    return config


def check_names(config: ConfigDict) -> None:
    """Raises UserError for the first section, module or key that there is not, with what was probably meant."""
    for section in config:
        if section not in (*SECTIONS, *PLAIN):
            raise UserError(f"config.{section} is read by nothing{did_you_mean(section, SECTIONS)}; have: {', '.join((*PLAIN, *SECTIONS))}")
    for section in SECTIONS:
        if section not in config:
            raise UserError(f"config.{section} is missing")
        allowed = keys(section, config[section], config.model["name"] if section in ("optim", "task") else "")
        for key in config[section]:
            if key not in allowed:
                raise UserError(f"config.{section}.{key} is unknown{did_you_mean(key, allowed)}; have: {', '.join(allowed)}")


def forget_leftovers(config: ConfigDict, assignments: list[tuple[str, Any]]) -> None:
    """Where the command line names another model, task or source: drops the file's settings for the one it had named.

    What the loop itself reads of the section (splits, batch size, ...) stays, and of a source's settings what the other takes too: `root`
    is where the data lie, whatever their form. (Of models nothing stays: two of them mean different things by `variant`.) A fitted model
    has no use for an optimiser's settings, nor a trained one for those of a fit.
    """
    given = [key for key, _ in assignments]
    general = ["name", *_parameters(HERE / "settings.py", "Loading")]
    stay = {section: general for section in NAMED if f"{section}.name" in given}
    if "data" in stay and config.data.name in names("data"):
        stay["data"] = [*general, *_parameters(HERE / f"data/{config.data.name}.py", "load")]
    if "model" in stay:
        stay["optim"] = [key for key in config.optim if key not in _of_the_other_kind(config.model.name)]
    for section, kept in stay.items():
        with config.unlocked():
            for key in [key for key in config[section] if key not in kept and f"{section}.{key}" not in given]:
                del config[section][key]


def _of_the_other_kind(model: str) -> list[str]:
    """Settings of an optimiser where the model is fitted, else of any fit."""
    if _is_fitted(model):
        return _parameters(HERE / "optim.py", "make")
    return [key for other in names("models") if _is_fitted(other) for key in _parameters(HERE / f"models/{other}.py", "fit")]


def _is_fitted(model: str) -> bool:
    return _has(model, "fit")


def _has(model: str, function: str) -> bool:
    return model in names("models") and _find(HERE / f"models/{model}.py", function) is not None


def keys(section: str, settings: ConfigDict, model: str = "") -> list[str]:
    """The keys that a section may have, given its `name`; of optim and task also the model's, which may be fitted or bring its own loss."""
    name = settings["name"] if "name" in settings else ""
    if section in NAMED and name not in names(NAMED[section]):
        have = names(NAMED[section])
        raise UserError(f"config.{section}.name is '{name}'{did_you_mean(name, have)}; have: {', '.join(have)}")
    found = ["name"] if section in NAMED else []
    where = SECTIONS[section]
    if section == "optim" and _is_fitted(model):
        where = {f"models/{model}.py": "fit"}
    if section == "task" and "of_model" in _parameters(HERE / f"tasks/{name}.py", "loss") and _has(model, "loss"):
        where = {f"models/{model}.py": "loss"}
    for file, definition in where.items():
        found += _parameters(HERE / file.format(name), definition)
    return [key for key in found if section not in GIVEN or key not in GIVEN[section]]


@functools.cache  # a study asks for every one of its runs
def _parameters(path: Path, definition: str) -> list[str]:
    """Names of a function's parameters or of a class's annotated fields, inherited ones first."""
    found = _find(path, definition)
    if found is None:
        raise UserError(f"{path.relative_to(HERE.parent)} has no {definition}; write or import one")
    return list(dict.fromkeys(_names(*found)))


def _names(file: Path, node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    if isinstance(node, ast.FunctionDef):
        return [arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)]
    bases = [found for base in node.bases if (found := _find(file, ast.unparse(base), node.lineno))]
    inherited = [name for found in bases for name in _names(*found)]
    return inherited + [item.target.id for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]


@functools.cache
def _find(path: Path, name: str, above: float = math.inf) -> tuple[Path, ast.FunctionDef | ast.ClassDef] | None:
    """The function or class that a file calls `name` ("loss", "detr.Model") above a line, and its file: this one or another model's."""
    module, _, attribute = name.rpartition(".")
    for node in reversed([node for node in _body(path) if node.lineno < above]):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return path, node
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return _find(path, ast.unparse(node.value), node.lineno) if isinstance(node.value, (ast.Name, ast.Attribute)) else None
        for alias in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
            origin = alias.name
            if isinstance(node, ast.ImportFrom):
                origin = ".".join(filter(None, ["cvjax.models" * bool(node.level), node.module, alias.name]))
            if (alias.asname or alias.name) in (name, module) and origin.startswith("cvjax.models."):
                file, _, inside = origin.removeprefix("cvjax.models.").partition(".")
                other = path.with_name(f"{file}.py")
                return _find(other, inside or attribute) if other.is_file() and other != path else None
    return None


@functools.cache
def _body(path: Path) -> list[ast.stmt]:
    """The statements of a file. Raises UserError for one that is no Python."""
    try:
        return ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, ValueError) as error:
        raise no_python(path, error) from error
