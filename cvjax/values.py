"""Values of settings: read from text by the type that is wanted, and held against a type."""

import ast
import math
import types
import typing
from typing import Any

from cvjax.errors import UserError


def parse(text: str, kind: type, where: str, like: Any = None) -> Any:
    """`text` as a value of type `kind`; tuples are written as `a,b` or `(a, b)`."""
    if kind is types.NoneType:
        return _guess(text)
    if kind is str:
        return text
    if kind is bool:
        if text.lower() in ("true", "1", "yes", "false", "0", "no"):
            return text.lower() in ("true", "1", "yes")
    elif kind in (tuple, list):
        words = [word.strip().strip("\"'") for word in text.strip("()[] ").split(",") if word.strip()]
        return tuple(parse(word, type(like[0]), where) if like else _guess(word) for word in words)
    else:
        try:
            return kind(text)
        except ValueError:
            pass
    raise UserError(f"{where} must be {_name(kind)}, not '{text}'")


def _guess(text: str) -> Any:
    """A number, a boolean, a tuple such as `2,9` or `(2, 9)`, or the text itself."""
    try:
        value = ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    except (ValueError, SyntaxError):
        return tuple(part.strip() for part in text.split(",")) if "," in text else text
    return tuple(value) if isinstance(value, tuple | list) else value if isinstance(value, int | float) else text


def _name(kind: Any) -> str:
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", tuple: "a list a,b,c"}
    return plain.get(kind) or str(kind).replace("typing.", "")


def typed(value: Any, hint: Any, where: str) -> Any:
    """`value`, when it is what the annotation says (an int will do for a float); plain types only, others pass."""
    allowed = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    plain = tuple(typing.get_origin(kind) or kind for kind in allowed)
    if not all(kind in (int, float, bool, str, tuple, dict, types.NoneType) for kind in plain):
        return value
    if isinstance(value, list):
        value = tuple(value)
    if plain == (tuple,) and isinstance(value, int | float | str):
        value = (value,)  # a list of one
    if isinstance(value, int) and not isinstance(value, bool) and float in plain and int not in plain:
        value = float(value)
    if not isinstance(value, plain) or (isinstance(value, bool) and bool not in plain):
        raise UserError(f"{where} must be {' or '.join(_name(kind) for kind in plain)}, not {value!r}")
    if any(isinstance(x, float) and not math.isfinite(x) for x in (value if isinstance(value, tuple) else (value,))):
        raise UserError(f"{where} is {value}; it must be a finite number")
    return value


def alike(value: Any, old: Any, where: str) -> Any:
    """`value` as the type of `old`: a text is read, anything else must fit; any type does where there is no old one."""
    if isinstance(value, str):
        return parse(value, type(old), where, like=old)
    return typed(tuple(value) if isinstance(value, list) else value, type(old) if old is not None else Any, where)
