"""Models as zarr v3 groups: arrays and JSON, no pickle, readable with xarray alone.

The group holds the variables ``weights`` (component), ``means`` (component, feature),
``covariances`` and ``precisions_cholesky`` (of the family's shape) and ``lower_bounds``
(iteration), all float64, and these attributes: ``format`` ("dgmm-model"), ``format_version``,
``dgmm_version``, ``class``, ``dtype`` (of the fitted attributes) and ``details`` (a JSON object:
the estimator's parameters and the scalars of the fit).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

from dgmm.errors import FormatError, NotFoundError
from dgmm.mixture.families import get_family
from dgmm.storage.arrays import consolidate
from dgmm.storage.paths import local_path, writing
from dgmm.storage.replacing import replacing_folder

if TYPE_CHECKING:
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.typing import FloatArray

FORMAT = "dgmm-model"
FORMAT_VERSION = 1

_REQUIRED = ("weights", "means", "covariances", "precisions_cholesky", "lower_bounds")


@dataclass(frozen=True)
class ModelRecord:
    """A fitted model as plain values.

    Attributes
    ----------
    estimator : str
        Name of the class.
    dtype : str
        Of the fitted attributes.
    arrays : dict of str to float64 array
        ``weights``, ``means``, ``covariances``, ``precisions_cholesky``, ``lower_bounds``, in
        public shapes.
    details : dict
        JSON values: ``params`` of the constructor and ``fit``, the scalars of the fit.
    """

    estimator: str
    dtype: str
    arrays: dict[str, FloatArray]
    details: dict[str, Any]


def _dimensions(name: str, family: CovarianceFamily) -> tuple[str, ...]:
    table = {"weights": ("component",), "means": ("component", "feature"), "lower_bounds": ("iteration",)}
    return table.get(name, family.dimensions)


def save_model(path: str | os.PathLike[str], record: ModelRecord, version: str, *, overwrite: bool = False) -> None:
    """Write a model, whole or not at all.

    Parameters
    ----------
    path : path
        Of the new zarr group, a folder.
    record : ModelRecord
    version : str
        Version of dgmm.
    overwrite : bool
        Whether a zarr store that is there may be replaced.

    Raises
    ------
    ExistsError
        If there is something at ``path`` and ``overwrite`` is False, or it is no zarr store.
    """
    family = get_family(record.details["params"]["covariance_type"])
    dataset = xr.Dataset(
        {name: (_dimensions(name, family), array) for name, array in record.arrays.items()},
        attrs={
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "dgmm_version": version,
            "class": record.estimator,
            "dtype": record.dtype,
            "details": json.dumps(record.details, allow_nan=False),
        },
    )
    with replacing_folder(path, overwrite=overwrite) as folder, writing(path):
        dataset.to_zarr(folder, mode="w-", zarr_format=3, consolidated=False)
        consolidate(folder)


def load_model(path: str | os.PathLike[str]) -> ModelRecord:
    """Read a model.

    Raises
    ------
    NotFoundError
        If there is nothing at ``path``.
    FormatError
        If it is not a dgmm model, is damaged, or has a version that this dgmm does not know.
    """
    source = local_path(path)
    if not source.exists():
        raise NotFoundError(f"there is no model at {source}")
    try:
        attributes = dict(zarr.open_group(source, mode="r").attrs)
    except Exception as error:
        raise FormatError(f"{source} is not a zarr group, so it is no dgmm model: {error}") from error
    if attributes.get("format") != FORMAT:
        raise FormatError(f"{source} is a zarr group, but no dgmm model (its attribute 'format' is not {FORMAT!r})")
    version = attributes.get("format_version")
    if version != FORMAT_VERSION:
        raise FormatError(
            f"{source} is a dgmm model of format version {version}; this dgmm reads version {FORMAT_VERSION}: "
            f"it was written by dgmm {attributes.get('dgmm_version')}, use that one or a later one"
        )
    try:
        with xr.open_zarr(source, chunks=None) as dataset:
            arrays = {name: np.asarray(dataset[name].values, dtype=np.float64) for name in _REQUIRED}
        details = json.loads(str(attributes["details"]))
        return ModelRecord(str(attributes["class"]), np.dtype(str(attributes["dtype"])).name, arrays, details)
    except Exception as error:
        raise FormatError(f"the model at {source} is damaged: {error}") from error
