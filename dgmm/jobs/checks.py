"""What is checked of a job against the files, before any work starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dgmm.jobs.source import KeyPath, Problem, fail
from dgmm.jobs.specification import SHIPPED_PICTURES, ImageInput, PathInput
from dgmm.storage.listing import is_model
from dgmm.storage.paths import local_path
from dgmm.storage.places import folder_of
from dgmm.storage.replacing import is_zarr
from dgmm.viz.segmentation import require_matplotlib

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dgmm.jobs.loading import Job

_SUFFIXES = {"picture": (".png", "a PNG"), "page": (".html", "HTML")}


def check_files(job: Job, own: frozenset[Path] = frozenset()) -> None:
    """Refuse a job whose inputs are missing or whose outputs cannot be written.

    Parameters
    ----------
    job : Job
    own : frozenset of path
        Outputs that an earlier run of the job may have written: they may be replaced.

    Raises
    ------
    JobError
        With one line for each problem.
    MissingExtraError
        If a picture or a page is to be drawn and matplotlib is not installed.
    """
    _refuse(job, [*_inputs(job), *_outputs(job, own), *_collisions(job)])
    if job.output.picture is not None or job.output.page is not None:
        require_matplotlib()


def check_outputs(job: Job, own: frozenset[Path] = frozenset()) -> None:
    """Refuse a job whose outputs cannot be written by now; parameters and errors are those of :func:`check_files`."""
    _refuse(job, [*_outputs(job, own)])


def _refuse(job: Job, problems: list[Problem]) -> None:
    if problems:
        raise fail(job.file, tuple(problems))


def _inputs(job: Job) -> Iterator[Problem]:
    files: dict[str, Path | None] = {"sample_weight": job.input.sample_weight}
    if isinstance(job.input, PathInput):
        files["path"] = job.input.path
    elif job.input.image not in SHIPPED_PICTURES:
        files["image"] = Path(job.input.image)
    for key, path in files.items():
        if path is not None and not path.exists():
            yield job.problem(("input", key), f"there is no such file or folder: {path}; correct the path")
    if isinstance(job.input, ImageInput):
        yield from _place(job, ("input", "store"), job.input.store)


def _outputs(job: Job, own: frozenset[Path]) -> Iterator[Problem]:
    for key, path in job.output.paths.items():
        place = ("output", key)
        yield from _place(job, place, path)
        if key in _SUFFIXES and path.suffix.lower() != _SUFFIXES[key][0]:
            suffix, what = _SUFFIXES[key]
            yield job.problem(place, f"found {path.name!r}; the {key} is {what}: its name must end in {suffix}")
        replaceable = job.output.overwrite or path in own
        for text in _in_the_way(path, is_folder=key in ("model", "labels"), overwrite=replaceable):
            yield job.problem(place, text)


def _in_the_way(path: Path, *, is_folder: bool, overwrite: bool) -> Iterator[str]:
    if path.is_symlink() or not path.exists():
        return
    if is_folder != path.is_dir() or (is_folder and not is_zarr(path)):
        yield f"{path} exists and is no {'zarr store' if is_folder else 'file'}, so it is never overwritten"
    elif not overwrite:
        yield f"{path} exists already; remove it, or set output.overwrite: true (--overwrite)"


def _place(job: Job, key: KeyPath, path: Path) -> Iterator[Problem]:
    for text in _unwritable(path):
        yield job.problem(key, text)


def _unwritable(path: Path) -> Iterator[str]:
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
    taken: dict[str, Path] = {"the job file": Path(job.file)}
    for name in ("tls_ca_file", "tls_cert", "tls_key"):
        if (file := getattr(job.cluster, name, None)) is not None:
            taken[f"cluster.{name}"] = file
    if isinstance(job.input, PathInput):
        taken["input.path"] = job.input.path
    else:
        taken["input.store"] = job.input.store
        if job.input.image not in SHIPPED_PICTURES:
            taken["input.image"] = Path(job.input.image)
    if job.input.sample_weight is not None:
        taken["input.sample_weight"] = job.input.sample_weight
    if job.checkpoint is not None and (folder := folder_of(job.checkpoint.path)) is not None:
        for text in _overlaps(folder, taken):
            yield job.problem(("checkpoint", "path"), text)
        taken["checkpoint.path"] = folder
    for name, path in job.output.paths.items():
        for text in _overlaps(path, taken):
            yield job.problem(("output", name), text)
        taken[f"output.{name}"] = path


def _overlaps(path: Path, taken: Mapping[str, Path]) -> Iterator[str]:
    for name, other in taken.items():
        a, b = (Path(os.path.realpath(each)) for each in (path, other))  # resolve() fails at links in a circle
        if a == b or a in b.parents or b in a.parents:
            yield f"{path} is the same place as, or lies within, {name}; choose another"


def check_prediction(model: Path, data: Path, labels: Path, *, overwrite: bool) -> None:
    """Refuse a prediction whose inputs are missing or whose labels cannot be written.

    Raises
    ------
    JobError
        With one line for each problem.
    """
    inputs = {"MODEL": local_path(model), "DATA": local_path(data)}
    found = [*_missing(inputs), *_written("LABELS", labels, inputs, is_folder=True, overwrite=overwrite)]
    if not found and labels.exists() and is_model(labels):
        found.append(("LABELS", f"{labels} is a model; choose another path"))
    _refuse_command("dgmm predict", found)


def check_report(model: Path, data: Path | None, page: Path, *, overwrite: bool) -> None:
    """Refuse a report whose inputs are missing or whose page cannot be written.

    Raises
    ------
    JobError
        With one line for each problem.
    """
    inputs = {"MODEL": local_path(model)} | ({} if data is None else {"DATA": local_path(data)})
    found = [*_missing(inputs), *_written("--output", page, inputs, is_folder=False, overwrite=overwrite)]
    if page.suffix.lower() != ".html":
        found.append(("--output", f"found {page.name!r}; the page is HTML: its name must end in .html"))
    _refuse_command("dgmm report", found)


def _missing(inputs: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    for key, path in inputs.items():
        if not path.exists():
            yield key, f"there is no such file or folder: {path}; correct the path"


def _written(
    key: str, path: Path, inputs: Mapping[str, Path], *, is_folder: bool, overwrite: bool
) -> Iterator[tuple[str, str]]:
    local_path(path)
    for text in (
        *_unwritable(path),
        *_in_the_way(path, is_folder=is_folder, overwrite=overwrite),
        *_overlaps(path, inputs),
    ):
        yield key, text


def _refuse_command(name: str, found: list[tuple[str, str]]) -> None:
    if found:
        raise fail(name, tuple(Problem(0, key, text) for key, text in found))
