"""Who is told the events of a fit: callbacks, and what ``verbose`` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from dgmm.errors import ParameterError
from dgmm.fitting.events import (
    Callback,
    ComponentStarved,
    Event,
    FitFinished,
    FitResumed,
    IterationFinished,
    RoundFinished,
    StartChosen,
    ValuesMissing,
)


@dataclass(frozen=True)
class VerbosePrinter:
    """A callback that prints to standard output, as scikit-learn's ``verbose`` does.

    Attributes
    ----------
    level : int
        1: the iterations; 2: also the change and the seconds of each.
    interval : int
        Iterations between prints.
    """

    level: int
    interval: int

    def __call__(self, event: Event) -> None:
        match event:
            case FitResumed():
                print(f"Going on from {event.checkpoint} ({event.n_reads} reads, {event.n_iter} iterations)")
            case ValuesMissing():
                left = f"{event.n_dropped} rows left out, {event.n_incomplete} fitted by what is there"
                print(f"Missing values: {event.n_missing} ({left})")
            case StartChosen():
                print(f"Initialization ({event.init_params}, {event.sample_rows} sampled rows, {event.seconds:.2f} s)")
            case IterationFinished() if event.iteration % self.interval == 0:
                line = f"  Iteration {event.iteration}"
                if self.level >= 2:
                    line += (
                        f"\t mean log-likelihood {event.lower_bound:.6f}"
                        f"\t change {event.change:.3g}\t {event.seconds:.3f} s"
                    )
                print(line)
            case RoundFinished() if event.round % self.interval == 0:
                bound = "" if event.lower_bound is None else f", lower bound {event.lower_bound:.6f}"
                print(f"  Round {event.round}: {event.n_rows} rows so far{bound}")
            case ComponentStarved():
                print(f"  Component {event.component} starved ({event.effective_rows:.3g} effective rows)")
            case FitFinished():
                print(f"{event.n_iter} iterations, mean log-likelihood {event.lower_bound:.6f}: {event}")


Callbacks: TypeAlias = Iterable[Callback] | Callback


def emitter(callbacks: Callbacks, verbose: int, interval: int) -> Callable[[Event], bool]:
    """Make one function of the callbacks of a fit: it tells all of them, and whether any asks to stop.

    Raises
    ------
    ParameterError
        If one is no callable. What a callback raises ends the fit as it is.
    """
    given = [callbacks] if callable(callbacks) or not isinstance(callbacks, Iterable) else callbacks
    told: list[Callback] = list(given)
    for callback in told:
        if not callable(callback):
            raise ParameterError(
                f"callbacks holds {callback!r}; it must be a callable that takes an event, or several of them"
            )
    if verbose:
        told.append(VerbosePrinter(verbose, interval))

    def emit(event: Event) -> bool:
        # Every callback is told, whatever the ones before it answered.
        answers = [callback(event) for callback in told]
        return any(answer is True for answer in answers)

    return emit
