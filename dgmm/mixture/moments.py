"""The first read of the data: is it usable, where does it lie, and a sample of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.mixture.defects import NO_DEFECTS, Defects
from dgmm.mixture.known import KnownMap, KnownRows
from dgmm.mixture.missing import Missing, merged
from dgmm.mixture.sampling import Candidates, RowSample, row_keys
from dgmm.mixture.sizes import Sized
from dgmm.mixture.statistics import weighty_rows

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk
    from dgmm.typing import Array, FloatArray, IntArray

_BLOCK = 4096
# Values of a block that stay in the cache, and rows that it has at least.
_BLOCK_VALUES, _SHORTEST = 2**17, 256
_WIDE = 48
# Relative difference up to which sums over the same rows may differ between processors.
_ROUNDING = 1e-9
# Complete rows for each feature that their correlations are taken from.
_ENOUGH = 10


@dataclass(frozen=True)
class Probe(Sized):
    """What a chunk was like, to know it by.

    Attributes
    ----------
    chunk : int
        Its number.
    n_rows : int
    weight : float
        Sum of the weights.
    mean, variance, minimum, maximum : (d,) float64
        Weighted, over the rows of positive weight; 0 where there are none.
    labels : float
        Sum of the labels, each times the number of its row, from 1 on; 0 if there are none.
    """

    chunk: int
    n_rows: int
    weight: float
    mean: FloatArray
    variance: FloatArray
    minimum: FloatArray
    maximum: FloatArray
    labels: float = 0.0

    @classmethod
    def of(cls, chunk: int, X: Array, weights: FloatArray | None, labels: Array | None = None) -> Probe:
        """Look at the rows of a chunk, (n, d), their weights and labels, (n,); missing values count as 0."""
        n_rows, weight, sum_of_labels = len(X), float(len(X)), 0.0
        if labels is not None:
            sum_of_labels = float(labels @ np.arange(1.0, n_rows + 1.0))
        if weights is not None:
            with np.errstate(over="ignore"):
                weight = float(weights.sum())
            X, weights = X[weights > 0.0], weights[weights > 0.0]
        if not len(X):
            none = np.zeros(X.shape[1])
            return cls(chunk, n_rows, weight, none, none, none, none, sum_of_labels)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scatter, minimum, maximum = summarize(np.where(np.isnan(X), 0.0, X), weights)
            variance = np.diagonal(scatter) / weight
            return cls(chunk, n_rows, weight, mean, variance, minimum, maximum, sum_of_labels)

    @classmethod
    def of_moments(cls, moments: Moments) -> Probe:
        """What all the rows of some moments were like."""
        rows = int(moments.lengths.sum())
        if not moments.n_positive:
            none = np.zeros(len(moments.mean))
            return cls(0, rows, 0.0, none, none, none, none)
        variance = np.diagonal(moments.scatter) / moments.weight
        return cls(0, rows, moments.total_weight, moments.mean, variance, moments.minimum, moments.maximum)

    def difference(self, other: Probe) -> str | None:
        """In which of its attributes ``other`` differs by more than rounding, with both values; None if in none."""
        scale = np.maximum(np.sqrt(self.variance), np.abs(self.mean))
        slacks: dict[str, Any] = {"weight": self.weight, "mean": scale, "variance": scale**2}
        for name in ("n_rows", "weight", "labels", "minimum", "maximum", "mean", "variance"):
            a, b = np.atleast_1d(getattr(self, name)), np.atleast_1d(getattr(other, name))
            with np.errstate(over="ignore", invalid="ignore"):
                near = np.abs(a - b) <= _ROUNDING * slacks.get(name, 0.0)
            differs = ~((a == b) | near | (np.isnan(a) & np.isnan(b)))
            if differs.any():
                at = int(differs.argmax())
                what = {"n_rows": "number of rows", "labels": "sum of the labels times their rows"}.get(name, name)
                feature = f" of feature {at}" if name not in ("n_rows", "weight", "labels") else ""
                return f"the {what}{feature} is {b[at]:.6g}, not {a[at]:.6g}"
        return None


@dataclass(frozen=True)
class Moments(Sized):
    """Count, mean, scatter, range, defects and a sample of rows; merges as a monoid.

    Attributes
    ----------
    lengths : (c,) int64
        Rows of each chunk, in order.
    exponent : int
        ``weight``, ``scatter`` and the sample's weights are in units of ``2**exponent``, so that
        weights of 1e-300 and 1e300 neither vanish nor overflow.
    n_positive : int
        Rows of positive weight.
    weight : float
        Sum of the weights of those among them that have no missing value, the complete ones.
    mean : (d,) float64
        Of the complete rows, as the next three.
    scatter : (d, d) float64
        Weighted scatter matrix about ``mean``.
    minimum, maximum : (d,) float64
    defects : Defects
        Infinite values of rows of positive weight.
    weight_defects : Defects
        Negative, NaN and infinite weights.
    candidates : Candidates
        Rows that the sample is among.
    probes : tuple of Probe
        Of some chunks.
    missing : Missing or None
        What is to be said of missing values, where there are some.
    label_defects : Defects
        Labels that are neither -1 nor the number of a component; or, with a feature, missing values of
        labelled rows.
    known : KnownRows or None
        Sums of the labelled rows, in the user's units, with weights in units of ``2**exponent``; None
        where no row is labelled.
    """

    lengths: IntArray
    exponent: int
    n_positive: int
    weight: float
    mean: FloatArray
    scatter: FloatArray
    minimum: FloatArray
    maximum: FloatArray
    defects: Defects
    weight_defects: Defects
    candidates: Candidates
    probes: tuple[Probe, ...] = ()
    missing: Missing | None = None
    label_defects: Defects = NO_DEFECTS
    known: KnownRows | None = None

    @property
    def n_complete(self) -> int:
        """Number of rows of positive weight without missing values."""
        return self.n_positive - (0 if self.missing is None else self.missing.n_rows)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.lengths.sum())

    @property
    def total_weight(self) -> float:
        """Sum of the weights as the user gave them."""
        return float(np.ldexp(self.weight, self.exponent))

    @property
    def sample(self) -> RowSample:
        """The rows of smallest key; put together anew each time."""
        return self.candidates.smallest()

    def settled(self) -> Moments:
        """The same moments with no candidates but the sample."""
        return replace(self, candidates=Candidates(self.candidates.size, (self.sample,)))

    @property
    def covariance(self) -> FloatArray:
        """Weighted covariance matrix, (d, d)."""
        return self.scatter / self.weight

    def _in_units_of(self, exponent: int) -> Moments:
        if exponent == self.exponent:
            return self
        shift = self.exponent - exponent
        return replace(
            self,
            exponent=exponent,
            weight=float(np.ldexp(self.weight, shift)),
            scatter=np.ldexp(self.scatter, shift),
            candidates=self.candidates.rescaled(shift),
            known=None if self.known is None else self.known.rescaled(shift),
            missing=None if self.missing is None else self.missing.rescaled(shift),
        )

    def whole(self) -> Moments:
        """The moments of all rows of positive weight, as if those of incomplete ones were known.

        Means, variances and range are those of each feature's own values. Correlations are those of the
        complete rows, or none where these are few: coordinates are made of them, nothing else.
        """
        if self.missing is None or not self.missing.n_rows:
            return self
        variance = np.diagonal(self.scatter) / (self.weight or 1.0)
        spread = np.sqrt(np.where(variance > 0.0, variance, 1.0))
        correlation = np.eye(len(self.mean))
        if self.n_complete > _ENOUGH * len(self.mean):
            correlation = self.scatter / self.weight / spread / spread[:, None]
            np.fill_diagonal(correlation, 1.0)
        mean, variance = self.missing.joined(self.weight, self.mean, np.diagonal(self.scatter))
        weight, spread = self.weight + self.missing.total_weight, np.sqrt(variance)
        return replace(
            self,
            weight=weight,
            mean=mean,
            scatter=weight * correlation * spread * spread[:, None],
            minimum=np.minimum(self.minimum, self.missing.minimum),
            maximum=np.maximum(self.maximum, self.missing.maximum),
            missing=None,
        )

    def merge(self, other: Moments) -> Moments:
        """Moments of the rows of both, ``other``'s rows being the later ones.

        Notes
        -----
        Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", American
        Statistician 37, equation 1.5.
        """
        common: dict[str, Any] = {
            "lengths": np.concatenate([self.lengths, other.lengths]),
            "defects": self.defects.merge(other.defects),
            "weight_defects": self.weight_defects.merge(other.weight_defects),
            "label_defects": self.label_defects.merge(other.label_defects),
            "probes": self.probes + other.probes,
        }
        if other.n_positive == 0:
            return replace(self, missing=merged(self.missing, other.missing), **common)
        if self.n_positive == 0:
            return replace(other, missing=merged(self.missing, other.missing), **common)
        exponent = max(self.exponent, other.exponent)
        a, b = self._in_units_of(exponent), other._in_units_of(exponent)
        common |= {
            "n_positive": a.n_positive + b.n_positive,
            "candidates": a.candidates.merge(b.candidates),
            "missing": merged(a.missing, b.missing),
            "known": merged(a.known, b.known),
        }
        if not (a.n_complete and b.n_complete):
            return replace(a if a.n_complete else b, **common)
        weight = a.weight + b.weight or 1.0  # weights of all complete rows may be too small for the unit
        delta = b.mean - a.mean
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported with its feature
            between = np.outer(delta, delta) * (a.weight * (b.weight / weight))
        return replace(
            a,
            weight=a.weight + b.weight,
            mean=a.mean + delta * (b.weight / weight),
            scatter=a.scatter + b.scatter + between,
            minimum=np.minimum(a.minimum, b.minimum),
            maximum=np.maximum(a.maximum, b.maximum),
            **common,
        )


@dataclass(frozen=True)
class MomentsMap:
    """Maps a chunk of rows to its :class:`Moments`.

    Attributes
    ----------
    seed : int
        Of the sample.
    sample_rows : int
        Rows of the sample, at most.
    threshold : int
        Rows with a key above it are not even candidates (keeps the records small); 2**64 - 1
        where the number of rows is not known.
    probes : tuple of int
        Numbers of the chunks to look at one by one.
    known : KnownMap or None
        What is summed of labelled rows, if rows have labels; they are not in the sample.
    """

    seed: int
    sample_rows: int
    threshold: int = 2**64 - 1
    probes: tuple[int, ...] = ()
    known: KnownMap | None = None

    name = "moments"

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> Moments:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        n, d = X.shape
        w = np.ones(n) if weights is None else weights
        bad_weight = ~((w >= 0.0) & (w < np.inf))
        weight_defects = Defects.find(bad_weight, w, chunk)
        positive = w > 0.0
        defects, nan = self._defects(X, positive, chunk)
        label_defects, labels = NO_DEFECTS, chunk.labels
        if self.known is not None and labels is not None:
            label_defects = self.known.defects(X, labels, positive, nan, chunk)
        usable = not (defects.count or weight_defects.count or label_defects.count)
        empty = Moments(
            np.array(chunk.lengths, dtype=np.int64), 0, 0, 0.0, np.zeros(d), np.zeros((d, d)),
            np.full(d, np.inf), np.full(d, -np.inf), defects, weight_defects,
            Candidates.of(self.sample_rows, np.empty(0, dtype=np.uint64), X[:0], np.empty(0)),
            self._probes(X, weights, chunk) if usable else (), label_defects=label_defects,
        )  # fmt: skip
        if not (usable and positive.any()):
            return empty if nan is None else replace(empty, missing=Missing.of(X, nan, positive.astype(float), chunk))
        # Weights of 1 are their own unit: some chunks may have none where others leave rows out.
        exponent = 0 if weights is None else int(np.frexp(w.max())[1]) - 1
        X_used, kept = weighty_rows(X, weights)
        w_used = np.ones(len(X_used)) if kept is None else np.ldexp(kept, -exponent)  # some may vanish
        labels = None if labels is None else labels[positive]
        found = replace(
            empty,
            exponent=exponent,
            n_positive=len(X_used),
            candidates=self._candidates(X_used, w_used, labels, np.flatnonzero(positive), chunk),
            missing=None if nan is None else Missing.of(X, nan, w, chunk, exponent),
        )
        if nan is not None:
            complete = ~nan[positive].any(axis=1)
            X_used, w_used = X_used[complete], w_used[complete]
            labels = None if labels is None else labels[complete]
        if not len(X_used):
            return found
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported with its feature
            mean, scatter, minimum, maximum = summarize(X_used, None if kept is None else w_used)
        return replace(
            found,
            weight=float(w_used.sum()),
            mean=mean,
            scatter=scatter,
            minimum=minimum,
            maximum=maximum,
            known=None if self.known is None or labels is None else self.known(X_used, w_used, labels),
        )

    def _defects(self, X: Array, positive: Array, chunk: Chunk) -> tuple[Defects, Array | None]:
        """Infinite values of rows of positive weight, (n,) bool; and where values are missing, (n, d) bool, if any."""
        if X.dtype.kind != "f":
            return NO_DEFECTS, None
        defects, missing = NO_DEFECTS, False
        for start in range(0, len(X), _BLOCK):
            block = X[start : start + _BLOCK]
            with np.errstate(over="ignore", invalid="ignore"):
                # One sum tells whether a closer look is needed.
                suspicious = not np.isfinite(block.sum())
            if suspicious:
                infinite = np.isinf(block) & positive[start : start + _BLOCK, None]
                defects = defects.merge(Defects.find(infinite, block, chunk, start))
                missing = missing or bool(np.isnan(block).any())
        return defects, np.isnan(X) if missing else None

    def _probes(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> tuple[Probe, ...]:
        found, start = [], 0
        for index, length in enumerate(chunk.lengths, chunk.index):
            if index in self.probes:
                part = slice(start, start + length)
                columns = (None if column is None else column[part] for column in (weights, chunk.labels))
                found.append(Probe.of(index, X[part], *columns))
            start += length
        return tuple(found)

    def _candidates(self, X: Array, w: FloatArray, labels: Array | None, rows: IntArray, chunk: Chunk) -> Candidates:
        # Where the global index is not known yet, each chunk has a stream of its own.
        first, stream = (chunk.first_row, 0) if chunk.first_row is not None else (0, chunk.index + 1)
        keys = row_keys(self.seed, first, chunk.n_rows, stream)[rows]
        low = keys <= np.uint64(self.threshold)
        candidates = np.flatnonzero(low if labels is None else low & (labels < 0))
        return Candidates.of(self.sample_rows, keys[candidates], X[candidates], w[candidates])


def summarize(X: Array, w: FloatArray | None) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Weighted mean (d,), scatter (d, d) about it, minimum (d,) and maximum (d,), in one read of some rows.

    Each block is centred on its own mean while it is in the cache; blocks are merged as
    :meth:`Moments.merge` does.
    """
    d = X.shape[1]
    # About the first row: an offset of 1e8 would cost digits of the mean otherwise.
    origin = X[0].astype(np.float64)
    offset, scatter, seen = np.zeros(d), np.zeros((d, d)), 0.0
    minimum, maximum = np.full(d, np.inf), np.full(d, -np.inf)
    rows = max(_SHORTEST, _BLOCK_VALUES // d)
    for start in range(0, len(X), rows):
        z = X[start : start + rows].T
        if d < _WIDE:  # numpy is slow at reducing many short rows
            z = np.ascontiguousarray(z)
        np.minimum(minimum, z.min(axis=1), out=minimum)
        np.maximum(maximum, z.max(axis=1), out=maximum)
        z = np.subtract(z, origin[:, None], dtype=np.float64)
        b = None if w is None else w[start : start + rows]
        share = float(z.shape[1]) if b is None else float(b.sum())
        if share == 0.0:  # weights below the smallest number in units of the largest
            continue
        mean = (z.sum(axis=1) if b is None else z @ b) / share
        z -= mean[:, None]
        scatter += (z if b is None else z * b) @ z.T
        # The block's mean is rounded; what is left of it is known exactly enough to be taken out.
        residual = (z.sum(axis=1) if b is None else z @ b) / share
        scatter -= np.outer(residual, residual) * share
        mean += residual
        delta = mean - offset
        seen += share
        offset += delta * (share / seen)
        scatter += np.outer(delta, delta) * (share * ((seen - share) / seen))
    return origin + offset, scatter, minimum, maximum
