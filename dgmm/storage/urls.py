"""URLs of object stores, asked the questions that are asked of the paths of outputs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from dgmm.storage.objects import POINTER, UNFINISHED, ObjectPlace
from dgmm.storage.paths import is_url, local_path
from dgmm.storage.places import check_path, folder_of

_MARKERS = (POINTER, ".zgroup", ".zarray")


class ObjectUrl(os.PathLike[str]):
    """A URL of an object store: of a zarr store, or of one object.

    Parameters
    ----------
    url : str

    Raises
    ------
    ParameterError
        As :func:`dgmm.storage.places.check_path`.

    Examples
    --------
    >>> place = ObjectUrl("s3://bucket/run/model.zarr/")
    >>> str(place), place.name, place.suffix
    ('s3://bucket/run/model.zarr', 'model.zarr', '.zarr')
    """

    def __init__(self, url: str) -> None:
        self._text = check_path(url).rstrip("/")

    def __str__(self) -> str:
        return self._text

    __fspath__ = __str__

    def __repr__(self) -> str:
        return f"ObjectUrl({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectUrl) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self._text).name

    @property
    def suffix(self) -> str:
        """The end of the name, from its last dot."""
        return PurePosixPath(self._text).suffix

    def is_symlink(self) -> bool:
        """Return False: object stores have no links."""
        return False

    def is_file(self) -> bool:
        """Whether there is one object of this name; raises StoreError if the store cannot be asked."""
        return self._parent.has(self.name)

    def is_zarr(self) -> bool:
        """Whether a zarr store lies here, and is whole; raises StoreError if the store cannot be asked."""
        place = ObjectPlace(self._text)
        return any(place.has(marker) for marker in _MARKERS) and not is_unfinished(place.read_pointer())

    def exists(self) -> bool:
        """Whether there is anything here, and is no unfinished store; raises StoreError if it cannot be asked."""
        place = ObjectPlace(self._text)
        return self.is_file() or (bool(place.names()) and not is_unfinished(place.read_pointer()))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object; raises FileNotFoundError if there is none, unless ``missing_ok``."""
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(f"{self}: there is no such object")
        self._parent.erase([self.name])

    def remove_unfinished(self) -> None:
        """Remove what a process that was killed left of writing a store; nobody else may be writing it now."""
        place = ObjectPlace(self._text)
        if is_unfinished(place.read_pointer()):
            # Without its head it would be taken for somebody else's.
            place.erase([*(key for key, _ in place.versions() if key != POINTER), POINTER])

    @contextmanager
    def replacing(self) -> Iterator[Path]:
        """Give the name of a local file that becomes the object if the body ends without an error."""
        with tempfile.TemporaryDirectory(prefix="dgmm-") as folder:
            yield (file := Path(folder, self.name))
            self._parent.write(self.name, file.read_bytes())

    @property
    def _parent(self) -> ObjectPlace:
        return ObjectPlace(self._text.rpartition("/")[0])


Location: TypeAlias = Path | ObjectUrl
"""Where an output lies."""


def locate_output(path: str | os.PathLike[str]) -> Location:
    """Make of a path, or of a URL, what it means; nothing need be there.

    Raises
    ------
    ParameterError
        If it is neither, or one at which nothing can be written.

    Examples
    --------
    >>> locate_output("s3://bucket/model.zarr"), locate_output("file:///data/model.zarr").name
    (ObjectUrl('s3://bucket/model.zarr'), 'model.zarr')
    """
    if not (isinstance(path, str | os.PathLike) and is_url(path)):
        return local_path(path)
    text = check_path(path)
    folder = folder_of(text)
    return ObjectUrl(text) if folder is None else local_path(folder)


def is_unfinished(head: bytes | None) -> bool:
    """Whether the head of a zarr store says that its writer has not come to its end."""
    try:
        found = json.loads(head or b"{}")
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("node_type") == UNFINISHED
