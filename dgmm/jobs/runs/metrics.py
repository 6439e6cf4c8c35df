"""How a run went, as a text file that Prometheus' node exporter collects."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dgmm.jobs.runs.folders import plain_name
from dgmm.jobs.runs.records import since_epoch
from dgmm.storage.replacing import replacing_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from dgmm.jobs.runs.records import RunRecord

SUFFIX = ".prom"
"""Of files that the node exporter reads."""

_GAUGES: tuple[tuple[str, str, Callable[[RunRecord], float | None]], ...] = (
    ("exit_code", "Exit code of the last run: 0 is success.", lambda run: run.exit_code),
    (
        "end_timestamp_seconds",
        "When the last run ended, in seconds since 1970.",
        lambda run: None if run.ended is None else since_epoch(run.ended),
    ),
    ("duration_seconds", "How long the last run took.", lambda run: run.seconds),
    ("attempt", "1, or one more than that of the run that the last one went on from.", lambda run: run.attempt),
    ("rows", "Rows of the data of the last run.", lambda run: run.rows),
    ("passes", "Passes over the data, or rounds of a scan, of the last run.", lambda run: run.passes),
    ("read_bytes", "Bytes of rows, unpacked, that the passes of the last run read.", lambda run: run.bytes_read),
    (
        "mean_log_likelihood_nats",
        "Mean log-likelihood of a row, in nats, that the last run reached.",
        lambda run: run.log_likelihood,
    ),
    (
        "process_memory_peak_bytes",
        "The most memory that a process of the last run was seen to hold.",
        lambda run: run.peak_memory,
    ),
    ("warnings", "Warnings of the last run.", lambda run: run.warnings),
)


def metrics_text(record: RunRecord, last_success: float | None) -> str:
    r"""The metrics of a job whose last run has ended, in Prometheus' text format.

    Parameters
    ----------
    record : RunRecord
        Of the last run.
    last_success : float or None
        When the job was last known to be done, in seconds since 1970; None if it never was.

    Notes
    -----
    The format: https://prometheus.io/docs/instrumenting/exposition_formats/. What is not known is left out.

    Examples
    --------
    >>> from dgmm.jobs.runs.records import RunRecord
    >>> record = RunRecord("1f3a9c", "/a/night.yaml", "night", "", "2026-11-22T03:30:42.000Z", exit_code=65)
    >>> print(metrics_text(record, None).splitlines()[2])
    dgmm_run_exit_code{job="night",file="/a/night.yaml"} 65
    """
    label = f'{{job="{_escaped(record.name)}",file="{_escaped(record.job)}"}}'
    rows: list[tuple[str, str, float | None]] = [(name, text, value(record)) for name, text, value in _GAUGES]
    when = "When the job was last known to be done, in seconds since 1970."
    rows.append(("last_success_timestamp_seconds", when, last_success))
    lines = []
    for name, text, value in rows:
        if value is not None:
            full = f"dgmm_run_{name}"
            lines += [f"# HELP {full} {text}", f"# TYPE {full} gauge", f"{full}{label} {value!r}"]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def metrics_file(place: Path, record: RunRecord) -> Path:
    """The file of a job: ``place``, or one of its own in that folder, whatever the folder that the job file lies in.

    Examples
    --------
    >>> from dgmm.jobs.runs.records import RunRecord
    >>> record = RunRecord("1f3a9c", "/a/my night.yaml", "my night", "", "2026-11-22T03:30:42.000Z")
    >>> metrics_file(Path("/var/lib/textfiles"), record).name, metrics_file(Path("/a/own.prom"), record).name
    ('dgmm-my-night-cc01fc.prom', 'own.prom')
    """
    if place.suffix == SUFFIX:
        return place
    digits = hashlib.sha256(os.fsencode(record.job)).hexdigest()[:6]
    return place / f"dgmm-{plain_name(record.name)}-{digits}{SUFFIX}"


def remove_metrics(place: Path, record: RunRecord) -> None:
    """Remove the metrics of a job whose file is gone."""
    with suppress(OSError):
        metrics_file(place, record).unlink(missing_ok=True)


def write_metrics(place: Path, record: RunRecord, last_success: float | None) -> None:
    """Put the metrics of a job in the place of those before, in one step.

    Raises
    ------
    WriteError
        If they cannot be written.
    """
    with replacing_file(metrics_file(place, record)) as temporary:
        temporary.write_text(metrics_text(record, last_success), encoding="utf-8")
