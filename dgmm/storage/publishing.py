"""Zarr groups in an object store that are there whole, or not at all.

A group counts by its head, the ``zarr.json`` at its root, which holds the metadata of its arrays too (consolidated).
Whoever writes first puts a head of their own, on the condition that it is still the one that was read: whoever did
so before cannot finish any more. The final head is put last, on the same condition. In the meantime there
is one of a kind that zarr does not know, so that nobody opens what is not finished.

A small group is replaced without such a time. Format 3 of zarr has two ways of naming chunks (``chunk_key_encoding``:
``c/0/1`` and ``0.1``): the new chunks are named in the way that those which are there are not, so that nothing a
reader may be at is touched before the new head is there.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import google_crc32c

from dgmm.errors import FormatError, NotFoundError, StoreError, WriteError
from dgmm.storage.objects import AT_ONCE, POINTER, UNFINISHED, ObjectPlace, StalePointerError
from dgmm.storage.replacing import refuse_existing
from dgmm.storage.urls import ObjectUrl, is_unfinished
from dgmm.storage.vetting import names_chunk, parse_json

T = TypeVar("T")

_ATTEMPTS = 10
_NAMINGS = {"default": "/", "v2": "."}
"""Ways of naming chunks, with what stands between the numbers."""
_SKIPPABLE = b"\x50\x2a\x4d\x18" + (16).to_bytes(4, "little")


class Draft:
    """A group on its way to an object store.

    Parameters
    ----------
    place : ObjectUrl
    overwrite : bool
        Whether a zarr store that is there may be replaced.
    keep : bool
        Whether it stays readable until the end, where that can be done: if its arrays name their chunks in one way.
        The chunks of the new group must end with Zstandard and CRC-32C.

    Attributes
    ----------
    claim : bytes
        The head in the meantime; where there is another one, someone else has begun to write.

    Raises
    ------
    ExistsError
        If there is something and ``overwrite`` is False, or it is no zarr store.
    WriteError
        If others write here, faster than they can be taken over from.
    StoreError
        If the store does not answer.
    """

    def __init__(self, place: ObjectUrl, *, overwrite: bool, keep: bool) -> None:
        self._place = place
        self._objects = ObjectPlace(str(place))
        self._keep = keep
        self._kept, is_free = self._begin(overwrite=overwrite, keep=keep)
        seen = {key: version for key, version in self._objects.versions() if key != POINTER}
        if not (keep and is_free):
            self._erase(list(seen))
            seen = {}
        self._seen = seen
        self._head = b""
        self._later: dict[str, bytes] = {}

    def _erase(self, keys: list[str]) -> None:
        """Remove what others wrote, as long as the place is ours."""
        for start in range(0, len(keys), AT_ONCE):
            if self._objects.read("", POINTER) != self.claim:
                raise lost(self._place)
            self._objects.delete_objects(keys[start : start + AT_ONCE])

    def _begin(self, *, overwrite: bool, keep: bool) -> tuple[str | None, bool]:
        """Put a head of our own.

        Returns
        -------
        str or None
            How the chunks of what stays readable are named; None if nothing does.
        bool
            Whether all that lies there is of groups like this one, so that it can be written over, not removed.
        """
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}
        for _ in range(_ATTEMPTS):
            head = self._objects.read_pointer()
            refuse_existing(self._place, overwrite=overwrite)
            found = _parsed(head)
            naming = _naming(found) if keep else None
            if naming is None:
                found = {"zarr_format": 3, "node_type": UNFINISHED}
            self.claim = _encoded({**found, "attributes": {**found.get("attributes", {}), "writer": owner}})
            with suppress(StalePointerError):
                self._objects.swap_pointer(self.claim)
                return naming, naming is not None or head is None or is_unfinished(head)
        raise lost(self._place)

    def write(self, group: Path) -> None:
        """Write what a local group consists of, but for its head."""
        files = {path.relative_to(group).as_posix(): path for path in sorted(group.rglob("*")) if path.is_file()}
        objects = _renamed(files, "v2" if self._kept == "default" else "default")
        self._head = objects.pop(POINTER)
        for key, data in objects.items():
            is_metadata = key.endswith(f"/{POINTER}")
            if self._kept is not None and is_metadata:
                # Readers that do not look at the head are still at what was there before.
                self._later[key] = data
            else:
                self._write(key, _made_unique(data) if self._keep and not is_metadata else data)

    def _write(self, key: str, data: bytes) -> None:
        """Write an object that nobody else has written since the place is ours."""
        for _ in range(_ATTEMPTS):
            try:
                self._objects.write_if(key, data, self._seen.pop(key, None))
                return
            except StalePointerError:
                # Someone who had begun before, and does not know yet: it has no more than this one to write.
                if self._objects.read("", POINTER) != self.claim:
                    raise lost(self._place) from None
                self._seen |= {name: version for name, version in self._objects.versions() if name == key}
        raise lost(self._place)

    def finish(self) -> None:
        """Put the head, which makes the group count; raises WriteError if someone else has begun to write."""
        try:
            self._objects.swap_pointer(self._head)
        except StalePointerError:
            raise lost(self._place) from None
        # What fails from here on is as if the process had been killed: the next one that writes makes up for it.
        with suppress(StoreError):
            self._tidy()

    def _tidy(self) -> None:
        gone = [key for key in self._seen if key.endswith(f"/{POINTER}") and key not in self._later]
        self._objects.erase(gone)  # only what other readers than those that look at the head have use for
        # Emptied, not removed: on the condition that nobody is writing them anew.
        old = {key: b"" for key in self._seen if key not in self._later and key not in gone}
        for key, data in {**self._later, **old}.items():
            with suppress(StalePointerError):
                self._objects.write_if(key, data, self._seen.get(key))

    def give_up(self) -> None:
        """Remove what has been written, unless someone else has begun to write."""
        if self._kept is None and self._objects.read("", POINTER) == self.claim:
            self._place.remove_unfinished()


def lost(place: object) -> WriteError:
    """The error of whoever finds that someone else has begun to write at a place."""
    return WriteError(
        f"{place}: another process has begun to write here; this one writes nothing more, and what comes of "
        "the other is whole"
    )


@contextmanager
def drafting(place: ObjectUrl, *, overwrite: bool, keep: bool = False) -> Iterator[Draft]:
    """Write a group, which is there once the body has ended without an error; raises as :class:`Draft`."""
    draft = Draft(place, overwrite=overwrite, keep=keep)
    try:
        yield draft
        draft.finish()
    except BaseException:
        with suppress(StoreError):
            draft.give_up()
        raise


def reading_whole(place: ObjectUrl, read: Callable[[Path], T]) -> T:
    """Read a small group by way of a local copy; once more if it has been replaced meanwhile.

    Parameters
    ----------
    place : ObjectUrl
    read : callable
        Takes a folder; raises FormatError if what lies there does not fit together.

    Raises
    ------
    NotFoundError
        If there is nothing.
    FormatError
        If it is not finished, or ``read`` says so.
    StoreError
        If the store does not answer.
    """
    objects = ObjectPlace(str(place))
    head = objects.read_pointer()
    for _ in range(_ATTEMPTS):
        if head is None and not objects.names():
            raise NotFoundError(f"there is nothing at {place}")
        if is_unfinished(head):
            raise FormatError(f"{place} is being written, or its writer was ended; wait for it, or write it again")
        with tempfile.TemporaryDirectory(prefix="dgmm-") as folder:
            try:
                _fetch(objects, head or b"", Path(folder))
                return read(Path(folder))
            except FormatError as error:
                failed = type(error)(str(error).replace(folder, str(place)))
        before, head = head, objects.read_pointer()
        if head == before:
            break
    raise failed


def _fetch(objects: ObjectPlace, head: bytes, folder: Path) -> None:
    """Bring a group here: its head, and of each array the metadata and the chunks that these mean."""
    folder.joinpath(POINTER).write_bytes(head)
    keys = [key for key, _ in objects.versions()]
    arrays = _arrays(_parsed(head))
    if not arrays:
        arrays = {key.partition("/")[0]: _parsed(objects.read("", key)) for key in keys if key.endswith(f"/{POINTER}")}
    for name, metadata in arrays.items():
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise FormatError(f"{folder} holds an array of the name {name[:40]!r}")
        folder.joinpath(name).mkdir(exist_ok=True)
        folder.joinpath(name, POINTER).write_bytes(_encoded(metadata))
    for key in keys:
        name, _, chunk = key.partition("/")
        if name in arrays and names_chunk(chunk, arrays[name]):
            data = objects.read("", key)
            folder.joinpath(key).parent.mkdir(parents=True, exist_ok=True)
            folder.joinpath(key).write_bytes(data or b"")


def _made_unique(chunk: bytes) -> bytes:
    """A chunk that no other is equal to, by a skippable frame (RFC 8878, section 3.1.2) between data and checksum.

    An object store tells versions apart by content: one that comes back would be taken for never changed.
    """
    content = chunk[:-4] + _SKIPPABLE + secrets.token_bytes(16)
    return content + int(google_crc32c.value(content)).to_bytes(4, "little")


def _parsed(data: bytes | None) -> dict[str, Any]:
    try:
        found = parse_json(data or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _encoded(metadata: Mapping[str, Any]) -> bytes:
    return json.dumps(metadata, indent=2).encode()


def _arrays(head: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of the arrays of a group, as its head has them."""
    consolidated = head.get("consolidated_metadata")
    found = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    return found if isinstance(found, dict) and all(isinstance(one, dict) for one in found.values()) else {}


def _naming(head: Mapping[str, Any]) -> str | None:
    """How all arrays of a group name their chunks; None if it is not known, or differs."""
    encodings = [metadata.get("chunk_key_encoding") for metadata in _arrays(head).values()]
    for name, separator in _NAMINGS.items():
        expected = {"name": name, "configuration": {"separator": separator}}
        if encodings and all(encoding == expected for encoding in encodings):
            return name
    return None


def _renamed(files: Mapping[str, Path], naming: str) -> dict[str, bytes]:
    """The objects of a group whose chunks have the names of zarr's default, with others if asked for."""
    found = {}
    for key, path in files.items():
        data = path.read_bytes()
        if naming != "default":
            array, _, chunk = key.partition("/")
            if path.name == POINTER:
                data = _encoded(_with_naming(_parsed(data), naming))
            else:
                key = f"{array}/{chunk.removeprefix('c').removeprefix('/').replace('/', _NAMINGS[naming]) or '0'}"
        found[key] = data
    return found


def _with_naming(metadata: Any, naming: str) -> Any:
    """Metadata of a group or an array whose chunks are named in another way."""
    if isinstance(metadata, dict):
        changed = {key: _with_naming(value, naming) for key, value in metadata.items() if key != "attributes"}
        if "chunk_key_encoding" in metadata:
            changed["chunk_key_encoding"] = {"name": naming, "configuration": {"separator": _NAMINGS[naming]}}
        return changed | {key: value for key, value in metadata.items() if key == "attributes"}
    return metadata
