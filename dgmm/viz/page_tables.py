"""The tables of a report page: components, what they correlate, times."""

from __future__ import annotations

import itertools
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import printable, redact
from dgmm.viz.colours import NO_LABEL, component_colours
from dgmm.viz.geometry import blocks
from dgmm.viz.numbers import count, duration, number, percent, signed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dgmm.typing import FloatArray
    from dgmm.viz.content import ReportContent

MOST_COMPONENTS = 60
"""Rows of a table."""
MOST_FEATURES = 24
"""Features that are shown; those that tell components apart best."""
_COLUMNS = 8
# So many correlations stand in columns of their own; of more the strong ones are told, some of them.
_MOST_PAIRS = 6
_ALIKE = '<th scope="row">all alike</th>'
_MOST_STRONG, _STRONG = 5, 0.3


def text(value: object) -> str:
    """Text from a user or a file as HTML, without credentials; control characters are written out."""
    return escape(printable(redact(str(value))))


def section(name: str, title: str, intro: str, body: str) -> str:
    """A part of the page under a heading; ``intro`` and ``body`` are HTML."""
    below = f'<p class="intro">{intro}</p>' if intro else ""
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{below}{body}</section>'


def dot(colour: str) -> str:
    """A spot of a component's colour; what it means stands beside it."""
    return f'<span class="dot" style="background:{colour}" aria-hidden="true"></span>'


def _table(name: str, caption: str, head: Sequence[str], rows: Sequence[str]) -> str:
    """A table that scrolls within itself where it is too wide, and can be reached by keyboard to do so."""
    return (
        f'<p class="caption" id="{name}">{caption}</p>'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}"><table aria-labelledby="{name}">'
        f"<thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _column(name: object, kind: str = "") -> str:
    return f'<th scope="col" class="{kind}">{text(name)}</th>'


def _row_head(k: int, colours: Sequence[str]) -> str:
    return f'<th scope="row">{dot(colours[k])}{k}</th>'


def shown_features(content: ReportContent) -> list[int]:
    """The features that tables and profiles show."""
    return content.spread.leading(MOST_FEATURES)


def component_tables(content: ReportContent) -> str:
    """Weights, means and standard deviations, some features to a table."""
    features = shown_features(content)
    parts = [features[at : at + _COLUMNS] for at in range(0, len(features), _COLUMNS)]
    return "".join(_component_table(content, part, first=at == 0, many=len(parts) > 1) for at, part in enumerate(parts))


def _component_table(content: ReportContent, features: Sequence[int], *, first: bool, many: bool) -> str:
    k = min(content.shape[0], MOST_COMPONENTS)
    colours, means, deviations = (
        component_colours(content.shape[0]),
        np.asarray(content.means),
        np.sqrt(content.variances),
    )
    head = [_column("component")]
    if first:
        head.append(_column("weight"))
    head += [_column(content.names[j]) for j in features]
    rows = []
    for component in range(k):
        cells = [_row_head(component, colours)]
        if first:
            weight = float(content.weights[component])
            rows_of = "" if content.n_rows is None else f"<small>{count(round(weight * content.n_rows))} rows</small>"
            cells.append(f"<td>{percent(weight)}{rows_of}</td>")
        for j in features:
            step = float(deviations[component, j])
            mean = number(float(means[component, j]), step)
            cells.append(f"<td>{mean}<small>± {number(step, step)}</small></td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    cells = ['<th scope="row">all</th>', *(["<td>100%</td>"] if first else [])]
    for j in features:
        step = float(content.spread.deviation[j])
        cells.append(f"<td>{number(float(content.spread.mean[j]), step)}<small>± {number(step, step)}</small></td>")
    rows.append(f'<tr class="all">{"".join(cells)}</tr>')
    which = f", features {features[0]} to {features[-1]}" if many else ""
    return _table(f"means-{features[0]}", f"Mean ± standard deviation, in the units of the data{which}", head, rows)


def compared_table(content: ReportContent) -> str:
    """Where the components are beside those of the model before; empty where there was none."""
    if not content.compared:
        return ""
    colours = component_colours(content.shape[0])
    head = [_column(name) for name in ("component", "distance", "weight before", "weight now", "change")]
    rows = [
        f"<tr>{_row_head(k, colours)}<td>{distance:.4f}</td><td>{percent(before)}</td><td>{percent(now)}</td>"
        f"<td>{signed(f'{100.0 * (now - before):+.2f}')}</td></tr>"
        for k, distance, before, now in sorted(content.compared, key=lambda row: -row[1])[:MOST_COMPONENTS]
    ]
    return _table("compared", "Hellinger distance: 0 in the same place, 1 where nothing is shared", head, rows)


def correlation_table(content: ReportContent) -> str:
    """The correlations within components, all or the strong ones; empty for families that have none."""
    if content.family.inner(content.covariances, *content.shape).ndim < 3 or content.shape[1] < 2:
        return ""
    features = shown_features(content)
    pairs = list(itertools.combinations(range(len(features)), 2))
    names = [f"{content.names[features[a]]} · {content.names[features[b]]}" for a, b in pairs]
    matrices, colours = _correlations(content, features), component_colours(content.shape[0])
    all_of_them, tied = len(pairs) <= _MOST_PAIRS, content.family.tied
    head = [_column("component")]
    if all_of_them:
        head += [_column(name) for name in names]
    else:
        head.append(_column(f"correlations of {_STRONG} or more, either way", "text"))
    rows = []
    for k in range(1 if tied else min(content.shape[0], MOST_COMPONENTS)):
        values = [float(matrices[k][pair]) for pair in pairs]
        cells = f'<td class="text">{_strong(names, values)}</td>'
        if all_of_them:
            cells = "".join(f"<td>{_correlation(value)}</td>" for value in values)
        rows.append(f"<tr>{_ALIKE if tied else _row_head(k, colours)}{cells}</tr>")
    return _table("correlations", f"Correlation of features within components, from {signed('-1')} to 1", head, rows)


def _strong(names: Sequence[str], values: Sequence[float]) -> str:
    """The strong ones of some correlations, the strongest first."""
    strong = sorted((-abs(value), at) for at, value in enumerate(values) if abs(value) >= _STRONG)
    words = [f"{text(names[at])} {_correlation(values[at])}" for _, at in strong[:_MOST_STRONG]]
    if len(strong) > _MOST_STRONG:
        words.append(f"and {len(strong) - _MOST_STRONG} more")
    return "; ".join(words) or "none"


def _correlations(content: ReportContent, features: Sequence[int]) -> FloatArray:
    own = blocks(content.covariances, content.covariance_type, content.shape, features)
    spread = np.sqrt(np.diagonal(own, axis1=1, axis2=2))
    spread = np.where(spread > 0.0, spread, 1.0)
    return np.asarray(own / spread[:, :, None] / spread[:, None, :])


def _correlation(value: float) -> str:
    return signed(f"{value:+.2f}")


def legend(content: ReportContent, counts: Sequence[int] | None = None, missing: int = 0) -> str:
    """Which colour is which component, and its share of the weight, or of the places of a map.

    Parameters
    ----------
    content : ReportContent
    counts : (K,) sequence of int, optional
        Places of a map that have the component.
    missing : int
        Places without a label.
    """
    shares = np.asarray(content.weights)
    if counts is not None:
        shares = np.asarray(counts) / max(sum(counts) + missing, 1)
    colours = component_colours(content.shape[0])
    items = [
        f"<li>{dot(colours[k])}{k} <small>{percent(float(shares[k]))}</small></li>"
        for k in range(min(content.shape[0], MOST_COMPONENTS))
        if shares[k] > 0.0
    ]
    if counts is not None and missing:
        share = missing / (sum(counts) + missing)
        items.append(f"<li>{dot(NO_LABEL)}no label <small>{percent(share)}</small></li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def time_bars(seconds: Sequence[tuple[str, float]]) -> str:
    """What took how long, as bars."""
    longest = max((taken for _, taken in seconds), default=0.0) or 1.0
    return f'<dl class="bars">{"".join(_bar(what, taken, longest) for what, taken in seconds)}</dl>'


def _bar(what: str, taken: float, longest: float) -> str:
    width = max(100.0 * taken / longest, 0.0)
    return (
        f'<div><dt>{text(what)}</dt><dd class="length"><span style="width:{width:.1f}%"></span></dd>'
        f"<dd>{duration(taken)}</dd></div>"
    )


def pairs_of_words(items: Sequence[tuple[str, str]], kind: str) -> str:
    """Names and values as a list of definitions."""

    def lines() -> Iterator[str]:
        for name, value in items:
            yield f"<dt>{text(name)}</dt><dd>{text(value)}</dd>"

    return f'<dl class="{kind}">{"".join(lines())}</dl>'
