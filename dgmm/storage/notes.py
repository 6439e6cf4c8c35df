"""The notes that come with checkpoints, for whoever looks at them."""

from __future__ import annotations

import os
from typing import Any

from dgmm.errors import CheckpointError, FormatError
from dgmm.storage.checkpoint import NOTE
from dgmm.storage.documents import read_pointer
from dgmm.storage.places import open_place


def read_note(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the note of the newest checkpoint at a place, without holding it; None if none can be read."""
    try:
        data = open_place(path).read_pointer()
        manifests = read_pointer(data)[0] if data is not None else []
    except (CheckpointError, FormatError, OSError):
        return None
    note = manifests[0].fingerprint.get(NOTE) if manifests else None
    return note if isinstance(note, dict) else None
