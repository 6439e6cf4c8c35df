"""Chunk maps that record how a pass treats them; importable in worker processes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, fields
from pathlib import Path

from threadpoolctl import threadpool_info

from dgmm.errors import DataError
from dgmm.mixture.compiled import CompiledMixture


@dataclass(frozen=True)
class Text:
    """A record whose merge is not commutative."""

    text: str

    def merge(self, other):
        return Text(self.text + other.text)


@dataclass(frozen=True)
class SpellingMap:
    """Each chunk says who it is."""

    name = "spelling"

    def __call__(self, X, weights, chunk):
        total = "" if weights is None else f"*{weights.sum():g}"
        return Text(f"[{chunk.index}:{chunk.first_row}+{chunk.n_rows}={X.sum():g}{total}]")


@dataclass(frozen=True)
class BlasMap:
    """Each chunk says how many threads each BLAS in its process may use."""

    name = "blas"

    def __call__(self, X, weights, chunk):
        return Text(f"{max(blas_threads())}")


@dataclass(frozen=True)
class FailingMap:
    """The chunk of this number raises."""

    index: int

    name = "failing"

    def __call__(self, X, weights, chunk):
        if chunk.index == self.index:
            raise DataError(f"chunk {chunk.index} is bad")
        return Text("")


@dataclass(frozen=True)
class TravellingMap:
    """Leaves a line with the process's id in a file whenever it arrives somewhere."""

    log: str
    payload: bytes = b""

    name = "travelling"

    def __call__(self, X, weights, chunk):
        time.sleep(0.01)  # long enough for every worker to get some
        return Text(f"{os.getpid()} ")

    def __setstate__(self, state):
        self.__dict__.update(state)
        note_arrival(self.log)


class TravellingMixture(CompiledMixture):
    """A compiled mixture that does the same."""

    @classmethod
    def of(cls, compiled, log):
        mixture = cls(**{field.name: getattr(compiled, field.name) for field in fields(compiled)})
        object.__setattr__(mixture, "log", log)
        return mixture

    def __setstate__(self, state):
        self.__dict__.update(state)
        note_arrival(self.log)


def note_arrival(log):
    with Path(log).open("a") as file:
        file.write(f"{os.getpid()}\n")


def arrivals(log):
    """Arrivals for each process id."""
    counts: dict[int, int] = {}
    if Path(log).exists():
        for line in Path(log).read_text().split():
            counts[int(line)] = counts.get(int(line), 0) + 1
    return counts


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
