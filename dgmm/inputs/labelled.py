"""xarray objects as rows of features: which dimensions are samples, which variables and coordinates are features."""

from __future__ import annotations

import numbers
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr

from dgmm.errors import DataError, ParameterError
from dgmm.inputs.blocks import is_lazy, pack, pack_here, spread
from dgmm.inputs.columns import absent, choose, listed
from dgmm.inputs.layout import Layout
from dgmm.inputs.plain import refuse_variable
from dgmm.inputs.table import Table
from dgmm.passes.rows import check_dtype, in_memory

if TYPE_CHECKING:
    from dgmm.inputs.table import Part, Request

Dims: TypeAlias = tuple[Hashable, ...]

# Attributes that name bounds of coordinates, and how a map is projected.
_COORDINATES = ("bounds", "climatology", "grid_mapping")

# What dimensions of features are called: a raster is (band, y, x).
_OF_FEATURES = ("band", "channel", "feature", "variable")
# xarray gives an array without a name that of the dask array in it.
_DASKS = re.compile("-[0-9a-f]{32}$")


@dataclass(frozen=True)
class LabelledOrigin:
    """An xarray object: what is said of its rows has its sample dimensions, in its order, and their coordinates.

    Attributes
    ----------
    sample_dims, feature_dims : tuple
    shape : tuple of int
        Lengths of the sample dimensions.
    coords : xarray.Coordinates
        Those that lie within the sample dimensions.
    layout : Layout or None
        How blocks became rows; None in memory.
    mapping : str or None
        Name of the variable that says how a map is projected (CF's ``grid_mapping``).
    """

    sample_dims: Dims
    feature_dims: Dims
    shape: tuple[int, ...]
    coords: xr.Coordinates
    layout: Layout | None
    mapping: str | None = None

    def restore(
        self,
        values: Any,
        name: str,
        *,
        columns: tuple[str, Sequence[Any]] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> xr.DataArray:
        """Return a DataArray with the chunks of the input; a coordinate of its name is left out."""
        self._require_free(() if columns is None else (columns[0],))
        layout, tail = self.layout, values.shape[1:]
        data = values.reshape(self.shape + tail) if layout is None else layout.restore(values)
        dims = self.sample_dims if columns is None else (*self.sample_dims, columns[0])
        coords = self.coords
        if name in coords and name not in self.sample_dims:
            coords = coords.to_dataset().drop_vars(name).coords
        found = xr.DataArray(data, coords=coords, dims=dims, name=name, attrs=dict(attrs or {}))
        if columns is not None:
            found = found.assign_coords({columns[0]: np.asarray(columns[1])})
        if self.mapping is not None:
            found.encoding["grid_mapping"] = self.mapping
        return found

    def join(self, parts: Sequence[Part]) -> xr.Dataset:
        """Return a Dataset of several variables."""
        names = [part.name for part in parts]
        self._require_free(names)
        return xr.Dataset(
            {
                part.name: self.restore(part.values, part.name, columns=part.columns, attrs=part.attrs).drop_vars(
                    names, errors="ignore"
                )
                for part in parts
            }
        )

    def _require_free(self, names: Sequence[str]) -> None:
        """Refuse dimensions of the input that are called as what is said of its rows."""
        if taken := sorted({*names} & {*self.sample_dims}):
            raise DataError(
                f"X has a dimension {taken[0]!r}, and the answer calls something else so; rename it, "
                f"X.rename({taken[0]}=...)"
            )


@dataclass(frozen=True)
class _Variable:
    """A variable whose values are features."""

    name: str
    values: xr.DataArray
    feature_dim: Hashable | None
    columns: tuple[str, ...] | None


def open_labelled(source: xr.DataArray | xr.Dataset, request: Request) -> Table:
    """Take a DataArray or a Dataset; see :func:`dgmm.open_rows`.

    Raises
    ------
    DataError
        If dimensions, variables or coordinates are not what is asked for.
    DataTypeError
        If a variable holds no real numbers.
    """
    refuse_variable(request, f"a {type(source).__name__}")
    if isinstance(source, xr.Dataset):
        source = _with_coordinates(source)
    found = _array(source) if isinstance(source, xr.DataArray) else _variables(source, request)
    dims = _sample_dims(found, request, array=isinstance(source, xr.DataArray))
    variables = [
        _with_columns(name, values, dims, bare=isinstance(source, xr.DataArray)) for name, values in found.items()
    ]
    variables, names = _chosen(variables, request, "X")
    beside = {
        name: _given(source, getattr(request, name), name, dims, variables) for name in ("sample_weight", "labels")
    }
    own = [variable.values for variable in variables]
    lazy = any(is_lazy(values) for values in [*own, *beside.values()] if isinstance(values, xr.DataArray))
    sizes = {dim: size for values in own for dim, size in values.sizes.items()}
    shape = tuple(sizes[dim] for dim in dims)
    features = [variable.feature_dim for variable in variables]
    if lazy:
        X, layout = pack(own, features, dims)
    else:
        X, layout = pack_here(own, features, dims), None
    weights, labels = (
        None if value is None else spread(value, name, dims, shape, layout) for name, value in beside.items()
    )
    within = [name for name, coord in source.coords.items() if not {*coord.dims} <= {*dims}]
    origin = LabelledOrigin(
        dims,
        tuple(dict.fromkeys(dim for dim in features if dim is not None)),
        shape,
        source.coords.to_dataset().drop_vars(within).coords,
        layout,
        own[0].encoding.get("grid_mapping", own[0].attrs.get("grid_mapping")),
    )
    return Table(X, origin, names, weights, labels)


def _with_coordinates(source: xr.Dataset) -> xr.Dataset:
    """Make coordinates of what CF's attributes say are some, as xarray does with ``decode_coords="all"``."""
    said = {str(variable.attrs.get(key)) for variable in source.variables.values() for key in _COORDINATES}
    return source.set_coords([name for name in source.data_vars if str(name) in said])


def _array(source: xr.DataArray) -> dict[str, xr.DataArray]:
    name = "" if source.name is None else str(source.name)
    return {"" if _DASKS.search(name) else name: source}


def _variables(source: xr.Dataset, request: Request) -> dict[str, xr.DataArray]:
    """The variables whose columns are needed, by name."""
    known = {str(name): name for name in source.data_vars}
    beside = {value for value in (request.sample_weight, request.labels) if isinstance(value, str)}
    named = isinstance(request.features, (list, tuple)) and all(isinstance(item, str) for item in request.features)
    wanted = request.features if named else request.fitted
    if wanted is None:
        names = [name for name in known if name not in beside]
    else:
        owners = [_owner(item, known) for item in wanted]
        if request.features is not None:
            for item, owner in zip(wanted, owners, strict=True):
                if owner is None:
                    raise DataError(f"features: {_absent(item, source)}")
        # Names of a fit that are not there are reported when columns are compared.
        names = list(dict.fromkeys(owner for owner in owners if owner is not None)) or [*known]
    if not names:
        others = "" if not beside else f" beside {listed(sorted(beside))}"
        raise DataError(f"X is a Dataset without variables{others}; {_coordinates(source)}")
    return {name: source[known[name]] for name in names}


def _owner(column: str, known: Mapping[str, Hashable]) -> str | None:
    """The variable of a column, ``name`` or ``name[coordinate]``."""
    if column in known:
        return column
    name = column.rpartition("[")[0] if column.endswith("]") else ""
    return name if name in known else None


def _absent(name: str, source: xr.Dataset | xr.DataArray) -> str:
    if name in source.coords:
        return (
            f"{name!r} is a coordinate of X, not a variable; if it is meant, make it one with "
            f"X.reset_coords({name!r})" + ("" if name not in source.dims else " after X.reset_index")
        )
    if isinstance(source, xr.DataArray):
        return f"{name!r} is a name, but X is a DataArray, which holds one variable; give an array"
    return absent(name, [str(own) for own in source.data_vars], "the variables of X")


def _coordinates(source: xr.Dataset) -> str:
    names = listed(str(name) for name in source.coords)
    return f"its coordinates are {names}: X.reset_coords makes variables of coordinates"


# -- dimensions -----------------------------------------------------------------------------------


def _sample_dims(found: Mapping[str, xr.DataArray], request: Request, *, array: bool) -> Dims:
    """The sample dimensions, in the order of the source."""
    for name, values in found.items():
        if not values.dims:
            advice = "give an array of rows" if array else f"leave it out, X.drop_vars({name!r})"
            raise DataError(f"{_called(name)} has no dimensions, so it says nothing of any row; {advice}")
    every = list(dict.fromkeys(dim for values in found.values() for dim in values.dims))
    chosen = _chosen_dims(found, every, request, array=array)
    order = next((values.dims for values in found.values() if chosen <= {*values.dims}), every)
    dims = tuple(dim for dim in order if dim in chosen)
    for name, values in found.items():
        others = [dim for dim in values.dims if dim not in chosen]
        if len(others) > 1:
            raise DataError(
                f"{_called(name)} has dimensions {listed(values.dims)}, of which {listed(others)} are no sample "
                f"dimensions, and only one can hold features; name more of them in sample_dims (now "
                f"{listed(dims)}), or stack them first: X.stack(feature=[...])"
            )
        if len(others) == len(values.dims):
            raise DataError(
                f"{_called(name)} has dimensions {listed(values.dims)} and none of the sample dimensions, "
                f"{listed(dims)}, so it says nothing of any row; leave it out, or give other sample_dims"
            )
    return dims


def _chosen_dims(
    found: Mapping[str, xr.DataArray], every: list[Hashable], request: Request, *, array: bool
) -> set[Hashable]:
    if request.sample_dims is not None:
        return _given_dims(request.sample_dims, every)
    before = request.feature_dims
    if before is not None:
        # Without feature dimensions a DataArray is one feature.
        only = not before and (request.fitted is None or len(request.fitted) == 1)
        if not array or only or {*before} & {*every}:
            return {*every} - {*before}
        if before and len(every) > 2:
            raise DataError(
                f"X has the dimensions {listed(every)}, and none of them is {listed(before)}, which held the features "
                "of the fit; rename that of the features, or give dgmm.open_rows(X, sample_dims=...)"
            )
    if array:
        if len(every) == 1:
            raise DataError(
                f"X is a DataArray of one dimension, {every[0]!r}, and by default the last one holds the features; "
                f"give sample_dims=({every[0]!r},) if it is one feature"
            )
        named = [dim for dim in every if dim in _OF_FEATURES]
        return {*every} - ({*named} if len(named) == 1 else {every[-1]})
    shared = set.intersection(*({*values.dims} for values in found.values()))
    shared = shared.difference(_OF_FEATURES) or shared
    if not shared:
        each = "; ".join(f"{name}: {', '.join(map(str, values.dims))}" for name, values in list(found.items())[:10])
        raise DataError(f"the variables of X share no dimension ({each}); give sample_dims")
    return shared


def _given_dims(given: Any, every: list[Hashable]) -> set[Hashable]:
    dims = (given,) if isinstance(given, str) else given
    if not isinstance(dims, Sequence) or not dims or not all(isinstance(dim, Hashable) for dim in dims):
        raise ParameterError(f"sample_dims is {given!r}; it must be a name, or several names, of dimensions")
    for dim in dims:
        if dim not in every:
            raise DataError(f"sample_dims: {absent(dim, every, 'the dimensions of X')}")
    return {*dims}


def _called(name: str) -> str:
    return f"variable {name!r} of X" if name else "X"


# -- columns --------------------------------------------------------------------------------------


def _with_columns(name: str, values: xr.DataArray, dims: Dims, *, bare: bool) -> _Variable:
    """Name the columns of a variable; those of a DataArray, ``bare``, are named by their coordinate."""
    check_dtype(values.dtype, _called(name))
    feature = next((dim for dim in values.dims if dim not in dims), None)
    if feature is None:
        return _Variable(name, values, None, (name,) if name else None)
    labelled = feature in values.coords
    labels = values[feature].values if labelled else np.arange(values.sizes[feature])
    texts = [str(label) for label in labels]
    if len({*texts}) < len(texts):
        labelled, texts = False, [str(i) for i in range(len(texts))]
    if not bare:
        return _Variable(name, values, feature, tuple(f"{name}[{text}]" for text in texts))
    if not labelled:
        return _Variable(name, values, feature, None)
    words = all(isinstance(label, str) for label in labels)
    return _Variable(name, values, feature, tuple(text if words else f"{feature}[{text}]" for text in texts))


def _chosen(variables: list[_Variable], request: Request, where: str) -> tuple[list[_Variable], tuple[str, ...] | None]:
    """The variables in the order of the features, each with the columns that are features."""
    names: tuple[str, ...] | None = None
    if all(variable.columns is not None for variable in variables):
        names = tuple(name for variable in variables for name in variable.columns or ())
    places = [
        (number, i)
        for number, variable in enumerate(variables)
        for i in range(1 if variable.feature_dim is None else variable.values.sizes[variable.feature_dim])
    ]
    if request.features is not None and isinstance(request.features, (list, tuple)):
        # A variable's name stands for all its columns.
        whole = {variable.name: list(variable.columns or ()) for variable in variables if variable.name}
        items = [name for item in request.features for name in whole.get(item, [item])]
        request = replace(request, features=items)
    chosen = choose(names, len(places), request, where)
    if chosen is None:
        return variables, names
    result: list[_Variable] = []
    runs: list[list[int]] = []
    for number, i in (places[at] for at in chosen):
        if result and result[-1] is variables[number]:
            runs[-1].append(i)
        else:
            result.append(variables[number])
            runs.append([i])
    picked = [
        variable
        if variable.feature_dim is None or run == list(range(variable.values.sizes[variable.feature_dim]))
        else replace(variable, values=variable.values.isel({variable.feature_dim: run}))
        for variable, run in zip(result, runs, strict=True)
    ]
    return picked, None if names is None else tuple(names[at] for at in chosen)


# -- weights and labels ---------------------------------------------------------------------------


def _given(source: xr.DataArray | xr.Dataset, value: Any, name: str, dims: Dims, variables: list[_Variable]) -> Any:
    """What is given beside the rows, as a DataArray within the sample dimensions; a number stays one."""
    if value is None or (isinstance(value, numbers.Real) and name == "sample_weight"):
        return value
    if isinstance(value, str):
        if isinstance(source, xr.DataArray) or value not in source.data_vars:
            raise DataError(f"{name}: {_absent(value, source)}")
        value = source[value]
    elif not isinstance(value, xr.DataArray):
        return _unnamed(value, name, dims, variables)
    what = f"{name} ({value.name!r})" if value.name is not None else name
    check_dtype(value.dtype, what)
    wrong = [dim for dim in value.dims if dim not in dims]
    if wrong:
        raise DataError(
            f"{what} has the dimensions {listed(value.dims)}; expected some of the sample dimensions, {listed(dims)}"
        )
    try:
        xr.align(*(variable.values for variable in variables), value, join="exact", copy=False)
    except ValueError as error:
        raise DataError(f"{what} does not lie where X does: {error}") from error
    return value


def _unnamed(value: Any, name: str, dims: Dims, variables: list[_Variable]) -> xr.DataArray:
    """An array whose dimensions are the sample dimensions in the order of the source."""
    sizes = {dim: size for variable in variables for dim, size in variable.values.sizes.items()}
    shape = tuple(sizes[dim] for dim in dims)
    array = value if hasattr(value, "__dask_graph__") and hasattr(value, "chunks") else in_memory(value, name)
    check_dtype(array.dtype, name)
    if array.shape != shape:
        raise DataError(
            f"{name} has shape {array.shape}; expected that of the sample dimensions {listed(dims)}, {shape}, or a "
            "DataArray that names its own"
        )
    return xr.DataArray(array, dims=dims)
