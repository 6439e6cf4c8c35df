"""What the sections ``model`` and ``refit`` of a job file may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationInfo, field_validator

from dgmm.jobs.sections import COUNT, PATH, Count, FilePath, Section, different


def _number_or_auto(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    if not (is_number or value == "auto"):
        raise ValueError("neither a number nor 'auto'")
    return value


Numbers = list[float]


Family = Literal["full", "tied", "diag", "spherical", "tied-diag", "tied-spherical"]
FAMILIES = "full, tied, diag, spherical, tied-diag or tied-spherical"


class FitSection(Section):
    """The parameters that all fits have."""

    n_components: Any = Field(description=COUNT)
    covariance_type: Any = Field(description=FAMILIES)
    reg_covar: float = Field(
        default=1e-6, ge=0.0, description="a number of at least 0, in squared units of the features"
    )
    n_init: Count = Field(default=1, description=COUNT)
    random_state: int | None = Field(
        default=None, ge=0, le=2**32 - 1, description="a whole number from 0 to 4294967295"
    )


class MixtureSection(FitSection):
    """The parameters that all kinds of mixtures have."""

    n_components: Count = Field(description=COUNT)
    covariance_type: Family = Field(default="full", description=FAMILIES)
    weights_init: Numbers | None = Field(
        default=None, description="a list of n_components numbers of at least 0 whose sum is 1"
    )
    means_init: list[Numbers] | None = Field(
        default=None, description="a list of n_components lists, each with one number per feature"
    )
    precisions_init: float | Numbers | list[Numbers] | list[list[Numbers]] | None = Field(
        default=None,
        description="nested lists of numbers: n_components matrices (full), one matrix (tied), n_components lists "
        "(diag), n_components numbers (spherical), one list (tied-diag) or a number (tied-spherical)",
    )

    @field_validator("weights_init")
    @classmethod
    def _distribution(cls, value: Numbers | None) -> Numbers | None:
        if value is not None and (min(value, default=-1.0) < 0 or abs(sum(value) - 1.0) > 1e-6):
            raise ValueError("not a distribution")
        return value

    @field_validator("weights_init", "means_init")
    @classmethod
    def _one_per_component(cls, value: list[Any] | None, info: ValidationInfo) -> list[Any] | None:
        count = info.data.get("n_components")
        if value is not None and count is not None and len(value) != count:
            raise ValueError(f"{len(value)} entries for {count} components")
        if value and isinstance(value[0], list) and len({len(row) for row in value}) > 1:
            raise ValueError("rows of different lengths")
        return value


Tolerance = Annotated[Any, BeforeValidator(_number_or_auto)]
TOLERANCE = "a number of at least 0 (nats per row), or auto"


class EMSection(Section):
    """The parameters that all fits by EM have."""

    sample_rows: Count | None = Field(
        default=None, description=f"{COUNT}: rows of the sample that the start is made from"
    )
    accelerate: Literal["auto"] | None = Field(default="auto", description="auto, or null for plain EM")
    missing: Literal["raise", "drop", "marginalize"] = Field(
        default="raise", description="raise, drop or marginalize: what is done about rows with missing values"
    )


class ModelSection(EMSection, MixtureSection):
    """The parameters of :class:`dgmm.GaussianMixture`."""

    kind: Literal["gaussian_mixture"] = "gaussian_mixture"
    tol: Tolerance = Field(default=1e-3, description=TOLERANCE)
    max_iter: Count = Field(default=100, description=COUNT)
    init_params: Literal["kmeans", "k-means++", "k-means||", "random", "random_from_data", "bfr"] = Field(
        default="kmeans", description="kmeans, k-means++, k-means||, random, random_from_data or bfr"
    )


def _numbers(value: Any) -> Any:
    if not isinstance(value, dict):
        return [value] if isinstance(value, int) else value
    if set(value) != {"from", "to"} or not all(type(number) is int for number in value.values()):
        raise ValueError("expected the keys from and to, with whole numbers")
    if not 1 <= value["from"] <= value["to"] <= value["from"] + 9_999:
        raise ValueError("from must be at least 1, and to at least as large and at most 9,999 larger")
    return list(range(value["from"], value["to"] + 1))


def _alone(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class SelectionSection(EMSection, FitSection):
    """The parameters of :func:`dgmm.select`, and which candidate is taken."""

    kind: Literal["selection"]
    n_components: Annotated[list[Count], BeforeValidator(_numbers), AfterValidator(different)] = Field(
        min_length=1, description="a list of different whole numbers of at least 1, or the keys from and to"
    )
    covariance_type: Annotated[list[Family], BeforeValidator(_alone), AfterValidator(different)] = Field(
        default=["full"], min_length=1, description=f"{FAMILIES}, or a list of several"
    )
    criterion: Literal["auto", "bic", "aic", "icl", "heldout"] = Field(
        default="auto", description="auto (heldout from 100,000 rows on, else bic), bic, aic, icl or heldout"
    )
    choose: Literal["best", "simplest"] = Field(
        default="best",
        description="best, or simplest: of those that held-out rows cannot tell from the best the one of fewest "
        "parameters",
    )
    screen: bool = Field(
        default=False, description="true or false: drop candidates that are clearly behind after the sample"
    )
    held_out: float | None = Field(
        default=None, gt=0.0, lt=1.0, description="a number above 0 and below 1: share of the rows that is set aside"
    )
    tol: Tolerance = Field(default="auto", description=TOLERANCE)
    max_iter: Count = Field(default=200, description=COUNT)
    init_params: Literal["kmeans", "k-means++", "k-means||", "random", "random_from_data"] = Field(
        default="kmeans", description="kmeans, k-means++, k-means||, random or random_from_data"
    )


class ScanSection(MixtureSection):
    """The parameters of :class:`dgmm.BFRGaussianMixture`."""

    kind: Literal["bfr"]
    init_params: Literal["kmeans", "k-means++", "random", "random_from_data"] = Field(
        default="kmeans", description="kmeans, k-means++, random or random_from_data"
    )
    batch_rows: Count | None = Field(
        default=None, description=f"{COUNT}: rows of a round; as many as 24 MiB hold if left out"
    )
    sample_rows: Count | None = Field(
        default=None, description=f"{COUNT}: rows that the start is made from; 400 per free parameter if left out"
    )
    buffer_rows: int = Field(
        default=10_000, ge=0, le=2**31 - 1, description="a whole number of at least 0: rows that are retained, at most"
    )
    primary: Literal["certain", "mahalanobis"] = Field(default="certain", description="certain or mahalanobis")
    primary_fraction: float = Field(default=0.5, ge=0.0, le=1.0, description="a number from 0 to 1")
    secondary_tightness: float = Field(default=0.125, gt=0.0, description="a number above 0")
    forgetting: float = Field(default=1.0, gt=0.0, le=1.0, description="a number above 0 and at most 1")
    inner_max_iter: Count = Field(default=10, description=f"{COUNT}: EM iterations of a round, at most")
    refine_passes: int = Field(
        default=0, ge=0, le=2**31 - 1, description="a whole number of at least 0: EM iterations after the scan"
    )
    missing: Literal["raise", "drop"] = Field(
        default="raise", description="raise or drop: what is done about rows with missing values"
    )


class SavedSection(Section):
    """A model that is there already."""

    kind: Literal["saved"]
    path: FilePath = Field(description=f"{PATH}, of a model that dgmm wrote")
    rare: float = Field(
        default=1e-3,
        gt=0.0,
        lt=1.0,
        description="a number above 0 and below 1: rows are called rare whose density is below that of this share of "
        "the rows that the model itself would draw",
    )


def _model_kind(value: Any) -> str:
    kind = value.get("kind", "gaussian_mixture") if isinstance(value, dict) else getattr(value, "kind", "")
    return kind if isinstance(kind, str) else ""


AnyModel = Annotated[
    Annotated[ModelSection, Tag("gaussian_mixture")]
    | Annotated[ScanSection, Tag("bfr")]
    | Annotated[SelectionSection, Tag("selection")]
    | Annotated[SavedSection, Tag("saved")],
    Discriminator(_model_kind),
]


class RefitSection(Section):
    """When a refit takes the place of the model before."""

    keep: Count = Field(default=7, description=f"{COUNT}: models before the current one that are kept")
    min_gain: Annotated[Any, BeforeValidator(_number_or_auto)] = Field(
        default="auto",
        description="a number of at least 0, or auto (what chance alone would not give): nats per row by which the "
        "new model must describe the rows better",
    )
    max_drift: float | None = Field(
        default=10.0,
        gt=0.0,
        description="a number above 0, or null for any: nats per row by which the rows may be less likely under the "
        "last model than those of its own fit",
    )
    max_distance: float | None = Field(
        default=0.9,
        gt=0.0,
        le=1.0,
        description="a number above 0 and at most 1, or null for any: Hellinger distance by which a component may move",
    )
