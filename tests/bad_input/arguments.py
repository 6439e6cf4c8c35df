"""Bad weights, parameters, starts, callbacks, executions, and parameters set by hand."""

from __future__ import annotations

from typing import Any

import dask.array as da
import dask.dataframe as frames
import numpy as np
import pandas as pd
import scipy.sparse
import xarray as xr
from bad_input.kinds import CHUNK, Given, Kind, N, blobs, lazy, unknown
from reference import FAMILIES, form_of

from dgmm import Execution
from dgmm.errors import (
    CheckpointError,
    DataError,
    DataTypeError,
    ExistsError,
    IllDefinedCovarianceError,
    InsufficientMemoryError,
    NotFittedError,
    NotFoundError,
    ParameterError,
)
from dgmm.storage.checkpoint import Checkpoint

KINDS: list[Kind] = []
FIT, SCORE = ("fit",), ("fit", "score")


def weights(
    name: str,
    make: Any,
    error: type[Exception],
    what: str,
    where: str,
    to_do: str,
    doors=SCORE,
    X=None,
    **parameters: Any,
) -> None:
    """Add kinds of weights; ``make`` is a function of none, or the weights."""
    for door in doors:
        KINDS.append(
            Kind(
                door,
                f"weights: {name}",
                lambda _: Given(
                    blobs() if X is None else X(), make() if callable(make) else make, parameters=parameters
                ),
                error,
                what,
                where,
                to_do,
            )
        )


def with_value(value: float) -> np.ndarray:
    w = np.ones(N)
    w[[47, 49]] = value
    return w


def lazy_rows() -> da.Array:
    return lazy(blobs())


def unknown_rows() -> da.Array:
    return unknown(blobs())


def changed(change) -> Any:
    """Lazy weights of which each chunk is changed."""
    return lambda: da.ones(N, chunks=CHUNK).map_blocks(change, dtype=float, meta=np.empty(0))


COUNTS = "weights are counts, 0 or more"
for word, value, shown in (
    ("negative", -1.5, "-1.5"), ("NaN", np.nan, "NaN"), ("infinite", np.inf, "infinity"), ("minus infinity", -np.inf,
        "inf"),
):  # fmt: skip
    weights(f"{word}, in memory", lambda v=value: with_value(v), DataError, f"^sample_weight contains {shown}",
            "first at chunk 0, row 47; 2 of the weights", COUNTS, FIT)  # fmt: skip
    for kind, X, make in (
        ("beside chunks", lazy_rows, lambda v=value: with_value(v)),
        ("in chunks", lazy_rows, lambda v=value: lazy(with_value(v))),
        ("in other chunks", lazy_rows, lambda v=value: lazy(with_value(v), 7)),
        ("of unknown length", unknown_rows, lambda v=value: unknown(with_value(v))),
    ):
        weights(f"{word}, {kind}", make, DataError, f"^sample_weight contains {shown}",
                r"first at chunk 2, row 7( \(row 47 of the data\))?", COUNTS, SCORE, X)  # fmt: skip
    weights(
        f"one number, {word}", value, DataError, f"^sample_weight contains {shown}", "first at chunk 0, row 0", COUNTS
    )
for word, X in {"in memory": blobs, "chunked": lazy_rows, "of unknown length": unknown_rows}.items():
    weights(f"zero for all rows, {word}", 0.0, DataError, "every sample_weight", "60 rows is zero", "at least one", X=X)
weights("of fewer rows than components", lambda: np.r_[np.ones(3), np.zeros(N - 3)], DataError,
        "3 rows whose weight is not zero", "n_components=4", "decrease n_components", FIT, n_components=4)  # fmt: skip
for shape in ((N + 1,), (N - 1,), (N, 1), (1, N), (1,), ()):
    for word, X in {"in memory": blobs, "chunked": lazy_rows}.items():
        weights(f"of shape {shape}, {word}", lambda s=shape: np.ones(s), DataError, "sample_weight has shape",
                r"\(\)|\(\d+,.*\);", r"expected one weight for each row, \(60,\)", X=X)  # fmt: skip
    weights(f"lazy, of shape {shape}", lambda s=shape: da.ones(s), DataError, "sample_weight has shape", r"\(.*\);",
            "expected one weight for each row", X=lazy_rows)  # fmt: skip
for word, value in {
    "strings": np.array(["a"] * N), "objects": np.array([None] * N), "dates": np.zeros(N, "M8[s]"),
    "complex": np.ones(N, dtype=complex), "a dict": {0: 1.0, 1: 2.0},
    "a sparse matrix": scipy.sparse.csr_array(np.ones((N, 1))),
}.items():  # fmt: skip
    for kind, X in {"in memory": blobs, "chunked": lazy_rows}.items():
        weights(f"{word}, {kind}", value if not isinstance(value, dict) else lambda v=value: v, DataTypeError,
                "no real numbers|Complex data", "^sample_weight has dtype", "convert it first|give its real part",
                X=X)  # fmt: skip
for kind, X in {"in memory": blobs, "chunked": lazy_rows}.items():
    weights(f"rows of several lengths, {kind}", [[1.0, 2.0], [3.0]], DataError, "cannot be made an array",
            "sample_weight", "expected one number for each row", X=X)  # fmt: skip
    weights(f"masked, {kind}", lambda: np.ma.masked_array(np.ones(N), mask=np.arange(N) > 3), DataError,
            "56 masked values", "^sample_weight is a masked array", "drop or impute", X=X)  # fmt: skip
    for word, make in {
        "DataArray": lambda: xr.DataArray(da.ones(N, chunks=CHUNK)),
    }.items():
        weights(f"a lazy {word}, {kind}", make, DataTypeError, word, "^sample_weight is a", "give its dask array", X=X)
    weights(f"a word, {kind}", "balanced", ParameterError, "which has no names",
            "^sample_weight is 'balanced', but X is a (ndarray|dask array)", "give an array", X=X)  # fmt: skip
weights("a lazy Series, in memory", lambda: frames.from_pandas(pd.Series(np.ones(N)), npartitions=3), ParameterError,
        "is a dask array and X is not", "sample_weight", "give both as dask arrays")  # fmt: skip
weights("missing values of pandas", lambda: pd.Series(pd.array([1, None] * 30, dtype="Int64")), DataError,
        "contains NaN", "chunk 0, row 1", COUNTS, FIT)  # fmt: skip
weights("lazy beside rows in memory", lambda: da.ones(N), ParameterError, "is a dask array and X is not",
        "sample_weight", "give both as dask arrays")  # fmt: skip
weights("in memory beside unknown lengths", lambda: np.ones(N), DataError, "lengths of X are unknown", "sample_weight",
        r"call X.compute_chunk_sizes\(\) first", X=unknown_rows)  # fmt: skip
weights("of other chunks than unknown ones", lambda: da.ones(N, chunks=10), DataError, "has 6 chunks and X has 3",
        "sample_weight", "chunk both alike", X=unknown_rows)  # fmt: skip
weights("of other lengths than unknown ones", lambda: unknown(np.ones(45), 15), DataError, "20 rows and 15 weights",
        r"chunk \d", "chunk both alike", X=unknown_rows)  # fmt: skip
weights("a chunk of too few", changed(lambda w: w[:5]), DataError, "20 rows and 5 weights", r"chunk \d", "both alike",
        X=lazy_rows)  # fmt: skip
weights("a chunk of two dimensions", changed(lambda w: w[:, None]), DataError, r"an array \(20, 1\)", r"chunk \d",
        "both alike", X=lazy_rows)  # fmt: skip
weights("a chunk of strings", changed(lambda w: w.astype(str)), DataTypeError, "ndarray of dtype <U",
        r"chunk \d of sample_weight", "expected an array of real numbers", X=lazy_rows)  # fmt: skip
weights("a masked chunk", changed(lambda w: np.ma.masked_greater(w, 0)), DataError, "20 masked values",
        r"sample_weight .* in chunk \d", "drop or impute", X=lazy_rows)  # fmt: skip

# -- parameters -----------------------------------------------------------------------------------


def unread(block: np.ndarray) -> np.ndarray:
    raise AssertionError("the data were read")


def unreadable() -> da.Array:
    """Rows that must not be read: parameters are checked first."""
    return lazy_rows().map_blocks(unread, dtype=float, meta=np.empty((0, 0)))


def parameter(name: str, words: str, *values: Any, door: str = "fit") -> None:
    for number, value in enumerate(values):
        KINDS.append(
            Kind(
                door,
                f"{name}: a {type(value).__name__} ({number})",
                lambda _, value=value: Given(unreadable(), parameters={name: value}),
                ParameterError,
                f"^{name} is",
                f"^{name} is",
                f"it must be {words}",
            )
        )


ODD = (b"x", 1j, [1], {"a": 1}, np.array([1, 2]), np.array(2), object, lambda: 2, np.datetime64("2020"))
COUNT = "an int of at least 1"
parameter("inner_max_iter", COUNT, 0, -1, 2.5, "2", None, True, *ODD, door="scan")
parameter("batch_rows", f"None or {COUNT}", 0, -1, 2.5, "2", True, *ODD, door="scan")
for name in ("buffer_rows", "refine_passes"):
    parameter(name, "an int of at least 0", -1, 2.5, "2", None, True, *ODD, door="scan")
parameter("primary", "one of 'certain', 'mahalanobis'", "soft", "", None, 1, True, *ODD, door="scan")
parameter("primary_fraction", "a float from 0 to 1", -0.1, 1.5, np.nan, np.inf, "1", None, True, *ODD, door="scan")
parameter("secondary_tightness", "a finite float above 0", 0, -1.0, np.nan, np.inf, "1", None, True, *ODD, door="scan")
parameter("forgetting", "a float above 0 and at most 1", 0, -1.0, 1.5, np.nan, "1", None, True, *ODD, door="scan")
parameter("n_clusters", COUNT, 0, -1, 2.5, "2", None, True, *ODD, door="clusters")
parameter("threshold", "a finite float above 0", 0, -1.0, np.nan, np.inf, "1", None, True, *ODD, door="clusters")
parameter("init", r"one of 'k-means\+\+', 'random', or an array", "kmeans", "", None, 1, True, {"a": 1}, object, 1j,
          door="clusters")  # fmt: skip
parameter("n_components", COUNT, 0, -1, 1.0, 2.5, "2", "three", None, True, np.True_, np.nan, *ODD)
parameter("covariance_type", f"one of {', '.join(map(repr, FAMILIES))}", "foo", "Full", None, 3, "", *ODD)
parameter("tol", "a float of at least 0, or 'auto'", -1e-3, np.nan, np.inf, "Auto", None, True, 10**400, *ODD)
parameter("reg_covar", "a finite float of at least 0", -1e-6, np.nan, np.inf, "0", None, 10**400, *ODD)
parameter("max_iter", COUNT, 0, 1.5, None, "10", *ODD)
parameter("n_init", COUNT, 0, 2.0, None, "10", *ODD)
parameter("init_params", r"one of 'kmeans', 'k-means\+\+'", "k_means", None, "bfr?", 1, *ODD)
parameter("random_state", r"None, an int from 0 to 2\*\*32 - 1", -1, 2**32, 1.5, "0", np.random, 10**5000, *ODD)
parameter("warm_start", "True or False", "yes", 1, None, *ODD)
parameter("verbose", "an int of at least 0", -1, 0.5, "yes", None, *ODD)
parameter("verbose_interval", COUNT, 0, 2.5, None, *ODD)
parameter("sample_rows", "None or an int of at least 1", 0, -5, 100.0, "all", *ODD)
parameter("accelerate", "'auto' or None", True, False, "anderson", 1, *ODD)
parameter("missing", "one of 'raise', 'drop', 'marginalize'", "ignore", "DROP", None, True, np.nan, *ODD)
parameter("missing", "'raise' or 'drop': sums of rows", "marginalize", None, True, *ODD, door="scan")
parameter("missing", "'raise' or 'drop': sums of rows", "marginalize", None, True, *ODD, door="clusters")


def centres(name: str, value: Any, what: str, where: str = "^init", to_do: str = "must be|expected") -> None:
    """Add a kind of centres of BFRKMeans."""
    given = Given(unreadable(), parameters={"init": value})
    KINDS.append(Kind("clusters", f"centres: {name}", lambda _: given, ParameterError, what, where, to_do))


centres("of too few clusters", np.zeros((1, 3)), r"shape \(1, 3\); expected \(n_clusters, n_features\) = \(2, 3\)")
centres("of too few features", np.zeros((2, 2)), r"shape \(2, 2\); expected")
centres(
    "with NaN", [[0.0, 1.0, 2.0], [0.0, np.nan, 2.0]], r"contains nan at \[1, 1\]", to_do="all values must be finite"
)
centres("words", [["a", "b", "c"]] * 2, "array of numbers of shape")
centres("ragged", [[0.0], [1.0, 2.0]], "array of numbers of shape")
centres("masked", np.ma.masked_equal(np.zeros((2, 3)), 0.0), "none of them missing")


def add(door: str, name: str, given: Given, error: type[Exception], what: str, where: str, to_do: str) -> None:
    KINDS.append(Kind(door, name, lambda _: given, error, what, where, to_do))


def start(name: str, what: str, where: str, to_do: str, family: str = "full", **given: Any) -> None:
    """Add a start that is refused before the data are read."""
    full = Given(unreadable(), parameters={"covariance_type": family} | given)
    add("fit", f"start: {name}, {family}", full, ParameterError, what, where, to_do)


for word, value, what, where, to_do in (
    ("three for two", [0.2, 0.3, 0.5], r"has shape \(3,\)", "^weights_init", r"expected \(n_components,\) = \(2,\)"),
    ("two dimensions", [[0.5, 0.5]], r"has shape \(1, 2\)", "^weights_init", r"expected \(n_components,\) = \(2,\)"),
    ("sum above 1", [0.5, 0.6], "sums to 1.1", "^weights_init", "weights must sum to 1"),
    ("negative", [-0.5, 1.5], "is -0.5", r"^weights_init\[0\]", "must be from 0 to 1"),
    ("NaN", [np.nan, 1.0], "contains nan", r"^weights_init .* at \[0\]", "must be finite"),
    ("words", ["a", "b"], "must be an array of numbers", "^weights_init", r"of shape \(n_components,\)"),
    ("digits", ["0.5", "0.5"], "must be an array of numbers", "^weights_init", r"of shape \(n_components,\)"),
    ("complex", [0.5j, 0.5], "must be an array of numbers", "^weights_init", r"of shape \(n_components,\)"),
    ("masked", np.ma.masked_array([0.5, 0.5], [0, 1]), "must be an array", "^weights_init", "none of them missing"),
    ("a number", 0.5, r"has shape \(\)", "^weights_init", r"expected \(n_components,\) = \(2,\)"),
):  # fmt: skip
    start(f"weights, {word}", what, where, to_do, weights_init=value)
for word, value, what, where, to_do in (
    ("of other features", [[0.0] * 2] * 2, r"has shape \(2, 2\)", "^means_init", r"expected .* = \(2, 3\)"),
    ("of other components", [[0.0] * 3] * 5, r"has shape \(5, 3\)", "^means_init", r"expected .* = \(2, 3\)"),
    ("one dimension", [0.0, 0.0], r"has shape \(2,\)", "^means_init", r"expected .* = \(2, 3\)"),
    ("infinity", [[0.0] * 3, [0.0, np.inf, 0.0]], "contains inf", r"^means_init .* at \[1, 1\]", "must be finite"),
    ("several lengths", [[0.0], [1.0, 2.0]], "must be an array of numbers", "^means_init", "of shape"),
    ("a missing one", [[None, 1.0, 2.0]] * 2, "must be an array of numbers", "^means_init", "none of them missing"),
):
    start(f"means, {word}", what, where, to_do, means_init=value)
SHAPES = {"full": (2, 3, 3), "tied": (3, 3), "diag": (2, 3), "spherical": (2,), "tied-diag": (3,), "tied-spherical": ()}
for family, shape in SHAPES.items():
    unit = np.broadcast_to(np.eye(3), shape).copy() if form_of(family) == "full" else np.ones(shape)
    spoiled = unit.copy()
    spoiled[(0,) * unit.ndim] = np.nan
    sign = "positive definite" if form_of(family) == "full" else "positive"
    start("precisions of another shape", r"has shape \(5, 5\)", "^precisions_init", r"expected \(", family,
          precisions_init=np.ones((5, 5)))  # fmt: skip
    start(
        "precisions, NaN",
        "contains nan",
        r"^precisions_init .* at \[",
        "must be finite",
        family,
        precisions_init=spoiled,
    )
    for word, factor in {"negative": -1.0, "zero": 0.0}.items():
        start(f"precisions, {word}", f"must be {sign}", "^precisions_init", f"for covariance_type='{family}'", family,
              precisions_init=unit * factor)  # fmt: skip
    start("precisions near 0", f"must be {sign}", "^precisions_init", "inverse that float64 can hold; scale", family,
          precisions_init=unit * 1e-320)  # fmt: skip
    if sign == "positive definite":
        skew = unit.copy()
        skew[..., 0, 1] = 0.5
        start("precisions that are not symmetric", "must be symmetric", "^precisions_init",
            f"covariance_type='{family}'",
              family, precisions_init=skew)  # fmt: skip
        saddle = unit.copy()
        saddle[..., 1, 0] = saddle[..., 0, 1] = 2.0
        start("precisions with a negative eigenvalue", "must be positive definite", "^precisions_init",
              f"covariance_type='{family}'", family, precisions_init=saddle)  # fmt: skip
    for power in (150, -150):
        far = Given(blobs(), parameters={"covariance_type": family, "precisions_init": unit * 10.0**power})
        add("fit", f"start: precisions of 1e{power}, {family}", far, ParameterError, "out of reach",
            r"^precisions_init\[0\]", "give a start among the data")  # fmt: skip
    away = Given(blobs(), parameters={"covariance_type": family, "means_init": [[0.0] * 3, [1e300] * 3]})
    add("fit", f"start: a mean at 1e300, {family}", away, ParameterError, "out of reach", r"^means_init\[1\]",
        "give a start among the data")  # fmt: skip
for name, close in {"n_component": "n_components", "covariance": "covariance_type", "maxiter": "max_iter"}.items():
    add("set_params", f"{name}", Given(options={name: 3}), ParameterError, f"Invalid parameter '{name}'",
        "for GaussianMixture", f"did you mean '{close}'")  # fmt: skip
add("set_params", "a parameter of a part", Given(options={"foo__bar": 3}), ParameterError,
    "Invalid parameter 'foo__bar'",
    "for GaussianMixture", "its parameters are")  # fmt: skip

# -- callbacks and executions ---------------------------------------------------------------------

for word, value in {
    "a number": 3,
    "None": None,
    "a word": "abc",
    "a list of numbers": [3],
    "one of two": [print, "x"],
}.items():
    add("fit", f"callbacks: {word}", Given(unreadable(), options={"callbacks": value}), ParameterError,
        "callbacks holds",
        "callbacks", "must be a callable that takes an event")  # fmt: skip
for word, value in {"a dict": {"persist": True}, "a word": "threads", "a number": 0, "the class": Execution}.items():
    add("fit", f"execution: {word}", Given(unreadable(), options={"execution": value}), ParameterError, "execution is",
        "execution", "must be None or a dgmm.Execution")  # fmt: skip
for name, words, values in (
    ("persist", "True, False or 'auto'", ["yes", 1, 0.0, None, np.ones(2), [True]]),
    ("lean", "True or False", ["yes", 1, None, "auto"]),
    ("pass_retries", "an int of at least 0", [-1, 1.5, "3", None, True]),
    ("memory_limit", "None or an int of at least 1, in bytes", ["4GiB", 1e9, True, np.nan, 0, -1, [1]]),
):
    for value in values:
        add("Execution", f"{name}={value!r}", Given(options={name: value}), ParameterError, f"^{name} is", f"^{name}",
            f"it must be {words}")  # fmt: skip
add("fit", "a memory limit below the need", Given(lazy_rows(), options={"execution": Execution(memory_limit=1000)}),
    InsufficientMemoryError, "the fit needs about", "for the model .K=2, d=3.",
    "use fewer threads|more memory")  # fmt: skip
for k in (10**9, 10**30):
    add("fit", f"{k:.0e} components", Given(lazy_rows(), parameters={"n_components": k}), InsufficientMemoryError,
        "the fit needs about", f"for the model .K={k}, d=3.", "take a smaller model")  # fmt: skip

for value in (3, None, "", b"x", "a\0b", True, [1], "ftp://host/c", "s3://"):
    add("Checkpoint", f"path={value!r}", Given(options={"path": value}), ParameterError, "^path (is|holds)", "^path",
        "it must be|which no path can|expected something like")  # fmt: skip
for name, words, values in (
    ("interval", "it must be a number of seconds, at least 0", [-1, "1s", np.nan, np.inf, True, None, [1]]),
    ("keep", "it must be an int of at least 1", [0, -1, 1.5, "2", True, None]),
    ("resume", "it must be one of 'auto', 'never', 'must'", ["yes", None, 3, [1]]),
):
    for value in values:
        add("Checkpoint", f"{name}={value!r}", Given(options={"path": "c", name: value}), ParameterError, f"^{name} is",
            f"^{name}", words)  # fmt: skip
for value in (3, True, [1], {"path": "c"}):
    add("fit", f"checkpoint: {value!r}", Given(unreadable(), options={"checkpoint": value}), ParameterError,
        "^checkpoint is", "^checkpoint", "expected a path, a URL or a dgmm.Checkpoint")  # fmt: skip
for word, place, error, what, to_do in (
    ("a file", "x.npy", ExistsError, "is a file; a checkpoint is a folder", "choose another path"),
    ("below a file", "x.npy/c", ExistsError, "is a file; a checkpoint is a folder", "choose another path"),
    ("a model", "m.zarr", ExistsError, "holds something that is no checkpoint", "choose another path"),
    ("where nothing can be written", "/proc/dgmm/c", CheckpointError, "cannot be opened", "No such file or directory"),
    (
        "none, though one must be there",
        Checkpoint("new", resume="must"),
        NotFoundError,
        "there is no checkpoint",
        "to go on from",
    ),
):
    add("fit", f"checkpoint: {word}", Given(lazy_rows(), options={"checkpoint": place}), error, what,
        getattr(place, "path", place), to_do)  # fmt: skip

# -- asking too early, or of a spoilt model --------------------------------------------------------

for method in ("predict", "predict_proba", "score_samples", "score", "aic", "bic", "icl"):
    for kind, X in {"in memory": blobs, "chunked": lazy_rows}.items():
        add("unfitted", f"{method}, {kind}", Given(options={"X": X()}, text=method), NotFittedError,
            "is not fitted yet",
            "This GaussianMixture instance", "call fit, or load")  # fmt: skip
add(
    "unfitted",
    "sample",
    Given(text="sample"),
    NotFittedError,
    "is not fitted yet",
    "GaussianMixture",
    "call fit, or load",
)
add("unfitted", "save", Given(text="save", options={"path": "new.zarr"}), NotFittedError, "is not fitted yet",
    "GaussianMixture", "call fit, or load")  # fmt: skip
for value in (0, -1, 2.5, "3", None, True, np.nan, [3], np.array([1, 2])):
    add("sample", f"n_samples={value!r}", Given(options={"n_samples": value}), ParameterError, "^n_samples is",
        "^n_samples", "it must be an int of at least 1")  # fmt: skip
for n in (10**15, 10**25):
    add("sample", f"{n:.0e} rows", Given(options={"n_samples": n}), InsufficientMemoryError, "need .* bytes",
        "rows of 3 features", "draw fewer")  # fmt: skip
add("sample", "an impossible random_state", Given(parameters={"random_state": "x"}), ParameterError, "is 'x'",
    "^random_state", "it must be None, an int")  # fmt: skip
for name, word, value, what in (
    ("means_", "of other features", np.ones((2, 5)), "precisions_cholesky_ has shape"),
    ("means_", "one dimension", np.ones(3), "means_ has shape"),
    ("means_", "a word", "x", "means_ must be an array of numbers"),
    ("means_", "NaN", np.full((2, 3), np.nan), "means_ contains nan"),
    ("weights_", "too many", np.ones(7), "weights_ has shape"),
    ("weights_", "negative", -np.ones(2), r"weights_\[0\] is -1"),
    ("weights_", "NaN", np.full(2, np.nan), "weights_ contains nan"),
    ("precisions_cholesky_", "of another shape", np.ones((5, 3)), "precisions_cholesky_ has shape"),
    ("precisions_cholesky_", "infinite", np.full((2, 3, 3), np.inf), "precisions_cholesky_ contains inf"),
):
    for door in ("predict", "score", "sample", "save"):
        given = Given(blobs() if door in ("predict", "score") else None, attributes={name: value},
                      options={"path": "new.zarr"} if door == "save" else {})  # fmt: skip
        add(door, f"{name} set by hand, {word}", given, ParameterError, what, "_ |_.0. ", "expected|must be|of shape")
for door in ("predict", "score"):
    add(door, "precisions_cholesky_ set to 0", Given(blobs(), attributes={"precisions_cholesky_": np.zeros((2, 3, 3))}),
        IllDefinedCovarianceError, "not positive definite", "component 0", "increase reg_covar")  # fmt: skip
