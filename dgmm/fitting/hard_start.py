"""Where hard clusters start: the best of several starts on the first rows, and what is the best there is there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import DataError
from dgmm.fitting.hard_scanning import HardSets
from dgmm.fitting.scanning import Purpose
from dgmm.fitting.start import ArrayPass
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.clusters import FAMILY, AssignMap, shapes, surplus_clusters, total_energy
from dgmm.mixture.moments import MomentsMap
from dgmm.mixture.seeding import CENTRES, nearest_centres
from dgmm.mixture.summaries import Summaries

if TYPE_CHECKING:
    from dgmm.fitting.hard_scanning import HardSetup, HardState
    from dgmm.mixture.parameters import Coordinates, MixtureParameters
    from dgmm.typing import FloatArray

INIT = ("k-means++", "random")
"""Names that ``init`` takes."""

# Rows that starts are compared on.
_SHORT_ROWS, _ROWS_PER_CLUSTER = 20_000, 200
# Assignments of all rows, at most, and what the last one but one gains in nats per row.
_ASSIGNMENTS, _SMALL = 50, 1e-4

# Of rows that come later, in standard deviations of the first ones.
_REACH = 1e100
_ADVICE = "scale the input data"


def start_clusters(setup: HardSetup, state: HardState) -> HardState:
    """Begin with the rows that the state holds: coordinates and clusters; all rows join one.

    Raises
    ------
    DataError
        If the rows have no variances in float64.
    """
    held, d, k = state.retained, state.retained.rows.shape[1], setup.n_clusters
    weights = None if (held.weights == 1.0).all() else held.weights
    size = max(_SHORT_ROWS, _ROWS_PER_CLUSTER * k)
    moments = MomentsMap(setup.seed, size)(held.rows, weights, Chunk(0, 0, len(held)))
    lost = ~np.isfinite(np.diagonal(moments.scatter))
    if lost.any():
        raise DataError(f"the variance of feature {int(lost.argmax())} overflows float64; {_ADVICE}")
    coordinates = FAMILY.form.coordinates(moments.mean, moments.covariance)
    row = moments.weight / max(moments.total_weight, float(moments.n_positive))
    sample = moments.sample
    short, whole = ArrayPass(sample.rows, sample.weights), ArrayPass(held.rows, held.weights)

    def climb(
        runner: ArrayPass, clusters: MixtureParameters, exponent: int
    ) -> tuple[float, MixtureParameters, Summaries]:
        """Assign all rows to clusters, and take those of what comes of it, until the energy falls by little."""
        least = np.inf
        for _ in range(_ASSIGNMENTS):
            assigned = runner(AssignMap.of(clusters, coordinates, setup.options, exponent=exponent))
            sums = Summaries.of_statistics(assigned.inside, FAMILY)
            reached = total_energy(sums, row)
            clusters = shapes(sums, row, clusters)
            if not least - reached > _SMALL * sums.total_weight:
                break
            least = reached
        return reached, clusters, sums

    z = coordinates.standardize(sample.rows)
    rng = setup.random(Purpose.START)
    found = [
        climb(short, first, 0)[:2]
        for first in (
            _first(setup, coordinates, z, sample.weights, row, rng)
            for _ in range(1 if setup.centres is not None else setup.n_init)
        )
    ]
    best = min(range(len(found)), key=lambda number: found[number][0])
    _, clusters, sums = climb(whole, found[best][1], moments.exponent)
    none = held.take(np.empty(0, dtype=np.int64))
    sets = HardSets(coordinates, clusters, sums, Summaries.none(FAMILY, d), moments.exponent)
    return replace(state, retained=none, sets=sets, weight=moments.weight)


def _first(
    setup: HardSetup,
    coordinates: Coordinates,
    z: FloatArray,
    weights: FloatArray,
    row: float,
    rng: np.random.RandomState,
) -> MixtureParameters:
    """Clusters to begin with, of a sample's rows (m, d) in inner coordinates."""
    k = setup.n_clusters
    if setup.centres is not None:
        centres = coordinates.standardize(setup.centres)
        sums = Summaries.of_groups(FAMILY, z, weights, nearest_centres(z, centres), k)
    elif setup.init == "random":
        centres = CENTRES["random_from_data"](z, weights, k, rng)
        sums = Summaries.of_groups(FAMILY, z, weights, nearest_centres(z, centres), k)
    else:
        found = surplus_clusters(z, weights, k, row, rng)
        centres = np.resize(found.means, (k, z.shape[1]))
        sums = Summaries.of_components(FAMILY, k, z.shape[1])
        for whole, part in ((sums.weight, found.weight), (sums.first, found.first), (sums.second, found.second)):
            whole[: len(found)] = part
    return shapes(sums, row, FAMILY.parameters(np.full(k, 1.0 / k), centres, np.ones_like(centres)))


def check_reach(z: FloatArray) -> None:
    """Refuse rows, (n, d) in inner coordinates, whose squares are of no use; raises DataError."""
    lost = ~(np.abs(z) < _REACH)
    if lost.any():
        raise DataError(f"the variance of feature {int(lost.any(axis=0).argmax())} overflows float64; {_ADVICE}")
