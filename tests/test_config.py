"""Reading experiments: every mistake is one line that names the key and the fix."""

import inspect
import sys

import pytest
from ml_collections import ConfigDict

import cvjax
from cvjax import config as configs
from cvjax import lookup, optim, schema, settings
from cvjax.errors import UserError
from cvjax.schema import check_names
from tiny import tiny


def f(*, size: int, rate: float = 0.1, name_of: str = "", on: bool = False, pair: tuple = (1, 2)):
    return size, rate, name_of, on, pair


def test_args_are_read_by_the_type_of_their_defaults():
    a = configs.args("variant=56,lr=1e-2,smoke", variant=20, lr=0.1, smoke=False, kind="A")
    assert (a.variant, a.lr, a.smoke, a.kind) == (56, 0.01, True, "A")


@pytest.mark.parametrize("arg, says", [
    ("varient=56", "did you mean 'variant'"),
    ("variant=deep", "must be a whole number, not 'deep'"),
    ("variant", "needs a value"),
])  # fmt: skip
def test_args_refuse(arg, says):
    with pytest.raises(UserError, match=says):
        configs.args(arg, variant=20, smoke=False)


def test_call_checks_settings_against_the_signature():
    assert configs.call("image", f, {"size": 4, "rate": 1, "pair": [3, 4]}) == (4, 1.0, "", False, (3, 4))


@pytest.mark.parametrize("settings, says", [
    ({"sise": 4}, "config.image.sise is unknown, did you mean 'size'"),
    ({}, "config.image.size is missing"),
    ({"size": 4.5}, "config.image.size must be a whole number"),
    ({"size": True}, "config.image.size must be a whole number"),
    ({"size": 4, "rate": "fast"}, "config.image.rate must be a number"),
    ({"size": 4, "rate": float("nan")}, "config.image.rate is nan"),
    ({"size": 4, "on": 1}, "config.image.on must be true or false"),
])  # fmt: skip
def test_call_refuses(settings, says):
    with pytest.raises(UserError, match=says):
        configs.call("image", f, settings)


def test_an_unread_key_is_an_error():
    read = configs.Reading(ConfigDict({"model": {"a": 1}, "modle": 2}))
    assert read.model == {"a": 1}
    with pytest.raises(UserError, match="config.modle is read by nothing, did you mean 'model'"):
        read.done()
    with pytest.raises(UserError, match="config.data is missing"):
        _ = read.data


def test_override_keeps_types():
    config = tiny()
    configs.override(config, [("optim.lr", "1"), ("augment.flip", "false"), ("image.size", "16"), ("task.name", "x")])
    assert config.optim.lr == 1.0 and isinstance(config.optim.lr, float)
    assert (config.augment.flip, config.image.size, config.task.name) == (False, 16, "x")


@pytest.mark.parametrize("key, text, says", [
    ("optm.lr", "1", "did you mean 'optim'"),
    ("sed", "1", "did you mean 'seed'"),
    ("optim", "1", "is a section"),
    ("optim.lr.x", "1", "there is no such key"),
    ("image.size", "12.5", "must be a whole number"),
    ("image.size", "big", "must be a whole number"),
    ("augment.flip", "maybe", "must be true or false"),
])  # fmt: skip
def test_override_refuses(key, text, says):
    with pytest.raises(UserError, match=says):
        configs.override(tiny(), [(key, text)])


def test_a_tuple_that_the_file_leaves_out_keeps_its_kinds():
    config = tiny()
    configs.override(config, [("augment.randaugment", "2,9"), ("image.mean", "(0.5, 0.5, 1)"), ("optim.boundaries", "1 epochs,2 epochs")])
    assert config.augment.randaugment == (2, 9) and isinstance(config.augment.randaugment[0], int)
    assert config.image.mean == (0.5, 0.5, 1) and config.optim.boundaries == ("1 epochs", "2 epochs")


def test_another_model_by_name_drops_the_old_ones_settings():
    config = tiny(data={"cache": "device"})
    given = [("data.name", "digits"), ("data.workers", "3")]
    configs.override(config, given)
    schema.forget_leftovers(config, given)
    check_names(config)
    assert "num_classes" not in config.data and config.data.cache == "device" and config.data.workers == 3


@pytest.mark.parametrize(
    "file, arg, steps", [("shapes", "steps=300", 37), ("shapes", "", 500), ("bccd", "steps=80", 10), ("bccd", "", 200)]
)
def test_a_short_training_warms_up_shortly(file, arg, steps):
    assert configs.load(f"experiments/detr_{file}.py", arg).optim.warmup == f"{steps} steps"


def test_another_source_keeps_what_it_takes_too():
    mine = configs.load("experiments/detr_finetune.py", "root=photos")
    schema.assign(mine, [("data.holes", "true"), ("data.faulty", "refuse")])
    schema.assign(mine, [("data.name", "yolo_txt")])
    kept = {"name": "yolo_txt", "root": "photos", "faulty": "refuse", "train": "train", "val": "val", "batch_size": 8}
    assert mine.data.to_dict() == kept
    cells = schema.assign(configs.load("experiments/detr_bccd.py", "root=cells,overfit"), [("data.name", "coco")])
    assert cells.data.root == "cells" and "classes" not in cells.data
    with pytest.raises(UserError, match="config.data.name is 'yolo', did you mean 'yolo_txt'"):
        schema.assign(mine, [("data.name", "yolo")])


def test_a_network_in_the_place_of_a_fitted_model_has_an_optimiser_and_back():
    fisher = configs.load("experiments/fisher_cifar10.py")
    schema.assign(fisher, [("model.name", "resnet"), ("model.variant", 20), ("optim.name", "sgd"), ("optim.lr", 0.1)])
    assert fisher.optim.to_dict() == {"name": "sgd", "lr": 0.1}
    schema.assign(fisher, [("model.name", "fisher"), ("optim.C", 2.0)])
    assert fisher.optim.to_dict() == {"C": 2.0}


def test_override_may_set_what_the_file_leaves_at_its_default():
    config = tiny()
    configs.override(config, [("train.patience", "2 epochs"), ("optim.nesterov", "true"), ("optim.clip", "1.5"), ("train.keep", "3")])
    check_names(config)
    assert (config.train.patience, config.optim.nesterov, config.optim.clip, config.train.keep) == ("2 epochs", True, 1.5, 3)


@pytest.mark.parametrize("key, says", [
    ("optim.lrr", "config.optim.lrr is unknown, did you mean 'lr'"),
    ("model.varient", "config.model.varient is unknown, did you mean 'variant'"),
    ("data.num_clases", "did you mean 'num_classes'"),
    ("train.patients", "did you mean 'patience'"),
    ("task.label_smoothin", "did you mean 'label_smoothing'"),
])  # fmt: skip
def test_unknown_keys_are_told_before_jax_is_imported(key, says):
    config = tiny()
    configs.override(config, [(key, "1")])
    with pytest.raises(UserError, match=says):
        check_names(config)


def test_schema_agrees_with_the_signatures():
    config = tiny()
    assert set(schema.keys("optim", config.optim)) == set(inspect.signature(optim.make).parameters) - set(schema.GIVEN["optim"])
    assert set(schema.keys("train", config.train)) == set(inspect.signature(settings.Training).parameters)


def test_unknown_modules_are_told():
    config = tiny(model={"name": "resnt"})
    with pytest.raises(UserError, match="config.model.name is 'resnt', did you mean 'resnet'"):
        check_names(config)


def test_override_reads_tuples():
    config = configs.experiment(a=dict(mean=(0.1, 0.2), ends=("1 epochs",)))
    configs.override(config, [("a.mean", "(0.5,1)"), ("a.ends", "3 epochs,4 epochs")])
    assert config.a.mean == (0.5, 1.0) and config.a.ends == ("3 epochs", "4 epochs")


@pytest.mark.parametrize("text, steps", [
    ("3 epochs", 30), ("0.5 epochs", 5), ("7 steps", 7), ("7steps", 7), ("1 epoch", 10), ("1e2 steps", 100),
])  # fmt: skip
def test_durations(text, steps):
    assert configs.steps(text, 10) == steps


@pytest.mark.parametrize("text", ["3", "-3 epochs", "many epochs", "3 days", "", "nan epochs", "1.2.3 steps"])
def test_durations_refuse(text):
    with pytest.raises(UserError, match="write a duration as"):
        configs.steps(text, 10)


def test_json_round_trip():
    config = tiny(image=dict(mean=(0.5, 0.5, 0.5)))
    assert configs.from_json(configs.to_json(config)).to_dict() == config.to_dict()


@pytest.mark.parametrize("text, says", [
    ("x = 1", "has no get_config"),
    ("def get_config(arg):\n  return 1 +", "line 2"),
    ("import jaxx\n", "jaxx"),
    ("def get_config(arg):\n  return 1 / 0", "line 2: ZeroDivisionError"),
    ("def get_config(arg):\n  pass", "returned NoneType"),
])  # fmt: skip
def test_a_broken_experiment_file_is_one_line(tmp_path, text, says):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        configs.load(path)
    with pytest.raises(UserError, match="did you mean"):
        configs.load(tmp_path / "mina.py")


@pytest.fixture
def models(tmp_path, monkeypatch):
    """text -> mine.py, a file of cvjax/models in a copy of the package, which has all others too."""
    for file in schema.HERE.rglob("*.py"):
        link = tmp_path / "cvjax" / file.relative_to(schema.HERE)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    for module in (lookup, schema):
        monkeypatch.setattr(module, "HERE", tmp_path / "cvjax")
    monkeypatch.setattr(cvjax, "__path__", [str(tmp_path / "cvjax"), *cvjax.__path__])
    yield lambda text: (tmp_path / "cvjax" / "models" / "mine.py").write_text(text)
    sys.modules.pop("cvjax.models.mine", None)


@pytest.mark.parametrize("text", [
    "from cvjax.models import detr\nfrom cvjax.models.detr import decode, loss\nclass Model(detr.Model):\n  extra: int = 3",
    "from cvjax.models.detr import Model as Theirs\nfrom cvjax.models.detr import decode, loss\nclass Model(Theirs):\n  extra: int = 3",
    "from . import detr\nclass Base(detr.Model):\n  extra: int = 3\nclass Model(Base): ...\nloss = detr.loss\ndecode = detr.decode",
    "from cvjax.models.detr import Model, loss\nclass Model(Model):\n  extra: int = 3\nloss = loss",
    "import cvjax.models.detr\nfrom .detr import loss\nclass Model(cvjax.models.detr.Model):\n  extra: int = 3",
])  # fmt: skip
def test_a_model_of_ones_own_that_is_another_but_for_something(models, text):
    """Its settings are the other's too, and its loss's are the task's."""
    models(text)
    config = schema.assign(configs.load("experiments/detr_shapes.py"), [("model.name", "mine"), ("model.queries", 30), ("model.extra", 4)])
    assert schema.keys("model", config.model) == ["name", *schema.keys("model", ConfigDict({"name": "detr"}))[1:], "extra"]
    assert "auxiliary" in schema.keys("task", config.task, "mine")


@pytest.mark.parametrize("text, says", [
    ("class Model(:\n", "cvjax/models/mine.py, line 1: invalid syntax; mend the file"),
    ("x = 1\n\nif x\n", "cvjax/models/mine.py, line 3: expected ':'; mend the file"),
    ("Model\0", "cvjax/models/mine.py: .*null bytes; mend the file"),
    ("x = 1\n", "cvjax/models/mine.py has no Model; write or import one"),
    ("from cvjax.models.dter import Model\n", "cvjax/models/mine.py has no Model"),
])  # fmt: skip
def test_a_broken_model_file_is_one_line(models, text, says):
    models(text)
    with pytest.raises(UserError, match=says) as error:
        schema.assign(tiny(), [("model.name", "mine")])
    assert "\n" not in str(error.value)
    if ", line" in says:
        with pytest.raises(UserError, match=says):
            lookup.find("models", "mine")


def test_a_class_that_is_another_but_for_something_has_the_others_types(models):
    """The other's annotations are texts that mean something in its own file alone."""
    models("from __future__ import annotations\nfrom cvjax.models import detr\nclass Model(detr.Model):\n  extra: int = 3")
    mine = lookup.find("models", "mine").Model
    model = configs.call("model", mine, {"queries": 7, "extra": 4}, num_classes=3)
    assert (model.queries, model.extra, model.num_classes) == (7, 4, 3)
    for key in ("queries", "extra"):
        with pytest.raises(UserError, match=f"config.model.{key} must be a whole number"):
            configs.call("model", mine, {key: 1.5}, num_classes=3)


def test_config_needs_no_jax():
    assert "jax" not in vars(configs) and "ml_collections" in sys.modules
