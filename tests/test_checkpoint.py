"""Checkpoints come back bit for bit; damage is named and set aside; nothing starts from scratch without a word."""

import shutil
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import parallel
from cvjax.checkpoint import Checkpoints, digest
from cvjax.errors import UserError
from cvjax.state import State

# Orbax leaves a coroutine without an owner where a file cannot be read.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine:RuntimeWarning")

MEMORY = {"best": 0.5, "best_step": 10}


def state(step, width=30):
    numbers = jax.random.normal(jax.random.key(step), (400, width))
    params = {"a": {"kernel": numbers, "bias": jnp.full((7,), step, jnp.bfloat16)}}
    return parallel.replicate(State(step=jnp.int32(step), params=params, stats={"mean": numbers[0]}, opt=({"trace": numbers * 2},)))


def save(folder, *steps):
    with Checkpoints(folder, keep=5) as checkpoints:
        for step in steps:
            checkpoints.save(state(step), MEMORY, None)
        checkpoints.wait()


def restore(folder, like=None):
    with Checkpoints(folder, keep=5) as checkpoints:
        return checkpoints.restore(state(0) if like is None else like)


def largest(folder, step):
    """The file that holds the most of a checkpoint's numbers."""
    files = [path for path in (folder / "checkpoints" / f"{step:08d}" / "state").rglob("*") if path.is_file() and "d" in path.parts]
    return max(files, key=lambda path: path.stat().st_size)


def flip(path):
    """Every byte of the middle of a file."""
    data = bytearray(path.read_bytes())
    for i in range(len(data) // 4, 3 * len(data) // 4):
        data[i] ^= 0xFF
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_what_was_saved_comes_back_on_every_device(tmp_path):
    save(tmp_path, 10, 20)
    found, memory = restore(tmp_path)
    assert memory == MEMORY and digest(found) == digest(state(20)) != digest(state(10))
    assert all(len(leaf.addressable_shards) == jax.device_count() for leaf in jax.tree.leaves(found))
    assert restore(tmp_path / "nothing there") is None


def test_a_save_does_not_see_what_happens_afterwards(tmp_path):
    step = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        before = state(10)
        checkpoints.save(before, MEMORY, None)
        step(before)
    assert digest(restore(tmp_path)[0]) == digest(state(10))


@pytest.mark.parametrize("damage", [flip, truncate, lambda path: path.unlink()], ids=["flipped", "truncated", "missing"])
def test_a_damaged_checkpoint_is_named_and_set_aside_and_the_one_before_is_used(tmp_path, damage, capsys):
    save(tmp_path, 10, 20, 30)
    damage(largest(tmp_path, 30)), damage(largest(tmp_path, 20))
    found, _ = restore(tmp_path)
    assert digest(found) == digest(state(10))
    said = capsys.readouterr().err
    assert "checkpoint 30 is damaged" in said and "checkpoint 20 is damaged" in said and "going on from checkpoint 10" in said
    assert sorted(path.name for path in (tmp_path / "damaged").iterdir()) == ["00000020", "00000030"]
    save(tmp_path, 20)
    assert digest(restore(tmp_path)[0]) == digest(state(20))


def test_every_single_flipped_bit_of_the_numbers_is_found(tmp_path):
    save(tmp_path, 10)
    path = largest(tmp_path, 10)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(12):
        at = int(rng.integers(len(whole)))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << int(rng.integers(8))]) + whole[at + 1 :])
        try:
            found, _ = restore(tmp_path)
        except UserError as error:
            assert "all checkpoints" in str(error)
        else:
            assert digest(found) == digest(state(10)), "restored, but with other numbers"


@pytest.mark.parametrize("name", ["manifest", "state/_METADATA"])
def test_damaged_descriptions_are_found(tmp_path, name):
    save(tmp_path, 10, 20)
    path = tmp_path / "checkpoints" / "00000020" / name
    truncate(next(path.rglob("metadata")) if path.is_dir() else path)
    assert digest(restore(tmp_path)[0]) == digest(state(10))


def test_when_all_are_damaged_nothing_starts_from_scratch(tmp_path):
    save(tmp_path, 10, 20)
    for step in (10, 20):
        flip(largest(tmp_path, step))
    for _ in range(2):  # and says so again
        with pytest.raises(UserError, match=r"all checkpoints .* are damaged \(20: .*10: .*bring back a backup"):
            restore(tmp_path)


def test_another_model_says_which_leaves_differ(tmp_path):
    save(tmp_path, 10)
    with pytest.raises(UserError, match=r"another model or optimiser: params/a/kernel is \(400, 30\) in it, \(400, 50\) here"):
        restore(tmp_path, state(0, width=50))
    assert not (tmp_path / "damaged").exists()


def test_half_a_save_that_a_kill_left_is_no_checkpoint(tmp_path):
    save(tmp_path, 10, 20)
    shutil.copytree(tmp_path / "checkpoints" / "00000020", tmp_path / "checkpoints" / "00000030.orbax-checkpoint-tmp")
    assert digest(restore(tmp_path)[0]) == digest(state(20))


def test_a_full_disk_is_told_and_earlier_checkpoints_stay(tmp_path, monkeypatch):
    save(tmp_path, 10)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 5000, 5000))
    with pytest.raises(UserError, match=r"disk of .* is full: 0\.0 MB free, a checkpoint needs 1\.1 MB"):
        save(tmp_path, 20)
    monkeypatch.undo()
    assert digest(restore(tmp_path)[0]) == digest(state(10))


def test_devices_that_drifted_apart_are_not_saved(tmp_path):
    good = state(10)
    mean = good.stats["mean"]
    copies = [shard.data + 1e-3 * (k == 1) for k, shard in enumerate(mean.addressable_shards)]
    drifted = jax.make_array_from_single_device_arrays(mean.shape, mean.sharding, copies)
    with pytest.raises(UserError, match="different values of stats/mean"), Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(good.replace(stats={"mean": drifted}), MEMORY, None)
        checkpoints.wait()
