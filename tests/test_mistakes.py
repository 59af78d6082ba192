"""Mistakes planted in an experiment: each is one line that names the key and the fix, before the first step, and leaves nothing behind.

Those of the command line are in test_launch.py, those of files in tests/data.
"""

import pytest

from cvjax.build import build
from cvjax.check import check, readable
from cvjax.data._source import Info, Source
from cvjax.errors import UserError
from cvjax.train import train
from tiny import tiny

MISTAKES = [
    ({"data": {"batch_size": 12}}, "config.data.batch_size=12 does not divide over 8 devices; use 16|use 8"),
    ({"data": {"batch_size": 24}}, "larger than the 20 training examples"),
    ({"data": {"batch_size": -8}}, "config.data.batch_size is -8; it must be at least 1"),
    ({"data": {"cache": "disk"}}, "have: none, device"),
    ({"train": {"accumulate": 2}}, "micro-batches"),
    ({"train": {"duration": "0 epochs"}}, "at least one step"),
    ({"train": {"monitor": "val/top2"}}, "'val/top2' is not measured; have: .*val/loss"),
    ({"train": {"mode": "best"}}, "have: max, min"),
    ({"augment": {"mixup": 0.2}}, "mixup and cutmix pair neighbours"),
    ({"augment": {"crop": "random"}}, "have: resized, pad, detr, none"),
    ({"image": {"size": 0}}, "size is at least 1"),
    ({"image": {"mean": (0.5,)}}, "config.image.mean has 1 values for 3 channels"),
    ({"model": {"variant": 21}}, "no variant 21"),
    ({"model": {"dtype": "int32"}}, "no type to compute in"),
    ({"model": {"dtype": "bfloat"}}, "no type to compute in|bfloat"),
    ({"model": {"shortcut": "none", "zero_init_gamma": True}}, "a plain net"),
    ({"image": {"crop_fraction": 0.0}}, "crop_fraction is 0.0"),
    ({"image": {"std": (0.0, 0.1, 0.1)}}, "std is above 0"),
    *(({"image": {"tile": tile}}, r"image.tile is .*; it is \(tile, margin\)") for tile in [256, (8, 4), (8, -1), (8.0, 2), (8, True)]),
    ({"image": {"tile": (8, 2)}}, "config.image.tile is for pictures with label maps"),
    ({"augment": {"scale": (2, 3)}}, "a range of shares"),
    ({"augment": {"randaugment": (2, 99)}}, "magnitude 0-30"),
    ({"augment": {"erase": 1.5}}, "a probability"),
    ({"augment": {"photometric": 1.5}}, "a strength from 0 to 1"),
    ({"augment": {"zoom": (2.0, 0.5)}}, "a range of factors"),
    ({"augment": {"elastic": 5.0}}, "config.augment.elastic is not for pictures with a label each"),
    ({"train": {"patience": "5"}}, "write a duration"),
    ({"optim": {"name": "sdg"}}, "did you mean 'sgd'"),
    ({"data": {"task": "multilabel"}}, "config.data is for task 'multilabel'"),
    ({"init": "/nowhere/run"}, "config.init='/nowhere/run' is no run"),
    ({"optim": {"lr": float("nan")}}, "config.optim.lr is nan"),
    ({"optim": {"lr": -0.1}}, "config.optim.lr is -0.1"),
    ({"optim": {"lr": float("inf")}}, "config.optim.lr is inf"),
    ({"optim": {"lr": "fast"}}, "config.optim.lr .*number"),
    ({"optim": {"momentum": 1.5}}, "config.optim.momentum is 1.5"),
    ({"optim": {"weight_decay": -1e-4}}, "config.optim.weight_decay is -0.0001"),
    ({"optim": {"clip": -1.0}}, "config.optim.clip is -1"),
    ({"optim": {"ema": 2.0}}, "config.optim.ema is 2"),
    ({"optim": {"schedule": "cosin"}}, "did you mean 'cosine'"),
    ({"optim": {"warmup": "9 epochs"}}, "config.optim.warmup"),
    ({"optim": {"freeze": "nothing_has_this_name"}}, "config.optim.freeze"),
    ({"optim": {"freeze": "("}}, "config.optim.freeze"),
    ({"optim": {"beta": 0.9}}, "config.optim.beta is unknown"),
    ({"train": {"duration": "30"}}, "write a duration"),
    ({"train": {"duration": "-1 epochs"}}, "write a duration"),
    ({"train": {"accumulate": 0}}, "config.train.accumulate is 0"),
    ({"train": {"keep": 0}}, "config.train.keep is 0"),
    ({"train": {"on_nan": "ignore"}}, "have: stop, skip"),
    ({"data": {"batch_size": 0}}, "config.data.batch_size is 0"),
    ({"data": {"batch_size": "8"}}, "config.data.batch_size .*whole number|config.data.batch_size"),
    ({"data": {"train": "trian"}}, "did you mean 'train'"),
    ({"data": {"val": "val[90%:20%]"}}, "empty"),
    ({"data": {"val": "val[:9999]"}}, "reaches beyond"),
    ({"data": {"workers": -1}}, "config.data.workers is -1"),
    ({"data": {"unreadable": -1}}, "config.data.unreadable is -1"),
    ({"data": {"worker_kind": "fork"}}, "have: thread, process"),
    ({"data": {"num_classes": 0}}, "num_classes"),
    ({"augment": {"mixup": -1.0}}, "config.augment.mixup"),
    ({"augment": {"pad": -1, "crop": "pad"}}, "config.augment.pad"),
    ({"image": {"std": (0.2, 0.2)}}, "config.image.std has 2 values for 3 channels"),
    ({"seed": -1}, "config.seed is -1"),
    ({"seed": 1.5}, "config.seed"),
    ({"init": "torchvision:/nowhere.pth"}, "there is no weight file"),
]  # fmt: skip
IDS = [repr(sections) for sections, _ in MISTAKES]


@pytest.mark.parametrize(("sections", "says"), MISTAKES, ids=IDS)
def test_training_tells_before_the_first_step_and_leaves_nothing(tmp_path, sections, says):
    with pytest.raises(UserError, match=says) as error:
        train(tiny(**sections), tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(("sections", "says"), MISTAKES, ids=IDS)
def test_check_tells_them_all(sections, says):
    with pytest.raises(UserError, match=says):
        check(tiny(**sections), None)


def test_check_finds_nothing_in_a_sound_experiment(tmp_path, capsys):
    check(tiny(), tmp_path / "run")
    said = capsys.readouterr().out
    assert "no mistake found" in said and not (tmp_path / "run").exists()


def test_check_says_why_a_picture_of_an_evaluation_cannot_be_read():
    e = build(tiny())

    def read(index):
        raise OSError("damaged")

    e.splits["val"] = Source(Info(("a",), 3), read)
    told = "3 pictures of config.data.val cannot be read, .* remove them: record 0: cannot be read: damaged, record 1, record 2$"
    with pytest.raises(UserError, match=told):
        readable(e, "val", seconds=5)


def test_memory_that_cannot_suffice_is_told_before_it_runs_out():
    with pytest.raises(UserError, match=r"memory: about .* a device: .* lower config.data.batch_size"):
        check(tiny(data={"batch_size": 8 * 2000, "num_examples": 8 * 2000, "size": 4}, image={"size": 640}), None)
