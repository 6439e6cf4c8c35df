"""A component's features beside those of all rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import numpy as np

from dgmm.viz.axes import name_axes, new_axes, plain, shortened
from dgmm.viz.colours import GREY, PALE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from dgmm.typing import Array, FloatArray

# Fewer features are no profile.
_PROFILE = 6
_NUMBER = re.compile(r"^(.*?)[ =_:\[(]*(-?\d+(?:\.\d+)?)[\])]?$")


def plot_profile(
    mean: Array,
    deviation: Array,
    *,
    feature_names: Sequence[str],
    colour: str,
    along: tuple[str, FloatArray] | None = None,
    reach: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean and the standard deviation of each feature of a component.

    Features are dots with whiskers, one below the other; a profile over something, as depth, is a line with a band.

    Parameters
    ----------
    mean, deviation : (d,)
        In units of the standard deviation of all rows, about their mean.
    feature_names : (d,) sequence of str
    colour : str
    along : (str, (d,)), optional
        What the features are a profile over, and where; see :func:`positions`.
    reach : float, optional
        The axis goes from ``-reach`` to ``reach``, so that pictures of several components can be compared.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, which pyplot knows nothing of.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    ax = new_axes(ax, (2.4, 2.6))
    if along is not None:
        label, x = along
        ax.axhline(0.0, color=GREY, linewidth=0.8, zorder=1.0)
        ax.fill_between(x, mean - deviation, mean + deviation, color=colour, alpha=0.18, linewidth=0.0, zorder=2.0)
        ax.plot(x, mean, color=colour, linewidth=1.6, zorder=3.0, gid="mean")
        ax.set_xlim(float(x.min()), float(x.max()))
        name_axes(ax, label, None)
        grid: Literal["x", "y"] = "y"
    else:
        places = np.arange(len(mean))
        ax.axvline(0.0, color=GREY, linewidth=0.8, zorder=1.0)
        ax.hlines(places, mean - deviation, mean + deviation, color=colour, alpha=0.55, linewidth=2.4, zorder=2.0)
        ax.plot(mean, places, color=colour, marker="o", linestyle="none", markersize=5.0, zorder=3.0, gid="mean")
        ax.set_yticks(places, [shortened(name, 12) for name in feature_names], parse_math=False)
        ax.set_ylim(len(mean) - 0.4, -0.6)
        grid = "x"
    if reach is not None:
        (ax.set_ylim if grid == "y" else ax.set_xlim)(-reach, reach)
    ax.locator_params(axis=grid, nbins=4 if grid == "y" else 3)
    plain(ax, grid)
    ax.spines[["left", "bottom"]].set_color(PALE)
    return ax


def positions(names: Sequence[str]) -> tuple[str, FloatArray] | None:
    """Where features lie that are a profile over something, as depth, and what that is; None if they are not.

    Six features or more are one if their names are alike but for numbers at the end, which rise or fall.

    Examples
    --------
    >>> positions([f"depth {metres}" for metres in (0, 10, 20, 30, 50, 75)])
    ('depth', array([ 0., 10., 20., 30., 50., 75.]))
    >>> positions(["salt", "heat", "light"]) is None
    True
    """
    found = [_NUMBER.match(name) for name in names]
    matches = [match for match in found if match is not None]
    if len(matches) < max(len(names), _PROFILE) or len({match[1] for match in matches}) > 1:
        return None
    along = np.array([float(match[2]) for match in matches])
    steps = np.diff(along)
    if not ((steps > 0.0).all() or (steps < 0.0).all()):
        return None
    return matches[0][1].strip(" =_:[(") or "feature", along
