"""EM in memory, extrapolated: it only goes up, and ends where EM would in the end."""

import numpy as np
import pytest
from cases import families
from problems import at_rows, blobs, make_problem

from dgmm.fitting.climb import Climb, Part, converge
from dgmm.fitting.driving import run
from dgmm.fitting.em import FitState, em
from dgmm.fitting.problem import Control
from dgmm.fitting.start import ArrayPass
from dgmm.mixture.calibration import Calibration
from dgmm.mixture.families import get_family

ALIVE = np.zeros(3, dtype=bool)


class Counted:
    """Makes runners over a sample, and counts what they run."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, sample):
        run_pass = ArrayPass(sample.rows, sample.weights)

        def counted(chunk_map):
            self.count += 1
            return run_pass(chunk_map)

        return counted


def climber(family, X):
    problem, run_pass = make_problem(family, 3, X, reg_covar=1e-6)
    counted = Counted()
    return problem, run_pass, Part.of(problem, problem.sample, counted), counted


@families
def test_it_ends_where_em_ends(family) -> None:
    X = blobs(500, 2, 3, seed=1, spread=1.5)
    problem, run_pass, part, counted = climber(family, X)
    start = run(em(problem, Control(0.0, 20), FitState.start(at_rows(problem, X, [0, 1, 2]))), run_pass)
    plain = run(em(problem, Control(1e-10, 5000), FitState.start(start.parameters)), run_pass)
    found, n_steps = converge(part, start.parameters, ALIVE, 400)
    reached = part.statistics(found).mean_log_likelihood
    assert reached > plain.lower_bounds[-1] - 0.01 * problem.sampling_error
    assert n_steps <= 400
    # One for where it starts, one to look at the result.
    assert counted.count <= n_steps + 2


@families
def test_every_step_goes_up(family) -> None:
    X = blobs(300, 2, 4, seed=3, spread=1.5)
    problem, _, part, _ = climber(family, X)
    at = at_rows(problem, X, [0, 1, 2])
    own = part.estimate(part.statistics(at), at, ALIVE)
    assert own is not None
    climb = Climb(part, Calibration(family, own, own), at, ALIVE)
    values = [climb.value]
    while climb.n_steps < 60:
        assert climb.advance(climb.n_steps + 1)
        values.append(climb.value)
    assert (np.diff(values) >= -1e-12).all()


def test_it_leaves_a_saddle_faster_than_em() -> None:
    """Two components at one place are a saddle, which a fixed-point method would rather stay at."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 2)) + np.repeat([[-1.3, 0.0], [1.3, 0.0]], 300, axis=0)
    problem, run_pass, part, _ = climber(get_family("full"), X)
    start = at_rows(problem, X, [0, 1, 2])
    means = np.zeros((3, 2))
    means[:, 0] = [-1e-3, 0.0, 1e-3]
    near = problem.family.parameters(start.weights, means, start.covariances)
    plain = run(em(problem, Control(0.0, 60), FitState.start(near)), run_pass).lower_bounds[-1]
    found, n_steps = converge(part, near, ALIVE, 60)
    assert n_steps <= 60 + 1
    assert part.statistics(found).mean_log_likelihood > plain


def test_too_few_rows_end_it() -> None:
    X = blobs(200, 2, 3, seed=0)
    problem, _, part, _ = climber(get_family("full"), X)
    at = at_rows(problem, X, [0, 1, 2])
    means = at.means.copy()
    means[2] = -80.0
    lost = problem.family.parameters(at.weights, means, at.covariances)
    found, n_steps = converge(part, lost, ALIVE, 50)
    assert found is lost
    assert n_steps == 1


@pytest.mark.parametrize("most", [1, 7, 33])
def test_its_steps_are_bounded(most) -> None:
    X = blobs(200, 2, 4, seed=0, spread=1.0)
    problem, _, part, counted = climber(get_family("full"), X)
    _, n_steps = converge(part, at_rows(problem, X, [0, 1, 2]), ALIVE, most)
    assert n_steps <= most + 1
    assert counted.count <= n_steps + 1
