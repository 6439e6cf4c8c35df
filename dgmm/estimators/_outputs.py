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
    from dgmm.typing import IntArray


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
    component, probability, remainder = values[:, :k], values[:, k : 2 * k], values[:, 2 * k]
    parts = (
        Part("component", _numbers(component), rank, {"long_name": "the most probable components, from 0"}),
        Part(
            "probability",
            probability.astype(dtype),
            rank,
            {"long_name": "posterior probability of these components", "units": "1"},
        ),
        Part(
            "remainder",
            remainder.astype(dtype),
            None,
            {"long_name": "posterior probability of all other components together", "units": "1"},
        ),
    )
    found = table.origin.join(parts)
    return TopProbabilities(*found) if isinstance(found, tuple) else found


def _numbers(component: Any) -> Any:
    if isinstance(component, np.ndarray):
        return _to_int(component)
    return component.map_blocks(_to_int, dtype=np.int64, meta=np.empty((0, 0), dtype=np.int64))


def _to_int(component: Any) -> IntArray:
    # Rows without a label have NaN.
    return np.where(np.isnan(component), -1, component).astype(np.int64)
