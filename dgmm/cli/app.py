"""The command ``dgmm``: its application, what it logs, and the exit codes of what goes wrong."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgmm._version import __version__
from dgmm.cli.certs import certs
from dgmm.cli.fit import fit
from dgmm.cli.inspect import inspect
from dgmm.cli.predict import predict
from dgmm.cli.report import report
from dgmm.cli.run import run
from dgmm.cli.runs import runs
from dgmm.cli.schedule import schedule
from dgmm.errors import JobError, redact
from dgmm.jobs.exits import BUG, DONE, INTERRUPTED, exit_code
from dgmm.jobs.interrupts import Interrupted, interruptible
from dgmm.jobs.runs.recorder import WARNINGS_LOGGER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger("dgmm")

COMMANDS = (run, fit, predict, report, inspect, certs, schedule)
"""In the order of the help."""

EPILOG = (
    "Exit codes: 0 done; 1 a bug in dgmm; 2 a wrong job file or command; 65 data that cannot be used; "
    "69 no cluster, no answer from an object store, too little memory, or an output that cannot be written; "
    "75 interrupted, or another process runs the job: run again."
)

app = typer.Typer(
    name="dgmm",
    help=(
        "Gaussian mixture models for data larger than memory.\n\n"
        "A job file says what to read, what to fit and what to write; the other commands do single steps by "
        "hand. Data are zarr, NetCDF, Parquet or .npy; what is said of their rows is written as zarr, NetCDF, Parquet "
        "or GeoTIFF."
    ),
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dgmm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


for _command in COMMANDS:
    app.command()(_command)
app.add_typer(runs, name="runs")


class _StderrHandler(logging.StreamHandler[Any]):
    """Writes to whatever standard error is when a record comes: the live view stands in for it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


class _Formatter(logging.Formatter):
    """Also the trace of a bug shows no credentials."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


@contextmanager
def _logging() -> Iterator[None]:
    handler = _StderrHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    level, propagate, show = logger.level, logger.propagate, warnings.showwarning
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    warnings.showwarning = _log_warning
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        warnings.showwarning = show


def _log_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    logging.getLogger(WARNINGS_LOGGER).warning("%s: %s", category.__name__, message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process if left out.

    Returns
    -------
    int
        The exit code: 0 done, 1 a bug, 2 a wrong job or command, 65 bad data, 69 no cluster, too little
        memory or an output that cannot be written, 75 interrupted (a second signal ends the process at once).
    """
    with _logging():
        try:
            with interruptible(INTERRUPTED):
                app(None if arguments is None else list(arguments), prog_name="dgmm")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else DONE
        except (Interrupted, KeyboardInterrupt) as signal_:
            what = _notes(signal_) or ": run again"
            _complain(f"dgmm: interrupted ({signal_}); no output was left half-written{what}")
            return INTERRUPTED
        except Exception as error:
            code = exit_code(error)
            if code == BUG:
                logger.exception("a bug in dgmm: please report it with these lines")
            else:
                # The lines of a JobError begin with the file, as those of a compiler do.
                _complain(str(error) if isinstance(error, JobError) else f"dgmm: {error}{_notes(error)}")
            return code
    return DONE


def _notes(error: BaseException) -> str:
    """What was noted with an error on its way, as the end of its sentence."""
    return "".join(f"; {note}" for note in getattr(error, "__notes__", ()))


def _complain(message: str) -> None:
    print(message, file=sys.stderr)
