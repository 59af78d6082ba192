"""Experiments: read a file, hand each section whole to one function, and let no key go unread.

An experiment is a Python file with `get_config(arg) -> ConfigDict`. Its sections (`model`, `data`, `optim`, ...) are the
keyword arguments of one function each, so a signature is the schema: a typo, a missing key or a wrong type is a message
that names the key. This file is also all that an experiment may import from cvjax; it must stay free of JAX.
"""

import inspect
import json
import re
import traceback
import types
import typing
from collections.abc import Callable, Iterable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cvjax.errors import UserError, did_you_mean
from cvjax.values import alike, parse, typed

EIGHT = 8  # pictures that `overfit` learns by heart
DURATION = re.compile(r"\s*(\d+\.?\d*(?:e\d+)?|\.\d+)\s*(epoch|step)s?\s*")


# ---- what an experiment file uses


def experiment(*, seed: int = 0, init: str = "", **sections: dict) -> ConfigDict:
    """A locked config from plain dicts. Locked: overriding a key that does not exist is an error.

    Args:
        seed: decides initial weights, data order, augmentation and dropout.
        init: folder of a run whose weights to begin from; "" for random weights.
        sections: task, model, data, image, augment, optim, train.
    """
    return ConfigDict({"seed": seed, "init": init, **sections}).lock()


def args(arg: str | None, **defaults: Any) -> types.SimpleNamespace:
    """Reads the text behind the colon of `--config=file.py:variant=56,smoke` by the types of `defaults`.

    A word alone means True. Raises UserError for a name that has no default here or a value of another type.
    """
    values = dict(defaults)
    for part in filter(None, (arg or "").split(",")):
        key, equals, text = part.partition("=")
        if key not in defaults:
            raise UserError(f"unknown config argument '{key}'{did_you_mean(key, defaults)}; this file takes: {_signature(defaults)}")
        if not equals and defaults[key] is not False:
            raise UserError(f"config argument '{key}' needs a value: {key}=...")
        values[key] = parse(text if equals else "true", type(defaults[key]), f"config argument '{key}'")
    return types.SimpleNamespace(**values)


def _signature(defaults: dict) -> str:
    return ", ".join(key if value is False else f"{key}={value}" for key, value in defaults.items())


def smoke(config: ConfigDict, **model: Any) -> ConfigDict:
    """The same experiment as a two-step run on fake images: what `:smoke` and the tests run.

    Args:
        model: model settings that make it small ("variant=8").
    """
    with config.unlocked():
        config.model.update(model)
        config.data = fake_data(config)
        if "duration" in config.train:  # a model that is fitted has none
            config.train.update(duration="2 steps", log_every="1 steps", eval_every="2 steps", checkpoint_every="2 steps")
        config.optim.update({key: "1 steps" for key in ("warmup",) if key in config.optim})
        if "schedule" in config.optim and config.optim.schedule == "step":
            config.optim.boundaries = ("1 steps",)
    return config


def overfit(config: ConfigDict, *, steps: int = 2000, lr: float = 0.0) -> ConfigDict:
    """The same experiment learning EIGHT of its own training pictures by heart: what `:overfit` runs, first on data of one's own.

    It is measured on the pictures it learns, and ends where COCO's AP is 0.9. A detector that cannot do that has wrong boxes, wrong classes
    or a wrong learning rate, and would not learn ten thousand pictures either.

    Args:
        steps: after which it gives up; over them the learning rate falls to 0, for the last tenths of AP are pixels.
        lr: the learning rate at the beginning; 0 is the experiment's own.
    """
    few = f"{re.split(r'[+[]', config.data.train)[0]}[:{EIGHT}]"
    leave = {"data": ("test",), "optim": ("boundaries", "ema")}
    with config.unlocked():
        for section, key in ((section, key) for section, keys in leave.items() for key in keys if key in config[section]):
            del config[section][key]
        config.data.update(train=few, val=few, batch_size=EIGHT)
        config.augment = ConfigDict()
        config.optim.update({"schedule": "cosine", "warmup": "50 steps"} | ({"lr": lr} if lr else {}))
        if "dropout" in config.model:
            config.model.dropout = 0.0
        config.train.update(duration=f"{steps} steps", log_every="10 steps", eval_every="50 steps", checkpoint_every="500 steps",
                            monitor="val/coco/AP", mode="max", until=0.9)  # fmt: skip
    return config


def fake_data(config: ConfigDict) -> ConfigDict:
    """The `data` section of `config`, with the source replaced by the fake one: text, or pictures of the same size."""
    pipeline = {key: config.data[key] for key in ("cache", "workers", "worker_kind") if key in config.data}
    batch = min(16, config.data.batch_size)
    if not config.image:
        kind = dict(task="text", length=min(16, config.data.length))
    else:
        task = config.task.name if config.task.name in ("multilabel", "segmentation", "detection") else "classification"
        kind = dict(task=task, size=config.image.size)
    return ConfigDict(dict(name="fake", train="train", val="val", batch_size=batch, **kind, num_examples=2 * batch, **pipeline))


# ---- reading


def load(path: str, arg: str | None = None) -> ConfigDict:
    """Runs `get_config(arg)` of an experiment file. Raises UserError when there is no such file or function."""
    config = run(path, lambda module: _get_config(module, path, arg))
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path}: get_config returned {type(config).__name__}, not a config; end it with `return config`")
    return config


def _get_config(module: types.ModuleType, path: str, arg: str | None) -> Any:
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} has no get_config(arg): an experiment file defines one that returns a config")
    return module.get_config(arg) if inspect.signature(module.get_config).parameters else module.get_config()


def run(path: str, function: Callable[[types.ModuleType], Any]) -> Any:
    """`function` of a Python file as a module. What the file raises becomes a UserError that names the line."""
    file = Path(path)
    if not file.is_file():
        folder = file.parent if file.parent.is_dir() and file.parent != Path() else Path("experiments")
        have = sorted(str(p) for p in folder.glob("*.py"))
        path = next((name for name in have if Path(name).stem == file.stem), path)
        raise UserError(f"no experiment file {path}{did_you_mean(path, have)}" + (f"; have: {', '.join(have)}" if have else ""))
    loader = SourceFileLoader(file.stem, str(file))
    module = types.ModuleType(file.stem)
    module.__file__ = str(file)
    try:
        loader.exec_module(module)
        return function(module)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{path}{_line(error, file)}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _line(error: BaseException, file: Path) -> str:
    """ ", line 7": the last place in the file itself that the error came through."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f", line {lines[-1]}" if lines else ""


def override(config: ConfigDict, assignments: Iterable[tuple[str, Any]]) -> None:
    """Sets `optim.lr` to a value, or to one written as text, by the type of the value that is there.

    A key that the experiment file leaves at its default is read as a number, true/false or a text; whether there is such a
    key is `schema.check_names`' question. Raises UserError.
    """
    for key, value in assignments:
        *parents, last = key.split(".")
        section = config
        for name in parents:
            if not isinstance(section, ConfigDict) or name not in section:
                have = section if isinstance(section, ConfigDict) else ()
                raise UserError(f"--config.{key}: there is no section '{name}'{did_you_mean(name, have)}; have: {', '.join(have)}")
            section = section[name]
        if not isinstance(section, ConfigDict) or (not parents and last not in config):
            have = config if not parents else ()
            raise UserError(f"--config.{key}: there is no such key{did_you_mean(last, have)}")
        old = section[last] if last in section else None
        if isinstance(old, ConfigDict):
            raise UserError(f"--config.{key} is a section; set one of its keys: {', '.join(old)}")
        with section.unlocked():
            parsed = (
                parse(value, type(old), f"--config.{key}", like=old) if isinstance(value, str) else alike(value, old, f"--config.{key}")
            )
            section[last] = _one_spelling(parsed)


def _one_spelling(value: Any) -> Any:
    """A duration as experiment files write it, "15epochs" as "15 epochs", so that equal settings are equal; other values as they are."""
    return DURATION.sub(r"\1 \2s", value) if isinstance(value, str) and DURATION.fullmatch(value) else value


class Reading:
    """A config whose reads are recorded, so that a key nobody read can be named: `reading.model`, then `unread()`."""

    def __init__(self, config: ConfigDict):
        self._config = config
        self._read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name not in self._config:
            raise UserError(f"config.{name} is missing{did_you_mean(name, self._config)}")
        self._read.add(name)
        value = self._config[name]
        return value.to_dict() if isinstance(value, ConfigDict) else value

    def done(self) -> None:
        """Raises UserError when a top-level key was never read."""
        unread = [key for key in self._config if key not in self._read]
        if unread:
            raise UserError(f"config.{unread[0]} is read by nothing{did_you_mean(unread[0], self._read)}; remove it")


def call(where: str, function: Callable, settings: dict, **given: Any) -> Any:
    """`function(**settings, **given)`, with the user's settings checked first (see `checked`)."""
    return function(**checked(where, function, settings, given), **given)


def checked(where: str, function: Callable, settings: dict, given: Iterable[str] = ()) -> dict:
    """`settings` as keyword arguments of `function`: its signature is the schema.

    Args:
        where: the config section the settings come from, for messages ("model").
        given: names of arguments that are not the user's to set.

    Raises:
        UserError: naming an unknown, missing or wrongly typed key.
    """
    hints = typing.get_type_hints(function)  # of a class its fields', each read in the file of the class that has it
    parameters = inspect.signature(function).parameters
    flax = ("parent", "name") if "parent" in parameters else ()
    ours = {name: p for name, p in parameters.items() if name not in (*given, *flax)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in ours.values())
    for key in settings:
        if key not in ours and not open_ended:
            raise UserError(f"config.{where}.{key} is unknown{did_you_mean(key, ours)}; have: {', '.join(ours)}")
    for key, p in ours.items():
        if p.default is p.empty and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and key not in settings:
            raise UserError(f"config.{where}.{key} is missing")
    return {key: typed(value, hints.get(key, Any), f"config.{where}.{key}") for key, value in settings.items()}


def steps(duration: str, steps_per_epoch: int, where: str = "duration") -> int:
    """Turns "30 epochs", "0.5 epochs" or "500 steps" into a number of steps, in this one place."""
    match = DURATION.fullmatch(str(duration))
    if not match:
        raise UserError(f"{where} is '{duration}'; write a duration as '30 epochs' or '500 steps'")
    number = float(match[1]) * (steps_per_epoch if match[2] == "epoch" else 1)
    if number >= 2**31:
        raise UserError(f"{where} is '{duration}', which is more than {2**31:,} steps")
    return round(number)


# ---- on disk


def read(folder: Path) -> ConfigDict:
    """The resolved config of the run in a folder. Raises UserError when there is none."""
    if not (folder / "config.json").is_file():
        inside = sorted(str(path.parent) for path in folder.glob("*/config.json"))
        remedy = f"the runs in it: {', '.join(inside[:10])}" if inside else "train one: python launch.py train --config=..."
        raise UserError(f"{folder} holds no run (no config.json); {remedy}")
    try:
        return from_json((folder / "config.json").read_text())
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / 'config.json'} is damaged ({error}); bring back a backup") from error


def to_json(config: ConfigDict) -> str:
    return json.dumps(config.to_dict(), indent=1, default=list)


def from_json(text: str) -> ConfigDict:
    return experiment(**_tuples(json.loads(text)))


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
