"""Other ways to fit a mixture with little memory and few reads: the peers of one scan.

Rows are in the order of their arrival; parameters are in the user's units.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from dgmm.fitting.climb import Part
from dgmm.fitting.driving import run
from dgmm.fitting.problem import FitProblem
from dgmm.fitting.scanning import BFRSetup, Purpose
from dgmm.fitting.sets import maximise
from dgmm.fitting.start import ArrayPass, choose_start
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.families import CovarianceFamily
from dgmm.mixture.kernel import StatisticsMap, complete
from dgmm.mixture.moments import MomentsMap
from dgmm.mixture.parameters import MixtureParameters
from dgmm.mixture.sampling import RowSample
from dgmm.mixture.statistics import SufficientStatistics
from dgmm.mixture.summaries import Summaries, about_origin


def problem_of_rows(setup: BFRSetup, X: np.ndarray, sample_rows: int) -> FitProblem:
    """The problem of some rows, with a uniform sample of them."""
    moments = MomentsMap(setup.control.seed, sample_rows)(X, None, Chunk(0, 0, len(X)))
    return FitProblem.of(setup.family, setup.n_components, moments, setup.reg_covar, setup.dtype, setup.options)


def on_sample(sample: RowSample) -> ArrayPass:
    return ArrayPass(sample.rows, sample.weights)


def sample_em(setup: BFRSetup, X: np.ndarray, sample_rows: int, number: int = 0) -> MixtureParameters:
    """EM to convergence on a uniform sample of the rows, drawn in one read; its start is a fit's own.

    The ``number`` is that of the random numbers.
    """
    problem = problem_of_rows(setup, X, sample_rows)
    part = Part.of(problem, problem.sample, on_sample)
    random = setup.random(Purpose.START, number)
    # As of more rows than there are: EM on the sample is wanted.
    chosen = choose_start(problem, setup.start, len(X) + 1, on_sample, random, part)
    return problem.family.to_user(run(chosen, on_sample(problem.sample))[0], problem.coordinates)


def em_passes(setup: BFRSetup, X: np.ndarray, start: MixtureParameters) -> Iterator[MixtureParameters]:
    """The parameters after each EM pass over all the rows."""
    problem, every = problem_of_rows(setup, X, 1), ArrayPass(X, np.ones(len(X)))
    parameters = problem.family.to_inner(start, problem.coordinates)
    while True:
        compiled = problem.compile(parameters)
        statistics = complete(compiled, every(StatisticsMap(compiled)), problem.total_scatter)
        parameters = maximise(problem, statistics, parameters)
        yield problem.family.to_user(parameters, problem.coordinates)


@dataclass(frozen=True)
class Gaussians:
    """Weighted Gaussians: (m,), (m, d), (m, d, d)."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def joined(self, groups: np.ndarray, count: int) -> Gaussians:
        """The Gaussians with the moments of each group's."""
        member = (groups == np.arange(count)[:, None]) * self.weights
        weights = member.sum(axis=1)
        share = member / weights[:, None]
        means = share @ self.means
        raw = self.covariances + self.means[:, :, None] * self.means[:, None, :]
        covariances = np.tensordot(share, raw, 1) - means[:, :, None] * means[:, None, :]
        return Gaussians(weights, means, covariances)

    def divergence(self, others: Gaussians) -> np.ndarray:
        """Kullback and Leibler's, from each of these to each of the others, (m, K)."""
        d = self.means.shape[1]
        precisions = np.linalg.inv(others.covariances)
        offset = self.means[:, None] - others.means
        spread = np.tensordot(self.covariances, precisions, axes=((1, 2), (2, 1)))
        away = np.einsum("mki,kij,mkj->mk", offset, precisions, offset, optimize=True)
        log_dets = np.linalg.slogdet(others.covariances)[1] - np.linalg.slogdet(self.covariances)[1][:, None]
        return np.asarray(0.5 * (spread + away - d + log_dets))


def reduced(parts: Gaussians, k: int, starts: list[Gaussians], steps: int = 200) -> Gaussians:
    """The k Gaussians of the least composite transportation divergence that is found from some starts.

    Zhang and Chen (2022), "Distributed learning of finite Gaussian mixtures", Journal of Machine
    Learning Research 23, section 3: each Gaussian goes to the nearest of k, and each of those
    becomes the barycentre of its own, which by this divergence has their moments.
    """
    best, least = starts[0], np.inf
    for found in starts:
        groups = None
        for _ in range(steps):
            divergence = parts.divergence(found)
            before, groups = groups, divergence.argmin(axis=1)
            value = float(parts.weights @ divergence.min(axis=1))
            if before is not None and (groups == before).all():
                break
            lonely = np.setdiff1d(np.arange(k), groups)
            # One that is nearest to none takes the Gaussian that costs most.
            groups[np.argsort(-parts.weights * divergence.min(axis=1), kind="stable")[: len(lonely)]] = lonely
            found = parts.joined(groups, k)
        if value < least:
            best, least = found, value
    return best


def spread_starts(parts: Gaussians, k: int, count: int, rng: np.random.RandomState) -> list[Gaussians]:
    """Some starts of k Gaussians each, drawn as k-means++ draws centres, by divergence."""
    starts = []
    for _ in range(count):
        chosen = [rng.choice(len(parts.weights), p=parts.weights / parts.weights.sum())]
        nearest = np.full(len(parts.weights), np.inf)
        while len(chosen) < k:
            last = Gaussians(*(array[chosen[-1:]] for array in (parts.weights, parts.means, parts.covariances)))
            nearest = np.minimum(nearest, np.maximum(parts.divergence(last)[:, 0], 0.0))
            share = parts.weights * nearest
            chosen.append(rng.choice(len(share), p=share / share.sum()))
        starts.append(Gaussians(*(array[chosen] for array in (parts.weights, parts.means, parts.covariances))))
    return starts


def split_and_conquer(setup: BFRSetup, X: np.ndarray, part_rows: int) -> MixtureParameters:
    """A fit for each part of consecutive rows, and the reduction of all their components to K.

    Starts of the reduction are the components of five parts, and five that are spread.
    """
    k, d, rng = setup.n_components, X.shape[1], setup.random(Purpose.COMPRESSION)
    parts = np.array_split(X, -(-len(X) // part_rows))
    fits = [sample_em(setup, part, len(part), number) for number, part in enumerate(parts)]
    shares = [len(part) / len(X) * fit.weights for part, fit in zip(parts, fits, strict=True)]
    matrices = [setup.family.form.full(fit.covariances, d) for fit in fits]
    every = Gaussians(np.concatenate(shares), np.concatenate([fit.means for fit in fits]), np.concatenate(matrices))
    alive = every.weights > 0.0
    every = Gaussians(every.weights[alive], every.means[alive], every.covariances[alive])
    own = [Gaussians(np.full(k, 1.0 / k), fits[i].means, matrices[i]) for i in range(0, len(fits), -(-len(fits) // 5))]
    best = reduced(every, k, own + spread_starts(every, k, 5, rng))
    return setup.family.parameters(best.weights, best.means, best.covariances)


def stepwise_em(
    setup: BFRSetup, X: np.ndarray, start: MixtureParameters, start_rows: int, alpha: float, batch_rows: int
) -> tuple[MixtureParameters, MixtureParameters]:
    """Stepwise EM over all the rows after those that the start was made on; also the mean of its second half.

    Cappé and Moulines (2009), "On-line expectation-maximization algorithm for latent data models",
    Journal of the Royal Statistical Society B 71, with averaging from half way on (section 2.4), in
    minibatches after Liang and Klein (2009), "Online EM for unsupervised models", NAACL: the
    statistics move by ``(t + 2)**-alpha`` of the way to those of minibatch t.
    """
    problem = problem_of_rows(setup, X[:start_rows], 1)
    family = problem.family
    parameters = family.to_inner(start, problem.coordinates)
    every = _mean_statistics(problem, parameters, X[:start_rows])
    firsts = range(start_rows, len(X), batch_rows)
    average, count = _Average(family), 0
    for t, first in enumerate(firsts):
        own = _mean_statistics(problem, parameters, X[first : first + batch_rows])
        step = (t + 2.0) ** -alpha
        every = every.scaled(1.0 - step).plus(own, step)
        parameters = maximise(problem, every.as_statistics(), parameters)
        if 2 * t >= len(firsts):
            average.add(parameters)
            count += 1
    mean = average.result() if count else parameters
    return family.to_user(parameters, problem.coordinates), family.to_user(mean, problem.coordinates)


def _mean_statistics(problem: FitProblem, parameters: MixtureParameters, rows: np.ndarray) -> Summaries:
    compiled = problem.compile(parameters, whole_density=True)
    statistics: SufficientStatistics = StatisticsMap(compiled)(rows, None, Chunk(0, 0, len(rows)))
    return Summaries.of_statistics(about_origin(statistics, problem.family.form), problem.family).scaled(
        problem.total_weight / len(rows)
    )


class _Average:
    """The mean of parameters."""

    def __init__(self, family: CovarianceFamily) -> None:
        self._family, self._count = family, 0
        self._sums: list[np.ndarray] = []

    def add(self, parameters: MixtureParameters) -> None:
        own = [parameters.weights, parameters.means, parameters.covariances]
        self._sums = [a + b for a, b in zip(self._sums, own, strict=True)] if self._count else own
        self._count += 1

    def result(self) -> MixtureParameters:
        return self._family.parameters(*(part / self._count for part in self._sums))
