"""Checkpoints: named parts of a state, kept so that whatever dies, a whole one is there.

A save writes the parts that are new, each whole, and then swaps a pointer; parts that nobody refers to
any more are removed after that. The format is described in docs/checkpoints.md.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self

from dgmm.errors import (
    CheckpointError,
    CheckpointInUseError,
    CheckpointMismatchError,
    ExistsError,
    FormatError,
    NotFoundError,
    StoreError,
)
from dgmm.rules import Rule, at_least, check, is_number, one_of
from dgmm.storage.documents import (
    CHUNK,
    METADATA,
    Manifest,
    canonical,
    part_name,
    part_objects,
    pointer_object,
    read_part,
    read_part_manifest,
    read_pointer,
)
from dgmm.storage.objects import StalePointerError
from dgmm.storage.packing import pack, unpack
from dgmm.storage.places import LOCK, POINTER, check_path, describe_holder, open_place
from dgmm.storage.states import STATES

_ATTEMPTS = 10
_RULES = {
    "interval": Rule(is_number, "a number of seconds, at least 0"),
    "keep": at_least(1),
    "resume": one_of(("auto", "never", "must")),
}
NOTE = "note"
"""Key of a fingerprint that holds the note."""


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a fit is saved, and whether it goes on from what is there.

    Attributes
    ----------
    path : path or str
        A folder, made if it is not there, or a URL: ``s3://bucket/folder``, ``gs://bucket/folder``,
        ``az://container/folder`` or ``file:///folder``. Credentials come from the environment only.
    interval : float
        Seconds between checkpoints within a long pass, at least; 0 for as often as possible. There is one after
        each pass in any case.
    keep : int
        How many are kept, the newest ones; 1 or more.
    resume : {"auto", "never", "must"}
        ``"auto"`` goes on if there is a checkpoint; ``"never"`` starts anew and replaces what is there;
        ``"must"`` does not start without one.
    note : mapping
        JSON values that are kept with the checkpoints, for whoever looks at them; they are not compared.
    source : mapping
        JSON values that say which rows these are, beside their number and chunks; they are compared.

    Raises
    ------
    ParameterError
        If a value is impossible.

    Examples
    --------
    >>> Checkpoint("fit.checkpoint", interval=300.0).keep
    2
    """

    path: str | os.PathLike[str]
    interval: float = 60.0
    keep: int = 2
    resume: Literal["auto", "never", "must"] = "auto"
    note: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_path(self.path)
        check(_RULES, vars(self))


@dataclass(frozen=True)
class Stored:
    """What was read back.

    Attributes
    ----------
    number : int
        Of the checkpoint.
    fingerprint : dict
        JSON values, as given to :meth:`CheckpointStore.save`.
    parts : dict of str to object
    finished : bool
    skipped : tuple of str
        Sentences about newer ones that could not be read and were passed over.
    """

    number: int
    fingerprint: dict[str, Any]
    parts: dict[str, Any]
    finished: bool
    skipped: tuple[str, ...]


class CheckpointStore:
    """The checkpoints at one place, held from the moment it is opened; a context manager.

    Local files are held by a lock. In an object store the process that opens it last takes it over, and
    whoever had it before finds out when it saves.

    Parameters
    ----------
    options : Checkpoint

    Raises
    ------
    CheckpointInUseError
        If another process, or another store in this one, holds it.
    CheckpointMismatchError
        If it was written in another version of the format.
    ExistsError
        If something else lies there; it is not touched.
    NotFoundError
        If there is nothing and ``resume="must"``.
    CheckpointError
        If it can neither be read nor written.
    StoreError
        If it lies in an object store that does not answer.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with CheckpointStore(Checkpoint(folder + "/fit")) as store:
    ...         store.save({"rows": 10}, {"bounds": (-1.5, -1.25)})
    ...     with CheckpointStore(Checkpoint(folder + "/fit")) as store:
    ...         store.load().parts
    {'bounds': (-1.5, -1.25)}
    """

    def __init__(self, options: Checkpoint) -> None:
        self._options = options
        self._place = open_place(options.path)
        self._owner = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}
        self._manifests: list[Manifest] = []
        self._number = 0
        self._passed_over: list[str] = []
        self._replaces = options.resume == "never"
        self._taken_over_by: str | None = None
        self._is_open = True
        # The objects of the last save or load, and under which names they lie.
        self._last: dict[str, tuple[Any, str]] = {}
        with self._reaching("opened"):
            self._look()  # before anything is touched
            self._place.acquire()
            try:
                self._claim()
                if not (self._passed_over or self._replaces):
                    self._clean()
            except BaseException:
                self._place.release()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let it go; nothing can be saved after that."""
        self._is_open = False
        self._place.release()

    # -- opening --------------------------------------------------------------------------------

    @contextmanager
    def _reaching(self, deed: str) -> Iterator[None]:
        try:
            yield
        except (CheckpointError, FormatError, StoreError):
            raise
        except OSError as error:
            raise CheckpointError(f"{self._place}: the checkpoint cannot be {deed}: {error}") from error

    def _claim(self) -> None:
        """Write a pointer if there is none; where there is no lock, in any case: it says who may write."""
        for _ in range(_ATTEMPTS):
            is_new = self._look()
            if self._place.exclusive and not is_new:
                return
            try:
                self._place.swap_pointer(pointer_object(self._manifests, self._owner))
                return
            except StalePointerError:  # whoever has it saved in between
                continue
        raise CheckpointInUseError(
            f"{self._place}: another process saves here faster than it can be taken over; wait for it to end or stop it"
        )

    def _look(self) -> bool:
        """Find out what is there; True if there is nothing yet."""
        names = self._place.names()
        data = None if names is None else self._place.read_pointer()
        self._manifests, self._passed_over = [], []
        if data is not None:
            try:
                self._manifests, _ = read_pointer(data)
            except CheckpointMismatchError as error:
                if self._options.resume != "never":
                    raise CheckpointMismatchError(f"{self._place}: {error}") from None
            except FormatError as error:
                if not any(name == LOCK or part_name(name) for name in names or ()):
                    raise ExistsError(
                        f"{self._place}: holds something that is no checkpoint ({error}); choose another path"
                    ) from None
                self._recover(names or [], f"the pointer ({POINTER}) is damaged: {error}")
        elif names:
            foreign = [name for name in names if not self._is_own(name)]
            if foreign:
                raise ExistsError(
                    f"{self._place}: holds something that is no checkpoint ({foreign[0]}); choose another path"
                )
            if any(part_name(name) for name in names):
                self._recover(names, f"the pointer ({POINTER}) is missing")
        self._number = max((manifest.number for manifest in self._manifests), default=0)
        if self._options.resume == "must" and not self._manifests and not self._passed_over:
            raise NotFoundError(f"{self._place}: there is no checkpoint to go on from (resume='must')")
        return data is None and not self._passed_over

    def _is_own(self, name: str) -> bool:
        return name == LOCK or part_name(name) is not None or self._place.is_temporary(name)

    def _recover(self, names: list[str], why: str) -> None:
        """Find checkpoints by their parts: each knows those of the checkpoint that it was written for."""
        found: dict[int, Manifest] = {}
        for name in names:
            if part_name(name) is not None:
                with suppress(FormatError, CheckpointMismatchError):
                    manifest = read_part_manifest(self._place.read(name, METADATA) or b"")
                    if set(manifest.parts.values()) <= set(names):
                        found[manifest.number] = manifest
        self._manifests = [found[number] for number in sorted(found, reverse=True)]
        self._passed_over = [f"{self._place}: {why}; checkpoints were looked for by their parts"]
        if not self._manifests and not self._replaces:
            raise self._nothing_to_read(self._passed_over)

    # -- reading --------------------------------------------------------------------------------

    def load(self) -> Stored | None:
        """Read the newest whole checkpoint.

        Returns
        -------
        Stored or None
            None if there is none, or ``resume="never"``.

        Raises
        ------
        CheckpointError
            If there are some and none can be read.
        """
        if self._options.resume == "never":
            return None
        sentences = list(self._passed_over)
        for place, manifest in enumerate(self._manifests):
            try:
                with self._reaching("read"):
                    parts = {name: self._read(name, stored) for name, stored in manifest.parts.items()}
            except (FormatError, CheckpointMismatchError) as error:
                sentences.append(f"{self._place}: checkpoint {manifest.number} cannot be read: {error}")
                continue
            # What could not be read is not kept with the next save.
            self._manifests = self._manifests[place:]
            self._last = {name: (parts[name], stored) for name, stored in manifest.parts.items()}
            return Stored(manifest.number, manifest.fingerprint, parts, manifest.finished, tuple(sentences))
        if sentences:
            raise self._nothing_to_read(sentences)
        return None

    def _nothing_to_read(self, sentences: list[str]) -> CheckpointError:
        found = " ".join(f"({number}) {sentence}" for number, sentence in enumerate(sentences, 1))
        return CheckpointError(
            f"{self._place}: no checkpoint in it can be read; to start anew, remove it or ask for resume='never'. "
            f"Found: {found}"
        )

    def _read(self, name: str, stored: str) -> Any:
        try:
            metadata, chunk = self._place.read(stored, METADATA), self._place.read(stored, CHUNK)
            if metadata is None or chunk is None:
                raise FormatError("it is missing")
            tree, arrays = read_part(metadata, chunk)
            return unpack(tree, arrays, STATES)
        except (FormatError, CheckpointMismatchError) as error:
            raise FormatError(f"part {name!r} ({stored}): {error}") from None

    # -- writing --------------------------------------------------------------------------------

    def save(self, fingerprint: dict[str, Any], parts: dict[str, Any], *, finished: bool = False) -> None:
        """Write a checkpoint.

        Parts that are the very objects of the last save or load are referred to, not written again; so a part must
        not be changed once it was given.

        Parameters
        ----------
        fingerprint : dict
            JSON values.
        parts : dict of str to object
            Values of :mod:`dgmm.storage.packing`, by names of small letters, digits and underscores.
        finished : bool
            Whether nothing is left to do.

        Raises
        ------
        CheckpointInUseError
            If another process has taken the place over.
        CheckpointError
            If this store has been closed.
        FormatError
            If a part cannot be stored.
        OSError
            If it cannot be written; what was there before is.
        """
        if not self._is_open:
            raise CheckpointError(f"{self._place}: this store has been closed; open another one to save")
        fingerprint = json.loads(canonical(fingerprint))
        number = self._number + 1
        stored = {name: self._stored_name(name, value, number) for name, value in parts.items()}
        fresh = [name for name in parts if name not in self._last or stored[name] != self._last[name][1]]
        manifest = Manifest(number, finished, datetime.now(UTC).isoformat(timespec="seconds"), fingerprint, stored)
        older = [] if self._replaces else self._manifests
        manifests = [manifest, *older[: self._options.keep - 1]]
        pointer = pointer_object(manifests, self._owner)
        try:
            for name in fresh:
                self._place.put(stored[name], part_objects(name, pack(parts[name], STATES), manifest))
            self._swap(pointer)
        except BaseException:
            with suppress(OSError):
                # A swap that failed may have happened all the same.
                if self._place.read("", POINTER) != pointer:
                    self._remove(stored[name] for name in fresh)
            raise
        self._number, self._manifests, self._passed_over, self._replaces = number, manifests, [], False
        self._last = {name: (value, stored[name]) for name, value in parts.items()}
        self._clean()

    def annotate(self, note: Mapping[str, Any]) -> None:
        """Save the newest checkpoint once more, with another note; raises as :meth:`load` and :meth:`save`."""
        stored = self.load()
        if stored is not None:
            self.save({**stored.fingerprint, NOTE: dict(note)}, stored.parts, finished=stored.finished)

    def _stored_name(self, name: str, value: Any, number: int) -> str:
        old = self._last.get(name)
        if old is not None and old[0] is value:
            return old[1]
        stored = f"{name}-{number}-{secrets.token_hex(4)}"
        if part_name(stored) != name:
            raise FormatError(f"{name!r} cannot be the name of a part; expected small letters, digits and underscores")
        return stored

    def _swap(self, pointer: bytes) -> None:
        while self._taken_over_by is None:
            try:
                self._place.swap_pointer(pointer)
                return
            except StalePointerError:
                owner = self._current_owner()
                # Our own is that of a swap whose answer was lost: now that it has been read, it can be replaced.
                if owner.get("token") != self._owner["token"]:
                    self._taken_over_by = describe_holder(canonical(owner))
        raise CheckpointInUseError(
            f"{self._place}: {self._taken_over_by} has taken this checkpoint over; nothing more is written here, "
            "and what it found is whole"
        )

    def _current_owner(self) -> dict[str, Any]:
        try:
            return read_pointer(self._place.read_pointer() or b"")[1]
        except (FormatError, CheckpointMismatchError):
            return {}

    def _clean(self) -> None:
        """Remove what no checkpoint refers to; what cannot be removed stays until the next time."""
        kept = {stored for manifest in self._manifests for stored in manifest.parts.values()} | {LOCK}
        with suppress(OSError):
            names = self._place.names() or []
            self._remove(name for name in names if self._is_own(name) and name not in kept)

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(OSError):
                # Without its metadata a part is none.
                self._place.remove(name, (METADATA, CHUNK))
