"""A real Prefect server, and flows that are served to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

ROOT = Path(__file__).parents[2]
PATIENCE = 180.0


@dataclass(frozen=True)
class Prefect:
    """A server, by its HTTP interface."""

    url: str
    environment: dict[str, str]

    def ask(self, path: str, body: dict | None = None):
        """The answer to a question: a GET, or a POST if it has a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})

        def answer():
            try:
                with urllib.request.urlopen(request, timeout=30) as answered:
                    return (json.load(answered),)
            except urllib.error.HTTPError as error:
                if error.code != 503:  # its database is busy: ask again, as Prefect's own client does
                    raise
                return None

        return wait_until(answer, PATIENCE, path)[0]

    def runs(self, deployment: str) -> list[dict]:
        """The runs of a deployment."""
        of = {"deployments": {"name": {"any_": [deployment]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return self.ask("/flow_runs/filter", of)

    def of_run(self, what: str, run: dict) -> list[dict]:
        """The task runs, artifacts or logs of a run."""
        key = {"logs": {"logs": {"flow_run_id": {"any_": [run["id"]]}}}}
        body = key.get(what, {"flow_runs": {"id": {"any_": [run["id"]]}}})
        return self.ask(f"/{what}/filter", body)

    def start(self, deployment: str, **parameters: str | None) -> dict:
        """Start a run of a deployment, of a flow of the same name."""
        found = wait_until(lambda: self._deployment(deployment), PATIENCE, f"the deployment {deployment}")
        body = {"parameters": found["parameters"] | parameters}
        return self.ask(f"/deployments/{found['id']}/create_flow_run", body)

    def _deployment(self, name: str):
        try:
            return self.ask(f"/deployments/name/{name}/{name}")
        except urllib.error.HTTPError:
            return None

    def end_of(self, run: dict) -> dict:
        """A run, once it has ended for good."""

        def ended():
            found = self.ask(f"/flow_runs/{run['id']}")
            return found if found["state_type"] in ("COMPLETED", "FAILED", "CANCELLED") else None

        return wait_until(ended, PATIENCE, f"the end of {run['name']}")

    @contextmanager
    def serving(self, file: Path, log: Path):
        """A process that serves a flow; all that it started is gone afterwards."""
        with log.open("w") as written:
            process = psutil.Popen(
                [sys.executable, file], cwd=file.parent, env=self.environment, stdout=written, stderr=written
            )
        try:
            yield process
        finally:
            stop(process)


def stop(process: psutil.Popen) -> None:
    """End a process that was started here, with its children."""
    family = [process, *process.children(recursive=True)] if process.is_running() else []
    for each in family:
        if each.is_running():
            each.terminate()
    for each in psutil.wait_procs(family, timeout=3)[1]:
        each.kill()
    process.wait(timeout=10)


@pytest.fixture(scope="module")
def prefect(tmp_path_factory):
    """A server that keeps what it knows in a folder of its own."""
    folder = tmp_path_factory.mktemp("prefect")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.2",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": str(ROOT),
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        process = psutil.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    server = Prefect(url, environment)

    def answers():
        assert process.is_running(), (folder / "server.log").read_text()
        try:
            return server.ask("/health")
        except OSError:
            return None

    try:
        wait_until(answers, PATIENCE, "Prefect's server")
        yield server
    finally:
        stop(process)
