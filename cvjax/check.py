"""Everything that can fail in a run, tried in seconds: data, shapes of training, evaluation and prediction, memory, checkpoint, disk."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cvjax import describe, parallel, step, workdir
from cvjax.batches import training
from cvjax.build import Experiment, build, check_builds, initial_state
from cvjax.checkpoint import Checkpoints
from cvjax.data import _pipeline
from cvjax.errors import UserError, did_you_mean, some
from cvjax.preprocess import device_eval, host_eval
from cvjax.state import State


def check(config: ConfigDict, folder: Path | None, say: Callable[[str], None] = print) -> None:
    """Tries an experiment without training it; says what it found, a line each. Nothing is left behind.

    Args:
        folder: where it is going to run, for the disk and for a run that is there; None leaves these out.

    Raises:
        UserError: the first thing that would fail.
    """
    start = time.perf_counter()
    e = build(config)
    say(f"config   {e.total_steps} steps of {e.loading.batch_size}, {e.steps_per_epoch} an epoch, on {jax.device_count()} devices")
    state, optimiser, schedule = initial_state(e)
    macs = describe.multiply_adds(e.model, e.blank())
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    say(f"model    {describe.count(state.params):,} parameters, {macs:,} multiply-adds an example")
    say(f"memory   {_memory(e, state)}")
    _shapes(e, state, optimiser, schedule, say)
    _round_trip(state, folder)
    say(f"save     a checkpoint of {size / 1e6:.1f} MB reads back as it was written")
    if folder is not None:
        say(f"workdir  {_place(e, folder, size)}")
    say(f"no mistake found in {time.perf_counter() - start:.1f} s")


def _shapes(e: Experiment, state: State, optimiser: Any, schedule: Callable, say: Callable[[str], None]) -> None:
    """A batch of every split is read; the step, the evaluation and the prediction are traced with it, not run."""
    found: dict[str, str] = {}
    measured: dict[str, list[str]] = {}
    data = next(training(e, 0, found.update))
    say(f"data     train: {e.info.num_examples:,} examples, {len(e.info.classes)} classes; " + _fields(data))
    for reason in found.values():
        say(f"         cannot be read, another stands in for it: {reason}")
    if e.fitted:
        say("train    fits in one step")
    else:
        update = parallel.per_device(step.update(e, optimiser, schedule), step.data_axes(e))
        _, values = jax.eval_shape(update, state, parallel.rows(e.loading.batch_size), data)
        say(f"train    measures {', '.join(name for name in values if name not in ('lr', 'grad_norm', 'finite'))}")
    for split in (name for name in ("val", "test") if name in e.splits):
        readable(e, split, seconds=20)
        with _pipeline.eval_batches(
            e.splits[split],
            host_eval(e.pixels, e.splits[split].info),
            batch_size=e.loading.batch_size,
            workers=e.loading.workers,
            buckets=e.buckets,
        ) as batches:
            batch = parallel.shard(next(batches))
        terms, _ = jax.eval_shape(parallel.per_device(step.evaluation(e, e.decode), (None, 0)), state, batch)
        measured[split] = [f"{split}/{name}" for name in _evaluated(e, terms)]
        say(f"eval     {split}: {len(e.splits[split]):,} examples; measures {', '.join(measured[split])}")
    if e.training.monitor not in measured["val"]:
        raise UserError(f"config.train.monitor='{e.training.monitor}' is not measured; have: {', '.join(measured['val'])}")
    if e.pixels is not None:
        side = e.pixels.tile[0] if e.pixels.tile else e.pixels.size
        picture = {"image": jnp.zeros((1, side, side, e.pixels.channels), jnp.uint8)}
        say(f"predict  gives {', '.join(jax.eval_shape(step.forward(e), state, picture)[0])}")


def readable(e: Experiment, split: str, seconds: float) -> None:
    """Raises UserError naming the pictures of an evaluation split that cannot be read, and why the first, as far as it can look in so many
    seconds."""
    bad = _pipeline.unreadable(e.splits[split], seconds, e.loading.workers)
    if bad:
        what = f"{len(bad)} pictures of config.data.{split} cannot be read"
        first, *others = bad
        raise UserError(f"{what}, and evaluation skips none; mend, replace or remove them: {some([bad[first], *others])}")


def _fields(data: dict) -> str:
    return ", ".join(f"{name} {x.dtype}{list(x.shape)}" for name, x in data.items())


def _memory(e: Experiment, state: State) -> str:
    """What one device must hold, against what it has. Raises UserError when it cannot fit."""
    rows = e.loading.batch_size // jax.device_count() // e.training.accumulate
    variables = {"params": state.params, "batch_stats": state.stats}
    kept = describe.activations(e.model, variables, jax.eval_shape(lambda: e.blank(rows)))
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    if e.loading.cache == "device":
        held += e.info.num_examples * (e.pixels.size**2 * e.pixels.channels if e.pixels else 4 * e.info.length)
    needed, has = held + kept, _device_bytes()
    parts = f"{_mib(held)} of state and data, {_mib(kept)} of activations for {rows} examples"
    text = f"about {_mib(needed)} a device: {parts}"
    if needed > has:
        raise UserError(f"memory: {text}, but it has {_mib(has)}; lower config.data.batch_size or raise config.train.accumulate")
    return f"{text}; it has {_mib(has)}"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _device_bytes() -> int:
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return limit or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()


def _round_trip(state: State, folder: Path | None) -> None:
    place = _existing(folder) if folder else Path(tempfile.gettempdir())
    try:
        with tempfile.TemporaryDirectory(dir=place) as name, Checkpoints(Path(name)) as checkpoints:
            checkpoints.save(state, {"best": None, "best_step": 0}, None)
            checkpoints.restore(state)
    except OSError as error:
        raise UserError(f"{place} cannot be written: {error.strerror}") from error


def _place(e: Experiment, folder: Path, size: int) -> str:
    """What the workdir has room for. Raises UserError when another experiment's run is there or the disk cannot hold the checkpoints."""
    if (folder / "config.json").exists():
        workdir.check_config(folder, e)
    needed, free = size * (e.training.keep + 2), shutil.disk_usage(_existing(folder)).free
    if needed > free:
        raise UserError(f"{folder}: {e.training.keep + 2} checkpoints need {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free")
    return f"{folder} has {free / 1e9:.1f} GB free, checkpoints take {needed / 1e9:.2f}"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())


def studies_runs(listed: Iterable[tuple[str, ConfigDict]], metrics: Sequence[str]) -> None:
    """Builds every run of a study, shapes only. Raises UserError naming the first that cannot be, or a metric that no run measures."""
    probed = False
    traced: dict[str, Experiment] = {}
    for name, config in listed:
        try:
            e = build(config)
            probed = probed or bool(e.training.probes)
            told = config.to_dict()
            parts = repr([told[section] for section in ("task", "model", "data", "image", "optim")])
            if parts not in traced:
                check_builds(e)
                traced[parts] = e
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    for name in metrics:
        if "/" not in name and not probed:
            raise UserError(f"the study measures '{name}', as a probe does, and config.train.probes names none")
    _check_measured({name for name in metrics if "/" in name and not (probed and name.startswith(("train/", "start/")))}, traced.values())


def _check_measured(wanted: set[str], experiments: Iterable[Experiment]) -> None:
    """Raises UserError for a metric that none of them measures."""
    have: set[str] = set()
    for e in experiments:
        if not wanted <= have:
            have |= _measures(e)
    for name in sorted(wanted - have):
        raise UserError(f"no run measures '{name}'{did_you_mean(name, have)}; have: {', '.join(sorted(have))}")


def _evaluated(e: Experiment, terms: Iterable[str]) -> list[str]:
    """Names of what an evaluation measures: the terms of its step, what follows from them, and what the host counts."""
    metrics = e.task.host_metrics(e.splits["val"])
    return list(
        dict.fromkeys(["loss", *terms, *e.task.derived(dict.fromkeys(terms, 0.0)), *(metrics.names if metrics is not None else ())])
    )


def _measures(e: Experiment) -> set[str]:
    """The metrics that a run of `e` can be compared by; one picture is read for the shapes."""
    with _pipeline.eval_batches(e.splits["val"], host_eval(e.pixels, e.splits["val"].info), batch_size=1, buckets=e.buckets) as batches:
        picture = next(batches)
    variables = jax.eval_shape(lambda: e.model.init(jax.random.key(0), e.blank(), train=False))

    def terms_of(variables: dict, picture: dict) -> dict:
        batch = device_eval(picture, e.pixels)
        given = e.task.inputs(batch, None, e.info)
        outputs: Any = e.model.apply(variables, given, train=False)
        return step.reported(e, outputs, batch | given)

    terms = jax.eval_shape(terms_of, variables, picture)
    names = [*_evaluated(e, terms), *(["error"] if "top1" in terms else [])]
    in_steps = ("lr", "grad_norm", *getattr(e.model, "tallies", ()))
    return {f"{split}/{name}" for split in ("train", "start", *e.splits) for name in names} | {f"train/{name}" for name in in_steps}
