"""Features of signals that can be written to files, and read."""

from __future__ import annotations

import os
from typing import Self

from dgmm._version import __version__
from dgmm.estimators._feature_records import from_record, to_record
from dgmm.estimators._features import SignalFeatures
from dgmm.storage.model import FEATURES, load_model, save_model


class SavedFeatures(SignalFeatures):
    """Features with :meth:`save` and :meth:`load`."""

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fitted features as a zarr v3 group; whole or not at all, and without pickle.

        Parameters
        ----------
        path : path or URL
            As :meth:`dgmm.GaussianMixture.save`.
        overwrite : bool
            Whether a zarr store that is there may be replaced.

        Raises
        ------
        NotFittedError
            If there is no fit.
        ExistsError, WriteError, StoreError
            As :meth:`dgmm.GaussianMixture.save`.

        Examples
        --------
        >>> import tempfile, numpy as np
        >>> from dgmm import EigenMoments
        >>> waves = np.sin(np.outer(np.arange(1.0, 9.0), np.linspace(0.0, 3.0, 32)))
        >>> features = EigenMoments(2, noise=0.01).fit(waves)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     features.save(f"{folder}/features.zarr")
        ...     again = EigenMoments.load(f"{folder}/features.zarr")
        >>> bool((again.transform(waves) == features.transform(waves)).all())
        True
        """
        self._check_fitted()
        save_model(path, to_record(self), __version__, layout=FEATURES, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read features that :meth:`save` wrote, from a path or URL.

        Raises
        ------
        NotFoundError
            If there is nothing at ``path``.
        FormatError
            If they are not features of this class, or are damaged.
        StoreError
            If they lie in an object store that does not answer.
        """
        return from_record(cls, load_model(path, FEATURES), path)
