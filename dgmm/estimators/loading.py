"""Saved mixtures of any kind."""

from __future__ import annotations

import os
from typing import TypeAlias

from dgmm.estimators._records import from_record
from dgmm.estimators.bfr_gaussian_mixture import BFRGaussianMixture
from dgmm.estimators.gaussian_mixture import GaussianMixture
from dgmm.storage.model import load_model

Mixture: TypeAlias = GaussianMixture | BFRGaussianMixture
"""Mixtures that are saved."""

_OTHERS: dict[str, type[BFRGaussianMixture]] = {BFRGaussianMixture.__name__: BFRGaussianMixture}


def load_mixture(path: str | os.PathLike[str]) -> Mixture:
    """Read a model, of whichever class it is.

    Raises
    ------
    NotFoundError, FormatError
        As :meth:`dgmm.GaussianMixture.load`.
    """
    record = load_model(path)
    return from_record(_OTHERS.get(record.estimator, GaussianMixture), record, path)
