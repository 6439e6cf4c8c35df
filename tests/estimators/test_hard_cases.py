"""Data on which mixtures go wrong: small clusters, outliers, narrow ones in float32, odd inputs."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from reference import FAMILIES, is_tied, make_blobs, of_form
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture as SklearnMixture

from dgmm import GaussianMixture
from dgmm.errors import DataError
from dgmm.fitting.events import FitFinished


def test_a_real_cluster_of_fewer_rows_than_features_is_kept() -> None:
    rng, d = np.random.default_rng(0), 60
    X = np.concatenate(
        [rng.normal(size=(600, d)), rng.normal(size=(600, d)) + 6.0, 0.3 * rng.normal(size=(50, d)) - 12.0]
    )
    truth = np.repeat([0, 1, 2], [600, 600, 50])
    model = GaussianMixture(3, random_state=0).fit(X)
    peer = SklearnMixture(3, random_state=0).fit(X)
    assert adjusted_rand_score(truth, model.predict(X)) == 1.0
    assert model.score(X) == pytest.approx(peer.score(X), abs=1e-3)


@pytest.mark.parametrize("far", [1e2, 1e6, 1e10])
def test_one_far_row_costs_no_more_than_a_component(far) -> None:
    X = np.concatenate([make_blobs(400, 2, 1, seed=0), make_blobs(300, 2, 1, seed=1) + 9.0, [[far, far]]])
    model = GaussianMixture(3, random_state=0).fit(X)
    peer = SklearnMixture(3, random_state=0).fit(X)
    assert model.score(X) >= peer.score(X) - 1e-3
    assert np.diff(model.lower_bounds_).min() > -1e-9


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("width", [1e-3, 1e-4, 1e-5])
def test_float32_follows_a_component_that_shrinks_in_one_step(family, width) -> None:
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(500, 2)) * width + 1.0, rng.normal(size=(500, 2)) * width - 1.0])
    X = X.astype(np.float32)
    precisions = of_form(np.eye(2) * 9.0 if is_tied(family) else [np.eye(2) * 9.0] * 2, family)
    start = {"weights_init": [0.5, 0.5], "means_init": [[1.0, 1.0], [-1.0, -1.0]], "precisions_init": precisions}
    single = GaussianMixture(2, covariance_type=family, reg_covar=0.0, **start).fit(X)
    double = GaussianMixture(2, covariance_type=family, reg_covar=0.0, **start).fit(X.astype(np.float64))
    assert single.lower_bound_ == pytest.approx(double.lower_bound_, abs=1e-5)
    np.testing.assert_allclose(single.covariances_, double.covariances_, rtol=1e-4)


def test_narrow_clusters_are_not_taken_for_dependent_features() -> None:
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(500, 2)) * 1e-7 + 1.0, rng.normal(size=(500, 2)) * 1e-7 - 1.0])
    model = GaussianMixture(2, reg_covar=0.0, random_state=0).fit(X)
    np.testing.assert_allclose(np.sqrt(model.covariances_[:, 0, 0]), 1e-7, rtol=0.1)


def test_far_rows_have_the_same_labels_in_float32() -> None:
    X = make_blobs(600, 3, 3, seed=2)
    far = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32) * 1e6
    for family in ("full", "tied"):
        model = GaussianMixture(3, covariance_type=family, random_state=0).fit(X.astype(np.float32))
        assert (model.predict(far) == model.predict(far.astype(np.float64))).mean() > 0.999
        np.testing.assert_allclose(model.predict_proba(far).sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_units_out_of_the_range_of_float32_products(unit) -> None:
    X = make_blobs(300, 2, 2, seed=3)
    model = GaussianMixture(2, random_state=0, reg_covar=0.0).fit((X * unit).astype(np.float32))
    plain = GaussianMixture(2, random_state=0, reg_covar=0.0).fit(X)
    for name in ("covariances_", "precisions_", "precisions_cholesky_"):
        assert np.isfinite(getattr(model, name)).all()
    np.testing.assert_allclose(model.covariances_ / unit**2, plain.covariances_, rtol=1e-3)


def test_a_chunk_that_is_not_what_was_declared_is_refused() -> None:
    X = da.from_array(make_blobs(60, 3, 2, seed=0), chunks=(20, 3))
    narrow = X.map_blocks(lambda block: block[:, :2], dtype=float)
    with pytest.raises(DataError, match=r"chunk \d of X has shape \(20, 2\), but X was declared with 3 features"):
        GaussianMixture(2).fit(narrow)
    model = GaussianMixture(2, random_state=0).fit(X)
    with pytest.raises(DataError, match="declared with 3 features"):
        model.predict(narrow).compute()
    words = X.map_blocks(lambda block: block.astype(str), dtype=float)
    with pytest.raises(DataError, match=r"chunk \d of X holds ndarray of dtype <U"):
        GaussianMixture(2).fit(words)


def test_a_failed_fit_keeps_the_number_of_features() -> None:
    X = make_blobs(60, 2, 2, seed=0)
    model = GaussianMixture(2, random_state=0).fit(X)
    for bad in (np.full((60, 3), np.nan), da.full((60, 3), np.nan)):
        with pytest.raises(DataError):
            model.fit(bad)
        assert model.n_features_in_ == 2
        assert model.predict(X).shape == (60,)


def test_frames_with_nullable_and_mixed_columns_are_numbers() -> None:
    X = make_blobs(60, 2, 2, seed=0)
    frame = pd.DataFrame(X, columns=["a", "b"])
    plain = GaussianMixture(2, random_state=0).fit(frame)
    nullable = GaussianMixture(2, random_state=0).fit(frame.astype("Float64"))
    np.testing.assert_array_equal(plain.means_, nullable.means_)
    mixed = frame.assign(c=frame.a > 0.0)
    assert GaussianMixture(2, random_state=0).fit(mixed).n_features_in_ == 3


def test_the_wider_of_model_and_rows_decides_the_dtype() -> None:
    X = make_blobs(60, 2, 2, seed=0)
    for fitted in (np.float32, np.float64):
        model = GaussianMixture(2, random_state=0).fit(X.astype(fitted))
        for given in (np.float32, np.float64):
            rows = X.astype(given)
            expected = np.result_type(fitted, given)
            assert model.predict_proba(rows).dtype == expected
            assert model.score_samples(da.from_array(rows)).dtype == expected


def test_another_covariance_type_counts_from_the_next_fit() -> None:
    X = make_blobs(200, 2, 2, seed=0)
    model = GaussianMixture(2, random_state=0, warm_start=True).fit(X)
    labels = model.predict(X)
    model.set_params(covariance_type="diag")
    np.testing.assert_array_equal(model.predict(X), labels)
    assert model.fit(X).covariances_.shape == (2, 2)


def test_covariances_set_by_hand_are_drawn_from() -> None:
    X = make_blobs(200, 2, 1, seed=0)
    model = GaussianMixture(1, random_state=0).fit(X)
    narrow, _ = model.sample(5000)
    model.covariances_ = model.covariances_ * 4.0
    wide, _ = model.sample(5000)
    np.testing.assert_allclose(wide.std(axis=0), 2.0 * narrow.std(axis=0), rtol=1e-6)


def test_one_callback_needs_no_list() -> None:
    events = []
    GaussianMixture(1).fit(make_blobs(60, 2, 1, seed=0), callbacks=events.append)
    assert isinstance(events[-1], FitFinished)
