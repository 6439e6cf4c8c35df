"""A photograph beside its segmentation, and how the fit that made it converged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.errors import DataError, MissingExtraError
from dgmm.storage.replacing import replacing_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dgmm.storage.urls import Location
    from dgmm.typing import Array

_GREY = "#5a5a5a"
_LINE = "#1f5f8b"
_MOST_BARS = 24


def require_matplotlib() -> type[Figure]:
    """Return matplotlib's figure class.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: F401
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "viz", "drawing a picture") from error
    return Figure


def segmentation_figure(
    photograph: Array,
    labels: Array,
    means: Array,
    lower_bounds: Sequence[float],
    *,
    name: str = "photograph",
    covariance_type: str = "full",
    converged: bool = True,
) -> Figure:
    """Draw a photograph, its segmentation in the components' mean colours, and the convergence.

    Parameters
    ----------
    photograph : array of shape (lines, columns, 3), uint8
    labels : array of shape (lines, columns)
        Component of each pixel, from 0.
    means : array of shape (K, 3)
        Mean colour of each component, red, green, blue in 0..255.
    lower_bounds : sequence of float
        Mean log-likelihood per iteration, in nats per pixel.
    name, covariance_type, converged
        For the titles.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot: nothing global is touched.

    Raises
    ------
    DataError
        If the shapes do not fit together.
    MissingExtraError
        If matplotlib is not installed.
    """
    if photograph.ndim != 3 or photograph.shape[2] != 3 or photograph.shape[:2] != labels.shape:
        raise DataError(
            f"the photograph has shape {photograph.shape} and the labels {labels.shape}; "
            "expected (lines, columns, 3) and (lines, columns)"
        )
    figure_class = require_matplotlib()
    lines, columns = labels.shape
    width = 12.0
    height = min(max(width / 2 * lines / columns + 3.9, 5.0), 20.0)
    figure = figure_class(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, 2, height_ratios=[height - 3.9, 3.0])
    colours = segment(labels, means)
    k = len(means)
    _show(figure.add_subplot(grid[0, 0]), photograph, f"{name}: {labels.size:,} pixels")
    _show(
        figure.add_subplot(grid[0, 1]),
        colours,
        f"the same in the mean colours of {k} components ({covariance_type})",
    )
    _draw_convergence(figure.add_subplot(grid[1, 0]), lower_bounds, converged)
    _draw_shares(figure.add_subplot(grid[1, 1]), labels, means)
    return figure


def segment(labels: Array, means: Array) -> Array:
    """Return each pixel in the mean colour of its component.

    Parameters
    ----------
    labels : array of shape (lines, columns)
    means : array of shape (K, 3)
        In 0..255.

    Returns
    -------
    array of shape (lines, columns, 3), uint8

    Examples
    --------
    >>> import numpy as np
    >>> segment(np.array([[1, 0]]), np.array([[0.0, 0, 0], [254.6, 128, 0]])).tolist()
    [[[255, 128, 0], [0, 0, 0]]]
    """
    palette: Array = np.clip(np.rint(means), 0, 255).astype(np.uint8)
    coloured: Array = palette[labels]
    return coloured


def _show(axes: Axes, pixels: Array, title: str) -> None:
    axes.imshow(pixels, interpolation="antialiased")
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("column (pixels)", color=_GREY)
    axes.set_ylabel("line (pixels)", color=_GREY)
    axes.tick_params(colors=_GREY, labelsize=8)


def _draw_convergence(axes: Axes, lower_bounds: Sequence[float], converged: bool) -> None:
    count = len(lower_bounds)
    axes.plot(range(1, count + 1), lower_bounds, color=_LINE, marker="o", markersize=3.5, linewidth=1.6)
    end = "converged" if converged else "stopped before convergence"
    axes.set_title(f"EM {end} after {count} iteration{'s' * (count != 1)}", fontsize=11)
    axes.set_xlabel("iteration of EM (one pass over all pixels each)", color=_GREY)
    axes.set_ylabel("mean log-likelihood\n(nats per pixel)", color=_GREY)
    axes.set_xlim(1 - 0.05 * count, count + 0.05 * count)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    axes.ticklabel_format(axis="y", useOffset=False)
    _plain(axes)


def _draw_shares(axes: Axes, labels: Array, means: Array) -> None:
    shares = np.bincount(labels.ravel(), minlength=len(means)) / max(labels.size, 1) * 100
    order = np.argsort(-shares, kind="stable")[:_MOST_BARS]
    colours: list[Any] = list(np.clip(means[order] / 255, 0, 1))
    bars = axes.bar(range(len(order)), shares[order], color=colours, edgecolor=_GREY, linewidth=0.6)
    if len(order) <= 12:
        axes.bar_label(bars, fmt="%.1f%%", fontsize=8, color=_GREY, padding=2)
    axes.set_xticks(range(len(order)), [str(k) for k in order])
    shown = f"the {_MOST_BARS} largest components" if len(means) > _MOST_BARS else "components"
    axes.set_title(f"{shown}: mean colour and share of the pixels", fontsize=11)
    axes.set_xlabel("component", color=_GREY)
    axes.set_ylabel("share of the pixels (%)", color=_GREY)
    axes.margins(y=0.12)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_GREY, labelsize=8)


def save_figure(figure: Figure, path: str | Location) -> None:
    """Write a figure as PNG: the file is there whole or not at all, and replaces one that exists."""
    with replacing_file(path) as temporary:
        figure.savefig(temporary, format="png")
