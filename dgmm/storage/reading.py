"""Reading that may fail: what fails is tried again, and in the end an error says where it lies.

A store may be read by a task of its own, or within a piece of a pass, which tries again as well: only
the outermost reader does, and those within it say where they failed.
"""

from __future__ import annotations

import base64
import logging
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr
import zarr
from zarr.storage import ObjectStore

from dgmm.errors import DgmmError, FormatError, ReadError, StoreError
from dgmm.storage.objects import asking, open_objects
from dgmm.storage.paths import is_url
from dgmm.storage.vetting import vet_store
from dgmm.typing import Array

T = TypeVar("T")

logger = logging.getLogger("dgmm")

# Seconds between attempts to read: a store that is busy, or a network that is down for a moment.
_PAUSES = (0.1, 0.5, 2.5)
# Errors that another attempt would only repeat.
_PERMANENT = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError, ValueError)

_within: ContextVar[bool] = ContextVar("dgmm_reading", default=False)


class _FailedError(Exception):
    """An attempt within :func:`patiently`: where it failed, from the outside in, and of what."""

    def __init__(self, places: tuple[str, ...], cause: Exception) -> None:
        super().__init__(": ".join((*places, f"{type(cause).__name__}: {cause}")))
        self.places, self.cause = places, cause

    @property
    def is_permanent(self) -> bool:
        return isinstance(self.cause, _PERMANENT)


def once(read: Callable[[], T], place: str) -> T:
    """Read, and let :func:`patiently` know where it failed; errors of dgmm's and MemoryError come out as they are."""
    try:
        return read()
    except StoreError as error:  # another attempt may help
        raise _FailedError((place,), error) from error
    except (DgmmError, MemoryError):
        raise
    except _FailedError as error:
        raise _FailedError((place, *error.places), error.cause) from error.cause
    except Exception as error:
        raise _FailedError((place,), error) from error


def patiently(read: Callable[[], T], place: str, last: Callable[[], T] | None = None) -> T:
    """Read; what fails is tried again, with pauses, unless whoever reads this will do so.

    Parameters
    ----------
    read : callable
    place : str
        What is read, in words.
    last : callable, optional
        Reads the same with :func:`once` for each of its parts, to find the one that fails: it takes the
        place of the last attempt.

    Raises
    ------
    ReadError
        If it fails however often it is tried; names the place. Errors of dgmm's and MemoryError come
        out as they are, at once.
    StoreError
        Likewise, if it is an object store that does not answer.

    Examples
    --------
    >>> patiently(lambda: {}["x"], "chunk 0 of a.zarr")
    Traceback (most recent call last):
    dgmm.errors.ReadError: chunk 0 of a.zarr could not be read (KeyError: 'x'); check what it comes from, then run again
    """
    if _within.get():
        return once(read, place)
    token = _within.set(True)
    try:
        for pause in _PAUSES:
            try:
                return once(read, place)
            except _FailedError as error:
                if error.is_permanent:
                    break
                logger.warning("reading failed (%s); trying again", error)
                time.sleep(pause)
        return once(read, place) if last is None else last()
    except _FailedError as error:
        failed = error
    finally:
        _within.reset(token)
    tried = "" if failed.is_permanent else f" in {1 + len(_PAUSES)} attempts"
    why = ": ".join((*failed.places[1:], f"{type(failed.cause).__name__}: {failed.cause}"))
    # Not where it was caught: what is raised there takes along, also to other processes, what was caught.
    kind = StoreError if isinstance(failed.cause, StoreError) else ReadError
    raise kind(
        f"{failed.places[0]} could not be read{tried} ({why}); check what it comes from, then run again"
    ) from failed.cause


@dataclass(frozen=True)
class Source(ABC):
    """A stored array as something that Dask can slice; opened in the task, so that only a path or URL travels.

    Attributes
    ----------
    path : str
    shape : tuple of int
    dtype : dtype
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> Array:
        return patiently(lambda: self.read(key), self.place(key))

    @abstractmethod
    def read(self, key: Any) -> Array:
        """Read a part, once."""

    @abstractmethod
    def place(self, key: Any) -> str:
        """Say where a part lies."""


@dataclass(frozen=True)
class NpySource(Source):
    """A ``.npy`` file."""

    def read(self, key: Any) -> Array:
        """See :class:`Source`."""
        return np.array(np.load(self.path, mmap_mode="r", allow_pickle=False)[key])

    def place(self, key: Any) -> str:
        """See :class:`Source`."""
        return f"the part of {self.path} that begins at {_corner(key)}"


@dataclass(frozen=True)
class ZarrSource(Source):
    """A zarr array, in its group or alone; its place may be a URL.

    Attributes
    ----------
    parts : tuple of int
        Shape of what is a file of its own: a shard, or a chunk.
    unpacked : bool
        Whether xarray makes of the values what their attributes say: a scale, a mark for what is missing.
    times : bool
        Whether numbers are made times.
    """

    parts: tuple[int, ...]
    unpacked: bool = False
    times: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Without what is open here.
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @cached_property
    def _opened(self) -> zarr.Array[Any]:
        try:
            return open_plain(self.path)
        except FormatError as error:
            if isinstance(error.__cause__, OSError):  # another attempt may help
                raise error.__cause__ from None
            raise

    def read(self, key: Any) -> Array:
        """See :class:`Source`."""
        with asking(self.path, "read") if is_url(self.path) else nullcontext():
            values = np.asarray(self._opened[key])
            return unpack(values, self._opened, times=self.times) if self.unpacked else values

    def place(self, key: Any) -> str:
        """See :class:`Source`."""
        number = tuple(start // size for start, size in zip(_corner(key), self.parts, strict=False))
        return f"chunk {number} of {self.path}"


# The libraries below NetCDF serve one thread at a time.
_NETCDF = threading.Lock()


@dataclass(frozen=True)
class NetcdfSource(Source):
    """A variable of a NetCDF file, which is opened for each read: nothing of it stays open.

    Attributes
    ----------
    name : str
    engine : str
        What xarray reads it with.
    """

    name: str
    engine: str

    def read(self, key: Any) -> Array:
        """See :class:`Source`."""
        options: dict[str, Any] = {"decode_timedelta": False, "create_default_indexes": False, "cache": False}
        options["decode_times"] = self.dtype.kind in "mMO"
        with _NETCDF, xr.open_dataset(self.path, engine=self.engine, **options) as opened:
            return np.asarray(opened.variables[self.name][key].values)

    def place(self, key: Any) -> str:
        """See :class:`Source`."""
        return f"the part of {self.name} in {self.path} that begins at {_corner(key)}"


def zarr_store(place: str | Path) -> Any:
    """Return what zarr and xarray open for reading: a path, or a prefix of an object store.

    Raises
    ------
    MissingExtraError
        If it is a URL and obstore is not installed.
    """
    return ObjectStore(open_objects(str(place)), read_only=True) if is_url(place) else Path(place)


def open_plain(place: str | Path) -> zarr.Array[Any]:
    """Open a zarr array for reading."""
    vet_store(place)
    return zarr.open_array(zarr_store(place), mode="r")


def unpack(values: Array, array: zarr.Array[Any], *, times: bool = False) -> Array:
    """Return what xarray makes of values of a zarr array, in any part of it."""
    attributes = dict(array.attrs)
    if array.metadata.zarr_format == 2:
        # There, xarray keeps a missing-value mark in the fill value.
        if array.fill_value is not None:
            attributes["_FillValue"] = array.fill_value
    elif isinstance(mark := attributes.get("_FillValue"), str) and array.dtype.kind == "f":
        (attributes["_FillValue"],) = struct.unpack("<d", base64.standard_b64decode(mark))
    packed = xr.Dataset({"values": ([f"axis_{i}" for i in range(values.ndim)], values, attributes)})
    decoded = xr.decode_cf(packed, decode_coords=False, decode_times=times, decode_timedelta=False)
    return np.asarray(decoded["values"].values)


def _corner(key: Any) -> tuple[int, ...]:
    """Where a part begins."""
    return tuple(
        (index.start or 0) if isinstance(index, slice) else int(np.min(index)) if np.size(index) else 0
        for index in (key if isinstance(key, tuple) else (key,))
    )
