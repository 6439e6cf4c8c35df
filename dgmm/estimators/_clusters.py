"""What hard clusters answer once there are some: centres, widths, labels, distances."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin

from dgmm.errors import DataError, NotFittedError
from dgmm.estimators._base import NamedParameters, narrowed
from dgmm.estimators._inputs import open_table, to_rows
from dgmm.estimators._outputs import in_shape_of
from dgmm.mixture.clusters import FAMILY, InertiaMap, compile_clusters, distances, scatter
from dgmm.mixture.kernel import BlockKernel, kernel_dtype
from dgmm.mixture.missing import RAISE
from dgmm.passes.blas import single_threaded_blas
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.predict import LABELS, Quantity, predict_rows
from dgmm.passes.tree import PassRunner

if TYPE_CHECKING:
    from dgmm.fitting.hard_bfr import HardScan
    from dgmm.fitting.hard_scanning import HardSets, HardState
    from dgmm.fitting.progress import ScanProgress
    from dgmm.mixture.compiled import CompiledMixture
    from dgmm.mixture.parameters import Coordinates, MixtureParameters
    from dgmm.mixture.summaries import Summaries
    from dgmm.typing import Array, FloatArray

_DISTANCE = {"long_name": "Mahalanobis distance to each cluster", "units": "1"}


def plan_of(n_clusters: int, n_features: int) -> ExecutionPlan:
    """The plan of passes with so many clusters."""
    return ExecutionPlan.choose(FAMILY, n_clusters, n_features)


def _distances(clusters: MixtureParameters, coordinates: Coordinates, kernel: BlockKernel, X: Array) -> Array:
    return distances(X, clusters, coordinates)


class ClusterEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, NamedParameters):  # type: ignore[misc]
    """Base of the estimators of hard clusters: everything but ``fit``.

    Attributes are made when they are first asked for, since batches may be many and small.
    """

    n_features_in_: int
    _progress: ScanProgress
    _algorithm: HardScan
    _dtype: np.dtype[Any]
    _last: Any
    _ends: tuple[HardState, HardState] | None

    def __getstate__(self) -> dict[str, Any]:
        """All but the rows that were given last."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_last"}

    # -- clusters -------------------------------------------------------------------------------

    def _states(self) -> tuple[HardState, HardState]:
        """The scan as if it ended here, before and after what is left has joined its nearest cluster."""
        name = type(self).__name__
        if not hasattr(self, "_progress"):
            raise NotFittedError(f"This {name} instance is not fitted yet; call fit or partial_fit")
        if self._ends is None:
            state, k = self._progress.scan, self._algorithm.setup.n_clusters
            if state.sets is None and state.n_rows < k:
                raise NotFittedError(f"This {name} instance has seen {state.n_rows} rows for n_clusters={k}; give more")
            with single_threaded_blas():
                begun = self._algorithm.finish(state)
                self._ends = begun, self._algorithm.ended(begun)
        return self._ends

    def _clusters(self) -> HardSets:
        return self._states()[1].begun

    @property
    def cluster_centers_(self) -> Array:
        """Means of the clusters, (K, d)."""
        sets = self._clusters()
        return narrowed(sets.coordinates.restore(sets.clusters.means), self._dtype)

    @property
    def cluster_variances_(self) -> Array:
        """Variances of the clusters' features, (K, d)."""
        sets = self._clusters()
        return narrowed(FAMILY.form.rescale(sets.clusters.covariances, sets.coordinates.scale), self._dtype)

    @property
    def cluster_counts_(self) -> FloatArray:
        """Weight of the clusters' rows, (K,)."""
        sets = self._clusters()
        return np.ldexp(sets.discard.weight, sets.exponent)

    @property
    def inertia_(self) -> float:
        """Weighted sum of squared Euclidean distances of the rows to the means of the clusters that they joined."""
        sets = self._clusters()
        within = scatter(sets.discard).sum(axis=0) * np.square(sets.coordinates.scale)
        return float(np.ldexp(within.sum(), sets.exponent))

    @property
    def labels_(self) -> Any:
        """The clusters of the rows that were given last, (n,) int64."""
        self._clusters()
        if not hasattr(self, "_last"):
            raise AttributeError("labels_ are those of the rows of fit, which are not copied along; call predict")
        return self.predict(self._last)

    @property
    def discard_set_(self) -> dict[str, FloatArray]:
        """The rows of the clusters, before the end."""
        return self._in_user_units("discard")

    @property
    def compressed_set_(self) -> dict[str, FloatArray]:
        """The tight sets of no cluster."""
        return self._in_user_units("compressed")

    @property
    def retained_set_(self) -> dict[str, Array]:
        """The rows of no cluster."""
        state = self._states()[0]
        return {"rows": state.retained.rows, "weights": np.ldexp(state.retained.weights, state.begun.exponent)}

    def _in_user_units(self, name: str) -> dict[str, FloatArray]:
        """Weights, means and variances of sums; those of no rows have NaN."""
        sets = self._states()[0].begun
        sums: Summaries = getattr(sets, name)
        with np.errstate(invalid="ignore", divide="ignore"):
            weight = sums.weight[:, None]
            means, variances = sums.first / weight, scatter(sums) / weight
        return {
            "weights": np.ldexp(sums.weight, sets.exponent),
            "means": sets.coordinates.restore(means),
            "variances": FAMILY.form.rescale(variances, sets.coordinates.scale),
        }

    # -- what rows are to them ------------------------------------------------------------------

    def predict(self, X: Any) -> Any:
        """The nearest cluster of each row, by the rule of the scan.

        Parameters
        ----------
        X : array-like or dask array, (n, d)

        Returns
        -------
        (n,) int64
            A lazy dask array with the row chunks of X if X is a dask array, else a numpy array.

        Raises
        ------
        NotFittedError
            If there are no clusters yet.
        DataError
            If X has another number of features, NaN or infinity (a dask array: when computed).
        """
        return self._each_row(X, LABELS)

    def transform(self, X: Any) -> Any:
        """Mahalanobis distance of each row to each cluster, which is compared with ``threshold * sqrt(d)``.

        Parameters and errors are those of :meth:`predict`.

        Returns
        -------
        (n, K) float32 or float64
            As X.
        """
        sets = self._clusters()
        compute = partial(_distances, sets.clusters, sets.coordinates)
        quantity = Quantity("distance", compute, None, per_component=True, whole_density=False, attrs=_DISTANCE)
        return self._each_row(X, quantity)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The negative inertia of rows: of squared Euclidean distances to their nearest clusters' means, summed up.

        Parameters
        ----------
        X : array-like or dask array, (n, d)
            A dask array is read once.
        y : ignored
        sample_weight : array-like or dask array, (n,), optional
        """
        compiled, plan = self._compiled()
        rows, _ = to_rows(self, X, sample_weight, lambda d: plan.chunk_rows, reset=False)
        inertia = InertiaMap(compiled, self._clusters().clusters.means, self.missing != RAISE)
        found = PassRunner(rows, plan)(inertia)
        if found.weight == 0.0:
            text = f"every sample_weight of its {found.n_rows} rows is zero" if found.n_rows else "it has no rows"
            raise DataError(f"X has no inertia: {text}; give at least one row of weight above 0")
        return -found.total

    def _compiled(self) -> tuple[CompiledMixture, ExecutionPlan]:
        sets = self._clusters()
        plan = plan_of(len(sets.discard), self.n_features_in_)
        return compile_clusters(sets.clusters, sets.coordinates, plan.options), plan

    def _each_row(self, X: Any, quantity: Quantity) -> Any:
        compiled, plan = self._compiled()
        table = open_table(self, X, reset=False)
        dtype = np.result_type(kernel_dtype(table.X.dtype), self._dtype)
        values = predict_rows(table.X, compiled, quantity, dtype, plan.chunk_rows, self.missing)
        return in_shape_of(table, values, quantity)

    @property
    def _n_features_out(self) -> int:
        return len(self._clusters().discard)
