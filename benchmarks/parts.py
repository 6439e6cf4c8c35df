"""Where does the time of the compiled kernel go?

Each part is repeated on one block of rows that stays in the cache, as it does in the kernel, which
does them one after the other: rows from memory into columns, into inner coordinates, the feature
map, ``A phi``, the softmax, ``R phi'``. Feature maps that are too long to be kept (d = 32 and more)
are made in slabs within the products, so they cannot be told apart here.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.kernel import SHAPES, Case
from benchmarks.machine import Table, arguments, interleaved, introduce, one_thread
from dgmm.mixture import native, program
from dgmm.mixture.kernel import BlockKernel


@njit(nogil=True)
def _centre(times: int, X: Any, shift: Any, out: Any) -> None:
    for _ in range(times):
        native.centre(X, native.ZERO, len(X), len(X), shift, out)


@njit(nogil=True)
def _multiply(times: int, a: Any, k: int, p: int, triangular: bool, b: Any, n: int, c: Any) -> None:
    for _ in range(times):
        native.multiply(a, k, p, native.ZERO, p, triangular, b, native.ZERO, n, c, native.ZERO)


@njit(nogil=True)
def _quadratic(times: int, kind: int, d: int, count: int, n: int, phi: Any) -> None:
    for _ in range(times):
        native.quadratic(kind, d, native.ZERO, count, native.ZERO, n, phi)


@njit(nogil=True)
def _divide_up(times: int, logits: Any, k: int, n: int, w: Any, total: Any) -> None:
    for _ in range(times):
        native.divide_up(logits, k, n, w, total)


@njit(nogil=True)
def _accumulate(times: int, r: Any, k: int, phi: Any, p: int, n: int, t: Any) -> None:
    for _ in range(times):
        native.accumulate(r, native.ZERO, k, phi, native.ZERO, p, n, t, native.ZERO, p + native.PADDING)


PARTS = ("columns", "whiten", "phi", "logits", "softmax", "sums")


def time_parts(case: Case, times: int, repeats: int) -> dict[str, float]:
    """Nanoseconds a row of each part, and of the whole kernel."""
    compiled = case.compiled()
    natural = compiled.groups[0].natural  # type: ignore[union-attr]
    (k, p), d = natural.shape, case.X.shape[1]
    lanes = 64 // natural.itemsize
    n, rows = native.BLOCK // lanes, case.X[: native.BLOCK]
    # BLOCK is a multiple of 8 and the rows are full blocks, so that nothing is left out.
    rng = np.random.default_rng(0)

    def room(count: int, dtype: Any = natural.dtype) -> Any:
        space = program.rows_of_block(count, np.dtype(dtype).name)
        space[:] = -rng.random(len(space))
        return space

    z, work, w, phi, logits = room(d, float), room(d, float), room(1, float), room(p + native.PADDING), room(k)
    inverse = compiled.coordinates.inverse_scale
    kind = native.NO_PRODUCTS if p == 1 + d else program.KINDS[type(compiled.family.form)]
    tasks = {
        "columns": partial(_centre, times, rows, compiled.coordinates.shift, work),
        "phi": partial(_quadratic, times, kind, d, p - 1 - d, n, phi),
        "logits": partial(_multiply, times, program.pack(natural), k, p, False, phi, n, logits),
        "softmax": partial(_divide_up, times, logits, k, n, w, np.zeros(8)),
        "sums": partial(_accumulate, times, logits, k, phi, p, n, np.zeros(k * (p + native.PADDING))),
    }
    if inverse.ndim == 2:
        tasks["whiten"] = partial(_multiply, times, program.pack(inverse), d, d, True, work, native.BLOCK // 8, z)
    for task in tasks.values():
        task()
    whole = partial(BlockKernel(compiled).statistics, case.X)
    seconds = interleaved(tasks | {"all": whole}, repeats)
    spent = {name: 1e9 * value / times / len(rows) for name, value in seconds.items()}
    return {"whiten": 0.0} | spent | {"all": 1e9 * seconds["all"] / len(case.X)}


def main(argv: Sequence[str] | None = None) -> None:
    """Print the parts of an iteration in each shape with a feature map that is kept."""
    options = arguments(__doc__, argv, ("--float32", "float32 rows instead of float64"))
    introduce(options)
    warnings.simplefilter("ignore")
    dtype = np.float32 if options.float32 else np.float64
    table = Table(
        f"where the time of the compiled kernel goes, {np.dtype(dtype).name}: nanoseconds a row",
        {
            "family": "<9s",
            "d": "3d",
            "K": "2d",
            "p": "4d",
            **dict.fromkeys(PARTS, "7.1f"),
            "sum": "6.1f",
            "all": "6.1f",
        },
    )
    with one_thread():
        for name, d, k in SHAPES:
            case = Case.make(name, d, k, dtype, quick=options.quick)
            if case.p > native.LONGEST:
                continue
            spent = time_parts(case, 3 if options.quick else 1000, 1 if options.quick else 5)
            parts = [spent[part] for part in PARTS]
            table.row(name, d, k, case.p, *parts, sum(parts), spent["all"])


if __name__ == "__main__":
    main()
