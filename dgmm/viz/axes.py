"""Axes to draw on, and how they look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dgmm.viz.colours import GREY, PALE
from dgmm.viz.segmentation import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST = 28


def new_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The axes that were given, or those of a new figure of a size in inches, which pyplot knows nothing of.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    figure_class = require_matplotlib()
    if ax is not None:
        return ax
    return figure_class(figsize=size, dpi=100, layout="constrained", facecolor="white").add_subplot()


def plain(ax: Axes, grid: str | None = None) -> None:
    """Take away what is no data: a frame on two sides, dark ticks; a grid only where it is asked for."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(colors=GREY, labelsize=8)
    if grid is not None:
        ax.grid(axis=grid, color=PALE, linewidth=0.6)  # type: ignore[arg-type]
        ax.set_axisbelow(True)


def name_axes(ax: Axes, x: str | None = None, y: str | None = None) -> None:
    """Write what the axes are; names of features are text, whatever signs of formulas they hold."""
    if x is not None:
        ax.set_xlabel(shortened(x), parse_math=False, fontsize=9, color=GREY)
    if y is not None:
        ax.set_ylabel(shortened(y), parse_math=False, fontsize=9, color=GREY)


def shortened(name: str, longest: int = _LONGEST) -> str:
    """A name that fits into a picture.

    Examples
    --------
    >>> shortened("sea_surface_temperature_at_noon"), shortened("depth")
    ('sea_surface_temperature_at_…', 'depth')
    """
    name = " ".join(name.split())
    return name if len(name) <= longest else name[: longest - 1] + "…"


def names_of(names: object, d: int) -> tuple[str, ...]:
    """Names of d features, made up where there are none."""
    if names is None:
        return tuple(f"feature {j}" for j in range(d))
    return tuple(str(name) for name in names)  # type: ignore[attr-defined]
