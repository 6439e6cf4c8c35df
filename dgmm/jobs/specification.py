"""What a job file may say: one model per section, one field per key.

The ``description`` of a field states its allowed values; error messages and the reference in
``docs/jobs.md`` both quote it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dgmm.errors import ParameterError
from dgmm.inputs.writing import endings, writer_of
from dgmm.jobs.clusters.sections import ClusterSection, ThreadsCluster
from dgmm.jobs.models import AnyModel, ModelSection, RefitSection, SavedSection, ScanSection
from dgmm.jobs.preprocess import AnyPreprocess, EigenMomentsSection, PlainSection
from dgmm.jobs.sections import (
    COUNT,
    PATH,
    Count,
    FilePath,
    MisplacedKeyError,
    Name,
    Section,
    SourcePath,
    different,
    locate,
    locate_source,
)
from dgmm.storage.paths import is_url
from dgmm.storage.urls import Location, ObjectUrl, locate_output


def _locate_output(value: Any, info: ValidationInfo) -> Location:
    """Make an absolute path, or a URL."""
    if not (isinstance(value, str) and is_url(value)):
        return cast("Path", locate(value, info))
    try:
        return locate_output(value)
    except ParameterError as error:
        raise ValueError(str(error)) from None


OutputPath = Annotated[Path | ObjectUrl, PlainValidator(_locate_output)]
PLACE = f"{PATH}, or a URL as s3://bucket/name"


def _locate_result(value: Any, info: ValidationInfo) -> Location:
    path = _locate_output(value, info)
    try:
        writer_of(path)
    except ParameterError:
        raise ValueError(f"its name must end in {', '.join(endings(path))}") from None
    return path


ResultPath = Annotated[Path | ObjectUrl, PlainValidator(_locate_result)]
RESULTS = "as zarr, NetCDF (.nc), Parquet or GeoTIFF (.tif); at a URL as zarr"
RESULT_KEYS = ("labels", "probabilities", "log_densities")
"""Outputs that say something of each row."""


def _locate_or_path(value: Any, info: ValidationInfo) -> Any:
    return Beside(locate_source(value, info), is_path=True)


def _locate_or_name(value: Any, info: ValidationInfo) -> Any:
    """Make an absolute path of what has the look of one; else it is a name."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("neither a name nor a path")
    looks = is_url(value) or "/" in value or Path(value).suffix.lower() in _ARRAY_SUFFIXES
    return Beside(locate_source(value, info), is_path=True) if looks else Beside(value, is_path=False)


_ARRAY_SUFFIXES = (".zarr", ".npy", ".nc")


@dataclass(frozen=True)
class Beside:
    """What lies beside the features of each row: a name within the input, or a path or URL of its own."""

    text: str
    is_path: bool


NameOrPath = Annotated[Beside, BeforeValidator(_locate_or_name)]
Index = Annotated[int, Field(ge=0)]

_BESIDE = "the name of a column or variable, or a path or URL (.zarr, .npy or .nc) of an array, with one"


class PathInput(Section):
    """Rows from what lies at a path or URL."""

    path: SourcePath = Field(
        description=f"{PATH}, or a URL as s3://bucket/x.zarr: zarr, NetCDF, .npy or Parquet (a file, a folder, or a "
        "pattern with *); URLs of zarr only"
    )
    variable: str | None = Field(
        default=None,
        min_length=1,
        description="the name of the array that is meant, of a group or file that holds several",
    )
    features: Annotated[list[Index | Name], AfterValidator(different)] | None = Field(
        default=None,
        min_length=1,
        description="a list of different names, or numbers from 0, of columns or variables; all if left out",
    )
    sample_dims: Annotated[list[Name], AfterValidator(different)] | None = Field(
        default=None,
        min_length=1,
        description="a list of different names of the dimensions that rows run over; of an array all but band, "
        "channel, feature or variable, or else the last, and those that all variables share, if left out",
    )
    sample_weight: NameOrPath | None = Field(default=None, description=f"{_BESIDE} weight per row")
    labels: NameOrPath | None = Field(
        default=None, description=f"{_BESIDE} known component per row, -1 where it is not known"
    )
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
    sample_weight: Annotated[Beside, BeforeValidator(_locate_or_path)] | None = Field(
        default=None, description=f"{PATH}, of an array with one weight per pixel"
    )

    @field_validator("image")
    @classmethod
    def _picture(cls, value: str, info: ValidationInfo) -> str:
        return value if value in SHIPPED_PICTURES else str(locate(value, info))


SHIPPED_PICTURES = ("china.jpg", "flower.jpg")


def _input_kind(value: Any) -> str:
    keys = value if isinstance(value, dict) else getattr(value, "__dict__", ())
    return "image" if "image" in keys else "path"


InputSection = Annotated[
    Annotated[PathInput, Tag("path")] | Annotated[ImageInput, Tag("image")], Discriminator(_input_kind)
]


class Probabilities(Section):
    """Where probabilities are written, and how many of each row."""

    path: ResultPath = Field(description=f"{PLACE}, {RESULTS}")
    top: Count | None = Field(
        default=None, description=f"{COUNT}: that many components of each row, the most probable; all if left out"
    )


def _path_alone(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class OutputSection(Section):
    """What is written; each output is whole or absent."""

    model: OutputPath | None = Field(default=None, description=f"{PLACE}, of the fitted model (zarr)")
    preprocess: OutputPath | None = Field(
        default=None, description=f"{PLACE}, of what preprocess has fitted (zarr), for preprocess.kind: saved"
    )
    labels: ResultPath | None = Field(default=None, description=f"{PLACE}, of each row's component, {RESULTS}")
    probabilities: Annotated[Probabilities, BeforeValidator(_path_alone)] | None = Field(
        default=None, description=f"{PLACE}, of each row's probabilities, {RESULTS}; or the keys path and top"
    )
    log_densities: ResultPath | None = Field(default=None, description=f"{PLACE}, of each row's log-density, {RESULTS}")
    picture: OutputPath | None = Field(default=None, description=f"{PLACE}, of the picture (.png); needs input.image")
    report: OutputPath | None = Field(default=None, description=f"{PLACE}, of the report (JSON)")
    page: OutputPath | None = Field(
        default=None, description=f"{PLACE}, of the report as a page to look at (.html); needs matplotlib"
    )
    overwrite: bool = Field(default=False, description="true or false: replace outputs that exist")

    @property
    def paths(self) -> dict[str, Location]:
        """The outputs that are asked for, by key."""
        found = {key: getattr(self, key) for key in type(self).model_fields if key != "overwrite"}
        found["probabilities"] = None if self.probabilities is None else self.probabilities.path
        return {key: path for key, path in found.items() if path is not None}

    @property
    def results(self) -> dict[str, Location]:
        """Those of them that say something of each row."""
        return {key: path for key, path in self.paths.items() if key in RESULT_KEYS}

    @model_validator(mode="after")
    def _something(self) -> OutputSection:
        if not self.paths:
            keys = [key for key in type(self).model_fields if key != "overwrite"]
            raise ValueError(f"nothing would be written; give one of {', '.join(keys)}")
        return self


class CheckpointSection(Section):
    """Where the progress of the fit is kept: the options of :class:`dgmm.Checkpoint`."""

    path: SourcePath = Field(description=f"{PATH}, of a folder of its own, or a URL as s3://bucket/folder")
    interval: float = Field(
        default=60.0, ge=0.0, description="a number of seconds of at least 0: how often within a long pass"
    )
    keep: Count = Field(default=2, description=f"{COUNT}: checkpoints that are kept")
    resume: Literal["auto", "never", "must"] = Field(
        default="auto",
        description="auto (go on if there is something), never (start anew in its place) or must (only go on)",
    )


RUNS = "runs"
"""The folder that keeps a folder for each run, beside the job file."""
NONE = "none"
"""What is written where something is not wanted that there is otherwise."""


def _none(value: Any) -> Any:
    return None if value == NONE else value


def _locate_unless_none(value: Any, info: ValidationInfo) -> Any:
    return None if value == NONE else locate(value, info)


def _locate_metrics(value: Any, info: ValidationInfo) -> Any:
    path = locate(value, info)
    if path.suffix not in ("", ".prom") and not path.is_dir():
        raise ValueError("a file of metrics must end in .prom")
    return path


class RunSection(Section):
    """What is kept of each run, beside its outputs."""

    folder: Annotated[Path | None, BeforeValidator(_locate_unless_none)] = Field(
        default=RUNS,
        validate_default=True,
        description=f"{PATH}, of the folder that keeps a folder for each run; or none",
    )
    keep: Count | None = Field(
        default=None, description=f"{COUNT}: runs of this job that have ended and are kept; all if left out"
    )
    metrics: Annotated[Path | None, BeforeValidator(_locate_metrics)] = Field(
        default=None,
        description=f"{PATH}, of a text file for Prometheus (.prom), or of a folder that gets one for each job",
    )
    performance_report: bool = Field(
        default=False, description="true or false: Dask's report of what a distributed cluster did; needs bokeh"
    )


class JobFile(Section):
    """A whole job file."""

    input: InputSection = Field(description="a section that says where the rows come from")
    preprocess: AnyPreprocess = Field(
        default=PlainSection(),
        description="a section that says what is done to the rows before the fit",
    )
    model: AnyModel = Field(description="a section with the parameters of the mixture")
    output: OutputSection = Field(description="a section that says what is written where")
    cluster: ClusterSection = Field(default=ThreadsCluster(), description="a section that says where the job computes")
    checkpoint: Annotated[CheckpointSection | None, BeforeValidator(_none)] = Field(
        default=None,
        description="a section that says where the progress of the fit is kept; or none",
    )
    run: RunSection = Field(
        default_factory=dict, validate_default=True, description="a section that says what is kept of each run"
    )
    refit: RefitSection | None = Field(
        default=None, description="a section that says when a refit takes the place of the model before"
    )

    @model_validator(mode="after")
    def _preprocess(self) -> JobFile:
        place = ("preprocess", "kind")
        if isinstance(self.preprocess, EigenMomentsSection):
            grows = isinstance(self.input, PathInput) and self.input.growing
            if self.refit is not None or grows or isinstance(self.model, SavedSection):
                raise MisplacedKeyError(
                    place,
                    "found 'eigenmoments', but a model that was there before knows the features of its own fit alone; "
                    "fit them once, in a job with output.preprocess, and give kind: saved",
                )
        elif self.output.preprocess is not None:
            raise MisplacedKeyError(("output", "preprocess"), "needs preprocess.kind: eigenmoments, which is fitted")
        if not isinstance(self.preprocess, PlainSection) and isinstance(self.input, ImageInput):
            raise MisplacedKeyError(place, "needs input.path: a pixel of input.image is no signal")
        return self

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
        for key in self.output.results:
            raise MisplacedKeyError(("output", key), "rows that arrive are read once; remove it, and use dgmm predict")
        return self

    @model_validator(mode="after")
    def _refit(self) -> JobFile:
        if self.refit is None:
            return self
        if not isinstance(self.model, ModelSection):
            raise MisplacedKeyError(("refit",), "needs a model of kind gaussian_mixture")
        if self.output.model is None:
            raise MisplacedKeyError(("refit",), "needs output.model, where the current model is")
        if not isinstance(self.output.model, Path):
            raise MisplacedKeyError(("output", "model"), "a URL; the models of a refit lie in a local file system")
        return self

    @model_validator(mode="after")
    def _saved(self) -> JobFile:
        if not isinstance(self.model, SavedSection):
            return self
        if self.output.model is not None:
            raise MisplacedKeyError(("output", "model"), "the model is there already, at model.path; remove it")
        if self.checkpoint is not None:
            raise MisplacedKeyError(("checkpoint",), "nothing is fitted, so there is no progress to keep; remove it")
        return self

    @model_validator(mode="after")
    def _picture(self) -> JobFile:
        if self.output.picture is not None and isinstance(self.input, PathInput):
            raise MisplacedKeyError(("output", "picture"), "needs input.image; this job has input.path")
        return self


class ClusterFile(Section):
    """The content of a file of ``cluster_configs/``, under the key of its section."""

    cluster: ClusterSection = Field(description="the content of a section that says where a job computes")


class PredictionFile(Section):
    """What is read and written where a model is asked by hand."""

    input: InputSection = Field(description="a section that says where the rows come from")
    output: OutputSection = Field(description="a section that says what is written where")
