"""How the likelihood rose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dgmm.viz.axes import name_axes, new_axes, plain
from dgmm.viz.colours import GREY, PALETTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

_DOTS = 60


def plot_convergence(
    lower_bounds: Sequence[float],
    *,
    converged: bool | None = None,
    remaining_gap: float | None = None,
    step: str = "EM iteration, one read of the data each",
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean log-likelihood after each iteration.

    Parameters
    ----------
    lower_bounds : sequence of float
        In nats per row.
    converged : bool, optional
        For the title.
    remaining_gap : float, optional
        Estimated rise that is still to come, in nats per row: a dashed line lies there.
    step : str
        What an iteration is.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, which pyplot knows nothing of.

    Returns
    -------
    matplotlib.axes.Axes
        The ``get_gid()`` of its lines is ``"lower bounds"`` and ``"limit"``.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    >>> ax = plot_convergence([-3.0, -2.5, -2.4], converged=True, remaining_gap=0.05)
    >>> ax.get_title(), [line.get_gid() for line in ax.lines]
    ('converged in 3 steps', ['lower bounds', 'limit'])
    """
    ax = new_axes(ax, (5.0, 3.0))
    bounds = np.asarray(lower_bounds, dtype=np.float64)
    count = len(bounds)
    marker = "o" if count <= _DOTS else None
    ax.plot(range(1, count + 1), bounds, color=PALETTE[0], marker=marker, markersize=3.5, linewidth=1.6,
            gid="lower bounds", zorder=3.0)  # fmt: skip
    if count and remaining_gap is not None and remaining_gap > 0.0:
        limit = float(bounds[-1] + remaining_gap)
        ax.axhline(limit, color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), gid="limit", zorder=2.0)
    if converged is not None:
        end = "converged in" if converged else "not converged after"
        ax.set_title(f"{end} {count} step{'s' * (count != 1)}", fontsize=10, color=GREY)
    name_axes(ax, None, "nats per row")
    ax.set_xlabel(step, fontsize=9, color=GREY)
    ax.set_xlim(1 - 0.04 * max(count, 2), max(count, 1) + 0.04 * max(count, 2))
    ax.locator_params(axis="x", integer=True, min_n_ticks=1)
    ax.ticklabel_format(axis="y", useOffset=False)
    plain(ax, "y")
    return ax
