"""Locks of local files, which the system takes back when the process that holds them dies."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

CAN_LOCK = fcntl is not None
"""Whether this system has such locks."""
_MOST_BYTES = 4096
"""The most that is read of what a holder wrote about itself."""
_MOST_TRIES = 20


class HeldError(Exception):
    """Another process, or another lock in this one, holds it.

    Attributes
    ----------
    holder : bytes
        What it wrote about itself.
    """

    def __init__(self, holder: bytes) -> None:
        super().__init__("the lock is held")
        self.holder = holder


class FileLock:
    """A lock on a file, made if it is not there; who holds it is written into it.

    Parameters
    ----------
    path : path
        Its folder is there.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lock = FileLock(Path(folder, "lock"))
    ...     lock.acquire({"pid": 1})
    ...     is_held(lock.path)
    ...     lock.release()
    ...     is_held(lock.path)
    True
    False
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, holder: Mapping[str, Any], *, wait: bool = False) -> None:
        """Take the lock.

        Parameters
        ----------
        holder : mapping
            JSON values, for messages.
        wait : bool
            Whether to wait for whoever has it.

        Raises
        ------
        HeldError
            If it is held and nobody waits.
        OSError
            If the file cannot be made, is a link, or its file system knows no locks.
        """
        descriptor = self._locked(wait=wait)
        with suppress(OSError):  # who holds it is for messages only; the disk may be full
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(dict(holder)).encode(), 0)
        self._descriptor = descriptor
        _HELD.add(self)

    def _locked(self, *, wait: bool) -> int:
        """Open the file that is at the path once it is locked; one that its holder removed is none."""
        if fcntl is None:
            raise OSError("this system has no file locks (flock)")
        while True:
            # A lock that is a link is not ours: nobody's file is to be emptied.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), self.path.lstat()):
                        return descriptor
            except BlockingIOError:
                found = os.pread(descriptor, _MOST_BYTES, 0)
                os.close(descriptor)
                raise HeldError(found) from None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def release(self, *, remove: bool = False) -> None:
        """Let it go, if it is held; the file stays, unless it is to be removed."""
        if self._descriptor is not None and fcntl is not None:
            with suppress(OSError):
                if remove:
                    self.path.unlink()
                else:
                    os.ftruncate(self._descriptor, 0)
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.forget()

    def forget(self) -> None:
        """Close the lock's descriptor; in a fork of the process, which has a share of the lock otherwise."""
        descriptor, self._descriptor = self._descriptor, None
        _HELD.discard(self)
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def holding_place(place: Path, holder: Mapping[str, Any]) -> Iterator[bool]:
    """Keep other processes from a place where something may be written, in the body, and leave no trace.

    The lock is a file beside the place, which is there as long as it is held (or its process was killed). Folders
    that have to be there for that are made, and removed again if nothing else came into them.

    Parameters
    ----------
    place : path
        Of a file or a folder, which need not be there.
    holder : mapping
        JSON values, for messages.

    Yields
    ------
    bool
        Whether it is held: where nothing can be written there is nobody to be kept from it.

    Raises
    ------
    HeldError
        If another process has it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = Path(folder, "results", "model.zarr")
    ...     with holding_place(place, {"pid": 1}):
    ...         [path.name for path in place.parent.iterdir()]
    ...     place.parent.exists()
    ['.model.zarr.dgmm.lock']
    False
    """
    place = place.absolute()
    lock = FileLock(place.with_name(f".{place.name}.dgmm.lock"))
    made: list[Path] = []
    try:
        yield _acquire_beside(lock, holder, made)
    finally:
        lock.release(remove=True)
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def _acquire_beside(lock: FileLock, holder: Mapping[str, Any], made: list[Path]) -> bool:
    """Take a lock, in folders that are made if they are not there: the last one first in ``made``."""
    for _ in range(_MOST_TRIES):
        try:
            for folder in reversed([each for each in lock.path.parents if not each.exists()]):
                folder.mkdir()
                made.insert(0, folder)
            lock.acquire(holder)
        except (FileNotFoundError, FileExistsError):  # others make and remove the same folders
            continue
        except PermissionError:
            if is_held(lock.path):  # by another user
                raise HeldError(lock.path.read_bytes()[:_MOST_BYTES]) from None
            return False
        except OSError:
            return False
        return True
    return False


def is_held(path: str | os.PathLike[str]) -> bool | None:
    """Return whether a process holds the lock on a file; None if that cannot be told.

    Nobody who tries to take it in the same instant may be turned away by this: look only at locks that are
    waited for, or that are taken once.
    """
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


_HELD: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _forget_held() -> None:
    for lock in list(_HELD):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_held)
