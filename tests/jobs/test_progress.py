"""What a person reads while a job runs."""

from __future__ import annotations

import io
import logging
import math

import pytest
from rich.console import Console

from dgmm.fitting.events import (
    ComponentStarved,
    FitFinished,
    IterationFinished,
    PassAdvanced,
    PassFinished,
    PassStarted,
    RoundFinished,
    StartChosen,
)
from dgmm.fitting.stopping import StopReason, aitken_gap
from dgmm.jobs.live import LiveReporter
from dgmm.jobs.progress import LogReporter, default_reporter
from dgmm.jobs.wording import iterations_left


def tell(reporter):
    reporter.expect(1e-3)
    reporter.step("fitting 3 components")
    reporter(PassStarted("moments", 1, 4, 1000))
    reporter(PassFinished("moments", 1, 1000, 0.5))
    reporter(StartChosen("kmeans", 1000, 4, 20, 0.25))
    reporter(PassStarted("statistics", 2, 4, 1000))
    reporter(IterationFinished(1, 50, -13.5, math.inf, None, 1000, 0.001))
    reporter(IterationFinished(2, 50, -13.25, 0.25, 0.25, 1000, 0.001))
    reporter(ComponentStarved(1, 2, 1.5, True))
    reporter(FitFinished(StopReason.TOLERANCE, 2, -13.25))
    reporter.step("writing the model")


def test_the_plain_log_has_one_line_per_iteration(caplog):
    caplog.set_level(logging.INFO, "dgmm")
    with LogReporter() as reporter:
        tell(reporter)
    assert [record.message for record in caplog.records] == [
        "fitting 3 components",
        "pass 1 (moments): 1,000 rows in 0.50 s",
        "start: best of 4 starts (kmeans) on a sample of 1,000 rows, 20 iterations there in 0.25 s",
        "iteration 1 of 50: log-likelihood -13.500000 nats per row, 1 M rows/s, at most 0:00 left",
        "iteration 2 of 50: log-likelihood -13.250000 nats per row (+0.25), 1 M rows/s, about 0:00 left",
        "component 1 had only 1.5 effective rows in iteration 2: moved to the sample row of lowest density; "
        "fewer components may serve these data better",
        f"fit ended after 2 iterations at -13.250000 nats per row: {StopReason.TOLERANCE.value}",
        "writing the model",
    ]
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_live_view_fits_its_window(width):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    reporter = LiveReporter(console)
    reporter.expect(1e-3)
    reporter.step("fitting 8 components (full) to 273,280,000 rows of 30 features on a local cluster of 8 workers")
    reporter(PassStarted("hard statistics", 113, 70_000, 273_280_000))
    reporter(PassAdvanced("hard statistics", 113, 12_345, 70_000))
    reporter(IterationFinished(111, 1000, -12345.678901, 0.25, None, 273_280_000, 350.0))
    # What the next refresh would draw.
    lines = console.render_lines(reporter._view(), console.options, pad=False)
    text = ["".join(segment.text for segment in line).rstrip() for line in lines]
    assert len(text) == 4
    assert all(len(line) <= width for line in text)
    view = "\n".join(text)
    for words in (
        "iteration 111 of 1000",
        "pass 113: hard statistics",
        "12,345/70,000 chunks",
        "log-likelihood -12345.67890 nats/row",
        "781 k rows/s",
        "≤ 86:25:50 left",
    ):
        assert words in view


def test_the_live_view_shows_the_rounds_of_a_scan():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None, legacy_windows=False)
    reporter = LiveReporter(console)
    reporter.step("fitting 8 components")
    reporter(PassStarted("rounds", 3, 2, 100_000))
    reporter(RoundFinished(3, 150_000, 10_000, 4, 0, -7.25, False, 0.5))
    lines = console.render_lines(reporter._view(), console.options, pad=False)
    view = "\n".join("".join(segment.text for segment in line) for line in lines)
    assert "pass 3: rounds" in view
    assert "round 3: 150,000 rows so far, log-likelihood at least -7.250000 nats per row" in view


def test_the_live_view_keeps_a_line_for_each_step():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None, legacy_windows=False)
    with LiveReporter(console) as reporter:
        tell(reporter)
    kept = [line for line in screen.getvalue().splitlines() if "✓" in line]
    assert [line[line.index("✓") + 2 :].split()[0] for line in kept] == ["start:", "fit", "writing"]


def test_a_step_that_failed_gets_no_tick():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None, legacy_windows=False)
    reporter = LiveReporter(console)
    reporter.step("dividing")
    with pytest.raises(ZeroDivisionError), reporter:
        raise ZeroDivisionError
    assert "✓" not in screen.getvalue()


def test_the_form_follows_the_terminal():
    assert isinstance(default_reporter(Console(file=io.StringIO())), LogReporter)
    assert isinstance(default_reporter(Console(file=io.StringIO(), force_terminal=True)), LiveReporter)


@pytest.mark.parametrize("ratio", [0.3, 0.7, 0.95])
def test_the_iterations_left_are_right_for_linear_convergence(ratio):
    steps = [0.4 * ratio**i for i in range(400)]
    bounds = [sum(steps[:i]) for i in range(401)]
    at = 10
    gap = aitken_gap(tuple(bounds[: at + 1]))
    stops = next(i for i in range(at, 400) if steps[i - 1] < 1e-6)
    assert iterations_left(steps[at - 1], gap, 1e-6) == pytest.approx(stops - at, abs=1)


@pytest.mark.parametrize(
    ("change", "gap", "tol"), [(math.inf, None, 1e-3), (0.1, None, 1e-3), (0.1, 0.1, "auto"), (-0.1, 0.1, 1e-3)]
)
def test_what_cannot_be_told_is_none(change, gap, tol):
    assert iterations_left(change, gap, tol) is None
