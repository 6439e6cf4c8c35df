"""Bad rows: values, shapes, types, chunks that are not what they were declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import dask.bag
import dask.dataframe as frames
import numpy as np
import pandas as pd
import scipy.sparse
from bad_input.kinds import CHUNK, D, Given, Kind, N, blobs, lazy, spoilt, unknown
from reference import FAMILIES

from dgmm.errors import DataError, DataTypeError, IllDefinedCovarianceError

EACH = ("predict", "predict_proba", "score_samples")
SUMS = ("score", "aic", "bic", "icl")
ALL = ("fit", "fit_predict", *EACH, *SUMS)
SOME = ("fit", "predict", "score")
FIT = ("fit",)

KINDS: list[Kind] = []


def rows(
    name: str,
    make: Callable[[], Any],
    error: type[Exception],
    what: str,
    where: str,
    to_do: str,
    doors: tuple[str, ...] = SOME,
    **parameters: Any,
) -> None:
    for door in doors:
        KINDS.append(Kind(door, name, lambda _: Given(make(), parameters=parameters), error, what, where, to_do))


def frame(column: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": column, "b": np.arange(len(column)), "c": 1.0})


def whole(X: np.ndarray) -> da.Array:
    return da.from_array(X, chunks=X.shape)


def third_chunk(change: Callable[[np.ndarray], Any]) -> da.Array:
    """A dask array whose last chunk is not what was declared."""

    def maybe(block, block_info=None):
        return change(block) if block_info and block_info[0]["chunk-location"][0] == 2 else block

    return lazy(blobs()).map_blocks(maybe, dtype=float, meta=np.empty((0, 0)))


# -- values -------------------------------------------------------------------------------------

FIRST = r"(chunk 2, row 7 \(row 47 of the data\)|chunk 2, row 7), feature 2"
for word, value in {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf}.items():
    what = f"X contains {word.removeprefix('minus ')}, first at"
    for kind, wrap in {"chunked": lazy, "of unknown length": unknown}.items():
        rows(f"{word} in the last chunk, {kind}", lambda v=value, w=wrap: w(spoilt(v)), DataError,
             what, FIRST, "drop or impute", ALL)  # fmt: skip
    rows(f"{word} in memory", lambda v=value: spoilt(v), DataError, what, "chunk 0, row 47, feature 2",
         "drop or impute", ALL)  # fmt: skip
    rows(f"{word} in float32", lambda v=value: lazy(spoilt(v).astype(np.float32)), DataError, what, FIRST, "drop or")
rows("many NaN", lambda: lazy(np.where(blobs() > 0, np.nan, blobs())), DataError, r"\d\d of its 180 values are NaN",
     r"first at chunk 0, row \d+, feature \d", "drop or impute", FIT)  # fmt: skip
rows(
    "NaN in a dataframe", lambda: frame([1.0, np.nan, 2.0]), DataError, "NaN", "row 1, feature 0", "drop or impute", FIT
)
for dtype, column in {"Int64": [1, None, 2], "Float32": [1.0, None, 2.0], "boolean": [True, None, False]}.items():
    rows(f"missing values of pandas' {dtype}", lambda d=dtype, c=column: frame(pd.array(c, dtype=d)), DataError,
         "X contains NaN", "row 1, feature 0", "drop or impute", FIT)  # fmt: skip
rows("masked values", lambda: np.ma.masked_less(blobs(), -5.0), DataError, r"masked array with \d+ masked values",
     "^X is", "drop or impute")  # fmt: skip
rows("masked values in chunks", lambda: lazy(np.ma.masked_less(blobs(), -5.0)), DataError,
     r"masked array with \d+ masked values", r"in chunk \d", "drop or impute")  # fmt: skip
rows("numbers above float64's range", lambda: np.array([["1e4000", "1"], ["2", "3"]], dtype=np.longdouble), DataError,
     "infinity", "row 0, feature 0", "drop or impute", FIT, n_components=1)  # fmt: skip
rows("a variance above float64's range", lambda: np.r_[np.full((2, 3), 1e308), np.abs(blobs())], DataError,
     "variance .* overflows float64", "feature 0", "scale the input data", FIT)  # fmt: skip
rows("a variance above float64's range, by the second feature",
     lambda: lazy(np.c_[np.arange(N), np.r_[np.full(20, -1e300), np.full(40, 1e300)], np.arange(N)]), DataError,
     "variance .* overflows float64", "feature 1", "scale the input data", FIT)  # fmt: skip

# -- shapes -------------------------------------------------------------------------------------

for kind, wrap in {"in memory": np.asarray, "chunked": whole}.items():
    rows(f"one dimension, {kind}", lambda w=wrap: w(np.arange(20.0)), DataError, "Expected 2D array, got 1D array",
         r"X has shape \(20,\)", r"Reshape your data, X.reshape\(-1, 1\)", ALL)  # fmt: skip
    rows(f"three dimensions, {kind}", lambda w=wrap: w(np.ones((4, 5, 3))), DataError,
         "Expected 2D array, got 3D", r"X has shape \(4, 5, 3\)", "flatten the sample dimensions")  # fmt: skip
    rows(f"a number, {kind}", lambda w=wrap: w(np.array(1.0)), DataError, "got 0D array", r"shape \(\)", "Reshape")
    rows(f"more features than in the fit, {kind}", lambda w=wrap: w(np.ones((10, 5))), DataError, "X has 5 features",
         "GaussianMixture is expecting 3", "give the features of the fit|features as input", (*EACH,
         *SUMS))  # fmt: skip
    rows(f"fewer features than in the fit, {kind}", lambda w=wrap: w(np.ones((10, 1))), DataError, "X has 1 features",
         "GaussianMixture is expecting 3", "give the features of the fit|features as input", (*EACH,
         *SUMS))  # fmt: skip
    rows(f"no features, {kind}", lambda w=wrap: w(np.empty((5, 0))), DataError, r"0 feature\(s\)", r"shape=\(5, 0\)",
         "minimum of 1 is required", FIT)  # fmt: skip
rows("no rows", lambda: np.empty((0, D)), DataError, r"0 sample\(s\)", r"shape=\(0, 3\)", "minimum of 1 is required")
rows("no rows, chunked", lambda: da.from_array(np.empty((0, D)), chunks=(1, D)), DataError, r"0 sample\(s\)",
     "n_samples=0", "give more rows", FIT)  # fmt: skip
rows("no rows, chunked", lambda: da.from_array(np.empty((0, D)), chunks=(1, D)), DataError, "no likelihood",
     "it has no rows", "give at least one", SUMS)  # fmt: skip
rows("no rows are left", lambda: lazy(blobs())[da.zeros(N, chunks=CHUNK, dtype=bool)], DataError,
     r"0 sample\(s\)", "n_samples=0", "give more rows", FIT)  # fmt: skip
rows("an unknown number of features", lambda: lazy(blobs())[:, da.ones(D, dtype=bool)], DataError,
     "number of features", "of X is unknown", r"call X.compute_chunk_sizes\(\)", FIT)  # fmt: skip
rows("rows of several lengths", lambda: [[1.0, 2.0], [3.0]], DataError, "cannot be made an array", "^X",
     "expected rows of one length")  # fmt: skip
for start in ("kmeans", "k-means++", "k-means||", "random", "random_from_data", "bfr"):
    for kind, wrap in {"in memory": lambda X: X, "chunked": lazy, "of unknown length": unknown}.items():
        rows(f"fewer rows than components, {start}, {kind}", lambda w=wrap: w(blobs()[:4]), DataError, "4 rows",
             "n_components=5", "more rows or decrease n_components", FIT, n_components=5,
             init_params=start)  # fmt: skip

# -- types --------------------------------------------------------------------------------------

for word, table in {
    "objects": np.array([[1, "a", 2], [2, "b", 3]], dtype=object),
    "numbers as objects": np.array([[1.0, 2.0, 3.0]] * 4, dtype=object),
    "strings": np.array([["1", "2", "3"]] * 4),
    "bytes": np.array([[b"1", b"2", b"3"]] * 4),
    "complex numbers": np.ones((4, 3), dtype=complex),
    "dates": np.zeros((4, 3), dtype="datetime64[s]"),
    "durations": np.zeros((4, 3), dtype="timedelta64[s]"),
    "records": np.zeros((4, 3), dtype=[("a", float)]),
}.items():
    for kind, wrap in {"in memory": np.asarray, "chunked": whole}.items():
        rows(f"{word}, {kind}", lambda t=table, w=wrap: w(t), DataTypeError,
             r"holds no real numbers|Complex data not supported", r"^X has dtype \S+",
             "convert it first|give its real part")  # fmt: skip
for word, column in {
    "strings": pd.array(["1", "2", "3"], dtype="string"),
    "categories": pd.Categorical(["x", "y", "x"]),
    "dates": pd.date_range("2020", periods=3),
    "dates of a time zone": pd.date_range("2020", periods=3, tz="UTC"),
    "periods": pd.period_range("2020", periods=3),
    "complex numbers": np.ones(3, dtype=complex),
}.items():
    rows(f"a column of {word}", lambda c=column: frame(c), DataTypeError, "no real numbers|Complex data",
         "^column 'a' of X has dtype", "convert it first|give its real part", FIT)  # fmt: skip
rows("an empty dataframe", pd.DataFrame, DataError, r"0 feature\(s\)", r"shape=\(0, 0\)", "minimum of 1 is required")
rows("a dataframe of nameless columns", lambda: pd.DataFrame(blobs(), columns=[0, "a", 1]), DataTypeError,
     "Feature names are only supported if all", r"your input has \['int', 'str'\]", "you must convert them",
     FIT)  # fmt: skip
rows("a column", lambda: pd.Series([1.0, 2.0]), DataError, "got 1D array", r"shape \(2,\)", "Reshape your data")
for word, thing, typename in (
    ("None", None, "NoneType"),
    ("a dict", {"a": [1.0, 2.0]}, "dict"),
    ("a set", {1.0, 2.0}, "set"),
    ("a generator", (i for i in range(3)), "generator"),
    ("a function", blobs, "function"),
):
    rows(word, lambda t=thing: t, DataTypeError, f"X is a {typename}", "which holds no real numbers",
         "give an array of rows and features")  # fmt: skip
rows("a sparse matrix", lambda: scipy.sparse.csr_array(blobs()), DataTypeError, "Sparse data", "for X",
     r"Use '.toarray\(\)'")  # fmt: skip
ADVICE = r"give its dask array instead \(`\.data` .*to_dask_array\(lengths=True\)"
for word, make in {
    "Delayed": lambda: lazy(blobs()).to_delayed()[0, 0],
    "Bag": lambda: dask.bag.from_sequence([1, 2]),
    "Series": lambda: frames.from_pandas(pd.Series([1.0, 2.0]), npartitions=1),
}.items():
    rows(f"a lazy {word}", make, DataTypeError, word, "^X is a (xarray|dask)", ADVICE)

# -- chunks that are not what was declared --------------------------------------------------------
# Dask itself trips over blocks of fewer dimensions than declared before a lazy prediction sees them.

MAP_BLOCKS = r"give map_blocks the right chunks, or call X.compute_chunk_sizes\(\)"
for word, change, found in (
    ("one dimension", lambda b: b[:, 0], r"shape \(20,\)"),
    ("three dimensions", lambda b: b[None], r"shape \(1, 20, 3\)"),
    ("too few features", lambda b: b[:, :2], r"shape \(20, 2\)"),
    ("too many features", lambda b: np.c_[b, b], r"shape \(20, 6\)"),
    ("too few rows", lambda b: b[:5], "5 rows, but was declared with 20"),
    ("too many rows", lambda b: np.r_[b, b], "40 rows, but was declared with 20"),
):
    rows(f"a chunk of {word}", lambda c=change: third_chunk(c), DataError, found, "^chunk 2 of X", MAP_BLOCKS,
         ("fit", "score") if word == "one dimension" else SOME)  # fmt: skip
for word, change, found in (
    ("strings", lambda b: b.astype(str), "ndarray of dtype <U"),
    ("objects", lambda b: b.astype(object), "ndarray of dtype object"),
    ("complex numbers", lambda b: b * 1j, "ndarray of dtype complex128"),
    ("nothing", lambda b: None, "NoneType of dtype object"),
    ("sparse rows", scipy.sparse.csr_array, "csr_array of dtype object"),
    ("rows of several lengths", lambda b: [[1.0, 2.0], [3.0]], "list of dtype object"),
):
    rows(f"a chunk of {word}", lambda c=change: third_chunk(c), DataTypeError, found, "^chunk 2 of X",
         "expected an array of real numbers: look at .* map_blocks",
         ("fit", "score") if word in ("nothing", "rows of several lengths") else SOME)  # fmt: skip

# -- covariances that do not exist ----------------------------------------------------------------


def constant() -> np.ndarray:
    X = blobs()
    X[:, 1] = 7.5
    return X


for family in ("full", "tied", "diag", "tied-diag"):
    for k in (1, 2):
        rows(f"a constant feature, {family}, K={k}", lambda: lazy(constant()), DataError, "is constant .7.5 in every",
             "feature 1", "drop the feature, or set reg_covar above 0", FIT,
             n_components=k, covariance_type=family, reg_covar=0.0)  # fmt: skip
for family in FAMILIES:
    rows(f"equal rows, {family}", lambda: np.ones((10, 2)), DataError, "is constant", "feature 0",
        "set reg_covar above",
         FIT, n_components=1, covariance_type=family, reg_covar=0.0)  # fmt: skip
for family in FAMILIES:
    for scale in (1e-160, 1e-310):
        rows(f"variances below float64's, {family}, {scale}", lambda s=scale: blobs() * s, DataError,
             "has no inverse in float64", "variance of feature 0", "scale the input data, or set reg_covar above 0",
             FIT,
             covariance_type=family, reg_covar=0.0)  # fmt: skip
for family in ("full", "tied"):
    rows(f"dependent features, {family}", lambda: np.repeat(np.arange(20.0)[:, None] ** 2, 2, axis=1),
         IllDefinedCovarianceError, "is a linear combination", "feature 1", "set reg_covar above 0", FIT,
         n_components=1, covariance_type=family, reg_covar=0.0)  # fmt: skip
PRECISIONS = {"full": [np.eye(3)] * 2, "diag": np.ones((2, 3)), "spherical": [1.0, 1.0]}
for family, precisions in PRECISIONS.items():
    rows(f"a component that collapses, {family}", lambda: np.r_[blobs(), np.full((30, 3), 100.0)],
         IllDefinedCovarianceError, "is not positive definite", "component 1", "increase reg_covar|increase", FIT,
         covariance_type=family, reg_covar=0.0, weights_init=[2 / 3, 1 / 3], means_init=[[0.0] * 3, [100.0] * 3],
         precisions_init=precisions)  # fmt: skip
