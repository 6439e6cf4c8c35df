"""Components over a density of a sample: ellipses of two features, curves of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.viz.axes import name_axes, names_of, new_axes, plain
from dgmm.viz.colours import INK, component_colours
from dgmm.viz.geometry import Ellipse, blocks, check_features, check_mass, ellipse_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from dgmm.typing import Array, FloatArray

MOST_DOTS = 600
"""Rows that are drawn as dots; more are a density."""
_DOT = "#7d8a96"
_SHADES = ("#eceff2", "#76838f")
_CELLS = 34
# Tails of the sample beyond these quantiles may lie outside the picture.
_TAILS = (0.002, 0.998)
_MOST_NUMBERS = 60


def plot_mixture(
    weights: Array,
    means: Array,
    covariances: Array,
    covariance_type: str = "full",
    *,
    features: Sequence[int] = (0, 1),
    sample: Array | None = None,
    mass: float = 0.9,
    feature_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the components of a mixture over a density of a sample, for two features or one.

    With two features a component is the ellipse that holds ``mass`` of it: the heavier, the stronger its line and
    filling. With one feature it is the curve of its density times its weight, and the sum of all is drawn too.

    Parameters
    ----------
    weights : (K,)
    means : (K, d)
    covariances : array
        Of the family's shape, as a fitted mixture has them.
    covariance_type : str
    features : (int, int) or (int,)
    sample : (m, d), optional
        Rows; where a value is NaN, the row is left out of pictures of that feature.
    mass : float, default 0.9
        Share of a component within its ellipse, above 0 and below 1.
    feature_names : (d,) sequence of str, optional
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, which pyplot knows nothing of.

    Returns
    -------
    matplotlib.axes.Axes
        The ``get_gid()`` of its artists is ``"density"``, ``"component 0"``, ``"component 1"``, ..., ``"mixture"``.

    Raises
    ------
    ParameterError
        If there are no such features, or no such mass.
    MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> means, covariances = np.array([[0.0, 0.0], [5.0, 5.0]]), np.ones((2, 2))
    >>> ax = plot_mixture(np.array([0.7, 0.3]), means, covariances, "diag", feature_names=["east", "north"])
    >>> ax.get_xlabel(), len(ax.patches)
    ('east', 2)
    """
    shape: tuple[int, int] = np.shape(means)
    chosen, share = check_features(features, shape[1], (1, 2)), check_mass(mass)
    names = names_of(feature_names, shape[1])
    own = blocks(covariances, covariance_type, shape, chosen)
    centres = np.asarray(means, dtype=np.float64)[:, list(chosen)]
    rows = np.empty((0, len(chosen))) if sample is None else np.asarray(sample, dtype=np.float64)[:, list(chosen)]
    rows = rows[np.isfinite(rows).all(axis=1)]
    ax = new_axes(ax, (5.0, 4.2))
    if len(chosen) == 1:
        _draw_curves(ax, weights, centres[:, 0], own[:, 0, 0], rows[:, 0])
        name_axes(ax, names[chosen[0]], "density")
    else:
        _draw_ellipses(ax, weights, centres, own, rows, share)
        name_axes(ax, names[chosen[0]], names[chosen[1]])
    plain(ax)
    return ax


def _draw_ellipses(
    ax: Axes, weights: Array, means: FloatArray, covariances: FloatArray, rows: FloatArray, mass: float
) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Ellipse as Patch

    found = [ellipse_of(mean, covariance, mass) for mean, covariance in zip(means, covariances, strict=True)]
    held = [k for k in np.argsort(weights, kind="stable") if weights[k] > 0.0]  # the heaviest on top
    window = _window(means, found, rows)
    _draw_density(ax, rows, window)
    heaviest = float(np.max(weights))
    for k in held:
        strength = float(np.sqrt(weights[k] / heaviest))
        colour, ellipse = component_colours(len(means))[k], found[k]
        patch = Patch(
            ellipse.centre, ellipse.width, ellipse.height, angle=ellipse.angle, gid=f"component {k}",
            facecolor=to_rgba(colour, 0.04 + 0.1 * strength), edgecolor=to_rgba(colour, 0.6 + 0.4 * strength),
            linewidth=0.8 + 1.2 * strength, zorder=3.0,
        )  # fmt: skip
        ax.add_patch(patch)
    for k in held[::-1][:_MOST_NUMBERS]:
        _write_number(ax, int(k), means[k], component_colours(len(means))[k])
    (left, right), (bottom, top) = window
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    ax.locator_params(nbins=6)


def _window(means: FloatArray, ellipses: list[Ellipse], rows: FloatArray) -> tuple[tuple[float, float], ...]:
    """What is shown: all the means, and almost all of the sample or, without one, the ellipses."""
    if len(rows):
        corners = np.concatenate([means, np.quantile(rows, _TAILS, axis=0)])
    else:
        reach = np.array([_half_extent(ellipse) for ellipse in ellipses])
        corners = np.concatenate([means - reach, means + reach])
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = 0.06 * (high - low)
    margin[margin == 0.0] = 0.5
    return tuple((float(a), float(b)) for a, b in zip(low - margin, high + margin, strict=True))


def _half_extent(ellipse: Ellipse) -> tuple[float, float]:
    angle = np.radians(ellipse.angle)
    a, b = ellipse.width / 2.0, ellipse.height / 2.0
    across = np.hypot(a * np.cos(angle), b * np.sin(angle))
    return float(across), float(np.hypot(a * np.sin(angle), b * np.cos(angle)))


def _draw_density(ax: Axes, rows: FloatArray, window: tuple[tuple[float, float], ...]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    if not len(rows):
        return
    if len(rows) <= MOST_DOTS:
        ax.scatter(rows[:, 0], rows[:, 1], s=6.0, color=_DOT, linewidths=0.0, gid="density", zorder=1.0)
        return
    (left, right), (bottom, top) = window
    shades = LinearSegmentedColormap.from_list("sample", _SHADES)
    cells = ax.hexbin(
        rows[:, 0], rows[:, 1], gridsize=(_CELLS, round(0.62 * _CELLS)), extent=(left, right, bottom, top), mincnt=1,
        cmap=shades, linewidths=0.0, antialiased=False, zorder=1.0,
    )  # fmt: skip
    cells.set_gid("density")
    # A few cells that hold very many would leave the others pale.
    counts: Array = np.ma.compressed(np.ma.asarray(cells.get_array()))
    if len(counts):
        cells.set_clim(0.0, max(float(np.quantile(counts, 0.97)), 1.0))


def _write_number(ax: Axes, k: int, place: FloatArray, colour: str) -> None:
    style = {"facecolor": "white", "edgecolor": colour, "linewidth": 1.0, "alpha": 0.9}
    ax.text(
        float(place[0]), float(place[1]), str(k), color=INK, fontsize=7.5, ha="center", va="center_baseline",
        clip_on=True, zorder=5.0, gid=f"number {k}", bbox={"boxstyle": "round,pad=0.22,rounding_size=0.6", **style},
    )  # fmt: skip


def _draw_curves(ax: Axes, weights: Array, means: FloatArray, variances: FloatArray, rows: FloatArray) -> None:
    spread = np.sqrt(variances)
    low, high = float((means - 3.5 * spread).min()), float((means + 3.5 * spread).max())
    if len(rows):
        low, high = min(float(means.min()), float(rows.min())), max(float(means.max()), float(rows.max()))
        low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
        ax.hist(rows, bins=min(max(int(np.sqrt(len(rows))), 8), 60), range=(low, high), density=True,
                color=_SHADES[0], edgecolor=_DOT, linewidth=0.4, gid="density", zorder=1.0)  # fmt: skip
    # A narrow component must not fall between the points.
    around = (means[:, None] + spread[:, None] * np.linspace(-4.0, 4.0, 41)).ravel()
    x = np.unique(np.concatenate([np.linspace(low, high, 400), around[(around >= low) & (around <= high)]]))
    scaled = (x - means[:, None]) / spread[:, None]
    curves = np.asarray(weights)[:, None] * np.exp(-0.5 * scaled**2) / (spread[:, None] * np.sqrt(2.0 * np.pi))
    style: dict[str, Any] = {"linewidth": 1.6, "zorder": 3.0}
    for k, colour in enumerate(component_colours(len(means))):
        if weights[k] > 0.0:
            ax.plot(x, curves[k], color=colour, gid=f"component {k}", **style)
            peak = int(np.argmax(curves[k]))
            _write_number(ax, k, np.array([x[peak], curves[k, peak]]), colour)
    ax.plot(x, curves.sum(axis=0), color=INK, linewidth=1.0, linestyle=(0, (4, 2)), gid="mixture", zorder=4.0)
    ax.set_xlim(low, high)
    ax.set_ylim(bottom=0.0)
