"""Bad xarray objects, dataframes and zarr groups: names that are not there, or not what they are taken for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.dataframe as frames
import numpy as np
import pandas as pd
import xarray as xr
import zarr
from bad_input.kinds import Given, Kind, blobs, lazy

from dgmm.errors import DataError, DataTypeError, ParameterError

KINDS: list[Kind] = []
CELLS = ("y", "x")


def given(
    name: str,
    make: Callable[[], Any],
    error: type[Exception],
    what: str,
    where: str,
    to_do: str,
    weights: Any = None,
    door: str = "fit",
    **options: Any,
) -> None:
    KINDS.append(Kind(door, name, lambda _: Given(make(), weights, options=options), error, what, where, to_do))


def cells() -> np.ndarray:
    return blobs().reshape(6, 10, 3)


def scene(**others: Any) -> xr.Dataset:
    """Three variables, of which the first is lazy, and a coordinate."""
    values = cells()
    own = {"a": (CELLS, lazy(values[..., 0], 3)), "b": (CELLS, values[..., 1]), "c": (("x", "y"), values[..., 2].T)}
    return xr.Dataset({**own, **others}, coords={"area": (CELLS, np.ones((6, 10))), "y": np.arange(6.0)})


def picture(**names: Any) -> xr.DataArray:
    return xr.DataArray(lazy(cells(), 3), dims=(*CELLS, "band"), **names)


# -- dimensions -----------------------------------------------------------------------------------

for word, make in {"Dataset": scene, "DataArray": picture}.items():
    given(f"sample_dims: not there, {word}", make, DataError, "sample_dims: 'time' is not in the dimensions of X",
          "it has: 'y', 'x'", "it has", sample_dims=("time", "y", "x"))  # fmt: skip
    given(f"sample_dims: misspelt, {word}", make, DataError, "'yy' is not in", "dimensions of X", "did you mean 'y'",
          sample_dims=("yy", "x"))  # fmt: skip
    for bad in ([], 3, [["y"]]):
        given(f"sample_dims: {bad!r}, {word}", make, ParameterError, "sample_dims is", "sample_dims",
              "must be a name, or several names", sample_dims=bad)  # fmt: skip
given("sample_dims: of a dask array", lambda: lazy(blobs()), ParameterError, "whose dimensions have no names",
      "sample_dims is", "leave it out, or give an xarray object", sample_dims=("y",))  # fmt: skip
given("sample_dims: of a dataframe", lambda: pd.DataFrame(blobs()), ParameterError, "whose dimensions have no names",
      "sample_dims is", "leave it out", sample_dims=("y",))  # fmt: skip
given("two dimensions of features", picture, DataError, "'x', 'band' are no sample dimensions", "^X has dimensions",
      "name more of them in sample_dims .*stack", sample_dims="y")  # fmt: skip
given("a variable of two dimensions of features", lambda: scene(d=(("y", "u", "v"), np.ones((6, 2, 2)))), DataError,
      "'u', 'v' are no sample dimensions", "^variable 'd' of X", "name more .*stack", sample_dims="y")  # fmt: skip
given("one dimension", lambda: xr.DataArray(np.arange(9.0), dims="x"), DataError, "DataArray of one dimension", "'x'",
      r"give sample_dims=\('x',\)")  # fmt: skip
given("no shared dimension", lambda: scene(d=("u", np.ones(4))), DataError, "share no dimension", "d: u",
      "give sample_dims")  # fmt: skip
given("a variable of no sample dimension", lambda: scene(d=("u", np.ones(4))), DataError,
      "none of the sample dimensions", "^variable 'd' of X", "leave it out", sample_dims=CELLS)  # fmt: skip
given("a variable of no dimension", lambda: scene(crs=0), DataError, "has no dimensions", "^variable 'crs' of X",
      r"X.drop_vars\('crs'\)")  # fmt: skip
given("a number as DataArray", lambda: xr.DataArray(3.0), DataError, "has no dimensions", "^X", "give an array")

# -- variables and columns ------------------------------------------------------------------------

for word, variable in {
    "strings": np.full((6, 10), "a"),
    "objects": np.full((6, 10), None, dtype=object),
    "dates": np.zeros((6, 10), "M8[ns]"),
    "complex numbers": np.ones((6, 10), dtype=complex),
}.items():
    given(f"a variable of {word}", lambda v=variable: scene(d=(CELLS, v)), DataTypeError,
          "holds no real numbers|Complex data", "^variable 'd' of X has dtype", "convert it|give its real")  # fmt: skip
given("a DataArray of strings", lambda: picture().astype(str), DataTypeError, "holds no real numbers", "^X has dtype",
      "convert it")  # fmt: skip
given("no variables", lambda: xr.Dataset(coords={"y": np.arange(3)}), DataError, "Dataset without variables",
      "its coordinates are 'y'", "X.reset_coords")  # fmt: skip
name = "sample_weight"
given(f"{name}: a coordinate", scene, DataError, "'area' is a coordinate of X, not a variable", f"^{name}",
      r"X.reset_coords\('area'\)", weights="area")  # fmt: skip
given(f"{name}: a variable that is not there", scene, DataError, "'w' is not in the variables of X", f"^{name}",
      "it has: 'a', 'b', 'c'", weights="w")  # fmt: skip
given(f"{name}: a variable of a DataArray", picture, DataError, "X is a DataArray, which holds one variable",
      f"^{name}: 'w'", "give an array", weights="w")  # fmt: skip
given(f"{name}: of other dimensions", scene, DataError, "has the dimensions 'time'", f"^{name}",
      "expected some of the sample dimensions, 'y', 'x'", weights=xr.DataArray(np.ones(3), dims="time"))  # fmt: skip
given(f"{name}: of other coordinates", scene, DataError, "does not lie where X does", f"^{name}",
      "indexes .* not equal|cannot align", weights=xr.DataArray(np.ones(6), {"y": np.arange(6) + 0.5}))  # fmt: skip
given(f"{name}: flat beside several dimensions", scene, DataError, r"has shape \(60,\)", f"^{name}",
      r"expected that of the sample dimensions 'y', 'x', \(6, 10\)", weights=np.ones(60))  # fmt: skip
for word, make in {
    "pandas": lambda: pd.DataFrame(blobs(), columns=list("abc")),
    "dask": lambda: frames.from_pandas(pd.DataFrame(blobs(), columns=list("abc")), npartitions=2),
}.items():
    given(f"{name}: a column that is not there, {word}", make, DataError, "'w' is not in the columns of X",
          f"^{name}", "it has: 'a', 'b', 'c'", weights="w")  # fmt: skip
    given(f"{name}: a column of strings, {word}", lambda m=make: m().assign(w="x"), DataTypeError,
          "holds no real numbers", rf"^{name} \(column 'w' of X\) has dtype", "convert it", weights="w")  # fmt: skip
    given(f"a column of strings, {word}", lambda m=make: m().assign(w="x"), DataTypeError,
          "holds no real numbers", "^column 'w' of X has dtype", "convert it")  # fmt: skip
given("a column of categories, dask",
      lambda: frames.from_pandas(pd.DataFrame({"u": pd.Categorical(["x", "y"]), "v": 1.0}), npartitions=1),
      DataTypeError, "holds no real numbers", "^column 'u' of X has dtype category", "convert it")  # fmt: skip
given("missing values of pandas' Int64, dask",
      lambda: frames.from_pandas(pd.DataFrame({"u": pd.array([1, None, 3], dtype="Int64"), "v": 1.0}), npartitions=1),
      DataError, "X contains NaN", "row 1, feature 0", "drop or impute")  # fmt: skip
given("fewer variables than in the fit", lambda: scene().drop_vars("b"), DataError, "X has 2 features", "expecting 3",
      "give the features of the fit", door="predict")  # fmt: skip

# -- groups and files -------------------------------------------------------------------------------


def group(**arrays: tuple[Any, ...]) -> zarr.Group:
    made = zarr.create_group({})
    for name, (values, dims) in arrays.items():
        made.create_array(name, data=values, dimension_names=dims)
    return made


given("an empty group", group, DataError, "holds no arrays of data", "^the zarr group /", "it has: none")
given("a group of coordinates", lambda: group(y=(np.arange(3.0), ("y",))), DataError, "holds no arrays of data",
      "^the zarr group /", "it has: 'y'")  # fmt: skip
given("a group of nameless dimensions", lambda: group(a=(blobs(), None), b=(blobs(), None)), DataError,
      "holds 2 arrays, and the dimensions of 'a', 'b' have no names", "the zarr group /",
      "give the variable that is meant")  # fmt: skip
given("a path where nothing is", lambda: "nothing.zarr", DataError, "there is no such file", "nothing.zarr",
      "expected a zarr store")  # fmt: skip
