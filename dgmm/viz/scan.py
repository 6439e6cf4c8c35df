"""The three sets of a scan of two features, drawn over its mixture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dgmm.errors import DataError
from dgmm.mixture.families import get_family
from dgmm.viz.segmentation import require_matplotlib

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from dgmm.mixture.families import CovarianceFamily
    from dgmm.typing import Array, FloatArray

# Okabe and Ito's colours, which those tell apart too who do not see red or green.
_BLUE, _GREEN, _RED = "#0072b2", "#009e73", "#d55e00"
# How the ellipses of each set are drawn, and named in a legend.
_ELLIPSES: Mapping[str, dict[str, Any]] = {
    "discarded": {"facecolor": _BLUE + "2e", "linewidth": 0.0, "zorder": 1.0, "label": "discard set: sums of rows"},
    "compressed": {
        "facecolor": _GREEN + "80", "edgecolor": _GREEN, "linewidth": 1.2, "zorder": 3.0,
        "label": "compressed set: sums of tight groups",
    },
    "mixture": {"facecolor": "none", "edgecolor": "black", "linewidth": 1.0, "zorder": 4.0, "label": "mixture"},
}  # fmt: skip
_ROWS: Mapping[str, Any] = {"s": 7.0, "color": _RED, "linewidths": 0.0, "zorder": 2.0, "label": "retained set: rows"}
_TEXT: Mapping[str, Any] = {
    "ha": "center",
    "va": "center",
    "fontsize": 9,
    "fontweight": "bold",
    "color": "#00476b",
    "zorder": 5.0,
}
# Ellipses lie at so many standard deviations.
_DEVIATIONS = 2.0


class FittedScan(Protocol):
    """What is drawn of a :class:`dgmm.BFRGaussianMixture`."""

    covariance_type: str
    means_: Array
    covariances_: Array
    discard_set_: Mapping[str, FloatArray]
    compressed_set_: Mapping[str, FloatArray]
    retained_set_: Mapping[str, Array]


def plot_sets(scan: FittedScan, ax: Axes | None = None) -> Axes:
    """Draw the three sets of a scan of two features, and its mixture.

    Points are the retained rows. Ellipses lie at two standard deviations: filled ones are sums of
    rows, blue those of the discard set with their weight, green those of the compressed set;
    outlines are the components of the mixture.

    Parameters
    ----------
    scan : BFRGaussianMixture
        After ``fit`` or ``partial_fit``; before its start it has retained rows only.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure, which pyplot knows nothing of.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax.figure.savefig(path)`` writes it. The ``get_gid()`` of each artist is ``"retained"``,
        ``"discarded"``, ``"compressed"`` or ``"mixture"``.

    Raises
    ------
    DataError
        If the rows have other than two features.
    MissingExtraError
        If matplotlib is not installed.
    """
    rows = scan.retained_set_["rows"]
    if rows.shape[1] != 2:
        raise DataError(f"the rows have {rows.shape[1]} feature(s); only a scan of 2 features can be drawn")
    figure_class = require_matplotlib()
    if ax is None:
        ax = figure_class(figsize=(6.0, 5.0), dpi=150, layout="constrained", facecolor="white").add_subplot()
    ax.scatter(*rows.T, gid="retained", **_ROWS)
    if hasattr(scan, "means_"):
        family = get_family(scan.covariance_type)
        _draw_sums(ax, "discarded", scan.discard_set_, family)
        _draw_sums(ax, "compressed", scan.compressed_set_, family)
        own = family.inner(scan.covariances_, len(scan.means_), 2)
        _draw_ellipses(ax, "mixture", scan.means_, family.form.full(own, 2))
        _write_weights(ax, scan.discard_set_)
    ax.set_aspect("equal", adjustable="box")
    ax.autoscale_view()
    return ax


def _draw_sums(ax: Axes, name: str, sums: Mapping[str, FloatArray], family: CovarianceFamily) -> None:
    held = sums["weights"] > 0.0
    matrices = family.form.full(sums["covariances"], 2)
    _draw_ellipses(ax, name, sums["means"][held], matrices[held] if len(matrices) == len(held) else matrices)


def _draw_ellipses(ax: Axes, name: str, means: Array, covariances: Array) -> None:
    """Draw the ellipses of some Gaussians; the first one stands for them in a legend."""
    from matplotlib.patches import Ellipse

    # Rounding may leave a group of equal rows a variance below 0.
    squared, axes = np.linalg.eigh(np.broadcast_to(covariances, (len(means), 2, 2)))
    lengths = 2.0 * _DEVIATIONS * np.sqrt(np.maximum(squared, 0.0))
    angles = np.degrees(np.arctan2(axes[:, 1, 1], axes[:, 0, 1]))
    style = dict(_ELLIPSES[name])
    for mean, (height, width), angle in zip(means, lengths, angles, strict=True):
        ax.add_patch(Ellipse(tuple(mean), width, height, angle=float(angle), gid=name, **style))
        style["label"] = "_none"


def _write_weights(ax: Axes, sums: Mapping[str, FloatArray]) -> None:
    """Write the weights of some sums at their means, with a white rim."""
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=2.0, foreground="white")]
    for mean, weight in zip(sums["means"], sums["weights"], strict=True):
        if weight > 0.0:
            ax.text(
                float(mean[0]), float(mean[1]), _short(weight), gid="discarded", clip_on=True, path_effects=rim, **_TEXT
            )


def _short(weight: float) -> str:
    """A weight to two digits or so: 870, 4.3k, 12k, 1.2M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if weight >= 0.9995 * unit:
            return f"{weight / unit:.1f}{letter}" if weight < 9.95 * unit else f"{weight / unit:.0f}{letter}"
    return f"{weight:.3g}"
