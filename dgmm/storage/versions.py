"""Models that follow one another under one name: a link to the current one, beside it those before.

``model.zarr`` is a link into ``model.versions/``, where each model is a folder that is never written again, named by
its number and the time it came in: ``000007-20260314T020000Z.zarr``. A new one is put there whole, and then takes the
place of the last one by a rename of the link, in one step: whoever opens ``model.zarr`` finds one or the other. What
is to be done about a new model is noted in ``refit.json`` before it is done, so that a process that is killed
within is ended by the next one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dgmm.errors import FormatError
from dgmm.storage.paths import writing
from dgmm.storage.replacing import is_zarr, remove_leftovers, replacing_file
from dgmm.storage.vetting import read_json

_NAME = re.compile(r"(\d{6})-\d{8}T\d{6}Z\.zarr", re.ASCII)
_NEXT = ".next.zarr"
_NOTE = "refit.json"
_CURRENT = "current"


@dataclass(frozen=True)
class Versions:
    """The models that have been, or are, at a path.

    Attributes
    ----------
    path : path
        Where readers find the current model: a link, once the first one is there.
    """

    path: Path

    @property
    def folder(self) -> Path:
        """Where the models themselves lie."""
        return self.path.with_name(f"{self.path.stem}.versions")

    @property
    def next(self) -> Path:
        """Where a new model is written to, before it is put in place."""
        return self.folder / _NEXT

    @property
    def current(self) -> Path | None:
        """The folder of the current model, which stays as it is; None if there is none."""
        return Path(os.path.realpath(self.path)) if self.path.exists() else None

    @property
    def earlier(self) -> list[Path]:
        """The models before the current one, oldest first."""
        current = self.current
        return [path for path in self._all() if current is None or path.name < current.name]

    def problem(self) -> str | None:
        """Why models cannot follow one another at the path; None if they can."""
        if self.path.is_symlink():
            target = Path(self.path.parent, self.path.readlink())
            if target.parent.absolute() != self.folder.absolute():
                return f"{self.path} is a link to {target}, not to a model in {self.folder}; give another place"
            return None
        if self.path.exists() and not is_zarr(self.path):
            return f"{self.path} exists and is no zarr store, so it is never replaced; give another place"
        return None

    def recover(self) -> dict[str, Any] | None:
        """End what a process before has begun, and nobody else is doing now; return what is noted.

        A model that is there as a folder, since no refit made it, becomes the first version.

        Raises
        ------
        FormatError
            If the note cannot be read.
        WriteError
            If something cannot be renamed.
        """
        for place in (self.path, self.next, self.folder / _NOTE):
            remove_leftovers(place)
        note = self._read()
        if note is None or note["done"]:
            if not self._is_folder():
                return note
            note = {_CURRENT: self._new_name(), "done": False}
            with writing(self.folder):
                self.folder.mkdir(exist_ok=True)
            self._write(note)
        self._put(note[_CURRENT])
        return note

    def noted(self) -> dict[str, Any] | None:
        """What is noted, of whatever was begun last; None if nothing is. Raises FormatError if it cannot be read."""
        return self._read()

    def name_for(self, *, promoted: bool) -> str:
        """Name of the version that is the current one after a decision."""
        current = self.current
        return self._new_name() if promoted or current is None else current.name

    def decide(self, name: str, note: Mapping[str, Any]) -> None:
        """Note what is to be done, then do it.

        Parameters
        ----------
        name : str
            Of the version that is to be the current one, from :meth:`name_for`: a new one is the model at ``next``,
            which else stays there until all is settled.
        note : mapping
            JSON values to be found again by :meth:`recover`.
        """
        self._write({**note, _CURRENT: name, "done": False})
        self._put(name)

    def annotate(self, note: Mapping[str, Any]) -> None:
        """Note more, beside what is noted: JSON values."""
        self._write({**(self._read() or {}), **note})

    def settle(self, keep: int) -> None:
        """Note that all is done, and remove what is not needed: all but ``keep`` models before the current one."""
        note = self._read()
        if note is not None and not note["done"]:
            self._write({**note, "done": True})
        earlier = self.earlier
        for path in (*earlier[: max(len(earlier) - keep, 0)], self.next):
            shutil.rmtree(path, ignore_errors=True)

    def _is_folder(self) -> bool:
        return self.path.is_dir() and not self.path.is_symlink()

    def _new_name(self) -> str:
        number = max((int(path.name[:6]) for path in self._all()), default=0) + 1
        return f"{number:06}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.zarr"

    def _all(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def _put(self, name: str) -> None:
        place = self.folder / name
        if not place.exists():
            with writing(place):
                (self.path if self._is_folder() else self.next).rename(place)
        self._link(name)

    def _link(self, name: str) -> None:
        if self.path.is_symlink() and self.path.readlink().name == name:
            return
        temporary = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}.part")
        with writing(self.path):
            temporary.symlink_to(Path(self.folder.name, name), target_is_directory=True)
            temporary.replace(self.path)

    def _read(self) -> dict[str, Any] | None:
        path = self.folder / _NOTE
        if not path.exists():
            return None
        note = read_json(path)
        name = note.get(_CURRENT) if isinstance(note, dict) else None
        if not (isinstance(name, str) and _NAME.fullmatch(name) and isinstance(note.get("done"), bool)):
            raise FormatError(f"{path} is not what a refit has noted; remove it: the next run then compares anew")
        return dict(note)

    def _write(self, note: Mapping[str, Any]) -> None:
        with replacing_file(self.folder / _NOTE) as temporary:
            temporary.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
