"""How candidates of a selection are compared: with fits alone, and with scikit-learn."""

import numpy as np
from sklearn.mixture import GaussianMixture as Peer

ARRAYS = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_")


def assert_same_model(model, other):
    for name in ARRAYS:
        assert np.array_equal(getattr(model, name), getattr(other, name)), name
    assert (model.n_iter_, model.n_reads_, model.stop_reason_) == (other.n_iter_, other.n_reads_, other.stop_reason_)


def peer(model):
    """scikit-learn's mixture with a model's parameters."""
    other = Peer(model.n_components, covariance_type=model.covariance_type)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(other, name, getattr(model, name))
    return other
