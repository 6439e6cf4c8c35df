"""Where checkpoints lie: a local folder, or a prefix of an object store.

A place holds objects in folders of one level, and one pointer. It puts a folder whole or not at all,
and swaps the pointer in one step. Every operation that changes what is there is a small method of its own, named in
``DURABLE``: a process can die before or after each of them, and only there.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import socket
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from dgmm.errors import CheckpointError, CheckpointInUseError, ExistsError, ParameterError
from dgmm.storage.locks import CAN_LOCK, FileLock, HeldError
from dgmm.storage.objects import SCHEMES, ObjectPlace

POINTER = "zarr.json"
LOCK = ".dgmm.lock"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_TEMPORARY = re.compile(r"\.[a-z][a-z0-9_.]*-[0-9a-f-]*[0-9a-f]{8}\.part", re.ASCII)


class Place(Protocol):
    """A folder of folders of objects, and a pointer."""

    exclusive: ClassVar[bool]
    """True if :meth:`acquire` keeps others away; else they are noticed when the pointer is swapped."""

    def acquire(self) -> None:
        """Take hold of the place; raises CheckpointInUseError if another process has."""
        ...

    def release(self) -> None:
        """Let it go again."""
        ...

    def names(self) -> list[str] | None:
        """What lies in it; None if there is no such place. Raises ExistsError if it can be none."""
        ...

    def read(self, folder: str, name: str) -> bytes | None:
        """Read an object; None if there is none."""
        ...

    def put(self, folder: str, objects: Mapping[str, Sequence[Any]]) -> None:
        """Write a folder of objects, each a list of buffers, whole or not at all; the last one makes it count."""
        ...

    def read_pointer(self) -> bytes | None:
        """Read the pointer; None if there is none."""
        ...

    def swap_pointer(self, data: bytes) -> None:
        """Replace the pointer that was read or swapped last; raises StalePointerError if it is another."""
        ...

    def is_temporary(self, name: str) -> bool:
        """Tell whether a name is one of those that unfinished writes leave."""
        ...

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """Remove a folder or a leftover; objects in the order of ``names``."""
        ...


class LocalPlace:
    """A folder of local files, held by a lock that the system takes back when the process dies."""

    exclusive: ClassVar[bool] = True
    DURABLE: ClassVar[tuple[str, ...]] = (
        "make_folder",
        "write_file",
        "sync_folder",
        "rename_folder",
        "replace_file",
        "unlink",
        "remove_folder",
    )

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.realpath(path))
        self._lock = FileLock(self.path / LOCK)

    def __str__(self) -> str:
        return str(self.path)

    # -- what a kill can come between -----------------------------------------------------------

    def make_folder(self, path: Path) -> None:
        """Make a folder in a folder that is there."""
        path.mkdir()

    def write_file(self, path: Path, buffers: Sequence[Any]) -> None:
        """Write a new file and wait until it is on the disk."""
        with path.open("xb") as file:
            for buffer in buffers:
                file.write(buffer)
            file.flush()
            os.fsync(file.fileno())

    def sync_folder(self, path: Path) -> None:
        """Wait until the names in a folder are on the disk."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that needs no such thing
                raise
        finally:
            os.close(descriptor)

    def rename_folder(self, source: Path, target: Path) -> None:
        """Give a folder its final name."""
        source.rename(target)

    def replace_file(self, source: Path, target: Path) -> None:
        """Put a file in the place of another, in one step."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()

    # -- a place --------------------------------------------------------------------------------

    def acquire(self) -> None:
        """See :class:`Place`."""
        if not CAN_LOCK:
            raise CheckpointError(f"{self}: checkpoints in local files need a system with file locks (flock)")
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        for folder in reversed(missing):
            with suppress(FileExistsError):
                self.make_folder(folder)
            self.sync_folder(folder.parent)
        try:
            self._lock.acquire({"host": socket.gethostname(), "pid": os.getpid()})
        except HeldError as error:
            raise CheckpointInUseError(
                f"{self}: {describe_holder(error.holder)} works with this checkpoint; wait for it to end, stop it, or "
                "choose another path"
            ) from None

    def release(self) -> None:
        """See :class:`Place`."""
        self._lock.release()

    def names(self) -> list[str] | None:
        """See :class:`Place`."""
        try:
            return sorted(path.name for path in self.path.iterdir())
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise ExistsError(f"{self}: is a file; a checkpoint is a folder, choose another path") from None

    def read(self, folder: str, name: str) -> bytes | None:
        """See :class:`Place`."""
        path = self.path / folder / name
        try:
            # Opening a pipe or a device could wait forever.
            return path.read_bytes() if stat.S_ISREG(path.stat().st_mode) else None
        except (FileNotFoundError, NotADirectoryError):
            return None

    def put(self, folder: str, objects: Mapping[str, Sequence[Any]]) -> None:
        """See :class:`Place`."""
        temporary = self.path / f".{folder}.part"
        try:
            self.make_folder(temporary)
            for name, buffers in objects.items():
                self.write_file(temporary / name, buffers)
            self.sync_folder(temporary)
            self.rename_folder(temporary, self.path / folder)
            self.sync_folder(self.path)
        except BaseException:
            with suppress(OSError):
                self.remove(temporary.name, objects)
            raise

    def read_pointer(self) -> bytes | None:
        """See :class:`Place`."""
        return self.read("", POINTER)

    def swap_pointer(self, data: bytes) -> None:
        """See :class:`Place`."""
        temporary = self.path / f".{POINTER}-{secrets.token_hex(4)}.part"
        try:
            self.write_file(temporary, [data])
            self.replace_file(temporary, self.path / POINTER)
            self.sync_folder(self.path)
        except BaseException:
            with suppress(OSError):
                self.unlink(temporary)
            raise

    def is_temporary(self, name: str) -> bool:
        """See :class:`Place`."""
        return _TEMPORARY.fullmatch(name) is not None

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """See :class:`Place`."""
        path = self.path / folder
        if path.is_symlink() or not path.is_dir():
            self.unlink(path)
            return
        for name in names:
            self.unlink(path / name)
        self.remove_folder(path)


def describe_holder(data: bytes) -> str:
    """The process that wrote a lock file, in words."""
    try:
        holder = json.loads(data)
        return f"process {int(holder['pid'])} on {str(holder['host'])[:80]!r}"
    except (ValueError, LookupError, TypeError):
        return "another process"


def check_path(path: object) -> str:
    """Return a path or URL of a checkpoint as a string.

    Raises
    ------
    ParameterError
        If it is neither, is of an unknown scheme, or holds a user name, a password or a query; what
        it holds is not repeated.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str):
        raise ParameterError(f"path is of type {type(path).__name__}; it must be a folder or a URL")
    if not text.strip() or "\0" in text:
        raise ParameterError("path is empty or holds a character of code 0; it must be a folder or a URL")
    if _URL.match(text) is None:
        return text
    if "://" not in text:
        raise ParameterError("path looks like a URL with too few slashes; expected something like s3://bucket/folder")
    try:
        url = urlsplit(text)
    except ValueError:
        raise ParameterError("path is no URL; expected something like s3://bucket/folder") from None
    # A secret may hold slashes, so that the @ after it is in what looks like the folder.
    if "@" in (url.netloc if url.scheme == "file" else text) or url.query or url.fragment or "?" in text:
        raise ParameterError(
            "path is a URL with a user name, a password, a query or a fragment in it; leave them out: "
            "credentials are taken from the environment (AWS_ACCESS_KEY_ID and the like)"
        )
    if url.scheme not in _SCHEMES:
        raise ParameterError(f"path is a URL of scheme {url.scheme!r}; it must be one of {', '.join(_SCHEMES)}")
    if url.scheme == "file" and (url.netloc not in ("", "localhost") or not url.path):
        raise ParameterError("path is a file URL that names another machine; expected file:///folder")
    if url.scheme != "file":
        _check_object(url)
    return text


def _check_object(url: SplitResult) -> None:
    if not (url.netloc and url.path.strip("/")):
        raise ParameterError(f"path is a URL without a folder; expected something like {url.scheme}://bucket/folder")
    if {".", ".."} & {*url.path.split("/")}:
        raise ParameterError(
            "path is a URL with . or .. for a folder, which object stores know nothing of; write it out"
        )


def folder_of(path: str | os.PathLike[str]) -> Path | None:
    """Return the folder of local files that a path or URL of a checkpoint means; None for an object store.

    Examples
    --------
    >>> str(folder_of("file:///data/a%20fit")), folder_of("s3://bucket/fit")
    ('/data/a fit', None)
    """
    text = os.fspath(path)
    if _URL.match(text) is None:
        return Path(text)
    url = urlsplit(text)
    return Path(unquote(url.path)) if url.scheme == "file" else None


_SCHEMES = ("file", *SCHEMES)


def open_place(path: str | os.PathLike[str]) -> Place:
    """Choose the place for a path or URL; nothing is touched.

    Raises
    ------
    ParameterError
        See :func:`check_path`.
    MissingExtraError
        If it is an object store and obstore is not installed.
    """
    text = check_path(path)
    folder = folder_of(text)
    return ObjectPlace(text) if folder is None else LocalPlace(folder)
