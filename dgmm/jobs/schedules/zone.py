"""The name of this machine's time zone, for schedulers elsewhere that run jobs by its clock."""

from __future__ import annotations

import os
from pathlib import Path
from zoneinfo import TZPATH, available_timezones

from dgmm.errors import JobError

_LINK = Path("/etc/localtime")


def local_zone() -> str:
    """Return a name as "Europe/Berlin": that of TZ, else of what /etc/localtime links to; "UTC" if there is neither.

    Raises
    ------
    JobError
        If there is a time zone, and it has no name that another machine knows.

    Source: POSIX.1-2017, XBD 8.3, "TZ"; tzset(3).
    """
    told = os.environ.get("TZ")
    found = (str(_LINK) if os.path.lexists(_LINK) else "") if told is None else told.removeprefix(":")
    if not found:
        return "UTC"
    name = _name_of(Path(found)) if found.startswith("/") else found
    known = available_timezones()  # none on a machine without the files of the time zones: nothing can be told then
    if not name or (known and name not in known):
        where = str(_LINK) if told is None else f"the environment variable TZ, {told!r},"
        raise JobError(
            f"{where} does not tell the name of this machine's time zone, which a scheduler elsewhere needs; "
            "set TZ to it for this command, as TZ=Europe/Berlin"
        )
    return name


def _name_of(file: Path) -> str:
    """Return how a file is called among those of the time zones; an empty text if it is none of them."""
    for folder in map(Path, TZPATH):
        # Either may be reached by links, and zones are links to one another.
        for path, place in ((file, folder), (file.resolve(), folder), (file.resolve(), folder.resolve())):
            if path.is_relative_to(place):
                return path.relative_to(place).as_posix().removeprefix("posix/")
    return ""
