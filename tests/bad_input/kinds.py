"""What a kind of bad input is: a door, what is given there, and the refusal that is promised.

A table is a list of :class:`Kind`; ``test_refusals.py`` holds dgmm to all of them.
"""

from __future__ import annotations

import contextlib
import copy
import io
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from reference import make_blobs

from dgmm import BFRGaussianMixture, BFRKMeans, EigenMoments, Execution, GaussianMixture
from dgmm.cli import main
from dgmm.jobs.loading import load_cluster, parse_job
from dgmm.jobs.specification import RUNS
from dgmm.storage.checkpoint import Checkpoint

N, D, K, CHUNK = 60, 3, 2, 20


@dataclass
class Given:
    """What goes through a door."""

    X: Any = None
    weights: Any = None
    parameters: dict[str, Any] = field(default_factory=dict)
    """Of the estimator, set on one that is fitted already."""
    options: dict[str, Any] = field(default_factory=dict)
    """Other arguments of the method."""
    arguments: list[str] = field(default_factory=list)
    """Of a command."""
    text: str = ""
    """Of a file."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """Of the fitted model, set by hand."""


@dataclass(frozen=True)
class Kind:
    """A kind of bad input.

    Attributes
    ----------
    door : str
        One of ``DOORS``.
    name : str
        What is given, in words.
    make : callable
        Makes it, given a :class:`Shelf` whose folder it may write to; returns a :class:`Given`.
    refusal : type or int
        The class of the error, or the exit code of the command.
    what, where, to_do : str
        Regular expressions that the message must match.
    """

    door: str
    name: str
    make: Callable[[Shelf], Given]
    refusal: type[Exception] | int
    what: str
    where: str
    to_do: str

    def __str__(self) -> str:
        return f"{self.door}-{self.name}"


class Shelf:
    """A folder with good rows and a good model, and what was made of them."""

    def __init__(self, folder: Path, fitted: GaussianMixture) -> None:
        self.folder = folder
        self._fitted = fitted
        self._made: list[tuple[GaussianMixture, dict[str, Any]]] = []

    def mixture(self, given: Given) -> GaussianMixture:
        """A fitted mixture with other parameters or attributes, whose state is remembered."""
        mixture = copy.deepcopy(self._fitted)
        for name, value in (given.parameters | given.attributes).items():
            setattr(mixture, name, value)
        self._made.append((mixture, dict(vars(mixture))))
        return mixture

    def assert_untouched(self) -> None:
        for mixture, before in self._made:
            assert vars(mixture).keys() == before.keys()
            changed = [name for name, value in vars(mixture).items() if value is not before[name]]
            assert not changed

    def tree(self) -> dict[str, bytes | None]:
        """All files of the folder with what is in them, and all folders, but the records of runs."""
        paths = sorted(path for path in self.folder.rglob("*") if self.folder / RUNS not in (path, *path.parents))
        return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


def blobs() -> np.ndarray:
    return make_blobs(N, D, K, seed=1, spread=6.0)


def spoilt(value: Any, row: int = 47, feature: int = 2) -> np.ndarray:
    X = blobs()
    X[row, feature] = value
    return X


def lazy(X: Any, chunk_rows: int = CHUNK) -> da.Array:
    return da.from_array(X, chunks=(chunk_rows, *X.shape[1:]))


def unknown(X: Any, chunk_rows: int = CHUNK) -> da.Array:
    """Rows in chunks of unknown length."""
    return lazy(X, chunk_rows)[da.ones(len(X), chunks=chunk_rows, dtype=bool)]


def computed(result: Any) -> Any:
    return result.compute() if isinstance(result, da.Array) else result


def _command(name: str) -> Callable[[Shelf, Given], tuple[int, str]]:
    def act(shelf: Shelf, given: Given) -> tuple[int, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*name.split()[1:], *given.arguments])
        return code, " ".join((out.getvalue() + err.getvalue()).replace("│", " ").split())

    return act


def _each_row(method: str) -> Callable[[Shelf, Given], Any]:
    return lambda shelf, given: computed(getattr(shelf.mixture(given), method)(given.X))


def _of_all(method: str) -> Callable[[Shelf, Given], Any]:
    return lambda shelf, given: getattr(shelf.mixture(given), method)(given.X, sample_weight=given.weights)


DOORS: dict[str, Callable[[Shelf, Given], Any]] = {
    "fit": lambda shelf, given: shelf.mixture(given).fit(given.X, sample_weight=given.weights, **given.options),
    "scan": lambda shelf, given: BFRGaussianMixture(2, **given.parameters).fit(given.X, sample_weight=given.weights),
    "clusters": lambda shelf, given: BFRKMeans(**{"n_clusters": 2} | given.parameters).fit(
        given.X, sample_weight=given.weights
    ),
    "fit_predict": lambda shelf, given: shelf.mixture(given).fit_predict(given.X, sample_weight=given.weights),
    **{name: _each_row(name) for name in ("predict", "predict_proba", "score_samples")},
    **{name: _of_all(name) for name in ("score", "aic", "bic", "icl")},
    "sample": lambda shelf, given: shelf.mixture(given).sample(**given.options),
    "set_params": lambda shelf, given: shelf.mixture(given).set_params(**given.options),
    "save": lambda shelf, given: shelf.mixture(given).save(**given.options),
    "load": lambda shelf, given: GaussianMixture.load(**given.options),
    "load features": lambda shelf, given: EigenMoments.load(**given.options),
    "unfitted": lambda shelf, given: getattr(GaussianMixture(), given.text)(**given.options),
    "Execution": lambda shelf, given: Execution(**given.options),
    "Checkpoint": lambda shelf, given: Checkpoint(**given.options),
    "job file": lambda shelf, given: parse_job(given.text, "job.yaml", shelf.folder),
    "cluster file": lambda shelf, given: load_cluster(shelf.folder / "cluster.yaml"),
    **{name: _command(name) for name in ("dgmm", "dgmm run", "dgmm fit", "dgmm predict", "dgmm inspect")},
}


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise AssertionError in the body if it takes longer: nothing may hang."""

    def stop(number: int, frame: Any) -> None:
        raise AssertionError(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
