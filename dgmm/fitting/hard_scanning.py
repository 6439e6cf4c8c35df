"""One scan of hard clusters as values: what it is told, and where it is between two rounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.mixture.clusters import AssignMap, shapes
from dgmm.mixture.retaining import RetainedRows
from dgmm.mixture.sizes import Sized

if TYPE_CHECKING:
    from dgmm.fitting.scanning import Purpose
    from dgmm.mixture.compiled import KernelOptions
    from dgmm.mixture.parameters import Coordinates, MixtureParameters
    from dgmm.mixture.summaries import Summaries
    from dgmm.typing import FloatArray


@dataclass(frozen=True)
class HardSetup:
    """What is clustered, and how: all that does not change while rows arrive.

    Attributes
    ----------
    n_clusters : int
    init : str
        ``"k-means++"`` or ``"random"``.
    centres : (K, d) float64 or None
        Where the user wants the clusters to start, in the user's units.
    n_init : int
        Starts that are compared.
    threshold : float
        Mahalanobis distance below which a row joins its nearest cluster, in units of ``sqrt(d)``.
    tightness : float
        Variance of a compressed set, at most, in units of its nearest cluster's.
    batch_rows : int
        Rows of a round; the first ones make the start.
    buffer_rows : int
        Rows that are retained between rounds, at most.
    options : KernelOptions
    seed : int
        Of all random choices.
    """

    n_clusters: int
    init: str
    centres: FloatArray | None
    n_init: int
    threshold: float
    tightness: float
    batch_rows: int
    buffer_rows: int
    options: KernelOptions
    seed: int = 0

    def random(self, purpose: Purpose, number: int = 0) -> np.random.RandomState:
        """Random numbers of their own for each purpose in each round."""
        return np.random.RandomState([self.seed % 2**32, int(purpose), number])

    def radius_squared(self, d: int) -> float:
        """Squared Mahalanobis distance below which rows join."""
        return self.threshold**2 * d


@dataclass(frozen=True)
class HardSets(Sized):
    """The clusters of a scan that has begun, and the sets that are none.

    Attributes
    ----------
    coordinates : Coordinates
        Of the first rows; they stay.
    clusters : MixtureParameters
        What rows are compared with, in inner coordinates: see :func:`~dgmm.mixture.clusters.shapes`.
    discard : Summaries
        (K,): the rows of each cluster.
    compressed : Summaries
        Tight sets of rows of no cluster.
    exponent : int
        Weights are in units of ``2**exponent``.
    """

    coordinates: Coordinates
    clusters: MixtureParameters
    discard: Summaries
    compressed: Summaries
    exponent: int


@dataclass(frozen=True)
class HardState(Sized):
    """Where a scan of hard clusters is between two rounds.

    Attributes
    ----------
    retained : RetainedRows
        Rows of no cluster; before the start, all rows so far.
    sets : HardSets or None
        None before the start.
    n_rows : int
        Rows of positive weight so far.
    weight : float
        Of these rows, in units of ``2**exponent``; 0 before the start.
    n_rounds : int
    n_moved : int
        Compressed sets so far that became clusters.
    n_unseen : int
        Rows of no cluster that came since tight groups of them were last looked for.
    """

    retained: RetainedRows
    sets: HardSets | None = None
    n_rows: int = 0
    weight: float = 0.0
    n_rounds: int = 0
    n_moved: int = 0
    n_unseen: int = 0

    @classmethod
    def empty(cls, d: int, dtype: np.dtype[Any]) -> HardState:
        """The state before the first round."""
        return cls(RetainedRows(np.empty((0, d), dtype=dtype), np.empty(0)))

    @property
    def lower_bound(self) -> None:
        """There is no density, and so no bound of one."""
        return None

    @property
    def begun(self) -> HardSets:
        """The sets of a scan that has begun."""
        if self.sets is None:
            raise AssertionError("the scan has not begun")
        return self.sets

    @property
    def n_features(self) -> int:
        """Number of features, d."""
        return int(self.retained.rows.shape[1])

    @property
    def row(self) -> float:
        """Weight of one row, in the mean: 1, unless weights are no counts but normalised."""
        return self.weight / max(float(np.ldexp(self.weight, self.begun.exponent)), self.n_rows)

    def assigning(self, setup: HardSetup, radius_squared: float = np.inf, exponent: int = 0) -> AssignMap:
        """The map that gives rows to the clusters; weights of rows that are kept are in its units already."""
        sets = self.begun
        return AssignMap.of(sets.clusters, sets.coordinates, setup.options, radius_squared, exponent)

    def keeping(self, compressed: Summaries | None = None, retained: RetainedRows | None = None) -> HardState:
        """The same with other rows or sets that are of no cluster."""
        sets = self.begun if compressed is None else replace(self.begun, compressed=compressed)
        return replace(self, sets=sets, retained=self.retained if retained is None else retained)

    def grown(self, own: Summaries) -> HardState:
        """The same after rows joined the clusters, (K,) sums."""
        return self.with_clusters(self.begun.discard.plus(own))

    def with_clusters(self, discard: Summaries) -> HardState:
        """The same with clusters of other rows, (K,) sums, and the shapes that come of them."""
        changed = replace(self, sets=replace(self.begun, discard=discard))
        clusters = shapes(discard, changed.row, self.begun.clusters)
        return replace(changed, sets=replace(changed.begun, clusters=clusters))
