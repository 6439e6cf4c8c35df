"""What every mixture estimator answers once it has parameters: densities, labels, criteria."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin

from dgmm.errors import DataError, InsufficientMemoryError, NotFittedError, ParameterError
from dgmm.estimators._inputs import open_table, to_rows
from dgmm.estimators._outputs import in_shape_of, top_parts, top_quantity
from dgmm.estimators._parameters import check_fitted_arrays, check_parameters, to_random_state
from dgmm.mixture import criteria
from dgmm.mixture.compiled import CompiledMixture, compile_mixture
from dgmm.mixture.families import CovarianceFamily, get_family
from dgmm.mixture.kernel import kernel_dtype
from dgmm.mixture.marginal import MarginalMixture
from dgmm.mixture.missing import MARGINALIZE, RAISE
from dgmm.mixture.parameters import MixtureParameters
from dgmm.mixture.sampling import draw
from dgmm.mixture.scores import Score, ScoreMap
from dgmm.passes.blas import single_threaded_blas
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.predict import LABELS, RESPONSIBILITIES, SCORES, Quantity, predict_rows
from dgmm.passes.tree import PassRunner
from dgmm.rules import at_least, check, did_you_mean

if TYPE_CHECKING:
    from dgmm.inputs.table import Table
    from dgmm.typing import Array, FloatArray, IntArray


# Rows, and numbers at most, that a mixture draws to see which densities are rare.
_DRAWN_ROWS, _DRAWN_NUMBERS = 100_000, 2**23


class NamedParameters(BaseEstimator):  # type: ignore[misc]
    """An estimator whose parameters are known by their names."""

    missing: str

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn wants to know of the estimator."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing != RAISE
        return tags

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the constructor by name; raises ParameterError for a name that it does not have."""
        known = self.get_params(deep=False)
        for name in params:
            if name not in known:
                raise ParameterError(
                    f"Invalid parameter {name!r} for {type(self).__name__}{did_you_mean(name, known)}; "
                    f"its parameters are: {', '.join(known)}"
                )
        super().set_params(**params)
        return self


class MixtureEstimator(DensityMixin, NamedParameters):  # type: ignore[misc]
    """Base of the estimators: everything but ``fit``."""

    covariance_type: str
    random_state: Any
    weights_: Array
    means_: Array
    covariances_: Array
    precisions_: Array
    precisions_cholesky_: Array
    n_features_in_: int
    lower_bounds_: list[float]
    sample_: Array

    # -- parameters -----------------------------------------------------------------------------

    @property
    def _family(self) -> CovarianceFamily:
        """The family of the parameters: that of the fit, whatever ``covariance_type`` was set to since."""
        return get_family(getattr(self, "_fitted_type", self.covariance_type))

    def _set_parameters(self, parameters: MixtureParameters, dtype: np.dtype[Any]) -> None:
        """Publish parameters in the user's units, with the dtype of the data."""
        self._fitted_type = self.covariance_type
        family, d = self._family, parameters.n_features
        self._exact = parameters
        self.weights_ = narrowed(parameters.weights, dtype)
        self.means_ = narrowed(parameters.means, dtype)
        self.covariances_ = narrowed(family.public(parameters.covariances, d), dtype)
        self.precisions_cholesky_ = narrowed(family.public(parameters.precisions_cholesky, d), dtype)
        self.precisions_ = narrowed(family.public(family.form.precision(parameters.precisions_cholesky), d), dtype)

    def _parameters(self) -> MixtureParameters:
        """The fitted parameters in float64, in the user's units.

        The public attributes count, also where the user set them; those of a fit to float32
        data have more digits here.
        """
        self._check_fitted()
        family = self._family
        means = np.asarray(self.means_)
        exact: MixtureParameters | None = getattr(self, "_exact", None)
        if exact is not None and exact.means.shape == means.shape:
            own = (exact.weights, exact.means, family.public(exact.precisions_cholesky, exact.n_features))
            public = (self.weights_, means, self.precisions_cholesky_)
            if all(np.array_equal(a.astype(np.asarray(b).dtype), b) for a, b in zip(own, public, strict=True)):
                return exact
        k, d = check_fitted_arrays(self.__dict__, family)
        factors = family.inner(self.precisions_cholesky_, k, d)
        covariances = family.form.invert(family.form.precision(factors))
        return MixtureParameters(
            np.asarray(self.weights_, dtype=np.float64), means.astype(np.float64), covariances, factors
        )

    def _check_fitted(self) -> None:
        if not all(hasattr(self, name) for name in ("weights_", "means_", "precisions_cholesky_")):
            name = type(self).__name__
            raise NotFittedError(f"This {name} instance is not fitted yet; call fit, or load a model with {name}.load")

    def _plan(self, n_features: int, n_components: int) -> ExecutionPlan:
        return ExecutionPlan.choose(self._family, n_components, n_features)

    def _compiled(self, dtype: np.dtype[Any], *, whole_density: bool = True) -> tuple[CompiledMixture, ExecutionPlan]:
        parameters, family = self._parameters(), self._family
        plan = self._plan(parameters.n_features, parameters.n_components)
        with single_threaded_blas():
            coordinates = family.own_coordinates(parameters)
            inner = family.to_inner(parameters, coordinates)
            marginalized = self.missing == MARGINALIZE
            whole = whole_density or marginalized
            compiled = compile_mixture(family, inner, coordinates, dtype, plan.options, whole_density=whole)
            if marginalized:
                compiled = MarginalMixture.of(compiled, inner, dtype, plan.options)
            return compiled, plan

    # -- rows -----------------------------------------------------------------------------------

    def _each_row(self, X: Any, quantity: Quantity) -> Any:
        """What is said of each row, in the shape of X."""
        return in_shape_of(*self._values(X, quantity), quantity)

    def _values(self, X: Any, quantity: Quantity) -> tuple[Table, Any]:
        """The rows of X, and an array of what is said of each."""
        self._check_fitted()
        self._expect_features()
        table = open_table(self, X, reset=False)
        dtype = kernel_dtype(table.X.dtype)
        compiled, plan = self._compiled(dtype, whole_density=quantity.whole_density)
        out = np.result_type(dtype, self.means_)
        return table, predict_rows(table.X, compiled, quantity, out, plan.chunk_rows, self.missing)

    def _expect_features(self) -> None:
        """Parameters set by hand say how many features there are, as those of a fit do."""
        if not hasattr(self, "n_features_in_"):
            self.n_features_in_ = int(np.asarray(self.means_).shape[1])

    def predict(self, X: Any) -> Any:
        """Most probable component of each row.

        Parameters
        ----------
        X : array-like, dask array, DataArray, Dataset, dataframe, zarr object or path
            What :meth:`fit` takes. Features that have names are found by them, in any order and among others.

        Returns
        -------
        (n,) int64
            A numpy array if X is in memory. A lazy dask array with the row chunks of X if X is one; of an xarray
            object a DataArray with its sample dimensions, coordinates and chunks, of a dask dataframe a dask series.

        Raises
        ------
        NotFittedError
            If there are no parameters yet.
        DataError
            If X has another number of features, NaN or infinity (lazy ones: when computed).
        """
        return self._each_row(X, LABELS)

    def predict_proba(self, X: Any, *, top: int | None = None) -> Any:
        """Responsibilities: the posterior probability of each component for each row.

        Parameters
        ----------
        X
            As :meth:`predict`.
        top : int, optional
            Give only so many components of each row, the most probable first: for many components.

        Returns
        -------
        (n, K) float32 or float64
            As X; each row sums to 1. Of an xarray object with the dimension ``component``, of a dask dataframe the
            columns ``component_0`` and so on.
        TopProbabilities
            With ``top``: ``component`` (n, top), ``probability`` (n, top) and ``remainder`` (n,), the probability
            of all others together. Of an xarray object a Dataset with the dimension ``rank``, of a dask dataframe
            the columns ``component_0``, ``probability_0`` and so on, and ``remainder``.

        Raises
        ------
        ParameterError
            If ``top`` is no number of components; also as :meth:`predict`.
        """
        if top is None:
            return self._each_row(X, RESPONSIBILITIES)
        self._check_fitted()
        table, values = self._values(X, top_quantity(top, len(self.weights_)))
        return top_parts(table, values, np.result_type(kernel_dtype(table.X.dtype), self.means_))

    def score_samples(self, X: Any) -> Any:
        """Log-density of each row under the mixture.

        Parameters and errors are those of :meth:`predict`.

        Returns
        -------
        (n,) float32 or float64
            In nats.
        """
        return self._each_row(X, SCORES)

    # -- sums over rows -------------------------------------------------------------------------

    def _score(self, X: Any, sample_weight: Any, *, entropy: bool = False, rare_below: float = -np.inf) -> Score:
        self._check_fitted()
        self._expect_features()
        k = len(self.weights_)
        rows, dtype = to_rows(self, X, sample_weight, lambda d: self._plan(d, k).chunk_rows, reset=False)
        compiled, plan = self._compiled(dtype)
        score = PassRunner(rows, plan)(ScoreMap(compiled, entropy, self.missing != RAISE, rare_below))
        if score.total_weight == 0.0:
            found = f"every sample_weight of its {score.n_rows} rows is zero" if score.n_rows else "it has no rows"
            raise DataError(f"X has no likelihood: {found}; give at least one row of weight above 0")
        return score

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Mean log-likelihood of the rows, in nats per row (per unit of weight).

        Parameters
        ----------
        X
            What :meth:`predict` takes; it is read once.
        y : ignored
        sample_weight : array-like, dask array, str or number, optional
            As in :meth:`fit`.
        """
        score = self._score(X, sample_weight)
        return score.log_likelihood / score.total_weight

    def _rare_below(self, share: float) -> float:
        """The log-density, in nats, below which are so many of the rows that the mixture itself draws, about."""
        parameters = self._parameters()
        m = min(_DRAWN_ROWS, max(_DRAWN_NUMBERS // parameters.n_features, 1))
        X, _ = draw(self._family, parameters, m, np.random.RandomState(0))
        return float(np.quantile(self._plain_densities(X), share))

    def _plain_densities(self, X: Array) -> FloatArray:
        """Log-densities, (n,), of plain rows, (n, d), whose features are those of the fit in their order."""
        compiled, plan = self._compiled(np.dtype(np.float64))
        found: FloatArray = predict_rows(
            X.astype(np.float64), compiled, SCORES, np.dtype(np.float64), plan.chunk_rows, self.missing
        )
        return found

    def _n_parameters(self) -> int:
        k, d = np.asarray(self.means_).shape
        return self._family.n_parameters(k, d)

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Akaike's information criterion of the model on X; lower is better.

        Parameters are those of :meth:`score`.
        """
        return criteria.aic(self._score(X, sample_weight).log_likelihood, self._n_parameters())

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """Bayesian information criterion of the model on X; lower is better.

        Parameters are those of :meth:`score`; the number of rows is the sum of the weights.
        """
        score = self._score(X, sample_weight)
        return criteria.bic(score.log_likelihood, self._n_parameters(), score.total_weight)

    def icl(self, X: Any, sample_weight: Any = None) -> float:
        """Integrated completed likelihood: BIC plus twice the entropy of the responsibilities.

        Parameters are those of :meth:`score`. Lower is better; see
        :func:`dgmm.mixture.criteria.icl`.
        """
        score = self._score(X, sample_weight, entropy=True)
        return criteria.icl(score.log_likelihood, self._n_parameters(), score.total_weight, score.entropy)

    def sample(self, n_samples: int = 1) -> tuple[FloatArray, IntArray]:
        """Draw rows from the fitted mixture.

        Parameters
        ----------
        n_samples : int

        Returns
        -------
        X : (n_samples, d)
            Ordered by component.
        y : (n_samples,) int64
            Component of each row.
        """
        parameters = self._parameters()
        check({"n_samples": at_least(1)}, {"n_samples": n_samples})
        check_parameters(self.get_params(deep=False))
        family, (k, d) = self._family, parameters.means.shape
        own = family.public(parameters.covariances, d).astype(np.asarray(self.covariances_).dtype)
        if not np.array_equal(own, self.covariances_):  # set by the user: scikit-learn draws by these
            parameters = family.parameters(parameters.weights, parameters.means, family.inner(self.covariances_, k, d))
        try:
            X, y = draw(family, parameters, int(n_samples), to_random_state(self.random_state))
        except (MemoryError, OverflowError, ValueError) as error:
            raise InsufficientMemoryError(
                f"n_samples={n_samples} rows of {d} features need {8 * d * int(n_samples):.3g} bytes ({error}); "
                "draw fewer, several times"
            ) from error
        return X.astype(np.asarray(self.means_).dtype, copy=False), y


def narrowed(values: FloatArray, dtype: np.dtype[Any]) -> Array:
    """Values in the dtype of the data, or in float64 where they are out of its range."""
    with np.errstate(over="ignore", under="ignore"):
        narrow = values.astype(dtype)
    lost = ~np.isfinite(narrow) | ((narrow == 0.0) & (values != 0.0))
    return values.copy() if lost.any() else narrow
