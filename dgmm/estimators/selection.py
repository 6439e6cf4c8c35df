"""The number of components and the covariance family, chosen among candidates that share each read."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from dgmm.errors import DataError, ParameterError
from dgmm.estimators._inputs import to_rows
from dgmm.estimators._keeping import Keeper, to_checkpoint
from dgmm.estimators._parameters import check_execution, check_parameters, to_random_state
from dgmm.estimators._selecting import How, run_selection
from dgmm.estimators._selection_table import DIMS, Key, make_table, summarize
from dgmm.estimators._verbose import Callbacks, emitter
from dgmm.estimators.gaussian_mixture import GaussianMixture
from dgmm.fitting.ranking import CRITERIA, HELD_OUT, Criterion, chosen_criterion
from dgmm.fitting.selection import Outcomes
from dgmm.fitting.start import FROM_SCAN
from dgmm.mixture.families import FAMILIES, get_family
from dgmm.mixture.held_out import CountMap
from dgmm.passes.plan import ExecutionPlan
from dgmm.passes.tree import PassRunner
from dgmm.rules import Rule, check, did_you_mean, is_bool, is_int, is_number, one_of
from dgmm.storage.checkpoint import Checkpoint
from dgmm.viz.selection import plot_selection

if TYPE_CHECKING:
    from dgmm.passes.execution import Execution
    from dgmm.typing import RandomState

_SHARE = 0.1
"""Of the rows, that is held out unless the user says otherwise."""

_RULES = {
    "criterion": one_of(("auto", *CRITERIA)),
    "screen": Rule(is_bool, "True or False"),
    "held_out": Rule(lambda v: v is None or (is_number(v) and 0.0 < v < 1.0), "None or a float above 0 and below 1"),
}
# What a selection is for, gives itself, or has no use for.
_NOT_PASSED_ON = {
    "self", "n_components", "covariance_type", "weights_init", "means_init", "precisions_init", "random_state",
    "warm_start", "verbose", "verbose_interval",
}  # fmt: skip
_PASSED_ON = tuple(
    name for name in inspect.signature(GaussianMixture.__init__).parameters if name not in _NOT_PASSED_ON
)
# Candidates that a warning names.
_NAMED = 5
# A likelihood that is far from its optimum ranks nothing.
_DEFAULTS = {"tol": "auto", "max_iter": 200}


@dataclass(frozen=True, repr=False, eq=False)
class Selection:
    """Fitted candidates, and which of them is the best; made by :func:`select`.

    Attributes
    ----------
    table : xarray.Dataset
        Of dimensions (covariance_type, n_components). Each variable says in its attributes what it
        is, and in which units.
    best : (str, int)
        ``covariance_type`` and ``n_components`` of the candidate with the best value of the criterion.
    criterion : str
        ``"bic"``, ``"aic"``, ``"icl"`` or ``"heldout"``.
    models : dict of (str, int) to GaussianMixture
        The fitted candidates.
    failures : dict of (str, int) to DataError
        Why a candidate could not be fitted; its values in the table are NaN.
    dropped : dict of (str, int) to str
        How far a candidate was behind after the sample.
    n_reads : int
        Reads of the data in all.
    """

    table: Any
    best: Key
    criterion: str
    models: Mapping[Key, GaussianMixture]
    failures: Mapping[Key, DataError]
    dropped: Mapping[Key, str]
    n_reads: int

    @property
    def best_model(self) -> GaussianMixture:
        """The model of the best candidate, as :meth:`dgmm.GaussianMixture.fit` leaves it."""
        return self.models[self.best]

    @property
    def simplest(self) -> Key:
        """The candidate of fewest parameters that held-out rows cannot tell from the best one.

        Its held-out log-likelihood is lower by at most one standard error of the difference; the
        best one, where the criterion is not ``"heldout"``.

        Notes
        -----
        Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984), section
        3.4.3; with the standard error of the paired difference.
        """
        if self.criterion != HELD_OUT:
            return self.best
        near = [key for key in self.models if bool(self.table.within_one_se.sel(_at(key)))]
        return min(near, key=lambda key: int(self.table.n_parameters.sel(_at(key))))

    def plot(self, ax: Any = None) -> Any:
        """Draw the criterion over the number of components on matplotlib axes; see :func:`dgmm.viz.plot_selection`."""
        return plot_selection(self.table, ax=ax)

    def summary(self, most: int = 12) -> str:
        """The choice, and the best candidates, in lines of at most 80 characters.

        Parameters
        ----------
        most : int
            Candidates at most.
        """
        return summarize(self.table, most)

    def __repr__(self) -> str:
        """The summary."""
        return self.summary()


def select(
    X: Any,
    n_components: Any = range(1, 21),
    covariance_type: Any = "full",
    criterion: str = "auto",
    *,
    screen: bool = False,
    held_out: float | None = None,
    sample_weight: Any = None,
    sample_dims: Any = None,
    random_state: RandomState = None,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    execution: Execution | None = None,
    callbacks: Callbacks = (),
    **parameters: Any,
) -> Selection:
    """Choose the number of components and the covariance family of a Gaussian mixture.

    All candidates are fitted at once: each read of the data serves all that still run, so that they
    take as many reads as the slowest of them, and one more that scores them. Each ends with the
    parameters that it has when it is fitted alone to the same rows.

    Parameters
    ----------
    X : array-like, dask array, DataArray, Dataset, dataframe, zarr object, path or URL
        As :meth:`dgmm.GaussianMixture.fit` takes it.
    n_components : iterable of int, or int, default 1 to 20
    covariance_type : str, or iterable of str, default "full"
    criterion : {"auto", "bic", "aic", "icl", "heldout"}, default "auto"
        ``"heldout"``: the mean log-likelihood of rows that were set aside. ``"auto"``: that from
        100,000 rows on, else BIC, which ever more rows let grow the number of components wherever
        the data are not exactly a Gaussian mixture.
    screen : bool, default False
        Drop candidates that are clearly behind after their fit to the sample, before they read the
        data: by more than three standard errors of the difference plus ``p_free / (2 m)``, with m
        rows in the sample. Nothing is dropped where the sample is all the rows.
    held_out : float, optional
        Share of the rows that is set aside, by a hash of their numbers; by default 0.1 where they
        choose, and none otherwise. With ``"bic"``, ``"aic"`` and ``"icl"`` the others make these.
    sample_weight, sample_dims : optional
        As :meth:`dgmm.GaussianMixture.fit` takes them.
    random_state : int, RandomState, Generator or None, default None
        Of the sample, the starts and the rows that are set aside; all candidates take the same.
    checkpoint : path, URL or Checkpoint, optional
        Where the progress of all candidates is kept after each read; the same call then goes on from there.
    execution : Execution, optional
    callbacks : callable, or iterable of callables
        Told each event of a read, and a :class:`~dgmm.fitting.selection.CandidateEvent` for each event of a candidate's
        fit; returning True for the latter stops that candidate.
    **parameters
        Of :class:`dgmm.GaussianMixture`: ``tol`` (here ``"auto"`` by default), ``max_iter`` (here
        200), ``reg_covar``, ``n_init``, ``init_params`` and so on.

    Returns
    -------
    Selection

    Raises
    ------
    ParameterError
        If a parameter is impossible.
    DataError
        If no candidate can be fitted to the data, or too few rows are set aside.
    InsufficientMemoryError
        If the fits would need more memory together than there is.
    CheckpointError
        If the checkpoint is of other data or another selection, is damaged, or is in use.

    Warns
    -----
    ConvergenceWarning
        If a candidate could be better than the chosen one, by what its fit still lacks.

    Examples
    --------
    >>> import numpy as np
    >>> import dgmm
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(size=(300, 2)), rng.normal(6.0, 1.0, size=(200, 2))])
    >>> selection = dgmm.select(X, n_components=[1, 2, 3], covariance_type=["full", "diag"], random_state=0)
    >>> selection.best, selection.criterion
    (('diag', 2), 'bic')
    """
    check(_RULES, {"criterion": criterion, "screen": screen, "held_out": held_out})
    seed = _seed(random_state)
    models = _models(_families(covariance_type), _numbers(n_components), seed, parameters)
    execution, emit = check_execution(execution), emitter(callbacks, 0, 1)
    first = next(iter(models.values()))

    def plan(d: int) -> ExecutionPlan:
        """The plan with the shortest pieces, by which the rows are cut for all."""
        plans = (ExecutionPlan.choose(get_family(name), k, d) for name, k in models)
        return min(plans, key=lambda own: own.chunk_rows)

    rows, dtype = to_rows(first, X, sample_weight, lambda d: plan(d).chunk_rows, reset=True, sample_dims=sample_dims)
    learned = {name: value for name, value in vars(first).items() if name not in first.get_params(deep=False)}
    for model in models.values():
        model.__dict__.update(learned)
    n_reads = 0
    if rows.n_rows is None and (criterion in ("auto", HELD_OUT) or held_out is not None):
        counter = PassRunner(rows, plan(rows.n_features), emit, pass_retries=execution.pass_retries)
        rows, n_reads = rows.with_lengths(counter(CountMap()).lengths), 1
    chosen = chosen_criterion(criterion, rows.n_rows or 0)
    share = held_out or (_SHARE if chosen.held_out else None)
    setups = {key: model._setup(rows, dtype, execution) for key, model in models.items()}
    how = How(chosen, share, bool(screen), seed)
    place, keeper = to_checkpoint(checkpoint), None
    if place is not None:
        keeper = Keeper(place, how.fingerprint(models, setups), emit)
    outcomes, n_reads, cut = run_selection(setups, how, emit, n_reads, keeper)
    for number in outcomes.scored:
        (key, model), result = list(models.items())[number], outcomes.each[number].result
        if result is not None:
            model._publish(result, dtype, replace(setups[key].plan, chunk_rows=cut))
    return _selection(models, outcomes, chosen, share, rows.n_features, n_reads)


def _at(key: Key) -> dict[str, Any]:
    return dict(zip(DIMS, key, strict=True))


def _families(covariance_type: Any) -> list[str]:
    given = (
        [covariance_type]
        if isinstance(covariance_type, str) or not isinstance(covariance_type, Iterable)
        else covariance_type
    )
    names = [get_family(name).name for name in given]
    if not names:
        raise ParameterError(f"covariance_type is empty; give one of {', '.join(map(repr, FAMILIES))}, or several")
    return list(dict.fromkeys(names))


def _numbers(n_components: Any) -> list[int]:
    given = (
        list(n_components)
        if isinstance(n_components, Iterable) and not isinstance(n_components, str)
        else [n_components]
    )
    if not given or not all(is_int(k, 1) for k in given):
        raise ParameterError(
            f"n_components is {n_components!r}; it must be an int of at least 1, or several, as range(1, 21)"
        )
    return sorted({int(k) for k in given})


def _seed(random_state: RandomState) -> int:
    """One seed for all candidates."""
    check_parameters({"random_state": random_state})
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(to_random_state(random_state).randint(2**31 - 1))


def _models(
    families: Sequence[str], numbers: Sequence[int], seed: int, parameters: Mapping[str, Any]
) -> dict[Key, GaussianMixture]:
    """The candidates, not fitted yet; all with the same seed."""
    for name in parameters:
        if name not in _PASSED_ON:
            raise ParameterError(
                f"{name!r} is no parameter of a selection{did_you_mean(name, _PASSED_ON)}; those of the mixtures that "
                f"can be given are: {', '.join(_PASSED_ON)}"
            )
    if parameters.get("init_params") == FROM_SCAN:
        raise ParameterError(
            f"init_params is {FROM_SCAN!r}, which is a scan for each candidate; they share reads: take another"
        )
    models = {
        (name, k): GaussianMixture(k, covariance_type=name, random_state=seed, **{**_DEFAULTS, **parameters})
        for name in families
        for k in numbers
    }
    for model in models.values():
        check_parameters(model.get_params(deep=False))
    return models


def _selection(
    models: Mapping[Key, GaussianMixture],
    outcomes: Outcomes,
    criterion: Criterion,
    share: float | None,
    d: int,
    n_reads: int,
) -> Selection:
    keys = list(models)
    table, best, doubtful = make_table(keys, outcomes, criterion, share, d)
    table.attrs["n_reads"] = n_reads
    if doubtful:
        names = ", ".join(f"{name} {k}" for name, k in doubtful[:_NAMED]) + ", ..." * (len(doubtful) > _NAMED)
        warnings.warn(
            f"{names}: perhaps better than {best[0]} {best[1]}, which has the best value, by what the fits still lack; "
            "increase max_iter, or decrease tol",
            ConvergenceWarning,
            stacklevel=3,
        )
    told = dict(zip(keys, outcomes.each, strict=True))
    return Selection(
        table=table,
        best=best,
        criterion=criterion.name,
        models={key: models[key] for key, outcome in told.items() if outcome.result is not None},
        failures={key: outcome.failure for key, outcome in told.items() if outcome.failure is not None},
        dropped={
            key: "behind by {:.3g} nats per row after the sample (standard error {:.2g})".format(*outcome.behind)
            for key, outcome in told.items()
            if outcome.behind is not None
        },
        n_reads=n_reads,
    )
