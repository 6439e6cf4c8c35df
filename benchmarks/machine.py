"""What this machine can do at most, measured in the same run, and what the benchmarks share.

Run alone, it prints the limits.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401  (its BLAS must be loaded before it is limited)
from threadpoolctl import threadpool_info, threadpool_limits

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from dgmm import __version__


def arguments(
    description: str | None,
    argv: Sequence[str] | None = None,
    *flags: tuple[str, str],
    values: Mapping[str, tuple[Any, str]] | None = None,
) -> argparse.Namespace:
    """Parse ``--quick``, further flags (flag, help), and options with a value (option: (default, help))."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: the form that the tests run")
    for flag, text in flags:
        parser.add_argument(flag, action="store_true", help=text)
    for option, (default, text) in (values or {}).items():
        parser.add_argument(option, type=type(default), default=default, help=f"{text} ({default})")
    options = parser.parse_args(argv)
    given = {name: value for name, value in vars(options).items() if value != parser.get_default(name)}
    words = ((f"--{name.replace('_', '-')}", "" if value is True else str(value)) for name, value in given.items())
    options.command_line = [word for pair in words for word in pair if word]
    return options


def one_thread() -> AbstractContextManager[Any]:
    """Hold BLAS and OpenMP at one thread."""
    return threadpool_limits(1)


def best(function: Callable[[], object], repeats: int = 3, clock: Callable[[], float] = time.thread_time) -> float:
    """CPU seconds, by default of this thread, of the fastest of some calls."""
    return interleaved({"": function}, repeats, clock)[""]


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    repeats: int = 3,
    clock: Callable[[], float] = time.thread_time,
) -> dict[str, float]:
    """Seconds of the fastest call of each function, taken in turns so that all meet the same load.

    By default the CPU seconds of this thread, which other programs hardly change: for work on one
    thread, in memory.
    """
    seconds = dict.fromkeys(functions, np.inf)
    for _ in range(repeats):
        for name, function in functions.items():
            began = clock()
            function()
            seconds[name] = min(seconds[name], clock() - began)
    return seconds


@dataclass(frozen=True)
class Limits:
    """The machine's limits, one thread.

    Attributes
    ----------
    dgemm, sgemm : float
        GFLOP/s of a square product.
    exp : float
        Exponentials (float64, in the cache) in 1e9 a second.
    read : float
        Memory read, in GB/s.
    """

    dgemm: float
    sgemm: float
    exp: float
    read: float

    @classmethod
    def measure(cls, *, quick: bool = False) -> Limits:
        """Measure them; half a second, or less if ``quick``."""
        size, repeats = (512, 3) if quick else (1536, 5)
        rng = np.random.default_rng(0)
        square = rng.normal(size=(size, size))
        single = square.astype(np.float32)
        negative = -10.0 * rng.random(8192)
        out, product, single_product = np.empty_like(negative), np.empty_like(square), np.empty_like(single)
        memory = np.zeros(2**21 if quick else 2**25)

        def exponentials() -> None:
            for _ in range(100):
                np.exp(negative, out=out)

        with one_thread():
            seconds = interleaved(
                {
                    "dgemm": lambda: np.matmul(square, square, out=product),
                    "sgemm": lambda: np.matmul(single, single, out=single_product),
                    "exp": exponentials,
                    "read": lambda: memory.max(),
                },
                repeats,
            )
        flops = 2.0 * size**3
        return cls(
            flops / seconds["dgemm"] / 1e9,
            flops / seconds["sgemm"] / 1e9,
            100 * len(negative) / seconds["exp"] / 1e9,
            memory.nbytes / seconds["read"] / 1e9,
        )

    def __str__(self) -> str:
        return (
            f"limits, one thread: dgemm {self.dgemm:.0f} GFLOP/s, sgemm {self.sgemm:.0f} GFLOP/s, "
            f"exp {self.exp:.2f}e9/s, read {self.read:.0f} GB/s"
        )


def introduce(options: argparse.Namespace) -> Limits:
    """Print the command line, the versions and the limits."""
    print("$", " ".join(["python", f"benchmarks/{Path(sys.argv[0]).stem}.py", *options.command_line]))
    blas = next((pool for pool in threadpool_info() if "numpy" in pool["filepath"]), {})
    packages = ("numpy", "scikit-learn", "dask", "distributed")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"Python {sys.version_info.major}.{sys.version_info.minor}, dgmm {__version__}, {versions}")
    limits = Limits.measure(quick=options.quick)
    print(f"BLAS: {blas.get('internal_api')} {blas.get('version')} {blas.get('architecture', '')}")
    print(limits, flush=True)
    return limits


class Table:
    """A table of aligned columns, printed row by row.

    Parameters
    ----------
    title : str
    columns : dict of str to str
        Heading of each column, and the format specification of its values, with a width.
    """

    def __init__(self, title: str, columns: Mapping[str, str]) -> None:
        self._columns = [(spec, max(len(name), len(_formatted(spec, 0)))) for name, spec in columns.items()]
        print(f"\n{title}")
        print("  ".join(self._aligned(name, *column) for name, column in zip(columns, self._columns, strict=True)))

    def row(self, *values: Any) -> None:
        """Print one row; None leaves its column empty."""
        cells = []
        for value, column in zip(values, self._columns, strict=True):
            text = "-" if value is None else _formatted(column[0], value)
            cells.append(self._aligned(text, *column))
        print("  ".join(cells).rstrip(), flush=True)

    @staticmethod
    def _aligned(text: str, spec: str, width: int) -> str:
        return text.ljust(width) if spec.startswith("<") else text.rjust(width)


def _formatted(spec: str, value: Any) -> str:
    return format(str(value) if spec.startswith("<") else value, spec)


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive numbers."""
    return float(np.exp(np.mean(np.log(values))))


def main(argv: Sequence[str] | None = None) -> None:
    """Print the limits."""
    introduce(arguments(__doc__, argv))


if __name__ == "__main__":
    main()
