"""How the candidates of a selection are run: together, in passes that they share, and kept on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.estimators._keeping import Keeper, fingerprint_of
from dgmm.fitting.driving import Journal, Progress, run
from dgmm.fitting.progress import FitProgress, RandomNumbers, SelectionProgress
from dgmm.fitting.selection import Candidate, CandidateEvent, Outcomes, fit_candidates
from dgmm.mixture.held_out import HeldOut
from dgmm.passes.blas import single_threaded_blas

if TYPE_CHECKING:
    from dgmm.estimators._fitting import FitSetup
    from dgmm.estimators._selection_table import Key
    from dgmm.estimators.gaussian_mixture import GaussianMixture
    from dgmm.fitting.events import Event
    from dgmm.fitting.ranking import Criterion


@dataclass(frozen=True)
class How:
    """What rules a selection besides its candidates."""

    criterion: Criterion
    share: float | None
    screen: bool
    seed: int

    def fingerprint(self, models: Mapping[Key, GaussianMixture], setups: Mapping[Key, FitSetup]) -> dict[str, Any]:
        """What the selection is known by."""
        key, leader = leader_of(setups)
        found = fingerprint_of(models[key], leader.rows, leader.start, leader.plan)
        parameters = {n: v for n, v in found["parameters"].items() if n not in ("n_components", "covariance_type")}
        return found | {
            "estimator": "select",
            "parameters": parameters,
            "candidates": [f"{name} {k}" for name, k in models],
            "selection": {"criterion": self.criterion.name, "held_out": self.share, "screen": self.screen},
        }


def leader_of(setups: Mapping[Key, FitSetup]) -> tuple[Key, FitSetup]:
    """The candidate by whose plan the rows are cut."""
    return min(setups.items(), key=lambda item: item[1].plan.chunk_rows)


def run_selection(
    setups: Mapping[Key, FitSetup], how: How, emit: Callable[[Event], bool], n_reads: int, keeper: Keeper | None
) -> tuple[Outcomes, int, int]:
    """Fit all after ``n_reads``; also return the reads until the end, and the rows of the pieces they were made in."""
    sample_rows = max(setup.sample_rows for setup in setups.values())
    each = {key: replace(setup, sample_rows=sample_rows) for key, setup in setups.items()}
    _, leader = leader_of(each)
    run_pass = leader.runner(emit, [setup for setup in each.values() if setup is not leader])
    rng = np.random.RandomState(how.seed)  # as a fit alone has it
    first = leader.first_read(int(rng.randint(2**31 - 1)), known_again=keeper is not None)
    numbers = RandomNumbers.of(rng)
    # Of a seed of its own: the rows that are set aside have nothing to do with the sample.
    held_out = None
    if how.share is not None:
        held_out = HeldOut(int(np.random.RandomState([how.seed, 1]).randint(2**31 - 1)), how.share)

    def candidate(key: Key, setup: FitSetup) -> Candidate:
        def tell(event: Event) -> bool:
            return emit(CandidateEvent(*key, event))

        return Candidate(
            setup.family,
            setup.n_components,
            setup.problem,
            lambda begun, announce: setup.algorithm(begun, numbers.restore(), run_pass, tell)(announce),
        )

    candidates = [candidate(key, setup) for key, setup in each.items()]
    fresh = Progress(SelectionProgress(FitProgress(first, numbers)))
    with single_threaded_blas(), closing(run_pass), keeper or nullcontext():
        journal = Journal(fresh if keeper is None else keeper.begin(fresh), keeper.keep if keeper else _forget)
        begun: SelectionProgress = journal.progress.state
        if keeper is not None:
            leader.check_rows(begun.begun, run_pass, keeper.place)
        run_pass.n_passes = n_reads + begun.n_reads
        algorithm = fit_candidates(
            candidates,
            begun,
            held_out,
            how.criterion if how.screen else None,
            leader.run_on_sample,
            journal.announce,
        )
        outcomes = run(algorithm, run_pass)
        if keeper is not None:
            keeper.finish(journal.progress)
        return outcomes, run_pass.n_passes, leader.plan.chunk_rows


def _forget(progress: Progress) -> None:
    """Keep nothing."""
