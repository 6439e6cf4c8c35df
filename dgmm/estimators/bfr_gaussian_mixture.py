"""The Gaussian mixture of one scan."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Self

import numpy as np

from dgmm.errors import ParameterError
from dgmm.estimators._drawing import DrawnMixture
from dgmm.estimators._fitting import FitSetup, default_batch_rows, default_start_rows
from dgmm.estimators._inputs import to_rows
from dgmm.estimators._keeping import Keeper, fingerprint_of, to_checkpoint
from dgmm.estimators._parameters import check_execution, check_parameters, make_start, to_random_state
from dgmm.estimators._saving import few_rows
from dgmm.estimators._scanning import BFRScan, ScanSetup, go_on, in_user_units
from dgmm.estimators._verbose import Callbacks, emitter
from dgmm.fitting.events import Event
from dgmm.fitting.fit import canonical_order
from dgmm.fitting.problem import Control
from dgmm.fitting.progress import ScanProgress
from dgmm.fitting.scanning import BFRControl, BFRSetup, BFRState
from dgmm.mixture.families import CovarianceFamily, get_family
from dgmm.passes.execution import Execution
from dgmm.passes.plan import ExecutionPlan
from dgmm.storage.checkpoint import Checkpoint
from dgmm.typing import RandomState

# Parameters that a scan keeps once it has begun.
_KEPT = ("n_components", "covariance_type")


class BFRGaussianMixture(DrawnMixture):
    """Gaussian mixture from one scan of the rows, which need not be kept: for streams and data that are read once.

    Rows are taken in rounds. After each, those that the model is sure of are kept as sums for each
    component (the discard set), tight groups that no component explains as sums of their own (the
    compressed set), and at most ``buffer_rows`` as they are (the retained set). EM runs over rows and
    sums together. A uniform sample of all rows goes along: where rows come in an order, and EM on the
    sample finds what the scan has missed, the sample takes the place of the sums. Rows that can be
    read several times are better fitted by :class:`dgmm.GaussianMixture`.

    Parameters
    ----------
    n_components : int, default 1
        Number of components, K.
    covariance_type : {"full", "tied", "diag", "spherical", "tied-diag", "tied-spherical"}, default "full"
    reg_covar : float, default 1e-6
        Added to the diagonal of the covariances, in squared units of X.
    batch_rows : int, optional
        Rows of a round, about; 24 MiB of float64 by default, at least 50,000.
    sample_rows : int, optional
        Rows that the start is made from, which is as good as they are many: a sample of the first
        round's; a stream is gathered until there are so many. As many are carried along, drawn at random
        from all rows so far: where EM on them gains more than chance, the scan goes on from there. By default
        400 for each free parameter, at least 50,000, at most ``batch_rows``.
    buffer_rows : int, default 10_000
        Rows that are retained between rounds, at most.
    primary : {"certain", "mahalanobis"}, default "certain"
        Which rows leave first. ``"certain"``: those that the model is most certain of, only as many
        as the buffer needs, each weighed over the components. ``"mahalanobis"``: all within a
        Mahalanobis radius of their most probable component, which they then belong to altogether
        (Bradley, Fayyad and Reina 1998, section 4.1).
    primary_fraction : float, default 0.5
        From 0 to 1: share of a component's own rows within that radius.
    secondary_tightness : float, default 0.125
        Variance of a compressed subcluster, at most, in units of its nearest component's; above 0.
    forgetting : float, default 1.0
        In (0, 1]: what the weights of old rows are multiplied by in each round, for streams that drift.
    inner_max_iter : int, default 10
        EM iterations of a round, at most; few are made once the model has settled.
    refine_passes : int, default 0
        EM iterations over all the rows after the scan, accelerated, each one read (and one read
        before the first).
    n_init, init_params, weights_init, means_init, precisions_init, random_state
        See :class:`dgmm.GaussianMixture`; starts are made on the first rows. ``"k-means||"`` is none.
    missing : {"raise", "drop"}, default "raise"
        What is done about rows with missing values, which are NaN: they are an error, or have weight 0,
        the label -1, and NaN for probabilities and log-densities.
    verbose : int, default 0
    verbose_interval : int, default 10

    Attributes
    ----------
    weights_, means_, covariances_, precisions_, precisions_cholesky_ : array
        As those of :class:`dgmm.GaussianMixture`.
    converged_ : bool
        Whether the last round moved the model by little.
    n_iter_ : int
        Rounds.
    n_rows_ : int
        Rows of positive weight so far.
    n_dropped_ : int
        Rows so far that were left out because values are missing.
    lower_bound_ : float
        Mean, in nats per row, of a lower bound of the log-likelihood of all rows so far; once the sample
        has put the scan right, and stands for what was discarded, an estimate of it, which may lie above.
    lower_bounds_ : list of float
        The same after each round, and after the end where the sample has put the scan right there.
    discard_set_, compressed_set_ : dict of str to array
        ``weights`` (s,), ``means`` (s, d) and ``covariances`` of the sums, in the user's units.
    retained_set_ : dict of str to array
        ``rows`` (m, d) and ``weights`` (m,), the most doubtful first.
    n_renewed_ : int
        How often the sample put the scan right: 0 where rows come in random order, mostly.
    sample_ : (m, d)
        Some rows at random, as those of :class:`dgmm.GaussianMixture`; rows that were forgotten are fewer.
    n_features_in_ : int

    Notes
    -----
    Bradley, Fayyad and Reina (1998), "Scaling EM (expectation-maximization) clustering to large
    databases", Microsoft Research MSR-TR-98-35. Compressed sums are weighed with the trace term of
    Verbeek, Nunnink and Vlassis (2006), "Accelerated EM-based clustering of large data sets", Data
    Mining and Knowledge Discovery 13; discarded rows keep their responsibilities as in Neal and
    Hinton (1998), "A view of the EM algorithm that justifies incremental, sparse, and other
    variants": a true lower bound.

    Examples
    --------
    >>> import dask.array as da
    >>> from dgmm import BFRGaussianMixture
    >>> X = da.concatenate([da.full((500, 2), 0.0, chunks=(100, 2)), da.full((500, 2), 8.0, chunks=(100, 2))])
    >>> X = X + da.random.default_rng(0).normal(size=X.shape, chunks=X.chunks)
    >>> scan = BFRGaussianMixture(2, batch_rows=700, random_state=0).fit(X)
    >>> scan.weights_.round(1), scan.n_rows_
    (array([0.5, 0.5]), 1000)
    """

    converged_: bool
    n_iter_: int
    n_rows_: int
    n_renewed_: int
    n_dropped_: int
    lower_bound_: float
    _progress: ScanProgress
    _weighted: bool
    _kept: dict[str, Any]

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        reg_covar: float = 1e-6,
        batch_rows: int | None = None,
        sample_rows: int | None = None,
        buffer_rows: int = 10_000,
        primary: Literal["certain", "mahalanobis"] = "certain",
        primary_fraction: float = 0.5,
        secondary_tightness: float = 0.125,
        forgetting: float = 1.0,
        inner_max_iter: int = 10,
        refine_passes: int = 0,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: RandomState = None,
        missing: Literal["raise", "drop"] = "raise",
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.reg_covar = reg_covar
        self.batch_rows = batch_rows
        self.sample_rows = sample_rows
        self.buffer_rows = buffer_rows
        self.primary = primary
        self.primary_fraction = primary_fraction
        self.secondary_tightness = secondary_tightness
        self.forgetting = forgetting
        self.inner_max_iter = inner_max_iter
        self.refine_passes = refine_passes
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.missing = missing
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        sample_dims: Any = None,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        callbacks: Callbacks = (),
        execution: Execution | None = None,
    ) -> Self:
        """Fit the mixture in one scan; every chunk is read once.

        Parameters
        ----------
        X, sample_weight, sample_dims
            As :meth:`dgmm.GaussianMixture.fit`.
        y : ignored
        checkpoint : path, URL or Checkpoint, optional
            Where the state is kept after each round; the same call then goes on from there.
        callbacks : callable, or iterable of callables
            Told each event; returning True has no effect.
        execution : Execution, optional
            Only ``pass_retries`` and ``memory_limit`` count.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, DataError, IllDefinedCovarianceError, ReadError, ClusterError, CheckpointError
            As :meth:`dgmm.GaussianMixture.fit`.
        """
        return self._scan(
            X, sample_weight, sample_dims, callbacks, to_checkpoint(checkpoint), check_execution(execution), whole=True
        )

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        sample_dims: Any = None,
        callbacks: Callbacks = (),
    ) -> Self:
        """Go on with rows that arrive: any number of them.

        The state is that of :meth:`fit` over the same rounds; what :meth:`fit` shows is that state after
        the sample was asked a last time. Rows are only gathered until there are ``sample_rows`` of them;
        until then there are no parameters. Parameters are those of :meth:`fit`.

        Raises
        ------
        ParameterError
            If the mixture was loaded, which holds nothing of the scan; also as :meth:`fit`.
        """
        if hasattr(self, "means_") and not hasattr(self, "_progress"):
            raise ParameterError(
                "this mixture was loaded or set by hand: it holds no rows nor sums that partial_fit could go on with; "
                "call fit, or fit_growing with a checkpoint, which holds them"
            )
        return self._scan(X, sample_weight, sample_dims, callbacks, None, Execution(), whole=False)

    def fit_growing(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        sample_dims: Any = None,
        checkpoint: str | os.PathLike[str] | Checkpoint | None,
        callbacks: Callbacks = (),
        execution: Execution | None = None,
    ) -> Self:
        """Take the rows that were appended to an array since the last call with the same checkpoint.

        X is the whole array, of which rows that were taken are not read again, but for the first ones and the
        last ones, by which the array is known again. A call that was interrupted is ended by the next
        one, with the rows that it began with. The state is that of :meth:`partial_fit` over the rows of
        each call; where nothing is new, nothing changes. Parameters are those of :meth:`fit`.

        Raises
        ------
        CheckpointMismatchError
            If the array has shrunk, or rows that were taken are other ones now.
        ParameterError
            If chunk lengths are unknown, or ``refine_passes`` is not 0; also as :meth:`fit`.
        """
        place = to_checkpoint(checkpoint)
        if place is None:
            raise ParameterError("checkpoint is None; give the place that holds what was taken before")
        if self.refine_passes:
            raise ParameterError(f"refine_passes is {self.refine_passes}; rows that arrive are read once: it must be 0")
        return self._scan(X, sample_weight, sample_dims, callbacks, place, check_execution(execution), whole=False)

    def _scan(
        self,
        X: Any,
        sample_weight: Any,
        sample_dims: Any,
        callbacks: Callbacks,
        checkpoint: Checkpoint | None,
        execution: Execution,
        *,
        whole: bool,
    ) -> Self:
        growing = checkpoint is not None and not whole
        params = self.get_params(deep=False)
        check_parameters(params)
        before = dict(self.__dict__)
        try:
            emit = emitter(callbacks, int(self.verbose), int(self.verbose_interval))
            anew = whole or growing or not hasattr(self, "_progress")
            family, k = get_family(self.covariance_type), int(self.n_components)
            rows, dtype = to_rows(
                self, X, sample_weight, partial(_chunk_rows, self), reset=anew, sample_dims=sample_dims
            )
            weighted, kept = rows.weights is not None, {name: params[name] for name in _KEPT}
            start = make_start(params, family, rows.n_features)
            plan = ExecutionPlan.choose(family, k, rows.n_features)
            batch_rows = int(self.batch_rows or default_batch_rows(rows.n_features))
            control = self._control(family, rows.n_features, batch_rows)
            setup = BFRSetup(family, k, float(self.reg_covar), dtype, plan.options, start, control)
            keeper = None
            if checkpoint is not None:
                keeper = Keeper(checkpoint, fingerprint_of(self, rows, start, plan, growing=growing), emit)
            scan = ScanSetup(rows, plan, batch_rows, execution, partial(BFRScan.of, setup), whole)
            if whole and self.refine_passes:
                self._refine(scan, setup, emit, keeper)
            else:
                if anew:
                    seed = int(to_random_state(self.random_state).randint(2**31 - 1))
                    begun = ScanProgress(seed, BFRState.empty(rows.n_features, dtype))
                else:
                    begun = go_on(self._progress, self._weighted, weighted, self._kept, kept)
                if growing and keeper is not None:
                    if rows.n_rows is None:
                        raise ParameterError("the chunk lengths of X are unknown; call X.compute_chunk_sizes() first")
                    self._progress = scan.run_new(replace(begun, stop=rows.n_rows), emit, keeper)
                else:
                    self._progress = scan.run(begun, emit, keeper)
                self._publish(setup, scan.ended(self._progress) if whole else self._progress)
            self._weighted, self._kept = weighted, kept
        except BaseException:
            # A fit that fails leaves the model as it was.
            self.__dict__ = before
            raise
        return self

    def _control(self, family: CovarianceFamily, d: int, batch_rows: int) -> BFRControl:
        k = int(self.n_components)
        return BFRControl(
            max(k, int(self.sample_rows or default_start_rows(family.n_parameters(k, d), batch_rows))),
            int(self.buffer_rows),
            self.primary,
            float(self.primary_fraction),
            float(self.secondary_tightness),
            float(self.forgetting),
            int(self.inner_max_iter),
        )

    def _publish(self, setup: BFRSetup, progress: ScanProgress) -> None:
        state: BFRState = progress.scan
        self.n_rows_, self.n_iter_, self.converged_ = state.n_rows, state.n_rounds, state.settled
        self.n_renewed_, self.n_dropped_ = state.n_renewed, progress.n_dropped
        self.lower_bounds_ = list(progress.lower_bounds)
        self.retained_set_ = {
            "rows": state.retained.rows,
            "weights": np.ldexp(state.retained.weights, state.exponent),
        }
        if state.parameters is None or state.coordinates is None:
            return
        result = setup.family.to_user(state.parameters, state.coordinates)
        order = np.arange(setup.n_components) if setup.start.is_given else canonical_order(result)
        self._set_parameters(result.take(order), setup.dtype)
        if state.sample is not None:
            self.sample_ = few_rows(state.sample, setup.dtype)
        self.lower_bound_ = self.lower_bounds_[-1] if self.lower_bounds_ else np.nan
        self.discard_set_ = in_user_units(setup, state, state.discard, order)
        self.compressed_set_ = in_user_units(setup, state, state.compressed, None)

    def _refine(self, scan: ScanSetup, setup: BFRSetup, emit: Callable[[Event], bool], keeper: Keeper | None) -> None:
        """A fit that begins with the scan."""
        fit = FitSetup(
            rows=scan.rows,
            dtype=setup.dtype,
            family=setup.family,
            n_components=setup.n_components,
            reg_covar=setup.reg_covar,
            control=Control(0.0, int(self.refine_passes), "auto"),
            start=setup.start,
            sample_rows=max(default_batch_rows(scan.rows.n_features), setup.n_components),
            plan=scan.plan,
            execution=scan.execution,
            scan=scan,
        )
        result = fit.run(to_random_state(self.random_state), emit, keeper)
        if result.scan is None:
            raise AssertionError("the fit began without a scan")
        self._progress = result.scan
        self._publish(setup, result.scan)
        self._set_parameters(result.parameters, setup.dtype)
        self.lower_bounds_ += list(result.lower_bounds)
        self.lower_bound_ = self.lower_bounds_[-1]


def _chunk_rows(estimator: BFRGaussianMixture, n_features: int) -> int:
    family = get_family(estimator.covariance_type)
    return ExecutionPlan.choose(family, int(estimator.n_components), n_features).chunk_rows
