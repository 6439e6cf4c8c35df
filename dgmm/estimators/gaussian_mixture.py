"""The Gaussian mixture estimator."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from dgmm._version import __version__
from dgmm.errors import ParameterError, StarvedComponentWarning
from dgmm.estimators._base import MixtureEstimator
from dgmm.estimators._inputs import to_rows
from dgmm.estimators._parameters import check_parameters, make_start, to_random_state
from dgmm.estimators._records import from_record, to_record
from dgmm.estimators._verbose import Callbacks, emitter
from dgmm.fitting.driving import run
from dgmm.fitting.events import Event, ExecutionChosen
from dgmm.fitting.fit import FitResult, fit_mixture
from dgmm.fitting.problem import Control, FitProblem
from dgmm.fitting.start import Start
from dgmm.fitting.stopping import StopReason
from dgmm.mixture.checks import check_moments, check_start
from dgmm.mixture.families import CovarianceFamily, get_family
from dgmm.mixture.moments import MomentsMap
from dgmm.mixture.sampling import RowSample
from dgmm.passes.blas import single_threaded_blas
from dgmm.passes.execution import Execution, Resources, decide
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.rows import Rows
from dgmm.passes.tree import PassRunner
from dgmm.storage.model import load_model, save_model

if TYPE_CHECKING:
    from dgmm.mixture.chunks import RunPass
    from dgmm.typing import RandomState

_SAMPLE_BYTES = 24 * 2**20
_SAMPLE_ROWS = 50_000
_SAMPLE_ROWS_FOR_RESEEDING = 10_000


def _chunk_rows(family: CovarianceFamily, n_components: int, n_features: int) -> int:
    return ExecutionPlan.choose(family, n_components, n_features).chunk_rows


class GaussianMixture(MixtureEstimator):
    """Gaussian mixture fitted by expectation maximisation, one read of the data an iteration.

    The names, shapes and defaults are scikit-learn's. X is a numpy array, or a dask array of any
    size and chunking, which is never loaded whole; passes run on the threaded scheduler or on
    whatever Dask scheduler or ``distributed.Client`` is current.

    Parameters
    ----------
    n_components : int, default 1
        Number of components, K.
    covariance_type : {"full", "tied", "diag", "spherical"}, default "full"
        Each component's own covariance matrix; one matrix for all; own diagonal; own variance.
    tol : float or "auto", default 1e-3
        The fit has converged when the mean log-likelihood rises by less, in nats per row.
        ``"auto"``: when the rise that remains is estimated to be below a tenth of
        ``p_free / (2 n)``, to which n rows determine the optimum (estimates err low, hence the
        tenth): once by what the sample foresees, or twice in a row by Aitken's extrapolation.
    reg_covar : float, default 1e-6
        Added to the diagonal of the covariances, in squared units of X.
    max_iter : int, default 100
        EM iterations at most, each one read of the data.
    n_init : int, default 1
        Starts that are compared on the sample; they cost no read of the data. ``"kmeans"``
        compares four times as many.
    init_params : {"kmeans", "k-means++", "k-means||", "random", "random_from_data"}, default "kmeans"
        How starts are made: k-means from k-means++ centres; those centres alone; k-means|| (over
        all the data: seven reads); random responsibilities; random rows as centres. Rows are
        whitened or, every other start, scaled feature by feature. Starts are improved on a part of
        the sample by successive halving; the one that is left goes on to EM on the whole sample.
    weights_init : (K,) array-like, optional
        Weights to start from.
    means_init : (K, d) array-like, optional
        Means to start from; without the other two, rows are given to the nearest one.
    precisions_init : array-like, optional
        Precisions to start from: (K, d, d) for ``full``, (d, d) for ``tied``, (K, d) for
        ``diag``, (K,) for ``spherical``.
    random_state : int, RandomState, Generator or None, default None
        Of the sample, the starts and :meth:`sample`.
    warm_start : bool, default False
        Start from the parameters of the last fit.
    verbose : int, default 0
        1 prints the iterations, 2 also the change and the time.
    verbose_interval : int, default 10
        Iterations between prints.
    sample_rows : int, optional
        Rows of the sample that starts are made on; by default 24 MB of float64, at least 50,000
        rows.
    accelerate : "auto" or None, default "auto"
        ``"auto"``: EM on the sample is extrapolated to its optimum, and after each read the sample
        says, in memory, where to read next, which takes fewer reads than EM; a read that finds no
        rise there is made good by an EM step. With a sample of more than a quarter of the rows
        each read is an EM step. None: plain EM.

    Attributes
    ----------
    weights_ : (K,)
        Mixing proportions. Attributes have the dtype of X, float32 or float64; float64 is kept
        inside.
    means_ : (K, d)
    covariances_ : array
        (K, d, d) for ``full``, (d, d) for ``tied``, (K, d) for ``diag``, (K,) for ``spherical``.
    precisions_, precisions_cholesky_ : array
        Inverses of the covariances, and factors ``U`` with ``precisions = U @ U.T``.
    converged_ : bool
    stop_reason_ : StopReason
        Why the fit ended; its ``value`` is a sentence.
    n_iter_ : int
        EM iterations, each one read of the data.
    n_reads_ : int
        Reads of the data in all: the first one, those of the start, and the iterations.
    lower_bound_ : float
        Mean log-likelihood per row at the last E-step, in nats.
    lower_bounds_ : list of float
        The same for every iteration, except those whose parameters were given up.
    remaining_gap_ : float or None
        Estimated rise of ``lower_bound_`` that is still to come, in nats per row; None if it
        could not be told.
    sampling_error_ : float
        ``p_free / (2 n)``: to how many nats per row n rows determine the optimum.
    plan_ : ExecutionPlan
        How the passes were cut up.
    n_features_in_ : int
    feature_names_in_ : (d,) array of str
        If X was a dataframe.

    Notes
    -----
    Components are ordered by weight, falling, unless a part of the start was given. A component
    without rows (with ``reg_covar=0``: with fewer than its covariance needs) is moved once, then
    gets weight 0, each with a StarvedComponentWarning.

    Dempster, Laird and Rubin (1977), "Maximum likelihood from incomplete data via the EM
    algorithm", J. Royal Statistical Society B 39, 1.

    Examples
    --------
    >>> import dask.array as da
    >>> from dgmm import GaussianMixture
    >>> X = da.concatenate([da.full((500, 2), 0.0, chunks=(100, 2)), da.full((300, 2), 8.0, chunks=(100, 2))])
    >>> X = X + da.random.default_rng(0).normal(size=X.shape, chunks=X.chunks)
    >>> mixture = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> mixture.weights_.round(3)
    array([0.625, 0.375])
    >>> mixture.predict(X)
    dask.array<..., shape=(800,), dtype=int64, chunksize=(100,), chunktype=numpy.ndarray>
    """

    converged_: bool
    stop_reason_: StopReason
    n_iter_: int
    n_reads_: int
    lower_bound_: float
    remaining_gap_: float | None
    sampling_error_: float
    plan_: ExecutionPlan

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float | Literal["auto"] = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: RandomState = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        sample_rows: int | None = None,
        accelerate: Literal["auto"] | None = "auto",
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.sample_rows = sample_rows
        self.accelerate = accelerate

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        callbacks: Callbacks = (),
        execution: Execution | None = None,
    ) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array-like or dask array, (n, d)
            Rows of real numbers. A dask array may have several chunks of features, empty chunks
            and unknown chunk lengths.
        y : ignored
        sample_weight : array-like or dask array, (n,), or a number, optional
            How many rows each row stands for; 0 leaves it out.
        callbacks : callable, or iterable of callables
            Told each event (:mod:`dgmm.fitting.events`); returning True stops the fit.
        execution : Execution, optional
            Where the rows are held while the fit runs; by default in memory if they fit well.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            If a parameter is impossible.
        DataError
            If the data cannot be used: NaN, infinity, wrong dimensions or dtype, too few rows,
            bad weights, constant features with ``reg_covar=0``.
        IllDefinedCovarianceError
            If a component collapses with ``reg_covar=0``.
        InsufficientMemoryError
            If the fit would need more memory than there is.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` was reached.
        StarvedComponentWarning, RegularizationWarning
        """
        check_parameters(self.get_params(deep=False))
        if not (execution is None or isinstance(execution, Execution)):
            raise ParameterError(f"execution is {execution!r}; it must be None or a dgmm.Execution")
        before = dict(self.__dict__)
        try:
            emit = emitter(callbacks, int(self.verbose), int(self.verbose_interval))
            result = self._fit(X, sample_weight, emit, execution or Execution())
        except BaseException:
            # A fit that fails leaves the model as it was.
            self.__dict__ = before
            raise
        self._warn(result)
        return self

    def _fit(self, X: Any, sample_weight: Any, emit: Callable[[Event], bool], execution: Execution) -> FitResult:
        params = self.get_params(deep=False)
        family = get_family(self.covariance_type)
        k = int(self.n_components)
        rows, dtype = to_rows(self, X, sample_weight, partial(_chunk_rows, family, k), reset=True)
        d = rows.n_features
        start = self._warm_start(d) or make_start(params, family, d)
        plan = ExecutionPlan.choose(family, k, d)
        rng = to_random_state(self.random_state)
        first = self._moments_map(rows, start, rng)
        resources = Resources.measure(rows, execution.memory_limit)
        sample_rows = first.sample_rows if rows.n_rows is None else min(first.sample_rows, rows.n_rows)
        decision = decide(execution, rows, family, k, plan, resources, 8 * d * sample_rows)
        emit(
            ExecutionChosen(
                decision.persist,
                decision.lean,
                rows.nbytes,
                decision.needs.total,
                resources.free,
                resources.n_workers,
                resources.n_threads,
            )
        )
        run_pass = PassRunner(rows, plan, emit, decision.persist, decision.lean, resources)

        def run_on_sample(sample: RowSample) -> RunPass:
            return PassRunner(Rows.from_array(sample.rows, sample.weights, plan.chunk_rows), plan)

        # The driver's own products are small, and their bits must not depend on the number of threads.
        with single_threaded_blas():
            moments = run_pass(first)
            run_pass.rows = rows.with_lengths(moments.lengths)
            check_moments(moments, family, k, float(self.reg_covar))
            problem = FitProblem.of(family, k, moments, float(self.reg_covar), dtype, plan.options)
            check_start(start.means, start.covariances, problem.family, problem.coordinates)
            n_rows = moments.n_positive
            del moments  # its candidates for the sample, which the problem has now
            control = Control(self.tol, int(self.max_iter), self.accelerate)
            result = run(fit_mixture(problem, control, start, n_rows, run_on_sample, rng, emit), run_pass)
        self.plan_ = plan
        self._publish(result, dtype)
        return result

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Fit, then give the most probable component of each row.

        Parameters are those of :meth:`fit`; the result is that of :meth:`predict`.
        """
        return self.fit(X, y, sample_weight).predict(X)

    def _warm_start(self, d: int) -> Start | None:
        if not (self.warm_start and hasattr(self, "converged_")):
            return None
        last = self._parameters()
        if last.means.shape != (self.n_components, d) or self._family is not get_family(self.covariance_type):
            return None
        return Start(self.init_params, 1, last.weights, last.means, last.covariances)

    def _moments_map(self, rows: Rows, start: Start, rng: np.random.RandomState) -> MomentsMap:
        size = self.sample_rows
        if size is None:
            size = max(_SAMPLE_ROWS, _SAMPLE_BYTES // (8 * rows.n_features))
            if start.weights is not None and start.means is not None and start.covariances is not None:
                size = _SAMPLE_ROWS_FOR_RESEEDING
        size = max(size, int(self.n_components))
        return MomentsMap(int(rng.randint(2**31 - 1)), size, MomentsMap.threshold_for(size, rows.n_rows))

    def _publish(self, result: FitResult, dtype: np.dtype[Any]) -> None:
        self._set_parameters(result.parameters, dtype)
        self.n_iter_ = result.n_iter
        self.n_reads_ = result.n_reads
        self.remaining_gap_ = result.remaining_gap
        self.sampling_error_ = result.sampling_error
        self.lower_bounds_ = list(result.lower_bounds)
        self.lower_bound_ = self.lower_bounds_[-1]
        self.stop_reason_ = result.reason
        self.converged_ = result.reason.converged

    def _warn(self, result: FitResult) -> None:
        dead = np.flatnonzero(result.parameters.weights == 0.0)
        if result.starved.any():
            moved = np.flatnonzero(result.starved)
            message = f"components {moved.tolist()} had too few rows and were moved to rows of low density"
            if len(dead):
                message += f"; {dead.tolist()} had too few there too: they have weight 0, the others took their rows"
            warnings.warn(
                f"{message}; decrease n_components, or try another start",
                StarvedComponentWarning,
                stacklevel=3,
            )
        if result.reason is StopReason.MAX_ITER:
            bounds, rise = result.lower_bounds, ""
            if len(bounds) > 1:
                rise = f": the mean log-likelihood still rises by {bounds[-1] - bounds[-2]:.2g} nats per row"
            warnings.warn(
                f"the fit did not converge in {result.n_iter} iteration{'s' if len(bounds) > 1 else ''}{rise} "
                f"(tol={self.tol}); increase max_iter or tol, "
                "or check for degenerate data",
                ConvergenceWarning,
                stacklevel=3,
            )

    # -- files ----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fitted model as a zarr v3 group; whole or not at all, and without pickle.

        Parameters
        ----------
        path : path
            A new folder, ``*.zarr`` by custom.
        overwrite : bool
            Whether a zarr store that is there may be replaced.

        Raises
        ------
        NotFittedError
            If there is no fit.
        ExistsError
            If there is something at ``path`` and ``overwrite`` is False, or it is no zarr store.

        Examples
        --------
        >>> import tempfile, numpy as np, xarray as xr
        >>> from dgmm import GaussianMixture
        >>> model = GaussianMixture(2, random_state=0).fit(np.arange(20.0).reshape(10, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.zarr")
        ...     again = GaussianMixture.load(f"{folder}/model.zarr")
        ...     means = xr.open_zarr(f"{folder}/model.zarr").means.load()
        >>> bool((again.means_ == model.means_).all()), means.dims
        (True, ('component', 'feature'))
        """
        save_model(path, to_record(self), __version__, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a model that :meth:`save` wrote.

        Raises
        ------
        NotFoundError
            If there is nothing at ``path``.
        FormatError
            If it is not a model of this class, or is damaged.
        """
        return from_record(cls, load_model(path), path)
