"""The criterion of a selection over the number of components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.errors import ParameterError
from dgmm.viz.segmentation import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which those tell apart too who do not see red or green; and a mark for each.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKS = ("o", "s", "^", "D", "v", "P")

# Of each criterion: the variable of its standard error, and what the axis says.
_CRITERIA = {
    "bic": (None, "BIC (nats; lower is better)"),
    "aic": (None, "AIC (nats; lower is better)"),
    "icl": (None, "ICL (nats; lower is better)"),
    "heldout": ("heldout_difference_se", "held-out log-likelihood\n(nats per row; higher is better)"),
}


def plot_selection(table: Any, criterion: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw a criterion over the number of components, a curve for each covariance family.

    Points that are not filled are of candidates that are not ranked; bars are one standard error
    of the difference of held-out log-likelihoods from the highest one, row by row. A ring marks the
    best value; values that are far worse lie outside.

    Parameters
    ----------
    table : xarray.Dataset
        :attr:`dgmm.Selection.table`.
    criterion : {"bic", "aic", "icl", "heldout"}, optional
        By default that of the selection; whether candidates are ranked was judged by that.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, which pyplot knows nothing of.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax.figure.savefig(path)`` writes it. The ``get_gid()`` of a curve is its family, that of
        the ring ``"best"``.

    Raises
    ------
    ParameterError
        If there is no such criterion in the table.
    MissingExtraError
        If matplotlib is not installed.
    """
    figure_class = require_matplotlib()
    name = table.attrs["criterion"] if criterion is None else criterion
    variable = "heldout_log_likelihood" if name == "heldout" else name
    if name not in _CRITERIA or variable not in table:
        known = [key for key in _CRITERIA if key != "heldout" or "heldout_se" in table]
        raise ParameterError(f"criterion is {name!r}; it must be one of {', '.join(map(repr, known))}")
    if ax is None:
        ax = figure_class(figsize=(6.4, 4.2), dpi=150, layout="constrained", facecolor="white").add_subplot()
    error, words = _CRITERIA[name]
    numbers = table.n_components.values
    for i, family in enumerate(table.covariance_type.values.tolist()):
        own = table.sel(covariance_type=family)
        values, open_ = own[variable].values, ~own.ranked.values
        style: dict[str, Any] = {
            "color": _COLOURS[i % len(_COLOURS)],
            "marker": _MARKS[i % len(_MARKS)],
            "markersize": 5.0,
        }
        if error is not None:
            ax.errorbar(
                numbers, values, own[error].values, linestyle="none", capsize=2.5, linewidth=1.0, color=style["color"]
            )
        ax.plot(numbers, values, linewidth=1.4, gid=family, label=family, zorder=2.5, **style)
        ax.plot(
            numbers[open_],
            values[open_],
            linestyle="none",
            markerfacecolor="white",
            gid="not ranked",
            zorder=3.0,
            **style,
        )
    _show_best(ax, table[variable], 0.0 if error is None else table[error].values, higher=name == "heldout")
    ax.set_xlabel("number of components")
    ax.set_ylabel(words)
    ax.locator_params(axis="x", integer=True, min_n_ticks=1)
    ax.ticklabel_format(axis="y", useOffset=False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    bars = None if error is None else "bars: standard error of\nthe difference to the best"
    ax.legend(frameon=False, fontsize=9, title=bars, title_fontsize=8)
    return ax


def _show_best(ax: Axes, values: Any, errors: Any, *, higher: bool) -> None:
    """Put a ring around the best value, name it, and leave far worse values outside."""
    losses = -values.values if higher else values.values
    family, number = np.unravel_index(int(np.nanargmin(losses)), losses.shape)
    k = values.n_components.values[number]
    ax.plot(
        [k], [values.values[family, number]], linestyle="none", marker="o", markersize=13.0, markerfacecolor="none",
        color="black", gid="best", zorder=4.0,
    )  # fmt: skip
    ax.set_title(f"best: {values.covariance_type.values[family]}, {k} components", loc="left", fontsize=10)
    least = np.nanmin(losses)
    # The best of each family stays in view, and half of all values, with their bars.
    far = losses + errors - least
    shown = 1.3 * max(np.nanmax(np.fmin.reduce(far, axis=1)), np.nanmedian(far))
    pad = 0.12 * shown + np.nanmax(np.where(far <= shown, errors, 0.0))
    if shown > 0.0:
        low, high = ax.get_ylim()
        ax.set_ylim((max(low, -least - shown), -least + pad) if higher else (least - pad, min(high, least + shown)))
