"""Manifests for Kubernetes: a CronJob, and a DaskJob where the job computes on a cluster of pods."""

from __future__ import annotations

import posixpath
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from dgmm._version import __version__
from dgmm.jobs.clusters.kubernetes_section import KubernetesCluster
from dgmm.jobs.manifests import API, TLS_FOLDER, Pods, dask_cluster, network_policy, pod, resource, scheduler_address
from dgmm.jobs.schedules.schedule import Written
from dgmm.jobs.schedules.zone import local_zone
from dgmm.jobs.source import fail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dgmm.jobs.loading import Job
    from dgmm.jobs.schedules.schedule import Schedule
    from dgmm.jobs.source import KeyPath

_IMAGE, _CLAIM, _TLS = f"dgmm:{__version__}", "dgmm-data", "dgmm-tls"
_CLUSTER_FILE = "/etc/dgmm/cluster.yaml"
# Where a job waits no longer for pods: a start that came too late is left out, as if the machine had slept.
_LATE = 3600
_TRIES = 6
# As `dgmm run` ends: what is the same the next time, and what is not.
_HOPELESS, _WORTH_ANOTHER = (1, 2, 65), (69, 75)
_TLS_FILES = ("ca.pem", *(f"{role}{end}.pem" for role in ("scheduler", "worker", "client") for end in ("", "-key")))
# Once more changes nothing, or takes what is new in the files.
_SECRET = "kubectl create secret generic {name} {content} --dry-run=client -o yaml | kubectl apply -f -"
_CERTIFICATES = (
    "dgmm certs certs",
    _SECRET.format(name=_TLS, content=" ".join(f"--from-file=certs/{name}" for name in _TLS_FILES)),
)

_HEAD = """\
# {what}
# Written by `dgmm schedule --for kubernetes`; held to the schemas of Kubernetes{also}, and not run on a real one.
#
# image: one with dgmm in it, as the Dockerfile of cluster_configs/kubernetes/ makes.
# {claim}: a PersistentVolumeClaim with the files of the job's folder. Paths in the job file start there.
{more}"""

_ACCOUNT_RULES = [
    {
        "apiGroups": ["kubernetes.dask.org"],
        "resources": ["daskclusters", "daskautoscalers"],
        "verbs": ["create", "get", "delete"],
    },
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list"]},
]


def write_kubernetes(schedule: Schedule) -> list[Written]:
    """Write a CronJob with all that it needs, and a DaskJob if the job's cluster is of kind kubernetes.

    Raises
    ------
    JobError
        If a path in the job file is on this machine alone.
    """
    section, name = schedule.job.cluster, f"dgmm-{schedule.name}"
    install: tuple[str, ...] = ("kubectl apply -f {file}",)
    credentials = f"{name}-credentials" if schedule.environment else None
    more = ""
    if credentials is not None:
        more = f"# {credentials}: a Secret with {', '.join(schedule.environment)}.\n"
        file = shlex.quote(str(schedule.environment_file))
        install = (_SECRET.format(name=credentials, content=f"--from-env-file={file}"), *install)
    pods = Pods(_IMAGE, claim=_CLAIM, credentials=credentials)
    on_pods = isinstance(section, KubernetesCluster)
    if isinstance(section, KubernetesCluster):
        pods = Pods(section.image, section.cores, section.memory, section.claim or _CLAIM, section.mount, credentials)
    _check_paths(schedule.job, pods.mount)
    head = _HEAD.format(
        what=f"{schedule.file.name} at {schedule.times.text}, as a CronJob.", also="", claim=pods.claim, more=more
    )
    written = [Written(f"{name}.yaml", head + _dump(_by_the_clock(name, schedule, pods, on_pods=on_pods)), install)]
    if isinstance(section, KubernetesCluster):
        n_workers = section.n_workers or (section.adapt.maximum if section.adapt else 1)
        head = _HEAD.format(
            what=f"{schedule.file.name} once, now, with a scheduler and workers of its own, as a DaskJob.",
            also=" and of the Dask operator",
            claim=pods.claim,
            more=f"{more}# {_TLS}: a Secret with the certificates of `dgmm certs`.\n",
        )
        text = head + _dump(_once(f"{name}-now", schedule, pods, n_workers))
        written.append(Written(f"{name}-now.yaml", text, (*_CERTIFICATES, *install)))
    return written


def _by_the_clock(name: str, schedule: Schedule, pods: Pods, *, on_pods: bool) -> list[dict[str, Any]]:
    """Return a CronJob that runs the job file as it is, and what it needs."""
    config, mounted = {"job.yaml": _text_of(schedule.file)}, {f"{pods.mount}/job.yaml": (name, "job.yaml")}
    cluster = None
    if schedule.cluster_file is not None:
        config["cluster.yaml"], cluster = _text_of(schedule.cluster_file), _CLUSTER_FILE
        mounted[_CLUSTER_FILE] = (name, "cluster.yaml")
    spec = pod("dgmm", _run(cluster), pods, files=mounted, account=name if on_pods else None, restart="Never")
    account = _account(name) if on_pods else []
    return [_config_map(name, config), *account, _cron_job(name, schedule.times.text, spec)]


def _cron_job(name: str, cron: str, spec: dict[str, Any]) -> dict[str, Any]:
    codes: list[dict[str, Any]] = [
        {"action": action, "onExitCodes": {"containerName": "dgmm", "operator": "In", "values": list(values)}}
        for action, values in (("FailJob", _HOPELESS), ("Count", _WORTH_ANOTHER))
    ]
    moved = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    job = {
        "backoffLimit": _TRIES,
        "podFailurePolicy": {"rules": [moved, *codes]},
        "template": {"spec": spec},
    }
    times = {
        "schedule": cron,
        "timeZone": local_zone(),
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": _LATE,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {"spec": job},
    }
    return resource("batch/v1", "CronJob", name, spec=times)


def _once(name: str, schedule: Schedule, pods: Pods, n_workers: int) -> list[dict[str, Any]]:
    """Return a DaskJob that runs the job file on a cluster of its own, and what it needs."""
    cluster = {
        "kind": "scheduler",
        "address": scheduler_address(name),
        "tls_ca_file": f"{TLS_FOLDER}/ca.pem",
        "tls_cert": f"{TLS_FOLDER}/client.pem",
        "tls_key": f"{TLS_FOLDER}/client-key.pem",
        "n_workers": n_workers,
        "timeout": 600.0,
    }
    config = {"job.yaml": _text_of(schedule.file), "cluster.yaml": _text(cluster)}
    mounted = {f"{pods.mount}/job.yaml": (name, "job.yaml"), _CLUSTER_FILE: (name, "cluster.yaml")}
    # It computes little itself.
    runner = replace(pods, cores=1)
    spec = pod("dgmm", _run(_CLUSTER_FILE), runner, secret=_TLS, files=mounted, restart="Never")
    computes = {"spec": dask_cluster(name, pods, _TLS, n_workers=n_workers)["spec"]}
    job = resource(API, "DaskJob", name, spec={"job": {"spec": spec}, "cluster": computes})
    return [_config_map(name, config), network_policy(name), job]


def _account(name: str) -> list[dict[str, Any]]:
    """Return who may start clusters, and nothing else."""
    group, subject = "rbac.authorization.k8s.io", {"kind": "ServiceAccount", "name": name}
    role = {"apiGroup": group, "kind": "Role", "name": name}
    return [
        resource("v1", "ServiceAccount", name),
        resource(f"{group}/v1", "Role", name, rules=_ACCOUNT_RULES),
        resource(f"{group}/v1", "RoleBinding", name, roleRef=role, subjects=[subject]),
    ]


def _config_map(name: str, files: dict[str, str]) -> dict[str, Any]:
    return resource("v1", "ConfigMap", name, data=files)


def _run(cluster: str | None) -> list[str]:
    return ["python", "-m", "dgmm", "run", "job.yaml", *(() if cluster is None else ("--cluster", cluster))]


def _text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


_OTHER_PATHS = (("model", "path"), ("run", "folder"), ("run", "metrics"))


def _check_paths(job: Job, mount: str) -> None:
    problems = [
        job.problem(key, f"found {value!r}, which pods do not see: they see the job's folder (at {mount}) and URLs")
        for key, value in _values(job.source.value)
        if (key[0] in ("input", "output", "checkpoint") or key in _OTHER_PATHS) and _is_elsewhere(value, mount)
    ]
    if problems:
        raise fail(job.file, tuple(problems))


def _is_elsewhere(value: str, mount: str) -> bool:
    path = posixpath.normpath(value)
    return (
        path.startswith("~")
        or path.split("/")[0] == ".."
        or (path.startswith("/") and not f"{path}/".startswith(f"{mount.rstrip('/')}/"))
    )


def _values(value: Any, key: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, dict | list):
        for part, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _values(each, (*key, part))
    elif isinstance(value, str) and key[-1] not in ("variable", "features", "sample_dims"):
        yield key, value


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and no references."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)


def _text(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120))


def _dump(documents: list[dict[str, Any]]) -> str:
    return "".join(f"---\n{_text(each)}" for each in documents)
