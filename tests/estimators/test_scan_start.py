"""EM that starts where one scan of all rows ends."""

import warnings

import dask
import dask.array as da
import numpy as np
import pytest
from reference import FAMILIES, make_blobs
from sklearn.exceptions import ConvergenceWarning

from dgmm import BFRGaussianMixture, GaussianMixture
from dgmm.errors import ParameterError
from dgmm.fitting.events import FitFinished, PassStarted, RoundFinished, StartChosen

ARRAYS = ("weights_", "means_", "covariances_", "lower_bounds_", "n_reads_")


def rows(n=3000, chunk=250):
    return da.from_array(make_blobs(n, 3, 4, seed=1), chunks=(chunk, 3)).map_blocks(lambda block: block)


def fit(X, callbacks=(), sample_weight=None, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianMixture(4, **{"init_params": "bfr", "sample_rows": 500, "random_state": 0} | parameters)
        return model.fit(X, sample_weight=sample_weight, callbacks=callbacks)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_em_goes_on_where_the_scan_ends(family, weighted):
    X, w = rows(), np.arange(3000) % 3 + 1.0 if weighted else None
    scan = BFRGaussianMixture(
        4, covariance_type=family, batch_rows=500, buffer_rows=100, random_state=0
    ).fit(X, sample_weight=w)  # fmt: skip
    started = fit(X, sample_weight=w, covariance_type=family, max_iter=2, tol=0.0, accelerate=None)
    with pytest.warns(ConvergenceWarning):
        em = GaussianMixture(
            4, covariance_type=family, weights_init=scan.weights_, means_init=scan.means_,
            precisions_init=scan.precisions_, max_iter=2, tol=0.0, accelerate=None,
        ).fit(X, sample_weight=w)  # fmt: skip
    np.testing.assert_allclose(started.lower_bounds_, em.lower_bounds_, rtol=1e-9)
    assert (np.diff(started.weights_) <= 0.0).all()
    assert started.n_reads_ == 1 + 1 + 2


def test_all_is_told_and_counted():
    events = []
    model = fit(rows(), callbacks=events.append)
    assert len([event for event in events if isinstance(event, RoundFinished)]) == 6
    (chosen,) = [event for event in events if isinstance(event, StartChosen)]
    assert (chosen.init_params, chosen.sample_rows) == ("bfr", 0)
    passes = [event for event in events if isinstance(event, PassStarted) and event.name != "rounds"]
    assert [event.index for event in passes] == list(range(2, model.n_reads_ + 1))
    (finished,) = [event for event in events if isinstance(event, FitFinished)]
    assert finished.n_reads == model.n_reads_


def test_the_scheduler_changes_no_bit(client):
    X, found = rows(), []
    for scheduler, workers in (("synchronous", 1), ("threads", 3), ("distributed", None)):
        with dask.config.set(scheduler=scheduler, num_workers=workers):
            found.append(fit(X))
    for other in found[1:]:
        assert all(np.array_equal(getattr(found[0], name), getattr(other, name)) for name in ARRAYS)


def test_what_is_given_is_where_the_scan_starts():
    X = rows()
    means = fit(X).means_[::-1]
    model = fit(X, means_init=means)
    np.testing.assert_allclose(model.means_, means, atol=0.5)  # also their order stays


def test_a_warm_start_needs_no_scan():
    model = fit(rows(), warm_start=True)
    events = []
    model.fit(rows(), callbacks=events.append)
    assert not [event for event in events if isinstance(event, RoundFinished)]


@pytest.mark.parametrize("seed", range(3))
def test_a_component_too_rare_for_the_sample_is_found_where_its_rows_lie_together(seed):
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(20_000, 2)) + np.array([[0.0, 0.0], [8.0, 0.0]])[np.arange(20_000) % 2]
    rare = rng.normal(size=(20, 2)) * 0.2 + np.array([4.0, 30.0])
    X = np.concatenate([common, rare])
    model = GaussianMixture(3, init_params="bfr", sample_rows=1000, random_state=seed, tol=1e-6).fit(X)
    assert np.abs(model.means_ - [4.0, 30.0]).max(axis=1).min() < 0.2


@pytest.mark.parametrize("init_params", ["bfr", "k-means||"])
def test_a_scan_itself_starts_on_its_first_rows(init_params):
    with pytest.raises(ParameterError, match=r"init_params is .*; it must be one of 'kmeans', "):
        BFRGaussianMixture(2, init_params=init_params).fit(np.zeros((5, 2)))
