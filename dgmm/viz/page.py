"""The report of a mixture as one HTML page that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dgmm._version import __version__
from dgmm.storage.replacing import replacing_file
from dgmm.viz.findings import find
from dgmm.viz.numbers import count, plural, short, signed
from dgmm.viz.page_figures import convergence, label_map, places, profiles, selection
from dgmm.viz.page_style import STYLE
from dgmm.viz.page_tables import (
    MOST_COMPONENTS,
    MOST_FEATURES,
    compared_table,
    component_tables,
    correlation_table,
    pairs_of_words,
    section,
    text,
    time_bars,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dgmm.storage.urls import Location
    from dgmm.viz.content import ReportContent
    from dgmm.viz.findings import Finding


def compose(content: ReportContent) -> str:
    """Compose the page.

    Parameters
    ----------
    content : ReportContent

    Returns
    -------
    str
        HTML in which all pictures stand; the same text for the same content.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    findings = find(content)
    sections = (
        _findings(findings),
        label_map(content),
        places(content),
        profiles(content),
        _components(content),
        _compared(content),
        convergence(content),
        selection(content),
        _times(content),
        _made(content),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light">\n<link rel="icon" href="data:,">\n'
        f"<title>{text(content.name)}: {text(headline(content))}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"{_header(content, findings)}\n<main>\n" + "\n".join(part for part in sections if part) + "\n</main>\n"
        f"<footer><p>Written by dgmm {text(__version__)}. The page holds all that it shows and loads nothing.</p>"
        "</footer>\n</body>\n</html>\n"
    )


def write_page(content: ReportContent, path: str | Location) -> None:
    """Write the page: the file is there whole or not at all, and replaces one that exists."""
    page = compose(content)
    with replacing_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def headline(content: ReportContent) -> str:
    """What was fitted to what."""
    k, d = content.shape
    rows = "" if content.n_rows is None else f"{plural(round(content.n_rows), 'row')} of "
    return f"{plural(k, 'component')} fitted to {rows}{plural(d, 'feature')}"


def _header(content: ReportContent, findings: Sequence[Finding]) -> str:
    items = "".join(
        f"<div><dt>{name}</dt><dd>{text(value)}{f'<small>{text(note)}</small>' if note else ''}</dd></div>"
        for name, value, note in facts(content)
    )
    return (
        f'<header><p class="kicker">Gaussian mixture · {text(content.name)}</p><h1>{text(headline(content))}</h1>'
        f'<p class="lead">{text(lead(content, findings))}</p><dl class="facts">{items}</dl></header>'
    )


def lead(content: ReportContent, findings: Sequence[Finding]) -> str:
    """How the fit ended, and whether something is to be looked at."""
    if content.converged is None:
        how = "Its parameters were set by hand, or nothing is known of their fit."
    elif content.scan:
        state = "settled" if content.converged else "not settled yet"
        how = f"One scan in {plural(content.n_iter or 0, 'round')}; it has {state}."
    else:
        iterations = plural(content.n_iter or len(content.lower_bounds), "iteration")
        how = f"The fit converged after {iterations}."
        if not content.converged:
            how = f"The fit stopped after {iterations} without convergence."
    problems, notes = (sum(finding.level == level for finding in findings) for level in ("problem", "note"))
    if problems:
        what = "One problem should be looked at first."
        if problems > 1:
            what = f"{problems} problems should be looked at first."
    elif notes:
        what = f"Nothing is wrong; there {'is one thing' if notes == 1 else f'are {notes} things'} to know."
    else:
        what = "No warning sign was found."
    return f"{how} {what}"


def facts(content: ReportContent) -> list[tuple[str, str, str]]:
    """What is known of the fit: its name, its value, and a note on it."""
    family = content.covariance_type
    free = content.family.n_parameters(*content.shape)
    found = [("Covariances", family, plural(free, "free parameter"))]
    if content.n_iter is not None:
        reads = "" if content.n_reads is None else f"{plural(content.n_reads, 'read')} of the data"
        found.append(("Rounds" if content.scan else "Iterations", count(content.n_iter), reads))
    value, note = content.log_likelihood, "of the rows"
    if value is None and content.lower_bounds:
        value = content.lower_bounds[-1]
        note = ("an estimate" if content.n_renewed else "at least") if content.scan else "of the fit's rows"
    if value is not None:
        found.append(("Log-likelihood", signed(f"{value:.4f}"), f"nats per row, {note}"))
    if content.bic is not None:
        found.append(("BIC", signed(f"{content.bic:,.0f}"), "lower is better"))
    if content.remaining_gap is not None and content.sampling_error is not None:
        note = f"nats per row, estimated; rows determine it to {short(content.sampling_error)}"
        found.append(("Rise that remains", short(content.remaining_gap), note))
    return found


def _findings(findings: Sequence[Finding]) -> str:
    items = "".join(
        f'<li class="{finding.level}"><span class="level">{finding.level.capitalize()}</span>'
        f"<h3>{text(finding.title)}</h3><p>{text(finding.text)}</p>"
        f'<p class="advice">{text(finding.advice)}</p></li>'
        for finding in findings
    )
    nothing = '<p class="good">Nothing that dgmm knows to look for.</p>'
    return section("findings", "What to look at", "", f'<ul class="findings">{items}</ul>' if items else nothing)


def _components(content: ReportContent) -> str:
    k, d = content.shape
    words = ["A row is a component: its share of the rows, and the mean and standard deviation of its features."]
    if k > MOST_COMPONENTS:
        words.append(f"The first {MOST_COMPONENTS} of {k} components are listed.")
    if d > MOST_FEATURES:
        words.append(f"Of {d} features the {MOST_FEATURES} that tell components apart best are listed.")
    return section("components", "Components", " ".join(words), component_tables(content) + correlation_table(content))


def _compared(content: ReportContent) -> str:
    words = "Components are matched with those of the model before, and have their numbers; the farthest come first."
    table = compared_table(content)
    return section("before", "Beside the model before", words, table) if table else ""


def _times(content: ReportContent) -> str:
    return section("times", "Where the time went", "", time_bars(content.seconds)) if content.seconds else ""


def _made(content: ReportContent) -> str:
    items = (*content.facts, *content.versions)
    return section("made", "How it was made", "", pairs_of_words(items, "made")) if items else ""
