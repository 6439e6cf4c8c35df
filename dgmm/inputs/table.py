"""Rows of features with their names, and the way back to what they were made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence


@dataclass(frozen=True)
class Part:
    """One of several things that are said of each row.

    Attributes
    ----------
    name : str
        What the values are, as ``"labels"``.
    values : array or dask array, (n,) or (n, m)
        With the row chunks of the table's ``X``.
    columns : (dimension, labels) or None
        Name and coordinate of the second axis.
    attrs : mapping
        Attributes, where the result can hold any.
    """

    name: str
    values: Any
    columns: tuple[str, Sequence[Any]] | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)


_SHOWN = 6
"""Names of features that are printed."""


class Origin(Protocol):
    """What rows were made from: it gives values of rows back in its shape, with its labels."""

    @property
    def sample_dims(self) -> tuple[Hashable, ...] | None:
        """The dimensions that the rows run over, in their order; None where dimensions have no names."""
        ...

    @property
    def feature_dims(self) -> tuple[Hashable, ...] | None:
        """The dimensions that hold features; None where dimensions have no names."""
        ...

    def restore(
        self,
        values: Any,
        name: str,
        *,
        columns: tuple[str, Sequence[Any]] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Bring one value, or several, of each row to the shape of the input; nothing is computed.

        Parameters are those of :class:`Part`.
        """
        ...

    def join(self, parts: Sequence[Part]) -> Any:
        """Bring several things to the shape of the input, as one object if the input can be one, else as a tuple."""
        ...


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        """What it holds, in a line."""
        n, d = self.X.shape
        names = (
            "" if self.feature_names is None else f" ({', '.join(self.feature_names[:_SHOWN])}{', ...' * (d > _SHOWN)})"
        )
        chunks = f" in {self.X.numblocks[0]:,} chunks" if hasattr(self.X, "numblocks") else ""
        rows = "unknown" if n != n else f"{n:,}"
        beside = [name for name in ("weights", "labels") if getattr(self, name) is not None]
        held = f", with {' and '.join(beside)}" if beside else ""
        return f"<Table of {rows} rows{chunks}, {d} feature{'s' * (d != 1)}{names}, {self.X.dtype}{held}>"


@dataclass(frozen=True)
class Request:
    """What is asked of a source; see :func:`dgmm.open_rows`.

    Attributes
    ----------
    features, sample_dims, sample_weight, labels, variable
        As the user gave them.
    fitted : tuple of str or None
        Feature names of a fit: they are taken, in their order, from a source that names its features.
    feature_dims : tuple or None
        Dimensions that held the features of a fit; the others are sample dimensions.
    """

    features: Sequence[Any] | None = None
    sample_dims: Sequence[Hashable] | None = None
    sample_weight: Any = None
    labels: Any = None
    variable: str | None = None
    fitted: tuple[str, ...] | None = None
    feature_dims: tuple[Hashable, ...] | None = None
