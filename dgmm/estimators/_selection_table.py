"""The table of a selection: what is known of each candidate, with units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr

from dgmm.fitting.ranking import CRITERIA, Criterion, could_be_best, ranked, remaining_gap
from dgmm.mixture import criteria
from dgmm.mixture.families import get_family

if TYPE_CHECKING:
    from dgmm.fitting.selection import Outcome, Outcomes
    from dgmm.typing import Array, FloatArray

Key: TypeAlias = tuple[str, int]
"""A candidate: its covariance_type and n_components."""

DIMS = ("covariance_type", "n_components")

STATUS = ("ranked", "not_ranked", "dropped_after_sample", "failed")
"""What a candidate may have become; ``status`` is a place in this list."""

# Of each variable: its dtype, its units and what it is.
VARIABLES: dict[str, tuple[type, str, str]] = {
    "log_likelihood": (float, "nats per row", "mean log-likelihood of the rows of the fit"),
    "total_log_likelihood": (float, "nats", "log-likelihood of the rows of the fit"),
    "entropy": (float, "nats", "entropy of the responsibilities of the rows of the fit"),
    "aic": (float, "nats", "Akaike's information criterion, lower is better"),
    "bic": (float, "nats", "Bayesian information criterion, lower is better"),
    "icl": (float, "nats", "integrated completed likelihood, lower is better"),
    "n_parameters": (int, "1", "free parameters"),
    "passes": (int, "1", "reads of the data that served the candidate, before the last one that scores all"),
    "seconds": (float, "s", "work for the candidate alone, summed over threads"),
    "remaining_gap": (float, "nats per row", "estimated rise of log_likelihood that is still to come"),
    "converged": (bool, "", "whether the fit converged"),
    "n_starved": (int, "1", "components that had too few rows, and were moved or died out"),
    "ranked": (bool, "", "whether remaining_gap is smaller than the differences from other candidates"),
    "status": (np.int8, "", "what became of the candidate"),
}  # fmt: skip
HELD_OUT_VARIABLES: dict[str, tuple[type, str, str]] = {
    "heldout_log_likelihood": (float, "nats per row", "mean log-likelihood of the held-out rows"),
    "heldout_se": (float, "nats per row", "standard error of heldout_log_likelihood"),
    "heldout_difference": (float, "nats per row", "heldout_log_likelihood less the highest one"),
    "heldout_difference_se": (float, "nats per row", "standard error of heldout_difference, from paired rows"),
    "within_one_se": (bool, "", "whether heldout_difference is within one heldout_difference_se of 0"),
}  # fmt: skip


def make_table(
    keys: Sequence[Key], outcomes: Outcomes, criterion: Criterion, share: float | None, d: int
) -> tuple[xr.Dataset, Key, list[Key]]:
    """Make the table of candidates, family by family.

    Parameters
    ----------
    keys : sequence of (str, int)
        Each family with each number of components, in this order.
    outcomes : Outcomes
    criterion : Criterion
    share : float or None
        Of the rows, that was set aside.
    d : int
        Features.

    Returns
    -------
    table : xarray.Dataset
    best : (str, int)
    doubtful : list of (str, int)
        Candidates that could be better than the best, by the gap that remains.
    """
    columns = [_columns(key, outcome, d) for key, outcome in zip(keys, outcomes.each, strict=True)]
    values: dict[str, Array] = {name: np.array([column[name] for column in columns]) for name in columns[0]}
    weights = [outcome.score.total_weight for outcome in outcomes.each if outcome.score is not None]
    if outcomes.held_out is not None:
        values.update(_held_out(outcomes, len(keys)))
    merits = values["heldout_log_likelihood"] if criterion.held_out else values[criterion.name] / (-2.0 * weights[0])
    values["ranked"] = ranked(criterion, merits, values["remaining_gap"])
    values["status"] = np.where(values["ranked"], STATUS.index("ranked"), values["status"])
    errors = values["heldout_difference_se"] if criterion.held_out else np.zeros(len(keys))
    doubtful = could_be_best(criterion, merits, values["remaining_gap"], errors)
    best = int(np.nanargmax(merits))
    attributes: dict[str, Any] = {
        "criterion": criterion.name,
        "best_covariance_type": keys[best][0],
        "best_n_components": keys[best][1],
        "n_rows": outcomes.n_rows,
        "total_weight": weights[0],
    }
    if share is not None and outcomes.held_out is not None:
        attributes |= {"held_out": share, "n_rows_held_out": outcomes.held_out.n_rows}
    return (
        _dataset(keys, values, attributes),
        keys[best],
        [key for key, open_ in zip(keys, doubtful, strict=True) if open_],
    )


def _columns(key: Key, outcome: Outcome, d: int) -> dict[str, Any]:
    """What is known of one candidate by itself."""
    name, k = key
    n_parameters = get_family(name).n_parameters(k, d)
    row: dict[str, Any] = dict.fromkeys(VARIABLES, np.nan) | {
        "n_parameters": n_parameters,
        "passes": outcome.n_reads,
        "seconds": outcome.seconds,
        "converged": False,
        "n_starved": 0,
        "status": STATUS.index("failed" if outcome.failure is not None else "dropped_after_sample"),
    }
    if outcome.result is None or outcome.score is None:
        return row
    score, total, n = outcome.score, outcome.score.log_likelihood, outcome.score.total_weight
    return row | {
        "log_likelihood": total / n,
        "total_log_likelihood": total,
        "entropy": score.entropy,
        "aic": criteria.aic(total, n_parameters),
        "bic": criteria.bic(total, n_parameters, n),
        "icl": criteria.icl(total, n_parameters, n, score.entropy),
        "remaining_gap": remaining_gap(outcome.result, total / n),
        "converged": outcome.result.reason.converged,
        "n_starved": int(outcome.result.starved.sum()),
        "status": STATUS.index("not_ranked"),
    }


def _held_out(outcomes: Outcomes, count: int) -> dict[str, Array]:
    """The columns of the rows that were set aside."""
    compared = outcomes.held_out
    if compared is None:
        raise AssertionError("no rows were set aside")
    at = list(outcomes.scored)
    best = int(np.argmax(compared.mean))
    difference, error = compared.mean - compared.mean[best], compared.difference_errors(best)
    found: dict[str, FloatArray] = {
        "heldout_log_likelihood": compared.mean,
        "heldout_se": compared.standard_errors(),
        "heldout_difference": difference,
        "heldout_difference_se": error,
    }
    columns: dict[str, Array] = {name: np.full(count, np.nan) for name in found}
    for name, own in found.items():
        columns[name][at] = own
    columns["within_one_se"] = np.zeros(count, dtype=bool)
    columns["within_one_se"][at] = -difference <= error
    return columns


def _dataset(keys: Sequence[Key], values: dict[str, Array], attributes: dict[str, Any]) -> xr.Dataset:
    names, numbers = list(dict.fromkeys(name for name, _ in keys)), sorted({k for _, k in keys})
    variables = {}
    for variable, (dtype, units, words) in (VARIABLES | HELD_OUT_VARIABLES).items():
        if variable in values:
            attrs: dict[str, Any] = {"long_name": words} | ({"units": units} if units else {})
            if variable == "status":
                attrs |= {"flag_values": np.arange(len(STATUS), dtype=np.int8), "flag_meanings": " ".join(STATUS)}
            shaped: Array = values[variable].astype(dtype).reshape(len(names), len(numbers))
            variables[variable] = (DIMS, shaped, attrs)
    coordinates = {
        "covariance_type": ("covariance_type", names, {"long_name": "covariance family"}),
        "n_components": ("n_components", numbers, {"long_name": "number of components"}),
    }
    return xr.Dataset(variables, coordinates, attributes)


_WORDS = {
    "bic": "BIC (lower is better)",
    "aic": "AIC (lower is better)",
    "icl": "ICL (lower is better)",
    "heldout": "held-out log-likelihood (higher is better)",
}
_STATUS_WORDS = ("", "not ranked", "dropped", "failed")


def summarize(table: xr.Dataset, most: int) -> str:
    """Say in lines of at most 80 characters what was chosen, and list the best ``most`` candidates."""
    attributes, criterion = table.attrs, CRITERIA[table.attrs["criterion"]]
    rows, held_out = f"{attributes['n_rows']:,} rows of the fit", attributes.get("n_rows_held_out")
    lines = [
        f"Selection by {_WORDS[criterion.name]}, {table.status.size} candidates",
        f"{rows}{'' if held_out is None else f', {held_out:,} held out'}; {attributes['n_reads']} reads of the data",
        f"best: {attributes['best_covariance_type']}, {attributes['best_n_components']} components",
        "",
    ]
    flat = {name: variable.values.ravel() for name, variable in table.variables.items() if variable.dims == DIMS}
    names, numbers = np.meshgrid(table.covariance_type.values, table.n_components.values, indexing="ij")
    if criterion.held_out:
        shown = {"heldout_log_likelihood": ("held-out", 12), "heldout_difference": ("to best", 10)}
        shown |= {"heldout_difference_se": ("+/-", 9)}
    else:
        shown = {"log_likelihood": ("per row", 12), criterion.name: (criterion.name.upper(), 19)}
    shown |= {"remaining_gap": ("gap", 9)}
    head = "".join(f"{word:>{width}}" for word, width in shown.values())
    lines.append(f"{'family':<14}{'K':>4}{'params':>8}{head}")
    values = flat["heldout_log_likelihood"] if criterion.held_out else -flat[criterion.name]
    order = np.argsort(-values, kind="stable")  # NaN comes last
    for i in order[:most]:
        cells = "".join(f"{_number(flat[name][i], width - 1):>{width}}" for name, (_, width) in shown.items())
        line = f"{names.flat[i]:<14}{numbers.flat[i]:>4}{flat['n_parameters'][i]:>8}{cells}"
        lines.append(f"{line}  {_STATUS_WORDS[flat['status'][i]]}".rstrip())
    if len(order) > most:
        lines.append(f"... and {len(order) - most} more, see the table")
    return "\n".join(lines)


def _number(value: float, width: int) -> str:
    """As many digits as there is room for."""
    if np.isnan(value):
        return "-"
    return next((text for n in (8, 6, 5, 4, 3, 2) if len(text := f"{value:.{n}g}") <= width), f"{value:.1g}")
