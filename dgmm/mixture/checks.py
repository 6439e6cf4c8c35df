"""Judgements on data after their moments are known, and the sentences that say so."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import DataError, IllDefinedCovarianceError, ParameterError, RegularizationWarning
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.defects import Defects

if TYPE_CHECKING:
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.mixture.moments import Moments
    from dgmm.mixture.parameters import Coordinates
    from dgmm.typing import Array, FloatArray

_SWAMPED = 0.01
# Beyond it, in the data's own scale, squares leave the range of float64.
_REACH = 1e100
_ADVICE = (
    "drop or impute them (missing='drop' leaves out rows with NaN; missing='marginalize' of GaussianMixture "
    "fits what is there of them)"
)
_ADVICE_ON_INFINITY = "drop or impute them; only NaN may stand for missing values"
# Inverses of smaller variances, and what is computed from them, leave it too.
_LEAST = 1e-306


def describe_defects(defects: Defects, chunk: Chunk) -> str:
    """Say what the first bad value is and where, in words; ``chunk`` is the block that has it."""
    first_row = chunk.first_row
    if first_row is not None:
        first_row += sum(chunk.lengths[: defects.chunk - chunk.index])
    name = "NaN" if np.isnan(defects.value) else "infinity" if np.isinf(defects.value) else f"{defects.value:g}"
    place = f"chunk {defects.chunk}, row {defects.row}"
    if first_row is not None and first_row > 0:
        place += f" (row {first_row + defects.row} of the data)"
    if defects.feature >= 0:
        place += f", feature {defects.feature}"
    return f"{name}, first at {place}"


def check_finite(
    X: Array, chunk: Chunk, weights: FloatArray | None = None, *, missing: bool = False, because: str | None = None
) -> None:
    """Refuse rows of positive weight with infinity or, unless values may be missing, NaN.

    ``because`` says what such rows lack, and what to do, where it is not a density.

    Raises
    ------
    DataError
        With the place of the first.
    """
    if X.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(X.sum()):
            return
    bad = np.isinf(X) if missing else ~np.isfinite(X)
    if weights is not None:
        bad &= (weights > 0.0)[:, None]
    defects = Defects.find(bad, X, chunk)
    if defects.count:
        because = because or f"densities of such rows do not exist: {_advice(defects)}"
        raise DataError(f"X contains {describe_defects(defects, chunk)}; {because}")


def _advice(defects: Defects) -> str:
    return _ADVICE if np.isnan(defects.value) else _ADVICE_ON_INFINITY


def check_values(moments: Moments, first_chunk: int = 0, *, missing: bool = False) -> None:
    """Refuse values and weights that cannot be used.

    Parameters
    ----------
    moments : Moments
    first_chunk : int
        Number of the first chunk that the moments are of.
    missing : bool
        Whether values may be missing in rows of positive weight.

    Raises
    ------
    DataError
        With their number and the place of the first.
    """
    lengths = tuple(moments.lengths.tolist())
    whole = Chunk(first_chunk, 0 if first_chunk == 0 else None, moments.n_rows, lengths)
    defects = moments.defects
    if moments.missing is not None and not missing:
        defects = defects.merge(moments.missing.defects)
    defects = replace(defects, chunk=defects.chunk + first_chunk)
    if defects.count:
        what = "infinity" if missing else "NaN or infinity"
        raise DataError(
            f"X contains {describe_defects(defects, whole)}; {defects.count} of its "
            f"{moments.n_rows * len(moments.mean)} values are {what}: {_advice(defects)}"
        )
    defects = replace(moments.weight_defects, chunk=moments.weight_defects.chunk + first_chunk)
    if defects.count:
        raise DataError(
            f"sample_weight contains {describe_defects(defects, whole)}; "
            f"{defects.count} of the weights are negative, NaN or infinity: weights are counts, 0 or more"
        )
    defects = replace(moments.label_defects, chunk=moments.label_defects.chunk + first_chunk)
    if defects.feature >= 0:
        raise DataError(
            f"X contains {describe_defects(defects, whole)}, in a labelled row: missing values are marginalized only "
            'in rows without a label; give such rows the label -1, or leave them out with missing="drop"'
        )
    if defects.count:
        raise DataError(
            f"labels contains {describe_defects(defects, whole)}; {defects.count} of the labels are not "
            "the number of a component: they must be from 0 to n_components - 1, or -1 where it is not known"
        )


def check_moments(
    moments: Moments, family: CovarianceFamily, n_components: int, reg_covar: float, *, missing: bool = False
) -> None:
    """Refuse data that no mixture can be fitted to; ``missing``: whether values may be missing.

    Raises
    ------
    DataError
        For NaN or infinite values, bad weights, fewer rows than components, and features that
        are constant where nothing is added to their variance, or of which no value is there.
    IllDefinedCovarianceError
        For features that depend on each other where nothing is added to their variance.

    Warns
    -----
    RegularizationWarning
        If ``reg_covar`` exceeds 1% of a feature's variance.
    """
    check_values(moments, missing=missing)
    n_dropped = 0 if moments.missing is None else moments.missing.n_dropped
    if moments.n_positive == 0 and moments.n_rows > 0:
        if n_dropped:
            _refuse_missing(moments, n_dropped)
        raise DataError(f"every sample_weight of the {moments.n_rows} rows is zero; give at least one a weight above 0")
    if moments.n_positive < n_components:
        rows = f"{moments.n_positive} rows" if moments.n_positive != 1 else "1 row"
        # Rows of weight 0 may have been left out before.
        weighty = moments.n_positive and moments.n_positive == moments.n_rows
        of_weight = "" if weighty else " whose weight is not zero"
        of_weight += f" ({n_dropped} were left out for missing values)" if n_dropped else ""
        raise DataError(
            f"Found array with {moments.n_rows} sample(s) (n_samples={moments.n_rows}): there are {rows}{of_weight} "
            f"for n_components={n_components}; expected at least one row for each component: "
            f"give more rows or decrease n_components"
        )
    if moments.missing is not None and moments.missing.n_rows and not moments.n_complete:
        nothing = moments.missing.weight == 0.0
        if nothing.any():
            raise DataError(
                f"feature {int(nothing.argmax())} is missing (NaN) in every row of positive weight; drop the feature"
            )
    _check_variances(moments.whole(), family, reg_covar)


def _refuse_missing(moments: Moments, n_dropped: int) -> None:
    counts = np.zeros(1) if moments.missing is None else moments.missing.counts
    if counts.min() >= moments.n_rows:
        raise DataError(
            f"no row is left: every value of the {moments.n_rows} rows is missing (NaN); give rows with values"
        )
    feature = int(counts.argmax())
    raise DataError(
        f"no row is left: {n_dropped} of the {moments.n_rows} rows have missing values (NaN) that leave them out, "
        f"most of them feature {feature}, which is missing in {counts[feature]}; drop that feature, or "
        "use missing='marginalize'"
    )


def _check_variances(moments: Moments, family: CovarianceFamily, reg_covar: float) -> None:
    constant = moments.minimum == moments.maximum
    variances = np.diagonal(moments.covariance)
    if not np.isfinite(moments.scatter).all():
        feature = int(np.flatnonzero(~np.isfinite(moments.scatter).all(axis=0))[0])
        raise DataError(f"the variance of feature {feature} overflows float64; scale the input data")
    if reg_covar == 0.0:
        _check_unregularized(moments, family, constant)
        return
    swamped = ~constant & (reg_covar > _SWAMPED * variances)
    if swamped.any():
        feature = int(np.flatnonzero(swamped)[0])
        others = int(np.count_nonzero(swamped)) - 1
        with np.errstate(divide="ignore", over="ignore"):  # a variance may be below the smallest number
            share = reg_covar / variances[feature]
        warnings.warn(
            f"reg_covar={reg_covar:g} is {share:.0%} of the variance of feature {feature} "
            f"({variances[feature]:.3g}){f' and large for {others} more' if others else ''}: it widens every "
            "component along it; decrease reg_covar, or scale the input data",
            RegularizationWarning,
            stacklevel=9,  # the caller of fit
        )


def _check_unregularized(moments: Moments, family: CovarianceFamily, constant: Array) -> None:
    # One variance for all features exists unless all are constant.
    common = family.form.packed_size(2) == 1
    if constant.all() if common else constant.any():
        feature = int(np.flatnonzero(constant)[0])
        raise DataError(
            f"feature {feature} is constant ({moments.minimum[feature]:g} in every row), so its variance is 0 "
            "and reg_covar=0 adds nothing to it; drop the feature, or set reg_covar above 0"
        )
    variances = np.diagonal(moments.covariance)
    lost = variances < _LEAST
    if lost.all() if common else lost.any():
        feature = int(np.flatnonzero(lost)[0])
        raise DataError(
            f"the variance of feature {feature} ({variances[feature]:.3g}) has no inverse in float64, and reg_covar=0 "
            "adds nothing to it; scale the input data, or set reg_covar above 0"
        )
    dependent = family.form.dependent_feature(moments.covariance)
    if dependent is not None:
        raise IllDefinedCovarianceError(
            f"feature {dependent} is a linear combination of the features before it, in every row, so their "
            f"covariance has no inverse and reg_covar=0 adds nothing to it (covariance_type={family.name!r}); "
            "drop the feature, set reg_covar above 0, or use another covariance_type"
        )


def check_start(
    means: FloatArray | None, covariances: FloatArray | None, family: CovarianceFamily, coordinates: Coordinates
) -> None:
    """Refuse a start so far from the data that the squares in its densities do not exist.

    Parameters
    ----------
    means : (K, d) or None
    covariances : array or None
        Of inner shape; both in the user's units.
    family : CovarianceFamily
    coordinates : Coordinates
        In which the data have unit scale.

    Raises
    ------
    ParameterError
        Naming the parameter and the component.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if means is not None:
            distance = np.abs(coordinates.standardize(means)).max(axis=1)
            _check_reach(
                distance, distance < _REACH, "means_init", "from the data's mean, in their standard deviations"
            )
        if covariances is not None:
            inner = family.form.rescale(covariances, coordinates.inverse_scale)
            d = len(coordinates.shift)
            variances = np.diagonal(family.form.full(inner, d), axis1=1, axis2=2)
            largest = variances.max(axis=1)
            ok = (largest < _REACH) & (variances.min(axis=1) > 1.0 / _REACH)
            _check_reach(largest, ok, "precisions_init", "the data's variances")


def _check_reach(sizes: FloatArray, within: Array, name: str, unit: str) -> None:
    if not within.all():
        component = int(np.argmin(within))
        raise ParameterError(
            f"{name}[{component}] is out of reach: {sizes[component]:.3g} {unit}; "
            f"expected less than {_REACH:g} and more than its inverse: give a start among the data, in their units"
        )
