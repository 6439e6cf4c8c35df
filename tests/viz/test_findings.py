"""What stands out in a fit is told, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from dgmm import GaussianMixture
from dgmm.mixture.families import FAMILIES
from dgmm.viz.content import ReportContent
from dgmm.viz.findings import find, overlaps

GOOD = ReportContent(
    "model",
    "full",
    weights=np.array([0.6, 0.4]),
    means=np.array([[0.0, 0.0], [9.0, 1.0]]),
    covariances=np.array([np.eye(2), np.eye(2)]),
    feature_names=("salt", "heat"),
    converged=True,
    stop_reason="it rose by less",
    lower_bounds=(-3.0, -2.5, -2.4),
    n_iter=3,
    n_rows=10_000.0,
    remaining_gap=1e-6,
    sampling_error=5e-4,
    reg_covar=1e-6,
    certainty=np.ones(100),
)
NEAR = np.array([[0.0, 0.0], [0.1, 0.0]])
CASES = {
    "did not converge": ({"converged": False}, "problem", "0.1 nats per row"),
    "has not settled": ({"converged": False, "scan": True}, "note", "last round"),
    "would still rise": ({"remaining_gap": 0.01}, "note", "0.01 nats per row"),
    "Component 1 died out": ({"weights": np.array([1.0, 0.0])}, "problem", "weight 0"),
    "Component 1 has very few rows": ({"weights": np.array([0.9995, 0.0005])}, "note", "5 rows"),
    "drowns a feature": (
        {"means": np.array([[0, 0.0], [9, 0]]), "covariances": np.array([np.diag([1.0, 1e-5])] * 2)},
        "problem",
        "“heat” (10%)",
    ),
    "Component 0 is as thin as": (
        {"covariances": np.array([[[1.0, 1 - 1e-6], [1 - 1e-6, 1.0]], np.eye(2)])},
        "note",
        "half of the variance",
    ),
    "Two components are nearly the same": ({"means": NEAR}, "note", "0 and 1 (99.88%)"),
    "Components overlap": ({"certainty": np.full(100, 0.55)}, "note", "100% of the sampled rows"),
    "Few rows for so many": ({"n_rows": 60.0}, "note", "11 free parameters were fitted to 60 rows"),
    "Rows came in an order": ({"scan": True, "n_renewed": 2}, "note", "2 times"),
}


def test_a_good_fit_has_nothing():
    assert find(GOOD) == []


@pytest.mark.parametrize("title", CASES)
def test_each_thing_is_told_with_what_to_do(title):
    change, level, words = CASES[title]
    found = [finding for finding in find(replace(GOOD, **change)) if title in finding.title]
    assert [finding.level for finding in found] == [level]
    assert words in found[0].text
    assert len(found[0].advice) > 20


def test_problems_come_first():
    levels = [finding.level for finding in find(replace(GOOD, converged=False, n_rows=60.0, means=NEAR))]
    assert levels == sorted(levels, reverse=True)
    assert set(levels) == {"problem", "note"}


def test_little_known_is_no_problem():
    bare = ReportContent("model", "full", GOOD.weights, GOOD.means, GOOD.covariances)
    assert find(bare) == []


@pytest.mark.parametrize("name", FAMILIES)
def test_overlap_is_the_integral_of_the_root_of_both_densities(name):
    """One feature by quadrature; the definition of Bhattacharyya's coefficient."""
    shape = FAMILIES[name].shape(3, 1)
    covariances = np.linspace(0.5, 4.0, int(np.prod(shape, initial=1))).reshape(shape)
    means = np.array([[0.0], [1.5], [-4.0]])
    content = ReportContent("m", name, np.full(3, 1 / 3), means, covariances)
    found, own = overlaps(content), np.sqrt(content.variances[:, 0])
    for i, j in [(0, 1), (0, 2), (1, 2)]:

        def root(x, i=i, j=j):
            return np.sqrt(norm.pdf(x, means[i, 0], own[i]) * norm.pdf(x, means[j, 0], own[j]))

        assert found[i, j] == found[j, i] == pytest.approx(quad(root, -40, 40, limit=200)[0], rel=1e-6)


def test_overlap_of_several_features_does_not_depend_on_their_units():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 3, 3))
    covariances, means = a @ a.transpose(0, 2, 1) + np.eye(3), rng.normal(size=(4, 3))
    content = ReportContent("m", "full", np.full(4, 0.25), means, covariances)
    units = np.array([1e-7, 1.0, 1e9])
    scaled = replace(content, means=means * units + 5e3 * units, covariances=covariances * units * units[:, None])
    np.testing.assert_allclose(overlaps(scaled), overlaps(content), rtol=1e-7)
    # By Monte Carlo: the mean of the root of the ratio of densities.
    first, second = (multivariate_normal(means[k], covariances[k]) for k in (0, 1))
    rows = first.rvs(200_000, random_state=1)
    estimate = np.exp(0.5 * (second.logpdf(rows) - first.logpdf(rows)))
    assert overlaps(content)[0, 1] == pytest.approx(estimate.mean(), abs=5 * estimate.std() / np.sqrt(len(rows)))


def test_units_do_not_make_components_thin():
    units = np.array([1e-5, 1e5])
    covariances = np.array([np.eye(2)] * 2) * units * units[:, None]
    content = replace(GOOD, means=GOOD.means * units, covariances=covariances, reg_covar=1e-16)
    assert find(content) == []
    # The same along an axis that is no feature's, against the definition: v' R v / v' C v at its largest.
    rng = np.random.default_rng(0)
    a = rng.normal(size=(2, 2))
    inner = a @ a.T + 0.3 * np.eye(2)
    directions = rng.normal(size=(200_000, 2))
    share = (0.3 * (directions**2).sum(axis=1) / np.einsum("ni,ij,nj->n", directions, inner, directions)).max()
    assert share > 0.5
    means = np.array([[0.0, 0.0], [90.0, 90.0]])  # so far apart that reg_covar drowns no feature as a whole
    made = replace(GOOD, means=means, covariances=np.stack([inner, np.eye(2)]), reg_covar=0.3)
    assert any(finding.title.startswith("Component 0 is as thin") for finding in find(made))
    made = replace(made, reg_covar=0.3 * 0.49 / share)
    assert not any("thin" in finding.title for finding in find(made))


def test_a_fit_knows_how_many_rows_it_had():
    X = np.random.default_rng(0).normal(size=(777, 2))
    model = GaussianMixture(2, random_state=0).fit(X, sample_weight=np.full(777, 3.0))
    assert model._report_content("m").n_rows == pytest.approx(3 * 777)
