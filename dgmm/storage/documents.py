"""The objects of a checkpoint as bytes: parts (zarr arrays of bytes) and the pointer (the group's attributes).

What is written here is plain zarr v3, but by our own hand: each object is made in memory and written
by one call of a place, and reading holds every byte to what writing would have put there.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

from dgmm._version import __version__
from dgmm.errors import CheckpointMismatchError, FormatError
from dgmm.storage.packing import DTYPES, Packed

if TYPE_CHECKING:
    from dgmm.typing import Array

FORMAT = "dgmm-checkpoint"
FORMAT_VERSION = 1
METADATA, CHUNK = "zarr.json", "c.0"

# An array starts where a cache line does, so that it can be used as it lies in the file.
_ALIGNMENT = 64
_MOST_DIMENSIONS = 32
_PART = re.compile(r"([a-z][a-z0-9_]*)-([0-9]{1,18})-[0-9a-f]{8}", re.ASCII)


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint consists of.

    Attributes
    ----------
    number : int
        From 1; later ones are larger.
    finished : bool
        True if there is nothing left to do.
    written : str
        When, UTC, ISO 8601.
    fingerprint : dict
        JSON values: what the job was.
    parts : dict of str to str
        The stored name of each part.
    """

    number: int
    finished: bool
    written: str
    fingerprint: dict[str, Any]
    parts: dict[str, str]

    @classmethod
    def of(cls, value: Any) -> Manifest:
        """Make one of JSON; raises FormatError."""
        kinds: dict[str, type] = {"number": int, "finished": bool, "written": str, "fingerprint": dict, "parts": dict}
        right = isinstance(value, dict) and value.keys() == kinds.keys()
        if not right or any(type(value[name]) is not kind for name, kind in kinds.items()):
            raise FormatError("its manifest is not one of a checkpoint")
        for name, stored in value["parts"].items():
            if not isinstance(stored, str) or part_name(stored) != name:
                raise FormatError("its manifest names a part that cannot be one")
        return cls(**value)


def part_name(stored: str) -> str | None:
    """Return the name of the part that is stored under a name; None if that is no name of a part.

    Examples
    --------
    >>> part_name("state-12-0a1b2c3d")
    'state'
    """
    match = _PART.fullmatch(stored)
    return match[1] if match else None


def canonical(value: Any) -> bytes:
    """JSON in the one form that checksums are taken of; raises FormatError if it is no JSON."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return text.encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"not JSON: {error}") from None


def part_objects(name: str, packed: Packed, manifest: Manifest) -> dict[str, list[Any]]:
    """The two objects of a part, each as a list of buffers; the one that makes it count comes last."""
    buffers, specs = _laid_out(packed.arrays)
    crc = 0
    for buffer in buffers:
        crc = google_crc32c.extend(crc, buffer)
    attributes = {"part": name, "checkpoint": vars(manifest), "tree": packed.tree, "arrays": specs}
    document = _array_document(sum(map(len, buffers)), _signed(f"{FORMAT}-part", attributes))
    return {CHUNK: [*buffers, crc.to_bytes(4, "little")], METADATA: [_encoded(document)]}


def read_part(metadata: bytes, chunk: bytes) -> tuple[Any, list[Array]]:
    """Return tree and arrays of a part.

    Raises
    ------
    FormatError
        If a byte of it is not as it was written.
    """
    attributes, size = _part_attributes(metadata)
    if len(chunk) != size + 4:
        raise FormatError(f"its data have {len(chunk)} bytes, not {size + 4}")
    payload = np.frombuffer(chunk, np.uint8)[:size]
    if google_crc32c.value(payload) != int.from_bytes(chunk[size:], "little"):
        raise FormatError("its data are not those that were written (checksum)")
    return attributes["tree"], _taken_out(attributes["arrays"], payload)


def read_part_manifest(metadata: bytes) -> Manifest:
    """Return the manifest of the checkpoint that a part was written for; raises FormatError."""
    return Manifest.of(_part_attributes(metadata)[0]["checkpoint"])


def pointer_object(manifests: list[Manifest], owner: dict[str, Any]) -> bytes:
    """The group's metadata, of which the attributes say which checkpoints there are, the newest first."""
    attributes = {"owner": owner, "checkpoints": [vars(manifest) for manifest in manifests]}
    return _encoded({"zarr_format": 3, "node_type": "group", "attributes": _signed(FORMAT, attributes)})


def read_pointer(data: bytes) -> tuple[list[Manifest], dict[str, Any]]:
    """Return the manifests and the owner that a pointer names.

    Raises
    ------
    FormatError
        If it is no pointer, or a byte of it is not as it was written.
    CheckpointMismatchError
        If it is of another version.
    """
    document = _decoded(data)
    attributes = _verified(document, FORMAT)
    manifests, owner = attributes.get("checkpoints"), attributes.get("owner")
    if document.get("node_type") != "group" or not isinstance(manifests, list) or not isinstance(owner, dict):
        raise FormatError("its attributes are not those of a checkpoint")
    return [Manifest.of(manifest) for manifest in manifests], owner


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, allow_nan=False).encode("ascii")


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise FormatError("its metadata are no JSON") from None
    if not isinstance(document, dict):
        raise FormatError("its metadata are no JSON object")
    return document


def _signed(kind: str, attributes: dict[str, Any]) -> dict[str, Any]:
    whole = {"format": kind, "format_version": FORMAT_VERSION, "dgmm_version": __version__, **attributes}
    return {**whole, "sha256": hashlib.sha256(canonical(whole)).hexdigest()}


def _verified(document: dict[str, Any], kind: str) -> dict[str, Any]:
    attributes = document.get("attributes")
    if not isinstance(attributes, dict) or attributes.get("format") != kind:
        raise FormatError(f"its attribute 'format' is not {kind!r}")
    rest = {name: value for name, value in attributes.items() if name != "sha256"}
    intact = hashlib.sha256(canonical(rest)).hexdigest() == attributes.get("sha256")
    # The rule for the checksum is the same in all versions; one without it can only be another's.
    if attributes.get("format_version") != FORMAT_VERSION and (intact or "sha256" not in attributes):
        version, writer = (str(attributes.get(name))[:40] for name in ("format_version", "dgmm_version"))
        raise CheckpointMismatchError(
            f"it has format version {version} (dgmm {writer}); this dgmm ({__version__}) reads version "
            f"{FORMAT_VERSION}: use dgmm {writer} or a later one, or start anew (resume='never')"
        )
    if not intact:
        raise FormatError("its metadata are not those that were written (checksum)")
    return attributes


def _part_attributes(metadata: bytes) -> tuple[dict[str, Any], int]:
    document = _decoded(metadata)
    attributes = _verified(document, f"{FORMAT}-part")
    shape = document.get("shape")
    size = shape[0] if isinstance(shape, list) and len(shape) == 1 else None
    if type(size) is not int or document != _array_document(size, attributes):
        raise FormatError("its metadata are not those that were written")
    if not {"part", "checkpoint", "tree", "arrays"} <= attributes.keys():
        raise FormatError("its attributes are not those of a part")
    return attributes, size


def _array_document(size: int, attributes: dict[str, Any]) -> dict[str, Any]:
    """Metadata of a zarr v3 array of ``size`` bytes in one chunk."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [size],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [size]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}, {"name": "crc32c"}],
        "storage_transformers": [],
        "attributes": attributes,
    }


def _laid_out(arrays: list[Array]) -> tuple[list[Any], list[dict[str, Any]]]:
    """Arrays one after the other as buffers, without copies, and where and what each is."""
    buffers: list[Any] = []
    specs = []
    end = 0
    for array in arrays:
        order = _order(array)
        flat = np.ascontiguousarray(array.T if order == "F" else array).reshape(-1)
        start = _aligned(end)
        buffers += [bytes(start - end), flat.view(np.uint8)]
        end = start + flat.nbytes
        specs.append({"dtype": array.dtype.str, "shape": list(array.shape), "order": order, "offset": start})
    if end == 0:  # zarr knows no chunks without a byte
        buffers.append(bytes(1))
    return buffers, specs


def _order(array: Array) -> str:
    """How an array lies in memory: F if only that is right; sides of length 1 are told apart by the strides."""
    if array.flags.c_contiguous and array.flags.f_contiguous:
        return "F" if array.strides != _strides(array) and array.T.strides == _strides(array.T) else "C"
    return "F" if array.flags.f_contiguous else "C"


def _strides(array: Array) -> tuple[int, ...]:
    return tuple(array.itemsize * math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _taken_out(specs: Any, payload: Array) -> list[Array]:
    """Fresh arrays; nothing is allocated that is not there in the payload."""
    if not isinstance(specs, list):
        raise FormatError("arrays: expected a list")
    arrays, end = [], 0
    for number, spec in enumerate(specs):
        try:
            array, end = _take_out(spec, payload, end)
        except FormatError as error:
            raise FormatError(f"array {number}: {error}") from None
        arrays.append(array)
    if max(end, 1) != len(payload):
        raise FormatError(f"its arrays take {end} bytes; there are {len(payload)}")
    return arrays


def _take_out(spec: Any, payload: Array, end: int) -> tuple[Array, int]:
    if not isinstance(spec, dict) or spec.keys() != {"dtype", "shape", "order", "offset"}:
        raise FormatError("expected dtype, shape, order and offset")
    shape, order, start = spec["shape"], spec["order"], spec["offset"]
    if not isinstance(spec["dtype"], str) or spec["dtype"] not in DTYPES or order not in ("C", "F"):
        raise FormatError("expected a dtype of numbers, and the order C or F")
    if not isinstance(shape, list) or any(type(size) is not int or size < 0 for size in shape):
        raise FormatError("expected a shape of integers of 0 or more")
    dtype = np.dtype(spec["dtype"])
    # Where one side is 0, numpy still wants the others to fit into memory.
    if len(shape) > _MOST_DIMENSIONS or math.prod(max(size, 1) for size in shape) * dtype.itemsize >= 2**62:
        raise FormatError("its shape is larger than any memory")
    stop = _aligned(end) + math.prod(shape) * dtype.itemsize
    if type(start) is not int or start != _aligned(end) or stop > len(payload):
        raise FormatError("it does not lie where its shape and those before it put it")
    flat = payload[start:stop]
    if dtype.kind == "b" and flat.size and flat.max() > 1:
        raise FormatError("a bool that is neither 0 nor 1")
    array = np.empty(shape, dtype, order=order)
    array[...] = np.ndarray(tuple(shape), dtype, flat.data, order=order)
    return array, stop
