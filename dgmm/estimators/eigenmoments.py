"""Noise-robust features of signals and images."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from dgmm.errors import DataError, ParameterError
from dgmm.estimators._feature_saving import SavedFeatures
from dgmm.estimators._inputs import settled
from dgmm.estimators._parameters import to_random_state
from dgmm.estimators._signals import AUTO, DATA, RULES, read, rows_of_signals, sizes, variances_of
from dgmm.estimators._verbose import Callbacks, emitter
from dgmm.inputs.signals import SignalAxes, open_signals, signals_called
from dgmm.inputs.table import Request
from dgmm.passes.blas import single_threaded_blas
from dgmm.rules import check, is_number
from dgmm.signals.eigen import METHODS, EigenFeatures, check_noise, check_signals, signs
from dgmm.signals.invariants import NormalizedMoments
from dgmm.signals.models import StationaryCorrelation
from dgmm.signals.noise import can_be_estimated
from dgmm.signals.records import SignalMap, SignalRecord
from dgmm.signals.spaces import MomentSpace, order_of

if TYPE_CHECKING:
    from dgmm.fitting.events import Event
    from dgmm.passes.rows import Rows
    from dgmm.signals.records import Space
    from dgmm.typing import FloatArray, RandomState

_DEFAULT_ORDER = 6
# Images that noise is added to, to see what it does to invariants, and numbers that are kept of them, at most.
_SIMULATED_ROWS, _SIMULATED_NUMBERS = 5000, 2**22


class EigenMoments(SavedFeatures):
    """Few uncorrelated features of signals or images, of the best ratio of signal to noise.

    A signal s of n samples is taken to its moments ``M = X' s`` (means of the signal times polynomials of its
    coordinates), and these to features ``q = W' M``, whose ratio of signal to noise is the largest that such
    combinations can have. One read of the signals is all that a fit needs.

    Parameters
    ----------
    n_components : int, float or None, default None
        Features, k, at most as many as there are moments, m; None for all; a float between 0 and 1 for as few as keep
        that share of the sum of all ``eigenvalues_``, in which noise counts too where the data are noisy.
    order : int or sequence of int, optional
        Highest degree of the polynomials along each axis, so that m is the product of ``order + 1``; by default 6, or
        less where an axis has few samples. With ``invariant`` the highest degree in all.
    signal_shape : int or tuple of int, optional
        Samples of a signal along each axis, where signals come as rows, (rows, n), or no axis of X says it.
    signal_dims : str or sequence of str, optional
        The dimensions of a signal in a DataArray; by default all but the first.
    noise : {"auto", "differences"}, float or array, default "auto"
        The noise in a signal: the variance of each sample, of all (a float), (n,) or their covariance (n, n);
        ``"differences"``: white, of the variance that differences of neighbours show; ``"auto"``: that, or what the
        ``noise_signals`` of :meth:`fit` say. With ``invariant`` also the covariance of the moments, (m, m).
    noise_floor : float, default 0.0
        Variance of white noise that is there besides.
    correlation : "data", StationaryCorrelation or array (n, n), default "data"
        What signals are like: the correlation ``E[s s']``, of which only ``A = X' E[s s'] X`` is ever made of data.
    method : {"gep", "two-step"}, default "gep"
        The generalized eigenproblem, or first the directions of least noise (see Notes).
    basis : {"legendre", "gram", "monomial"}, default "legendre"
        Polynomials that moments are taken with; ``"gram"`` those that are orthogonal over the samples, for orders above
        about ``2 sqrt(n)`` of an axis of n samples, where Legendre's are not any more. Features of ``"gep"`` are the
        same in all, as far as numbers carry: monomials lose half their digits by an order of 12 or so.
    center : bool, default False
        Take the mean out: the features' covariance is diagonal then. For float32 signals with an offset that is large
        beside what differs: it would take the digits of the features, which are float32 too.
    noisy : bool, default True
        Whether signals that the correlation is estimated from have the noise in them.
    invariant : tuple of {"translation", "scale", "rotation"}, default ()
        What images may differ in without a change of their features: moments are normalised first.
    random_state : int, RandomState, Generator or None
        Of the noise that is added to some images to see what it does to their invariants.

    Attributes
    ----------
    components_ : (k, m)
        ``W'``, in the space of moments.
    filters_ : (k, *signal_shape)
        The same for samples: a feature is the sum of the signal times its filter.
    eigenvalues_ : (k,)
        ``W' A W``, falling: ratios of signal to noise. Of noisy data those of signal plus noise to noise.
    snr_ : (k,)
        Ratios of signal to noise without the noise: ``eigenvalues_ - 1`` of noisy data, and at least 0.
    information_loss_ : float
        Share of the sum of the ratios over all moments, ``trace(B^-1 A)``, that the features lack: eta. Of noisy data
        each feature that is left out counts 1 for its noise alone.
    noise_ : float or array
        What the noise was given as, or found to be: the variance of a sample, or the correlation of the
        moments of noise.
    correlation_, noise_correlation_ : (m, m)
        A and B.
    mean_ : (m,)
        Mean of the moments; 0 where it was not taken out.
    order_, signal_shape_ : tuple of int
    signal_dims_ : tuple of str
        If the signals were labelled.
    n_features_in_ : int
        Samples of a signal, n.
    n_signals_ : int
        Signals of positive weight that were read.

    See Also
    --------
    StationaryCorrelation : signals by a formula.
    GaussianMixture : what comes after it.

    Notes
    -----
    Yap and Paramesran (2007), "Eigenmoments", Pattern Recognition 40(4). With A and B the correlations of the moments
    of signals and of noise, ``A w = lambda B w``, so that ``W' B W = I`` and ``E[q q'] = W' A W`` is diagonal.
    ``"two-step"`` keeps of the directions in which the noise is uncorrelated the k with the least of it, ``W1``, and
    diagonalises the signals among them; which these are depends on the basis, and eta is
    ``1 - trace(W1' A W1) / trace(B^-1 A)``.

    Samples lie in the middles of equal cells of [-1, 1]. Features of ``"gep"`` do not depend on how large the noise
    is, if it is white, but for their scale.

    With ``invariant`` moments are those about the centroid, divided by powers of the image's sum, along its principal
    axis (Hu 1962; Prokop and Reeves 1992). Of nearly round images noise and pixels choose that axis. Noise in empty
    parts of an image, far from its centroid, counts most: crop images, and set their background to 0. Brightness
    is not taken out.

    Examples
    --------
    >>> import dask.array as da
    >>> from dgmm import EigenMoments
    >>> waves = da.sin(da.linspace(0, 3, 400, chunks=100)[:, None] * da.linspace(0, 5, 64, chunks=64))
    >>> noisy = waves + da.random.default_rng(0).normal(0.0, 0.5, size=waves.shape, chunks=waves.chunks)
    >>> features = EigenMoments(3).fit_transform(noisy)
    >>> features.shape, features.chunks[0]
    ((400, 3), (100, 100, 100, 100))
    """

    def __init__(
        self,
        n_components: int | float | None = None,
        *,
        order: int | Sequence[int] | None = None,
        signal_shape: int | Sequence[int] | None = None,
        signal_dims: str | Sequence[Hashable] | None = None,
        noise: Any = AUTO,
        noise_floor: float = 0.0,
        correlation: Any = DATA,
        method: Literal["gep", "two-step"] = "gep",
        basis: Literal["legendre", "monomial"] = "legendre",
        center: bool = False,
        noisy: bool = True,
        invariant: Sequence[str] = (),
        random_state: RandomState = None,
    ) -> None:
        self.n_components = n_components
        self.order = order
        self.signal_shape = signal_shape
        self.signal_dims = signal_dims
        self.noise = noise
        self.noise_floor = noise_floor
        self.correlation = correlation
        self.method = method
        self.basis = basis
        self.center = center
        self.noisy = noisy
        self.invariant = invariant
        self.random_state = random_state

    # -- fit ------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        noise_signals: Any = None,
        callbacks: Callbacks = (),
    ) -> Self:
        """Find the features, in one read of the signals.

        Parameters
        ----------
        X : array-like, dask array, DataArray, Dataset, dataframe, zarr object, path or None
            Signals along the first axis, (rows, *signal_shape), or flattened in C order, (rows, n); of a DataArray
            along all dimensions but ``signal_dims``. Only their shape counts if ``correlation`` and ``noise`` say the
            rest, and no mean is to be taken out; None with a ``signal_shape`` does then.
        y : ignored
        sample_weight : array-like, dask array, str or number, optional
            How many signals each one stands for, (rows,).
        noise_signals : as X, optional
            Noise alone, in signals of the same shape; ``noise`` is ``"auto"`` then. They are read once.
        callbacks : callable, or iterable of callables
            Told the events of each pass.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            If parameters are impossible, or do not fit the signals.
        DataError
            If signals have another shape, NaN or infinity, or nothing in them differs from noise; if the noise is 0,
            singular or no covariance.
        ReadError, ClusterError
            If chunks cannot be read, or workers are lost for good.
        """
        params = self.get_params(deep=False)
        check(RULES, {name: params[name] for name in RULES})
        before = dict(self.__dict__)
        try:
            with single_threaded_blas():
                self._fit(X, sample_weight, noise_signals, emitter(callbacks, 0, 1))
        except BaseException:
            # A fit that fails leaves the features as they were.
            self.__dict__ = before
            raise
        return self

    def _fit(self, X: Any, sample_weight: Any, noise_signals: Any, emit: Callable[[Event], bool]) -> None:
        shape = sizes(self.signal_shape)
        if noise_signals is not None and not self._is_auto:
            given = f"={self.noise!r}" if isinstance(self.noise, str) or is_number(self.noise) else ", an array"
            raise ParameterError(f"noise_signals are given beside noise{given}; leave one of them out")
        if X is None:
            rows, axes = None, self._axes_unseen(shape, noise_signals)
        else:
            rows, axes = self._open(X, shape, sample_weight)
        space = self._space_of(axes.shape)
        self._space, self._axes = space, axes
        seed = int(to_random_state(self.random_state).randint(2**31 - 1))
        self._check_before(space, axes, noise_signals, seed)
        record = None if rows is None else self._read(rows, space, noise_signals, seed, emit)
        self.noise_, of_moments = self._noise_and_its_kind(space, record, axes, noise_signals, emit)
        A = self._signal_correlation(space, record)
        B = self._noise_correlation(space, record, self.noise_, seed, of_moments=of_moments)
        k = space.n_moments if self.n_components is None else self.n_components
        self._set(space, METHODS[self.method](A, B, k))
        self.correlation_, self.noise_correlation_ = A, B
        mean = record.mean if record is not None and self.center else np.zeros(space.n_moments)
        self.mean_, self.n_signals_ = mean, 0 if record is None else record.n_rows
        from_noisy = isinstance(self.correlation, str) and bool(self.noisy)
        self.snr_ = np.maximum(self.eigenvalues_ - 1.0, 0.0) if from_noisy else self.eigenvalues_.copy()

    @property
    def _is_auto(self) -> bool:
        return isinstance(self.noise, str) and self.noise == AUTO

    def _axes_unseen(self, shape: tuple[int, ...] | None, noise_signals: Any) -> SignalAxes:
        """The axes of signals of which none are given."""
        if shape is None or isinstance(self.correlation, str):
            raise ParameterError("X is None; give signals, or signal_shape and a correlation by a formula or an array")
        if isinstance(self.noise, str) and noise_signals is None:
            raise ParameterError(f"X is None, and noise is {self.noise!r}, which needs signals; give noise=...")
        for name in ("feature_names_in_", "sample_dims_", "signal_dims_"):
            self.__dict__.pop(name, None)
        self.n_features_in_ = math.prod(shape)
        return SignalAxes(shape, None, flat=True)

    def _open(self, X: Any, shape: tuple[int, ...] | None, sample_weight: Any) -> tuple[Rows, SignalAxes]:
        dims = (self.signal_dims,) if isinstance(self.signal_dims, str) else self.signal_dims
        table, axes = open_signals(X, shape=shape, dims=dims, request=Request(sample_weight=sample_weight))
        n = int(table.X.shape[1])
        if math.prod(axes.shape) != n:
            raise DataError(
                f"X has rows of {n} samples, but signals of shape {axes.shape} have {math.prod(axes.shape)}; give the "
                "signal_shape of these rows"
            )
        table = settled(self, table, reset=True, whole_numbers=True)
        for name, value in (("feature_dims_", None), ("signal_dims_", axes.dims)):
            self.__dict__.pop(name, None)
            if value is not None:
                setattr(self, name, value)
        return rows_of_signals(table), axes

    def _space_of(self, shape: tuple[int, ...]) -> Space:
        if self.invariant:
            return NormalizedMoments.of(shape, self.order, tuple(self.invariant), _DEFAULT_ORDER)
        return MomentSpace(shape, order_of(self.order, shape, _DEFAULT_ORDER), self.basis)

    def _check_before(self, space: Space, axes: SignalAxes, noise_signals: Any, seed: int) -> None:
        """Refuse what can be refused before any signal is read."""
        k = self.n_components
        if isinstance(k, (int, np.integer)) and k > space.n_moments:
            raise ParameterError(
                f"n_components is {k}, but there are {space.n_moments} moments of order {space.order} "
                f"of signals of shape {space.shape}; give fewer, or a higher order"
            )
        beside = {"correlation": not isinstance(self.correlation, str), "noise_signals": noise_signals is not None}
        if self.invariant and any(beside.values()):
            name = next(name for name, given in beside.items() if given)
            raise ParameterError(
                f"{name} is given beside invariant, whose moments are no linear functions of signals; leave it out "
                "(the noise can be given as the variance of a sample, noise=...)"
            )
        if not isinstance(self.correlation, str):
            check_signals(self._signal_correlation(space, None))
        if isinstance(self.noise, str):
            return
        noise, of_moments = self._noise_and_its_kind(space, None, axes, None, lambda event: False)
        if isinstance(space, MomentSpace) or (of_moments and not self.noise_floor):  # else images say what it does
            check_noise(self._noise_correlation(space, None, noise, seed, of_moments=of_moments))

    def _read(
        self, rows: Rows, space: Space, noise_signals: Any, seed: int, emit: Callable[[Event], bool]
    ) -> SignalRecord | None:
        """Read the signals once, unless nothing is wanted of them."""
        differences = isinstance(self.noise, str) and noise_signals is None
        if differences and not can_be_estimated(space.shape):
            raise DataError(
                f"X has signals of 1 sample (n_features = {rows.n_features}: 1 feature(s)), which have no neighbours "
                "to estimate the noise from; give noise=..."
            )
        if not differences and not self.center and not isinstance(self.correlation, str):
            return None
        given = np.shape(self.noise) == (space.n_moments,) * 2 != (rows.n_features,) * 2
        kept = 0 if given and not self.noise_floor else space.n_kept
        few = min(_SIMULATED_ROWS, max(1, _SIMULATED_NUMBERS // kept)) if kept else 0
        return read(rows, SignalMap(space, differences, few, seed), emit)

    def _noise_and_its_kind(
        self,
        space: Space,
        record: SignalRecord | None,
        axes: SignalAxes,
        noise_signals: Any,
        emit: Callable[[Event], bool],
    ) -> tuple[float | FloatArray, bool]:
        """What the noise is, and whether it is that of moments."""
        n = math.prod(axes.shape)
        if noise_signals is not None:
            return self._of_noise_signals(space, axes, noise_signals, emit), True
        if isinstance(self.noise, str):
            if record is None:
                raise AssertionError("signals whose noise is wanted are read")
            return record.noise_variance, False
        if is_number(self.noise):
            return float(self.noise), False
        shapes = {"(n,)": (n,), "(n, n)": (n, n)}
        if self.invariant:
            shapes["(m, m)"] = (space.n_moments,) * 2
        given = variances_of("noise", self.noise, shapes)
        return given, given.shape not in ((n,), (n, n))

    def _of_noise_signals(
        self, space: Space, axes: SignalAxes, noise_signals: Any, emit: Callable[[Event], bool]
    ) -> FloatArray:
        """The correlation of the moments of noise alone, in one read of it."""
        names = getattr(self, "feature_names_in_", None)
        request = Request(fitted=None if names is None else tuple(names), feature_dims=axes.dims)
        with signals_called("noise_signals"):
            table, _ = open_signals(noise_signals, shape=axes.shape, variable=axes.variable, request=request)
        if int(table.X.shape[1]) != math.prod(axes.shape):
            raise DataError(f"noise_signals have {table.X.shape[1]} samples; expected those of X, {axes.shape}")
        with signals_called("noise_signals"):
            record = read(rows_of_signals(table), SignalMap(space, noise=False, name="noise"), emit)
        return record.correlation(center=self.center)

    def _noise_correlation(
        self, space: Space, record: SignalRecord | None, noise: float | FloatArray, seed: int, *, of_moments: bool
    ) -> FloatArray:
        """B: what the noise is in the space of moments, with the floor."""
        sample = None if record is None else record.sample.smallest()
        floor = float(self.noise_floor)
        if of_moments:
            return np.asarray(noise + (space.of_noise(floor, sample, seed) if floor else 0.0))
        if isinstance(noise, float):
            by_model = isinstance(self.correlation, StationaryCorrelation) and isinstance(space, MomentSpace)
            return (
                self.correlation.white(space, noise + floor)
                if by_model
                else space.of_noise(noise + floor, sample, seed)
            )
        return space.of_noise(noise + (floor * np.eye(len(noise)) if noise.ndim == 2 else floor), sample, seed)

    def _signal_correlation(self, space: Space, record: SignalRecord | None) -> FloatArray:
        """A."""
        if isinstance(self.correlation, str):
            if record is None:
                raise AssertionError("signals whose correlation is wanted are read")
            return record.correlation(center=bool(self.center))
        if not isinstance(space, MomentSpace):
            raise AssertionError("a correlation was refused beside invariant")
        if isinstance(self.correlation, StationaryCorrelation):
            return self.correlation.signals(space)
        n = math.prod(space.shape)
        return space.correlation(variances_of("correlation", self.correlation, {"(n, n)": (n, n)}))

    def _set(self, space: Space, found: EigenFeatures) -> None:
        """Publish the features."""
        weights = found.weights
        if isinstance(space, MomentSpace):
            weights = weights * signs(space.synthesize(weights.T))
        else:
            weights = weights * signs(weights.T)
        self.components_, self.eigenvalues_ = np.ascontiguousarray(weights.T), found.eigenvalues
        self.information_loss_ = float(found.information_loss)
        self.signal_shape_, self.order_ = space.shape, space.order
