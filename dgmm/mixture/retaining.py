"""Rows that one scan keeps as they are, because the model is not sure of them yet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2

from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.sampling import Candidates, row_keys, threshold_for, uniforms
from dgmm.mixture.sizes import Sized
from dgmm.mixture.statistics import SufficientStatistics, weighty_rows

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk
    from dgmm.mixture.compiled import CompiledMixture
    from dgmm.mixture.parameters import MixtureParameters
    from dgmm.typing import Array, FloatArray, IntArray

# Share of a component's own rows that are taken for strangers.
_STRANGE = 1e-4
# Doubt by distance, where there is no other.
_TIE = 1e-9


@cache
def _reach(d: int) -> float:
    """Squared Mahalanobis distance beyond which rows of d features are strange."""
    return float(chi2.isf(_STRANGE, d))


@dataclass(frozen=True)
class RetainedRows(Sized):
    """Rows that are kept as they are.

    Attributes
    ----------
    rows : (m, d) float32 or float64
        In the user's units.
    weights : (m,) float64
        In units of the fit's ``2**exponent``.
    """

    rows: Array
    weights: FloatArray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, kept: Array | slice) -> RetainedRows:
        """Some of the rows."""
        return RetainedRows(self.rows[kept], self.weights[kept])

    def joined(self, other: RetainedRows) -> RetainedRows:
        """The rows of both."""
        return RetainedRows(np.concatenate([self.rows, other.rows]), np.concatenate([self.weights, other.weights]))

    def merge(self, other: RetainedRows) -> RetainedRows:
        """The rows of both, as a record of a pass."""
        return self.joined(other)


@dataclass(frozen=True)
class RowsMap(Sized):
    """Maps rows to themselves.

    Attributes
    ----------
    exponent : int
        Weights are taken in units of ``2**exponent``.
    """

    exponent: int = 0

    name = "rows"

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> RetainedRows:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        X, kept = weighty_rows(X, weights, self.exponent)
        return RetainedRows(np.array(X), np.ones(len(X)) if kept is None else kept)


@dataclass(frozen=True)
class Verdict:
    """What a model says of some rows.

    Attributes
    ----------
    labels : (n,) int64
        Their most probable components.
    doubt : (n,) float64
        How unsure that is: 1 less the posterior probability, below 1; from 1 to 2 for strange rows,
        which are of no component at all. Of equally sure rows the outer ones are less so.
    squared : (n,) float64
        Squared Mahalanobis distance to the component's mean.
    strange : (n,) bool
    """

    labels: IntArray
    doubt: FloatArray
    squared: FloatArray
    strange: Array


@dataclass(frozen=True)
class Appraisal(Sized):
    """A model that rows are judged by.

    Attributes
    ----------
    compiled : CompiledMixture
    log_peaks : (K,) float64
        ``log(pi_k N_k)`` at each component's mean, in the user's units.
    """

    compiled: CompiledMixture
    log_peaks: FloatArray

    @classmethod
    def of(cls, compiled: CompiledMixture, parameters: MixtureParameters) -> Appraisal:
        """Make it for a mixture and its compiled form."""
        return cls(compiled, compiled.family.log_constants(parameters) - compiled.coordinates.log_det)

    def __call__(self, X: Array) -> Verdict:
        """Judge rows, (n, d)."""
        labels, shares, logits = BlockKernel(self.compiled).most_probable(X)
        squared = 2.0 * (self.log_peaks[labels] - logits)
        reach = _reach(self.compiled.n_features)
        strange = squared > reach
        distance = np.maximum(squared, 0.0) / reach
        doubt = np.where(strange, 2.0 - 1.0 / np.maximum(distance, 1.0), 1.0 - shares + _TIE * distance)
        return Verdict(labels, doubt, squared, strange)


@dataclass(frozen=True)
class Discarded(Sized):
    """What the rows of a round leave behind, and those among them that may be retained.

    Attributes
    ----------
    soft : SufficientStatistics
        Of all rows that are not in ``hard``, weighed over the components.
    hard : SufficientStatistics
        Of rows that belong to one component altogether.
    candidates : Candidates
        Rows of ``soft``; keys are doubts, negated.
    """

    soft: SufficientStatistics
    hard: SufficientStatistics
    candidates: Candidates

    def merge(self, other: Discarded) -> Discarded:
        """The record of both sets of rows."""
        return Discarded(
            self.soft.merge(other.soft), self.hard.merge(other.hard), self.candidates.merge(other.candidates)
        )


@dataclass(frozen=True)
class DiscardMap(Sized):
    """Maps rows to what they leave behind when they are discarded.

    Attributes
    ----------
    appraisal : Appraisal
    size : int
        Rows that are retained, at most.
    seed, stream : int
        Of the rows that are examined.
    examined : float
        Share of the rows, drawn by their index, that may be retained: the others leave unseen,
        which costs no more than an EM pass. All are where there is a radius.
    radius_squared : float
        Rows of a smaller squared Mahalanobis distance belong to their component altogether;
        0 for none.
    exponent : int
        Weights are taken in units of ``2**exponent``.

    Notes
    -----
    The radius is that of the primary compression of Bradley, Fayyad and Reina (1998), "Scaling
    clustering algorithms to large databases", KDD, section 3.1.
    """

    appraisal: Appraisal
    size: int
    seed: int = 0
    stream: int = 0
    examined: float = 1.0
    radius_squared: float = 0.0
    exponent: int = 0

    name = "discard"

    @staticmethod
    def radius_squared_of(fraction: float, d: int) -> float:
        """Squared Mahalanobis distance that a fraction of a component's rows stay below."""
        return float(chi2.ppf(fraction, d))

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> Discarded:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        seen = self._seen(len(X), weights, chunk)
        X, w = weighty_rows(X, weights, self.exponent)
        kernel = BlockKernel(self.appraisal.compiled)
        if self.radius_squared == 0.0:
            rows, own = X[seen], np.ones(len(seen)) if w is None else w[seen]
            candidates = Candidates.of(self.size, -self.appraisal(rows).doubt, rows, own)
            soft = kernel.statistics(X, w)
            none = SufficientStatistics.zero(soft.reference, (len(soft.second), soft.second.shape[1]))
            return Discarded(soft, none, candidates)
        if w is None:
            w = np.ones(len(X))
        verdict = self.appraisal(X)
        inside = verdict.squared < self.radius_squared
        labels, every = verdict.labels[inside], np.arange(kernel.compiled.n_components)[:, None]

        def give(rows: slice) -> FloatArray:
            return np.asarray(labels[rows] == every, dtype=np.float64)

        hard = kernel.given_statistics(X[inside], give, w[inside])
        X, w = X[~inside], w[~inside]
        return Discarded(kernel.statistics(X, w), hard, Candidates.of(self.size, -verdict.doubt[~inside], X, w))

    def _seen(self, n: int, weights: FloatArray | None, chunk: Chunk) -> IntArray:
        """Places of the rows that are examined, among those of positive weight."""
        if self.examined >= 1.0:
            seen = np.ones(n, dtype=bool)
        else:
            seen = row_keys(self.seed, chunk.first_row or 0, n, self.stream) < np.uint64(self.examined * 2.0**64)
        return np.flatnonzero(seen if weights is None else seen[weights > 0.0])


@dataclass(frozen=True)
class DrawMap(Sized):
    """Maps rows to a uniform sample of them, drawn by their index.

    Attributes
    ----------
    size : int
        Rows that are wanted in any case.
    seed, stream : int
    exponent : int
        Weights are taken in units of ``2**exponent``.
    sample_rows : int
        Rows of a sample that others are in already.
    limit : float
        Largest key, from 0 to 1, with which a row may belong to that sample.
    """

    size: int
    seed: int
    stream: int
    exponent: int = 0
    sample_rows: int = 0
    limit: float = 0.0

    name = "draw"

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> Candidates:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        keys = uniforms(row_keys(self.seed, chunk.first_row or 0, len(X), self.stream))
        if weights is not None:
            keys = keys[weights > 0.0]
        X, kept = weighty_rows(X, weights, self.exponent)
        few = np.flatnonzero(keys <= max(self.limit, 2.0**-64 * threshold_for(self.size, len(X))))
        own = np.ones(len(few)) if kept is None else kept[few]
        return Candidates.of(max(self.size, self.sample_rows), keys[few], X[few], own)
