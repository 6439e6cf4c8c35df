"""Dask's performance report of what a job computes on a distributed cluster."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import performance_report

from dgmm.errors import MissingExtraError

PERFORMANCE = "performance.html"


def require_bokeh() -> None:
    """Refuse to go on without what draws the report.

    Raises
    ------
    MissingExtraError
        If bokeh is not installed.
    """
    if importlib.util.find_spec("bokeh") is None:
        raise MissingExtraError("bokeh", "performance", "run.performance_report")


@contextmanager
def reporting_performance(path: Path) -> Iterator[None]:
    """Write Dask's report of the body, which computes on the current client.

    Warns
    -----
    UserWarning
        If the report cannot be made.
    """
    report = performance_report(filename=str(path))
    report.__enter__()
    try:
        yield
    finally:
        try:
            report.__exit__(None, None, None)
        except Exception as error:  # whatever the cluster lacks, the job has done its work
            warnings.warn(
                f"Dask's performance report could not be written: {type(error).__name__}: {error}", stacklevel=2
            )
