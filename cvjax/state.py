"""What a training run is: four things in a struct, (sum, count) terms, and keys that are derived instead of stored."""

import zlib
from typing import Any, NamedTuple

import jax
from flax import struct
from jaxtyping import Array, Key


@struct.dataclass
class State:
    """Everything that training changes. Random keys, the data position and the configuration are derived from `step`."""

    step: Array  # int32, how many updates were made; -n once step n met a number that is not finite, and no update follows
    params: Any
    stats: Any  # BatchNorm's running statistics
    opt: Any  # the optimiser's own state; holds the averaged parameters (EMA) when they are asked for


class Term(NamedTuple):
    """One loss or metric of a batch: sums over examples, divided once, after summing over devices and batches.

    A mean of per-device means is another objective as soon as devices hold different counts. Weight 0 means report only.
    """

    sum: Any
    count: Any
    weight: float = 0.0


def flat(tree: Any) -> dict[str, Any]:
    """{"params/head/kernel": leaf}"""
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def key(seed: int, stream: str, step: Any) -> Key[Array, ""]:
    """The random key of one purpose ("dropout", "flip") at one step; the same after a resume as in one go."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode())), step)


def streams(seed: int, number: Any, device: Any) -> dict[str, Key[Array, ""]]:
    """What a network draws from in training step `number` (from 0): "dropout" is each device's own, "depth" the same on all."""
    return {"dropout": jax.random.fold_in(key(seed, "model", number), device), "depth": key(seed, "depth", number)}


def example_keys(seed: int, stream: str, step: Any, rows: Array) -> Key[Array, "b"]:
    """One key per example from its row in the global batch, so that draws do not depend on the number of devices."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key(seed, stream, step), rows)
