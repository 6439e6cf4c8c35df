"""Acceleration as a user sees it: fewer reads, counted; the same model on any scheduler; a choice."""

import dask
import dask.array as da
import numpy as np
import pytest
from reference import FAMILIES

from dgmm import GaussianMixture
from dgmm.fitting.events import FitFinished, IterationFinished, PassStarted

N, D, K = 12_000, 2, 3


@pytest.fixture(name="X", scope="module")
def overlapping():
    rng = np.random.default_rng(1)
    return rng.normal(size=(K, D))[rng.integers(0, K, N)] * 2.0 + rng.normal(size=(N, D))


def model(**parameters):
    return GaussianMixture(K, **{"tol": "auto", "sample_rows": 1500, "random_state": 0, "max_iter": 2000} | parameters)


def same(a, b):
    parts = ("weights_", "means_", "covariances_", "lower_bounds_")
    return all(np.array_equal(getattr(a, part), getattr(b, part)) for part in parts)


@pytest.mark.parametrize("family", FAMILIES)
def test_fewer_reads_reach_the_same_likelihood(X, family):
    plain = model(covariance_type=family, accelerate=None).fit(X)
    fast = model(covariance_type=family).fit(X)
    assert fast.n_reads_ <= plain.n_reads_ + 1
    assert abs(fast.score(X) - plain.score(X)) < 2.0 * plain.sampling_error_
    assert fast.score(X) >= fast.lower_bound_ - 1e-12
    assert (np.diff(fast.lower_bounds_) >= 0.0).all()
    assert 0.0 <= fast.remaining_gap_ < fast.sampling_error_


@pytest.mark.parametrize("chunk", [1000, 5000])
def test_every_scheduler_gives_the_same_bits(X, chunk):
    data = da.from_array(X, chunks=(chunk, D)) + 0.0
    fits = []
    for scheduler in ("synchronous", "threads"):
        with dask.config.set(scheduler=scheduler):
            fits.append(model().fit(data))
    assert same(*fits)


def test_chunks_change_no_more_than_rounding(X):
    a, b = (model().fit(da.from_array(X, chunks=(chunk, D)) + 0.0) for chunk in (1000, 5000))
    assert a.n_reads_ == b.n_reads_
    np.testing.assert_allclose(a.means_, b.means_, rtol=1e-6)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means||"])
def test_reads_are_counted(X, init_params):
    events = []
    fit = model(init_params=init_params, n_init=2).fit(
        da.from_array(X, chunks=(4000, D)) + 0.0, callbacks=events.append
    )
    assert fit.n_reads_ == sum(isinstance(event, PassStarted) for event in events)
    assert fit.n_iter_ == sum(isinstance(event, IterationFinished) for event in events)
    end = events[-1]
    assert isinstance(end, FitFinished)
    assert (end.n_reads, end.remaining_gap, end.sampling_error) == (
        fit.n_reads_,
        fit.remaining_gap_,
        fit.sampling_error_,
    )
    assert f"{fit.n_reads_} reads of the data" in str(end)
    assert f"p_free / (2 n) is {fit.sampling_error_:.2g}" in str(end)


def test_iterations_are_bounded_by_max_iter(X):
    with pytest.warns(UserWarning, match="did not converge in 2 iterations"):
        fit = model(max_iter=2, tol=0.0).fit(X)
    assert (fit.n_iter_, fit.n_reads_) == (2, 3)


def test_a_sample_of_all_the_rows_leaves_plain_em(X):
    assert same(model(sample_rows=N).fit(X), model(sample_rows=N, accelerate=None).fit(X))


def test_a_model_keeps_what_its_fit_told(X, tmp_path):
    fit = model().fit(X)
    fit.save(tmp_path / "model.zarr")
    again = GaussianMixture.load(tmp_path / "model.zarr")
    names = ("accelerate", "n_iter_", "n_reads_", "remaining_gap_", "sampling_error_")
    assert [getattr(again, name) for name in names] == [getattr(fit, name) for name in names]
