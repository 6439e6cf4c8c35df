"""Places for checkpoints: folders, a loopback S3, and processes that hold one."""

import os
import select
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECRET = "marker-of-a-secret-key"

HOLD = """
import sys
from dgmm.storage.checkpoint import Checkpoint, CheckpointStore

with CheckpointStore(Checkpoint(sys.argv[1])) as store:
    store.load()
    for line in iter(sys.stdin.readline, ""):  # each line is a checkpoint to save
        try:
            store.save({}, {"state": line.strip()})
        except Exception as error:
            print(type(error).__name__, error, flush=True)
        else:
            print("saved", flush=True)
"""


@pytest.fixture(scope="session")
def _s3_server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@pytest.fixture
def s3(_s3_server, monkeypatch, tmp_path):
    """URL of an empty folder in a bucket; credentials and endpoint are in the environment."""
    settings = {
        "AWS_ACCESS_KEY_ID": "marker-of-a-key-id",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": _s3_server,
        "AWS_ALLOW_HTTP": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    request = urllib.request.Request(f"{_s3_server}/dgmm-test", method="PUT")
    with urllib.request.urlopen(request, timeout=30):
        pass
    return f"s3://dgmm-test/{tmp_path.name}/fit"


@pytest.fixture
def place(request, tmp_path):
    """Both kinds of places, by the name of a parameter."""
    return str(tmp_path / "fit") if request.param == "local" else request.getfixturevalue("s3")


class Holder:
    """Another process that has opened a checkpoint."""

    def __init__(self, path):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", HOLD, str(path)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)

    def save(self, value):
        """Let it save, and return what it says."""
        self.process.stdin.write(f"{value}\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], 120)[0], "it does not answer"
        return self.process.stdout.readline().strip()

    def end(self):
        """End it by closing its input; returns its errors."""
        return self.process.communicate(timeout=60)[1]


@pytest.fixture
def hold():
    """Starts processes that hold a checkpoint; they are killed with the test."""
    holders = []

    def start(path):
        holders.append(Holder(path))
        return holders[-1]

    try:
        yield start
    finally:
        for holder in holders:
            holder.process.kill()
            holder.process.communicate(timeout=60)
