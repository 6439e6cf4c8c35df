"""What a report page is made of, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from dgmm.mixture.families import CovarianceFamily, get_family
from dgmm.viz.axes import names_of
from dgmm.viz.geometry import Spread, variances

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from dgmm.typing import Array, FloatArray
    from dgmm.viz.labelmap import LabelMap


Level = Literal["problem", "note"]

Note: TypeAlias = "tuple[Level, str, str, str]"
"""A finding from elsewhere."""


@dataclass(frozen=True)
class ReportContent:
    """What is told of a mixture; all but its parameters may be left out.

    Attributes
    ----------
    name : str
        Of the model or the job.
    covariance_type : str
    weights : (K,)
    means : (K, d)
    covariances : array
        Of the family's shape.
    feature_names : sequence of str, optional
    scan : bool
        Whether the model comes from one scan of the rows.
    converged : bool, optional
    stop_reason : str
        A sentence.
    lower_bounds : sequence of float
        Mean log-likelihood after each iteration, in nats per row.
    n_iter, n_reads : int, optional
        Iterations (of a scan: rounds), and reads of the data in all.
    n_rows : float, optional
        Rows, or the sum of their weights.
    remaining_gap, sampling_error : float, optional
        As the attributes of :class:`dgmm.GaussianMixture`, in nats per row.
    n_renewed : int
        How often the sample put a scan right.
    reg_covar : float
        In squared units of the features.
    log_likelihood, bic : float, optional
        Mean log-likelihood of the rows, in nats per row, and the information criterion.
    sample : (m, d), optional
        Some rows.
    certainty : (m,), optional
        Probability of the most probable component of each of these rows.
    grid : LabelMap, optional
        Labels of a picture or a map.
    draw_selection : callable, optional
        Draws, on the axes that it is given, the criterion by which the model was chosen.
    selection_words : str
        What is said of it.
    noted : sequence of (level, title, text, advice)
        What whoever made the model found, beside what is found here: see :class:`dgmm.viz.findings.Finding`.
    compared : sequence of (int, float, float, float)
        Of each component: its number, its Hellinger distance from where it was in the model before, its weight
        there, and its weight now.
    seconds : sequence of (str, float)
        What took how long.
    facts, versions : sequence of (str, str)
        What else is known of the fit, and with which packages it was made.
    """

    name: str
    covariance_type: str
    weights: Array
    means: Array
    covariances: Array
    feature_names: tuple[str, ...] | None = None
    scan: bool = False
    converged: bool | None = None
    stop_reason: str = ""
    lower_bounds: tuple[float, ...] = ()
    n_iter: int | None = None
    n_reads: int | None = None
    n_rows: float | None = None
    remaining_gap: float | None = None
    sampling_error: float | None = None
    n_renewed: int = 0
    reg_covar: float = 0.0
    log_likelihood: float | None = None
    bic: float | None = None
    sample: Array | None = None
    certainty: Array | None = None
    grid: LabelMap | None = None
    draw_selection: Callable[[Axes], object] | None = None
    selection_words: str = ""
    noted: tuple[Note, ...] = ()
    compared: tuple[tuple[int, float, float, float], ...] = ()
    seconds: tuple[tuple[str, float], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of components and features."""
        k, d = np.shape(self.means)
        return int(k), int(d)

    @property
    def family(self) -> CovarianceFamily:
        """Of the covariances."""
        return get_family(self.covariance_type)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, made up where there are none."""
        return names_of(self.feature_names, self.shape[1])

    @cached_property
    def variances(self) -> FloatArray:
        """Variances of the features in each component, (K, d)."""
        return variances(self.covariances, self.covariance_type, self.shape)

    @cached_property
    def spread(self) -> Spread:
        """Where the mixture lies as a whole."""
        return Spread.of(self.weights, np.asarray(self.means, dtype=np.float64), self.variances)
