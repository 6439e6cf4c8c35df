"""The pictures of a report page, each with its words."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dgmm.viz.colours import component_colours
from dgmm.viz.convergence import plot_convergence
from dgmm.viz.ellipses import MOST_DOTS, plot_mixture
from dgmm.viz.geometry import telling_pairs
from dgmm.viz.labelmap import plot_label_map
from dgmm.viz.numbers import listed, percent, plural, short
from dgmm.viz.page_tables import legend, section, shown_features, text
from dgmm.viz.profiles import plot_profile, positions
from dgmm.viz.rendering import figure_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from dgmm.viz.content import ReportContent

_PAIR_FEATURES = 5
_MASS = 0.9
_MOST_PROFILES = 20
_NAMED = 12
# Inches.
_MAP_WIDTH, _MAP_HEIGHTS = 5.2, (2.2, 7.0)


def label_map(content: ReportContent) -> str:
    """The map, if there is one, and which colour is which component."""
    grid, k = content.grid, content.shape[0]
    if grid is None:
        return ""
    lines, columns = grid.labels.shape
    lowest, highest = _MAP_HEIGHTS
    height = min(max(_MAP_WIDTH * lines / columns, lowest), highest)
    width = max(highest * columns / lines, 3.0) if height == highest else _MAP_WIDTH
    known = grid.labels[(grid.labels >= 0) & (grid.labels < k)]
    counts = np.bincount(known.ravel(), minlength=k).tolist()
    alt = f"Map of {lines} by {columns} places in the colours of their most probable components."
    note = f"Shown: {grid.note}." if grid.note else ""
    drawn = figure_tag(lambda ax: plot_label_map(grid, k, ax=ax), (width, height), alt, note, "wide")
    below = legend(content, counts, int(grid.labels.size - known.size))
    return section("map", "Map of labels", "The most probable component of each place.", drawn + below)


def places(content: ReportContent) -> str:
    """Components over the density of the sample, in pairs of features."""
    d = content.shape[1]
    pairs: Sequence[tuple[int, ...]] = [(0,)] if d == 1 else telling_pairs(content.spread, _PAIR_FEATURES)
    words = [
        "Each curve is a component times its weight; the dashed one is their sum."
        if d == 1
        else f"Each ellipse holds {percent(_MASS)} of a component."
    ]
    if content.sample is None or not len(content.sample):
        words.append("The model holds no sample of its rows, so there is no density of the data below.")
    else:
        how = "dots below are" if len(content.sample) <= MOST_DOTS else "below is the density of"
        words.append(f"The grey {how} {plural(len(content.sample), 'row')} drawn at random.")
    if d > _PAIR_FEATURES:
        left = [content.names[j] for j in range(d) if not any(j in pair for pair in pairs)]
        words.append(
            f"Shown are the {_PAIR_FEATURES} features that tell components apart best; "
            f"left out: {listed(left, _NAMED)}."
        )
    figures = "".join(_place(content, pair) for pair in pairs)
    kind = " single" if len(pairs) == 1 else ""
    return section(
        "places", "Where components lie", text(" ".join(words)), f'<div class="figures{kind}">{figures}</div>'
    )


def _place(content: ReportContent, features: tuple[int, ...]) -> str:
    names = " and ".join(content.names[j] for j in features)
    draw = partial(
        plot_mixture, content.weights, content.means, content.covariances, content.covariance_type,
        features=features, sample=content.sample, mass=_MASS, feature_names=content.names,
    )  # fmt: skip
    alt = f"{plural(content.shape[0], 'component')} over the density of the sample, in {names}."
    return figure_tag(lambda ax: draw(ax=ax), (4.3, 3.7), alt)


def profiles(content: ReportContent) -> str:
    """The means and deviations of each component's features."""
    features, spread, weights = shown_features(content), content.spread, np.asarray(content.weights)
    along = positions(content.feature_names or ())
    if content.feature_names is None and content.shape[1] > _NAMED:
        along = "feature", np.arange(content.shape[1], dtype=np.float64)
    if along is not None:
        features = list(range(content.shape[1]))
    scale = np.where(spread.deviation > 0.0, spread.deviation, 1.0)[features]
    means = (np.asarray(content.means)[:, features] - spread.mean[features]) / scale
    deviations = np.sqrt(content.variances[:, features]) / scale
    heaviest = np.argsort(-weights, kind="stable")[:_MOST_PROFILES]
    shown = sorted(int(k) for k in heaviest if weights[k] > 0.0)
    reach = 1.04 * min(max(float((np.abs(means) + deviations)[shown].max()), 1.0), 12.0)
    colours, names = component_colours(content.shape[0]), [content.names[j] for j in features]
    height = 1.7 if along is not None else 0.2 * len(names) + 0.5
    drawn = []
    for k in shown:
        draw = partial(
            plot_profile, means[k], deviations[k], feature_names=names, colour=colours[k], along=along, reach=reach
        )
        title = f"Component {k}, {percent(float(weights[k]))}"
        drawn.append(figure_tag(_on(draw), (2.2, height), f"Profile of {title}.", title))
    words = (
        "Means of the features, and one standard deviation to each side, in units of the standard deviation of all "
        "rows about their mean."
    )
    if len(shown) < content.shape[0]:
        words += f" The {len(shown)} heaviest components are shown."
    return section(
        "profiles", "What sets components apart", words, f'<div class="figures small">{"".join(drawn)}</div>'
    )


def _on(draw: partial[Axes]) -> Callable[[Axes], object]:
    return lambda ax: draw(ax=ax)


def convergence(content: ReportContent) -> str:
    """The curve of the likelihood, and why it ends."""
    bounds = content.lower_bounds
    if not bounds:
        return ""
    step, unit = ("round of the scan", "round") if content.scan else ("EM iteration", "iteration")
    words = [f"Why it ended: {content.stop_reason}."] if content.stop_reason else []
    if content.n_reads is not None:
        words.append(f"The data were read {plural(content.n_reads, 'time')} in all.")
    if content.remaining_gap:
        words.append("The dashed line is where the likelihood is estimated to end.")
    draw = partial(plot_convergence, bounds, remaining_gap=content.remaining_gap, step=step)
    alt = (
        f"Mean log-likelihood after each of {plural(len(bounds), unit)}, from {short(bounds[0])} to "
        f"{short(bounds[-1])} nats per row."
    )
    drawn = figure_tag(_on(draw), (4.8, 2.6), alt, kind="wide")
    return section("convergence", "How the fit converged", text(" ".join(words)), drawn)


def selection(content: ReportContent) -> str:
    """The criteria of the models that were compared, if there were some."""
    if content.draw_selection is None:
        return ""
    alt = "The criterion against the number of components, for the models that were compared."
    drawn = figure_tag(content.draw_selection, (5.2, 3.5), alt, kind="wide")
    return section("selection", "How the model was chosen", text(content.selection_words), drawn)
