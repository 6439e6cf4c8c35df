"""Rows of features with their names, and the way back to what they were made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Origin(Protocol):
    """What rows were made from: it gives values of rows back in its shape, with its labels."""

    def restore(
        self,
        values: Any,
        name: str,
        *,
        columns: tuple[str, Sequence[Any]] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Bring one value, or several, of each row to the shape of the input; nothing is computed.

        Parameters
        ----------
        values : array or dask array, (n,) or (n, m)
            With the row chunks of the table's ``X``.
        name : str
            What the values are, as ``"labels"``.
        columns : (dimension, labels), optional
            Name and coordinate of the second axis.
        attrs : mapping, optional
            Attributes, where the result can hold any.
        """
        ...


@dataclass(frozen=True)
class Table:
    """Rows of features.

    Attributes
    ----------
    X : array or dask array, (n, d)
        One chunk of features; n and the chunk lengths of a dask array may be unknown.
    origin : Origin
        What the rows were made from.
    feature_names : tuple of str or None
        None where the input names no features.
    weights : array or dask array, (n,), or None
        How many rows each row stands for.
    labels : array or dask array, (n,), or None
        Known components of the rows, -1 for those that are not known.
    """

    X: Any
    origin: Origin
    feature_names: tuple[str, ...] | None = None
    weights: Any = None
    labels: Any = None
