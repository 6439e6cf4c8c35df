"""What do missing values cost, by the number of patterns?

One E-step over rows of which a part is missing, beside one over as many complete rows: one thread,
in memory, the driver's part left out. Rows go through in chunks of two lengths, the plan's own and
that which tables in memory are cut into where values are missing. Each pattern of a chunk has a
price of its own, so what counts is the rows of a pattern in a chunk. "row by row" is the
textbook's loop in numpy over some of the rows, times as long per row as dgmm's on the longer chunks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, interleaved, introduce, one_thread
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.compiled import CompiledMixture, compile_mixture
from dgmm.mixture.families import get_family
from dgmm.mixture.kernel import StatisticsMap
from dgmm.mixture.marginal import MarginalMixture, e_step
from dgmm.mixture.merging import merge_in_order
from dgmm.mixture.parameters import Coordinates, MixtureParameters
from dgmm.mixture.statistics import SufficientStatistics
from dgmm.passes.plan import ExecutionPlan

SHAPES = (("full", 8, 8), ("full", 16, 8), ("tied", 8, 8), ("diag", 8, 8), ("spherical", 8, 8))
"""(family, d, K)."""

PATTERNS = (1, 2, 4, 16, 64, 255, 1000, 4000)
"""Numbers of patterns; those of more than there are, 2^d - 1, are left out."""

LONGER = 8
"""Times the plan's length of a chunk; see ``dgmm.estimators._inputs``."""

SHARE = 0.3


def draw_patterns(d: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Different patterns, (count, d) bool: the complete one, and others by how likely they are at random."""
    found = {(False,) * d}
    while len(found) < count:
        drawn = rng.random((4 * count, d)) < (SHARE if len(found) < count // 2 else 0.5)
        found |= {tuple(row) for row in drawn.tolist() if not all(row)}
    others = sorted(found - {(False,) * d})
    rng.shuffle(others)
    return np.array([(False,) * d, *others])[:count]


def mixture(family_name: str, d: int, k: int) -> tuple[MixtureParameters, Coordinates]:
    """Parameters that overlap, in coordinates of unit scale."""
    rng, family = np.random.default_rng(0), get_family(family_name)
    root = rng.normal(size=(k, d, 2 * d))
    full = root @ np.swapaxes(root, 1, 2) / (2 * d)
    covariances = {
        "full": full, "tied": full[:1], "diag": np.diagonal(full, axis1=1, axis2=2).copy(),
        "spherical": np.ones((k, 1)),
    }[family_name]  # fmt: skip
    parameters = family.parameters(np.full(k, 1.0 / k), rng.normal(size=(k, d)), covariances)
    scale = np.eye(d) if len(family.form.shape(d)) == 2 else np.ones(d)
    return parameters, Coordinates(np.zeros(d), scale)


def e_steps(compiled: CompiledMixture, X: np.ndarray, length: int) -> SufficientStatistics:
    """A pass over rows in chunks of a length; as after an M-step, what the mixture keeps is made anew."""
    chunk_map: StatisticsMap = e_step(compiled)
    if isinstance(compiled, MarginalMixture):
        chunk_map = e_step(MarginalMixture.of(compiled, compiled.parameters, compiled.rows_dtype, compiled.options))
    starts = range(0, len(X), length)
    return merge_in_order(chunk_map(X[i : i + length], None, Chunk(0, i, len(X[i : i + length]))) for i in starts)


def row_by_row(parameters: MixtureParameters, covariances: np.ndarray, X: np.ndarray) -> None:
    """The textbook's E-step: of each row and component the density of what is there, and expectations of the rest."""
    k, d = parameters.means.shape
    first, second = np.zeros((k, d)), np.zeros((k, d, d))
    for row in X:
        o, m = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
        logits, filled, spreads = np.empty(k), np.tile(row, (k, 1)), np.zeros((k, d, d))
        for i, (mean, covariance) in enumerate(zip(parameters.means, covariances, strict=True)):
            inverse = np.linalg.inv(covariance[np.ix_(o, o)])
            offset, slope = row[o] - mean[o], covariance[np.ix_(m, o)] @ inverse
            log_det = np.linalg.slogdet(covariance[np.ix_(o, o)])[1]
            logits[i] = np.log(parameters.weights[i]) - 0.5 * (offset @ inverse @ offset + log_det)
            filled[i, m] = mean[m] + slope @ offset
            spreads[i][np.ix_(m, m)] = covariance[np.ix_(m, m)] - slope @ covariance[np.ix_(o, m)]
        r = np.exp(logits - logits.max())
        r /= r.sum()
        first += r[:, None] * filled
        second += r[:, None, None] * (filled[:, :, None] * filled[:, None, :] + spreads)


def print_costs(*, quick: bool) -> None:
    """Print the table."""
    table = Table(
        f"an E-step, times that of complete rows; {SHARE:.0%} or more of the values of a pattern missing",
        {"family": "<9s", "d": "2d", "K": "2d", "patterns": "8d", "rows": "7d", "of a pattern": "12.0f",
         "plan's chunks": "13.1f", "longer ones": "11.1f", "differ": "6.0e", "row by row": "10.0f"},
    )  # fmt: skip
    for family_name, d, k in SHAPES:
        family, plan = get_family(family_name), ExecutionPlan.choose(get_family(family_name), k, d)
        parameters, coordinates = mixture(family_name, d, k)
        length = 500 if quick else plan.chunk_rows
        rng, n = np.random.default_rng(1), 2 * LONGER * length
        X = rng.normal(size=(n, d))
        compiled = compile_mixture(family, parameters, coordinates, X.dtype, plan.options)
        plain = compile_mixture(family, parameters, coordinates, X.dtype, plan.options, whole_density=False)
        e_steps(plain, X[:100], 100)  # fetches machine code
        marginal = MarginalMixture.of(compiled, parameters, X.dtype, plan.options)
        covariances = np.broadcast_to(family.form.full(parameters.covariances, d), (k, d, d))
        for count in PATTERNS:
            if count > 2**d - 1 or count > n // 10 or (family_name != "full" and count not in (1, 16, 255)):
                continue
            patterns = draw_patterns(d, count, rng)
            gaps = np.where(patterns[rng.integers(0, count, n)], np.nan, X)
            seconds = interleaved(
                {
                    "complete": partial(e_steps, plain, X, length),
                    "plan's": partial(e_steps, marginal, gaps, length),
                    "longer": partial(e_steps, marginal, gaps, LONGER * length),
                },
                1 if quick else 3,
            )
            a, b = (e_steps(marginal, gaps, times * length).log_likelihood for times in (1, LONGER))
            some = gaps[: 20 if quick else 200]
            began = time.thread_time()
            row_by_row(parameters, covariances, some)
            slow = (time.thread_time() - began) / len(some)
            table.row(
                family_name, d, k, count, n, LONGER * length / count, seconds["plan's"] / seconds["complete"],
                seconds["longer"] / seconds["complete"], abs(a - b) / abs(a), slow * n / seconds["longer"],
            )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = arguments(__doc__, argv)
    introduce(options)
    with one_thread():
        print_costs(quick=options.quick)


if __name__ == "__main__":
    main()
