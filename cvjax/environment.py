"""What must be in the environment before JAX wakes. The launcher calls `prepare`; libraries and notebooks need not."""

import os
from importlib.util import find_spec
from pathlib import Path


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def accelerated() -> bool:
    """True when JAX may find a GPU or TPU: a plug-in is installed and JAX_PLATFORMS does not say cpu."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    plugins = ("jax_cuda13_plugin", "jax_cuda12_plugin", "jax_rocm7_plugin", "libtpu")
    return platforms != "cpu" and any(find_spec(plugin) for plugin in plugins)


def prepare() -> None:
    """Sets the compile cache and, on a CPU, one JAX device per core; what the user has set stays as it is.

    The number of devices is a power of two, at most 8, so that the usual batch sizes divide by it. XLA runs most
    convolution gradients on one core, so devices are what makes a CPU run parallel.
    """
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{cache}/cvjax/xla")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    flags = os.environ.get("XLA_FLAGS", "")
    if not accelerated() and "xla_force_host_platform_device_count" not in flags:
        devices = min(8, 1 << (cores().bit_length() - 1))
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={devices}".strip()
