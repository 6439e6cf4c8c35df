"""The files of ``cluster_configs/``: each is right, says what was not run, and fits the package that it is for."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import dgmm
from dgmm.cli import main
from dgmm.errors import ClusterError, JobError
from dgmm.jobs.clusters.cloud import fargate_arguments, gcp_arguments
from dgmm.jobs.clusters.opening import OPENERS, open_cluster
from dgmm.jobs.clusters.sections import ClusterSection
from dgmm.jobs.clusters.slurm import slurm_arguments
from dgmm.jobs.clusters.ssh import ssh_arguments
from dgmm.jobs.loading import load_cluster, make_cluster

FOLDER = Path(__file__).parents[2] / "cluster_configs"
FILES = sorted(FOLDER.glob("*.yaml"))
KINDS = {
    get_args(member.model_fields["kind"].annotation)[0]: member for member in get_args(get_args(ClusterSection)[0])
}
NOT_RUN = {"aws-fargate.yaml", "gcp.yaml", "kubernetes.yaml"}
GIVEN = re.compile(r"\$\{(\w+)\}")


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    """Every variable that a file speaks of."""
    for file in FILES:
        for name in GIVEN.findall(file.read_text()):
            if name != "NAME":
                monkeypatch.setenv(name, "tls://value:1" if "ADDRESS" in name else f"value-of-{name.lower()}")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_is_right_with_what_is_commented_out(file, tmp_path):
    section = load_cluster(file)
    assert section.kind == file.stem
    text = file.read_text()
    assert text.startswith("# Not run by the tests") == (file.name in NOT_RUN)
    for line in re.findall(r"^# (\w+: ?.*)$", text, flags=re.MULTILINE):
        key = line.split(":")[0]
        if key not in type(section).model_fields:
            continue
        other = tmp_path / "other.yaml"
        # One of two, or all of three.
        dropped = {"adapt": ("n_workers", "wait_for"), "scheduler_file": ("address",), "address": ("address",)}.get(
            key, ()
        )
        kept = [
            each for each in text.splitlines() if not each.startswith((*(f"{name}:" for name in dropped), f"{key}:"))
        ]
        together = re.findall(r"^# (tls_\w+: .*)$", text, flags=re.MULTILINE) if "tls" in line else []
        other.write_text("\n".join([*kept, *dict.fromkeys([line, *together])]))
        assert getattr(load_cluster(other), key) is not None


def test_every_kind_that_needs_one_has_a_file():
    assert {load_cluster(file).kind for file in FILES} == set(KINDS) - {"synchronous", "processes"}
    assert set(KINDS) == set(OPENERS)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_keys_are_refused(kind):
    with pytest.raises(JobError, match=r"n_wrkers: unknown key; allowed: "):
        make_cluster({"kind": kind, "n_wrkers": 1}, Path())


def bind(function, arguments: dict) -> None:
    """Fail on arguments that a function does not take by name."""
    parameters = inspect.signature(function).parameters.values()
    assert set(arguments) <= {each.name for each in parameters if each.kind is not each.VAR_KEYWORD}


def test_the_arguments_are_those_of_the_packages(monkeypatch):
    import asyncssh
    import distributed
    from dask_cloudprovider.aws.ecs import ECSCluster, FargateCluster
    from dask_cloudprovider.generic.vmcluster import VMCluster
    from dask_jobqueue.core import Job, JobQueueCluster
    from dask_jobqueue.slurm import SLURMJob

    fargate = fargate_arguments(load_cluster(FOLDER / "aws-fargate.yaml"))
    assert issubclass(FargateCluster, ECSCluster)
    bind(ECSCluster, fargate)

    source = Path(inspect.getfile(VMCluster)).parents[1] / "gcp" / "instances.py"
    taken = set(
        re.findall(r"^        (\w+)(?::[^=\n]+)?=", source.read_text().split("class GCPCluster")[1], flags=re.MULTILINE)
    )
    gcp = gcp_arguments(load_cluster(FOLDER / "gcp.yaml"))
    bind(VMCluster, {key: value for key, value in gcp.items() if key not in taken})

    slurm = slurm_arguments(load_cluster(FOLDER / "slurm.yaml"))
    names = {name for each in (JobQueueCluster, Job, SLURMJob) for name in inspect.signature(each.__init__).parameters}
    assert set(slurm) <= names

    ssh = ssh_arguments(load_cluster(FOLDER / "ssh.yaml"), "/tmp/x/tls.pem")
    bind(distributed.SSHCluster, {key: value for key, value in ssh.items() if key != "silence_logs"})
    assert asyncssh.SSHClientConnectionOptions(**{k: v for k, v in ssh["connect_options"].items() if k != "port"})
    bind(
        distributed.Nanny,
        {k: v for k, v in ssh["worker_options"].items() if k not in ("n_workers", "dashboard_address", "dashboard")},
    )
    bind(distributed.Scheduler, ssh["scheduler_options"])


# -- the environment --------------------------------------------------------------------------------

GATEWAY = "kind: gateway\naddress: https://x.example.org\nn_workers: 1\npassword: {}\n"


def test_an_unset_variable_is_an_error_with_its_line(tmp_path, monkeypatch):
    monkeypatch.delenv("DGMM_NOWHERE", raising=False)
    file = tmp_path / "c.yaml"
    file.write_text("kind: scheduler\nn_workers: 1\naddress: tcp://${DGMM_NOWHERE}:8786\n")
    with pytest.raises(JobError) as caught:
        load_cluster(file)
    begin = (
        f"{file}:3: address: found 'tcp://${{DGMM_NOWHERE}}:8786' (the environment variable DGMM_NOWHERE is not set); "
    )
    assert str(caught.value).startswith(begin)


def test_variables_are_expanded_where_the_reference_says_so_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setenv("DGMM_HERE", "node1")
    file = tmp_path / "c.yaml"
    file.write_text(
        "kind: slurm\nn_workers: 1\ncores: 1\nmemory: 1GiB\nqueue: ${DGMM_HERE}-$HOME-~\n"
        'job_script_prologue: ["echo ${DGMM_HERE}"]\nshared_directory: ${DGMM_HERE}/x\n'
    )
    section = load_cluster(file)
    assert section.queue == "node1-$HOME-~"
    assert section.job_script_prologue == ["echo ${DGMM_HERE}"]
    assert section.shared_directory == tmp_path / "node1" / "x"
    file.write_text("kind: local\nmemory_limit: ${DGMM_HERE}\n")
    with pytest.raises(JobError, match=r"c.yaml:2: memory_limit: found '\$\{DGMM_HERE\}'; allowed"):
        load_cluster(file)
    for model in KINDS.values():
        for name, field in model.model_fields.items():
            if name != "kind":
                expands = {"expand", "_secret"} & set(validators(field.annotation, *field.metadata))
                assert bool(expands) == ("${NAME}" in field.description), (model, name)


def validators(*parts) -> list[str]:
    """The names of the functions that a field's value goes through."""
    own = [part.func.__name__ for part in parts if hasattr(part, "func")]
    return own + [name for part in parts for name in validators(*get_args(part))]


@pytest.mark.parametrize("given", ["hunter2-marker", "x${DGMM_SECRET}", "${}", "[hunter2-marker]"])
def test_a_secret_in_a_file_is_refused_and_never_shown(tmp_path, monkeypatch, given, capsys):
    monkeypatch.setenv("DGMM_SECRET", "hunter2-marker")
    file = tmp_path / "c.yaml"
    file.write_text(GATEWAY.format(given))
    with pytest.raises(JobError, match=r"c.yaml:4: password: found a text .*write \$\{NAME\}, and set NAME") as caught:
        load_cluster(file)
    assert "hunter2" not in str(caught.value)
    file.write_text(GATEWAY.format("${DGMM_SECRET}"))
    section = load_cluster(file)
    assert section.password.get_secret_value() == "hunter2-marker"
    assert "hunter2" not in f"{section!r} {section} {section.model_dump()} {section.model_dump_json()} {section.words}"


# -- what is missing --------------------------------------------------------------------------------

EXTRAS = {
    "ssh": ("asyncssh", "ssh", {"hosts": ["127.0.0.1"]}),
    "slurm": ("dask_jobqueue.slurm", "slurm", {"cores": 1, "memory": "1GiB"}),
    "gateway": ("dask_gateway", "gateway", {"address": "https://x.example.org"}),
    "kubernetes": ("kr8s", "kubernetes", {"image": "x"}),
    "aws-fargate": ("dask_cloudprovider.aws", "aws", {"image": "x", "certificates": "x"}),
    "gcp": ("dask_cloudprovider.gcp", "gcp", {"image": "x", "project": "x", "zone": "x"}),
}


@pytest.mark.parametrize(("kind", "module", "extra", "keys"), [(kind, *each) for kind, each in EXTRAS.items()])
def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch, tmp_path, capsys, kind, module, extra, keys):
    monkeypatch.setitem(sys.modules, module, None)
    section = {"kind": kind, **({} if kind == "ssh" else {"n_workers": 1}), **keys}
    with (
        pytest.raises(ImportError, match=rf"kind {kind} needs the package .* 'dgmm\[{extra}\]'"),
        open_cluster(section),
    ):
        pytest.fail("the body must not run")


def test_slurm_without_its_commands(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    section = {"kind": "slurm", "n_workers": 1, "cores": 1, "memory": "1GiB"}
    with (
        pytest.raises(ClusterError, match="needs sbatch, squeue, scancel on this machine: run the job where"),
        dgmm.open_cluster(section),
    ):
        pytest.fail("the body must not run")


WRONG = {
    "both": ({"kind": "local", "n_workers": 1, "adapt": {"maximum": 2}}, "give n_workers or adapt, not both"),
    "neither": ({"kind": "slurm", "cores": 1, "memory": "1GiB"}, "missing: n_workers, or adapt"),
    "bounds": ({"kind": "local", "adapt": {"minimum": 3, "maximum": 2}}, "minimum is larger than maximum"),
    "too many": ({"kind": "local", "n_workers": 1, "wait_for": 2}, "wait_for is 2, and there will be 1"),
    "no address": ({"kind": "scheduler"}, "give address or scheduler_file"),
    "some tls": ({"kind": "scheduler", "address": "tls://x:1"}, "needs tls_ca_file"),
    "adapt's key": ({"kind": "local", "adapt": {"maxmum": 2}}, "adapt.maxmum: unknown key; .*did you mean 'maximum'"),
    "kind": ({"kind": "slrum"}, "kind: found 'slrum'; allowed: threads, .*did you mean 'slurm'"),
    "python": ({"kind": "ssh", "hosts": ["x"], "python": "python; rm x"}, "python: found 'python; rm x'"),
}


@pytest.mark.parametrize(("section", "words"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_together_is_refused(section, words):
    with pytest.raises(JobError, match=words):
        make_cluster(section, Path())


def test_the_command_says_it_in_its_exit_code(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text("input: {path: x.npy}\nmodel: {n_components: 2}\noutput: {model: m.zarr}\n")
    np.save("x.npy", np.random.default_rng(0).normal(size=(100, 2)))
    Path("c.yaml").write_text("kind: scheduler\nscheduler_file: s.json\n")
    assert main(["run", "job.yaml", "--cluster", "c.yaml"]) == 69
    assert (
        "s.json: cannot be read (No such file or directory); has the scheduler been started?" in capsys.readouterr().err
    )


MISSING = {
    "tls_cert": "kind: scheduler\naddress: tls://127.0.0.1:9\ntls_ca_file: x.npy\ntls_cert: gone\ntls_key: x.npy\n",
    "client_keys": "kind: ssh\nhosts: [127.0.0.1]\nclient_keys: [gone]\n",
    "certificates": "kind: aws-fargate\nimage: x\nn_workers: 1\ncertificates: gone\n",
    "log_directory": "kind: slurm\nn_workers: 1\ncores: 1\nmemory: 1GiB\nlog_directory: x.npy\n",
    "shared_directory": "kind: slurm\nn_workers: 1\ncores: 1\nmemory: 1GiB\nshared_directory: x.npy/gone\n",
}


@pytest.mark.parametrize("key", MISSING)
def test_a_wrong_path_is_a_wrong_file(key, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((10, 2)))
    for name in ("sbatch", "squeue", "scancel"):
        Path(name).touch(mode=0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    Path("job.yaml").write_text("input: {path: x.npy}\nmodel: {n_components: 1}\noutput: {model: m.zarr}\n")
    Path("c.yaml").write_text(MISSING[key])
    assert main(["run", "job.yaml", "--cluster", "c.yaml"]) == 2
    said = capsys.readouterr().err
    assert f"cluster.{key}: " in said
    assert "gone" in said or "x.npy: cannot be made (File exists)" in said


@pytest.mark.parametrize("key", ["known_hosts", "client_keys"])
def test_nothing_is_written_over_a_key_of_the_cluster(tmp_path, monkeypatch, capsys, key):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((10, 2)))
    Path("k").write_text("kept")
    job = "input: {path: x.npy}\nmodel: {n_components: 1}\noutput: {report: k, overwrite: true}\n"
    Path("job.yaml").write_text(
        job + f"cluster: {{kind: ssh, hosts: [x], {key}: {'[k]' if key == 'client_keys' else 'k'}}}\n"
    )
    assert main(["run", "job.yaml"]) == 2
    assert f"cluster.{key}" in capsys.readouterr().err
    assert Path("k").read_text() == "kept"
