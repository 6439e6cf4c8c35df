"""Dataframes: columns by name, answers with the index of the input."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from reference import make_blobs

from dgmm import GaussianMixture, open_rows
from dgmm.errors import DataError, ParameterError

X = make_blobs(60, 3, 2, seed=1, spread=6.0)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"], index=[f"buoy {i:02}" for i in range(60)])


@pytest.fixture(scope="module")
def model():
    return GaussianMixture(2, random_state=0).fit(FRAME)


@pytest.fixture(params=["known", "unknown"])
def frame(request):
    own = dd.from_pandas(FRAME, npartitions=4, sort=request.param == "known")
    return own if request.param == "known" else own[own.a > -np.inf].clear_divisions()


def test_answers_have_the_index_of_the_frame(model, frame):
    labels, densities = model.predict(frame), model.score_samples(frame)
    probabilities = model.predict_proba(frame[["c", "a", "b"]])
    assert labels.divisions == densities.divisions == probabilities.divisions == frame.divisions
    pd.testing.assert_series_equal(
        labels.compute(), pd.Series(model.predict(FRAME), FRAME.index, name="labels"), check_index_type=False
    )
    pd.testing.assert_series_equal(
        densities.compute(),
        pd.Series(model.score_samples(FRAME), FRAME.index, name="log_density"),
        check_index_type=False,
    )
    pd.testing.assert_frame_equal(
        probabilities.compute(),
        pd.DataFrame(model.predict_proba(FRAME), FRAME.index, columns=["component_0", "component_1"]),
        check_index_type=False,
    )
    assert len(frame.assign(label=labels).compute()) == 60  # beside the columns it came from


def test_the_most_probable_components_are_columns(model, frame):
    found = model.predict_proba(frame, top=2).compute()
    plain = model.predict_proba(FRAME, top=2)
    assert found.columns.tolist() == ["component_0", "component_1", "probability_0", "probability_1", "remainder"]
    assert found.dtypes.iloc[0] == np.int64
    np.testing.assert_array_equal(found.iloc[:, :2], plain.component)
    np.testing.assert_array_equal(found.iloc[:, 2:4], plain.probability)
    np.testing.assert_array_equal(found.remainder, plain.remainder)


def test_numpy_comes_out_of_pandas(model):
    for method in ("predict", "predict_proba", "score_samples"):
        assert type(getattr(model, method)(FRAME)) is np.ndarray


def test_labels_may_be_a_column_or_a_series():
    labels = np.arange(60) % 3 - 1
    for source in (FRAME, dd.from_pandas(FRAME, npartitions=2)):
        lazily = source is not FRAME
        series = pd.Series(labels, FRAME.index)
        named = open_rows(source.assign(k=series.astype(float) if not lazily else 1.0), labels="k")
        beside = open_rows(source, labels=dd.from_pandas(series, npartitions=2) if lazily else series)
        assert named.feature_names == beside.feature_names == ("a", "b", "c")
        assert np.asarray(beside.labels).tolist() == labels.tolist()
        assert np.asarray(named.labels).tolist() == ([1] * 60 if lazily else labels.tolist())


@pytest.mark.parametrize("kind", ["Int64", "Float32", "boolean", "float64[pyarrow]"])
def test_types_that_know_missing_values_are_numbers_where_none_is_missing(kind):
    values = np.arange(60) % 2 if kind == "boolean" else np.arange(60)
    source = FRAME.assign(a=pd.array(values, dtype=kind))
    plain = FRAME.assign(a=values.astype(float))
    for own in (source, dd.from_pandas(source, npartitions=2)):
        np.testing.assert_array_equal(np.asarray(open_rows(own).X), plain.to_numpy())
    only = open_rows(source[["a"]]).X
    assert only.dtype == (np.float32 if kind == "Float32" else np.float64)


def test_features_may_be_chosen():
    for source in (FRAME, dd.from_pandas(FRAME, npartitions=2)):
        table = open_rows(source, features=["c", "a"], sample_weight="b")
        assert table.feature_names == ("c", "a")
        np.testing.assert_array_equal(np.asarray(table.X), X[:, [2, 0]])
        np.testing.assert_array_equal(np.asarray(table.weights), X[:, 1])
        with pytest.raises(DataError, match="features: 'd' is not in the columns of X; it has: 'a', 'b', 'c'"):
            open_rows(source, features=["d"])


def test_numbered_columns_are_no_names():
    table = open_rows(pd.DataFrame(X), features=[2, 0])
    assert table.feature_names is None
    np.testing.assert_array_equal(table.X, X[:, [2, 0]])


def test_a_table_is_made_already():
    table = open_rows(FRAME)
    assert open_rows(table) is table
    np.testing.assert_array_equal(open_rows(table, features=["b"]).X, X[:, [1]])
    with pytest.raises(ParameterError, match="sample_weight is given beside a Table"):
        open_rows(table, sample_weight=np.ones(60))
    with pytest.raises(ParameterError, match="labels is 'k', but X is a ndarray, which has no names; give an array"):
        open_rows(X, labels="k")


def test_columns_of_one_name_cannot_be_told_apart():
    twice = pd.DataFrame(X, columns=["a", "b", "a"])
    model = GaussianMixture(1).fit(twice)
    assert model.predict(twice).shape == (60,)  # as they come
    with pytest.raises(DataError, match="several columns named 'a', so that they cannot be told apart"):
        model.predict(twice.iloc[:, [1, 0, 2]])
    with pytest.raises(DataError, match="several columns named 'a'"):
        open_rows(twice, features=["a", "b"])


# What Dask's reader of Parquet does with a newer pandas.
@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_partitions_that_dask_joins_are_joined_in_answers_too(tmp_path):
    wide = pd.DataFrame({f"c{i}": np.arange(400.0) ** (i + 1) for i in range(8)})
    dd.from_pandas(wide, npartitions=20).to_parquet(tmp_path, write_index=False)
    rows = open_rows(dd.read_parquet(tmp_path), features=["c0"])
    model = GaussianMixture(2, random_state=0).fit(rows)
    labels = model.predict(rows)
    assert labels.npartitions == rows.X.numblocks[0] < 20
    np.testing.assert_array_equal(labels.compute().to_numpy(), model.predict(wide[["c0"]]))


def test_a_table_is_printed_in_a_line():
    frame = pd.DataFrame(np.ones((4, 3)), columns=["depth", "salt", "w"])
    table = open_rows(frame, sample_weight="w")
    assert repr(table) == "<Table of 4 rows, 2 features (depth, salt), float64, with weights>"
    lazy = dd.from_pandas(frame, npartitions=2)
    assert repr(open_rows(lazy[["salt"]])) == "<Table of unknown rows in 2 chunks, 1 feature (salt), float64>"
