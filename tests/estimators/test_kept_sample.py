"""The rows that a model keeps: some of those it was fitted to, at random, and only with leave."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr
from scipy.stats import binom

from dgmm import BFRGaussianMixture, GaussianMixture
from dgmm.errors import FormatError
from dgmm.estimators.loading import load_mixture
from dgmm.mixture.sampling import RowSample, row_keys

X = np.random.default_rng(0).normal(size=(6_000, 2))


def indices(sample, rows):
    """Where rows stand among others, each once."""
    order = {row.tobytes(): i for i, row in enumerate(rows)}
    found = [order[row.tobytes()] for row in sample]
    assert len(set(found)) == len(found)
    return np.array(found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_some_of_the_rows_whatever_the_chunks(dtype):
    rows = X.astype(dtype)
    kept = GaussianMixture(2, random_state=0).fit(rows).sample_
    assert kept.dtype == dtype
    assert kept.shape == (2_000, 2)
    found = indices(kept, rows)
    # No part of the data is passed over: the counts of twelve equal parts are hypergeometric.
    assert np.bincount(found // 500, minlength=12).min() > 120
    again = GaussianMixture(2, random_state=0).fit(da.from_array(rows, chunks=(700, 1))).sample_
    np.testing.assert_array_equal(again, kept)


def test_few_rows_are_all_kept_and_wide_ones_are_fewer():
    assert len(GaussianMixture(1).fit(X[:50]).sample_) == 50
    wide = np.random.default_rng(1).normal(size=(3_000, 1_024)).astype("float32")
    assert GaussianMixture(1, covariance_type="diag").fit(wide).sample_.shape == (1_024, 1_024)


def test_rows_are_drawn_by_their_weights():
    weights = np.where(np.arange(6_000) < 3_000, 9.0, 1.0)
    weights[::3] = 0.0
    found = indices(GaussianMixture(1, random_state=0).fit(X, sample_weight=weights).sample_, X)
    assert (weights[found] > 0.0).all()
    # Without replacement: of two kinds of rows 2,000 each, a half of all is taken; see the race itself below.
    keys = np.sort(row_keys(7, 0, 200_000))
    heavy = np.arange(200_000) % 2 == 0
    race = RowSample(200_000, keys, heavy[:, None], np.where(heavy, 9.0, 1.0)).few(2_000)
    low, high = binom.interval(0.9999, 2_000, 0.9)
    assert low <= race.sum() <= high
    alike = RowSample(200_000, keys, np.arange(200_000)[:, None], np.ones(200_000))
    np.testing.assert_array_equal(alike.few(50)[:, 0], np.arange(50))


def test_a_scan_keeps_some_of_all_rows():
    ordered = X[np.argsort(X[:, 0])]
    found = indices(BFRGaussianMixture(2, batch_rows=1_000, random_state=0).fit(ordered).sample_, ordered)
    assert np.bincount(found // 1_000, minlength=6).min() > 100
    few = BFRGaussianMixture(2, batch_rows=1_000).partial_fit(X[:10])
    assert not hasattr(few, "sample_")


@pytest.mark.parametrize("kind", [GaussianMixture, BFRGaussianMixture])
def test_it_is_saved_unless_the_user_says_otherwise(tmp_path, kind):
    model = kind(2, random_state=0).fit(X.astype("float32"))
    model.save(tmp_path / "with.zarr")
    np.testing.assert_array_equal(load_mixture(tmp_path / "with.zarr").sample_, model.sample_)
    model.save(tmp_path / "without.zarr", sample=False)
    bare = load_mixture(tmp_path / "without.zarr")
    assert not hasattr(bare, "sample_")
    np.testing.assert_array_equal(bare.means_, model.means_)
    bare.save(tmp_path / "again.zarr")
    assert not (tmp_path / "again.zarr" / "sample").exists()
    sizes = [
        sum(file.stat().st_size for file in (tmp_path / name).rglob("*")) for name in ("with.zarr", "without.zarr")
    ]
    assert sizes[0] < 60_000 + sizes[1]


def test_a_missing_value_in_it_stays_one(tmp_path):
    model = GaussianMixture(1, random_state=0).fit(X[:100])
    model.sample_ = model.sample_.copy()
    model.sample_[3, 1] = np.nan
    model.save(tmp_path / "m.zarr")
    np.testing.assert_array_equal(GaussianMixture.load(tmp_path / "m.zarr").sample_, model.sample_)


@pytest.mark.parametrize(
    ("sample", "text"), [(np.ones((5, 3)), "the sample has shape"), (np.full((5, 2), np.inf), "sample contains")]
)
def test_a_sample_that_is_none_is_refused(tmp_path, sample, text):
    model = GaussianMixture(1, random_state=0).fit(X[:100])
    model.sample_ = sample
    if sample.shape[1] == 2:
        model.save(tmp_path / "m.zarr")
    else:
        model.save(tmp_path / "m.zarr", sample=False)
        group = zarr.open_group(tmp_path / "m.zarr", mode="a", use_consolidated=False)
        group.create_array("sample", data=sample)
        del group.attrs["digest"]
    with pytest.raises(FormatError, match=text):
        GaussianMixture.load(tmp_path / "m.zarr")
