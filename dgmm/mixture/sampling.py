"""Rows drawn from data by a hash of their index, and rows drawn from a mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.mixture.parameters import MixtureParameters
    from dgmm.typing import Array, FloatArray, IntArray


def row_keys(seed: int, first: int, count: int, stream: int = 0) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Pseudo-random 64-bit keys of the rows ``first`` to ``first + count - 1``.

    A key depends on the seed and the row's index alone, so neither the chunks nor the workers
    change which rows a rule on the keys selects.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.
    first, count : int
        Rows.
    stream : int
        Another stream gives other keys of the same rows.

    Notes
    -----
    The output function of SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014, figure 17.

    Examples
    --------
    >>> whole = row_keys(1, 0, 10)
    >>> bool((row_keys(1, 4, 3) == whole[4:7]).all())
    True
    """
    mask = (1 << 64) - 1
    start = (seed * 0x9E3779B97F4A7C15 + stream * 0xD1342543DE82EF95 + 1) & mask
    z = np.arange(first, first + count, dtype=np.uint64)
    # Twice through the mixer: seeds that differ in one bit share nothing.
    for add in (start, (start * 0xBF58476D1CE4E5B9 + 1) & mask):
        z *= np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(add)
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return z


def threshold_for(size: int, n_rows: int | None) -> int:
    """A key that at least ``size`` of ``n_rows`` rows stay below, almost surely; any if their number is not known."""
    if n_rows is None or n_rows <= size:
        return 2**64 - 1
    expected = size + 8.0 * np.sqrt(size) + 64.0
    return min(2**64 - 1, int(2**64 * min(1.0, expected / n_rows)))


def uniforms(keys: Array) -> FloatArray:
    """Map keys (n,) uint64 to numbers in the open interval (0, 1)."""
    return ((keys >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


@dataclass(frozen=True)
class RowSample:
    """Rows with the smallest keys seen so far.

    Attributes
    ----------
    size : int
        Number of rows that are kept at most, m.
    keys : (m,) uint64 or float64
        Rising.
    rows : (m, d)
        In the user's units.
    weights : (m,) float64
    """

    size: int
    keys: Array
    rows: Array
    weights: FloatArray

    @classmethod
    def smallest(cls, size: int, keys: Array, rows: Array, weights: FloatArray) -> RowSample:
        """Keep the ``size`` rows of smallest key; ties (none among 64-bit hashes) by position."""
        if len(keys) > size:
            kept = np.argpartition(keys, size - 1)[:size] if size else np.empty(0, dtype=np.intp)
            keys, rows, weights = keys[kept], rows[kept], weights[kept]
        order = np.argsort(keys, kind="stable")
        return cls(size, keys[order], np.ascontiguousarray(rows[order]), weights[order])

    def joined(self, other: RowSample) -> RowSample:
        """The rows of smallest key of both."""
        return Candidates(self.size, (self, other)).smallest()

    def thinned(self, factor: float) -> RowSample:
        """Rows whose keys, from 0 to 1, are at most ``factor``, in (0, 1], with keys divided by it."""
        count = int(np.searchsorted(self.keys, factor, side="right"))
        return RowSample(self.size, self.keys[:count] / factor, self.rows[:count], self.weights[:count])

    def few(self, size: int) -> Array:
        """At most ``size`` rows, drawn in proportion to their weights; those of smallest key if all weigh the same.

        Notes
        -----
        An exponential race: Efraimidis and Spirakis (2006), "Weighted random sampling with a
        reservoir", Information Processing Letters 97.
        """
        if not len(self.keys):
            return self.rows
        # Among rows of small keys, keys are uniform below the largest.
        uniform = self.keys.astype(np.float64) / (float(self.keys[-1]) * (1.0 + 2.0**-40) + 1.0e-300)
        with np.errstate(divide="ignore"):
            # In logarithms, since weights may be as small or large as numbers are.
            arrival = np.log(-np.log1p(-uniform)) - np.log(self.weights)
        return self.rows[np.argsort(arrival, kind="stable")[:size]]

    def rescaled(self, exponent: int) -> RowSample:
        """The same rows with weights times ``2**exponent``."""
        if exponent == 0:
            return self
        return RowSample(self.size, self.keys, self.rows, np.ldexp(self.weights, exponent))


@dataclass(frozen=True)
class Candidates:
    """Rows among which those of smallest key are: parts, which are put together once, at the end.

    Attributes
    ----------
    size : int
        Number of rows that are wanted.
    parts : tuple of RowSample
    """

    size: int
    parts: tuple[RowSample, ...]

    @classmethod
    def of(cls, size: int, keys: Array, rows: Array, weights: FloatArray) -> Candidates:
        """The rows of smallest key among some rows."""
        return cls(size, (RowSample.smallest(size, keys, rows, weights),))

    def merge(self, other: Candidates) -> Candidates:
        """The candidates of both; no more are kept than are needed, and some."""
        parts = tuple(part for part in self.parts + other.parts if len(part.keys))
        merged = Candidates(self.size, parts or self.parts)
        if sum(len(part.keys) for part in merged.parts) <= 1.25 * self.size + 1000:
            return merged
        return Candidates(self.size, (merged.smallest(),))

    def rescaled(self, exponent: int) -> Candidates:
        """The same rows with weights times ``2**exponent``."""
        return Candidates(self.size, tuple(part.rescaled(exponent) for part in self.parts))

    def smallest(self) -> RowSample:
        """The rows of smallest key, by rising key."""
        if len(self.parts) == 1 and len(self.parts[0].keys) <= self.size:
            return self.parts[0]
        keys = np.concatenate([part.keys for part in self.parts])
        order = np.argsort(keys, kind="stable")[: self.size]
        place = np.full(len(keys), -1)
        place[order] = np.arange(len(order))
        weights = np.concatenate([part.weights for part in self.parts])[order]
        first = self.parts[0].rows
        rows = np.empty((len(order), first.shape[1]), dtype=np.result_type(*(part.rows for part in self.parts)))
        start = 0
        for part in self.parts:  # without a copy of all the candidates
            own = place[start : start + len(part.keys)]
            rows[own[own >= 0]] = part.rows[own >= 0]
            start += len(part.keys)
        return RowSample(self.size, keys[order], rows, weights)


def draw(
    family: CovarianceFamily, parameters: MixtureParameters, n_samples: int, rng: np.random.RandomState
) -> tuple[FloatArray, IntArray]:
    """Draw rows from a mixture.

    Parameters
    ----------
    family : CovarianceFamily
    parameters : MixtureParameters
    n_samples : int
    rng : RandomState

    Returns
    -------
    X : (n_samples, d) float64
        Ordered by component.
    y : (n_samples,) int64
        Component of each row.
    """
    # numpy's multinomial checks the sum of all but the last in float64.
    counts = rng.multinomial(n_samples, parameters.weights / parameters.weights.sum())
    labels = np.repeat(np.arange(parameters.n_components), counts)
    noise = rng.standard_normal((n_samples, parameters.n_features))
    factors = np.broadcast_to(
        parameters.precisions_cholesky, (parameters.n_components, *parameters.precisions_cholesky.shape[1:])
    )
    rows = np.empty_like(noise)
    ends = np.cumsum(counts)
    for k, (start, end) in enumerate(zip(ends - counts, ends, strict=True)):
        rows[start:end] = parameters.means[k] + family.form.colour(factors[k], noise[start:end])
    return rows, labels.astype(np.int64)
