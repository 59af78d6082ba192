"""What a network is and costs, printed: layer by layer from shapes, memory from the compiler, time from the clock."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cvjax import describe
from cvjax.build import Experiment, build, initial_state
from cvjax.data._source import Info
from cvjax.errors import UserError

SECONDS = 2.0  # of measuring for one batch size, at least


def network(config: ConfigDict, batch_sizes: Iterable[str], say: Callable[[str], None] = print) -> None:
    """A table of layers, then memory and speed of inference over batch sizes on one device."""
    sizes = whole(batch_sizes)
    e, assumed = built(config)
    rows = describe.layers(e.model, e.blank())
    table: list[tuple[str, ...]] = [("layer", "output", "parameters", "multiply-adds", "outputs")]
    for row in rows:
        output = row.output[1:] if row.output[:1] == (1,) else row.output  # dense layers see the places of all examples as rows
        table.append((row.name or "(the model)", "x".join(map(str, output)), *(f"{n:,}" for n in row[2:])))
    table += [("all", "", *_sums(rows))]
    for line in aligned(table):
        say(line)
    if assumed:
        say(assumed)
    say(f"\nfor one example of {e.shape}; multiply-adds and outputs of convolutions and matrix products, as papers count them")
    if jax.default_backend() == "cpu":
        say("measured on one CPU device")
    state, _, _ = initial_state(e, restoring=True)
    variables = {"params": state.params, "batch_stats": state.stats}
    for line in aligned([("batch", "memory", "latency", "examples/s"), *map(spoken, inference(e.model, variables, e.blank(), sizes))]):
        say(line)


def whole(batch_sizes: Iterable[str]) -> list[int]:
    """The flag's words as numbers. Raises UserError."""
    sizes = [int(size) if size.isdigit() and int(size) else 0 for size in batch_sizes]
    if not sizes or not all(sizes):
        raise UserError(f"--batch_sizes={','.join(batch_sizes)}: write whole numbers, as 1,8,32")
    return sizes


def built(config: ConfigDict) -> tuple[Experiment, str]:
    """The experiment, also where its data are not on this machine: then with a made-up number of classes, and a remark that says so."""
    try:
        return build(config, only=("train",)), ""
    except UserError as error:
        classes = tuple(str(i) for i in range(1000))
        length = 0 if config.image or "length" not in config.data else config.data.length
        info = Info(classes, 10**6, config.task.name, length=length)
        made_up = build(config, only=(), info=info)  # raises again where it is not for the data
        return made_up, f"1000 classes assumed: {error}"


def _sums(rows: list[describe.Layer]) -> list[str]:
    """Parameters, multiply-adds and outputs of all layers together."""
    return [f"{sum(column):,}" for column in list(zip(*rows, strict=True))[2:]]


class Measured(NamedTuple):
    """One batch size of inference on one device: the compiler's memory in bytes, median and least seconds of `repeats` passes.

    cpu: this process's CPU-seconds a pass, which neighbours on the machine move less than the clock; on an accelerator the host's.
    """

    batch: int
    memory: int
    latency: float
    fastest: float
    cpu: float
    repeats: int


def inference(model: nn.Module, variables: dict, blank: dict, sizes: Iterable[int], seconds: float = SECONDS) -> Iterator[Measured | int]:
    """A `Measured` for each batch size; the size alone where, by the one before, a pass would take over ten times `seconds`.

    blank: inputs of one example; the floating-point ones are drawn at random.
    """
    one = jax.device_put(jax.device_get(variables), jax.local_devices()[0])
    pace = 0.0  # seconds an image
    for size in sizes:
        if size * pace > 10 * seconds:
            yield size
            continue
        inputs = {name: _batch(x, size) for name, x in blank.items()}
        forward = jax.jit(lambda variables, x: model.apply(variables, x, train=False)).lower(one, inputs).compile()
        memory: Any = forward.memory_analysis()
        held = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
        jax.block_until_ready(forward(one, inputs))  # the first pass finds its memory
        times: list[float] = []
        cpu = time.process_time()
        while sum(times) < seconds or len(times) < 2:
            start = time.perf_counter()
            jax.block_until_ready(forward(one, inputs))
            times.append(time.perf_counter() - start)
        pace = statistics.median(times) / size
        yield Measured(size, held, statistics.median(times), min(times), (time.process_time() - cpu) / len(times), len(times))


def _batch(x: jax.Array, size: int) -> jax.Array:
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jax.random.normal(jax.random.key(0), (size, *x.shape[1:]))
    return jnp.repeat(x, size, 0)


def spoken(found: Measured | int) -> tuple[str, str, str, str]:
    """Batch size, memory, latency, images a second."""
    if isinstance(found, int):
        return str(found), "", "(left out: too slow)", ""
    speed = found.batch / found.latency
    return (
        str(found.batch),
        f"{found.memory / 2**20:.1f} MiB",
        f"{1e3 * found.latency:.2f} ms",
        f"{speed:,.0f}" if speed > 9 else f"{speed:.2g}",
    )


def aligned(table: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns, the numbers in them flush right."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]

    def cell(text: str, width: int) -> str:
        return text.rjust(width) if text[:1].isdigit() and len(text.split()) < 3 else text.ljust(width)

    return ["  ".join(map(cell, row, widths)).rstrip() for row in table]
