"""Paths and URLs, opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dgmm.storage.arrays import open_array

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence


def open_source(
    path: str | os.PathLike[str], *, variable: str | None = None, features: Sequence[Any] | None = None
) -> Any:
    """Open what lies at a path or URL: a DataArray, a Dataset, a dask array or a dask dataframe."""
    return open_array(str(path), variable)
