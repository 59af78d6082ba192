"""What a network is and costs, printed: layer by layer from shapes, memory from the compiler, time from the clock."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cvjax import config as configs
from cvjax import describe
from cvjax.build import Experiment, build, initial_state
from cvjax.data._source import Info
from cvjax.errors import UserError

SECONDS = 2.0  # of measuring for one batch size, at least


def network(config: ConfigDict, batch_sizes: Iterable[str], say: Callable[[str], None] = print) -> None:
    """A table of layers, then memory and speed of inference over batch sizes on one device."""
    sizes = [int(size) if size.isdigit() and int(size) else 0 for size in batch_sizes]
    if not all(sizes):
        raise UserError(f"--batch_sizes={','.join(batch_sizes)}: write whole numbers, as 1,8,32")
    e, assumed = _built(config)
    rows = describe.layers(e.model, e.blank())
    table: list[tuple[str, ...]] = [("layer", "output", "parameters", "multiply-adds", "outputs")]
    table += [(row.name or "(the model)", "x".join(map(str, row.output[1:])), *(f"{n:,}" for n in row[2:])) for row in rows]
    table += [("all", "", *_sums(rows))]
    for line in _aligned(table):
        say(line)
    if assumed:
        say(assumed)
    say(f"\nfor one image of {_image(e)}; multiply-adds and outputs of convolutions and matrix products, as papers count them")
    if jax.default_backend() == "cpu":
        say("measured on one CPU device")
    for line in _aligned([("batch", "memory", "latency", "images/s"), *_measured(e, sizes)]):
        say(line)


def every(folder: Path, say: Callable[[str], None] = print) -> None:
    """A line for each experiment in a folder."""
    table: list[tuple[str, ...]] = [("experiment", "model", "image", "parameters", "multiply-adds", "outputs", "")]
    for path in sorted(folder.glob("*.py")):
        config = configs.load(str(path))
        try:
            e, assumed = _built(config)
        except UserError as error:
            table.append((path.stem, "", "", "", "", "", str(error)))
            continue
        rows = describe.layers(e.model, e.blank())
        model = " ".join(str(config.model[key]) for key in ("name", "variant") if key in config.model)
        table.append((path.stem, model, _image(e), *_sums(rows), assumed))
    for line in _aligned(table):
        say(line)


def _built(config: ConfigDict) -> tuple[Experiment, str]:
    """The experiment, also where its data are not on this machine: then with a made-up number of classes, and a remark that says so."""
    try:
        return build(config, only=("train",)), ""
    except UserError as error:
        classes = tuple(str(i) for i in range(1000))
        made_up = build(config, only=(), info=Info(classes, 10**6, config.task.name))  # raises again where it is not for the data
        return made_up, f"1000 classes assumed: {error}"


def _image(e: Experiment) -> str:
    return f"{e.pixels.size}x{e.pixels.size}x{e.pixels.channels}"


def _sums(rows: list[describe.Layer]) -> list[str]:
    """Parameters, multiply-adds and outputs of all layers together."""
    return [f"{sum(column):,}" for column in list(zip(*rows, strict=True))[2:]]


def _measured(e: Experiment, sizes: Iterable[int]) -> Iterator[tuple[str, str, str, str]]:
    """Of inference on one device, for each batch size: compiler's memory, median seconds, images per second."""
    state, _, _ = initial_state(e, restoring=True)
    one = jax.device_put(jax.device_get({"params": state.params, "batch_stats": state.stats}), jax.local_devices()[0])
    for size in sizes:
        images = jnp.zeros((size, e.pixels.size, e.pixels.size, e.pixels.channels))
        forward = jax.jit(lambda variables, x: e.model.apply(variables, {"image": x}, train=False)).lower(one, images).compile()
        memory: Any = forward.memory_analysis()
        held = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
        times: list[float] = []
        while sum(times) < SECONDS or len(times) < 3:
            start = time.perf_counter()
            jax.block_until_ready(forward(one, images))
            times.append(time.perf_counter() - start)
        latency = statistics.median(times[1:])
        yield str(size), f"{held / 2**20:.1f} MiB", f"{1e3 * latency:.2f} ms", f"{size / latency:,.0f}"


def _aligned(table: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns, the numbers in them flush right."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]

    def cell(text: str, width: int) -> str:
        return text.rjust(width) if text[:1].isdigit() and len(text.split()) < 3 else text.ljust(width)

    return ["  ".join(map(cell, row, widths)).rstrip() for row in table]
