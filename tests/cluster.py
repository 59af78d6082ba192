"""A real Slurm on this machine for tests: a controller and two nodes, on loopback, all state in one folder. Needs root.

apt-get install -y --no-install-recommends slurm-wlm munge
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

CONFIG = """\
ClusterName=cvjax
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=16917
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# a requeued job waits until the old credential is gone, by default two minutes
AuthInfo=cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=5
MinJobAge=3600
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=one,two NodeHostname={host} NodeAddr=127.0.0.1 Port=[17101-17102] CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=low Nodes=one,two Default=YES MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 State=UP
PartitionName=high Nodes=one,two MaxTime=60 PriorityTier=10 PreemptMode=OFF State=UP
"""


def missing() -> str:
    """Why there can be no cluster here; "" when there can."""
    if os.geteuid() != 0:
        return "starting a Slurm of our own needs root"
    absent = [program for program in ("slurmctld", "slurmd", "munged", "unshare") if shutil.which(program) is None]
    return f"{', '.join(absent)} not installed (Debian: slurm-wlm, munge)" if absent else ""


def start(folder: Path) -> dict[str, str]:
    """Starts the daemons. Returns the environment in which Slurm's commands find them."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, host=host))
    (folder / "hosts").write_text(f"127.0.0.1 localhost {host} one two\n")  # JAX asks for the nodes' addresses
    if subprocess.run(["munge", "-n"], capture_output=True).returncode:
        (folder / "munged").write_text("ours")
        if not Path("/etc/munge/munge.key").exists():
            subprocess.run(["mungekey", "--create"], check=True)
        Path("/run/munge").mkdir(mode=0o755, exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        subprocess.run(["runuser", "-u", "munge", "--", "munged"], check=True)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run(["slurmctld", "-f", environment["SLURM_CONF"]], check=True, env=environment)
    for node in ("one", "two"):  # each in a mount namespace of its own, where /etc/hosts is ours
        inside = f"mount --make-rprivate / && mount --bind {folder}/hosts /etc/hosts && exec slurmd -N {node} -f {folder}/slurm.conf"
        subprocess.run(["unshare", "-m", "sh", "-c", inside], check=True, env=environment)
    wait(lambda: command(environment, "sinfo", "-h", "-p", "low", "-t", "idle", "-o", "%D").strip() == "2", 60)
    return environment


def stop(folder: Path, environment: dict[str, str]) -> None:
    command(environment, "scancel", "--user=root")
    for name in ("one.pid", "two.pid", "slurmctld.pid"):
        if (folder / name).exists():
            subprocess.run(["kill", (folder / name).read_text().strip()])
    if (folder / "munged").exists():
        subprocess.run(["runuser", "-u", "munge", "--", "munged", "--stop"])


def command(environment: dict[str, str], *words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, env=environment).stdout


def wait(condition, seconds: float) -> None:
    """Until something is true; an AssertionError when it does not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.5)
