"""Published fits are reproduced."""

from pathlib import Path

import numpy as np
import pytest

import dgmm
from dgmm import GaussianMixture

FAITHFUL = Path(__file__).parents[1] / "data" / "faithful.csv"


@pytest.fixture(name="X", scope="module")
def old_faithful():
    """Durations and waiting times of 272 eruptions, in minutes; the source is stated in the file."""
    return np.loadtxt(FAITHFUL, delimiter=",", skiprows=4)


def test_old_faithful(X):
    """The fit of two components with covariances of their own, as mclust (model VVV) reports it."""
    assert X.shape == (272, 2)
    model = GaussianMixture(2, reg_covar=0.0, tol=1e-10, max_iter=500, random_state=0).fit(X)
    assert model.score(X) * 272 == pytest.approx(-1130.264, abs=5e-4)
    order = np.argsort(model.weights_)
    np.testing.assert_allclose(model.weights_[order], [0.3559, 0.6441], atol=5e-5)
    np.testing.assert_allclose(model.means_[order], [[2.0364, 54.479], [4.2897, 79.968]], atol=5e-4)


def test_a_selection_finds_the_same_fit(X):
    found = dgmm.select(X, range(1, 5), ["full", "tied"], reg_covar=0.0, max_iter=500, random_state=0)
    own = found.table.sel(covariance_type="full", n_components=2)
    assert float(own.total_log_likelihood) == pytest.approx(-1130.264, abs=1e-3)
    assert float(own.bic) == pytest.approx(2 * 1130.264 + 11 * np.log(272), abs=2e-3)
    assert found.table.bic.sel(covariance_type="full").argmin("n_components") == 1
    # Three components that share one covariance have fewer parameters still.
    assert found.best == ("tied", 3)
