"""Weights by the reference's names: in from every format, out again, and everything that does not fit is named."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from cvjax import lookup, pretrained
from cvjax.errors import UserError
from cvjax.models import resnet
from cvjax.state import flat

NAME = "resnet20_cifar10"
EVERY = [
    name
    for model in lookup.names("models")
    for name in getattr(lookup.find("models", model), "REFERENCES", {})
    if name != "resnet1202_cifar100"
]


def arrays(name=NAME, **settings):
    """Random numbers under every name of a reference network."""
    model = resnet.Model(**{**resnet.REFERENCES[name], **settings})
    shapes = pretrained._shapes(model)
    rng = np.random.default_rng(0)
    values = {path: rng.standard_normal(leaf.shape, np.float32) for path, leaf in flat(shapes).items()}
    return {resnet.reference_name(path.partition("/")[2], model): pretrained._outward(value) for path, value in values.items()}


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_names_are_torchvisions():
    names = set(arrays("resnet50"))
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.0.weight", "layer1.0.downsample.1.bias", "layer3.5.conv3.weight",
            "layer4.2.bn3.running_mean", "fc.weight", "fc.bias"} <= names  # fmt: skip
    assert len(names) == 267  # what torchvision's state_dict has, less its 53 counters


@pytest.mark.parametrize("name", EVERY)
def test_every_reference_is_one_to_one(name):
    file, settings = pretrained._reference(name)
    model = file.Model(**settings)
    names = [file.reference_name(path.partition("/")[2], model) for path in flat(pretrained._shapes(model))]
    assert len(set(names)) == len(names) and all(file.canonical(name) == name for name in names)


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_there_and_back(ending, tmp_path):
    given = arrays()
    model, variables = pretrained.load(NAME, given)
    assert model.variant == 20 and model.num_classes == 10
    pretrained.save(NAME, variables, tmp_path / f"w{ending}")
    written = pretrained.read(tmp_path / f"w{ending}")
    assert set(written) == set(given) and all(np.array_equal(written[name], given[name]) for name in given)
    assert same(pretrained.load(NAME, str(tmp_path / f"w{ending}"))[1], variables)


def test_what_varies_between_files_is_tolerated():
    given = arrays()
    _, plain = pretrained.load(NAME, given)
    varied = {f"module.{name.replace('fc.', 'linear.')}": jnp.asarray(value) for name, value in given.items()}
    varied["module.bn1.num_batches_tracked"] = np.array(5)
    assert same(pretrained.load(NAME, varied)[1], plain)
    half = {name: value.astype(np.float16) for name, value in given.items()}
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(pretrained.load(NAME, half)[1]))


def test_the_arrays_decide_the_classes_and_the_shortcut():
    assert pretrained.load(NAME, arrays(num_classes=7))[0].num_classes == 7
    option_b = {name.replace("downsample", "shortcut"): value for name, value in arrays(shortcut="B").items()}
    assert pretrained.load(NAME, option_b)[0].shortcut == "B"


def test_bfloat16_safetensors(tmp_path):
    import ml_dtypes

    save_file({name: value.astype(ml_dtypes.bfloat16) for name, value in arrays().items()}, tmp_path / "w.safetensors")
    assert pretrained.load(NAME, tmp_path / "w.safetensors")[0].num_classes == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer1.0.conv1.weight": None}, "1 not in it: layer1.0.conv1.weight"),
        ({"extra.weight": np.ones(3)}, "1 of it not used: extra.weight"),
        ({"bn1.weight": np.ones(17)}, "bn1.weight is 17, the model's 16"),
        ({"layer1.0.conv1.weight": np.ones((16, 16, 1, 1))}, "layer1.0.conv1.weight is 16x16x1x1, the model's 16x16x3x3"),
        ({"fc.weight": None}, "1 not in it: fc.weight"),
        ({"fc.bias": np.ones(3)}, "fc.bias is 3, the model's 10"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    given = {name: value for name, value in {**arrays(), **changes}.items() if value is not None}
    with pytest.raises(UserError, match=re.escape(message)):
        pretrained.load(NAME, given)


def test_unreadable_files_are_named(tmp_path):
    for name, content, message in (
        ("a.pth", b"nothing", "a.pth cannot be read as weights"),
        ("a.safetensors", b"nothing", "a.safetensors cannot be read as weights"),
        ("a.npz", b"nothing", "a.npz cannot be read as weights"),
        ("a.bin", b"", "weights are read from .safetensors"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            pretrained.load(NAME, tmp_path / name)
    with pytest.raises(UserError, match="there is no weight file .*b.npz, did you mean 'a.npz'"):
        pretrained.load(NAME, tmp_path / "b.npz")
    with pytest.raises(UserError, match="no reference network 'resnet20_cifar', did you mean 'resnet20_cifar10'"):
        pretrained.load("resnet20_cifar", {})
    with pytest.raises(UserError, match="cannot write"):
        pretrained.save(NAME, pretrained.load(NAME, arrays())[1], tmp_path / "w.pth")


def test_the_public_resnet20_is_as_good_here_as_in_torch(dev_data):
    """4988 of 5000 in torch: tests/parity/make_public_resnet20.py. (It was trained on all of them.)"""
    model, variables = pretrained.load(NAME, dev_data / "weights" / "resnet20-12fca82f.th")
    apply = jax.jit(lambda images: model.apply(variables, {"image": images}, train=False)["logits"].argmax(-1))
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    labels, right = np.load(dev_data / "cifar10" / "labels_50000.npy"), 0
    for part in range(45, 50):
        sheet = np.asarray(Image.open(dev_data / "cifar10" / f"batch_{part:02d}.webp").convert("RGB"))
        images = sheet.reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4).reshape(1000, 32, 32, 3)
        right += int((np.asarray(apply((images / np.float32(255) - mean) / std)) == labels[1000 * part : 1000 * (part + 1)]).sum())
    assert right == 4988
