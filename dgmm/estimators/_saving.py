"""Mixtures that can be written to files, and read."""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np

from dgmm._version import __version__
from dgmm.estimators._base import narrowed
from dgmm.estimators._exchange import ExchangedMixture
from dgmm.estimators._records import from_record, to_record
from dgmm.mixture.sampling import RowSample
from dgmm.storage.model import load_model, save_model
from dgmm.typing import Array

_SAMPLE_ROWS = 2_000
_SAMPLE_NUMBERS = 2**20


def few_rows(sample: RowSample, dtype: np.dtype[Any]) -> Array:
    """The part of a fit's sample that the model keeps, (m, d)."""
    size = min(_SAMPLE_ROWS, max(_SAMPLE_NUMBERS // sample.rows.shape[1], 1))
    return narrowed(sample.few(size), dtype)


class SavedMixture(ExchangedMixture):
    """A mixture with :meth:`save` and :meth:`load`."""

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False, sample: bool = True) -> None:
        """Write the fitted model as a zarr v3 group; whole or not at all, and without pickle.

        Parameters
        ----------
        path : path or URL
            A new folder, ``*.zarr`` by custom, or a prefix of an object store (``s3://bucket/model.zarr``), where
            readers find the old model until the new one is whole. Credentials come from the environment.
        overwrite : bool
            Whether a zarr store that is there may be replaced.
        sample : bool
            Whether the rows of ``sample_`` are saved too. False keeps rows that are nobody else's business out of
            the file; then pictures made from it show no density of the data.

        Raises
        ------
        NotFittedError
            If there is no fit.
        ExistsError
            If there is something at ``path`` and ``overwrite`` is False, or it is no zarr store.
        WriteError, StoreError
            If it cannot be written, or another process has begun to write there; the store does not answer.

        Examples
        --------
        >>> import tempfile, numpy as np, xarray as xr
        >>> from dgmm import GaussianMixture
        >>> model = GaussianMixture(2, random_state=0).fit(np.arange(20.0).reshape(10, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.zarr")
        ...     again = GaussianMixture.load(f"{folder}/model.zarr")
        ...     means = xr.open_zarr(f"{folder}/model.zarr").means.load()
        >>> bool((again.means_ == model.means_).all()), means.dims
        (True, ('component', 'feature'))
        """
        save_model(path, to_record(self, sample=sample), __version__, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a model that :meth:`save` wrote, from a path or URL.

        Raises
        ------
        NotFoundError
            If there is nothing at ``path``.
        FormatError
            If it is not a model of this class, or is damaged.
        StoreError
            If it lies in an object store that does not answer.
        """
        return from_record(cls, load_model(path), path)
