"""What EigenMoments answers once it is fitted: features of signals, and signals of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import TransformerMixin

from dgmm.errors import DataError, NotFittedError, ParameterError
from dgmm.estimators._base import NamedParameters
from dgmm.estimators._inputs import settled
from dgmm.inputs.opening import open_request
from dgmm.inputs.signals import SAMPLE, SignalAxes, open_signals, signals_of
from dgmm.inputs.table import Request
from dgmm.mixture.kernel import kernel_dtype
from dgmm.mixture.missing import RAISE
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.rowwise import map_rows
from dgmm.signals.records import FeatureMap, SignalsOfFeatures
from dgmm.signals.spaces import MomentSpace

if TYPE_CHECKING:
    from dgmm.signals.records import Space
    from dgmm.typing import Array, FloatArray

FEATURE = "eigenmoment"
"""The dimension of features, and what their names begin with."""
_ATTRS = {"long_name": "EigenMoments, the best ratio of signal to noise first", "units": "1"}


class SignalFeatures(TransformerMixin, NamedParameters):  # type: ignore[misc]
    """Base of :class:`dgmm.EigenMoments`: what fitted features answer."""

    missing = RAISE
    n_features_in_: int
    components_: FloatArray
    eigenvalues_: FloatArray
    snr_: FloatArray
    information_loss_: float
    noise_: float | FloatArray
    correlation_: FloatArray
    noise_correlation_: FloatArray
    mean_: FloatArray
    order_: tuple[int, ...]
    signal_shape_: tuple[int, ...]
    n_signals_: int
    _axes: SignalAxes
    _space: Space

    @property
    def filters_(self) -> FloatArray:
        """What each sample counts for in each feature, (k, *signal_shape)."""
        self._check_fitted()
        if not isinstance(self._space, MomentSpace):
            raise AttributeError("features with invariant are no sums over samples, so they have no filters")
        return self._space.synthesize(self.components_).reshape(-1, *self.signal_shape_)

    def transform(self, X: Any) -> Any:
        """Features of signals.

        Parameters
        ----------
        X
            Signals as in :meth:`fit`, of the same shape.

        Returns
        -------
        (rows, k) float32 or float64
            A numpy array if X is in memory, a lazy dask array with the row chunks of X if X is one; of a DataArray one
            with its sample dimensions and ``eigenmoment``, of a dask dataframe one with the columns ``eigenmoment_0``
            and so on. Of a dataframe of pandas a numpy array, unless ``set_output`` asks for another.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.
        DataError
            If signals have another shape, NaN or infinity (lazy ones: when computed).
        """
        self._check_fitted()
        names = getattr(self, "feature_names_in_", None)
        request = Request(
            fitted=None if names is None else tuple(names), feature_dims=getattr(self, "signal_dims_", None)
        )
        table, _ = open_signals(X, shape=self.signal_shape_, variable=self._axes.variable, request=request)
        table = settled(self, table, reset=False, whole_numbers=True)
        features = FeatureMap(self._space, self.components_.T, self.mean_, kernel_dtype(table.X.dtype))
        values = map_rows(table.X, features, ExecutionPlan.of_signals(features.n_features).chunk_rows)
        return table.origin.restore(values, FEATURE, columns=(FEATURE, range(features.columns)), attrs=_ATTRS)

    def inverse_transform(self, X: Any) -> Any:
        """Signals that have these features: of those in the span of the polynomials, the ones least made of noise.

        With all m features, and signals that are polynomials of the order, these are the signals themselves.

        Parameters
        ----------
        X : array-like, dask array or DataArray, (rows, k)
            What :meth:`transform` returns.

        Returns
        -------
        (rows, *signal_shape)
            As the signals of :meth:`fit`: flattened, (rows, n), if those were. A DataArray has the coordinates that
            those had along their dimensions, unless the features were loaded: files do not hold these.
        """
        self._check_fitted()
        if not isinstance(self._space, MomentSpace):
            raise ParameterError("features with invariant do not say what signals they are of")
        request = Request(feature_dims=(FEATURE,)) if hasattr(X, "dims") else Request()
        table = open_request(X, request)
        k = len(self.components_)
        if int(table.X.shape[1]) != k:
            raise DataError(f"X has {table.X.shape[1]} features; expected the {k} of transform")
        back = SignalsOfFeatures(
            self._space, self.noise_correlation_ @ self.components_.T, self.mean_, kernel_dtype(table.X.dtype)
        )
        values = map_rows(table.X, back, ExecutionPlan.of_signals(back.columns).chunk_rows)
        rows = table.origin.restore(values, "signal", columns=(SAMPLE, range(back.columns)))
        if hasattr(rows, "columns") and (names := getattr(self, "feature_names_in_", None)) is not None:
            rows = rows.rename(columns=dict(zip(rows.columns, names, strict=True)))
        return signals_of(rows, self._axes)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names of the features, (k,): ``eigenmoment_0`` and so on."""
        self._check_fitted()
        return np.asarray([f"{FEATURE}_{i}" for i in range(len(self.components_))], dtype=object)

    def _check_fitted(self) -> None:
        if not hasattr(self, "components_"):
            raise NotFittedError(
                "This EigenMoments instance is not fitted yet; call fit, or load one with EigenMoments.load"
            )
