"""Two real processes on this machine, stopped and started again, train to the numbers of one that ran through."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent

PROGRAM = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
import jax, numpy as np
from pathlib import Path
from cvjax import parallel
from cvjax.checkpoint import Checkpoints
parallel.start()
from cvjax.build import build, initial_state
from cvjax.errors import Interrupted
from cvjax.train import train
from tiny import tiny
config = tiny(data={"batch_size": 16, "num_examples": 44}, augment={"flip": True, "mixup": 0.2})
folder = Path(sys.argv[2])
if sys.argv[3] == "stop":
    parallel.agree_to_stop = lambda received, number: number == 3
try:
    final = train(config, folder)
except Interrupted as reason:
    sys.exit(reason.exit_code)
e = build(config)
with Checkpoints(folder) as checkpoints:
    state = checkpoints.restore(initial_state(e)[0])[0]
leaves = [np.asarray(x.addressable_shards[0].data) for x in jax.tree.leaves(state)]
np.savez(f"{sys.argv[2]}/state{jax.process_index()}.npz", *leaves, final=[final[k] for k in sorted(final)])
"""


def start(folder, how, devices, **env):
    environment = {**os.environ, **env, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(ROOT), str(folder), how], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)  # fmt: skip


def finish(process, code):
    _, errors = process.communicate(timeout=400)
    assert process.returncode == code, errors[-3000:]


def two(folder, how, code):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    both = [start(folder, how, 1, CVJAX_COORDINATOR=address, CVJAX_NUM_PROCESSES="2", CVJAX_PROCESS_ID=str(i)) for i in (0, 1)]
    for process in both:
        finish(process, code)


def test_two_processes_equal_one(tmp_path):
    two(tmp_path / "two", "stop", code=75)
    two(tmp_path / "two", "go on", code=0)
    finish(start(tmp_path / "one", "at once", 2), code=0)
    states = [np.load(tmp_path / name) for name in ("one/state0.npz", "two/state0.npz", "two/state1.npz")]
    for name in states[0].files:
        np.testing.assert_array_equal(states[1][name], states[2][name])
        np.testing.assert_allclose(states[0][name], states[1][name], rtol=1e-4, atol=1e-5, err_msg=name)
