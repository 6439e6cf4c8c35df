"""What the section ``preprocess`` of a job file may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from dgmm.jobs.sections import COUNT, PATH, Count, FilePath, MisplacedKeyError, Name, Section, SourcePath, different


class PreprocessSection(Section):
    """What is done to the rows before the fit."""

    dtype: Literal["float32", "float64"] | None = Field(
        default=None, description="float32 or float64; as stored if left out"
    )


class PlainSection(PreprocessSection):
    """Rows are taken as they are."""

    kind: Literal["none"] = "none"


class SavedFeatures(PreprocessSection):
    """Features that were fitted before."""

    kind: Literal["saved"]
    path: FilePath = Field(description=f"{PATH}, of what output.preprocess of a job, or EigenMoments.save, wrote")


Degree = Annotated[int, Field(ge=0, le=2**31 - 1)]
Decay = Annotated[float, Field(gt=0.0, le=1e4)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, (int, float, str)) and not isinstance(value, bool) else value


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value < high


def _components(value: Any) -> Any:
    is_share = isinstance(value, float) and 0.0 < value < 1.0
    if not (value is None or is_share or (isinstance(value, int) and _is_number(value, 1, 2**31))):
        raise ValueError("neither a number of features nor a share")
    return value


def _noise(value: Any) -> Any:
    if not (value in ("auto", "differences") if isinstance(value, str) else _is_number(value, 0.0, float("inf"))):
        raise ValueError("neither a variance nor a way to find it")
    return value


def _none_for_data(value: Any) -> Any:
    if value != "data" and value is not None and not isinstance(value, (dict, StationarySection)):
        raise ValueError("neither data nor keys of a formula")
    return None if value == "data" else value


class StationarySection(Section):
    """The parameters of :class:`dgmm.StationaryCorrelation`."""

    kind: Literal["stationary"] = Field(description="stationary")
    c: Annotated[list[Decay], BeforeValidator(_listed)] = Field(
        min_length=1, description="a number above 0 and at most 1e4, or one for each axis of a signal"
    )
    variance: float = Field(default=1.0, gt=0.0, description="a number above 0")


class EigenMomentsSection(PreprocessSection):
    """The parameters of :class:`dgmm.EigenMoments`."""

    kind: Literal["eigenmoments"]
    n_components: Annotated[Any, BeforeValidator(_components)] = Field(
        default=None,
        description=f"{COUNT}, a number between 0 and 1 for as few features as keep that share of the ratio of signal "
        "to noise, or null for all",
    )
    order: Annotated[list[Degree], BeforeValidator(_listed)] | None = Field(
        default=None,
        min_length=1,
        description="a whole number of at least 0, or one for each axis of a signal; 6, or less where an axis has few "
        "samples, if left out",
    )
    signal_shape: Annotated[list[Count], BeforeValidator(_listed)] | None = Field(
        default=None, min_length=1, description=f"{COUNT}, or one for each axis: needed where signals lie in columns"
    )
    signal_dims: Annotated[list[Name], BeforeValidator(_listed), AfterValidator(different)] | None = Field(
        default=None,
        min_length=1,
        description="a list of different names of the dimensions of a signal; all but input.sample_dims, or but the "
        "first, if left out",
    )
    noise: Annotated[Any, BeforeValidator(_noise)] = Field(
        default="auto",
        description="auto (what noise_signals say, or else differences), differences (of neighbours), or a number of "
        "at least 0: the variance of a sample's noise",
    )
    noise_floor: float = Field(default=0.0, ge=0.0, description="a number of at least 0")
    noise_signals: SourcePath | None = Field(
        default=None, description=f"{PATH}, or a URL, of signals that are noise alone"
    )
    correlation: Annotated[StationarySection | None, BeforeValidator(_none_for_data)] = Field(
        default=None, description="data, or the keys kind (stationary), c and variance; data if left out"
    )
    method: Literal["gep", "two-step"] = Field(default="gep", description="gep or two-step")
    basis: Literal["legendre", "gram", "monomial"] = Field(default="legendre", description="legendre, gram or monomial")
    center: bool = Field(default=False, description="true or false: take the mean out")
    noisy: bool = Field(
        default=True,
        description="true or false: whether signals that the correlation is made of have the noise in them",
    )
    invariant: Annotated[list[Literal["translation", "scale", "rotation"]], AfterValidator(different)] = Field(
        default=[], description="a list of some of translation, scale and rotation"
    )
    random_state: int = Field(
        default=0,
        ge=0,
        le=2**32 - 1,
        description="a whole number from 0 to 4294967295: which images have noise added, where invariant is given",
    )

    @model_validator(mode="after")
    def _together(self) -> EigenMomentsSection:
        if self.noise_signals is not None and self.noise != "auto":
            raise MisplacedKeyError(
                ("preprocess", "noise_signals"), "given beside preprocess.noise; leave one of them out"
            )
        for key in ("noise_signals", "correlation"):
            if self.invariant and getattr(self, key) is not None:
                raise MisplacedKeyError(
                    ("preprocess", key), "given beside preprocess.invariant, with which it has no meaning; leave it out"
                )
        return self


def _preprocess_kind(value: Any) -> str:
    kind = value.get("kind", "none") if isinstance(value, dict) else getattr(value, "kind", "")
    return kind if isinstance(kind, str) else ""


AnyPreprocess = Annotated[
    Annotated[PlainSection, Tag("none")]
    | Annotated[EigenMomentsSection, Tag("eigenmoments")]
    | Annotated[SavedFeatures, Tag("saved")],
    Discriminator(_preprocess_kind),
]
