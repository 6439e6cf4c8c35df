"""Clusters of pods: what is created is what the schemas allow, and a fit runs through it."""

from __future__ import annotations

import os
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from kubernetes_schemas import check
from pretending_kubernetes import pretending

import dgmm
from dgmm.errors import ClusterError
from dgmm.jobs.clusters.kubernetes import manifests
from dgmm.jobs.clusters.opening import open_cluster
from dgmm.jobs.loading import make_cluster

pytestmark = pytest.mark.cluster
SECTION = {"kind": "kubernetes", "image": "dgmm:test", "cores": 1, "n_workers": 2, "timeout": 240.0, "claim": "data"}


@pytest.fixture(autouse=True)
def _bare(monkeypatch):
    for name in [each for each in os.environ if each.startswith("KUBERNETES_")]:
        monkeypatch.delenv(name)


def test_a_fit_runs_through_a_cluster_of_pods_encrypted(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(4_000, 3)) + np.arange(4_000)[:, None] % 2 * 6.0
    here = dgmm.GaussianMixture(2, random_state=0).fit(rows)
    with pretending(tmp_path) as (kubernetes, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
        with open_cluster(SECTION) as client:
            workers = client.scheduler_info()["workers"]
            assert len(workers) == 2
            assert all(address.startswith("tls://") for address in workers)
            there = dgmm.GaussianMixture(2, random_state=0).fit(da.from_array(rows, chunks=(500, 3)))
        # The key last: without it no pod runs, so that none is open to others before the policy is there.
        assert [each["kind"] for each in kubernetes.created] == ["DaskCluster", "NetworkPolicy", "Secret"]
        assert kubernetes.deleted == ["DaskCluster"]
        cluster, policy, secret = kubernetes.created
        # Kubernetes removes both with the cluster that they belong to, also if this process is killed.
        for each in (policy, secret):
            (owner,) = each["metadata"]["ownerReferences"]
            assert owner["uid"] == cluster["metadata"]["uid"]
        assert policy["spec"]["podSelector"]["matchLabels"] == {"dask.org/cluster-name": cluster["metadata"]["name"]}
        open_to_all = [rule["ports"] for rule in policy["spec"]["ingress"] if "from" not in rule]
        assert open_to_all == [[{"protocol": "TCP", "port": 8786}]]
        assert cluster["spec"]["idleTimeout"] > 0
    np.testing.assert_allclose(there.means_, here.means_, rtol=1e-9)


def test_a_load_that_changes_is_left_to_the_operator():
    section = make_cluster(SECTION | {"n_workers": None, "adapt": {"minimum": 1, "maximum": 4}}, Path())
    cluster, scaler = manifests(section, "dgmm-1")
    for each in (cluster, scaler):
        check(each)
    assert cluster["spec"]["worker"]["replicas"] == 1
    assert scaler["spec"] == {"cluster": "dgmm-1", "minimum": 1, "maximum": 4}
    # By this page the operator asks which workers are needed.
    (routes,) = [each for each in environment_of(cluster, "scheduler") if each["name"].endswith("ROUTES")]
    assert "distributed.http.scheduler.api" in routes["value"]


def environment_of(cluster, role):
    return cluster["spec"][role]["spec"]["containers"][0]["env"]


def test_an_operator_that_does_nothing_is_named(tmp_path, monkeypatch):
    with pretending(tmp_path, operator=False) as (kubernetes, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
        with (
            pytest.raises(ClusterError, match="is the Dask operator installed"),
            open_cluster(SECTION | {"timeout": 1.0}),
        ):
            pass
        assert kubernetes.deleted == ["DaskCluster"]


def test_no_kubernetes_is_one_line(tmp_path, monkeypatch):
    with pretending(tmp_path) as (_, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
    with pytest.raises(ClusterError, match="could not be started"), open_cluster(SECTION):
        pass
