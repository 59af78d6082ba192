"""Weights from the reference implementations, by their own names, and back to them.

    model, variables = pretrained.load("resnet50", "resnet50.pth")
    logits = model.apply(variables, {"image": x}, train=False)["logits"]

A model file that has references exports

    REFERENCES                  {name in the reference's library: settings of Model}
    reference_name(path, model) "stage1_block1/conv1/kernel" -> "layer1.0.conv1.weight"
    reference_settings(arrays, name)  settings that the arrays decide (num_classes), {} where they do not say
    canonical(name)             a name in a file, freed of what varies between files

and, where a file's arrays are not one to one with parameters,

    unified(arrays)             one array for each parameter, by reference_name's names and with torch's axes
    written(arrays, name)       such arrays as the reference of this name has them
    pictured(arrays, model)     pixels on a side of the images that arrays with a place for every patch are made for
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cvjax import lookup, torchfile
from cvjax.errors import UserError, did_you_mean, some
from cvjax.state import flat

FORMATS = (".safetensors", ".npz", ".pth", ".pt", ".th")
WRAPPERS = ("state_dict", "model_state_dict", "model", "model_state", "net")  # keys under which people save a network beside other things


def load(name: str, weights: str | Path | Mapping[str, np.ndarray]) -> tuple[nn.Module, dict]:
    """A model with the weights of a reference implementation.

    Args:
        name: the reference library's name for the network: "resnet50" (torchvision), "resnet20_cifar10", ...
        weights: a file (.safetensors, .npz, .pth), or arrays by the reference's parameter names.

    Returns:
        (model, variables) for `model.apply(variables, {"image": float32 b h w c, normalised}, train=False)`.

    Raises:
        UserError: an unknown name, a file that cannot be read, an array of another shape, arrays left over, or parameters left empty.
    """
    file, settings = _reference(name)
    source = f"the arrays for {name}" if isinstance(weights, Mapping) else str(weights)
    arrays = canonical(file, weights if isinstance(weights, Mapping) else read(weights))
    model = file.Model(**{**settings, **file.reference_settings(arrays, name)})
    if not model.num_classes:
        raise UserError(f"{source} has a last layer of no classes; give it one, or begin training from it with --init")
    shapes = _shapes(model, file.pictured(arrays, model) if hasattr(file, "pictured") else 0)
    return model, _tree(shapes, convert(model, arrays, flat(shapes), source))


def save(name: str, variables: dict, path: str | Path) -> None:
    """Writes variables under the reference's names, as .safetensors or .npz. Raises UserError for another ending or other variables."""
    file, settings = _reference(name)
    model = file.Model(**settings)
    odd = sorted(set(variables) - {"params", "batch_stats"})
    if odd:
        raise UserError(f"{name} has no variables '{odd[0]}'; give params and batch_stats")
    try:
        values = file.arranged(flat(variables), {}) if hasattr(file, "arranged") else flat(variables)  # of a scanned stack each layer
        arrays = {file.reference_name(_inner(key), model): _outward(np.asarray(value, np.float32)) for key, value in values.items()}
        arrays = file.written(arrays, name) if hasattr(file, "written") else arrays
    except KeyError as error:
        raise UserError(f"{name} has no parameter {error}; are these variables of another model?") from error
    except TypeError as error:
        raise UserError(f"these variables of {name} hold no numbers ({str(error).splitlines()[0]})") from error
    load(name, arrays)  # what could not be read back is not written
    path = Path(path)
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: there is no folder {path.parent}")
    if path.suffix not in (".safetensors", ".npz"):
        raise UserError(f"cannot write {path}: weights are saved as .safetensors or .npz, which PyTorch's users can read too")
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(arrays, path) if path.suffix == ".safetensors" else np.savez(path, allow_pickle=False, **arrays)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {path}: {error}") from error


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Arrays of a weight file by name. No code in the file is run. Raises UserError naming the file and what is wrong with it."""
    path = existing(path)
    if path.suffix not in FORMATS:
        raise UserError(f"{path}: weights are read from {', '.join(FORMATS)}")
    try:
        tree = _content(path)
    except Exception as error:  # a damaged file can raise anything: zlib, struct, unicode, memory
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read as weights: {text}") from error
    if not isinstance(tree, Mapping):
        raise UserError(f"{path} holds a {type(tree).__name__}, not arrays by name")
    inner = next((tree[key] for key in WRAPPERS if isinstance(tree.get(key), Mapping)), tree)
    arrays = {str(name): value for name, value in inner.items() if isinstance(value, np.ndarray)}
    if not arrays:
        raise UserError(f"{path} holds no arrays by name; it has: {', '.join(map(str, list(tree)[:10]))}")
    return arrays


def existing(path: str | Path) -> Path:
    """The path of a weight file. Raises UserError where there is none."""
    path = Path(path)
    if not path.is_file():
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*")]) if path.parent.is_dir() else ""
        raise UserError(f"there is no weight file {path}{near}")
    return path


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "flax") as file:  # NumPy's own reader has no bfloat16
            return {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    return torchfile.read(path)


def canonical(file: ModuleType, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays under the reference's own names: without DataParallel's prefix and the counters that nothing computes with."""
    found: dict[str, np.ndarray] = {}
    for given, value in arrays.items():
        name = file.canonical(str(given).removeprefix("module."))
        if name.endswith("num_batches_tracked"):
            continue
        if name in found:
            raise UserError(f"two arrays are called {name}; one of them is '{given}'")
        found[name] = np.asarray(value)
        if found[name].dtype.kind not in "fiub" and found[name].dtype != "bfloat16":
            raise UserError(f"{given} holds {found[name].dtype} numbers, not real ones")
    try:
        return file.unified(found) if hasattr(file, "unified") else found  # type: ignore[no-any-return]
    except ValueError as error:
        raise UserError(str(error)) from error


def convert(model: nn.Module, arrays: dict[str, np.ndarray], shapes: dict[str, Any], source: str) -> dict[str, np.ndarray]:
    """Arrays by our own paths ("params/head/kernel"). Raises UserError where names or shapes do not match one to one."""
    wanted = {_file(model).reference_name(_inner(path), model): path for path in shapes}
    unused, unfilled = sorted(set(arrays) - set(wanted)), sorted(set(wanted) - set(arrays))
    if unused or unfilled:
        parts = [f"{len(x)} {what}: {some(x)}" for x, what in ((unfilled, "not in it"), (unused, "of it not used")) if x]
        raise UserError(f"{source} does not fit the model; {'; '.join(parts)}")
    found = {path: _inward(arrays[name]) for name, path in wanted.items()}
    odd = [f"{name} is {_shape(arrays[name])}, the model's {_shape(_outward(np.empty(shapes[path].shape, bool)))}"
           for name, path in wanted.items() if found[path].shape != shapes[path].shape]  # fmt: skip
    if odd:
        raise UserError(f"{source} does not fit the model; {some(odd)}")
    return {path: value.astype(np.float32) for path, value in found.items()}


def fitting(model: nn.Module, source: Path, here: dict[str, Any]) -> dict[str, np.ndarray]:
    """Arrays of a weight file by our own paths, as far as a model has use for them: see `cvjax.transfer`."""
    file = _file(model)
    if not hasattr(file, "reference_name"):
        raise UserError(f"{file.__name__} has no reference implementation to take weights from")
    arrays = canonical(file, read(source))
    if getattr(model, "layers", "unrolled") != "unrolled":  # of a scanned stack only the whole has a path; `arranged` makes it of these
        here = flat(_shapes(model.clone(layers="unrolled")))
    names = {path: file.reference_name(_inner(path), model) for path in here}
    return {path: _inward(arrays[name]).astype(np.float32) for path, name in names.items() if name in arrays}


def _file(model: nn.Module) -> ModuleType:
    return sys.modules[type(model).__module__]


def _reference(name: str) -> tuple[ModuleType, dict]:
    """The model file that has a reference of this name, and the settings of its Model."""
    files = [lookup.find("models", model) for model in lookup.names("models")]
    have = {known: (file, settings) for file in files for known, settings in getattr(file, "REFERENCES", {}).items()}
    if name not in have:
        raise UserError(f"no reference network '{name}'{did_you_mean(name, have)}; have: {', '.join(have)}")
    return have[name]


def _shapes(model: Any, size: int = 0) -> dict:
    """Of its variables; size: pixels on a side of its images, 0 for those that the variant is made for."""
    size = size or _file(model).usual(model.variant)[0][0]
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return dict(jax.eval_shape(lambda x: model.init(jax.random.key(0), {"image": x}, train=False), image))


def _tree(like: dict, leaves: dict[str, np.ndarray]) -> dict:
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(leaves[path]) for path in flat(like)])


def _inner(path: str) -> str:
    """A path without its collection: "params/head/kernel" -> "head/kernel"."""
    return path.partition("/")[2]


def _inward(x: np.ndarray) -> np.ndarray:
    """torch's axes to ours: convolutions o i h w -> h w i o, linear layers o i -> i o."""
    return x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T


def _outward(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(3, 2, 0, 1) if x.ndim == 4 else x.T)


def _shape(x: np.ndarray) -> str:
    return "x".join(map(str, x.shape)) or "a number"
