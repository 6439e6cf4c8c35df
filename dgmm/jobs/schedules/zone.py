"""The name of this machine's time zone, for schedulers elsewhere that run jobs by its clock."""

from __future__ import annotations

import os
from pathlib import Path
from zoneinfo import ZoneInfo

_LINK = Path("/etc/localtime")


def local_zone() -> str:
    """Return a name as "Europe/Berlin": from TZ, or from what /etc/localtime links to; "UTC" if neither tells."""
    found = [os.environ.get("TZ", "").lstrip(":")]
    if _LINK.is_symlink():
        found.append(str(_LINK.resolve()).partition("zoneinfo/")[2])
    return next((name for name in found if name and _exists(name)), "UTC")


def _exists(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return False
    return True
