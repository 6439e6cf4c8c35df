"""The block kernel: the only code that touches rows, on numpy and BLAS.

Rows are taken in blocks that fit in the cache, as columns: z is (d, B), the feature map phi is
(p, B), the log-densities and responsibilities are (K, B). E-step and M-step of a block are fused:
``logits = A @ phi``, softmax over axis 0, ``T += R @ phi.T``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.mixture.compiled import CentredGroup, CompiledMixture, DotGroup
from dgmm.mixture.sizes import Sized
from dgmm.mixture.statistics import SufficientStatistics, weighty_rows

if TYPE_CHECKING:
    from dgmm.mixture.chunks import Chunk
    from dgmm.mixture.program import Sums
    from dgmm.typing import Array, FloatArray, IntArray


# Distance from the origin of inner coordinates up to which products are exact enough (float32 loses
# eps z^2 nats there), or far from overflow (float64).
_REACH = {"float32": 32.0, "float64": 1e140}


class _DotServer:
    """Serves a :class:`DotGroup`: two GEMMs a block."""

    def __init__(self, group: DotGroup, compiled: CompiledMixture) -> None:
        self.group, self.form, self.d = group, compiled.family.form, compiled.n_features
        k, p = group.natural.shape
        self.phi = np.empty((p, 0), dtype=group.dtype)
        self.logits = np.empty((k, 0), dtype=group.dtype)
        self.sums = np.zeros((k, p))
        self.product = np.empty((k, p), dtype=group.dtype)

    def log_densities(self, z: FloatArray) -> Array:
        b = z.shape[1]
        phi = self.phi = self._fit(self.phi, b)
        linear = phi[1 : 1 + self.d]
        linear[...] = z
        if len(phi) > 1 + self.d:
            self.form.products(linear, phi[1 + self.d :])
        self.logits = self._fit(self.logits, b)
        return np.matmul(self.group.natural, phi, out=self.logits)

    def add(self, responsibilities: Array) -> None:
        np.matmul(responsibilities.astype(self.group.dtype, copy=False), self.phi.T, out=self.product)
        self.sums += self.product

    @staticmethod
    def _fit(buffer: Array, columns: int) -> Array:
        """A buffer for a block of another length; BLAS wants the rows contiguous."""
        return buffer if buffer.shape[1] == columns else np.ones((len(buffer), columns), dtype=buffer.dtype)

    def moments(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Weight (k,), first (k, d) and second moments (k, q); q is 0 where they are not summed."""
        return self.sums[:, 0], self.sums[:, 1 : 1 + self.d], self.sums[:, 1 + self.d :]

    def take(self, sums: Sums) -> None:
        """Take the sums over all rows from the compiled function."""
        self.sums = sums.dots[self.group.dtype.name]

    def rounding(self) -> float:
        """What rounding A took from the log-likelihood, to first order: d logL / dA is T."""
        if self.group.dtype == np.float64:
            return 0.0
        return float(np.einsum("kp,kp->", self.group.residual, self.sums))


class _CentredServer:
    """Serves a :class:`CentredGroup`: component by component."""

    def __init__(self, group: CentredGroup, compiled: CompiledMixture) -> None:
        self.group, self.form = group, compiled.family.form
        k, d = group.means.shape
        self.weight = np.zeros(k)
        self.first = np.zeros((k, d))
        self.second = np.zeros((k, self.form.packed_size(d)))
        self.z: FloatArray = np.empty((d, 0))

    def log_densities(self, z: FloatArray) -> Array:
        self.z = z
        logits = np.empty((len(self.group.means), z.shape[1]))
        for k, mean in enumerate(self.group.means):
            distance = self.form.squared_distance(self.group.factors[k], z - mean[:, None])
            np.subtract(self.group.constants[k], 0.5 * distance, out=logits[k])
        return logits

    def add(self, responsibilities: Array) -> None:
        for k, mean in enumerate(self.group.means):
            centred = self.z - mean[:, None]
            weighted = centred * responsibilities[k]
            self.weight[k] += responsibilities[k].sum()
            self.first[k] += weighted.sum(axis=1)
            self.second[k] += self.form.packed_scatter(centred, weighted)

    def moments(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Weight (k,), first (k, d) and second moments (k, q)."""
        return self.weight, self.first, self.second

    def take(self, sums: Sums) -> None:
        """Take the sums over all rows from the compiled function."""
        d = self.first.shape[1]
        own = sums.centred
        self.weight, self.first = own[:, 0, 0], own[:, 0, 1 : 1 + d]
        if own.shape[1] == 1:
            self.second = own[:, 0, 1 + d :]
        else:
            self.second = np.stack([self.form.packed_matrix(products) for products in own[:, 1:, 1:]])

    def rounding(self) -> float:
        """Nothing is rounded here."""
        return 0.0


class BlockKernel:
    """E-step and M-step sums over rows, for one compiled mixture.

    Parameters
    ----------
    compiled : CompiledMixture

    Notes
    -----
    An instance owns buffers and belongs to one thread at a time.
    """

    def __init__(self, compiled: CompiledMixture) -> None:
        self.compiled = compiled
        self._inverse_scale = compiled.coordinates.inverse_scale
        self._servers = [
            (_DotServer if isinstance(group, DotGroup) else _CentredServer)(group, compiled)  # type: ignore[arg-type]
            for group in compiled.groups
        ]

        # One group that serves every component needs no copies.
        self._serves_all = len(compiled.groups[0].components) == compiled.n_components

    def _blocks(self, X: Array) -> Iterator[tuple[slice, FloatArray]]:
        """Yield (rows, z) with z, (d, B), in inner coordinates."""
        shift = self.compiled.coordinates.shift
        for start in range(0, len(X), self.compiled.block_rows):
            rows = slice(start, min(start + self.compiled.block_rows, len(X)))
            # In float64 also for float32 rows: a large offset or correlation must not cost digits.
            z = np.subtract(X[rows].T, shift[:, None], order="C", dtype=np.float64)
            if self.compiled.coordinates.is_triangular:
                yield rows, self._inverse_scale @ z
            else:
                z *= self._inverse_scale[:, None]
                yield rows, z

    def _log_densities(self, z: FloatArray) -> Array:
        """Weighted log-densities of all components, (K, B)."""
        if self._serves_all:
            return self._servers[0].log_densities(z)
        logits = np.full((self.compiled.n_components, z.shape[1]), -np.inf, dtype=self.compiled.dtype)
        for server in self._servers:
            logits[server.group.components] = server.log_densities(z)
        return logits

    def _add(self, responsibilities: Array) -> None:
        for server in self._servers:
            server.add(responsibilities if self._serves_all else responsibilities[server.group.components])

    def statistics(self, X: Array, weights: Array | None = None) -> SufficientStatistics:
        """One fused E- and M-step over rows.

        Parameters
        ----------
        X : (n, d) float32 or float64
            In the user's units.
        weights : (n,), optional

        Returns
        -------
        SufficientStatistics
            About ``compiled.reference``; see :func:`complete` for tied families.
        """
        self._reset()
        if self.compiled.backend == "numba":
            sums = self.compiled.program.run(X, weights)
            for server in self._servers:
                server.take(sums)
            log_likelihood = sums.log_likelihood
        else:
            log_likelihood = self._sum(X, weights)
        log_likelihood += sum(server.rounding() for server in self._servers)
        return self._collect(X, weights, log_likelihood)

    def _sum(self, X: Array, weights: Array | None) -> float:
        """Add the rows to the servers' sums; the log-likelihood, without what rounding A took."""
        log_likelihood = 0.0
        for rows, z in self._blocks(X):
            logits = self._log_densities(z)
            log_sum, total = _exponentiate(logits)
            if weights is None:
                logits /= total
                log_likelihood += float(log_sum.sum(dtype=np.float64))
            else:
                w = weights[rows]
                logits *= w / total
                log_likelihood += float(np.dot(log_sum.astype(np.float64), w))
            self._add(logits)
        return log_likelihood

    def given_statistics(
        self, X: Array, give: Callable[[slice], Array], weights: Array | None = None
    ) -> SufficientStatistics:
        """Statistics for given responsibilities, without a log-likelihood.

        ``give`` makes those of a block, (K, B) for a slice of B rows, so that K times n numbers
        never exist at once.
        """
        self._reset()
        for rows, z in self._blocks(X):
            self._log_densities(z)  # fills the servers' feature maps
            given = give(rows)
            self._add(given if weights is None else given * weights[rows])
        return self._collect(X, weights, 0.0)

    def nearest(self, X: Array, means: FloatArray) -> tuple[IntArray, FloatArray]:
        """Most probable component of each row, (n,), and its squared distance to that one's mean, (n,).

        ``means``, (K, d), and the distances are in inner coordinates.
        """
        labels = np.empty(len(X), dtype=np.int64)
        squared = np.empty(len(X))
        columns = means.T
        for rows, z in self._blocks(X):
            own = self._log_densities(z).argmax(axis=0)
            offset = z - columns[:, own]
            labels[rows] = own
            squared[rows] = np.einsum("ib,ib->b", offset, offset)
        return labels, squared

    def _reset(self) -> None:
        self._servers = [type(server)(server.group, self.compiled) for server in self._servers]  # type: ignore[arg-type]

    def _collect(self, X: Array, weights: Array | None, log_likelihood: float) -> SufficientStatistics:
        k, d = self.compiled.reference.shape
        family = self.compiled.family
        weight, first = np.zeros(k), np.zeros((k, d))
        second = np.zeros((family.n_covariances(k), family.form.packed_size(d)))
        for server in self._servers:
            own = server.group.components
            weight[own], first[own], products = server.moments()
            if family.tied:
                second[0, : products.shape[1]] += products.sum(axis=0)
            else:
                second[own] = products
        total = float(len(X)) if weights is None else float(np.sum(weights, dtype=np.float64))
        return SufficientStatistics(self.compiled.reference, weight, first, second, log_likelihood, total, len(X))

    def _any_log_densities(self, z: FloatArray) -> Array:
        """The same for rows that may lie anywhere: products must not overflow.

        Rows of a fit lie within sqrt(n) of the origin, since they made the coordinates.
        """
        reach = _REACH[self.compiled.dtype.name]
        if max(z.max(), -z.min()) <= reach:
            return self._log_densities(z)
        wide = BlockKernel(self.compiled.widened())
        return wide._log_densities(np.clip(z, -_REACH["float64"], _REACH["float64"]))

    def score_samples(self, X: Array) -> FloatArray:
        """Log-density of each row in nats, (n,)."""
        scores = np.empty(len(X))
        for rows, z in self._blocks(X):
            scores[rows] = _exponentiate(self._any_log_densities(z))[0]
        return scores

    def shares(self, X: Array) -> Iterator[tuple[slice, Array, Array]]:
        """Yield (rows, logits, responsibilities) block by block, each (K, B)."""
        for rows, z in self._blocks(X):
            logits = self._any_log_densities(z)
            shares = logits.copy()
            shares /= _exponentiate(shares)[1]
            yield rows, logits, shares

    def responsibilities(self, X: Array) -> Array:
        """Posterior probability of each component for each row, (n, K)."""
        result = np.empty((len(X), self.compiled.n_components), dtype=self.compiled.dtype)
        for rows, _, shares in self.shares(X):
            result[rows] = shares.T
        return result

    def labels(self, X: Array) -> IntArray:
        """Most probable component of each row, (n,) int64."""
        labels = np.empty(len(X), dtype=np.int64)
        for rows, z in self._blocks(X):
            labels[rows] = self._any_log_densities(z).argmax(axis=0)
        return labels

    def most_probable(self, X: Array) -> tuple[IntArray, FloatArray, FloatArray]:
        """Most probable component of each row, its posterior probability, and ``log(pi_k N_k)`` there; (n,) each."""
        labels, shares, logits = np.empty(len(X), dtype=np.int64), np.empty(len(X)), np.empty(len(X))
        for rows, z in self._blocks(X):
            own = self._any_log_densities(z)
            labels[rows], logits[rows] = own.argmax(axis=0), own.max(axis=0)
            shares[rows] = 1.0 / _exponentiate(own)[1]
        return labels, shares, logits

    def entropy(self, X: Array, weights: Array | None = None) -> float:
        """Weighted sum over rows of the entropy of their responsibilities, in nats."""
        entropy = 0.0
        for rows, z in self._blocks(X):
            logits = self._any_log_densities(z).astype(np.float64)
            shifted = logits - logits.max(axis=0)
            exponentials = np.exp(shifted)
            total = exponentials.sum(axis=0)
            # sum_k r_k (log total - shifted_k); a component of weight 0 adds 0, not 0 * inf.
            shifted[exponentials == 0.0] = 0.0
            own = np.log(total) - np.einsum("kb,kb->b", exponentials, shifted) / total
            entropy += float(own.sum() if weights is None else np.dot(own, weights[rows]))
        return entropy


def _exponentiate(logits: Array) -> tuple[Array, Array]:
    """Replace logits (K, B) by ``exp(logits - max)``.

    Returns
    -------
    log_sum, total : (B,)
        Log-sum-exp of the columns, and the column sums of what ``logits`` now holds.
    """
    largest = logits.max(axis=0)
    logits -= largest
    np.exp(logits, out=logits)
    total = logits.sum(axis=0)
    return largest + np.log(total), total


def complete(
    compiled: CompiledMixture, statistics: SufficientStatistics, total_scatter: FloatArray
) -> SufficientStatistics:
    """Add to the merged statistics what is the same for every component.

    Parameters
    ----------
    compiled : CompiledMixture
        What the statistics were made with.
    statistics : SufficientStatistics
        Of all the rows.
    total_scatter : (1, q) float64
        ``sum w products(z)`` of all the rows, in inner coordinates.

    Returns
    -------
    SufficientStatistics
        The same record where nothing was left out.

    Notes
    -----
    A tied family's ``-z' P z / 2`` is common to all components: it cancels in the
    responsibilities, and its sum over the rows is a product with the total scatter.
    """
    if compiled.common_precision is None:
        return statistics
    missing = float(np.sum(compiled.common_precision * total_scatter))
    return SufficientStatistics(
        statistics.reference,
        statistics.weight,
        statistics.first,
        total_scatter.copy(),
        statistics.log_likelihood + missing,
        statistics.total_weight,
        statistics.n_rows,
    )


def kernel_dtype(dtype: Any) -> np.dtype[Any]:
    """The floating dtype that rows of a given dtype are computed as: float32 stays, others float64."""
    return np.dtype(np.float32) if np.dtype(dtype) == np.float32 else np.dtype(np.float64)


@dataclass(frozen=True)
class StatisticsMap(Sized):
    """One EM iteration's map from rows to :class:`SufficientStatistics`.

    Attributes
    ----------
    compiled : CompiledMixture
    exponent : int
        Weights are taken in units of ``2**exponent``.
    """

    compiled: CompiledMixture
    exponent: int = 0

    name = "statistics"

    def __call__(self, X: Array, weights: FloatArray | None, chunk: Chunk) -> SufficientStatistics:
        """Map the rows of a chunk, (n, d), and their weights, (n,)."""
        return BlockKernel(self.compiled).statistics(*weighty_rows(X, weights, self.exponent, chunk.labels))
