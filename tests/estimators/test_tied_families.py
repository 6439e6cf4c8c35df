"""What families whose components share a covariance have in common with those whose do not."""

import dask.array as da
import numpy as np
import pytest
from reference import form_of, is_tied, make_blobs, make_start, start_parameters

from dgmm import BFRGaussianMixture, GaussianMixture
from dgmm.jobs.models import MixtureSection
from dgmm.mixture.families import FAMILIES

N, D, K = 600, 3, 3
TIED = {name: own for own, name in (("full", "tied"), ("diag", "tied-diag"), ("spherical", "tied-spherical"))}


@pytest.mark.parametrize(("tied", "own"), TIED.items())
@pytest.mark.parametrize("estimator", [GaussianMixture, BFRGaussianMixture])
def test_of_one_component_all_covariances_are_its_own(tied, own, estimator) -> None:
    X = make_blobs(N, D, 1, seed=1) * [1.0, 10.0, 0.1] + 100.0
    shared, alone = (estimator(1, covariance_type=name, random_state=0).fit(X) for name in (tied, own))
    assert shared.covariances_.shape == alone.covariances_.shape[1:]
    np.testing.assert_allclose(shared.covariances_, alone.covariances_[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(shared.means_, alone.means_, rtol=1e-12)
    assert shared.score(X) == pytest.approx(alone.score(X), abs=1e-12)
    assert shared.bic(X) == pytest.approx(alone.bic(X), rel=1e-12)


def test_a_family_with_more_freedom_reaches_a_likelihood_at_least_as_high() -> None:
    X = make_blobs(N, D, K, seed=2, spread=12.0)  # far apart: one optimum, that all find
    common = {"reg_covar": 0.0, "tol": 1e-9, "max_iter": 1000, "random_state": 0}
    scores = {name: GaussianMixture(K, covariance_type=name, **common).fit(X).score(X) for name in FAMILIES}
    for less, more in (
        ("tied-spherical", "tied-diag"), ("tied-diag", "tied"), ("tied-spherical", "spherical"),
        ("tied-diag", "diag"), ("tied", "full"), ("spherical", "diag"), ("diag", "full"),
    ):  # fmt: skip
        assert scores[less] <= scores[more] + 1e-9


@pytest.mark.parametrize("family", [name for name in FAMILIES if is_tied(name)])
def test_precisions_to_start_from_have_the_shape_of_the_covariances(family) -> None:
    X = make_blobs(N, D, K, seed=3)
    start = start_parameters(*make_start(X, K, family), family)
    model = GaussianMixture(**start, max_iter=500).fit(da.from_array(X, chunks=(100, D)))
    shape = {"full": (D, D), "diag": (D,), "spherical": ()}[form_of(family)]
    for name in ("covariances_", "precisions_", "precisions_cholesky_"):
        assert np.shape(getattr(model, name)) == shape
    found = start_parameters(model.weights_, model.means_, model.covariances_, family)
    again = GaussianMixture(**found, max_iter=500).fit(X)
    assert again.lower_bounds_[0] == pytest.approx(model.score(X), abs=1e-10)
    section = MixtureSection(n_components=K, covariance_type=family, precisions_init=model.precisions_.tolist())
    assert np.array_equal(section.precisions_init, model.precisions_)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_job_knows_every_family(family) -> None:
    assert MixtureSection(n_components=2, covariance_type=family).covariance_type == family
