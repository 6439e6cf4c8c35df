"""Hard clusters of one scan."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from dgmm.estimators._clusters import ClusterEstimator, plan_of
from dgmm.estimators._inputs import to_rows
from dgmm.estimators._keeping import Keeper, fingerprint_of, to_checkpoint
from dgmm.estimators._parameters import check_execution, check_parameters, make_centres, to_random_state
from dgmm.estimators._scanning import ScanSetup, go_on
from dgmm.estimators._verbose import Callbacks, emitter
from dgmm.fitting.hard_bfr import HardScan
from dgmm.fitting.hard_scanning import HardSetup, HardState
from dgmm.fitting.progress import ScanProgress
from dgmm.fitting.start import Start
from dgmm.passes.execution import Execution

if TYPE_CHECKING:
    from dgmm.storage.checkpoint import Checkpoint
    from dgmm.typing import RandomState

_BATCH_ROWS = 50_000


class BFRKMeans(ClusterEstimator):
    """Axis-aligned clusters from one scan of the rows, which need not be kept.

    Each cluster is kept as the count, sum and sum of squares of its rows. A row joins the nearest
    cluster if it lies near enough; the others are clustered into tight sets (the compressed set), or
    retained as they are. Unlike those of k-means, clusters have widths of their own in each
    feature, and features need no scaling.

    Parameters
    ----------
    n_clusters : int, default 8
        Number of clusters, K.
    init : {"k-means++", "random"} or array-like (K, d), default "k-means++"
        Where clusters start, on the first rows. ``"k-means++"``: four times as many clusters by k-means,
        merged; ``"random"``: random rows; or centres.
    n_init : int, default 4
        Starts, of which the best is taken; one where centres are given.
    threshold : float, default 1.5
        A row joins its nearest cluster if its Mahalanobis distance is below ``threshold * sqrt(d)``;
        above 0. More rows of clusters that are not there yet are told from the others if it is low, and more
        rows wait for the end.
    secondary_tightness : float, default 1.0
        Variance of a compressed set, at most, in units of its nearest cluster's; above 0.
    batch_rows : int, optional
        Rows of a round, about; 50,000 by default. The first ones make the start, which is as good as they
        are many.
    buffer_rows : int, default 10_000
        Rows that are retained between rounds, at most.
    random_state : int, RandomState, Generator or None
    verbose : int, default 0
    verbose_interval : int, default 10

    Attributes
    ----------
    cluster_centers_ : (K, d)
        Means of the clusters, after everything that was left has joined its nearest one.
    cluster_variances_ : (K, d)
        Variances of each feature; no cluster has 0, see Notes.
    cluster_counts_ : (K,)
        Rows, or weight, of each cluster.
    inertia_ : float
        Sum of the squared Euclidean distances of all rows to the means of the clusters they joined.
    labels_ : (n,) int64
        :meth:`predict` of the rows that were given last, when asked for; lazy for a dask array, which is then read
        again.
    n_iter_ : int
        Rounds.
    n_rows_ : int
        Rows of positive weight so far.
    discard_set_, compressed_set_ : dict of str to array
        ``weights`` (s,), ``means`` (s, d) and ``variances`` (s, d): rows of each cluster, and of each tight set of no
        cluster, before the end.
    retained_set_ : dict of str to array
        ``rows`` (m, d) and ``weights`` (m,).
    n_features_in_ : int

    See Also
    --------
    BFRGaussianMixture : the same with probabilities.

    Notes
    -----
    Bradley, Fayyad and Reina (1998), "Scaling clustering algorithms to large databases", KDD; Leskovec,
    Rajaraman and Ullman, Mining of Massive Datasets (2nd edition, 2014), section 7.3.

    The nearest cluster is the one of the least ``M**2 + log det(Sigma)``, with M the Mahalanobis
    distance: of the highest normal density. By M alone, as in the books, wide clusters swallow
    narrow ones. Variances have a prior of the weight of one row (Fraley and Raftery 2007).

    Examples
    --------
    >>> import dask.array as da
    >>> from dgmm import BFRKMeans
    >>> X = da.concatenate([da.full((500, 2), 0.0, chunks=(100, 2)), da.full((500, 2), 8.0, chunks=(100, 2))])
    >>> X = X + da.random.default_rng(0).normal(size=X.shape, chunks=X.chunks)
    >>> scan = BFRKMeans(2, batch_rows=300, random_state=0).fit(X)
    >>> scan.cluster_counts_, scan.n_rows_, int((scan.labels_ == scan.labels_[0]).sum().compute())
    (array([500., 500.]), 1000, 500)
    """

    n_rows_: int
    n_iter_: int

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: int = 4,
        threshold: float = 1.5,
        secondary_tightness: float = 1.0,
        batch_rows: int | None = None,
        buffer_rows: int = 10_000,
        random_state: RandomState = None,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.threshold = threshold
        self.secondary_tightness = secondary_tightness
        self.batch_rows = batch_rows
        self.buffer_rows = buffer_rows
        self.random_state = random_state
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    # -- rows that come -------------------------------------------------------------------------

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
        """Cluster rows in one scan; every chunk is read once.

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
        ParameterError, DataError, ReadError, ClusterError, CheckpointError
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

        The state is that of :meth:`fit` over the same rounds. There are clusters as soon as there
        are as many rows; until there are ``batch_rows`` they start anew whenever they are asked for. Parameters
        are those of :meth:`fit`.
        """
        return self._scan(X, sample_weight, sample_dims, callbacks, None, Execution(), whole=False)

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
        params = self.get_params(deep=False)
        check_parameters(params)
        before = dict(self.__dict__)
        try:
            emit = emitter(callbacks, int(self.verbose), int(self.verbose_interval))
            anew = whole or not hasattr(self, "_progress")
            k = int(self.n_clusters)
            rows, dtype = to_rows(
                self, X, sample_weight, lambda d: plan_of(k, d).chunk_rows, reset=anew, sample_dims=sample_dims
            )
            d, weighted, kept = rows.n_features, rows.weights is not None, {"n_clusters": k}
            centres, plan = make_centres(self.init, k, d), plan_of(k, d)
            if anew:
                self._weighted, self._dtype, self._kept = weighted, dtype, kept
                seed = int(to_random_state(self.random_state).randint(2**31 - 1))
                begun = ScanProgress(seed, HardState.empty(d, dtype))
            else:
                begun = go_on(self._progress, self._weighted, weighted, self._kept, kept)
            setup = HardSetup(
                k,
                self.init if centres is None else "",
                centres,
                int(self.n_init),
                float(self.threshold),
                float(self.secondary_tightness),
                int(self.batch_rows or _BATCH_ROWS),
                int(self.buffer_rows),
                plan.options,
            )
            keeper = None
            if checkpoint is not None:
                start = Start(setup.init, setup.n_init, means=centres)
                keeper = Keeper(checkpoint, fingerprint_of(self, rows, start, plan), emit)
            make = partial(HardScan.of, setup)
            self._progress = ScanSetup(rows, plan, setup.batch_rows, execution, make, whole).run(begun, emit, keeper)
            self._algorithm, self._last, self._ends = make(self._progress.seed), X, None
            self.n_rows_, self.n_iter_ = self._progress.scan.n_rows, self._progress.scan.n_rounds
            if whole:
                self._clusters()
        except BaseException:
            # A fit that fails leaves the model as it was.
            self.__dict__ = before
            raise
        return self
