"""Reads PyTorch's weight files (.pth, .pt, .th) without PyTorch and without running what they pickle.

Both formats: the zip archive of PyTorch 1.6 and later, and the row of pickles before it. The unpickler knows the few names that
tensors are made of, as harmless stand-ins; any other name is an error, so a file cannot run code.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

DTYPES = {
    "FloatStorage": np.dtype("<f4"), "DoubleStorage": np.dtype("<f8"), "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16), "LongStorage": np.dtype("<i8"), "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"), "CharStorage": np.dtype("i1"), "ByteStorage": np.dtype("u1"), "BoolStorage": np.dtype("?"),
}  # fmt: skip
MAGIC = 0x1950A86A20F9469CFC6C  # what the older format begins with


class View:
    """A tensor as it is pickled: a strided view of a storage whose numbers may come later in the file."""

    def __init__(self, storage: tuple, offset: int, shape: tuple, strides: tuple, *_: Any):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self, storages: dict[str, np.ndarray]) -> np.ndarray:
        flat = storages[self.storage[1]]
        end = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)) + 1 if all(self.shape) else 0
        if self.offset < 0 or min(self.strides, default=0) < 0 or end > len(flat):
            raise pickle.UnpicklingError("a tensor reaches beyond its storage")
        strides = [flat.itemsize * s for s in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides).copy()


class Parameter(View):
    """torch.nn.Parameter, pickled as a tensor and two remarks."""

    def __init__(self, tensor: View, *_: Any):
        super().__init__(tensor.storage, tensor.offset, tensor.shape, tensor.strides)


class Inert(pickle.Unpickler):
    """An unpickler for tensors and plain containers only."""

    def __init__(self, file: BinaryIO, storage: Callable[[tuple], tuple] = lambda found: found):
        super().__init__(file, encoding="utf-8")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("torch") and name in DTYPES:
            return name
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor"): View,
            ("torch._utils", "_rebuild_tensor_v2"): View,
            ("torch._utils", "_rebuild_parameter"): Parameter,
            ("torch", "Size"): tuple,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}, and only tensors and plain containers are read")
        return known[module, name]

    def persistent_load(self, found: tuple) -> tuple:
        """("storage", type, key, device, size, view) -> (type, key)"""
        if len(found) > 5 and found[5] is not None:
            raise pickle.UnpicklingError("it holds views of storages, as PyTorch before 0.4 wrote them; save it again")
        return self._storage((found[1], str(found[2])))


def read(path: Path) -> Any:
    """What was saved, tensors as NumPy arrays. Raises pickle.UnpicklingError, ValueError, OSError or EOFError when it cannot be read."""
    with open(path, "rb") as file:
        tree, storages = _zipped(file) if zipfile.is_zipfile(file) else _row_of_pickles(file)
    return _filled(tree, storages)


def _zipped(file: BinaryIO) -> tuple[Any, dict[str, np.ndarray]]:
    try:
        archive = zipfile.ZipFile(file)
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        if "data.pkl" not in names:
            raise pickle.UnpicklingError("it is a zip archive, but not of PyTorch's")
        if archive.read(names["byteorder"]) == b"big" if "byteorder" in names else False:
            raise pickle.UnpicklingError("it was written on a big-endian machine")
        found: dict[str, tuple] = {}

        def note(storage: tuple) -> tuple:
            found[storage[1]] = storage
            return storage

        tree = Inert(io.BytesIO(archive.read(names["data.pkl"])), note).load()
        return tree, {key: np.frombuffer(archive.read(names[f"data/{key}"]), DTYPES[kind]) for kind, key in found.values()}
    except (zipfile.BadZipFile, KeyError) as error:
        raise pickle.UnpicklingError(f"a part of it is damaged or missing: {error}") from error


def _row_of_pickles(file: BinaryIO) -> tuple[Any, dict[str, np.ndarray]]:
    """Magic number, version, system, the tree, the keys of the storages, then each storage: 8 bytes of length, and its numbers."""
    file.seek(0)
    if Inert(file).load() != MAGIC:
        raise pickle.UnpicklingError("it is no PyTorch file")
    Inert(file).load(), Inert(file).load()
    found: dict[str, tuple] = {}

    def note(storage: tuple) -> tuple:
        found[storage[1]] = storage
        return storage

    tree = Inert(file, note).load()
    storages = {}
    for key in Inert(file).load():
        (length,) = struct.unpack("<q", file.read(8))
        dtype = DTYPES[found[str(key)][0]]
        data = file.read(length * dtype.itemsize)
        if len(data) < length * dtype.itemsize:
            raise EOFError("the file ends too early")
        storages[str(key)] = np.frombuffer(data, dtype)
    return tree, storages


def _filled(tree: Any, storages: dict[str, np.ndarray]) -> Any:
    if isinstance(tree, View):
        return tree.array(storages)
    if isinstance(tree, dict):
        return {name: _filled(value, storages) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_filled(value, storages) for value in tree]
    return tree
