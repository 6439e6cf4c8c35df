"""What a job file may say: one model per section, one field per key.

The ``description`` of a field states its allowed values; error messages and the reference in
``docs/jobs.md`` both quote it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dgmm.errors import ParameterError
from dgmm.jobs.models import AnyModel, ScanSection
from dgmm.jobs.sections import COUNT, Count, Section
from dgmm.storage.paths import is_url
from dgmm.storage.places import check_path


class MisplacedKeyError(ValueError):
    """A key that does not fit what stands in another section."""

    def __init__(self, path: tuple[str, ...], text: str) -> None:
        super().__init__(text)
        self.path = path


def _locate(value: Any, info: ValidationInfo) -> Any:
    """Make an absolute path; a link at its end stays one, so that it can be told from what it leads to."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("not a path")
    if is_url(value):
        raise ValueError("a URL; this version reads and writes local files only")
    folder = (info.context or {}).get("folder", Path())
    try:
        path = Path(folder, Path(value).expanduser()).absolute()
        path = path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name
        path.exists()
    except OSError as error:
        raise ValueError(error.strerror) from error
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    return path


FilePath = Annotated[Path, BeforeValidator(_locate)]

PATH = "a path, taken from the job file's folder unless absolute"


class PathInput(Section):
    """Rows from an array that exists."""

    path: FilePath = Field(description=f"{PATH}, of a zarr array, a zarr group or a .npy file")
    variable: str | None = Field(
        default=None,
        min_length=1,
        description="the name of the array within the group; not needed if there is one",
    )
    sample_weight: FilePath | None = Field(default=None, description=f"{PATH}, of an array with one weight per row")
    growing: bool = Field(
        default=False,
        description="true or false: rows are appended to the array, and each run takes those that are new",
    )


class ImageInput(Section):
    """Rows from the pixels of a picture, by way of a zarr store that the job writes first."""

    image: str = Field(
        min_length=1,
        description="a path to a picture, or 'china.jpg' or 'flower.jpg', which scikit-learn brings along",
    )
    store: FilePath = Field(description=f"{PATH}, of the zarr store that the job writes the pixels to")
    chunk_rows: Count = Field(
        default=64,
        description="a whole number of at least 1: lines of the picture in each chunk of the store",
    )
    sample_weight: FilePath | None = Field(default=None, description=f"{PATH}, of an array with one weight per pixel")

    @field_validator("image")
    @classmethod
    def _picture(cls, value: str, info: ValidationInfo) -> str:
        return value if value in SHIPPED_PICTURES else str(_locate(value, info))


SHIPPED_PICTURES = ("china.jpg", "flower.jpg")


def _input_kind(value: Any) -> str:
    keys = value if isinstance(value, dict) else getattr(value, "__dict__", ())
    return "image" if "image" in keys else "path"


InputSection = Annotated[
    Annotated[PathInput, Tag("path")] | Annotated[ImageInput, Tag("image")], Discriminator(_input_kind)
]


class PreprocessSection(Section):
    """What is done to the rows before the fit."""

    dtype: Literal["float32", "float64"] | None = Field(
        default=None, description="float32 or float64; as stored if left out"
    )
    features: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None,
        min_length=1,
        description="a list of different column indices, from 0; all columns if left out",
    )

    @field_validator("features")
    @classmethod
    def _different(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError("a column stands twice")
        return value


class OutputSection(Section):
    """What is written; each output is whole or absent."""

    model: FilePath | None = Field(default=None, description=f"{PATH}, of the fitted model (zarr)")
    labels: FilePath | None = Field(default=None, description=f"{PATH}, of each row's component (zarr)")
    picture: FilePath | None = Field(
        default=None, description=f"{PATH}, of the picture (.png); needs input.image and all its colours"
    )
    report: FilePath | None = Field(default=None, description=f"{PATH}, of the report (JSON)")
    page: FilePath | None = Field(
        default=None, description=f"{PATH}, of the report as a page to look at (.html); needs matplotlib"
    )
    overwrite: bool = Field(default=False, description="true or false: replace outputs that exist")

    @property
    def paths(self) -> dict[str, Path]:
        """The outputs that are asked for, by key."""
        found = {key: getattr(self, key) for key in ("model", "labels", "picture", "report", "page")}
        return {key: path for key, path in found.items() if path is not None}

    @model_validator(mode="after")
    def _something(self) -> OutputSection:
        if not self.paths:
            raise ValueError("nothing would be written; give one of model, labels, picture, report, page")
        return self


class Cluster(Section):
    """What every kind of cluster takes: where the rows are held."""

    persist: Literal["auto"] | bool = Field(
        default="auto",
        description="true loads the rows into memory once, false reads them in each pass, auto by what memory is free",
    )
    lean: bool = Field(
        default=False, description="true or false: rows that are read in each pass take the least memory, and more time"
    )


class ThreadsCluster(Cluster):
    """Threads of this process: the embedded default."""

    kind: Literal["threads"] = "threads"
    n_workers: Count | None = Field(default=None, description=f"{COUNT}: threads; one per core if left out")


class SynchronousCluster(Cluster):
    """One thread, for finding errors."""

    kind: Literal["synchronous"]


class ProcessesCluster(Cluster):
    """Processes of this machine, without a scheduler."""

    kind: Literal["processes"]
    n_workers: Count | None = Field(default=None, description=f"{COUNT}: processes; one per core if left out")


class LocalCluster(Cluster):
    """A Dask cluster on this machine, which lives as long as the job."""

    kind: Literal["local"]
    n_workers: Count | None = Field(default=None, description=f"{COUNT}: worker processes; chosen by Dask if left out")
    threads_per_worker: Count | None = Field(default=None, description=f"{COUNT}; chosen by Dask if left out")
    memory_limit: str | Literal[0] = Field(
        default="auto",
        pattern=r"^(auto|[0-9]+(\.[0-9]+)? ?([kMGT]i?B|B))$",
        description="memory per worker as '4GiB' or '500MB', auto, or 0 for no limit",
    )
    local_directory: FilePath | None = Field(default=None, description=f"{PATH}, of the folder that workers spill to")
    dashboard_address: str | None = Field(
        default=None,
        min_length=1,
        description="an address for Dask's dashboard, as ':8787' (for this machine alone); none if left out",
    )


class SchedulerCluster(Cluster):
    """A Dask scheduler that runs already."""

    kind: Literal["scheduler"]
    address: str = Field(
        pattern=r"^(tcp|tls|ws|wss|ucx|inproc)://[^\s@?#]+$",
        description="the scheduler's address, as tcp://host:8786 or tls://host:8786",
    )
    timeout: float = Field(default=10.0, gt=0.0, description="a number of seconds above 0")
    n_workers: Count | None = Field(default=None, description=f"{COUNT}: workers to wait for before the job starts")
    tls_ca_file: FilePath | None = Field(default=None, description=f"{PATH}; all three tls keys or none")
    tls_cert: FilePath | None = Field(default=None, description=f"{PATH}; all three tls keys or none")
    tls_key: FilePath | None = Field(default=None, description=f"{PATH}; all three tls keys or none")

    @model_validator(mode="after")
    def _all_of_tls(self) -> SchedulerCluster:
        given = [x is not None for x in (self.tls_ca_file, self.tls_cert, self.tls_key)]
        if any(given) != all(given):
            raise ValueError("give tls_ca_file, tls_cert and tls_key, or none of them")
        if self.address.startswith("tls://") and not all(given):
            raise ValueError("a tls:// address needs tls_ca_file, tls_cert and tls_key")
        return self


ClusterSection = Annotated[
    ThreadsCluster | SynchronousCluster | ProcessesCluster | LocalCluster | SchedulerCluster,
    Field(discriminator="kind"),
]


def _locate_place(value: Any, info: ValidationInfo) -> Any:
    if not (isinstance(value, str) and is_url(value)):
        return str(_locate(value, info))
    try:
        check_path(value)
    except ParameterError as error:
        raise ValueError(str(error)) from None
    return value


class CheckpointSection(Section):
    """Where the progress of the fit is kept: the options of :class:`dgmm.Checkpoint`."""

    path: Annotated[str, BeforeValidator(_locate_place)] = Field(
        description=f"{PATH}, of a folder of its own, or a URL as s3://bucket/folder"
    )
    interval: float = Field(
        default=60.0, ge=0.0, description="a number of seconds of at least 0: how often within a long pass"
    )
    keep: Count = Field(default=2, description=f"{COUNT}: checkpoints that are kept")
    resume: Literal["auto", "never", "must"] = Field(
        default="auto",
        description="auto (go on if there is something), never (start anew in its place) or must (only go on)",
    )


class JobFile(Section):
    """A whole job file."""

    input: InputSection = Field(description="a section that says where the rows come from")
    preprocess: PreprocessSection = Field(
        default=PreprocessSection(),
        description="a section that says what is done to the rows before the fit",
    )
    model: AnyModel = Field(description="a section with the parameters of the mixture")
    output: OutputSection = Field(description="a section that says what is written where")
    cluster: ClusterSection = Field(default=ThreadsCluster(), description="a section that says where the job computes")
    checkpoint: CheckpointSection | None = Field(
        default=None, description="a section that says where the progress of the fit is kept"
    )

    @model_validator(mode="after")
    def _growing(self) -> JobFile:
        if not (isinstance(self.input, PathInput) and self.input.growing):
            return self
        place, scan = ("input", "growing"), self.model
        if not isinstance(scan, ScanSection):
            raise MisplacedKeyError(place, "needs a model of kind bfr, which goes on with rows that are new")
        if self.checkpoint is None:
            raise MisplacedKeyError(place, "needs a section checkpoint, which holds what the runs before have made")
        if scan.refine_passes:
            raise MisplacedKeyError(("model", "refine_passes"), "rows that arrive are read once; remove it")
        if self.output.labels is not None:
            raise MisplacedKeyError(
                ("output", "labels"), "rows that arrive are read once; remove it, and use dgmm predict"
            )
        return self

    @model_validator(mode="after")
    def _picture(self) -> JobFile:
        if self.output.picture is not None:
            if isinstance(self.input, PathInput):
                raise MisplacedKeyError(("output", "picture"), "needs input.image; this job has input.path")
            if self.preprocess.features is not None:
                place = ("preprocess", "features")
                raise MisplacedKeyError(place, "output.picture needs all colours; remove one of the two")
        return self


class ClusterFile(Section):
    """The content of a file of ``cluster_configs/``, under the key of its section."""

    cluster: ClusterSection = Field(description="the content of a section that says where a job computes")
