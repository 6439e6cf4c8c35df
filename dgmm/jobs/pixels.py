"""The pixels of a picture as a chunked zarr store, written once and used again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask
import dask.array as da

from dgmm.jobs.source import fail
from dgmm.storage.replacing import is_zarr
from dgmm.storage.storing import read_attributes, write_array
from dgmm.viz.pictures import Picture, read_picture

if TYPE_CHECKING:
    from dgmm.jobs.loading import Job
    from dgmm.jobs.progress import Reporter
    from dgmm.jobs.specification import ImageInput

PIXELS = "pixels"
"""Name of the array in the store; its dimensions are y, x and colour."""
COLOURS = ("red", "green", "blue")


def prepare_pixels(job: Job, request: ImageInput, reporter: Reporter) -> Picture:
    """Read a job's picture and see to it that its store holds the pixels.

    A store that was made from the same file, with the same chunks, is used again.

    Raises
    ------
    JobError
        If the store exists and was made from something else, and must not be replaced.
    DataError
        If the picture cannot be read.
    MissingExtraError
        If Pillow is not installed.
    """
    picture = read_picture(request.image)
    wanted = {"source": picture.name, "source_sha256": picture.digest, "chunk_rows": request.chunk_rows}
    if request.store.exists():
        found = read_attributes(request.store, PIXELS) if is_zarr(request.store) else {}
        if {key: found.get(key) for key in wanted} == wanted:
            reporter.step(f"using the pixels of {picture.name} in {request.store.name} again")
            return picture
        if not (job.output.overwrite and "source_sha256" in found):
            raise fail(job.file, (job.problem(("input", "store"), _refusal(request, found)),))
    reporter.step(f"writing the pixels of {picture.name} to {request.store.name}")
    chunks = (min(request.chunk_rows, picture.pixels.shape[0]), *picture.pixels.shape[1:])
    with dask.config.set(scheduler="threads"):
        write_array(
            da.from_array(picture.pixels, chunks=chunks),
            request.store,
            name=PIXELS,
            dims=("y", "x", "colour"),
            attrs={**wanted, "colours": [*COLOURS]},
            overwrite=True,
        )
    return picture


def _refusal(request: ImageInput, found: dict[str, Any]) -> str:
    if "source_sha256" not in found:
        return f"{request.store} exists and was not made from a picture; choose another path"
    return (
        f"{request.store} was made from another picture or with other chunks ({found.get('source')}, "
        f"chunk_rows {found.get('chunk_rows')}); remove it, or set output.overwrite: true"
    )
