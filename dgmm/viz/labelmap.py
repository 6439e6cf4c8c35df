"""Labels of a picture or a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dgmm.viz.axes import name_axes, new_axes, plain
from dgmm.viz.colours import NO_LABEL, component_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dgmm.typing import Array


@dataclass(frozen=True)
class LabelMap:
    """Components at the places of a grid.

    Attributes
    ----------
    labels : (lines, columns) int
        -1 where there is none.
    y, x : (lines,) and (columns,), or None
        Coordinates; lines and columns are counted where there are none.
    names : (str, str)
        Of the two axes, lines first.
    note : str
        What is not shown, if anything: other times, places between those that are.
    """

    labels: Array
    y: Array | None = None
    x: Array | None = None
    names: tuple[str, str] = ("line", "column")
    note: str = ""


def plot_label_map(grid: LabelMap, n_components: int, *, ax: Axes | None = None) -> Axes:
    """Draw the component of each place, in the components' colours; places without a label are grey.

    Coordinates that are evenly spaced are on the axes, the first line above if they fall or are none.

    Parameters
    ----------
    grid : LabelMap
    n_components : int
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, which pyplot knows nothing of.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> ax = plot_label_map(LabelMap(np.array([[0, 1], [-1, 1]]), np.array([50.0, 40.0]), np.array([5.0, 6.0])), 2)
    >>> tuple(float(edge) for edge in ax.images[0].get_extent())
    (4.5, 6.5, 35.0, 55.0)
    """
    ax = new_axes(ax, (6.0, 4.5))
    labels = np.asarray(grid.labels)
    palette = np.array([_bytes(colour) for colour in (*component_colours(n_components), NO_LABEL)], dtype=np.uint8)
    known = (labels >= 0) & (labels < n_components)
    lines, columns = labels.shape
    y, x = (None if places is None or not is_even(places) else places for places in (grid.y, grid.x))
    bottom, top = _edges(y, lines)[::-1]
    left, right = _edges(x, columns)
    # Degrees of two directions, metres, or pixels are alike; other axes fill what room there is.
    even = abs(right - left) / columns, abs(top - bottom) / lines
    aspect: Literal["equal", "auto"] = "equal" if 0.2 < even[0] / even[1] < 5.0 else "auto"
    ax.imshow(
        palette[np.where(known, labels, n_components)], interpolation="none", extent=(left, right, bottom, top),
        origin="upper", aspect=aspect,
    )  # fmt: skip
    ax.set_xlim(min(left, right), max(left, right))
    # Lines that are counted begin above.
    ax.set_ylim((bottom, top) if y is None else (min(bottom, top), max(bottom, top)))
    name_axes(ax, grid.names[1], grid.names[0])
    plain(ax)
    return ax


def _bytes(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def _edges(places: Array | None, count: int) -> tuple[float, float]:
    """Outer edges of the first and the last of some cells."""
    first, last, step = 0.0, count - 1.0, 1.0
    if places is not None:
        first, last = float(places[0]), float(places[-1])
        step = (last - first) / (count - 1)
    return first - 0.5 * step, last + 0.5 * step


def is_even(places: Array) -> bool:
    """Whether coordinates are numbers that are evenly spaced, to a hundredth of a step.

    Examples
    --------
    >>> import numpy as np
    >>> is_even(np.array([0.0, 0.5, 1.0])), is_even(np.array([0.0, 0.5, 2.0]))
    (True, False)
    """
    if places.dtype.kind not in "iuf" or len(places) < 2:
        return False
    steps = np.diff(places.astype(np.float64))
    mean = steps.mean()
    return bool(np.isfinite(mean) and mean != 0.0 and (np.abs(steps - mean) <= 0.01 * abs(mean)).all())
