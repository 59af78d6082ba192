"""The parts of an experiment, built from its config and checked, before anything is trained."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cvjax import config as configs
from cvjax import consistency, lookup, optim, parallel, transfer
from cvjax.data._augment_boxes import PIECES
from cvjax.data._source import BeyondSplit, Info, Source
from cvjax.errors import UserError, some
from cvjax.preprocess import Augment, Pixels
from cvjax.settings import Loading, Training
from cvjax.state import State, flat, key


@dataclass(frozen=True)
class Experiment:
    """An experiment with every name resolved.

    `splits` holds the opened sources: train, val and, if asked for, test. `info` is the training split's, also where that
    split itself is not opened.
    """

    config: ConfigDict
    seed: int
    init: str
    task: ModuleType
    loss: Callable
    decode: Callable
    model_file: ModuleType
    model: nn.Module
    fields: dict[str, int]
    info: Info
    splits: dict[str, Source]
    loading: Loading
    pixels: Pixels | None
    augment: Augment
    training: Training

    @property
    def fitted(self) -> bool:
        """Whether the model file has a `fit` that stands in for gradient steps, see `cvjax.fitting`."""
        return hasattr(self.model_file, "fit")

    @property
    def buckets(self) -> tuple[tuple[int, int], ...]:
        """What pictures of many sizes are padded to; () where all have one."""
        return self.pixels.buckets if self.pixels is not None and self.info.task == "detection" else ()

    @property
    def examples_per_step(self) -> int:
        return self.info.num_examples if self.fitted else self.loading.batch_size

    @property
    def steps_per_epoch(self) -> int:
        return self.info.num_examples // self.examples_per_step

    @property
    def total_steps(self) -> int:
        return 1 if self.fitted else self.steps("duration")

    def steps(self, name: str) -> int:
        """A duration of `config.train` in steps, at least one."""
        found = configs.steps(getattr(self.training, name), self.steps_per_epoch, f"config.train.{name}")
        if found < 1:
            raise UserError(f"config.train.{name} is '{getattr(self.training, name)}'; it must be at least one step")
        return found

    def blank(self, rows: int = 1) -> dict[str, jax.Array]:
        """Model inputs of black pictures, or of texts of the first token; for shapes only."""
        if self.pixels is None:
            batch = {"tokens": jnp.zeros((rows, self.info.length), jnp.int32)}
        else:
            batch = {"image": jnp.zeros((rows, self.pixels.size, self.pixels.size, self.pixels.channels))}
        return self.task.inputs(batch, None, self.info)

    @property
    def shape(self) -> str:
        """What one example is, in words: "32x32x3", "128 tokens"."""
        return f"{self.info.length} tokens" if self.pixels is None else f"{self.pixels.size}x{self.pixels.size}x{self.pixels.channels}"


def build(config: ConfigDict, *, only: tuple[str, ...] = ("train", "val", "test"), info: Info | None = None) -> Experiment:
    """Resolves every section of a config. Opens the splits named in `only`; reads no example.

    Args:
        info: of the training split, for runs whose training data need not be there any more.

    Raises:
        UserError: naming the key, the split or the class that is wrong.
    """
    read = configs.Reading(config)
    task_settings, model_settings = read.task, read.model
    task = _named("task", "tasks", task_settings)
    model_file = _named("model", "models", model_settings)
    loss, decode = _answers(task, model_file, task_settings)
    loading, splits = _open(read.data, only)
    info = info or splits["train"].info
    fields_of_data = task.fields(info)
    experiment = Experiment(
        config=config,
        seed=_seed(read.seed),
        init=read.init,
        task=task,
        loss=loss,
        decode=decode,
        model_file=model_file,
        model=configs.call("model", model_file.Model, model_settings, **fields_of_data),
        fields=fields_of_data,
        info=info,
        splits=splits,
        loading=loading,
        pixels=_pixels(read.image, info),
        augment=configs.call("augment", Augment, read.augment),
        training=configs.call("train", Training, read.train),
    )
    _ = read.optim  # the optimiser is made in initial_state, when the parameters are known
    read.done()
    consistency.check(experiment)
    return experiment


def initial_state(experiment: Experiment, restoring: bool = False, complete: bool = False) -> tuple[State, Any, Any]:
    """Step 0 on every device, the optimiser, and the learning rate as a function of the step (see `make_optimiser`).

    `restoring` skips `config.init`, because a checkpoint will replace the values. `complete` raises UserError unless `config.init`
    fills every parameter.
    """
    if experiment.fitted and experiment.init and not (restoring or complete):
        raise UserError(f"config.init='{experiment.init}': a fitted model begins with nothing; leave init away")
    variables = _variables(experiment)
    params, stats = variables["params"], variables.get("batch_stats", {})
    fresh = list(flat({"params": params}))  # all of them, unless there is something to begin from
    if experiment.init and not restoring:
        params, stats, fresh = transfer.initialise(params, stats, experiment.init, experiment.model)
        if fresh and complete:
            raise UserError(f"{experiment.init} does not fill the model: {some(fresh)}")
        print(f"from {experiment.init}" + (f"; initialised anew: {some(fresh)}" if fresh else ""))
    optimiser, schedule = make_optimiser(experiment, params)
    if not restoring:
        _warn_of_frozen(experiment.config.optim.to_dict(), [path.partition("/")[2] for path in fresh if path.startswith("params/")])
    slots = () if experiment.fitted else jax.jit(optimiser.init)(params)
    state = State(step=jnp.int32(0), params=params, stats=stats, opt=slots)
    return parallel.replicate(state), optimiser, schedule


def check_builds(e: Experiment) -> None:
    """Raises UserError where the model or the optimiser of an experiment cannot be made, or begins with nothing; makes shapes only."""
    if e.init:
        transfer.check_source(e.init)
    make_optimiser(e, jax.eval_shape(partial(_init, e), jax.random.key(0))["params"])


def make_optimiser(e: Experiment, params: Any, **given: Any) -> tuple[Any, Any]:
    """The optimiser and the learning rate of each step; of a fitted model what its `fit` returns, and None.

    `given` stands for settings of config.optim: numbers that only the device knows.
    """
    settings = {name: value for name, value in e.config.optim.to_dict().items() if name not in given}
    if e.fitted:
        try:
            return configs.call(
                "optim", e.model_file.fit, settings, model=e.model, inputs=e.blank(), num_examples=e.info.num_examples
            ), None
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"config.optim: {str(error).splitlines()[0]}") from error
    given |= {"total_steps": e.total_steps, "steps_per_epoch": e.steps_per_epoch, "layer": getattr(e.model_file, "layer", None)}
    return configs.call("optim", optim.make, settings, params=params, **given)


def _init(e: Experiment, k: jax.Array) -> dict:
    try:
        outputs, variables = e.model.init_with_output(k, e.blank(), train=False)
    except UserError:
        raise
    except (ValueError, TypeError) as error:
        raise UserError(f"config.model: {str(error).splitlines()[0]}") from error
    _check_outputs(e, outputs)  # while it is traced, which is when shapes are known
    return dict(variables)


def _variables(e: Experiment) -> dict:
    """Initial parameters and statistics. Raises UserError when the model's logits are not one for each class of the data."""
    # It runs once: on a CPU optimising it takes six times as long as compiling it (7.6 s against 1.3 s for a ResNet-20).
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(partial(_init, e), compiler_options=quick)(key(e.seed, "init", 0))


def _warn_of_frozen(optim: dict, fresh: list[str]) -> None:
    frozen = [path for path in fresh if optim.get("freeze") and re.search(optim["freeze"], path)]
    if frozen:
        told = f"config.optim.freeze keeps random weights as they are: {some(frozen, 3)}; begin with trained ones by --init"
        print(f"cvjax: warning: {told}", file=sys.stderr)


def _answers(task: ModuleType, model_file: ModuleType, settings: dict) -> tuple[Callable, Callable]:
    """`loss(outputs, batch)` and `decode(outputs)`: the task's own, or made of the model's where its paper says them (`task.NEEDS`).

    config.task is then what the model's loss takes.
    """
    name = model_file.__name__.rpartition(".")[2]
    lacking = [part for part in task.NEEDS if not hasattr(model_file, part)]
    if lacking:
        who = task.__name__.rpartition(".")[2]
        raise UserError(f"config.task.name '{who}' needs a model with its own {' and '.join(lacking)}; models/{name}.py has none")
    if not task.NEEDS:
        return partial(task.loss, **configs.checked("task", task.loss, settings, ("outputs", "batch"))), task.decode
    checked = configs.checked("task", model_file.loss, settings, ("outputs", "batch"))
    return partial(task.loss, of_model=partial(model_file.loss, **checked)), partial(task.decode, of_model=model_file.decode)


def _check_outputs(e: Experiment, outputs: dict) -> None:
    file = f"{e.model_file.__name__.replace('.', '/')}.py"
    if e.info.task == "detection":
        _check_room(e, file, outputs["boxes"].shape[1])
    if e.task.NEEDS:
        return  # what the model's own loss is made for
    if "num_classes" in e.fields and "logits" not in outputs:
        raise UserError(f"{file} returns {', '.join(outputs)}, but no 'logits'")
    if "num_classes" in e.fields and outputs["logits"].shape[-1] != e.fields["num_classes"]:
        raise UserError(f"{file} returns {outputs['logits'].shape[-1]} logits for {e.fields['num_classes']} classes; use num_classes")


def _check_room(e: Experiment, file: str, answers: int) -> None:
    """Raises UserError where a picture can have more objects than the network has answers, so that some would never be learned."""
    most = e.info.most_objects * (PIECES if e.augment.mosaic else 1)
    if answers < most:
        one = "a mosaic" if e.augment.mosaic else "one"
        mend = "raise config.model.queries" + " or set config.augment.mosaic=0.0" * bool(e.augment.mosaic)
        raise UserError(f"{file} answers with {answers} boxes a picture, and {one} may have {most} objects; {mend}")


def _pixels(settings: dict, info: Info) -> Pixels | None:
    if not info.length:
        return configs.call("image", Pixels, settings)
    if settings:
        raise UserError(f"config.image.{next(iter(settings))} is for pictures, and the data are text; set image={{}}")
    return None


def _seed(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise UserError(f"config.seed is {value!r}; it must be a whole number from 0 to {2**31 - 1}")
    return value


def _named(section: str, folder: str, settings: dict) -> ModuleType:
    """The module that a section's `name` means; takes the name out of the settings."""
    if "name" not in settings:
        raise UserError(f"config.{section}.name is missing; have: {', '.join(lookup.names(folder))}")
    return lookup.find(folder, settings.pop("name"))


def _open(data: dict, only: tuple[str, ...]) -> tuple[Loading, dict[str, Source]]:
    """The data section, divided: what Loading has fields for is the loop's, the rest goes to the source's `load`."""
    source = _named("data", "data", data)
    ours = {field.name for field in fields(Loading)}
    loading = configs.call("data", Loading, {name: value for name, value in data.items() if name in ours})
    theirs = {name: value for name, value in data.items() if name not in ours}
    wanted = {name: getattr(loading, name) for name in only if getattr(loading, name)}
    return loading, {name: _load(source.load, theirs, split) for name, split in wanted.items()}


def _load(load: Callable, settings: dict, split: str) -> Source:
    try:
        return configs.call("data", load, settings, split=split)
    except BeyondSplit as error:
        if not split.endswith(f"[:{configs.EIGHT}]"):
            raise
        fewer = "bring more, or set config.data.train and val to fewer ('train[:3]'), and config.data.batch_size alike"
        raise UserError(f"{error}; `overfit` learns {configs.EIGHT} pictures by heart: {fewer}") from error
