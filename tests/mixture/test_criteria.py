"""Criteria against scikit-learn's and published formulas."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture as SklearnMixture

from dgmm.mixture import criteria


def test_aic_and_bic_are_scikit_learns() -> None:
    X = np.random.default_rng(0).normal(size=(200, 3))
    peer = SklearnMixture(2, random_state=0).fit(X)
    log_likelihood = peer.score(X) * 200
    assert criteria.aic(log_likelihood, peer._n_parameters()) == pytest.approx(peer.aic(X))
    assert criteria.bic(log_likelihood, peer._n_parameters(), 200) == pytest.approx(peer.bic(X))


def test_icl_is_the_completed_likelihood_where_rows_are_certain() -> None:
    assert criteria.icl(-50.0, 3, 20, 0.0) == criteria.bic(-50.0, 3, 20)
    assert criteria.icl(-50.0, 3, 20, 7.0) == criteria.bic(-50.0, 3, 20) + 14.0
