"""Models as zarr v3 groups: arrays and JSON, no pickle, readable with xarray alone.

The group holds the variables ``weights`` (component), ``means`` (component, feature),
``covariances`` and ``precisions_cholesky`` (of the family's shape), ``lower_bounds`` (iteration)
and mostly ``sample`` (row, feature: some rows of the data), all float64, and these attributes:
``format`` ("dgmm-model"), ``format_version``,
``dgmm_version``, ``class``, ``dtype`` (of the fitted attributes), ``details`` (a JSON object:
the estimator's parameters and the scalars of the fit) and ``digest`` (SHA-256 of all these but the
versions; the first models have none). Chunks end with a CRC-32C, so that other readers notice damage too.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from dgmm.errors import FormatError, NotFoundError
from dgmm.mixture.families import get_family
from dgmm.storage.paths import writing
from dgmm.storage.publishing import drafting, reading_whole
from dgmm.storage.replacing import replacing_folder
from dgmm.storage.storing import consolidate
from dgmm.storage.urls import ObjectUrl, locate_output
from dgmm.storage.vetting import node_type, parse_json, read_json, vet_chunks, vet_node

if TYPE_CHECKING:
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.typing import FloatArray

FORMAT = "dgmm-model"
FORMAT_VERSION = 1

_REQUIRED = ("weights", "means", "covariances", "precisions_cholesky", "lower_bounds")
_OPTIONAL = ("sample",)
_DTYPES = {name: name for name in ("float32", "float64")}
_CODECS = frozenset({"bytes", "zstd", "crc32c"})


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
        public shapes; ``sample`` if there is one.
    details : dict
        JSON values: ``params`` of the constructor and ``fit``, the scalars of the fit.
    """

    estimator: str
    dtype: str
    arrays: dict[str, FloatArray]
    details: dict[str, Any]


def _dimensions(name: str, family: CovarianceFamily) -> tuple[str, ...]:
    table = {
        "weights": ("component",),
        "means": ("component", "feature"),
        "lower_bounds": ("iteration",),
        "sample": ("row", "feature"),
    }
    return table.get(name, family.dimensions)


def save_model(path: str | os.PathLike[str], record: ModelRecord, version: str, *, overwrite: bool = False) -> None:
    """Write a model, whole or not at all.

    Parameters
    ----------
    path : path or URL
        Of the new zarr group: a folder, or a prefix of an object store.
    record : ModelRecord
    version : str
        Version of dgmm.
    overwrite : bool
        Whether a zarr store that is there may be replaced.

    Raises
    ------
    ExistsError
        If there is something at ``path`` and ``overwrite`` is False, or it is no zarr store.
    WriteError
        If it cannot be written, or another process has begun to write there.
    StoreError
        If it is an object store that does not answer.
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
            "digest": _digest(record),
        },
    )
    encoding = {name: {"compressors": [ZstdCodec(), Crc32cCodec()]} for name in record.arrays}

    def write(folder: Path) -> None:
        with writing(path):
            dataset.to_zarr(
                folder, mode="w-", zarr_format=3, consolidated=False, encoding=encoding, write_empty_chunks=True
            )
            consolidate(folder)

    place = locate_output(path)
    if isinstance(place, ObjectUrl):
        with (
            tempfile.TemporaryDirectory(prefix="dgmm-") as parent,
            drafting(place, overwrite=overwrite, keep=True) as draft,
        ):
            write(group := Path(parent, "model"))
            draft.write(group)
    else:
        with replacing_folder(place, overwrite=overwrite) as folder:
            write(folder)


def load_model(path: str | os.PathLike[str]) -> ModelRecord:
    """Read a model.

    Nothing in the files is taken on trust: no class is looked up by a name in them, only the codecs
    of a model's arrays are run, and no more memory is taken than what the files can hold.

    Raises
    ------
    NotFoundError
        If there is nothing at ``path``.
    FormatError
        If it is not a dgmm model, is damaged, or has a version that this dgmm does not know.
    StoreError
        If it lies in an object store that does not answer.
    """
    place = locate_output(path)
    return reading_whole(place, _load) if isinstance(place, ObjectUrl) else _load(place)


def _load(source: Path) -> ModelRecord:
    if not source.exists():
        raise NotFoundError(f"there is no model at {source}")
    source = source.resolve()  # a link may lead to another model by the next file
    try:
        metadata = read_json(source / "zarr.json")
        if node_type(metadata) != "group":
            raise FormatError("its zarr.json is not that of a group")
    except FormatError as error:
        raise FormatError(f"{source} is not a zarr group, so it is no dgmm model: {error}") from error
    attributes = metadata.get("attributes")
    if not isinstance(attributes, dict) or attributes.get("format") != FORMAT:
        raise FormatError(f"{source} is a zarr group, but no dgmm model (its attribute 'format' is not {FORMAT!r})")
    version = attributes.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool | float):
        raise FormatError(
            f"{source} is a dgmm model of format version {str(version)[:20]}; this dgmm reads version "
            f"{FORMAT_VERSION}: it was written by dgmm {str(attributes.get('dgmm_version'))[:20]}, use that one or a "
            "later one"
        )
    try:
        names = (*_REQUIRED, *(name for name in _OPTIONAL if (source / name / "zarr.json").exists()))
        arrays = {name: _read(source, name) for name in names}
        record = ModelRecord(
            str(attributes["class"]),
            _DTYPES[str(attributes["dtype"])],
            arrays,
            parse_json(str(attributes["details"])),
        )
        if attributes.get("digest", digest := _digest(record)) != digest:
            raise FormatError("its content is not what was written (the digest differs)")
    except Exception as error:  # whatever zarr stumbles over in a damaged file
        raise FormatError(f"the model at {source} is damaged: {error}") from error
    return record


def _read(source: Path, name: str) -> FloatArray:
    """Read one array of a model, after a look at its metadata and files."""
    folder = source / name
    metadata = vet_node(folder, _CODECS).get("zarr.json")
    if node_type(metadata) != "array":
        raise FormatError(f"there is no array {name!r}")
    vet_chunks(folder, metadata, itemsize=8)
    array = zarr.open_array(folder, mode="r", zarr_format=3)
    if array.dtype != np.float64:
        raise FormatError(f"{name} has dtype {array.dtype}; expected float64")
    return np.asarray(array[...], dtype=np.float64)


def _digest(record: ModelRecord) -> str:
    """Return a checksum of all that a model is, whatever its files look like."""
    found = hashlib.sha256()
    for text in (record.estimator, record.dtype, json.dumps(record.details, sort_keys=True)):
        found.update(text.encode() + b"\0")
    for name, array in sorted(record.arrays.items()):
        found.update(f"{name} {array.shape}\0".encode())
        found.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return found.hexdigest()
