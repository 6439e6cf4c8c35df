"""Reports as pages: of a job, and of a saved model."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from dgmm.errors import DataError, JobError
from dgmm.estimators.loading import load_mixture
from dgmm.fitting.events import Event, PassFinished, RoundFinished, StartChosen
from dgmm.inputs.layout import Layout, layout_of
from dgmm.jobs.checks import check_report
from dgmm.jobs.pixels import COLOURS
from dgmm.jobs.report import versions
from dgmm.jobs.specification import ImageInput
from dgmm.storage.arrays import as_dask, choose_array, dimension_names, open_array, open_node
from dgmm.storage.replacing import is_zarr, replacing_file
from dgmm.viz.labelmap import LabelMap
from dgmm.viz.page import compose
from dgmm.viz.segmentation import require_matplotlib

if TYPE_CHECKING:
    import dask.array as da

    from dgmm.estimators.loading import Mixture
    from dgmm.jobs.loading import Job
    from dgmm.typing import Array
    from dgmm.viz.content import ReportContent

# Places of a map that are drawn, lines and columns.
_MOST_PLACES = (700, 900)
# Rows that stand for an array, and the chunks that they are taken from.
_SAMPLE_ROWS, _SAMPLE_CHUNKS = 2_000, 16

_PASSES = {"moments": "first read: moments and sample", "statistics": "EM iterations", "rounds": "rounds of the scan"}


class Stopwatch:
    """Takes the events of a fit, and tells what took how long."""

    def __init__(self) -> None:
        self._passes: dict[str, tuple[int, float]] = {}
        self._start = self._rounds = 0.0

    def __call__(self, event: Event) -> None:
        """Take an event."""
        match event:
            case PassFinished():
                reads, seconds = self._passes.get(event.name, (0, 0.0))
                self._passes[event.name] = reads + 1, seconds + event.seconds
            case StartChosen():
                self._start += event.seconds
            case RoundFinished():
                self._rounds += event.seconds

    def parts(self, seconds: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
        """Parts of the time of a job, in the order that they come in; ``seconds`` is of the fit, and in total."""
        found = []
        for name, (reads, taken) in self._passes.items():
            count = f", {reads} reads" if reads > 1 else ""
            found.append((f"{_PASSES.get(name, name)}{count}", taken))
        if self._start:
            found.insert(min(len(found), 1), ("start, from the sample in memory", self._start))
        if self._rounds and "rounds" not in self._passes:
            found.append((_PASSES["rounds"], self._rounds))
        rest = seconds["fit"] - sum(taken for _, taken in found)
        if rest > 0.0:
            found.append(("rest of the fit, in memory", rest))
        found.append(("before and after: opening, scoring, writing", max(seconds["total"] - seconds["fit"], 0.0)))
        return tuple(found)


def job_page(
    job: Job, model: Mixture, report: Mapping[str, Any], watch: Stopwatch, grid: LabelMap | None
) -> ReportContent:
    """What the page of a job tells; ``report`` is its report."""
    facts = [("job", report["job"]), ("input", report["input"]), ("computed on", report["cluster"])]
    facts += [(f"model.{key}", str(value)) for key, value in report["model"].items() if value is not None]
    known: dict[str, Any] = {}
    if isinstance(job.input, ImageInput):
        chosen = range(len(COLOURS)) if job.preprocess.features is None else job.preprocess.features
        known["feature_names"] = tuple(COLOURS[j] for j in chosen)
    return model._report_content(
        Path(job.file).name,
        n_rows=float(report["n_rows"]),
        log_likelihood=report.get("mean_log_likelihood"),
        bic=report.get("bic"),
        grid=grid,
        seconds=watch.parts(report["seconds"]),
        facts=tuple(facts),
        versions=tuple(report["versions"].items()),
        **known,
    )


def write_page(path: Path, content: ReportContent) -> None:
    """Write a page: the file is there whole or not at all, and replaces one that exists."""
    page = compose(content)
    with replacing_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def label_map(labels: da.Array | Array, dims: tuple[str, ...], coordinates: Mapping[str, Array]) -> LabelMap:
    """Bring labels of two dimensions or more to a map of the last two; of the others the middle is taken.

    Parameters
    ----------
    labels : array or dask array
    dims : tuple of str
        Names of the dimensions.
    coordinates : mapping of str to array
        Of dimensions that have some.
    """
    at, step, note = look(labels.shape, dims, coordinates)
    shown = np.asarray(labels[at])
    y, x = (coordinates.get(name) for name in dims[-2:])
    names = tuple(f"{name} (index)" if name not in coordinates else name for name in dims[-2:])
    return LabelMap(
        shown, None if y is None else y[::step], None if x is None else x[::step], (names[0], names[1]), note
    )


def look(shape: tuple[int, ...], dims: tuple[str, ...], coordinates: Mapping[str, Array]) -> tuple[Any, int, str]:
    """Which places of an array a map shows: an index, every how many-th place, and a note on what is left out."""
    middle = [length // 2 for length in shape[:-2]]
    step = max(-(-length // most) for length, most in zip(shape[-2:], _MOST_PLACES, strict=True))
    notes = []
    for name, index in zip(dims, middle, strict=False):
        where = f" ({coordinates[name][index]})" if name in coordinates else ""
        notes.append(f"{name} number {index}{where}")
    if step > 1:
        notes.append(f"every {step}th line and column")
    return (*middle, slice(None, None, step), slice(None, None, step)), step, ", ".join(notes)


def read_coordinates(path: Path, dims: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, Array]:
    """The coordinates of an array's dimensions that the group holds which it is in; none of a file of another kind."""
    if not is_zarr(path):
        return {}
    node = open_node(path)
    if not isinstance(node, zarr.Group):
        return {}
    found = {}
    for name, length in zip(dims, shape, strict=True):
        held = node.get(name)
        if isinstance(held, zarr.Array) and held.shape == (length,) and held.dtype.kind in "iuf":
            found[name] = np.asarray(as_dask(held, f"{path}/{name}").compute())
    return found


def report_model(
    model: Path,
    page: Path,
    data: Path | None = None,
    *,
    variable: str | None = None,
    features: list[int] | None = None,
    overwrite: bool = False,
) -> None:
    """Write the page of a saved model.

    Parameters
    ----------
    model, page : path
    data : path, optional
        An array whose rows are drawn below the components, and of which a map is made if it has more than two
        dimensions.
    variable : str, optional
        The array to read in ``data``.
    features : list of int, optional
        The columns to use.
    overwrite : bool

    Raises
    ------
    JobError
        If the model or the data are not there, or the page is in the way.
    DataError, FormatError
        If the model or the data cannot be read or do not fit together.
    MissingExtraError
        If matplotlib is not installed.
    """
    check_report(model, data, page, overwrite=overwrite)
    require_matplotlib()
    mixture = load_mixture(model)
    made = (("python", platform.python_version()), *versions().items())
    known: dict[str, Any] = {"versions": made, "facts": [("model", str(model))]}
    if data is not None:
        known |= _of_data(mixture, data, variable, features)
        known["facts"].append(("data", str(data)))
    write_page(page, mixture._report_content(model.name, **(known | {"facts": tuple(known["facts"])})))


def _of_data(model: Mixture, data: Path, variable: str | None, features: list[int] | None) -> dict[str, Any]:
    x = open_array(data, variable)
    layout = layout_of(x, str(data))
    if features is not None:
        if not all(0 <= column < x.shape[-1] for column in features) or len({*features}) < len(features):
            raise JobError(f"--features: found {features}; allowed: different columns, 0 to {x.shape[-1] - 1}")
        x = x[..., features]
    if x.shape[-1] != model.n_features_in_:
        raise DataError(f"{data}: has {x.shape[-1]} features, and the model has {model.n_features_in_}; see --features")
    known: dict[str, Any] = {"sample": few_rows(layout.flatten(x))}
    if layout.is_grid:
        dims = leading_dims(data, variable, len(layout.chunks))
        coordinates = read_coordinates(data, dims, layout.shape)
        at, step, note = look(layout.shape, dims, coordinates)
        part = x[at]
        inner = Layout(part.chunks[:-1])
        labels = inner.restore(model.predict(inner.flatten(part))).compute()
        thin = {name: values[::step] for name, values in coordinates.items()}
        found = label_map(labels, dims[-2:], thin)
        known["grid"] = LabelMap(found.labels, found.y, found.x, found.names, note)
    return known


def few_rows(rows: da.Array) -> Array:
    """Some rows (n, d) of chunks that lie evenly over an array."""
    blocks = rows.numblocks[0]
    chosen = np.unique(np.linspace(0, blocks - 1, min(blocks, _SAMPLE_CHUNKS)).round().astype(int))
    rng, found = np.random.default_rng(0), []
    for block in chosen.tolist():
        values = np.asarray(rows.blocks[block].compute())
        count = min(-(-_SAMPLE_ROWS // len(chosen)), len(values))
        found.append(values[np.sort(rng.choice(len(values), count, replace=False))])
    return np.concatenate(found)


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
