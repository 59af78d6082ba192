"""PyTorch's files read without PyTorch: every kind of tensor in both formats; what is no tensor is refused, not run."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cvjax import torchfile

HERE = Path(__file__).parent
FILES = [HERE / "torchfile.pth", HERE / "torchfile_legacy.pth"]
NUMBERS = np.arange(24, dtype=np.float32).reshape(4, 6)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_kind_of_tensor(path):
    found = torchfile.read(path)
    assert found["epoch"] == 3 and found["best"] == 91.5 and found["names"] == ["a", ["b", None]]
    state = found["state_dict"]
    wanted = {
        "whole": NUMBERS,
        "transposed": NUMBERS.T,
        "part": NUMBERS[1:3, ::2],
        "half": NUMBERS.astype(np.float16),
        "brain": NUMBERS,
        "double": NUMBERS.astype(np.float64),
        "count": np.array(7),
        "flags": np.array([True, False]),
        "none": np.zeros((0, 3), np.float32),
        "learned": NUMBERS[0] + 0.5,
    }
    assert list(state) == list(wanted)
    for name, value in wanted.items():
        assert state[name].shape == value.shape and (name == "brain" or state[name].dtype == value.dtype), name
        np.testing.assert_array_equal(state[name].astype(value.dtype), value, err_msg=name)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def evil_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({"weight": Evil()}, protocol=2))


def evil_row(path):
    path.write_bytes(b"".join(pickle.dumps(x, protocol=2) for x in (torchfile.MAGIC, 1001, {}, Evil(), [])))


@pytest.mark.parametrize("write", [evil_zip, evil_row])
def test_code_in_a_file_is_refused(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "evil.pth")
    with pytest.raises(pickle.UnpicklingError, match="mkdir, and only tensors"):
        torchfile.read(tmp_path / "evil.pth")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_an_error(path, share, tmp_path):
    data = path.read_bytes()
    (tmp_path / "short.pth").write_bytes(data[: int(share * len(data))])
    with pytest.raises((pickle.UnpicklingError, EOFError, ValueError)):
        torchfile.read(tmp_path / "short.pth")


def test_a_tensor_cannot_reach_beyond_its_storage():
    for offset, shape, strides in ((0, (5,), (1,)), (3, (2,), (1,)), (0, (2, 2), (3, 1)), (-1, (1,), (1,)), (3, (2,), (-1,))):
        with pytest.raises(pickle.UnpicklingError, match="beyond"):
            torchfile.View(("FloatStorage", "0"), offset, shape, strides).array({"0": np.zeros(4, np.float32)})


def test_not_a_torch_file(tmp_path):
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(pickle.UnpicklingError, match="no PyTorch file"):
        torchfile.read(tmp_path / "x.pth")
    buffer = io.BytesIO()
    np.savez(buffer, a=1)
    (tmp_path / "y.pth").write_bytes(buffer.getvalue())
    with pytest.raises(pickle.UnpicklingError, match="not of PyTorch's"):
        torchfile.read(tmp_path / "y.pth")
