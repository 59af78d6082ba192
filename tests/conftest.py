"""A stricter world than training: eight devices on any machine, implicit rank promotion is an error, shapes are checked."""

import gc
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
# Most tests run once what they compile: without XLA's optimiser they take half the time.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 " + os.environ.get("XLA_FLAGS", "")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("NPROC", "32")  # threads of XLA: see environment.prepare
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module", autouse=True)
def programs_are_let_go():
    """What a file compiled goes with it: programs take memory maps, of which Linux gives a process 65,530, and XLA crashes without."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def dev_data() -> Path:
    """The folder of real images for development; tests that need it are skipped where it is absent."""
    folder = os.environ.get("CVJAX_DEV_DATA")
    if not folder:
        pytest.skip("CVJAX_DEV_DATA is not set: no real images to test on")
    return Path(folder)
