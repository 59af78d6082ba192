"""Checks of settings that many networks share; each raises ValueError, which names the network, the setting and what it may be."""

from collections.abc import Collection

import flax.linen as nn


def one_of(model: nn.Module, **choices: Collection) -> None:
    """Each named setting is one of its choices."""
    for name, have in choices.items():
        value = getattr(model, name)
        if value not in have:
            raise ValueError(f"{_named(model)}: no {name} {value!r}; have {', '.join(map(repr, have))}")


def dropout(model: nn.Module) -> None:
    """`dropout` is a share that can be left out."""
    share: float = vars(model)["dropout"]
    if not 0 <= share < 1:
        raise ValueError(f"{_named(model)}: dropout {share}; a share of at least 0 and below 1")


def _named(model: nn.Module) -> str:
    return type(model).__module__.rpartition(".")[2]
