"""What commands print when they are done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from dgmm.errors import printable
from dgmm.jobs.report import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dgmm.jobs.runs.recording import RecordedRun
    from dgmm.jobs.state import JobResult
    from dgmm.storage.urls import Location


def print_result(result: JobResult | RecordedRun) -> None:
    """Print what a job has found, and where what it wrote lies."""
    console = Console()
    console.print(Text(in_words(result.report)), soft_wrap=not console.is_terminal)
    print_places(result.outputs)


def print_places(places: Mapping[str, Location]) -> None:
    """Print where what was written lies, by what it is."""
    for key, path in places.items():
        Console().print(Text(printable(f"{key}: {_short_path(path)}")), soft_wrap=True)


def _short_path(path: Location) -> str:
    try:
        return str(path.relative_to(Path.cwd()) if isinstance(path, Path) else path)
    except ValueError:
        return str(path)
