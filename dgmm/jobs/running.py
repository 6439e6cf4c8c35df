"""A checked job, run from its input to its outputs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr
import zarr

from dgmm.errors import DataError
from dgmm.estimators._seeing import map_of
from dgmm.estimators.bfr_gaussian_mixture import BFRGaussianMixture
from dgmm.estimators.gaussian_mixture import GaussianMixture
from dgmm.inputs.layout import Layout, concrete, layout_of, row_weights
from dgmm.jobs.checks import check_files, check_outputs
from dgmm.jobs.clusters import open_cluster
from dgmm.jobs.models import ScanSection
from dgmm.jobs.page import Stopwatch, job_page
from dgmm.jobs.pixels import PIXELS, prepare_pixels
from dgmm.jobs.progress import LogReporter, Reporter
from dgmm.jobs.report import make_report
from dgmm.jobs.resuming import EarlierRun, checkpoint_of, own_outputs
from dgmm.jobs.source import fail
from dgmm.jobs.specification import ImageInput, PathInput
from dgmm.passes.execution import Execution
from dgmm.storage.arrays import choose_array, dimension_names, open_array, open_node
from dgmm.storage.replacing import is_zarr, replacing_file
from dgmm.storage.storing import write_array
from dgmm.viz.page import write_page
from dgmm.viz.segmentation import save_figure, segmentation_figure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import dask.array as da

    from dgmm.estimators.loading import Mixture
    from dgmm.jobs.loading import Job
    from dgmm.viz.pictures import Picture

LABELS = "labels"


@dataclass(frozen=True)
class JobResult:
    """What a job has made."""

    model: Mixture
    report: dict[str, Any]
    """What ran, on what, how it ended; the content of ``output.report``."""
    outputs: dict[str, Path]
    """The files and stores that were written, by their key in the section ``output``."""


@dataclass(frozen=True)
class _Rows:
    """A job's rows, and how they lie in their store."""

    values: da.Array
    weights: da.Array | None
    layout: Layout
    dims: tuple[str, ...]


def run_job(job: Job, reporter: Reporter | None = None) -> JobResult:
    """Run a job: read, fit, write the outputs.

    Parameters
    ----------
    job : Job
        From :func:`load_job`.
    reporter : Reporter, optional
        Takes the job's steps and the fit's events; a plain log if left out.

    Raises
    ------
    JobError
        If an input is missing or an output is in the way; nothing has been started then.
    DataError
        If the data cannot be used.
    ClusterError
        If the cluster cannot be reached, or is lost.
    CheckpointError
        If the job has a checkpoint that is of another job, is damaged, or is in use.
    """
    earlier = EarlierRun.of(job)
    check_files(job, earlier.outputs)
    began = time.perf_counter()
    with reporter or LogReporter() as told:
        picture = prepare_pixels(job, job.input, told) if isinstance(job.input, ImageInput) else None
        with open_cluster(job.cluster) as words:
            rows, watch = _open_rows(job), Stopwatch()
            model, fit_seconds = _fit(job, rows, told, words, earlier, watch)
            if earlier.report is not None and not _has_gone_on(model, earlier.report):
                new = "no rows are new, and " if _grows(job) else ""
                told.step(f"{new}everything was written before: nothing is left to do")
                return JobResult(model, earlier.report, job.output.paths)
            report = make_report(job, model, rows.values, rows.weights, words, told)
            report["seconds"] = {"fit": round(fit_seconds, 3)}
            check_outputs(job, earlier.outputs)  # the fit may have taken days
            with own_outputs(job) as written:
                _write(job, model, rows, picture, report, told, began, earlier, watch)
                written(report)
    return JobResult(model, report, {key: path for key, path in job.output.paths.items() if path.exists()})


def _grows(job: Job) -> bool:
    return isinstance(job.input, PathInput) and job.input.growing


def _has_gone_on(model: Mixture, report: dict[str, Any]) -> bool:
    """Whether a scan has taken rows since a report."""
    return isinstance(model, BFRGaussianMixture) and model.n_iter_ != report["rounds"]


def _open_rows(job: Job) -> _Rows:
    path, variable = (
        (job.input.store, PIXELS) if isinstance(job.input, ImageInput) else (job.input.path, job.input.variable)
    )
    x = open_array(path, variable)
    layout = layout_of(x, str(path))
    if _grows(job) and x.ndim != 2:
        raise DataError(f"{path}: found {x.ndim} dimensions; an array that grows must have two, rows and features")
    features = job.preprocess.features
    if features is not None:
        if max(features) >= x.shape[-1]:
            most = x.shape[-1] - 1
            text = f"found {max(features)}; allowed: 0 to {most}, the columns of {path}"
            raise fail(job.file, (job.problem(("preprocess", "features"), text),))
        x = x[..., features]
    values = layout.flatten(x)
    if job.preprocess.dtype is not None:
        values = values.astype(job.preprocess.dtype)
    weights = None
    if job.input.sample_weight is not None:
        weights = row_weights(open_array(job.input.sample_weight), layout, str(job.input.sample_weight))
    return _Rows(values, weights, layout, leading_dims(path, variable, len(layout.chunks)))


def leading_dims(path: Path, variable: str | None, count: int) -> tuple[str, ...]:
    """Return the names of the row dimensions: the file's own, or ``row``, or ``dim_0, dim_1, ...``."""
    names: tuple[str | None, ...] = ()
    if is_zarr(path):
        node = open_node(path)
        if isinstance(node, zarr.Group):
            arrays = dict(node.arrays())
            node = arrays[choose_array(path, arrays, variable)]
        names = dimension_names(node)[:count]
    if len(names) == count and all(names) and len(set(names)) == count:
        return tuple(str(name) for name in names)
    return ("row",) if count == 1 else tuple(f"dim_{i}" for i in range(count))


def _fit(
    job: Job, rows: _Rows, told: Reporter, words: str, earlier: EarlierRun, watch: Stopwatch
) -> tuple[Mixture, float]:
    n, d = rows.values.shape
    spec = job.model
    told.step(
        f"fitting {spec.n_components} components ({spec.covariance_type}) to {n:,} rows of {d} features on {words}"
    )
    began = time.perf_counter()
    parameters = spec.model_dump(exclude={"kind"})
    execution = Execution(persist=job.cluster.persist, lean=job.cluster.lean)
    model: Mixture
    fit: Callable[..., Any]
    if isinstance(spec, ScanSection):
        model = BFRGaussianMixture(**parameters)
        fit = model.fit_growing if _grows(job) else model.fit
    else:
        told.expect(spec.tol)
        model = GaussianMixture(**parameters)
        fit = model.fit
    fit(
        rows.values,
        sample_weight=rows.weights,
        checkpoint=checkpoint_of(job, earlier),
        callbacks=(told, watch),
        execution=execution,
    )
    return model, time.perf_counter() - began


def _write(
    job: Job,
    model: Mixture,
    rows: _Rows,
    picture: Picture | None,
    report: dict[str, Any],
    told: Reporter,
    began: float,
    earlier: EarlierRun,
    watch: Stopwatch,
) -> None:
    paths = job.output.paths
    replaced = {key: job.output.overwrite or path in earlier.outputs for key, path in paths.items()}
    # The report is written last and removed first: where it stands, the other outputs belong to it.
    if "report" in paths:
        paths["report"].unlink(missing_ok=True)
    if "model" in paths and not report.get("started", True):
        told.step("too few rows have come for a start: no model is written yet")
    elif "model" in paths:
        told.step(f"writing the model to {paths['model'].name}")
        model.save(paths["model"], overwrite=replaced["model"])
    if paths.keys() & {"labels", "picture"}:
        labels = rows.layout.restore(model.predict(rows.values))
    if "labels" in paths:
        told.step(f"writing the labels to {paths['labels'].name}")
        write_labels(labels, paths["labels"], rows.dims, overwrite=replaced["labels"])
        labels = open_array(paths["labels"], LABELS)
    if "picture" in paths and picture is not None:
        told.step(f"drawing {paths['picture'].name}")
        figure = segmentation_figure(
            picture.pixels,
            concrete(labels),
            model.means_,
            model.lower_bounds_,
            name=picture.name,
            covariance_type=job.model.covariance_type,
            converged=model.converged_,
        )
        save_figure(figure, paths["picture"])
    report["seconds"]["total"] = round(time.perf_counter() - began, 3)
    if "page" in paths and report.get("started", True):
        told.step(f"writing {paths['page'].name}")
        # Rows of one scan may be read once: no map is made of them.
        seen = None if isinstance(model, BFRGaussianMixture) else rows.layout.restore(model.predict(rows.values))
        grid = None if seen is None else map_of(xr.DataArray(seen, dims=rows.dims))
        write_page(job_page(job, model, report, watch, grid), paths["page"])
    if "report" in paths:
        _write_text(paths["report"], json.dumps(report, indent=2) + "\n")


def write_labels(labels: da.Array, path: Path, dims: tuple[str, ...], *, overwrite: bool) -> None:
    """Write labels as a zarr group with the array ``labels``."""
    attrs = {"long_name": "component of the mixture with the largest responsibility, from 0"}
    write_array(labels, path, name=LABELS, dims=dims, attrs=attrs, overwrite=overwrite)


def _write_text(path: Path, text: str) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
