"""What is checked of a job against the files, before any work starts."""

from __future__ import annotations

import fnmatch
import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dgmm.inputs.writing import writer_of
from dgmm.jobs.models import SavedSection
from dgmm.jobs.refitting import versions_of
from dgmm.jobs.runs.performance import require_bokeh
from dgmm.jobs.source import KeyPath, Problem, fail
from dgmm.jobs.specification import RESULT_KEYS, SHIPPED_PICTURES, ImageInput, OutputSection, PathInput
from dgmm.storage.listing import layout_of
from dgmm.storage.places import folder_of
from dgmm.storage.replacing import FILE, ZARR, Form
from dgmm.storage.urls import ObjectUrl
from dgmm.viz.segmentation import require_matplotlib

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dgmm.jobs.loading import Job
    from dgmm.storage.urls import Location

_SUFFIXES = {"picture": (".png", "a PNG"), "page": (".html", "HTML")}


def check_files(job: Job, own: frozenset[Location] = frozenset()) -> None:
    """Refuse a job whose inputs are missing or whose outputs cannot be written.

    Parameters
    ----------
    job : Job
    own : frozenset of path or URL
        Outputs that an earlier run of the job may have written: they may be replaced.

    Raises
    ------
    JobError
        With one line for each problem.
    MissingExtraError
        If an output takes a package that is not installed.
    """
    _refuse(job, [*_inputs(job), *_outputs(job, own), *_collisions(job)])
    if job.output.picture is not None or job.output.page is not None:
        require_matplotlib()
    if job.run.performance_report:
        require_bokeh()
    for path in job.output.results.values():
        writer_of(path).require()


def check_outputs(job: Job, own: frozenset[Location] = frozenset()) -> None:
    """Refuse a job whose outputs cannot be written by now; parameters and errors are those of :func:`check_files`."""
    _refuse(job, [*_outputs(job, own)])


def check_runs(job: Job) -> None:
    """Refuse a folder of runs that cannot be one, or lies within what the job reads or writes; errors as there.

    Outputs may lie beside the runs in their folder.
    """
    if (folder := job.run.folder) is None:
        return
    key = ("run", "folder")
    problems = [*_place(job, key, folder)]
    if folder.exists() and not folder.is_dir():
        problems.append(job.problem(key, f"{folder} is no folder; choose another place"))
    places = dict(sources(job))
    places |= {f"output.{name}": str(place) for name, place in job.output.paths.items()}
    if job.checkpoint is not None:
        places["checkpoint.path"] = job.checkpoint.path
    for name, place in places.items():
        if (other := folder_of(place)) is None:
            continue
        a, b = (Path(os.path.realpath(each)) for each in (folder, other))
        if a == b or b in a.parents:
            problems.append(job.problem(key, f"{folder} is the same place as, or lies within, {name}; choose another"))
    _refuse(job, problems)


def _refuse(job: Job, problems: list[Problem]) -> None:
    if problems:
        raise fail(job.file, tuple(problems))


def _inputs(job: Job) -> Iterator[Problem]:
    for key, place in sources(job):
        if not _exists(place):
            yield job.problem(tuple(key.split(".")), f"there is no such file or folder: {place}; correct the path")
    if isinstance(job.model, SavedSection) and not job.model.path.exists():
        yield job.problem(("model", "path"), f"there is no model at {job.model.path}; correct the path")
    if isinstance(job.input, ImageInput):
        yield from _place(job, ("input", "store"), job.input.store)


def sources(job: Job) -> Iterator[tuple[str, str]]:
    """Paths and URLs that exist, by their key with its section; but for a model that is there already."""
    if isinstance(job.input, PathInput):
        yield "input.path", job.input.path
    elif job.input.image not in SHIPPED_PICTURES:
        yield "input.image", job.input.image
    for key in ("sample_weight", "labels"):
        beside = getattr(job.input, key, None)
        if beside is not None and beside.is_path:
            yield f"input.{key}", beside.text
    for key in ("noise_signals", "path"):
        place = getattr(job.preprocess, key, None)
        if place is not None:
            yield f"preprocess.{key}", str(place)


def _exists(place: str) -> bool:
    """Whether there may be something at a path, URL or pattern."""
    folder = folder_of(place)
    return folder is None or folder.exists() or glob.has_magic(str(folder))


def _outputs(job: Job, own: frozenset[Location]) -> Iterator[Problem]:
    for key, path in job.output.paths.items():
        place = ("output", key)
        if job.refit is not None and key == "model":
            problem = versions_of(job).problem()
            yield from () if problem is None else (job.problem(place, problem),)
            continue
        yield from _place(job, place, path)
        if key in _SUFFIXES and path.suffix.lower() != _SUFFIXES[key][0]:
            suffix, what = _SUFFIXES[key]
            yield job.problem(place, f"found {path.name!r}; the {key} is {what}: its name must end in {suffix}")
        replaceable = job.output.overwrite or path in own
        form = writer_of(path).form if key in RESULT_KEYS else ZARR if key in ("model", "preprocess") else FILE
        for text in _in_the_way(path, form, overwrite=replaceable):
            yield job.problem(place, text)


def _in_the_way(path: Location, form: Form, *, overwrite: bool) -> Iterator[str]:
    if path.is_symlink() or not path.exists():
        return
    if not form.matches(path):
        yield f"{path} exists and is no {form.name}, so it is never overwritten"
    elif not overwrite:
        yield f"{path} exists already; remove it, or set output.overwrite: true (--overwrite)"


def _place(job: Job, key: KeyPath, path: Location) -> Iterator[Problem]:
    for text in _unwritable(path):
        yield job.problem(key, text)


def _unwritable(path: Location) -> Iterator[str]:
    if isinstance(path, ObjectUrl):  # what an object store allows is known once it is asked to write
        return
    if path.is_symlink():
        where = path.readlink()
        yield f"{path} is a link to {where}; nothing is written through links: give the place itself"
        return
    parent = path.absolute().parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        yield f"cannot be written: {parent} is not a folder; choose another place"
    elif not os.access(parent, os.W_OK | os.X_OK):
        yield f"cannot be written: the folder {parent} may not be written to"


def _collisions(job: Job) -> Iterator[Problem]:
    taken: dict[str, str | Location] = {"the job file": Path(job.file)}
    taken |= {f"cluster.{name}": file for name, file in job.cluster.files.items()}
    if isinstance(job.input, ImageInput):
        taken["input.store"] = job.input.store
    taken |= dict(sources(job)) | _models(job)
    if job.checkpoint is not None:
        for text in _overlaps(job.checkpoint.path, taken):
            yield job.problem(("checkpoint", "path"), text)
        taken["checkpoint.path"] = job.checkpoint.path
    for name, path in job.output.paths.items():
        if not (name == "model" and job.refit is not None):  # a link to one of those
            for text in _overlaps(path, taken):
                yield job.problem(("output", name), text)
        taken[f"output.{name}"] = path


def _models(job: Job) -> dict[str, str | Location]:
    """Models that are there already."""
    if isinstance(job.model, SavedSection):
        return {"model.path": job.model.path}
    return {} if job.refit is None else {"the models of the refit": versions_of(job).folder}


def _overlaps(path: str | Location, taken: Mapping[str, str | Location]) -> Iterator[str]:
    for name, other in taken.items():
        a, b = _trace(path), _trace(other)
        if glob.has_magic(str(other)) and fnmatch.fnmatch("/".join(a), "/".join(b)):
            yield f"{path} is matched by {name}; choose another"
        elif a[: len(b)] == b or b[: len(a)] == a:
            yield f"{path} is the same place as, or lies within, {name}; choose another"


def _trace(place: str | Location) -> tuple[str, ...]:
    """The folders that lead to a place, from the root of its file system or object store."""
    folder = folder_of(place)
    if folder is None:
        return tuple(part for part in str(place).split("/") if part)
    return Path(os.path.realpath(folder)).parts  # resolve() fails at links in a circle


def check_prediction(model: Location, data: str, output: OutputSection, preprocess: Location | None = None) -> None:
    """Refuse a prediction whose inputs are missing or whose outputs cannot be written.

    Raises
    ------
    JobError
        With one line for each problem.
    MissingExtraError
        If an output takes a package that is not installed.
    """
    inputs = {"MODEL": str(model), "DATA": data}
    inputs |= {} if preprocess is None else {"--preprocess": str(preprocess)}
    found = list(_not_there(inputs))
    taken: dict[str, str | Location] = {**inputs}
    for key, path in output.results.items():
        name = PREDICTION_NAMES[key]
        texts = list(_written(path, writer_of(path).form, taken, overwrite=output.overwrite))
        if not found and not texts and path.exists() and (layout := layout_of(path)) is not None:
            texts = [f"{path} is a {layout.noun}; choose another path"]
        found += [(name, text) for text in texts]
        taken[name] = path
    _refuse_command("dgmm predict", found)
    for path in output.results.values():
        writer_of(path).require()


PREDICTION_NAMES = {"labels": "LABELS", "probabilities": "--probabilities", "log_densities": "--log-densities"}
"""What the outputs of ``dgmm predict`` are called."""


def check_report(
    model: Location, data: str | None, page: Location, preprocess: Location | None = None, *, overwrite: bool
) -> None:
    """Refuse a report whose inputs are missing or whose page cannot be written.

    Raises
    ------
    JobError
        With one line for each problem.
    """
    inputs = {"MODEL": str(model)} | ({} if data is None else {"DATA": data})
    inputs |= {} if preprocess is None else {"--preprocess": str(preprocess)}
    found = list(_not_there(inputs))
    found += [("--output", text) for text in _written(page, FILE, inputs, overwrite=overwrite)]
    if page.suffix.lower() != ".html":
        found.append(("--output", f"found {page.name!r}; the page is HTML: its name must end in .html"))
    _refuse_command("dgmm report", found)


def _not_there(inputs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, place in inputs.items():
        if not _exists(place):
            yield key, f"there is no such file or folder: {place}; correct the path"


def _written(path: Location, form: Form, taken: Mapping[str, str | Location], *, overwrite: bool) -> Iterator[str]:
    yield from _unwritable(path)
    yield from _in_the_way(path, form, overwrite=overwrite)
    yield from _overlaps(path, taken)


def _refuse_command(name: str, found: list[tuple[str, str]]) -> None:
    if found:
        raise fail(name, tuple(Problem(0, key, text) for key, text in found))
