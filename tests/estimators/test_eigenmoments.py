"""EigenMoments: what holds exactly, whatever signals come as, and what is refused."""

import pickle
import warnings

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import xarray as xr
import zarr
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import estimator_checks_generator

from dgmm import EigenMoments, GaussianMixture, StationaryCorrelation
from dgmm.errors import DataError, ParameterError
from dgmm.fitting.events import PassFinished
from dgmm.signals.spaces import MomentSpace

NOT_CLAIMED = {
    "check_dtype_object": "numbers in an object array are refused, with advice, not converted",
    "check_array_api_input": "needs a setting of scipy's",
}


@pytest.fixture(scope="module")
def digits():
    images = load_digits().images
    return images + np.random.default_rng(0).normal(0.0, 2.0, images.shape)


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("components_", "eigenvalues_", "snr_", "information_loss_", "noise_", "mean_", "n_signals_")
    )


def checks_that_apply():
    for own, check in estimator_checks_generator(EigenMoments()):
        name = getattr(check, "func", check).__name__
        if name not in NOT_CLAIMED:
            yield pytest.param(own, check, id=name)


@pytest.mark.parametrize(("estimator", "check"), list(checks_that_apply()))
def test_scikit_learns_own_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


# -- what holds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gep", "two-step"])
@pytest.mark.parametrize("center", [False, True])
def test_features_are_uncorrelated_and_their_noise_white(digits, method, center):
    found = EigenMoments(7, method=method, center=center).fit(digits)
    W, A, B = found.components_.T, found.correlation_, found.noise_correlation_
    np.testing.assert_allclose(W.T @ B @ W, np.eye(7), rtol=0, atol=1e-10)
    np.testing.assert_allclose(W.T @ A @ W, np.diag(found.eigenvalues_), rtol=0, atol=1e-10 * found.eigenvalues_[0])
    q = found.transform(digits)
    of_data = np.cov(q.T, bias=True) if center else q.T @ q / len(q)
    np.testing.assert_allclose(of_data, np.diag(found.eigenvalues_), rtol=0, atol=1e-10 * found.eigenvalues_[0])
    if center:
        np.testing.assert_allclose(q.mean(axis=0), 0.0, atol=1e-12 * np.abs(q).max())


def test_all_of_it_is_what_the_definitions_give(digits):
    """C, X, A and B made whole, and scipy's solver."""
    found = EigenMoments(5, order=4, noise=4.0).fit(digits)
    x = (2 * np.arange(8) + 1) / 8 - 1
    P = np.polynomial.legendre.legvander(x, 4)
    X = np.kron(P, P) / 64
    S = digits.reshape(-1, 64)
    A, B = X.T @ (S.T @ S / len(S)) @ X, 4.0 * X.T @ X
    ratios, W = scipy.linalg.eigh(A, B)
    np.testing.assert_allclose(found.eigenvalues_, ratios[::-1][:5], rtol=1e-9)
    np.testing.assert_allclose(np.abs(found.components_), np.abs(W.T[::-1][:5]), rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.information_loss_, 1 - ratios[::-1][:5].sum() / ratios.sum(), rtol=1e-9)
    np.testing.assert_allclose(found.snr_, found.eigenvalues_ - 1.0)
    by_filters = S @ found.filters_.reshape(5, 64).T
    np.testing.assert_allclose(found.transform(digits), by_filters, rtol=0, atol=1e-10)


@pytest.mark.parametrize("noise", ["differences", 4.0, np.linspace(1.0, 3.0, 64)], ids=["differences", "white", "each"])
def test_features_are_those_of_any_basis(digits, noise):
    legendre, monomial = (EigenMoments(9, basis=basis, noise=noise).fit(digits) for basis in ("legendre", "monomial"))
    np.testing.assert_allclose(legendre.eigenvalues_, monomial.eigenvalues_, rtol=1e-7)
    np.testing.assert_allclose(legendre.filters_, monomial.filters_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(legendre.transform(digits), monomial.transform(digits), rtol=0, atol=1e-5)
    gram = EigenMoments(9, basis="gram", noise=noise).fit(digits)
    np.testing.assert_allclose(legendre.transform(digits), gram.transform(digits), rtol=0, atol=1e-9)


def test_any_order_keeps_its_digits_over_the_samples():
    S = np.random.default_rng(6).normal(size=(2000, 48)).cumsum(axis=1)
    found = EigenMoments(order=47, basis="gram", noise=1.0).fit(S)  # all that 48 samples can show
    np.testing.assert_allclose(found.eigenvalues_, np.linalg.eigvalsh(S.T @ S / len(S))[::-1], rtol=1e-10)
    W = found.components_.T
    np.testing.assert_allclose(W.T @ found.noise_correlation_ @ W, np.eye(48), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.inverse_transform(found.transform(S)), S, rtol=0, atol=1e-9)


def test_no_sum_over_samples_has_more_signal_to_noise(digits):
    found = EigenMoments(noise=4.0, order=7).fit(digits)  # order 7: all signals of 8 x 8
    C = np.mean([np.multiply.outer(s, s) for s in digits.reshape(-1, 64)], axis=0)
    np.testing.assert_allclose(found.eigenvalues_, np.linalg.eigvalsh(C)[::-1] / 4.0, rtol=1e-7)


def test_the_ratio_of_known_signals_is_found():
    rng = np.random.default_rng(1)
    x = (2 * np.arange(50) + 1) / 50 - 1
    clean = np.outer(rng.normal(0.0, 3.0, 20_000), x)
    noisy = clean + rng.normal(0.0, 2.0, clean.shape)
    # The best filter is x: sum (3 x)^2 against 4 for each unit of x.
    expected = 9.0 * (x @ x) / 4.0
    found = EigenMoments(1, order=3).fit(noisy)
    np.testing.assert_allclose([found.noise_, found.snr_[0]], [4.0, expected], rtol=0.03)
    without = EigenMoments(1, order=3, noise=4.0, noisy=False).fit(clean)
    np.testing.assert_allclose([without.snr_[0], without.eigenvalues_[0]], expected, rtol=0.03)


def test_the_size_of_white_noise_changes_only_the_scale(digits):
    one, four = (EigenMoments(4, noise=noise).fit(digits) for noise in (1.0, 4.0))
    np.testing.assert_allclose(one.components_, 2.0 * four.components_, rtol=1e-9, atol=1e-9)


# -- noise ------------------------------------------------------------------------------------------


def test_all_forms_of_white_noise_are_one(digits):
    found = EigenMoments(4, noise=2.5).fit(digits)
    for noise in (np.full(64, 2.5), 2.5 * np.eye(64), [[2.5 * (i == j) for j in range(64)] for i in range(64)]):
        other = EigenMoments(4, noise=noise).fit(digits)
        np.testing.assert_allclose(other.components_, found.components_, rtol=0, atol=1e-9)
    floored = EigenMoments(4, noise=2.0, noise_floor=0.5).fit(digits)
    np.testing.assert_allclose(floored.components_, found.components_, rtol=0, atol=1e-12)
    floored = EigenMoments(4, noise=2.0 * np.eye(64), noise_floor=0.5).fit(digits)
    np.testing.assert_allclose(floored.components_, found.components_, rtol=0, atol=1e-9)


def test_noise_by_itself_is_read_once(digits):
    rng = np.random.default_rng(2)
    mixing = np.eye(64) + np.eye(64, k=1)  # neighbours share noise
    noise = rng.normal(size=(30_000, 64)) @ mixing
    reads = []
    found = EigenMoments(4).fit(
        digits,
        noise_signals=noise.reshape(-1, 8, 8),
        callbacks=lambda event: reads.append(event.name) if isinstance(event, PassFinished) else None,
    )
    assert reads == ["signals", "noise"]
    exact = EigenMoments(4, noise=mixing.T @ mixing).fit(digits)
    np.testing.assert_allclose(found.noise_, found.noise_correlation_)
    np.testing.assert_allclose(
        found.noise_correlation_, exact.noise_correlation_, atol=0.03 * exact.noise_correlation_.max()
    )
    np.testing.assert_allclose(found.eigenvalues_, exact.eigenvalues_, rtol=0.05)
    with pytest.raises(ParameterError, match="noise_signals are given beside noise=1"):
        EigenMoments(noise=1.0).fit(digits, noise_signals=noise)
    with pytest.raises(DataError, match=r"noise_signals have 63 samples; expected those of X, \(8, 8\)"):
        EigenMoments().fit(digits, noise_signals=noise[:, :63])
    with pytest.raises(DataError, match="more of these than there are moments"):
        EigenMoments().fit(digits, noise_signals=noise[:20])


# -- by a formula -----------------------------------------------------------------------------------


def test_a_formula_needs_no_signals():
    found = EigenMoments(3, signal_shape=(20, 30), order=4, correlation=StationaryCorrelation(2.0), noise=0.1).fit(None)
    assert (found.n_signals_, found.n_features_in_, found.signal_shape_) == (0, 600, (20, 30))
    np.testing.assert_array_equal(found.snr_, found.eigenvalues_)
    assert found.transform(np.ones((2, 20, 30))).shape == (2, 3)
    # Samples of such signals on a fine grid have about these ratios.
    y, x = ((2 * np.arange(n) + 1) / n - 1 for n in (20, 30))
    C = np.kron(*(np.exp(-2.0 * np.subtract.outer(t, t) ** 2) for t in (y, x)))
    given = EigenMoments(3, signal_shape=(20, 30), order=4, correlation=C, noise=0.1).fit(None)
    np.testing.assert_allclose(given.eigenvalues_, found.eigenvalues_, rtol=0.02)


def test_a_formula_takes_its_noise_from_signals(digits):
    model = StationaryCorrelation(1.0, variance=60.0)
    found = EigenMoments(3, correlation=model).fit(digits)
    given = EigenMoments(3, correlation=model, noise=found.noise_).fit(digits)
    np.testing.assert_array_equal(found.components_, given.components_)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "give signals, or signal_shape"),
        ({"signal_shape": 9}, "give signals, or signal_shape"),
        ({"signal_shape": 9, "correlation": StationaryCorrelation(1.0)}, "noise is 'auto', which needs signals"),
    ],
    ids=str,
)
def test_what_is_needed_without_signals(params, words):
    with pytest.raises(ParameterError, match=words):
        EigenMoments(**params).fit(None)


# -- what signals come as ---------------------------------------------------------------------------


def test_chunks_and_containers_change_nothing(digits, tmp_path):
    flat = digits.reshape(-1, 64)
    here = EigenMoments(5).fit(digits)
    q = here.transform(digits)
    zarr.save_array(tmp_path / "a.zarr", digits)
    array = xr.DataArray(digits, dims=("row", "y", "x"))
    sources = {
        "rows": (flat, {"signal_shape": (8, 8)}),
        "dask": (da.from_array(digits, chunks=(200, 8, 8)), {}),
        "chunked signals": (da.from_array(digits, chunks=(500, 4, 3)), {}),
        "dask rows": (da.from_array(flat, chunks=(333, 64)), {"signal_shape": (8, 8)}),
        "path": (tmp_path / "a.zarr", {}),
        "zarr": (zarr.open_array(tmp_path / "a.zarr"), {}),
        "DataArray": (array, {}),
        "other order": (array.transpose("y", "row", "x"), {"signal_dims": ("y", "x")}),
        "lazy": (array.chunk(row=100), {}),
        "Dataset": (xr.Dataset({"image": array}), {}),
        "dataframe": (pd.DataFrame(flat, columns=[f"p{i}" for i in range(64)]), {"signal_shape": (8, 8)}),
        "float32": (digits.astype(np.float32), {}),
    }
    for name, (source, params) in sources.items():
        found = EigenMoments(5, **params).fit(source)
        rtol = 1e-5 if name == "float32" else 1e-10
        np.testing.assert_allclose(found.eigenvalues_, here.eigenvalues_, rtol=rtol, err_msg=name)
        values = found.transform(source)
        np.testing.assert_allclose(np.asarray(values), q, rtol=0, atol=rtol * np.abs(q).max() * 10, err_msg=name)
        assert np.asarray(values).dtype == (np.float32 if name == "float32" else np.float64)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "bool"])
def test_whole_numbers_are_read_as_they_are(digits, dtype, monkeypatch):
    seen = set()
    measure = MomentSpace.measure

    def measured(space, S, **options):
        seen.add(S.dtype)
        return measure(space, S, **options)

    monkeypatch.setattr(MomentSpace, "measure", measured)
    X = np.round(digits).clip(0, 16).astype(dtype)
    model, expected = (EigenMoments(5, order=4).fit(rows) for rows in (X, X.astype(np.float64)))
    chunked = EigenMoments(5, order=4).fit(da.from_array(X, chunks=(200, 8, 8)))
    for each in (model, chunked):
        np.testing.assert_allclose(each.eigenvalues_, expected.eigenvalues_, rtol=1e-9)
    np.testing.assert_array_equal(model.transform(X), model.transform(X.astype(np.float64)))
    assert seen == {np.dtype(dtype), np.dtype(np.float64)}


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_the_scheduler_changes_no_bit(digits, scheduler):
    lazy = da.from_array(digits, chunks=(100, 8, 8))
    with dask.config.set(scheduler=scheduler, num_workers=2):
        found = EigenMoments(5).fit(lazy)
    assert same(found, EigenMoments(5).fit(lazy))


def test_one_read_and_lazy_features(digits):
    read = []

    def load(block, block_info=None):
        read.append(block_info[0]["chunk-location"][0])
        return block

    lazy = da.from_array(digits, chunks=(200, 8, 8)).map_blocks(load, dtype=float, meta=np.empty((0, 0, 0)))
    found = EigenMoments(5).fit(lazy)
    assert sorted(read) == list(range(9))
    features = found.transform(lazy)
    assert len(read) == 9
    assert features.chunks == (lazy.chunks[0], (5,))
    assert GaussianMixture(3, random_state=0).fit(features).predict(features).shape == (1797,)


def test_unknown_chunk_lengths(digits):
    lazy = da.from_array(digits.reshape(-1, 64), chunks=(200, 64))
    unknown = lazy[da.from_array(np.arange(1797), chunks=200) >= 0]
    found = EigenMoments(5, signal_shape=(8, 8)).fit(unknown)
    np.testing.assert_allclose(found.eigenvalues_, EigenMoments(5).fit(digits).eigenvalues_, rtol=1e-10)
    assert found.transform(unknown).compute().shape == (1797, 5)


def test_labelled_features_keep_what_was_said_of_samples(digits):
    scene = xr.DataArray(
        digits[:60].reshape(6, 10, 8, 8),
        dims=("time", "site", "y", "x"),
        coords={"time": np.arange(6), "name": ("site", list("abcdefghij")), "y": np.arange(8.0)},
    ).chunk(time=2)
    found = EigenMoments(3, signal_dims=("y", "x")).fit(scene)
    features = found.transform(scene)
    assert features.dims == ("time", "site", "eigenmoment")
    assert features.chunks[0] == (2, 2, 2)
    assert {*features.coords} == {"time", "name", "eigenmoment"}
    np.testing.assert_allclose(
        features.values.reshape(60, 3), EigenMoments(3).fit(digits[:60]).transform(digits[:60]), rtol=0, atol=1e-9
    )
    back = found.inverse_transform(features)
    assert back.dims == scene.dims
    assert back.shape == scene.shape
    assert GaussianMixture(2, random_state=0).fit(features).predict(features).dims == ("time", "site")


def test_a_table_keeps_its_names(digits):
    frame = pd.DataFrame(digits.reshape(-1, 64), columns=[f"p{i}" for i in range(64)])
    found = EigenMoments(2, signal_shape=(8, 8)).fit(frame)
    shuffled = frame[frame.columns[::-1]]
    assert list(found.get_feature_names_out()) == ["eigenmoment_0", "eigenmoment_1"]
    np.testing.assert_allclose(found.transform(shuffled), found.transform(frame))


def test_weights_are_counts(digits):
    weights = np.random.default_rng(3).integers(0, 4, len(digits))
    weighted = EigenMoments(4).fit(digits, sample_weight=weights)
    repeated = EigenMoments(4).fit(np.repeat(digits, weights, axis=0))
    np.testing.assert_allclose(weighted.components_, repeated.components_, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(weighted.noise_, repeated.noise_)
    holes = digits.copy()
    holes[weights == 0] = np.nan
    assert same(EigenMoments(4).fit(holes, sample_weight=weights), weighted)


# -- back to signals --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gep", "two-step"])
@pytest.mark.parametrize("center", [False, True])
def test_polynomials_come_back(method, center):
    rng = np.random.default_rng(4)
    y, x = np.meshgrid(*((2 * np.arange(n) + 1) / n - 1 for n in (9, 12)), indexing="ij")
    S = sum(
        c[:, None, None] * y**i * x**j for (i, j), c in zip(np.ndindex(3, 4), rng.normal(size=(12, 50)), strict=True)
    )
    found = EigenMoments(order=(2, 3), noise=1.0, method=method, center=center).fit(S)
    np.testing.assert_allclose(found.inverse_transform(found.transform(S)), S, rtol=0, atol=1e-9)


def test_reconstructions_lose_noise(digits):
    clean = load_digits().images
    found = EigenMoments(16, order=7).fit(digits)
    back = found.inverse_transform(found.transform(digits))
    assert ((back - clean) ** 2).mean() < ((digits - clean) ** 2).mean()
    lazy = found.inverse_transform(found.transform(da.from_array(digits, chunks=(300, 8, 8))))
    assert lazy.chunks == ((300,) * 5 + (297,), (8,), (8,))
    np.testing.assert_allclose(lazy.compute(), back, atol=1e-10)
    with pytest.raises(DataError, match="X has 3 features; expected the 16 of transform"):
        found.inverse_transform(np.ones((5, 3)))


# -- as scikit-learn's ------------------------------------------------------------------------------


def test_copies_and_clones(digits):
    found = EigenMoments(4, order=5, center=True).fit(digits)
    copy = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(copy.transform(digits), found.transform(digits))
    assert same(clone(found).fit(digits), found)


def test_a_fit_that_fails_leaves_the_features(digits):
    found = EigenMoments(4).fit(digits)
    before = found.transform(digits)
    with pytest.raises(DataError):
        found.fit(np.full((5, 8, 8), np.nan))
    np.testing.assert_array_equal(found.transform(digits), before)
