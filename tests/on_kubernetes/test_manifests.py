"""What is written for Kubernetes: every manifest is exactly what its schema allows, and says what a job needs."""

from __future__ import annotations

import copy
import re
import shlex
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from kubernetes_schemas import check

from dgmm.cli import main
from dgmm.errors import JobError
from dgmm.jobs.exits import BAD_DATA, BAD_JOB, BUG, INTERRUPTED, NO_CLUSTER
from dgmm.jobs.loading import load_job
from dgmm.jobs.manifests import Pods, dask_cluster, network_policy
from dgmm.jobs.schedules.schedule import make_schedule
from dgmm.jobs.schedules.writing import write_schedule

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "cluster_configs" / "kubernetes"
JOB = """\
input: {path: x.npy}
model: {n_components: 2, random_state: 0}
output: {model: s3://bucket/model.zarr, labels: labels.zarr}
checkpoint: {path: s3://bucket/progress}
"""
PODS = "cluster: {kind: kubernetes, image: dgmm:test, n_workers: 3, cores: 2, memory: 6GiB, claim: science}\n"


def documents(path):
    return list(yaml.safe_load_all(path.read_text()))


@pytest.fixture
def write(tmp_path):
    """Writes a job and its manifests: a function of the job's text that returns them by kind, and the paths."""

    def written(text, cron="0 2 * * *"):
        np.save(tmp_path / "x.npy", np.zeros((10, 2)))
        job = tmp_path / "Nightly job.yaml"
        job.write_text(text)
        paths = list(write_schedule(make_schedule(job, cron), "kubernetes", tmp_path))
        return {path.name: {each["kind"]: each for each in documents(path)} for path in paths}

    return written


def keys(value, path=()):
    """Where each key stands, but for those of maps that take any."""
    if isinstance(value, dict):
        for key, each in value.items():
            if path[-1:] not in (
                ("requests",),
                ("limits",),
                ("selector",),
                ("matchLabels",),
                ("data",),
                ("stringData",),
            ):
                yield (*path, key)
            yield from keys(each, (*path, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from keys(each, (*path, number))


def test_every_manifest_fits_its_schema_and_a_misspelt_key_does_not(write):
    for manifest in [each for manifests in write(JOB + PODS).values() for each in manifests.values()]:
        check(manifest)
        for path in keys(manifest):
            wrong = copy.deepcopy(manifest)
            at = wrong
            for part in path[:-1]:
                at = at[part]
            at[f"{path[-1]}x"] = at.pop(path[-1])
            with pytest.raises((jsonschema.ValidationError, KeyError)):
                check(wrong)


def test_a_cron_job_runs_once_at_a_time_and_again_if_that_helps(write):
    manifests = write(JOB)["dgmm-nightly-job.yaml"]
    cron = manifests["CronJob"]["spec"]
    assert (cron["schedule"], cron["concurrencyPolicy"]) == ("0 2 * * *", "Forbid")
    job = cron["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    # Only with this does Kubernetes take a podFailurePolicy.
    assert pod["restartPolicy"] == "Never"
    rules = {tuple(rule["onExitCodes"]["values"]): rule["action"] for rule in job["podFailurePolicy"]["rules"][1:]}
    assert rules == {(BUG, BAD_JOB, BAD_DATA): "FailJob", (NO_CLUSTER, INTERRUPTED): "Count"}
    assert all(
        rule["onExitCodes"]["containerName"] == container["name"] for rule in job["podFailurePolicy"]["rules"][1:]
    )
    # A node that is drained is nobody's failure.
    # The first rule that fits counts: a pod that a node loses ends with 75 too.
    assert job["podFailurePolicy"]["rules"][0]["action"] == "Ignore"
    assert pod["terminationGracePeriodSeconds"] >= 60
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["envFrom"] == [{"secretRef": {"name": "dgmm-nightly-job-credentials"}}]
    assert not pod["automountServiceAccountToken"]


def test_the_pod_runs_the_job_file_as_it_is(write, tmp_path):
    manifests = write(JOB)["dgmm-nightly-job.yaml"]
    pod = manifests["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "dgmm", "run", "job.yaml"]
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert container["workingDir"] == "/data"
    assert mounts["/data/job.yaml"]["subPath"] == "job.yaml"
    copied = tmp_path / "copied.yaml"
    copied.write_text(manifests["ConfigMap"]["data"]["job.yaml"])
    assert copied.read_text() == JOB
    assert load_job(copied).model.n_components == 2


def test_a_job_on_pods_may_start_them_and_nothing_else(write):
    written = write(JOB + PODS)
    manifests = written["dgmm-nightly-job.yaml"]
    pod = manifests["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    name = manifests["ServiceAccount"]["metadata"]["name"]
    assert pod["serviceAccountName"] == manifests["RoleBinding"]["subjects"][0]["name"] == name
    allowed = {
        (resource, tuple(rule["verbs"])) for rule in manifests["Role"]["rules"] for resource in rule["resources"]
    }
    assert {("secrets", ("create",)), ("networkpolicies", ("create",))} <= allowed
    assert not {"*"} & {word for resource, verbs in allowed for word in (resource, *verbs)}
    assert pod["containers"][0]["image"] == "dgmm:test"
    once = written["dgmm-nightly-job-now.yaml"]["DaskJob"]
    cluster, runner = once["spec"]["cluster"]["spec"], once["spec"]["job"]["spec"]
    assert cluster["worker"]["replicas"] == 3
    # A failed pod that were started again and again would hide that the job is bad.
    assert runner["restartPolicy"] == "Never"
    section = yaml.safe_load(written["dgmm-nightly-job-now.yaml"]["ConfigMap"]["data"]["cluster.yaml"])
    address = f"tls://{once['metadata']['name']}-scheduler:8786"
    assert (section["kind"], section["address"], section["n_workers"]) == ("scheduler", address, 3)
    (worker,) = cluster["worker"]["spec"]["containers"]
    assert address in worker["command"]
    # Else the operator names an address without encryption.
    assert {"name": "DASK_SCHEDULER_ADDRESS", "value": address} in worker["env"]
    assert worker["resources"]["limits"] == {"memory": "6Gi"}


@pytest.mark.parametrize("place", ["/home/me/x.npy", "../x.npy", "~/x.npy"])
def test_files_that_pods_do_not_see_are_refused_with_their_line(place, write, tmp_path):
    with pytest.raises(JobError, match=r"Nightly job.yaml:1: input.path: found '.*x.npy', which pods do not see"):
        write(JOB.replace("x.npy", place))
    assert not list(tmp_path.glob("*nightly*"))


def test_the_command_says_how_to_install_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(JOB + PODS)
    assert main(["schedule", "job.yaml", "--cron", "@daily", "--for", "kubernetes"]) == 0
    told = capsys.readouterr().out
    assert "kubectl apply -f" in told
    # From wherever it is typed.
    assert f"kubectl create secret generic dgmm-job-credentials --from-env-file={tmp_path / 'job.env'} --dry" in told
    assert re.search(r"kubectl create secret generic dgmm-tls .*--from-file=certs/scheduler-key.pem", told)
    assert "ca-key" not in told


def test_the_page_says_what_is_written(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    (job,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (command,) = [shlex.split(line) for line in re.findall(r"^\$ dgmm (schedule .*)$", page, re.MULTILINE)]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nightly.yaml").write_text(job)
    assert main(command) == 0
    written = {path.name: documents(path) for path in tmp_path.glob("dgmm-*")}
    assert written.keys() == set(re.findall(r"`(dgmm-nightly[a-z-]*\.yaml)`", page))
    for manifest in (each for several in written.values() for each in several):
        check(manifest)
        assert f"`{manifest['kind']}`" in page


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_what_is_made(path):
    pods = Pods("registry.example.org/dgmm:0.1.0", claim="dgmm-data", credentials="dgmm-credentials")
    made = {
        "dask-cluster.yaml": dask_cluster("dgmm", pods, "dgmm-tls", n_workers=4),
        "network-policy.yaml": network_policy("dgmm"),
    }
    assert documents(path) == [made[path.name]]
    assert "NOT RUN on a real Kubernetes" in path.read_text()


def test_the_image_runs_as_the_user_of_the_pods():
    (user,) = re.findall(r"^USER (\d+):\1$", (EXAMPLES / "Dockerfile").read_text(), flags=re.MULTILINE)
    pod = dask_cluster("x", Pods("x"), "tls", n_workers=1)["spec"]["worker"]["spec"]
    assert pod["securityContext"]["runAsUser"] == int(user)
