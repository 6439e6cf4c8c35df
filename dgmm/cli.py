"""The command line: ``dgmm run``, ``fit``, ``predict``, ``report``, ``inspect``, ``certs``."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dgmm._version import __version__
from dgmm.errors import (
    CheckpointError,
    CheckpointInUseError,
    CheckpointMismatchError,
    ClusterError,
    DataError,
    DgmmError,
    FormatError,
    InsufficientMemoryError,
    JobError,
    MissingExtraError,
    NotFittedError,
    ParameterError,
    WriteError,
    printable,
    redact,
)
from dgmm.jobs.certificates import HOSTS, make_certificates
from dgmm.jobs.commands import fit_source, predict_source, report_source
from dgmm.jobs.inspection import inspect_path
from dgmm.jobs.interrupts import Interrupted, interruptible
from dgmm.jobs.loading import load_cluster, load_job
from dgmm.jobs.options import (
    ClusterOption,
    DataArgument,
    DimsOption,
    FeaturesOption,
    MissingOption,
    OverwriteOption,
    VariableOption,
)
from dgmm.jobs.progress import default_reporter
from dgmm.jobs.report import in_words
from dgmm.jobs.running import JobResult, run_job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger("dgmm")

DONE, BUG, BAD_JOB, BAD_DATA, NO_CLUSTER, INTERRUPTED = 0, 1, 2, 65, 69, 75

EXIT_CODES: tuple[tuple[type[DgmmError], int], ...] = (
    (JobError, BAD_JOB),
    (ParameterError, BAD_JOB),
    (MissingExtraError, BAD_JOB),
    (NotFittedError, BAD_JOB),
    (DataError, BAD_DATA),
    (FormatError, BAD_DATA),
    (CheckpointInUseError, INTERRUPTED),
    (CheckpointMismatchError, BAD_JOB),
    (CheckpointError, BAD_DATA),
    (ClusterError, NO_CLUSTER),
    (InsufficientMemoryError, NO_CLUSTER),
    (WriteError, NO_CLUSTER),
)
"""The exit code of each kind of error; an error of no kind here is a bug."""

EPILOG = (
    "Exit codes: 0 done; 1 a bug in dgmm; 2 a wrong job file or command; 65 data that cannot be used; "
    "69 no cluster, too little memory, or an output that cannot be written; 75 interrupted, or another process "
    "has the checkpoint: run again."
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


@app.command()
def run(
    job: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file; paths in it start from its folder.")],
    cluster: ClusterOption = None,
) -> None:
    """Run a job file: read the data, fit the mixture, write what the file asks for."""
    where = None if cluster is None else load_cluster(cluster)
    _print_result(run_job(load_job(job, cluster=where), default_reporter()))


@app.command()
def fit(
    data: DataArgument,
    n_components: Annotated[int, typer.Option("--n-components", "-k", metavar="K", help="Number of components.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="MODEL", help="The zarr store that the model is written to."),
    ],
    covariance_type: Annotated[
        str, typer.Option(metavar="TYPE", help="full, tied, diag, spherical, tied-diag or tied-spherical.")
    ] = "full",
    tol: Annotated[
        str, typer.Option(metavar="NATS", help="Stop when the mean log-likelihood rises by less; or auto.")
    ] = "1e-3",
    reg_covar: Annotated[
        float, typer.Option(metavar="VARIANCE", help="Added to all variances, in the data's units squared.")
    ] = 1e-6,
    max_iter: Annotated[int, typer.Option(metavar="N", help="The most iterations.")] = 100,
    n_init: Annotated[int, typer.Option(metavar="N", help="Starts to compare on the sample.")] = 1,
    init_params: Annotated[
        str, typer.Option(metavar="START", help="kmeans, k-means++, k-means||, random, random_from_data or bfr.")
    ] = "kmeans",
    random_state: Annotated[int | None, typer.Option(metavar="SEED", help="Makes the start repeatable.")] = None,
    sample_weight: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="One weight per row: a column or variable, or an array of its own."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="Known component of each row, -1 where it is not known; likewise."),
    ] = None,
    missing: MissingOption = "raise",
    variable: VariableOption = None,
    features: FeaturesOption = None,
    sample_dims: DimsOption = None,
    cluster: ClusterOption = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="Keep the progress there; run again, the fit goes on from it."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Fit a mixture to data and save the model."""
    model: dict[str, Any] = {
        "n_components": n_components,
        "covariance_type": covariance_type,
        "tol": _number(tol),
        "reg_covar": reg_covar,
        "max_iter": max_iter,
        "n_init": n_init,
        "init_params": init_params,
        "random_state": random_state,
        "missing": missing,
    }
    source = {
        "path": data,
        "variable": variable,
        "features": _columns(features),
        "sample_dims": _names(sample_dims),
        "sample_weight": sample_weight,
        "labels": labels,
    }
    result = fit_source(
        source,
        output,
        model,
        cluster=cluster,
        checkpoint=checkpoint,
        overwrite=overwrite,
        reporter=default_reporter(),
    )
    _print_result(result)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model that was saved by fit or run.")],
    data: DataArgument,
    labels: Annotated[
        str | None,
        typer.Argument(metavar="[LABELS]", help="Where each row's component is written: .zarr, .nc, .parquet or .tif."),
    ] = None,
    probabilities: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where each row's probabilities are written, likewise.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(metavar="N", help="Only those of so many components of each row, the most probable.")
    ] = None,
    log_densities: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where each row's log-density is written, likewise.")
    ] = None,
    variable: VariableOption = None,
    features: FeaturesOption = None,
    sample_dims: DimsOption = None,
    cluster: ClusterOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write what a model says of each row: its component, probabilities, log-density."""
    if top is not None and probabilities is None:
        raise typer.BadParameter("is for --probabilities, which is not given", param_hint="--top")
    source = {
        "path": data,
        "variable": variable,
        "features": _columns(features),
        "sample_dims": _names(sample_dims),
    }
    outputs = {
        "labels": labels,
        "probabilities": None if probabilities is None else {"path": probabilities, "top": top},
        "log_densities": log_densities,
        "overwrite": overwrite,
    }
    written = predict_source(model, source, outputs, cluster=cluster, reporter=default_reporter())
    for key, path in written.items():
        Console().print(Text(printable(f"{key}: {_short_path(path)}")), soft_wrap=True)


@app.command()
def report(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model that was saved by fit or run.")],
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="Rows to draw below the components; else those that the model holds."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PAGE.html", help="The page that is written.")
    ] = Path("report.html"),
    variable: VariableOption = None,
    features: FeaturesOption = None,
    sample_dims: DimsOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a page to look at: what a model holds, how its fit went, and what stands out."""
    source = {
        "path": data,
        "variable": variable,
        "features": _columns(features),
        "sample_dims": _names(sample_dims),
    }
    report_source(model, output, source, overwrite=overwrite)
    Console().print(Text(printable(f"page: {output}")), soft_wrap=True)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A model, zarr, NetCDF, Parquet or a .npy file.")],
) -> None:
    """Show what a model or a file of data holds."""
    sheet = inspect_path(path)
    console = Console()
    console.print(Text(sheet.heading, style="bold"))
    facts = Table.grid(padding=(0, 2))
    for key, value in sheet.facts:
        facts.add_row(Text(key, style="cyan"), Text(value))
    if sheet.facts:
        console.print(facts)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan")
    for column in sheet.columns:
        table.add_column(column, justify="left" if column in ("array", "dimensions", "dtype") else "right")
    for row in sheet.rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


@app.command()
def certs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet.")],
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name or address of the machines, as often as needed; else this one's."),
    ] = None,
    days: Annotated[int, typer.Option(metavar="N", help="How long they are good for.")] = 365,
) -> None:
    """Make certificates that encrypt a cluster's traffic and keep others out of it."""
    for line in make_certificates(folder, hosts=host or HOSTS, days=days):
        Console().print(Text(line), soft_wrap=True)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _names(text: str | None) -> list[str] | None:
    return None if text is None else text.split(",")


def _columns(text: str | None) -> list[int | str] | None:
    """Names, or numbers where they look like some; what is too long for a number stays as it is."""
    parts = _names(text)
    if parts is None:
        return None
    return [int(part) if part.isascii() and part.isdigit() and len(part) < 10 else part for part in parts]


def _print_result(result: JobResult) -> None:
    report, console = result.report, Console()
    console.print(Text(in_words(report)), soft_wrap=not console.is_terminal)
    for key, path in result.outputs.items():
        console.print(Text(printable(f"{key}: {_short_path(path)}")), soft_wrap=True)


def _short_path(path: Path) -> Path:
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


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
    logger.warning("%s: %s", category.__name__, message)


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
        except DgmmError as error:
            for kind, code in EXIT_CODES:
                if isinstance(error, kind):
                    # The lines of a JobError begin with the file, as those of a compiler do.
                    _complain(str(error) if kind is JobError else f"dgmm: {error}{_notes(error)}")
                    return code
            logger.exception("a bug in dgmm: please report it with the lines above")
            return BUG
        except Exception:
            logger.exception("a bug in dgmm: please report it with these lines")
            return BUG
    return DONE


def _notes(error: BaseException) -> str:
    """What was noted with an error on its way, as the end of its sentence."""
    return "".join(f"; {note}" for note in getattr(error, "__notes__", ()))


def _complain(message: str) -> None:
    print(message, file=sys.stderr)
