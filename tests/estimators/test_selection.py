"""Candidates that share each read: what each ends with, what they cost together, and which one is chosen."""

from __future__ import annotations

import warnings

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from reference import make_blobs
from selections import assert_same_model, peer
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Peer

import dgmm
from dgmm import Execution, GaussianMixture
from dgmm.errors import DataError, InsufficientMemoryError, ParameterError
from dgmm.fitting.events import ExecutionChosen, IterationFinished, PassFinished
from dgmm.fitting.selection import CandidateEvent

FAMILIES = ("full", "tied", "diag", "spherical")


@pytest.fixture(autouse=True)
def _one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(name="X", scope="module")
def blobs():
    """Three clusters apart, in any order."""
    return np.random.default_rng(0).permutation(make_blobs(1200, 2, 3, seed=2, spread=8.0))


@pytest.fixture(scope="module")
def selection(X):
    return dgmm.select(X, [1, 2, 3], FAMILIES, random_state=0)


# -- each candidate as if it were alone ---------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {"sample_rows": 150},
        {"sample_rows": 150, "init_params": "k-means||", "n_init": 2},
        {"sample_rows": 150, "accelerate": None, "tol": 1e-3},
        {},
    ],
    ids=["accelerated", "parallel", "plain", "all rows"],
)
def test_each_candidate_has_the_bits_that_it_has_alone(X, small_pieces, parameters):
    lazy = da.from_array(X, chunks=(240, 2))
    weights = da.from_array(np.arange(len(X)) % 3 + 0.5, chunks=240)
    found = dgmm.select(
        lazy, [1, 3], ["full", "tied", "tied-diag"], "bic", sample_weight=weights, random_state=3, **parameters
    )
    assert len(found.models) == 6
    for (name, k), model in found.models.items():
        options = {"tol": "auto", "max_iter": 200} | parameters
        alone = GaussianMixture(k, covariance_type=name, random_state=3, **options).fit(lazy, sample_weight=weights)
        assert_same_model(model, alone)
        assert model.remaining_gap_ == alone.remaining_gap_
        assert model.get_params() == alone.get_params()
        assert vars(model).keys() == vars(alone).keys()


@pytest.mark.parametrize("criterion", ["bic", "heldout"])
def test_the_scheduler_changes_nothing(X, small_pieces, criterion):
    lazy = da.from_array(X, chunks=(130, 2))
    found = []
    for scheduler in ("synchronous", "threads"):
        with dask.config.set(scheduler=scheduler, num_workers=3):
            found.append(dgmm.select(lazy, [2, 3], ["full", "tied"], criterion, random_state=0, sample_rows=150))
    one, other = found
    assert one.best == other.best
    assert one.table.drop_vars("seconds").identical(other.table.drop_vars("seconds"))
    for key, model in one.models.items():
        assert_same_model(model, other.models[key])


@pytest.mark.cluster
def test_workers_change_nothing(X, small_pieces, client):
    lazy = da.from_array(X, chunks=(130, 2))
    options = {"criterion": "heldout", "random_state": 0, "sample_rows": 150, "tol": 1e-3}
    there = dgmm.select(lazy, [1, 2], **options)
    with dask.config.set(scheduler="synchronous"):
        here = dgmm.select(lazy, [1, 2], **options)
    assert here.table.drop_vars("seconds").identical(there.table.drop_vars("seconds"))


# -- reads --------------------------------------------------------------------------------------


def counted(X, chunk_rows=150):
    """X, and a list that each read of a chunk is added to."""
    reads = []

    def read(block, block_id):
        reads.append(block_id[0])
        return block

    lazy = da.from_array(X, chunks=(chunk_rows, X.shape[1]))
    return lazy.map_blocks(read, dtype=float, meta=np.empty((0, 0))), reads


def test_reads_are_those_of_the_slowest_candidate_and_one_that_scores_all(X):
    lazy, reads = counted(X)
    events = []
    found = dgmm.select(
        lazy, [1, 2, 3, 4], ["full", "tied"], "bic", random_state=0, sample_rows=150,
        execution=Execution(persist=False), callbacks=events.append,
    )  # fmt: skip
    passes = found.table.passes.values
    assert found.n_reads == passes.max() + 1 < passes.sum()
    assert sorted(reads) == sorted([*range(8)] * found.n_reads)
    assert [event.name for event in events if isinstance(event, PassFinished)][-1] == "score"
    told = [event for event in events if isinstance(event, CandidateEvent)]
    for (name, k), model in found.models.items():
        own = [e.event for e in told if (e.covariance_type, e.n_components) == (name, k)]
        assert sum(isinstance(event, IterationFinished) for event in own) == model.n_iter_
    assert (found.table.passes.sel(covariance_type="full").values >= [3, 3, 3, 3]).all()


def test_a_callback_stops_one_candidate_alone(X):
    def stop(event):
        return isinstance(event, CandidateEvent) and event.n_components == 4

    with pytest.warns(ConvergenceWarning, match="full 4"):
        found = dgmm.select(X, [3, 4], criterion="bic", random_state=0, callbacks=stop)
    assert found.models["full", 4].n_iter_ == 1
    assert found.models["full", 3].converged_
    assert found.table.ranked.values.tolist() == [[True, False]]


def test_rows_of_unknown_number_are_counted_first_where_that_matters(X):
    lazy = da.from_array(X, chunks=(150, 2))
    unknown = lazy[lazy[:, 0] > -np.inf]
    assert np.isnan(unknown.shape[0])
    options = {"random_state": 0, "criterion": "heldout"}
    known, found = dgmm.select(lazy, [2, 3], **options), dgmm.select(unknown, [2, 3], **options)
    assert found.n_reads == known.n_reads + 1
    assert found.table.attrs["n_rows_held_out"] == known.table.attrs["n_rows_held_out"]
    np.testing.assert_allclose(found.table.heldout_log_likelihood, known.table.heldout_log_likelihood, rtol=1e-9)
    assert dgmm.select(unknown, [3], random_state=0, criterion="bic").best == ("full", 3)


# -- the table ----------------------------------------------------------------------------------


def test_values_are_scikit_learns_own_at_the_same_parameters(X, selection):
    assert not selection.failures
    for (name, k), model in selection.models.items():
        row, other = selection.table.sel(covariance_type=name, n_components=k), peer(model)
        assert float(row.log_likelihood) == pytest.approx(other.score(X), rel=1e-10)
        assert float(row.total_log_likelihood) == pytest.approx(other.score(X) * len(X), rel=1e-10)
        assert float(row.bic) == pytest.approx(other.bic(X), rel=1e-10)
        assert float(row.aic) == pytest.approx(other.aic(X), rel=1e-10)
        assert int(row.n_parameters) == other._n_parameters()
        responsibilities = other.predict_proba(X)
        entropy = -np.sum(responsibilities * np.log(np.maximum(responsibilities, 1e-300)))
        assert float(row.entropy) == pytest.approx(entropy, rel=1e-8, abs=1e-8)
        assert float(row.icl) == pytest.approx(other.bic(X) + 2.0 * entropy, rel=1e-10)
        assert float(row.bic) == pytest.approx(model.bic(X), rel=1e-12)


def test_float32_rows_are_compared_in_float64(X):
    rows = (X + 1000.0).astype(np.float32)
    found = dgmm.select(rows, [2, 3], ["full", "diag"], random_state=0)
    for (name, k), model in found.models.items():
        assert model.means_.dtype == np.float32
        row = found.table.sel(covariance_type=name, n_components=k)
        assert float(row.bic) == pytest.approx(model.bic(rows.astype(np.float64)), rel=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_optima_are_those_of_scikit_learns_best_of_ten(X, selection, family):
    for k in (2, 3):
        best = Peer(k, covariance_type=family, n_init=10, random_state=0, tol=1e-7, max_iter=500).fit(X)
        found = float(selection.table.log_likelihood.sel(covariance_type=family, n_components=k))
        assert found == pytest.approx(best.score(X), abs=1e-3)


def test_every_variable_says_what_it_is(selection):
    table = selection.table
    assert table.status.attrs["flag_meanings"].split()[0] == "ranked"
    assert all("long_name" in table[name].attrs for name in table.variables)
    assert all("units" in table[name].attrs for name in table if table[name].dtype.kind in "fi" and name != "status")
    assert (table.seconds > 0.0).all()
    assert table.sizes == {"covariance_type": 4, "n_components": 3}


def test_integer_weights_are_repeated_rows(X):
    weights = np.arange(len(X)) % 3
    options = {"n_components": [2, 3], "criterion": "bic", "random_state": 0, "tol": 1e-9, "max_iter": 500}
    weighed = dgmm.select(X, sample_weight=weights, **options)
    repeated = dgmm.select(np.repeat(X, weights, axis=0), **options)
    for name in ("log_likelihood", "bic", "aic", "icl"):
        np.testing.assert_allclose(weighed.table[name], repeated.table[name], rtol=1e-6)


def test_the_summary_fits_a_terminal(selection, X):
    held_out = dgmm.select(X, [1, 3], FAMILIES, "heldout", random_state=0)
    for found in (selection, held_out):
        lines = found.summary(most=3).splitlines()
        assert max(map(len, lines)) <= 80
        assert lines[2] == f"best: {found.best[0]}, {found.best[1]} components"
        assert lines[5].split()[:2] == [found.best[0], str(found.best[1])]
        assert lines[-1] == f"... and {found.table.status.size - 3} more, see the table"
        assert repr(found) == found.summary()


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"criterion": "BIC"}, "criterion is 'BIC'"),
        ({"n_components": []}, "n_components"),
        ({"n_components": [0, 1]}, "n_components"),
        ({"n_components": "1-20"}, "n_components"),
        ({"covariance_type": "round"}, "covariance_type"),
        ({"covariance_type": []}, "covariance_type"),
        ({"held_out": 1.0}, "held_out"),
        ({"screen": 1}, "screen"),
        ({"maxiter": 5}, "did you mean 'max_iter'"),
        ({"means_init": [[0.0, 0.0]]}, "means_init"),
        ({"init_params": "bfr"}, "bfr"),
        ({"tol": -1.0}, "tol"),
        ({"random_state": "x"}, "random_state"),
        ({"execution": 3}, "execution"),
    ],
)
def test_impossible_parameters_are_refused(X, options, words):
    with pytest.raises(ParameterError, match=words):
        dgmm.select(X, **({"n_components": [1]} | options))


def test_data_that_no_candidate_can_take_are_refused(X):
    with pytest.raises(DataError, match="NaN"):
        dgmm.select(np.where(np.arange(len(X))[:, None] == 5, np.nan, X), [1, 2])
    with pytest.raises(DataError, match="held out"):
        dgmm.select(X[:10], [1], criterion="heldout", held_out=0.01, random_state=0)
    weights = np.ones(len(X))
    weights[7] = np.nan
    for seed in range(3):
        with pytest.raises(DataError, match="row 7"):
            dgmm.select(X, [1], criterion="heldout", held_out=0.5, sample_weight=weights, random_state=seed)


def test_memory_is_that_of_all_candidates(X):
    lazy = da.from_array(X, chunks=(300, 2))
    told = {}
    for numbers in ([20], range(1, 21)):
        events = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            dgmm.select(lazy, numbers, criterion="bic", random_state=0, max_iter=1, callbacks=events.append)
        (chosen,) = [event for event in events if isinstance(event, ExecutionChosen)]
        told[len(list(numbers))] = chosen.projected_bytes
    assert told[20] > told[1]
    with pytest.raises(InsufficientMemoryError, match=r"20 models.*fewer candidates"):
        dgmm.select(lazy, range(1, 21), execution=Execution(memory_limit=1))


# -- inputs -------------------------------------------------------------------------------------


def test_labelled_input_is_taken_and_answered(X):
    weights = np.arange(len(X)) % 3 + 1.0
    scene = xr.Dataset(
        {name: (("y", "x"), values.reshape(30, 40)) for name, values in zip("abw", [*X.T, weights], strict=True)}
    )
    found = dgmm.select(scene, [2, 3], criterion="bic", sample_weight="w", sample_dims=("y", "x"), random_state=0)
    plain = dgmm.select(X, [2, 3], criterion="bic", sample_weight=weights, random_state=0)
    np.testing.assert_allclose(found.table.bic, plain.table.bic, rtol=1e-10)
    for model in found.models.values():
        assert model.feature_names_in_.tolist() == ["a", "b"]
        labels = model.predict(scene)
        assert labels.dims == ("y", "x")
    np.testing.assert_array_equal(found.best_model.predict(scene).values.ravel(), plain.best_model.predict(X))


def test_dataframes_of_unknown_divisions_are_taken(X):
    frame = dd.from_pandas(pd.DataFrame(X, columns=["a", "b"]), npartitions=4, sort=False)
    found = dgmm.select(frame[frame.a > -np.inf], [3], criterion="heldout", random_state=0)
    assert found.best_model.feature_names_in_.tolist() == ["a", "b"]
    assert found.table.attrs["n_rows"] + found.table.attrs["n_rows_held_out"] == len(X)
