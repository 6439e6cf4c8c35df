"""Rows whose component is known: against the closed form, and against plain EM with responsibilities that are given."""

import warnings
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import FAMILIES, form_of, is_tied, log_joint, make_blobs, make_start, of_form, plain_em, start_parameters
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from dgmm import Execution, GaussianMixture, StopReason
from dgmm.errors import CheckpointMismatchError, DataError, DataTypeError, IllDefinedCovarianceError, ParameterError
from dgmm.fitting.events import PassStarted

N, D, K = 600, 3, 3
ARRAYS = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_")
X = make_blobs(N, D, K, seed=1, spread=1.5)
TRUTH = np.arange(N) % K
SOME = np.where(np.random.default_rng(0).random(N) < 0.2, TRUTH, -1)
WEIGHTS = np.random.default_rng(1).integers(0, 4, N).astype(float)
weighted = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weighted"])


def fit(data=X, labels=None, family="full", sample_weight=None, checkpoint=None, execution=None, callbacks=(), **given):
    parameters = {"n_components": K, "covariance_type": family, "random_state": 0} | given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(**parameters).fit(
            data, sample_weight=sample_weight, labels=labels, checkpoint=checkpoint, callbacks=callbacks,
            execution=execution,
        )  # fmt: skip


def assert_same_bits(model, other):
    for name in ARRAYS:
        assert np.array_equal(getattr(model, name), getattr(other, name)), name


def lazy(values, chunk=70):
    return da.from_array(values, chunks=(chunk, 2)[: values.ndim])


def joint_likelihood(model, rows, labels, w):
    """Mean over rows of log p(x), and of log p(x, y) where y is known."""
    joint = log_joint(rows, model.weights_, model.means_, model.covariances_, model.covariance_type)
    joint[(labels[:, None] >= 0) & (labels[:, None] != np.arange(joint.shape[1]))] = -np.inf
    return np.average(np.logaddexp.reduce(joint, axis=1), weights=w)


# -- all known --------------------------------------------------------------------------------------


@weighted
@pytest.mark.parametrize("family", FAMILIES)
def test_of_labelled_rows_alone_the_estimate_is_the_closed_form_in_one_read(family, weights, computes):
    model = fit(lazy(X), lazy(TRUTH), family, weights, reg_covar=1e-3, execution=Execution(persist=False))
    assert len(computes) == model.n_reads_ == 1
    assert (model.n_iter_, model.converged_, model.stop_reason_) == (0, True, StopReason.CLOSED_FORM)
    w = np.ones(N) if weights is None else weights
    shares = np.bincount(TRUTH, w) / w.sum()
    means = np.array([np.average(X[k == TRUTH], axis=0, weights=w[k == TRUTH]) for k in range(K)])
    own = np.array([np.cov(X[k == TRUTH].T, aweights=w[k == TRUTH], ddof=0) for k in range(K)])
    covariances = of_form((np.average(own, axis=0, weights=shares) if is_tied(family) else own), family)
    ridge = of_form(1e-3 * np.eye(D), family)
    np.testing.assert_allclose(model.weights_, shares, rtol=1e-12)
    np.testing.assert_allclose(model.means_, means, rtol=1e-10)
    np.testing.assert_allclose(model.covariances_, covariances + ridge, rtol=1e-10, atol=1e-12)
    assert model.lower_bound_ == pytest.approx(joint_likelihood(model, X, TRUTH, w), abs=1e-10)
    assert model.lower_bounds_ == [model.lower_bound_]


def test_the_closed_form_is_that_of_discriminant_analysis():
    model = fit(X, TRUTH, reg_covar=0.0)
    counts = np.bincount(TRUTH)
    quadratic = QuadraticDiscriminantAnalysis(store_covariance=True).fit(X, TRUTH)
    np.testing.assert_allclose(model.means_, quadratic.means_, rtol=1e-10)
    # Some versions divide by n - 1.
    ratio = np.asarray(quadratic.covariance_) / model.covariances_
    assert any(np.allclose(ratio, divided, rtol=1e-10) for divided in (1.0, (counts / (counts - 1))[0]))
    linear = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(X, TRUTH)
    tied = fit(X, TRUTH, "tied", reg_covar=0.0)
    np.testing.assert_allclose(tied.covariances_, linear.covariance_, rtol=1e-10)
    assert np.array_equal(tied.predict(X), linear.predict(X))


@pytest.mark.parametrize(("dtype", "offset"), [(np.float64, 1e8), (np.float32, 1e3)])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_offset_costs_only_what_rounding_the_input_costs(family, dtype, offset):
    moved = (X + offset).astype(dtype)
    rounded = moved.astype(np.float64) - offset
    for labels in (TRUTH, SOME):
        start = make_start(rounded, K, family)
        there = start_parameters(start[0], start[1] + offset, start[2], family)
        common = {"tol": 0.0, "max_iter": 3, "accelerate": None, "reg_covar": 0.0}
        model = fit(lazy(moved), labels, family, **there | common)
        near = plain_em(rounded, *start, family, 0.0, 3 if model.n_iter_ else 1, labels=labels)
        np.testing.assert_allclose(model.weights_, near[0], atol=1e-5)
        np.testing.assert_allclose(model.covariances_, near[2], rtol=1e-4, atol=1e-4)
        assert np.isfinite(model.lower_bound_)


def test_a_model_of_labelled_rows_is_kept(tmp_path: Path):
    model = fit(X, TRUTH)
    model.save(tmp_path / "m")
    assert_same_bits(GaussianMixture.load(tmp_path / "m"), model)
    again = [fit(lazy(X), lazy(TRUTH), checkpoint=tmp_path / "c") for _ in range(2)]
    assert_same_bits(*again)


# -- some known -------------------------------------------------------------------------------------


@weighted
@pytest.mark.parametrize("family", FAMILIES)
def test_responsibilities_of_labelled_rows_are_fixed(family, weights):
    start = make_start(X, K, family)
    common = {"tol": 0.0, "max_iter": 8, "accelerate": None}
    model = fit(lazy(X), SOME, family, weights, **start_parameters(*start, family) | common)
    expected = plain_em(X, *start, family, 1e-6, 8, weights, SOME)
    for name, values in zip(("weights_", "means_", "covariances_", "lower_bounds_"), expected, strict=True):
        np.testing.assert_allclose(getattr(model, name), values, rtol=1e-9, atol=1e-9)
    assert model.n_reads_ == 9


def test_weights_of_any_size_are_the_same_rows():
    start = start_parameters(*make_start(X, K, "full"), "full") | {"tol": 0.0, "max_iter": 4, "accelerate": None}
    for labels in (SOME, TRUTH):
        plain, large = (fit(lazy(X), labels, "full", WEIGHTS * 2.0**exponent, **start) for exponent in (0, 900))
        assert_same_bits(large, plain)
    for least in (1e-30, 1e-320):  # of rows without a label, which are then as good as none
        small = fit(lazy(X), SOME, sample_weight=np.where(SOME < 0, least, 1.0))
        np.testing.assert_allclose(small.means_, fit(X[SOME >= 0], SOME[SOME >= 0]).means_, rtol=1e-9)
    twice = fit(np.repeat(X, WEIGHTS.astype(int), axis=0), np.repeat(SOME, WEIGHTS.astype(int)), **start)
    weighed = fit(X, SOME, "full", WEIGHTS, **start)
    np.testing.assert_allclose(weighed.covariances_, twice.covariances_, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("family", ["full", "tied-diag"])
def test_narrow_components_are_served_about_their_means(family):
    """Where the dot product cancels, sums are taken again, or about the means: of labelled rows too."""
    rng = np.random.default_rng(3)
    rows = np.concatenate([rng.normal(size=(200, 2)) * 1e-5 + 1.0, rng.normal(size=(200, 2)) * 1e-5 - 1.0])
    labels = np.where(np.arange(400) % 4 == 0, np.arange(400) // 200, -1)
    start = [0.5, 0.5], [[0.9, 1.0], [-1.0, -0.9]], of_form(np.eye(2) if is_tied(family) else [np.eye(2)] * 2, family)
    common = {"tol": 0.0, "max_iter": 4, "accelerate": None, "reg_covar": 0.0, "n_components": 2}
    model = fit(rows, labels, family, **start_parameters(*start, family) | common)
    expected = plain_em(rows, *start, family, 0.0, 4, labels=labels)
    np.testing.assert_allclose(model.covariances_, expected[2], rtol=1e-5, atol=1e-15)
    np.testing.assert_allclose(model.lower_bounds_, expected[3], atol=1e-6)


@settings(max_examples=12)
@given(
    st.sampled_from(FAMILIES), st.integers(0, 10**6), st.integers(1, 4), st.floats(0.0, 1.0), st.integers(1, 40),
    st.sampled_from([None, "auto"]),
)  # fmt: skip
def test_the_likelihood_never_falls(family, seed, k, share, chunk, accelerate):
    rng = np.random.default_rng(seed)
    rows = make_blobs(120, 2, k, seed=seed, spread=2.0)
    labels = np.where(rng.random(120) < share, np.arange(120) % k, -1)
    labels[:k] = np.arange(k)
    model = fit(lazy(rows, chunk), labels, family, n_components=k, tol=0.0, max_iter=12, accelerate=accelerate)
    assert (np.diff(model.lower_bounds_) >= -1e-7).all()  # reg_covar is added after the step
    assert np.isfinite(model.lower_bound_)


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_of_no_row_change_no_bit(family):
    common = {"init_params": "k-means++", "max_iter": 4, "sample_rows": 100}
    for weights, none in ((None, np.full(N, -1)), (WEIGHTS, da.full(N, -1.0, chunks=13))):
        plain, model = (fit(lazy(X), labels, family, weights, **common) for labels in (None, none))
        assert_same_bits(model, plain)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "k-means||", "random", "random_from_data"])
@pytest.mark.parametrize("labelled", [range(K), [1], [2, 0]])
def test_components_keep_the_numbers_of_their_labels(init_params, labelled):
    rows, truth = make_blobs(900, 2, K, seed=4, spread=12.0), np.arange(900) % K
    labels = np.where(np.isin(truth, list(labelled)) & (np.arange(900) < 30), truth, -1)
    model = fit(lazy(rows, 100), labels, init_params=init_params, n_init=4)
    found = model.predict(rows)
    for k in labelled:
        assert np.mean(found[truth == k] == k) > 0.99
    if init_params != "random":
        assert adjusted_rand_score(truth, found) > 0.99


def test_few_labels_lead_to_the_mixture_that_made_the_rows():
    """Where the highest likelihood is not at the classes that are meant, labels say which split is."""
    rng = np.random.default_rng(8)
    truth = np.arange(2000) % 2
    # Two long stripes, each of which two clusters far apart make up: split across, not along.
    rows = np.column_stack([np.where(rng.random(2000) < 0.5, -4.0, 4.0), 1.5 * (2.0 * truth - 1.0)])
    rows += rng.normal(size=(2000, 2))
    labels = np.where(rng.random(2000) < 0.05, truth, -1)
    plain, helped = (fit(rows, given, "diag", n_components=2) for given in (None, labels))
    assert adjusted_rand_score(truth, plain.predict(rows)) < 0.1
    assert adjusted_rand_score(truth, helped.predict(rows)) > 0.7


def test_acceleration_ends_where_plain_em_ends():
    rows = make_blobs(20_000, 2, K, seed=9, spread=1.5)
    labels = np.where(np.random.default_rng(1).random(20_000) < 0.1, np.arange(20_000) % K, -1)
    common = {"tol": 1e-9, "max_iter": 500, "sample_rows": 1000}
    plain = fit(rows, labels, accelerate=None, **common)
    fast = fit(rows, labels, **common)
    assert fast.lower_bound_ == pytest.approx(plain.lower_bound_, abs=1e-6)
    assert fast.n_reads_ < plain.n_reads_


def test_a_component_of_labelled_rows_alone_is_not_starved():
    """Of 3,000 rows it has four; a sample of 100 has 0.13 of one."""
    rows = np.concatenate([make_blobs(2996, 2, 1, seed=1), make_blobs(4, 2, 1, seed=2) + 200.0])
    labels = np.r_[np.full(2996, -1), np.ones(4, dtype=int)]
    model = fit(lazy(rows, 500), labels, n_components=2, sample_rows=100)
    assert model.weights_[1] == pytest.approx(4 / 3000, rel=1e-6)
    np.testing.assert_allclose(model.means_[1], rows[-4:].mean(axis=0))


# -- how it is run ----------------------------------------------------------------------------------


def test_chunks_and_workers_change_no_bit(small_pieces):
    del small_pieces
    expected = fit(lazy(X), lazy(SOME))
    for scheduler, persist, labels in (
        ("synchronous", False, SOME), ("threads", True, lazy(SOME, 11)), ("threads", False, lazy(SOME.astype(float))),
    ):  # fmt: skip
        with dask.config.set(scheduler=scheduler, num_workers=3):
            assert_same_bits(fit(lazy(X), labels, execution=Execution(persist=persist)), expected)
    mixed = lazy(X) + 0.0 * lazy(X).sum()  # chunks that Dask makes
    assert_same_bits(fit(mixed, lazy(SOME)), expected)


def test_labels_may_be_a_column_of_rows_of_unknown_number():
    table = np.column_stack([X, SOME])
    keep = np.random.default_rng(2).random(N) < 0.7
    rows = lazy(table)[da.from_array(keep, chunks=70)]
    start = start_parameters(*make_start(X, K, "full"), "full") | {"max_iter": 3, "tol": 0.0}
    model = fit(rows[:, :D], rows[:, D], **start)
    np.testing.assert_allclose(model.means_, fit(X[keep], SOME[keep].tolist(), **start).means_, rtol=1e-9)


def test_a_fit_goes_on_with_the_same_labels_and_refuses_others(tmp_path):
    class StopError(Exception):
        pass

    def stop(event):
        if isinstance(event, PassStarted) and event.index == 4:
            raise StopError

    common = {"tol": 0.0, "max_iter": 5}
    with pytest.raises(StopError):
        fit(lazy(X), lazy(SOME), checkpoint=tmp_path / "c", callbacks=stop, **common)
    changed = SOME.copy()
    changed[-1] = changed[-1] % K + 1 if changed[-1] < K - 1 else 0
    swapped = SOME.copy()
    swapped[-40:] = SOME[-40:][::-1]
    for others in (changed, swapped):
        with pytest.raises(CheckpointMismatchError, match="in chunk 8 of X the sum of the labels"):
            fit(lazy(X), lazy(others), checkpoint=tmp_path / "c", **common)
    with pytest.raises(CheckpointMismatchError, match="labels was True and is False"):
        fit(lazy(X), checkpoint=tmp_path / "c", **common)
    resumed = fit(lazy(X), lazy(SOME), checkpoint=tmp_path / "c", **common)
    assert_same_bits(resumed, fit(lazy(X), lazy(SOME), execution=Execution(persist=False), **common))


# -- errors -----------------------------------------------------------------------------------------


def with_label(value):
    labels = SOME.astype(float)
    labels[[100, 500]] = value
    return labels


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize(
    ("value", "shown"), [(3, "3"), (-2, "-2"), (np.nan, "NaN"), (0.5, "0.5"), (np.inf, "infinity")]
)
def test_labels_that_are_none_are_named_with_their_place(value, shown, in_chunks):
    place = r"first at chunk 1, row 30 \(row 100 of the data\)" if in_chunks else "first at chunk 0, row 100"
    with pytest.raises(DataError, match=f"^labels contains {shown}, {place}; 2 of the labels are not .* from 0 to"):
        fit(lazy(X) if in_chunks else X, lazy(with_label(value)) if in_chunks else with_label(value))


def test_labels_that_do_not_fit_the_rows_are_refused():
    for data, labels in ((X, SOME[1:]), (lazy(X), SOME[1:]), (lazy(X), lazy(SOME)[1:]), (X, SOME[:, None])):
        with pytest.raises(DataError, match=r"^labels has shape \(.*expected one label for each row, \(600,\)"):
            fit(data, labels)
    with pytest.raises(ParameterError, match="labels is a dask array and X is not"):
        fit(X, lazy(SOME))
    with pytest.raises(DataTypeError, match=r"^labels has dtype"):
        fit(X, SOME.astype(str))


def test_a_component_without_rows_is_named():
    with pytest.raises(DataError, match=r"no row of weight has the label 1 \(nor \[4\]\).*decrease n_components"):
        fit(X, np.where(TRUTH == 1, 2, np.where(TRUTH == 2, 3, 0)), n_components=5)
    with pytest.raises(IllDefinedCovarianceError, match="component 1 is not positive definite"):
        fit(X, np.arange(N) // (N - 2), n_components=2, reg_covar=0.0)


def test_what_cannot_start_with_labels_says_so():
    with pytest.raises(ParameterError, match="init_params='bfr' is one scan, which knows no labels"):
        fit(X, SOME, init_params="bfr")
    with pytest.raises(ParameterError, match=r"weights_init\[1\] is 0, but rows have the label 1"):
        fit(X, SOME, weights_init=[0.5, 0.0, 0.5])


def test_the_density_of_a_labelled_row_is_that_of_its_component():
    """One labelled row far from its component moves the likelihood by its own density, not by the mixture's."""
    start = [0.5, 0.5], [[0.0], [10.0]], [[[1.0]], [[1.0]]]
    rows, labels = np.array([[0.0], [10.0], [9.0]]), np.array([-1, -1, 0])
    common = {"n_components": 2, "max_iter": 1, "reg_covar": 0.1}
    model = fit(rows, labels, **start_parameters(*start, "full") | common)
    densities = [multivariate_normal([mean], 1.0).logpdf(x) for x, mean in ((0.0, 0.0), (10.0, 10.0), (9.0, 0.0))]
    assert model.lower_bound_ == pytest.approx(np.log(0.5) + np.mean(densities), abs=1e-12)
    assert form_of(model.covariance_type) == "full"


def test_few_rows_without_label_are_fitted_even_where_the_sample_is_small():
    n = 40_000
    rows = np.random.default_rng(5).normal(size=(n, 2)) + 6.0 * (np.arange(n) % 2)[:, None]
    labels = np.arange(n) % 2
    labels[[7, 20_002]] = -1
    rows[[7, 20_002]] = [[-9.0, 9.0], [-9.5, 9.0]]
    model = fit(lazy(rows, 4_000), lazy(labels, 4_000), n_components=3, sample_rows=50, reg_covar=1e-3)
    assert model.n_iter_ > 0
    np.testing.assert_allclose(model.weights_[2], 2 / n, rtol=1e-6)
    np.testing.assert_allclose(model.means_[2], [-9.25, 9.0], rtol=1e-6)


# -- with missing values ----------------------------------------------------------------------------


def holes(where):
    rows = X.copy()
    rows[where, np.arange(N)[where] % D] = np.nan
    return rows


@pytest.mark.parametrize("labels", [SOME, TRUTH], ids=["some", "all"])
def test_labelled_rows_with_missing_values_are_dropped_where_asked(labels):
    lost = np.arange(N) % 7 == 0
    start = start_parameters(*make_start(X, K, "full"), "full") | {"max_iter": 4, "tol": 0.0}
    model = fit(lazy(holes(lost)), lazy(labels), missing="drop", **start)
    kept = fit(X[~lost], labels[~lost], **start)
    np.testing.assert_allclose(model.covariances_, kept.covariances_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.lower_bounds_, kept.lower_bounds_, rtol=1e-12)


def test_labels_go_with_missing_values_of_other_rows_alone():
    start = start_parameters(*make_start(X, K, "full"), "full") | {"max_iter": 4, "tol": 0.0, "missing": "marginalize"}
    model = fit(lazy(holes(SOME < 0)), lazy(SOME), **start)
    assert (np.diff(model.lower_bounds_) >= 0.0).all()
    far = np.where(np.isnan(holes(SOME < 0)), 1e6, X)  # whatever stands in a row without weight or label
    without = fit(far, TRUTH, sample_weight=(SOME >= 0).astype(float))
    assert without.n_iter_ == 0
    with pytest.raises(DataError, match=r"X contains NaN, first at chunk 0, row \d.* in a labelled row.*label -1"):
        fit(lazy(holes(SOME >= 0)), lazy(SOME), **start)
