"""Fitted estimators as zarr v3 groups: arrays and JSON, no pickle, readable with xarray alone.

The group of a mixture holds the variables ``weights`` (component), ``means`` (component, feature),
``covariances`` and ``precisions_cholesky`` (of the family's shape), ``lower_bounds`` (iteration)
and mostly ``sample`` (row, feature: some rows of the data); that of a feature map, a fitted EigenMoments,
``components`` (eigenmoment, moment), ``eigenvalues`` and ``snr`` (eigenmoment), ``mean`` (moment),
``correlation`` and ``noise_correlation`` (moment, moment_2), and arrays that noise or correlation were given as.
All are float64, beside these attributes: ``format`` ("dgmm-model" or "dgmm-feature-map"), ``format_version``,
``dgmm_version``, ``class``, ``dtype`` (of the fitted attributes), ``details`` (a JSON object:
the estimator's parameters and the scalars of the fit) and ``digest`` (SHA-256 of all these but the
versions; the first models have none). Chunks end with a CRC-32C, so that other readers notice damage too.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
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
    from dgmm.typing import FloatArray

FORMAT_VERSION = 1

_DTYPES = {name: name for name in ("float32", "float64")}
_CODECS = frozenset({"bytes", "zstd", "crc32c"})


@dataclass(frozen=True)
class ModelRecord:
    """A fitted estimator as plain values.

    Attributes
    ----------
    estimator : str
        Name of the class.
    dtype : str
        Of the fitted attributes.
    arrays : dict of str to float64 array
        In public shapes; which ones, the :class:`Layout` says.
    details : dict
        JSON values: ``params`` of the constructor and ``fit``, the scalars of the fit.
    """

    estimator: str
    dtype: str
    arrays: dict[str, FloatArray]
    details: dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """What a kind of store holds.

    Attributes
    ----------
    format : str
        Its attribute ``format``.
    noun : str
        What messages call it.
    loader : str
        What opens it.
    required, optional : tuple of str
        Names of arrays.
    dimensions : callable
        From a record to names of the dimensions of its arrays; arrays that are not in it have some of their own.
    """

    format: str
    noun: str
    loader: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    dimensions: Callable[[ModelRecord], Mapping[str, tuple[str, ...]]]

    def dims(self, record: ModelRecord) -> dict[str, tuple[str, ...]]:
        """Names of the dimensions of all arrays of a record."""
        known = self.dimensions(record)
        return {
            name: known.get(name, tuple(f"{name}_{i}" for i in range(array.ndim)))
            for name, array in record.arrays.items()
        }


def _of_mixture(record: ModelRecord) -> dict[str, tuple[str, ...]]:
    matrices = get_family(record.details["params"]["covariance_type"]).dimensions
    return {
        "weights": ("component",),
        "means": ("component", "feature"),
        "covariances": matrices,
        "precisions_cholesky": matrices,
        "lower_bounds": ("iteration",),
        "sample": ("row", "feature"),
    }


def _of_features(record: ModelRecord) -> dict[str, tuple[str, ...]]:
    moments = ("moment", "moment_2")
    return {
        "components": ("eigenmoment", "moment"),
        "eigenvalues": ("eigenmoment",),
        "snr": ("eigenmoment",),
        "mean": ("moment",),
        "correlation": moments,
        "noise_correlation": moments,
    }


MODEL = Layout(
    "dgmm-model",
    "model",
    "load of the mixture's class",
    ("weights", "means", "covariances", "precisions_cholesky", "lower_bounds"),
    ("sample",),
    _of_mixture,
)
"""Of mixtures."""

FEATURES = Layout(
    "dgmm-feature-map",
    "feature map",
    "EigenMoments.load",
    ("components", "eigenvalues", "snr", "mean", "correlation", "noise_correlation"),
    ("noise", "given_noise", "given_correlation"),
    _of_features,
)
"""Of what makes features of signals."""

LAYOUTS = {layout.format: layout for layout in (MODEL, FEATURES)}


def save_model(
    path: str | os.PathLike[str],
    record: ModelRecord,
    version: str,
    *,
    layout: Layout = MODEL,
    overwrite: bool = False,
) -> None:
    """Write a fitted estimator, whole or not at all.

    Parameters
    ----------
    path : path or URL
        Of the new zarr group: a folder, or a prefix of an object store.
    record : ModelRecord
    version : str
        Version of dgmm.
    layout : Layout
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
    dataset = xr.Dataset(
        {name: (dims, record.arrays[name]) for name, dims in layout.dims(record).items()},
        attrs={
            "format": layout.format,
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


def load_model(path: str | os.PathLike[str], layout: Layout = MODEL) -> ModelRecord:
    """Read a fitted estimator.

    Nothing in the files is taken on trust: no class is looked up by a name in them, only the codecs
    of a model's arrays are run, and no more memory is taken than what the files can hold.

    Parameters
    ----------
    path : path or URL
    layout : Layout
        Of what is expected there.

    Raises
    ------
    NotFoundError
        If there is nothing at ``path``.
    FormatError
        If it is nothing of this layout, is damaged, or has a version that this dgmm does not know.
    StoreError
        If it lies in an object store that does not answer.
    """
    place, load = locate_output(path), partial(_load, layout=layout)
    return reading_whole(place, load) if isinstance(place, ObjectUrl) else load(place)


def _load(source: Path, layout: Layout) -> ModelRecord:
    noun = layout.noun
    if not source.exists():
        raise NotFoundError(f"there is no {noun} at {source}")
    source = source.resolve()  # a link may lead to another model by the next file
    try:
        metadata = read_json(source / "zarr.json")
        if node_type(metadata) != "group":
            raise FormatError("its zarr.json is not that of a group")
    except FormatError as error:
        raise FormatError(f"{source} is not a zarr group, so it is no dgmm {noun}: {error}") from error
    attributes = metadata.get("attributes")
    found = attributes.get("format") if isinstance(attributes, dict) else None
    if found != layout.format:
        other = LAYOUTS.get(found) if isinstance(found, str) else None
        if other is not None:
            raise FormatError(f"{source} is a dgmm {other.noun}, not a {noun}; {other.loader} opens it")
        raise FormatError(
            f"{source} is a zarr group, but no dgmm {noun} (its attribute 'format' is not {layout.format!r})"
        )
    version = attributes.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool | float):
        raise FormatError(
            f"{source} is a dgmm {noun} of format version {str(version)[:20]}; this dgmm reads version "
            f"{FORMAT_VERSION}: it was written by dgmm {str(attributes.get('dgmm_version'))[:20]}, use that one or a "
            "later one"
        )
    try:
        names = (*layout.required, *(name for name in layout.optional if (source / name / "zarr.json").exists()))
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
        raise FormatError(f"the {noun} at {source} is damaged: {error}") from error
    return record


def _read(source: Path, name: str) -> FloatArray:
    """Read one array, after a look at its metadata and files."""
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
    """Return a checksum of all that a record is, whatever its files look like."""
    found = hashlib.sha256()
    for text in (record.estimator, record.dtype, json.dumps(record.details, sort_keys=True)):
        found.update(text.encode() + b"\0")
    for name, array in sorted(record.arrays.items()):
        found.update(f"{name} {array.shape}\0".encode())
        found.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return found.hexdigest()
