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
_GREY = "#5a5a5a"

# Of each criterion: the variable of its standard error, and what the axis says.
_CRITERIA = {
    "bic": (None, "BIC (nats; lower is better)"),
    "aic": (None, "AIC (nats; lower is better)"),
    "icl": (None, "ICL (nats; lower is better)"),
    "heldout": ("heldout_se", "held-out log-likelihood\n(nats per row; higher is better)"),
}


def plot_selection(table: Any, criterion: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw a criterion over the number of components, a curve for each covariance family.

    Points that are not filled are of candidates that are not ranked; bars are one standard error
    of held-out log-likelihoods. A ring marks the best value.

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
        values, colour = own[variable].values, _COLOURS[i % len(_COLOURS)]
        style: dict[str, Any] = {"color": colour, "zorder": 2.0 + 0.01 * i}
        ax.plot(numbers, values, linewidth=1.4, gid=family, label=family, marker=_MARKS[i % len(_MARKS)],
                markersize=5.0, markerfacecolor="white", **style)  # fmt: skip
        filled = own.ranked.values
        ax.plot(
            numbers[filled], values[filled], linestyle="none", marker=_MARKS[i % len(_MARKS)], markersize=5.0, **style
        )
        if error is not None:
            ax.errorbar(numbers, values, own[error].values, linestyle="none", capsize=2.5, linewidth=1.0, **style)
    _mark_best(ax, table[variable], higher=name == "heldout")
    ax.set_xlabel("number of components")
    ax.set_ylabel(words)
    ax.locator_params(axis="x", integer=True, min_n_ticks=1)
    ax.ticklabel_format(axis="y", useOffset=False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.legend(frameon=False, fontsize=9)
    return ax


def _mark_best(ax: Axes, values: Any, *, higher: bool) -> None:
    """Put a ring around the best value, and name it."""
    array = values.values if higher else -values.values
    family, number = np.unravel_index(int(np.nanargmax(array)), array.shape)
    x, y = values.n_components.values[number], values.values[family, number]
    ax.plot([x], [y], linestyle="none", marker="o", markersize=13.0, markerfacecolor="none", color="black",
            gid="best", zorder=4.0)  # fmt: skip
    ax.annotate(
        f"{values.covariance_type.values[family]}, {x}",
        (x, y),
        xytext=(0, -16 if higher else 16),
        textcoords="offset points",
        ha="center",
        va="top" if higher else "bottom",
        color=_GREY,
        fontsize=9,
    )
