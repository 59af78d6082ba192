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
from cvjax import lookup, optim, parallel, transfer
from cvjax.data._source import Info, Source
from cvjax.errors import UserError, some
from cvjax.preprocess import Augment, Pixels
from cvjax.settings import Loading, Training
from cvjax.state import State, key


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
    loading, splits = _open(read.data, only)
    info = info or splits["train"].info
    fields_of_data = task.fields(info)
    experiment = Experiment(
        config=config,
        seed=_seed(read.seed),
        init=read.init,
        task=task,
        loss=partial(task.loss, **configs.checked("task", task.loss, task_settings, ("outputs", "batch"))),
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
    _check(experiment)
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
    if experiment.init and not restoring:
        params, stats, fresh = transfer.initialise(params, stats, experiment.init, experiment.model)
        if fresh and complete:
            raise UserError(f"{experiment.init} does not fill the model: {some(fresh)}")
        print(f"from {experiment.init}" + (f"; initialised anew: {some(fresh)}" if fresh else ""))
        _warn_of_frozen(experiment.config.optim.to_dict(), [path.partition("/")[2] for path in fresh if path.startswith("params/")])
    optimiser, schedule = make_optimiser(experiment, params)
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
        print(f"cvjax: warning: config.optim.freeze keeps random weights as they are: {some(frozen)}", file=sys.stderr)


def _check_outputs(e: Experiment, outputs: dict) -> None:
    file = f"{e.model_file.__name__.replace('.', '/')}.py"
    if "num_classes" in e.fields and "logits" not in outputs:
        raise UserError(f"{file} returns {', '.join(outputs)}, but no 'logits'")
    if "num_classes" in e.fields and outputs["logits"].shape[-1] != e.fields["num_classes"]:
        raise UserError(f"{file} returns {outputs['logits'].shape[-1]} logits for {e.fields['num_classes']} classes; use num_classes")


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
    return loading, {name: configs.call("data", source.load, theirs, split=split) for name, split in wanted.items()}


def _check(experiment: Experiment) -> None:
    """What can be wrong between sections. Raises UserError."""
    e, batch = experiment, experiment.loading.batch_size
    training = "train" in e.splits
    if e.splits:
        parallel.check_divides(batch, "config.data.batch_size", e.training.accumulate if training else 1)
    for name, source in e.splits.items():
        if source.info.classes != e.info.classes:
            odd = sorted(set(source.info.classes) ^ set(e.info.classes)) or ["their order"]
            raise UserError(f"config.data.{name} has other classes than the training data: {', '.join(odd[:5])}")
        if source.info.task not in e.task.DATA:
            raise UserError(f"config.data is for task '{source.info.task}', but config.task.name is '{e.task.__name__.rpartition('.')[2]}'")
    if training and not e.steps_per_epoch:
        raise UserError(f"config.data.batch_size={batch} is larger than the {e.info.num_examples} training examples; lower it")
    if training:
        _check_times(e)
    for name in e.training.probes:
        lookup.find("probes", name)
    if e.pixels is None and e.augment != Augment():
        raise UserError("config.augment is for pictures, and the data are text; set augment={}")
    if e.loading.cache == "device" and e.augment.on_host:
        raise UserError("config.augment.crop='resized' and randaugment work on the host: set config.data.cache='none'")
    if e.info.task == "segmentation":
        _check_planes(e)
    elif e.pixels is not None and e.pixels.tile:
        raise UserError("config.image.tile is for pictures with label maps; set it to ()")
    elif (e.augment.zoom, e.augment.rotate, e.augment.elastic, e.augment.photometric) != ((1.0, 1.0), 0.0, 0.0, 0.0):
        raise UserError("config.augment: zoom, rotate, elastic and photometric are for pictures with label maps")
    if e.fitted and training:
        _check_fitted(e)
    rows = batch // jax.device_count() // e.training.accumulate
    if training and rows % 2 and (e.augment.mixup or e.augment.cutmix):
        raise UserError(f"mixup and cutmix pair neighbours, but a device holds {rows} examples; double config.data.batch_size")


def _check_times(e: Experiment) -> None:
    named = ("log_every", "eval_every", "checkpoint_every")
    for name in (*([] if e.fitted else ["duration"]), *named, *(["patience"] if e.training.patience else [])):
        e.steps(name)


def _check_planes(e: Experiment) -> None:
    """What pictures with label maps have no use for. Raises UserError."""
    if e.loading.cache == "device":
        raise UserError("config.data.cache='device' holds pictures of one size, and those with label maps are cut anew: set it to 'none'")
    if e.pixels is not None and e.pixels.crop_fraction != 1:
        raise UserError("config.image.crop_fraction is for labels of whole pictures: those with label maps are seen whole; set it to 1.0")
    if e.augment.crop != "none" or e.augment.randaugment or e.augment.mixup or e.augment.cutmix:
        raise UserError("config.augment: crop, randaugment, mixup and cutmix are for labels of whole pictures; have: flip, erase, zoom, "
                        "rotate, elastic, photometric")  # fmt: skip


def _check_fitted(e: Experiment) -> None:
    """What a fitted model has no use for. Raises UserError."""
    name = e.model_file.__name__.rpartition(".")[2]
    if e.training.duration:
        raise UserError(f"config.train.duration is '{e.training.duration}', but models/{name}.py is fitted in one step; leave it away")
    if e.augment != Augment():
        raise UserError(f"config.augment changes pictures at random, but models/{name}.py is fitted to them as they are; set augment={{}}")
    for probe in e.training.probes:
        if {"of_gradients", "of_outputs"} & vars(lookup.find("probes", probe)).keys():
            raise UserError(f"probe {probe} looks at steps of training, but models/{name}.py is fitted in one; leave it out")
    if jax.process_count() > 1:
        raise UserError(f"models/{name}.py is fitted by one process; start one only")
