"""What the launcher sets before JAX wakes, and what it leaves alone."""

import os
import subprocess
import sys

from cvjax import environment


def prepared(monkeypatch, cores=6, **variables):
    for name in ("XLA_FLAGS", "NPROC", "JAX_COMPILATION_CACHE_DIR", "JAX_PLATFORMS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(environment, "cores", lambda: cores)
    monkeypatch.setattr(environment, "accelerated", lambda: False)
    monkeypatch.setattr(environment, "_keep_memory", lambda: None)  # it would hold for every test after this one
    environment.prepare()
    return environment.os.environ


def test_devices_are_a_power_of_two_so_that_batches_divide(monkeypatch):
    for cores, devices in ((1, 1), (2, 2), (6, 4), (12, 8), (96, 8)):
        assert prepared(monkeypatch, cores)["XLA_FLAGS"].split()[0] == f"--xla_force_host_platform_device_count={devices}"


def test_devices_that_wait_for_each_other_have_threads_to_spare(monkeypatch):
    assert prepared(monkeypatch, 1)["NPROC"] == "2" and prepared(monkeypatch, 6)["NPROC"] == "16"
    flag = "--xla_force_host_platform_device_count="
    assert prepared(monkeypatch, 1, XLA_FLAGS=f"{flag}1 {flag}8")["NPROC"] == "16" and prepared(monkeypatch, 1, NPROC="5")["NPROC"] == "5"


def test_what_the_user_set_stays(monkeypatch):
    mine = {"XLA_FLAGS": "--xla_force_host_platform_device_count=3", "JAX_COMPILATION_CACHE_DIR": "/mine"}
    found = prepared(monkeypatch, **mine)
    assert found["XLA_FLAGS"].startswith(mine["XLA_FLAGS"]) and found["XLA_FLAGS"].count("device_count") == 1
    assert found["JAX_COMPILATION_CACHE_DIR"] == "/mine"
    assert prepared(monkeypatch, XLA_FLAGS="--a=1")["XLA_FLAGS"].startswith("--a=1 --xla_force")


def test_the_compile_cache_is_in_the_users_cache_folder(monkeypatch):
    assert prepared(monkeypatch, XDG_CACHE_HOME="/home/u/.c")["JAX_COMPILATION_CACHE_DIR"] == "/home/u/.c/cvjax/xla"


def test_memory_that_is_freed_is_kept():
    """40 blocks of 64 MB, one after the other: glibc gives each back and takes fresh pages for the next, unless it is told to keep them."""
    code = (
        "import resource\nfrom cvjax import environment\nenvironment.prepare()\n"
        "for _ in range(40): bytearray(64_000_000)\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)"
    )

    def faults(**variables):
        env = {**os.environ, "JAX_PLATFORMS": "cpu", **variables}
        return int(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout)

    assert faults() + 300_000 < faults(MALLOC_ARENA_MAX="9")  # what the user set stays
