"""Files and folders that appear under their name whole, or not at all."""

from __future__ import annotations

import glob
import os
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.errors import ExistsError
from dgmm.storage.paths import local_path, writing
from dgmm.storage.urls import Location, ObjectUrl

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKERS = ("zarr.json", ".zgroup", ".zarray")
"""Files of which every zarr array or group holds one."""


def is_zarr(path: str | Location) -> bool:
    """Return True if a zarr array or group lies at ``path``."""
    if isinstance(path, ObjectUrl):
        return path.is_zarr()
    return any(Path(path, marker).is_file() for marker in MARKERS)


@dataclass(frozen=True)
class Form:
    """What is written at a path, and may be replaced by another of its form alone.

    Attributes
    ----------
    name : str
    matches : callable
        Whether what lies at a path, or a URL, is of this form.
    """

    name: str
    matches: Callable[[Any], bool]


ZARR = Form("zarr store", is_zarr)
FILE = Form("file", lambda place: place.is_file())


def begins_with(*heads: bytes) -> Callable[[Path], bool]:
    """Whether a path is that of a file that begins so."""

    def matches(path: Path) -> bool:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(16).startswith(heads)

    return matches


@contextmanager
def creating_file(path: str | os.PathLike[str], form: Form, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary file name beside ``path``, as :func:`replacing_file`, unless something is in the way.

    Raises
    ------
    ExistsError
        As :func:`replacing_folder`.
    """
    path = local_path(path).absolute()
    refuse_existing(path, overwrite=overwrite, form=form)
    with replacing_file(path) as temporary:
        yield temporary
        refuse_existing(path, overwrite=overwrite, form=form)


@contextmanager
def replacing_file(path: str | Location) -> Iterator[Path]:
    """Give the name of a temporary file, which takes the place of ``path`` if the body ends without an error."""
    if isinstance(path, ObjectUrl):
        with path.replacing() as temporary:
            yield temporary
        return
    path = Path(path).absolute()
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        with writing(path):
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")


def remove_leftovers(path: str | Location) -> None:
    """Remove what a process that was killed left of writing to ``path``; nobody else may be writing to it now."""
    if isinstance(path, ObjectUrl):
        path.remove_unfinished()
        return
    path = Path(path).absolute()
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.part*"):
        if left.is_dir() and not left.is_symlink():
            _remove(left)
        else:
            left.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | os.PathLike[str], *, overwrite: bool = False, form: Form = ZARR) -> Iterator[Path]:
    """Give a temporary folder name beside ``path``, renamed to it if the body ends without an error.

    Raises
    ------
    ExistsError
        If ``path`` exists and ``overwrite`` is False, or it is of no such form, or a link.
    """
    path = local_path(path).absolute()
    refuse_existing(path, overwrite=overwrite, form=form)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        refuse_existing(path, overwrite=overwrite, form=form)
        with writing(path):
            _swap(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def refuse_existing(path: Location, *, overwrite: bool, form: Form = ZARR) -> None:
    """Refuse a place that must not be written to.

    Raises
    ------
    ExistsError
        If ``path`` exists and ``overwrite`` is False, or it is of no such form, or a link.
    """
    if isinstance(path, Path) and path.is_symlink():
        raise ExistsError(
            f"{path}: a link to {path.readlink()}; nothing is written through links: give the place itself"
        )
    if not path.exists():
        return
    if not form.matches(path):
        raise ExistsError(f"{path}: exists and is no {form.name}, so it is never overwritten; choose another path")
    if not overwrite:
        raise ExistsError(f"{path}: exists already; choose another path or ask for overwrite (overwrite=True)")


def _swap(new: Path, path: Path) -> None:
    if not path.exists():
        new.rename(path)
        return
    old = path.with_name(f"{new.name}.old")
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old)


def _remove(folder: Path) -> None:
    """Remove a folder that a task which was not told to stop may still be writing to."""
    for pause in (0.0, 0.05, 0.2, 0.5):
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() and pause:
            return
