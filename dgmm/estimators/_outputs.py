"""What estimators say of rows, in the shape of what the rows were made from."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dgmm.errors import ParameterError
from dgmm.inputs.table import Part
from dgmm.mixture.ranking import top_shares
from dgmm.passes.predict import Quantity
from dgmm.rules import is_int

if TYPE_CHECKING:
    from dgmm.inputs.table import Table
    from dgmm.typing import Array

_COMPONENT = {"long_name": "the most probable components of the mixture, from 0"}
_PROBABILITY = {"long_name": "posterior probability of these components", "units": "1"}
_REMAINDER = {"long_name": "posterior probability of all other components together", "units": "1"}


class TopProbabilities(NamedTuple):
    """The most probable components of each row.

    Attributes
    ----------
    component : (n, k) int64
        Numbers of the components, the most probable first.
    probability : (n, k)
        Their posterior probabilities.
    remainder : (n,)
        Posterior probability of all other components together.
    """

    component: Any
    probability: Any
    remainder: Any


def in_shape_of(table: Table, values: Any, quantity: Quantity) -> Any:
    """Values of a quantity, (n,) or (n, columns), in the shape of what the rows were made from."""
    columns = ("component", range(values.shape[1])) if quantity.per_component else None
    return table.origin.restore(values, quantity.name, columns=columns, attrs=quantity.attrs)


def top_quantity(top: Any, n_components: int) -> Quantity:
    """The quantity that :func:`top_parts` takes apart.

    Raises
    ------
    ParameterError
        If ``top`` is no number of components.
    """
    if not is_int(top, 1) or top > n_components:
        raise ParameterError(
            f"top is {top!r}; it must be None, or an int from 1 to {n_components}, the number of components"
        )
    k = int(top)
    return Quantity(
        "top",
        partial(top_shares, top=k),
        np.dtype(np.float64),
        per_component=True,
        whole_density=False,
        columns=2 * k + 1,
    )


def top_parts(table: Table, values: Any, dtype: np.dtype[Any]) -> Any:
    """The most probable components of each row in the shape of what the rows were made from.

    Parameters
    ----------
    table : Table
    values : array or dask array, (n, 2 k + 1) float64
        See :func:`~dgmm.mixture.ranking.top_shares`.
    dtype : dtype
        Of the probabilities.
    """
    k = values.shape[1] // 2
    rank = ("rank", range(k))
    component = _columns(values, slice(k), np.dtype(np.int64))
    probability, remainder = _columns(values, slice(k, 2 * k), dtype), _columns(values, 2 * k, dtype)
    parts = (
        Part("component", component, rank, _COMPONENT),
        Part("probability", probability, rank, _PROBABILITY),
        Part("remainder", remainder, None, _REMAINDER),
    )
    found = table.origin.join(parts)
    return TopProbabilities(*found) if isinstance(found, tuple) else found


def _columns(values: Any, which: slice | int, dtype: np.dtype[Any]) -> Any:
    """Some columns of values, (n, m), or one, (n,)."""
    if isinstance(values, np.ndarray):
        return _taken(values, which, dtype)
    # Slices of a dask array are made a task at a time, maps all at once.
    width = np.empty((0, values.shape[1]))[:, which].shape[1:]
    shape: dict[str, Any] = {"chunks": (values.chunks[0], width)} if width else {"drop_axis": 1}
    return values.map_blocks(_taken, which, dtype, dtype=dtype, meta=np.empty((0,) * (1 + len(width)), dtype), **shape)


def _taken(block: Array, which: slice | int, dtype: np.dtype[Any]) -> Array:
    columns = block[:, which]
    if dtype.kind == "i":  # rows without a label have NaN
        columns = np.where(np.isnan(columns), -1, columns)
    return columns.astype(dtype)
