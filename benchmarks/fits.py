"""Fits by the public interface from a given start, and how long their iterations take."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dask
import numpy as np

import dgmm
from benchmarks.kernel import Case
from dgmm.fitting.events import Callback, Event, IterationFinished

FROM_STORE: dict[str, Any] = {"execution": dgmm.Execution(persist=False)}
"""Arguments of a fit that reads its rows anew in every pass, also if they would fit in memory."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """The threaded scheduler with so many threads."""
    with dask.config.set(scheduler="threads", num_workers=count):
        yield


@dataclass(frozen=True)
class Fit:
    """A fit from the parameters of a case.

    Attributes
    ----------
    case : Case
    X : array-like or dask array, (n, d)
    arguments : dict
        Further arguments of ``fit``.
    """

    case: Case
    X: Any
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def run(self, iterations: int = 1, *callbacks: Callback) -> tuple[dgmm.GaussianMixture, float]:
        """Fit; return the model and the wall seconds of the fastest iteration (pass and M-step)."""
        start, seconds = self.case.parameters, []

        def listen(event: Event) -> None:
            if isinstance(event, IterationFinished):
                seconds.append(event.seconds)

        covariances = start.covariances
        full = covariances.ndim == 3
        model = dgmm.GaussianMixture(
            start.n_components,
            covariance_type=self.case.family_name,
            accelerate=None,
            weights_init=start.weights,
            means_init=start.means,
            precisions_init=np.linalg.inv(covariances) if full else 1.0 / covariances,
            max_iter=iterations,
            tol=0.0,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it does not converge in so few iterations
            model.fit(self.X, callbacks=[listen, *callbacks], **self.arguments)
        return model, min(seconds)


def least(functions: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """The least of the seconds that each function measures itself, taken in turns."""
    seconds = dict.fromkeys(functions, np.inf)
    for _ in range(repeats):
        for name, function in functions.items():
            seconds[name] = min(seconds[name], function())
    return seconds


def wall(function: Callable[[], object]) -> Callable[[], float]:
    """The function's wall seconds."""

    def timed() -> float:
        began = time.perf_counter()
        function()
        return time.perf_counter() - began

    return timed
