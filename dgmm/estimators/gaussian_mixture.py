"""The Gaussian mixture estimator."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Self

import numpy as np

from dgmm.errors import ParameterError
from dgmm.estimators._drawing import DrawnMixture
from dgmm.estimators._fitting import FitSetup, default_batch_rows, default_sample_rows, default_start_rows, warn_of
from dgmm.estimators._inputs import to_rows
from dgmm.estimators._keeping import Keeper, fingerprint_of, to_checkpoint
from dgmm.estimators._parameters import check_execution, check_parameters, make_start, to_random_state
from dgmm.estimators._saving import few_rows
from dgmm.estimators._scanning import BFRScan, ScanSetup
from dgmm.estimators._verbose import Callbacks, emitter
from dgmm.fitting.events import Event
from dgmm.fitting.fit import FitResult
from dgmm.fitting.problem import Control
from dgmm.fitting.scanning import BFRControl, BFRSetup
from dgmm.fitting.start import FROM_SCAN, Start
from dgmm.fitting.stopping import StopReason
from dgmm.mixture.families import CovarianceFamily, get_family
from dgmm.mixture.missing import DROP, MARGINALIZE
from dgmm.passes.execution import Execution
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.rows import Rows
from dgmm.storage.checkpoint import Checkpoint
from dgmm.typing import IntArray, RandomState


def _chunk_rows(family: CovarianceFamily, n_components: int, n_features: int) -> int:
    return ExecutionPlan.choose(family, n_components, n_features).chunk_rows


class GaussianMixture(DrawnMixture):
    """Gaussian mixture fitted by expectation maximisation, one read of the data an iteration.

    The names, shapes and defaults are scikit-learn's. X is anything that holds rows, in memory or as chunks of any
    size, which are never loaded whole; passes run on the threaded scheduler or on
    whatever Dask scheduler or ``distributed.Client`` is current.

    Parameters
    ----------
    n_components : int, default 1
        Number of components, K.
    covariance_type : {"full", "tied", "diag", "spherical", "tied-diag", "tied-spherical"}, default "full"
        Each component's own covariance matrix; one matrix for all; own diagonal; own variance; one diagonal
        for all; one variance for all.
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
    init_params : {"kmeans", "k-means++", "k-means||", "random", "random_from_data", "bfr"}, default "kmeans"
        How starts are made: k-means from k-means++ centres; those centres alone; k-means|| (over
        all the data: seven reads); random responsibilities; random rows as centres. Rows are
        whitened or, every other start, scaled feature by feature. Starts are improved on a part of
        the sample by successive halving; the one that is left goes on to EM on the whole sample.
        ``"bfr"``: one scan of all the rows (:class:`dgmm.BFRGaussianMixture`), one read more, for components
        that are too rare for a sample and lie together; what is given of the start is where the scan starts.
    weights_init : (K,) array-like, optional
        Weights to start from.
    means_init : (K, d) array-like, optional
        Means to start from; without the other two, rows are given to the nearest one.
    precisions_init : array-like, optional
        Precisions to start from, of the shape of ``covariances_``.
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
        rows. For ``"bfr"`` also rows of a round.
    accelerate : "auto" or None, default "auto"
        ``"auto"``: EM on the sample is extrapolated to its optimum, and after each read the sample
        says, in memory, where to read next, which takes fewer reads than EM; a read that finds no
        rise there is made good by an EM step. With a sample of more than a quarter of the rows
        each read is an EM step. None: plain EM.
    missing : {"raise", "drop", "marginalize"}, default "raise"
        What is done about rows with missing values, which are NaN (infinity is always an error). ``"raise"``: they
        are an error that names the first one. ``"drop"``: they have weight 0, the label -1, and NaN for probabilities
        and log-densities. ``"marginalize"``: EM for values missing at random, which takes each row's density over the
        features that are there, and adds conditional means and covariances of the others in the M-step; only rows
        of which nothing is there are dropped. Same bits as the others where nothing is missing.

    Attributes
    ----------
    weights_ : (K,)
        Mixing proportions. Attributes have the dtype of X, float32 or float64; float64 is kept
        inside.
    means_ : (K, d)
    covariances_ : array
        (K, d, d) for ``full``, (d, d) for ``tied``, (K, d) for ``diag``, (K,) for ``spherical``, (d,) for
        ``tied-diag``, () for ``tied-spherical``.
    precisions_, precisions_cholesky_ : array
        Inverses of the covariances, and factors ``U`` with ``precisions = U @ U.T``.
    converged_ : bool
    stop_reason_ : StopReason
        Why the fit ended; its ``value`` is a sentence.
    n_iter_ : int
        EM iterations, each one read of the data; 0 where the components of all rows were known.
    n_reads_ : int
        Reads of the data in all: the first one, those of the start (a scan is one), and the iterations.
    lower_bound_ : float
        Mean log-likelihood per row at the last E-step, in nats; of a labelled row that of the row and its
        label (with ``n_iter_`` 0: at the result).
    lower_bounds_ : list of float
        The same for every iteration, except those whose parameters were given up.
    remaining_gap_ : float or None
        Estimated rise of ``lower_bound_`` that is still to come, in nats per row; None if it
        could not be told.
    sampling_error_ : float
        ``p_free / (2 n)``: to how many nats per row n rows determine the optimum.
    n_missing_ : (d,) int64
        Missing values of each feature.
    n_dropped_ : int
        Rows of weight 0 that have missing values: those that ``missing`` leaves out.
    sample_ : (m, d)
        Some rows at random, in proportion to their weights: at most 2,000, and 2**20 numbers. They are what
        :meth:`plot` and ``dgmm report`` draw, and they are saved; ``save(path, sample=False)`` leaves them out.
    plan_ : ExecutionPlan
        How the passes were cut up.
    n_features_in_ : int
    feature_names_in_ : (d,) array of str
        If X names its features.
    sample_dims_, feature_dims_ : tuple
        The dimensions of X that rows ran over, and those that held features, if X was an xarray object. To predict, all
        but the latter are rows.

    Notes
    -----
    Components are ordered by weight, falling, unless a part of the start or labels were given. A component
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
    n_missing_: IntArray
    n_dropped_: int
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
        missing: Literal["raise", "drop", "marginalize"] = "raise",
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
        self.missing = missing

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        labels: Any = None,
        sample_dims: Any = None,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        callbacks: Callbacks = (),
        execution: Execution | None = None,
    ) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array-like, dask array, DataArray, Dataset, dataframe, zarr object, path or URL
            Rows of real numbers, (n, d), or what :func:`dgmm.open_rows` makes rows of. A dask array may have several
            chunks of features, empty chunks and unknown chunk lengths.
        y : ignored
        sample_weight : array-like, dask array, DataArray, number or str, optional
            How many rows each row stands for; 0 leaves it out. A name is that of a column or variable of X, which
            then is no feature.
        labels : array-like, dask array, DataArray or str, optional
            Component of each row, from 0 to K - 1, where it is known, and -1 where it is not. Responsibilities
            of labelled rows are fixed, and their ``log(pi_y N(x | y))`` takes the place of their log-density
            in the log-likelihood. If all are labelled, the estimate has a closed form: one read, and
            ``n_iter_`` is 0. Components are in the order of the labels. A name is as that of the weights.
        sample_dims : name or sequence of names, optional
            Of an xarray object: the dimensions that rows run over. By default all of a DataArray but
            ``band``, ``channel``, ``feature`` or ``variable``, or else the last one, and those that all variables of a
            Dataset share.
        checkpoint : path, URL or Checkpoint, optional
            Where the progress of the fit is kept. The same call then goes on from there, whatever
            ended the one before, and ends with the same bits; after the end it has nothing to do. (With
            ``warm_start`` a call after the end has another start, so it is another fit and refused.)
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
            bad weights or labels, constant features with ``reg_covar=0``.
        IllDefinedCovarianceError
            If a component collapses with ``reg_covar=0``.
        InsufficientMemoryError
            If the fit would need more memory than there is.
        ReadError
            If a chunk cannot be read, however often it is tried.
        ClusterError
            If the workers of a cluster, or its scheduler, are lost for good.
        CheckpointError
            If the checkpoint is of another fit, is damaged, or is in use.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` was reached.
        StarvedComponentWarning, RegularizationWarning
        CheckpointWarning
            If a checkpoint could not be written, or an earlier one had to be taken.
        """
        check_parameters(self.get_params(deep=False))
        execution = check_execution(execution)
        before = dict(self.__dict__)
        try:
            emit = emitter(callbacks, int(self.verbose), int(self.verbose_interval))
            result = self._fit(X, sample_weight, labels, sample_dims, emit, to_checkpoint(checkpoint), execution)
        except BaseException:
            # A fit that fails leaves the model as it was.
            self.__dict__ = before
            raise
        warn_of(result, self.tol)
        return self

    def _fit(
        self,
        X: Any,
        sample_weight: Any,
        labels: Any,
        sample_dims: Any,
        emit: Callable[[Event], bool],
        checkpoint: Checkpoint | None,
        execution: Execution,
    ) -> FitResult:
        family, k = get_family(self.covariance_type), int(self.n_components)
        chunk_rows = partial(_chunk_rows, family, k)
        rows, dtype = to_rows(self, X, sample_weight, chunk_rows, reset=True, labels=labels, sample_dims=sample_dims)
        setup = self._setup(rows, dtype, execution)
        keeper = None
        if checkpoint is not None:
            keeper = Keeper(checkpoint, fingerprint_of(self, rows, setup.start, setup.plan), emit)
        result = setup.run(to_random_state(self.random_state), emit, keeper)
        self._publish(result, dtype, setup.plan)
        return result

    def _setup(self, rows: Rows, dtype: np.dtype[Any], execution: Execution) -> FitSetup:
        """State the fit of the parameters to rows; ``dtype`` is that of the fitted attributes."""
        family, k, d = get_family(self.covariance_type), int(self.n_components), rows.n_features
        warm = self._warm_start(d)
        start = warm or make_start(self.get_params(deep=False), family, d)
        plan = ExecutionPlan.choose(family, k, d)
        from_scan = warm is None and start.init_params == FROM_SCAN
        if from_scan and rows.labels is not None:
            raise ParameterError(f"init_params={FROM_SCAN!r} is one scan, which knows no labels; take another start")
        return FitSetup(
            rows=rows,
            dtype=dtype,
            family=family,
            n_components=k,
            reg_covar=float(self.reg_covar),
            control=Control(self.tol, int(self.max_iter), self.accelerate),
            start=start,
            sample_rows=max(int(self.sample_rows or default_sample_rows(start, d)), k),
            plan=plan,
            execution=execution,
            scan=self._start_scan(rows, dtype, start, plan, execution) if from_scan else None,
        )

    def fit_predict(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, labels: Any = None, sample_dims: Any = None
    ) -> Any:
        """Fit, then give the most probable component of each row.

        Parameters are those of :meth:`fit`; the result is that of :meth:`predict`.
        """
        return self.fit(X, y, sample_weight, labels=labels, sample_dims=sample_dims).predict(X)

    def _warm_start(self, d: int) -> Start | None:
        if not (self.warm_start and hasattr(self, "converged_")):
            return None
        last = self._parameters()
        if last.means.shape != (self.n_components, d) or self._family is not get_family(self.covariance_type):
            return None
        return Start(self.init_params, 1, last.weights, last.means, last.covariances)

    def _start_scan(
        self, rows: Rows, dtype: np.dtype[Any], start: Start, plan: ExecutionPlan, execution: Execution
    ) -> ScanSetup:
        """The scan that the start comes from."""
        family, k, d = get_family(self.covariance_type), int(self.n_components), rows.n_features
        batch_rows = max(int(self.sample_rows or default_batch_rows(d)), k)
        sample_rows = max(default_start_rows(family.n_parameters(k, d), batch_rows), k)
        control = BFRControl(sample_rows, buffer_rows=min(BFRControl.buffer_rows, batch_rows // 5))
        # The scan's own start is the usual one, on its first rows.
        setup = BFRSetup(
            family,
            k,
            float(self.reg_covar),
            dtype,
            plan.options,
            replace(start, init_params="kmeans"),
            control,
        )
        if rows.missing == MARGINALIZE:  # sums of rows cannot be; the complete rows make the start
            rows = rows.with_missing(DROP)
        return ScanSetup(rows, plan, batch_rows, execution, partial(BFRScan.of, setup), whole=True)

    def _publish(self, result: FitResult, dtype: np.dtype[Any], plan: ExecutionPlan) -> None:
        self.plan_ = plan
        self._set_parameters(result.parameters, dtype)
        self.n_iter_ = result.n_iter
        self.n_reads_ = result.n_reads
        self.remaining_gap_ = result.remaining_gap
        self.sampling_error_ = result.sampling_error
        self.n_missing_, self.n_dropped_ = result.n_missing, result.n_dropped
        self.sample_ = few_rows(result.sample, dtype)
        self.lower_bounds_ = list(result.lower_bounds)
        self.lower_bound_ = self.lower_bounds_[-1]
        self.stop_reason_ = result.reason
        self.converged_ = result.reason.converged
