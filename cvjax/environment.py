"""What must be in the environment before JAX wakes. The launcher calls `prepare`; libraries and notebooks need not."""

import ctypes
import os
import re
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

from absl import logging


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def accelerated() -> bool:
    """True when JAX may find a GPU or TPU: a plug-in is installed and JAX_PLATFORMS does not say cpu."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    plugins = ("jax_cuda13_plugin", "jax_cuda12_plugin", "jax_rocm7_plugin", "libtpu")
    return platforms != "cpu" and any(find_spec(plugin) for plugin in plugins)


def prepare() -> None:
    """Sets the compile cache and, on a CPU, one JAX device per core and a faster compilation; what the user set stays.

    The number of devices is a power of two, at most 8, so that the usual batch sizes divide by it. XLA runs most
    convolution gradients on one core, so devices are what makes a CPU run parallel.
    """
    _obey_launcher()
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{cache}/cvjax/xla")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    os.environ.setdefault("JAX_SOFTMAX_CUSTOM_JVP", "1")  # the gradient from the result alone; 5 % of a ViT's block on a CPU
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.set_verbosity(logging.FATAL)  # what Orbax logs as an error is told again, in words, by whoever catches it
    if not accelerated():
        _add_flag("xla_force_host_platform_device_count", str(min(8, 1 << (cores().bit_length() - 1))))
        # The size of XLA's thread pool. With a thread per core, devices that wait for each other can hold all of them; one device waits
        # for none, and its every operation cut in 16 costs it a third of its time.
        devices = re.findall(r"device_count=(\d+)", os.environ["XLA_FLAGS"])
        os.environ.setdefault("NPROC", "2" if devices[-1:] == ["1"] else "16")  # where the flag stands twice, the last one holds
        _keep_memory()
        # Keeps the barriers of layers/conv.py and layers/norm.py alive until XLA fuses; a tenth of a ResNet-20's step.
        _add_flag("xla_disable_hlo_passes", "optimization-barrier-expander,cse_barrier_expander")


def _obey_launcher() -> None:
    """Of a study's run: takes the cores that the launcher gave it, and stops with its state saved when the launcher dies (on Linux)."""
    if sys.platform == "linux" and "CVJAX_LAUNCHER" in os.environ:
        os.sched_setaffinity(0, [int(core) for core in os.environ["CVJAX_CORES"].split(",")])
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != int(os.environ["CVJAX_LAUNCHER"]):  # it died before
            os.kill(os.getpid(), signal.SIGTERM)


def _keep_memory() -> None:
    """Makes glibc keep what is freed, in one heap, instead of giving it back to the system.

    XLA asks for its temporaries and results anew at every step. Large ones came as fresh pages, each touched for the first time: a third
    of the CPU-seconds of an AlexNet's step. The price is that a process stays as large as it once was.
    """
    tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or any(name.startswith("MALLOC_") for name in os.environ)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" and not tuned else None
    if mallopt:
        for parameter, value in ((-8, 1), (-4, 0), (-1, -1)):  # M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD: never
            mallopt(parameter, value)


def deaf() -> None:
    """On the way out: job managers signal more than once, and Python forgets its handlers before it has ended."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _add_flag(name: str, value: str) -> None:
    flags = os.environ.get("XLA_FLAGS", "")
    if name not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --{name}={value}".strip()
