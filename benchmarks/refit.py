"""What does chance alone give a refit, where every night's rows are of the same kind?

Each case is a mixture that nights of rows are drawn from. A model is fitted to the first night; each later one is
fitted from the current one, compared with it, and takes its place or not, as in a job with ``refit: {}``. "gain / n":
the gain of the new model over what is expected of chance, ``p / 2 (1 / n + 1 / n)`` nats per row, the mean over the
nights and the largest; "asked": what ``min_gain: auto`` asks for. "distance": the Hellinger distance by which the
component moved that moved most, in the median night and the worst. "rare": share of the rows that are rare, 0.001 by
definition. "t" is Student's, whose tails no Gaussian has. Fits stop by ``tol="auto"``, or by the tol that is named.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, introduce
from dgmm import GaussianMixture
from dgmm.jobs.models import RefitSection
from dgmm.jobs.refit import RARE, Comparison, Level, reasons
from dgmm.typing import FloatArray

NIGHTS = 12


@dataclass(frozen=True)
class Kind:
    """What the rows of a night are drawn from: K clusters, at places ``spread`` apart."""

    name: str
    d: int
    k: int
    spread: float
    family: str = "full"
    tail: float | None = None
    tol: float | str = "auto"

    def night(self, seed: int, n: int) -> FloatArray:
        """Draw the rows of a night, (n, d)."""
        fixed, rng = np.random.default_rng(1), np.random.default_rng(seed)
        centres = fixed.normal(size=(self.k, self.d)) * self.spread
        shares = fixed.dirichlet(np.full(self.k, 3.0))
        factors = fixed.normal(size=(self.k, self.d, self.d)) * 0.4 + np.eye(self.d)
        which, noise = rng.choice(self.k, size=n, p=shares), rng.normal(size=(n, self.d))
        if self.tail is not None:
            noise /= np.sqrt(rng.chisquare(self.tail, size=(n, 1)) / self.tail)
        rows: FloatArray = centres[which] + np.einsum("nij,nj->ni", factors[which], noise)
        return rows


KINDS = (
    Kind("apart", 3, 5, 6.0),
    Kind("overlap", 3, 5, 1.5),
    Kind("overlap, 1e-3", 3, 5, 1.5, tol=1e-3),
    Kind("t", 3, 5, 6.0, tail=4.0),
    Kind("t, too many", 2, 12, 3.0, tail=5.0),
    Kind("diag", 8, 8, 2.0, family="diag"),
    Kind("full", 8, 8, 2.0),
)


def nights(kind: Kind, n: int, count: int, section: RefitSection) -> list[Comparison]:
    """Refit to nights of n rows."""
    options = {"covariance_type": kind.family, "tol": kind.tol, "max_iter": 500, "random_state": 0}
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        last = GaussianMixture(kind.k, **options).fit(kind.night(1000, n))
        level, below = Level(last.score(kind.night(1000, n)), n), last._rare_below(RARE)
        for seed in range(count):
            rows = kind.night(seed, n)
            new = GaussianMixture(
                kind.k,
                **options,
                weights_init=last.weights_,
                means_init=last.means_,
                precisions_init=last.precisions_,
            ).fit(rows)
            own = Level(new.score(rows), n)
            found.append(Comparison.of(last, level, new, last._score(rows, None, rare_below=below), own))
            if not reasons(found[-1], section):
                last, level, below = new, own, new._rare_below(RARE)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = arguments(__doc__, argv)
    introduce(options)
    sizes, count = ((1_000,), 2) if options.quick else ((5_000, 50_000), NIGHTS)
    columns = {
        "rows are": "<16",
        "d": "2d",
        "K": "2d",
        "n": "6d",
        "gain / n": "8.2f",
        "largest": "7.2f",
        "asked": "5.2f",
    }
    columns |= {"promoted": "8d", "distance": "8.3f", "worst": "5.3f", "rare": "6.4f"}
    table = Table(f"what chance alone gives in {count} nights", columns)
    section = RefitSection()
    for n in sizes:
        for kind in KINDS:
            found = nights(kind, n, count, section)
            family = GaussianMixture(kind.k, covariance_type=kind.family)
            chance = family._family.n_parameters(kind.k, kind.d) / n
            gains = np.array([one.gain for one in found]) / chance
            moved = np.array([one.match.distances.max() for one in found])
            table.row(
                kind.name,
                kind.d,
                kind.k,
                n,
                gains.mean(),
                gains.max(),
                found[0].chance / chance,
                sum(not reasons(one, section) for one in found),
                float(np.median(moved)),
                moved.max(),
                float(np.mean([one.rare_share for one in found])),
            )


if __name__ == "__main__":
    main()
