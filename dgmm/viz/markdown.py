"""The report of a mixture as Markdown and as a table of values, for pages that are somebody else's."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.errors import printable, redact
from dgmm.viz.findings import find
from dgmm.viz.numbers import duration
from dgmm.viz.page import facts, headline, lead
from dgmm.viz.page_figures import convergence, places
from dgmm.viz.page_tables import MOST_COMPONENTS, shown_features

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dgmm.viz.content import ReportContent

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#&])")
_PICTURE = re.compile(r'<img src="(data:[^"]+)"[^>]* alt="([^"]*)"')
_DIGITS = 6


def markdown(content: ReportContent, written: Iterable[tuple[str, str]] = ()) -> str:
    """Compose the report: what the page tells, with its pictures if matplotlib is installed.

    Parameters
    ----------
    content : ReportContent
    written : iterable of (str, str)
        Outputs and where they are.

    Returns
    -------
    str
        CommonMark with tables; what comes from a user or a file is escaped.
    """
    findings = find(content)
    parts = [
        f"# {escaped(headline(content))}",
        escaped(lead(content, findings)),
        _table(("", "", ""), ((f"**{name}**", escaped(value), escaped(note)) for name, value, note in facts(content))),
    ]
    for finding in findings:
        title = f"**{finding.level.capitalize()}: {escaped(finding.title)}**"
        parts.append(f"- {title} {escaped(finding.text)} *{escaped(finding.advice)}*")
    parts += _pictures(content)
    lists = (
        ("Written", written),
        ("Where the time went", ((what, duration(taken)) for what, taken in content.seconds)),
        ("How it was made", (*content.facts, *content.versions)),
    )
    for title, items in lists:
        rows = [(escaped(name), escaped(value)) for name, value in items]
        if rows:
            parts += [f"## {title}", _table(("", ""), rows)]
    return "\n\n".join(parts) + "\n"


def component_rows(content: ReportContent) -> list[dict[str, Any]]:
    """Return the components as rows of a table: weight, and mean and standard deviation of the leading features.

    Numbers are rounded to six digits; weights are shares of 1, the rest is in the units of the data.
    """
    means, deviations = np.asarray(content.means, dtype=np.float64), np.sqrt(content.variances)
    rows = []
    for k in range(min(content.shape[0], MOST_COMPONENTS)):
        row: dict[str, Any] = {"component": k, "weight": _rounded(content.weights[k])}
        for j in shown_features(content):
            name = printable(redact(content.names[j]))
            row |= {name: _rounded(means[k, j]), f"{name} ±": _rounded(deviations[k, j])}
        rows.append(row)
    return rows


def escaped(value: object) -> str:
    r"""Return a text that Markdown shows as it is, without credentials.

    Examples
    --------
    >>> print(escaped("a_name | <b>"))
    a\_name \| \<b\>
    """
    return _SPECIAL.sub(r"\\\1", printable(redact(str(value))))


def _rounded(value: Any) -> float | str:
    """JSON has no numbers that are not finite."""
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))
    return "\n".join(lines)


def _pictures(content: ReportContent) -> Iterator[str]:
    if find_spec("matplotlib") is None:
        return
    for source, alt in _PICTURE.findall(places(content) + convergence(content)):
        yield f"![{escaped(alt)}]({source})"
