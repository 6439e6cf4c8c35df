"""What all kinds of clusters have in common: who is current, what is waited for, refused, and taken down."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import dask
import distributed
import psutil
import pytest
from clusters.documented import PAGE, run_page
from clusters.fits import PATIENCE, check_fit
from waiting import wait_until, wait_until_gone

import dgmm
from dgmm.errors import ClusterError, ParameterError
from dgmm.jobs.clusters import versions
from dgmm.jobs.clusters.opening import open_cluster
from dgmm.jobs.clusters.versions import About, check_processes, report_families, watch_joining

ROOT = Path(__file__).parents[2]
LOCAL = {"kind": "local", "n_workers": 2, "threads_per_worker": 1}
pytestmark = pytest.mark.cluster


def test_a_fit_has_the_bits_of_one_thread_also_when_a_worker_is_killed():
    with dgmm.open_cluster(LOCAL) as client:
        check_fit(client, kill_a_worker=True)


def test_a_cluster_adapts_and_keeps_a_worker():
    with open_cluster({"kind": "local", "threads_per_worker": 1, "adapt": {"minimum": 1, "maximum": 2}}) as client:
        assert len(client.scheduler_info()["workers"]) >= 1
        check_fit(client, kill_a_worker=False)


def test_a_running_cluster_without_workers_is_asked_for_one_and_keeps_it():
    with distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        adaptive = cluster.adapt(minimum=0, maximum=1, interval="50ms", wait_count=1)
        section = {"kind": "scheduler", "address": cluster.scheduler_address, "timeout": PATIENCE}
        with open_cluster(section) as client:
            before = len(adaptive.log)
            time.sleep(1.0)  # of twenty decisions
            assert len(adaptive.log) == before
            assert len(client.scheduler_info()["workers"]) == 1
            check_fit(client, kill_a_worker=False)
        wait_until(lambda: not cluster.scheduler_info["workers"])


@pytest.fixture(scope="module")
def own():
    """A client of the user's, with one worker in this process."""
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize("fails", [False, True])
def test_a_client_of_the_users_is_left_alone(own, fails):
    held = own.submit(int, pure=False)
    config = dict(dask.config.config)
    try:
        with open_cluster({"kind": "threads"}) as client:
            assert client is None
            assert dask.base.get_scheduler().__module__ == "dask.threaded"
        with open_cluster({"kind": "scheduler", "address": own.scheduler.address}) as client:
            assert distributed.get_client() is client is not own
            assert dask.base.get_scheduler().__self__ is client
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert client.status == "closed"
    assert own.status == "running"
    assert distributed.get_client() is own
    assert dask.base.get_scheduler().__self__ is own
    assert dask.config.config == config
    assert held.result() == 0


def test_a_client_that_is_passed_in_is_used_and_left_open(own):
    with open_cluster(own) as client:
        assert client is own
        assert distributed.get_client() is own
    assert own.status == "running"
    with distributed.Client(own.scheduler.address, set_as_default=False) as closed:
        pass
    with pytest.raises(ClusterError, match=r"this client is closed, .*open a new one"), open_cluster(closed):
        pytest.fail("the body must not run")
    with pytest.raises(ParameterError, match="expected a path, a mapping, a section or"), open_cluster(3):
        pytest.fail("the body must not run")


def test_what_is_waited_for_is_said_and_too_few_workers_are_an_error(own, monkeypatch):
    monkeypatch.setattr("dgmm.jobs.clusters.waiting._TELL", (0.1, 0.3))
    section = {"kind": "scheduler", "address": own.scheduler.address, "n_workers": 8, "timeout": 1.0}
    told = []
    with (
        pytest.raises(ClusterError, match=r"has 1 of 8 workers after 1 s; start more, or wait for fewer"),
        open_cluster(section, tell=told.append),
    ):
        pytest.fail("the body must not run")
    assert told == ["waiting for workers: 1 of 8 workers after 0 s"] * 2
    assert distributed.get_client() is own


WRONG_FILES = {
    "none": (None, "scheduler_file: .*: cannot be read .*; has the scheduler been started"),
    "no address": ("{}", "it has no address"),
    "no JSON": ("x", "it has no address"),
    "encrypted": ('{"address": "tls://127.0.0.1:9"}', "is encrypted: give tls_ca_file"),
}


@pytest.mark.parametrize(("text", "words"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_scheduler_file_that_is_none(tmp_path, text, words):
    file = tmp_path / "scheduler.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ClusterError, match=words), open_cluster({"kind": "scheduler", "scheduler_file": str(file)}):
        pytest.fail("the body must not run")


# -- signals ----------------------------------------------------------------------------------------

SCRIPT = """\
import os, sys, time
import dgmm
if __name__ == "__main__":
    with dgmm.open_cluster({"kind": "local", "n_workers": 1, "threads_per_worker": 1}) as client:
        try:
            print(*client.run(os.getpid).values(), flush=True)
            time.sleep(600)
        finally:
            print("left", flush=True)
    print("not reached")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_takes_the_cluster_down(tmp_path, number):
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        worker = int(process.stdout.readline())
        children = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        assert worker in children
        process.send_signal(number)
        try:
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert out == "left\n", err
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGINT)
    wait_until_gone(children)
    assert ("Traceback" in err) == (number == signal.SIGINT)


def test_a_handler_of_somebody_elses_stays():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with open_cluster():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    with open_cluster():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


# -- versions and kernels ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The file of a scheduler with a worker that has no dgmm."""
    folder = tmp_path_factory.mktemp("bare")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    processes, file = [], folder / "scheduler.json"
    quiet = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    hidden = folder / "sitecustomize.py"  # also where dgmm is installed
    hidden.write_text("import sys\nsys.modules['dgmm'] = None\n")
    try:
        for command in (
            ["distributed.cli.dask_scheduler", "--port", "0", "--scheduler-file", str(file), *quiet],
            ["distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", *quiet],
        ):
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", *command],
                    cwd=folder,
                    env=environment | {"PYTHONPATH": str(folder)},
                    stderr=subprocess.DEVNULL,
                )
            )
        wait_until(file.exists)
        yield file
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(PATIENCE)


def test_workers_without_dgmm_are_refused(bare):
    section = {"kind": "scheduler", "scheduler_file": str(bare), "timeout": PATIENCE}
    words = (
        r"other versions than this process: 127\.0\.0\.1: dgmm missing, or another one \(here .*\); install the same"
    )
    with pytest.raises(ClusterError, match=words), open_cluster(section):
        pytest.fail("the body must not run")


def test_other_versions_are_refused_with_the_difference(own, monkeypatch):
    found = own.get_versions(packages=versions.PACKAGES)
    here = found["client"]["packages"]
    other = {"packages": here | {"numpy": "1.0", "python": "3.9.1.final.0"}}
    found["workers"] = {f"tcp://10.0.0.{i}:5": other for i in range(8)} | {"tcp://10.0.1.1:5": {"packages": here}}
    found["scheduler"] = {"packages": here | {"distributed": "1.0", "numpy": None}}
    asked = SimpleNamespace(get_versions=lambda packages: found, run=None)
    with pytest.raises(ClusterError) as caught:
        check_processes(asked, "cluster")
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"10.0.0.4 and 3 more: python 3.9 (here {python}), numpy 1.0 (here {here['numpy']})" in str(caught.value)
    assert f"the scheduler: distributed 1.0 (here {here['distributed']})" in str(caught.value)
    assert "10.0.1.1" not in str(caught.value)


def test_another_dgmm_is_refused(own, monkeypatch):
    check_processes(own, "cluster")
    monkeypatch.setattr(versions, "__version__", "0.0.1")
    told = {"tcp://a:1": About("0.0.2", {}, ("Zen",)), "tcp://b:1": About("0.0.1", {}, ("Zen",))}
    found = own.get_versions(packages=versions.PACKAGES)
    asked = SimpleNamespace(get_versions=lambda packages: found, run=lambda function, on_error: told)
    with pytest.raises(ClusterError, match=r"process: a: dgmm 0\.0\.2 \(here 0\.0\.1\); install"):
        check_processes(asked, "cluster")


def test_workers_of_several_kernel_families_are_reported(own, caplog):
    assert versions.about_this_process().families
    with caplog.at_level(logging.WARNING, "dgmm"):
        report_families({"tcp://a:1": About("1", {}, ("Zen",)), "tcp://a:2": About("1", {}, ("Zen",))})
        assert not caplog.records
        report_families({"tcp://a:1": About("1", {}, ("Zen",)), "tcp://b:2": About("1", {}, ("Haswell", "SkylakeX"))})
    (record,) = caplog.records
    assert "different BLAS kernels (Haswell, SkylakeX on b; Zen on a)" in record.getMessage()


def test_the_page_says_how_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page("This machine", "local.yaml", tmp_path)


def test_the_page_names_every_kind_and_file():
    kinds = {file.stem for file in (ROOT / "cluster_configs").glob("*.yaml")}
    assert all(f"| `{kind}` |" in PAGE or f"`{kind}`, " in PAGE for kind in kinds)


@pytest.mark.parametrize("retire", [True, False])
def test_a_worker_that_joins_later_is_checked(monkeypatch, caplog, retire):
    monkeypatch.setattr(versions, "_EACH", 0.1)
    # Workers of this process say what it says: from here on, something else.
    here = versions.about_this_process()
    packages = here.packages | {"numpy": "1.0"}

    def say(about: About) -> None:
        monkeypatch.setattr(versions, "about_this_process", lambda: about)

    def workers() -> int:
        return len(client.scheduler_info(n_workers=-1)["workers"])

    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        caplog.at_level(logging.WARNING, "dgmm"),
        watch_joining(client, families := check_processes(client, "cluster"), retire=retire),
    ):
        say(About(here.version, packages, here.families))
        cluster.scale(2)
        wait_until(lambda: "numpy 1.0 (here" in caplog.text)
        assert ("sent away" in caplog.text) == retire
        wait_until(lambda: workers() == (1 if retire else 2))
        say(About(here.version, here.packages, ("Zen",)))
        cluster.scale(3)
        wait_until(lambda: "other BLAS kernels (Zen)" in caplog.text)
        assert ("Zen",) in families
