"""Log-likelihood and entropy of given rows under a mixture, as a pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import DataError
from dgmm.mixture.checks import check_finite, describe_defects
from dgmm.mixture.defects import Defects
from dgmm.mixture.patterns import parts
from dgmm.mixture.statistics import weighty_rows

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk
    from dgmm.mixture.compiled import CompiledMixture
    from dgmm.typing import Array, FloatArray


@dataclass(frozen=True)
class Score:
    """What a model's likelihood, AIC, BIC and ICL are made of.

    Attributes
    ----------
    log_likelihood : float
        Weighted sum of log-densities, in nats.
    entropy : float
        Weighted sum of the entropies of the responsibilities, in nats; 0 if not asked for.
    total_weight : float
    n_rows : int
    rare_weight : float
        Weight of the rows of a log-density below what was asked about; 0 if nothing was.
    """

    log_likelihood: float
    entropy: float
    total_weight: float
    n_rows: int
    rare_weight: float = 0.0

    def merge(self, other: Score) -> Score:
        """The scores of both sets of rows."""
        return Score(
            self.log_likelihood + other.log_likelihood,
            self.entropy + other.entropy,
            self.total_weight + other.total_weight,
            self.n_rows + other.n_rows,
            self.rare_weight + other.rare_weight,
        )


@dataclass(frozen=True)
class ScoreMap:
    """Maps rows to their :class:`Score`.

    Attributes
    ----------
    compiled : CompiledMixture
    entropy : bool
        Whether the entropy is wanted.
    missing : bool
        Whether values may be missing in rows of positive weight.
    rare_below : float
        Log-density below which the weight of rows is counted, in nats.
    """

    compiled: CompiledMixture
    entropy: bool = False
    missing: bool = False
    rare_below: float = -np.inf

    name = "score"

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> Score:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        check_finite(X, chunk, weights, missing=self.missing)
        if weights is not None:
            check_weights(weights, chunk)
        X, kept = weighty_rows(X, weights)
        w = np.ones(len(X)) if kept is None else kept
        log_likelihood = entropy = rare = 0.0
        for kernel, own, rows in parts(self.compiled, X):
            densities = kernel.score_samples(own)
            log_likelihood += float(np.dot(densities, w[rows]))
            entropy += kernel.entropy(own, w[rows]) if self.entropy else 0.0
            rare += float(w[rows] @ (densities < self.rare_below))
        return Score(log_likelihood, entropy, float(w.sum()), chunk.n_rows, rare)


def check_weights(weights: FloatArray, chunk: Chunk) -> None:
    """Refuse weights, (n,), that are none; raises DataError with the place of the first."""
    defects = Defects.find(~((weights >= 0.0) & (weights < np.inf)), weights, chunk)
    if defects.count:
        raise DataError(f"sample_weight contains {describe_defects(defects, chunk)}; weights are counts, 0 or more")
