"""A cluster over SSH, on a server of the test's own: its fits, its traffic, its ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import asyncssh
import psutil
import pytest
from clusters.documented import run_page
from clusters.fits import PATIENCE, InPass, check_fit, free_port
from faults.small_fit import fit, rows
from programs import require_programs
from waiting import wait_until, wait_until_gone

from dgmm.errors import ClusterError
from dgmm.jobs.certificates import make_certificates
from dgmm.jobs.clusters.opening import open_cluster

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.cluster

CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv PYTHONPATH={path}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The keys of a cluster section for a server that knows one key of ours."""
    folder, port = tmp_path_factory.mktemp("sshd"), free_port()
    keys = {name: asyncssh.generate_private_key("ssh-ed25519") for name in ("host_key", "user_key", "other_key")}
    for name, key in keys.items():
        key.write_private_key(str(folder / name))
        (folder / name).chmod(0o600)
    (folder / "authorized_keys").write_text(keys["user_key"].export_public_key().decode())
    public = keys["host_key"].export_public_key().decode()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}[localhost]:{port} {public}")
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    (folder / "config").write_text(CONFIG.format(port=port, folder=folder, path=path))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [require_programs("sshd", package="openssh-server")[0], "-D", "-e", "-f", str(folder / "config")],
            stderr=log,
        )
    try:
        log = (folder / "log").read_text
        wait_until(lambda: "Server listening" in log() or process.poll() is not None, told=log)
        assert process.poll() is None, log()
        yield {
            "kind": "ssh",
            "hosts": ["127.0.0.1", "localhost"],
            "port": port,
            "client_keys": [str(folder / "user_key")],
            "known_hosts": str(folder / "known_hosts"),
            "threads_per_worker": 1,
            "interface": "lo",
            "timeout": PATIENCE,
        }
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture(scope="module")
def cluster(server):
    """The client of a cluster that several tests share."""
    with open_cluster(server) as client:
        yield client


@pytest.mark.parametrize("kill_a_worker", [False, True])
def test_a_fit_has_the_bits_of_one_here(cluster, kill_a_worker):
    check_fit(cluster, kill_a_worker=kill_a_worker)


def test_the_traffic_is_encrypted_and_strangers_are_refused(cluster, tmp_path):
    cluster.wait_for_workers(2, timeout=PATIENCE)
    workers = cluster.scheduler_info(n_workers=-1)["workers"]
    addresses = [cluster.scheduler.address, *workers, *(worker["nanny"] for worker in workers.values())]
    assert all(address.startswith("tls://127.0.0.1:") for address in addresses)
    for address in addresses:
        assert not answers(address)
    foreign = {"tls_ca_file": "ca.pem", "tls_cert": "client.pem", "tls_key": "client-key.pem"}
    make_certificates(tmp_path / "certs")
    section = {key: str(tmp_path / "certs" / name) for key, name in foreign.items()}
    stranger = {"kind": "scheduler", "address": cluster.scheduler.address, "timeout": 1.0}
    with pytest.raises(ClusterError, match="no Dask scheduler answered"), open_cluster(stranger | section):
        pytest.fail("the body must not run")
    stranger["address"] = stranger["address"].replace("tls", "tcp")
    with pytest.raises(ClusterError, match="no Dask scheduler answered"), open_cluster(stranger):
        pytest.fail("the body must not run")


def answers(address: str) -> bool:
    """Whether a process of the cluster says something to who has no certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        suppress(ConnectionError, ssl.SSLError),
        socket.create_connection(host_of(address), timeout=PATIENCE) as plain,
        context.wrap_socket(plain) as encrypted,
    ):
        return encrypted.recv(1) != b""
    return False


def host_of(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("tls://").rpartition(":")
    return host, int(port)


def test_the_key_is_private(cluster):
    (file,) = set(cluster.run(file_of_the_key).values())
    assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(file).parent.stat().st_mode) == 0o700
    commands = [" ".join(psutil.Process(pid).cmdline()) for pid in cluster.run(os.getpid, nanny=True).values()]
    assert all("-m distributed.cli.dask_spec" in command and "PRIVATE KEY" not in command for command in commands)


def file_of_the_key(dask_worker) -> str:
    return dask_worker.security.tls_worker_key


def test_nothing_is_left_of_a_cluster_whose_scheduler_died(server):
    small = server | {"hosts": ["127.0.0.1"]}
    opened = open_cluster(small)
    client = opened.__enter__()
    pids = [*client.run(os.getpid).values(), *client.run(os.getpid, nanny=True).values()]
    (file,) = client.run(file_of_the_key).values()
    scheduler = client.run_on_scheduler(os.getpid)
    disturb = InPass(lambda: os.kill(scheduler, signal.SIGKILL))
    with pytest.raises(ClusterError, match=r"lost .* run again") as caught:
        fit(rows(pause=0.1), callbacks=[disturb])
    opened.__exit__(ClusterError, caught.value, None)
    wait_until_gone([scheduler, *pids])
    assert not Path(file).parent.exists()


SCRIPT = """\
import json, os, sys, time
from dgmm.jobs.clusters import ssh
from dgmm.jobs.clusters.opening import open_cluster
ssh.IDLE_TIMEOUT = "30s"
with open_cluster(json.loads(sys.argv[1])) as client:
    pids = [client.run_on_scheduler(os.getpid), *client.run(os.getpid).values()]
    print(*pids, *client.run(os.getpid, nanny=True).values(), flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_cluster_ends_by_itself_if_who_started_it_was_killed(server, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", json.dumps(server | {"hosts": ["127.0.0.1"]})]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        pids = [int(word) for word in process.stdout.readline().split()]
        process.kill()
    assert len(pids) == 3
    wait_until_gone(pids)


REFUSED = {
    "a key that the server does not know": (
        lambda folder, port: {"client_keys": [f"{folder}/other_key"]},
        r"127\.0\.0\.1: PermissionDenied.*; can you log in there with ssh -p",
    ),
    "a server whose key is not known": (
        lambda folder, port: {"known_hosts": f"{folder}/nothing"},
        "HostKeyNotVerifiable",
    ),
    "nobody listens": (lambda folder, port: {"port": port}, "Connect call failed"),
    "no Python": (lambda folder, port: {"python": "/nowhere/python"}, "/nowhere/python: "),
    "a Python without dgmm": (lambda folder, port: {"python": "/usr/bin/python3"}, "it has no distributed"),
}


@pytest.mark.parametrize(("changed", "words"), REFUSED.values(), ids=REFUSED)
def test_a_host_that_cannot_be_used_is_named(server, changed, words):
    folder = Path(server["known_hosts"]).parent
    (folder / "nothing").touch()
    section = server | {"hosts": ["127.0.0.1"]} | changed(folder, free_port())
    before = set(Path("/tmp").glob(f"dgmm-{'?' * 32}"))
    with pytest.raises(ClusterError, match=words), open_cluster(section):
        pytest.fail("the body must not run")
    assert set(Path("/tmp").glob(f"dgmm-{'?' * 32}")) <= before


def test_the_page_says_how(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page("SSH", "ssh.yaml", tmp_path, **server)
