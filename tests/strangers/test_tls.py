"""An encrypted cluster of real processes, made as ``dgmm certs`` says: who has no certificate stays out."""

from __future__ import annotations

import json
import os
import queue
import shlex
import socket
import ssl
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import dask.array as da
import distributed
import numpy as np
import psutil
import pytest
import yaml
from clusters.documented import blocks, run_page
from clusters.fits import check_fit

from dgmm import GaussianMixture
from dgmm.cli import main
from dgmm.errors import ClusterError
from dgmm.jobs import certificates
from dgmm.jobs.certificates import make_certificates
from dgmm.jobs.clusters.opening import open_cluster
from dgmm.jobs.clusters.sections import LocalCluster, ProcessesCluster, SchedulerCluster, ThreadsCluster
from dgmm.jobs.loading import load_cluster

ROOT = Path(__file__).parents[2]
PATIENCE = 60


@contextmanager
def running(command: list[str], folder: Path):
    """A process, and the lines that it writes to standard error; gone afterwards."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )
    lines: queue.Queue[str] = queue.Queue()

    def read():
        for line in process.stderr:
            lines.put(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield process, lines
    finally:
        for each in [*psutil.Process(process.pid).children(recursive=True), process] if process.poll() is None else []:
            each.kill()
        process.wait(PATIENCE)
        reader.join(PATIENCE)
        process.stderr.close()


def wait_for(lines: queue.Queue[str], words: str) -> str:
    while words not in (line := lines.get(timeout=PATIENCE)):
        pass
    return line


def commands(advice: list[str]) -> list[list[str]]:
    """The commands that ``dgmm certs`` prints, for this Python."""
    found = [shlex.split(line) for line in advice if line.startswith("  python ")]
    return [[sys.executable, *words] for _, *words in found]


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """An encrypted scheduler with two workers: the folder, the section of a job file, their processes."""
    folder = tmp_path_factory.mktemp("secured")
    advice = make_certificates(folder / "certs")
    make_certificates(folder / "foreign")
    start_scheduler, start_worker = commands(advice)
    start_scheduler[start_scheduler.index("8786")] = "0"
    with running(start_scheduler, folder / "certs") as (scheduler, lines):
        address = wait_for(lines, "Scheduler at:").split()[-1]
        assert address.startswith("tls://127.0.0.1:")
        start_worker[start_worker.index("tls://127.0.0.1:8786")] = address
        text = "\n".join(advice[advice.index("  cluster:") :])
        section = yaml.safe_load(text)["cluster"] | {"address": address, "n_workers": 2, "timeout": PATIENCE}
        start_worker += ["--nthreads", "1"]
        with (
            running(start_worker, folder / "certs") as (worker, _),
            running(start_worker, folder / "certs") as (other, _),
        ):
            yield folder, section, scheduler, worker, other


def with_files(section: dict, **files: Path) -> SchedulerCluster:
    text = {key: str(value) for key, value in section.items() if isinstance(value, str)}
    return SchedulerCluster.model_validate(text | {"timeout": 3.0} | {key: str(value) for key, value in files.items()})


@pytest.mark.cluster
def test_a_fit_on_the_encrypted_cluster_equals_one_on_threads(secured, tmp_path, monkeypatch, capsys):
    _, section, *_ = secured
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("x.npy", np.concatenate([rng.normal(0, 1, (3000, 3)), rng.normal(9, 2, (2000, 3))]))
    job = {
        "input": {"path": "x.npy"},
        "model": {"n_components": 2, "random_state": 0},
        "output": {"model": "remote.zarr", "report": "report.json"},
        "cluster": section,
    }
    Path("remote.yaml").write_text(yaml.safe_dump(job))
    assert main(["run", "remote.yaml"]) == 0, capsys.readouterr().err
    assert json.loads(Path("report.json").read_text())["cluster"] == f"scheduler at {section['address']}"
    job = job | {"output": {"model": "local.zarr"}, "cluster": {"kind": "threads"}}
    Path("local.yaml").write_text(yaml.safe_dump(job))
    assert main(["run", "local.yaml"]) == 0
    remote, local = (GaussianMixture.load(f"{name}.zarr") for name in ("remote", "local"))
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_array_equal(getattr(remote, name), getattr(local, name))


@pytest.mark.cluster
def test_a_fit_has_the_same_bits_when_a_worker_is_killed(secured):
    _, section, *_ = secured
    with open_cluster(section) as client:
        check_fit(client, kill_a_worker=True)


@pytest.mark.cluster
def test_the_page_on_clusters_says_how(secured, tmp_path, monkeypatch):
    _, section, *_ = secured
    monkeypatch.chdir(tmp_path)
    heading = "A scheduler that runs already"
    changed = {key: section[key] for key in ("address", "tls_ca_file", "tls_cert", "tls_key")}
    run_page(heading, "scheduler.yaml", tmp_path, **changed)
    (shown,), (command,) = blocks(heading, "text"), blocks(heading, "console")[:1]
    advice = make_certificates(tmp_path / "certificates", hosts=[command.split()[-1]])
    assert shown.splitlines() == [line for line in advice if line.startswith("  python")]


def key_files(folder: Path, role: str = "client") -> dict[str, Path]:
    return {"tls_cert": folder / f"{role}.pem", "tls_key": folder / f"{role}-key.pem"}


STRANGERS = {
    "a plain client": lambda folder: {"address": "tcp"},
    "everything from another authority": lambda folder: {
        "tls_ca_file": folder / "foreign" / "ca.pem",
        **key_files(folder / "foreign"),
    },
    "a foreign certificate, though it knows the authority": lambda folder: key_files(folder / "foreign"),
    "no authority's certificate, though it has the right one": lambda folder: {
        "tls_ca_file": folder / "foreign" / "ca.pem"
    },
}


@pytest.mark.cluster
@pytest.mark.parametrize("files", STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_is_refused(secured, files):
    folder, section, *_ = secured
    changed = dict(files(folder))
    if changed.get("address") == "tcp":
        stranger = SchedulerCluster(kind="scheduler", address=section["address"].replace("tls", "tcp"), timeout=3.0)
    else:
        stranger = with_files(section, **changed)
    with pytest.raises(ClusterError, match="no Dask scheduler answered"), open_cluster(stranger):
        pytest.fail("the body must not run")
    with open_cluster(SchedulerCluster.model_validate(section)):
        assert len(distributed.get_client().scheduler_info()["workers"]) == 2


def answer(port: int, context: ssl.SSLContext) -> bytes:
    """What a process of the cluster says first; nothing if it hangs up."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        return encrypted.recv(1)


@pytest.mark.cluster
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_an_encrypted_connection_without_a_certificate_is_refused(secured, version):
    folder, section, *_ = secured
    with open_cluster(SchedulerCluster.model_validate(section)):
        addresses = [section["address"], *distributed.get_client().scheduler_info()["workers"]]
    assert len(addresses) == 3
    for address in addresses:
        port = int(address.rpartition(":")[2])
        context = ssl.create_default_context(cafile=str(folder / "certs" / "ca.pem"))
        context.minimum_version = context.maximum_version = version
        with suppress(ssl.SSLError, ConnectionError):  # in version 1.3 after the handshake
            assert answer(port, context) == b""
        context.load_cert_chain(*key_files(folder / "certs").values())
        assert answer(port, context) != b""


@pytest.mark.cluster
def test_a_worker_with_a_foreign_certificate_does_not_join(secured):
    folder, section, *_ = secured
    tls = [f"--tls-ca-file={folder / 'certs' / 'ca.pem'}"]
    tls += [f"--{key.replace('_', '-')}={path}" for key, path in key_files(folder / "foreign", "worker").items()]
    command = [sys.executable, "-m", "distributed.cli.dask_worker", section["address"], "--protocol", "tls"]
    command += ["--no-dashboard", "--no-nanny", "--death-timeout", "3", *tls]
    with running(command, folder) as (process, _):
        assert process.wait(PATIENCE) != 0
    with open_cluster(SchedulerCluster.model_validate(section)):
        assert len(distributed.get_client().scheduler_info()["workers"]) == 2


# -- who can reach what -----------------------------------------------------------------------------


def listening(pid: int) -> set[str]:
    """The addresses at which a process and its children answer."""
    found = set()
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        found |= {each.laddr.ip for each in process.net_connections() if each.status == psutil.CONN_LISTEN}
    return found


@pytest.mark.cluster
def test_the_processes_of_the_advice_answer_on_the_loopback_alone(secured):
    _, _, *processes = secured
    assert [listening(process.pid) for process in processes] == [{"127.0.0.1"}] * 3


@pytest.mark.cluster
@pytest.mark.parametrize("dashboard", [None, ":0", "0"])
def test_a_local_cluster_answers_on_the_loopback_alone(dashboard):
    before = listening(os.getpid())
    with open_cluster(LocalCluster(kind="local", n_workers=1, threads_per_worker=1, dashboard_address=dashboard)):
        assert "/status" not in routes() or dashboard is not None
        assert listening(os.getpid()) - before <= {"127.0.0.1"}
        assert "127.0.0.1" in listening(os.getpid())


@pytest.mark.parametrize("section", [ThreadsCluster(n_workers=1), ProcessesCluster(kind="processes", n_workers=1)])
def test_threads_and_processes_do_not_listen(section):
    before = listening(os.getpid())
    with open_cluster(section):
        assert int(da.ones(4, chunks=2).sum().compute()) == 4
        assert listening(os.getpid()) == before


def routes() -> list[str]:
    return distributed.get_client().run_on_scheduler(
        lambda dask_scheduler: [str(rule.matcher) for rule in dask_scheduler.http_application.default_router.rules]
    )


@pytest.mark.cluster
def test_a_dashboard_is_opened_to_others_if_asked_for():
    with open_cluster(LocalCluster(kind="local", n_workers=1, threads_per_worker=1, dashboard_address="0.0.0.0:0")):
        assert "0.0.0.0" in listening(os.getpid())


# -- the command ------------------------------------------------------------------------------------


def test_certificates_are_made_once_and_keys_are_private(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = os.umask(0)  # the keys' mode does not hang on it
    try:
        assert main(["certs", "c", "--host", "node1.example.org", "--host", "10.0.0.1", "--days", "30"]) == 0
    finally:
        os.umask(before)
    printed = capsys.readouterr().out
    assert "python -m distributed.cli.dask_scheduler --protocol tls --host node1.example.org" in printed
    assert "  cluster:\n    kind: scheduler\n    address: tls://node1.example.org:8786\n" in printed
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path("c").iterdir()}
    roles = ("ca", "scheduler", "worker", "client")
    assert set(files) == {f"{role}{end}.pem" for role in roles for end in ("", "-key")}
    assert {files[f"{role}-key.pem"] for role in roles} == {0o600}
    assert stat.S_IMODE(Path("c").stat().st_mode) == 0o700
    content = {path.name: path.read_bytes() for path in Path("c").iterdir()}
    assert main(["certs", "c"]) == 2
    assert "certificates are never overwritten" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in Path("c").iterdir()} == content


def test_the_certificates_say_what_they_are_for(tmp_path):
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    make_certificates(tmp_path / "c", hosts=["node1.example.org", "10.0.0.1"], days=30)
    found = {
        role: x509.load_pem_x509_certificate((tmp_path / "c" / f"{role}.pem").read_bytes())
        for role in ("ca", "scheduler", "worker", "client")
    }
    for role, certificate in found.items():
        assert isinstance(certificate.public_key().curve, ec.SECP256R1)
        certificate.verify_directly_issued_by(found["ca"])
        assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 30
        extensions = certificate.extensions
        assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca == (role == "ca")
        names = [e.value for e in extensions if isinstance(e.value, x509.SubjectAlternativeName)]
        if role in ("scheduler", "worker"):
            assert [str(name.value) for name in names[0]] == ["node1.example.org", "10.0.0.1"]
        else:
            assert not names


REFUSED = {
    "days 0": (["--days", "0"], "--days: found 0; allowed: 1 to 3650"),
    "days": (["--days", "100000"], "--days: found 100000"),
    "host": (["--host", "a b"], "--host: found 'a b'; allowed: a name"),
    "empty host": (["--host", ""], "--host: found ''"),
    "no ascii": (["--host", "ä" * 70], "--host: found"),
}


@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED)
def test_impossible_certificates_are_refused_and_leave_nothing(tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    assert main(["certs", "c", *options]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_certificates_are_there_whole_or_not_at_all(tmp_path, monkeypatch, capsys):
    calls = []

    def fail(folder, name, *_):
        calls.append(name)
        if name == "worker":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(certificates, "_save", fail)
    assert main(["certs", str(tmp_path / "c")]) == 2
    assert "cannot be written: No space left on device" in capsys.readouterr().err
    assert calls == ["ca", "scheduler", "worker"]
    assert list(tmp_path.iterdir()) == []


def test_without_cryptography_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(certificates, "x509", None)
    assert main(["certs", str(tmp_path / "c")]) == 2
    assert "dgmm[certs]" in capsys.readouterr().err


def test_the_cluster_file_of_the_project_shows_the_encrypted_form(tmp_path):
    shown = (ROOT / "cluster_configs" / "scheduler.yaml").read_text()
    tls = [line.removeprefix("# ") for line in shown.splitlines() if line.startswith(("# tls_", "# address: tls"))]
    kept = [line for line in shown.splitlines() if not line.startswith(("#", "address:"))]
    (tmp_path / "c.yaml").write_text("\n".join([*kept, *tls]))
    section = load_cluster(tmp_path / "c.yaml")
    assert isinstance(section, SchedulerCluster)
    assert section.address.startswith("tls://")
    assert section.tls_key is not None
