"""A SLURM of one node, with daemons, ports and a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from programs import require_programs
from waiting import wait_until

# Cores and memory are what the configuration says, so that tests run alike on any machine.
CORES, MEGABYTES = 8, 16_000

CONF = """\
ClusterName=dgmm
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={daemon_port}
AuthType=auth/munge
# A job that is requeued waits for its credential to expire: two minutes if left out.
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=5
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={megabytes} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """Commands of SLURM, for its own controller."""

    cores, megabytes = CORES, MEGABYTES

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def call(self, *words: object) -> str:
        """Run a command that must succeed, and return what it says."""
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def queue(self) -> list[dict[str, str]]:
        """The jobs that wait or run."""
        keys = {"id": "%i", "name": "%j", "state": "%T", "reason": "%r", "cores": "%C"}
        lines = self.call("squeue", "--noheader", "-o", "|".join(keys.values())).splitlines()
        return [dict(zip(keys, line.split("|"), strict=True)) for line in lines]

    def wait(self, condition, seconds: float = 300.0):
        """Wait until a function of the queue says something true, and return that."""
        return wait_until(lambda: condition(self.queue()), seconds, lambda: f"{self.queue()}\n{self.logs()}")

    def logs(self) -> str:
        """What the daemons said last."""
        texts = {path.name: path.read_text(errors="replace") for path in sorted(self.folder.glob("slurm*.log"))}
        return "\n".join(f"{name}: {text[-1500:]}" for name, text in texts.items())

    def empty(self) -> None:
        """Cancel what there is, and wait until it is gone."""
        if jobs := [job["id"] for job in self.queue()]:
            self.call("scancel", *jobs)
        self.wait(lambda queue: not queue)


@pytest.fixture(scope="session")
def _slurm():
    names = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
    munged, slurmctld, slurmd, *_ = require_programs(*names, package="slurm-wlm munge")
    # Short, since the path of a socket has 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="dgmm-slurm-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    controller_port, daemon_port = _free_ports(2)
    (folder / "slurm.conf").write_text(
        CONF.format(
            folder=folder,
            host=socket.gethostname().split(".")[0],
            user=pwd.getpwuid(os.getuid()).pw_name,
            controller_port=controller_port,
            daemon_port=daemon_port,
            cores=CORES,
            megabytes=MEGABYTES,
        )
    )
    munge = ("--socket=munge.sock", "--key-file=munge.key", "--log-file=munged.log", "--pid-file=munged.pid")
    patch = pytest.MonkeyPatch()
    patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    slurm = Slurm(folder)
    try:
        with ExitStack() as stack:
            flags = [flag.replace("=", f"={folder}/") for flag in (*munge, "--seed-file=munged.seed")]
            stack.enter_context(_daemon(folder, munged, "--foreground", "--force", "--num-threads=2", *flags))
            _wait_for(folder, (folder / "munge.sock").exists)
            stack.enter_context(_daemon(folder, slurmctld, "-D"))
            stack.enter_context(_daemon(folder, slurmd, "-D"))
            idle = ["sinfo", "--noheader", "-o", "%T"]
            _wait_for(folder, lambda: subprocess.run(idle, capture_output=True, text=True).stdout.strip() == "idle")
            yield slurm
            slurm.empty()
    finally:
        patch.undo()
    shutil.rmtree(folder)


@pytest.fixture
def slurm(_slurm, monkeypatch):
    """A SLURM with 8 cores; it is the one of the environment, and its queue is empty before and after a test."""
    monkeypatch.setenv("SLURM_CONF", str(_slurm.folder / "slurm.conf"))
    _slurm.empty()
    yield _slurm
    _slurm.empty()


@contextmanager
def _daemon(folder: Path, *words: str):
    with (folder / f"{Path(words[0]).name}.out").open("wb") as out:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(folder: Path, condition) -> None:
    def outputs():
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-2000:]}" for path in folder.glob("*.out"))

    wait_until(condition, 30, lambda: f"SLURM does not start:\n{outputs()}")


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
