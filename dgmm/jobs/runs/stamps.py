"""What lies at a place, as far as it can be told without reading it: to know inputs and outputs again."""

from __future__ import annotations

import glob
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.errors import MissingExtraError
from dgmm.storage.objects import list_objects
from dgmm.storage.places import folder_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dgmm.storage.urls import Location

_BITS = 128


@dataclass(frozen=True)
class Stamp:
    """Number, sizes and times of the files at a place.

    Attributes
    ----------
    files : int
    bytes : int
        Of all files.
    digest : str
        Of their names, sizes and times of change (in an object store: their tags).
    """

    files: int
    bytes: int
    digest: str

    def to_json(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return {"files": self.files, "bytes": self.bytes, "digest": self.digest}

    @classmethod
    def of_json(cls, value: Any) -> Stamp | None:
        """The reverse; None if it is no stamp."""
        if not isinstance(value, dict):
            return None
        files, size, digest = value.get("files"), value.get("bytes"), value.get("digest")
        if not (isinstance(files, int) and isinstance(size, int) and isinstance(digest, str)):
            return None
        return cls(files, size, digest)


def stamp_of(place: str | Location) -> Stamp | None:
    """Look at a path, a pattern or a URL; no file is opened.

    One question of the file system for each file, or one of the object store for each thousand objects.

    Returns
    -------
    Stamp or None
        Of no files if nothing lies there; None if it cannot be told what does.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "x").write_text("abc")
    ...     before = stamp_of(folder)
    ...     _ = Path(folder, "x").write_text("abcd")
    ...     before.bytes, stamp_of(folder).bytes, before == stamp_of(folder), stamp_of(folder + "/none").files
    (3, 4, False, 0)
    """
    text = str(place)
    folder = folder_of(text)
    try:
        found = _objects(text) if folder is None else _files(folder)
        return _sum(found)
    except (OSError, MissingExtraError):
        return None


def _sum(entries: Iterator[tuple[str, int, str]]) -> Stamp:
    """Sum up names, sizes and versions, in whatever order they come."""
    files = size = total = 0
    for name, length, version in entries:
        entry = hashlib.blake2b(f"{name}\0{length}\0{version}".encode("utf-8", "surrogateescape"), digest_size=16)
        files, size = files + 1, size + length
        total = (total + int.from_bytes(entry.digest(), "big")) % 2**_BITS
    return Stamp(files, size, f"{total:0{_BITS // 4}x}")


def _files(path: Path) -> Iterator[tuple[str, int, str]]:
    if _is_there(path):
        yield from _tree(path)
    elif glob.has_magic(str(path)):
        yield from _matches(path)


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _matches(path: Path) -> Iterator[tuple[str, int, str]]:
    for match in Path(path.anchor).glob(str(path.relative_to(path.anchor))):
        yield from ((f"{match}{name}", length, version) for name, length, version in _tree(match))


def _tree(path: Path) -> Iterator[tuple[str, int, str]]:
    folders = [(str(path), "")] if path.is_dir() else []
    if not folders:
        found = path.stat()
        yield "", found.st_size, str(found.st_mtime_ns)
    while folders:
        folder, prefix = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                name = f"{prefix}/{entry.name}"
                # Through links, as readers go; of one that leads nowhere the link itself is told.
                is_linked = entry.is_symlink() and os.path.exists(entry.path)  # noqa: PTH110 (one question)
                if entry.is_dir(follow_symlinks=is_linked) and not _leads_back(entry.path, folder):
                    folders.append((entry.path, name))
                    continue
                found = entry.stat(follow_symlinks=is_linked)
                yield name, found.st_size, str(found.st_mtime_ns)


def _leads_back(path: str, folder: str) -> bool:
    """Whether a folder is one of those that it lies in."""
    real = os.path.realpath(path)
    return os.path.commonpath([real, os.path.realpath(folder)]) == real


def _objects(url: str) -> Iterator[tuple[str, int, str]]:
    for item in list_objects(url):
        yield item["path"], item["size"], str(item.get("e_tag") or item.get("last_modified"))
