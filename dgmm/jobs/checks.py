"""What is checked of a job against the files, before any work starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dgmm.jobs.source import KeyPath, Problem, fail
from dgmm.jobs.specification import SHIPPED_PICTURES, ImageInput, PathInput
from dgmm.storage.replacing import is_zarr
from dgmm.viz.segmentation import require_matplotlib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dgmm.jobs.loading import Job


def check_files(job: Job) -> None:
    """Refuse a job whose inputs are missing or whose outputs cannot be written.

    Raises
    ------
    JobError
        With one line for each problem.
    MissingExtraError
        If a picture is to be drawn and matplotlib is not installed.
    """
    problems = [*_inputs(job), *_outputs(job), *_collisions(job)]
    if problems:
        raise fail(job.file, tuple(problems))
    if job.output.picture is not None:
        require_matplotlib()


def _inputs(job: Job) -> Iterator[Problem]:
    files: dict[str, Path | None] = {"sample_weight": job.input.sample_weight}
    if isinstance(job.input, PathInput):
        files["path"] = job.input.path
    elif job.input.image not in SHIPPED_PICTURES:
        files["image"] = Path(job.input.image)
    for key, path in files.items():
        if path is not None and not path.exists():
            yield job.problem(("input", key), f"there is no such file or folder: {path}")
    if isinstance(job.input, ImageInput):
        yield from _place(job, ("input", "store"), job.input.store)


def _outputs(job: Job) -> Iterator[Problem]:
    for key, path in job.output.paths.items():
        place = ("output", key)
        yield from _place(job, place, path)
        if key == "picture" and path.suffix.lower() != ".png":
            yield job.problem(place, f"found {path.name!r}; the picture is a PNG: its name must end in .png")
        if path.is_symlink() or not path.exists():
            continue
        is_folder = key in ("model", "labels")
        if is_folder != path.is_dir() or (is_folder and not is_zarr(path)):
            kind = "zarr store" if is_folder else "file"
            yield job.problem(place, f"{path} exists and is no {kind}, so it is never overwritten")
        elif not job.output.overwrite:
            yield job.problem(place, f"{path} exists already; remove it, or set output.overwrite: true (--overwrite)")


def _place(job: Job, key: KeyPath, path: Path) -> Iterator[Problem]:
    if path.is_symlink():
        where = path.readlink()
        yield job.problem(key, f"{path} is a link to {where}; nothing is written through links: give the place itself")
        return
    parent = path.absolute().parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        yield job.problem(key, f"cannot be written: {parent} is not a folder")
    elif not os.access(parent, os.W_OK | os.X_OK):
        yield job.problem(key, f"cannot be written: the folder {parent} may not be written to")


def _collisions(job: Job) -> Iterator[Problem]:
    taken: list[tuple[KeyPath, Path]] = [(("the job file",), Path(job.file))]
    for name in ("tls_ca_file", "tls_cert", "tls_key"):
        if (file := getattr(job.cluster, name, None)) is not None:
            taken.append((("cluster", name), file))
    if isinstance(job.input, PathInput):
        taken.append((("input", "path"), job.input.path))
    else:
        taken.append((("input", "store"), job.input.store))
        if job.input.image not in SHIPPED_PICTURES:
            taken.append((("input", "image"), Path(job.input.image)))
    if job.input.sample_weight is not None:
        taken.append((("input", "sample_weight"), job.input.sample_weight))
    for name, path in job.output.paths.items():
        key = ("output", name)
        for other, its_path in taken:
            a, b = path.resolve(), its_path.resolve()
            if a == b or a in b.parents or b in a.parents:
                yield job.problem(key, f"{path} is the same place as, or lies within, {'.'.join(map(str, other))}")
        taken.append((key, path))
