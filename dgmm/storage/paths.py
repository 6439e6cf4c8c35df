"""Paths of the local file systems, checked once; what cannot be written is said with its place."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dgmm.errors import DgmmError, ParameterError, WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Path joins the slashes of "s3://".
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return True for a URL, also for one that pathlib has taken a slash of."""
    return _URL.match(os.fspath(path)) is not None


def local_path(path: str | os.PathLike[str]) -> Path:
    """Make a path of what should be one; nothing need be there.

    Raises
    ------
    ParameterError
        If it is no path, a URL, or one that no file system takes.
    """
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text:
        raise ParameterError(f"{path!r} is no path; expected a str or pathlib.Path that is not empty")
    if is_url(text):
        raise ParameterError(f"{text}: a URL; expected a path of a local file system")
    try:
        os.lstat(text)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        shown = text if len(text) <= 200 else f"{text[:100]}...{text[-100:]}"
        raise ParameterError(f"{shown!r} is no path that can be opened: {_reason(error)}; choose another") from error
    return Path(text)


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say what could not be written, if the body cannot write it.

    Raises
    ------
    WriteError
        For any error of the operating system.
    """
    try:
        yield
    except DgmmError:
        raise
    except OSError as error:
        raise WriteError(
            f"{os.fspath(path)}: cannot be written: {_reason(error)}; make room, or choose another path, and try again"
        ) from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
