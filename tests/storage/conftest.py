"""Places for checkpoints, and processes that hold one."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

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
