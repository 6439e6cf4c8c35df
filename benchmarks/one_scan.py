"""Where does one scan earn its place, beside other ways with as much memory?

All hold as many rows as a scan does, beside those that are being read: its sample and its buffer. Figures are mean
log-likelihoods per held-out row, in nats: that of the scan, and by how much the others exceed it.

``sample``: EM to convergence on so many rows drawn in one read; ``+1``, ``+2``: and as many EM passes, each
one more read. ``split``: a fit for each part of so many consecutive rows, then reduction (one read). ``mean``
and ``step``: stepwise EM over minibatches of 1,000 rows from the scan's own start (one read), with steps
(t + 2)^-0.6 and the mean of the second half's parameters, and with steps (t + 2)^-0.7. ``alone``: the scan
without its sample.

Orders of the rows: at random; sorted by cluster; drifting: the centres move by four standard deviations from
the first row to the last, and held-out rows are of the whole stream; a scene: the pixels of a picture line by
line, their colours and the slopes of their brightness, each colour with uniform noise of one step of its scale.
"""

from __future__ import annotations

import itertools
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.bfr import CASES, HELD_OUT, QUICK_CASES, Case, parameters_of, scan, setup_of
from benchmarks.competitors import em_passes, problem_of_rows, sample_em, split_and_conquer, stepwise_em
from benchmarks.machine import Table, arguments, introduce, one_thread
from dgmm.fitting.scanning import BFRControl, BFRSetup, BFRState
from dgmm.mixture.kernel import BlockKernel
from dgmm.mixture.parameters import MixtureParameters
from dgmm.viz import read_picture

# What each group of methods is printed as.
COLUMNS = {
    "sample": ("sample", "+1", "+2"),
    "split": ("split",),
    "step": ("mean", "step"),
    "alone": ("alone",),
}
MINIBATCH = 1_000


def pixels_of(path: str, seed: int) -> np.ndarray:
    """Rows of a picture line by line: red, green, blue, and how brightness changes down and across."""
    colours = read_picture(path).pixels.astype(np.float64)
    colours += np.random.default_rng(seed).uniform(-0.5, 0.5, size=colours.shape)
    slopes = np.gradient(colours.mean(axis=2))
    return np.concatenate([colours, np.stack(slopes, axis=2)], axis=2).reshape(-1, 5)


def score(setup: BFRSetup, parameters: MixtureParameters, rows: np.ndarray) -> float:
    """Mean log-likelihood of rows."""
    problem = problem_of_rows(setup, rows, 1)
    inner = problem.family.to_inner(parameters, problem.coordinates)
    return float(BlockKernel(problem.compile(inner, whole_density=True)).score_samples(rows).mean())


def user_parameters(setup: BFRSetup, state: BFRState) -> MixtureParameters:
    """Those of a scan, in the units of the rows."""
    if state.coordinates is None:
        raise AssertionError("the scan has not begun")
    return setup.family.to_user(parameters_of(state), state.coordinates)


def contest(setup: BFRSetup, X: np.ndarray, methods: Sequence[str]) -> dict[str, tuple[MixtureParameters, float]]:
    """What each method finds, in the units of the rows, and its CPU seconds."""
    control, found, began = setup.control, {}, time.thread_time()

    def keep(name: str, parameters: MixtureParameters) -> None:
        nonlocal began
        found[name] = parameters, time.thread_time() - began
        began = time.thread_time()

    begun, state, _ = scan(setup, X)
    keep("scan", user_parameters(setup, state))
    if "alone" in methods:
        keep("alone", user_parameters(setup, scan(setup, X, alone=True)[1]))
    memory = control.sample_rows + control.buffer_rows
    if "sample" in methods:
        keep("sample", sample_em(setup, X, memory))
        for name, parameters in zip(COLUMNS["sample"][1:], em_passes(setup, X, found["sample"][0]), strict=False):
            keep(name, parameters)
    if "split" in methods:
        keep("split", split_and_conquer(setup, X, memory))
    if "step" in methods:
        started = user_parameters(setup, begun)
        keep("mean", stepwise_em(setup, X, started, control.sample_rows, 0.6, MINIBATCH)[1])
        keep("step", stepwise_em(setup, X, started, control.sample_rows, 0.7, MINIBATCH)[0])
    return found


def compare(
    name: str, setups: Iterator[tuple[tuple[object, ...], BFRSetup, np.ndarray]], methods: Sequence[str]
) -> None:
    """Print what each method exceeds the scan by on some data, and how often it does.

    Data come with what identifies them, a setup, and all rows in their order.
    """
    columns = [column for method in methods for column in COLUMNS[method]]
    table = Table(
        f"{name}: held-out mean log-likelihood of the scan, and by how much others exceed it",
        {"d": "2d", "K": "2d", "apart": "4.1f", "seed": "d", "scan": "9.4f",
         **dict.fromkeys(columns, "7.4f")},
    )  # fmt: skip
    more: dict[str, list[float]] = {column: [] for column in columns}
    seconds: dict[str, list[float]] = {column: [] for column in ["scan", *columns]}
    for key, setup, rows in setups:
        held_out = np.random.default_rng(setup.control.seed).permutation(len(rows)) < min(HELD_OUT, len(rows) // 5)
        X, rest = rows[~held_out], rows[held_out]
        found = contest(setup, X, methods)
        values = {column: score(setup, parameters, rest) for column, (parameters, _) in found.items()}
        for column in columns:
            more[column].append(values[column] - values["scan"])
        for column, (_, used) in found.items():
            seconds[column].append(used)
        table.row(*key, values["scan"], *(more[column][-1] for column in columns))
    every = ["scan", *columns]
    summary = Table(f"{name}: over {len(seconds['scan'])} runs", {"": "<16s", **dict.fromkeys(every, "<7s")})
    for title, of, cell in (
        ("median", more, lambda values: f"{np.median(values):.4f}"),
        ("scan is better", more, lambda values: f"{np.mean(np.array(values) < 0.0):.0%}"),
        ("scan 0.002 worse", more, lambda values: f"{np.mean(np.array(values) > 0.002):.0%}"),
        ("CPU seconds", seconds, lambda values: f"{np.median(values):.1f}"),
    ):
        summary.row(title, *(cell(of[column]) if column in of else None for column in every))


def main(argv: Sequence[str] | None = None) -> None:
    """Print where one scan earns its place."""
    options = arguments(
        __doc__,
        argv,
        values={
            "--rows": (10_000_000, "rows of a case"),
            "--batch": (50_000, "rows of a round, and of the scan's sample"),
            "--buffer": (10_000, "rows retained"),
            "--seeds": (1, "seeds of each case"),
            "--cases": ("1,6,7,9,10,12,14,15", "numbers of cases of benchmarks/bfr.py"),
            "--orders": ("random,sorted,drifting,scene", "orders of the rows"),
            "--methods": ("sample,split,step,alone", "what the scan is compared with"),
            "--scene": ("china.jpg", "a picture: a file, or one that scikit-learn has"),
            "--components": ("4,8,16", "numbers of components for the scene"),
        },
    )  # fmt: skip
    introduce(options)
    warnings.simplefilter("ignore")
    n, batch, buffer = (8_000, 2_000, 500) if options.quick else (options.rows, options.batch, options.buffer)
    cases = QUICK_CASES if options.quick else tuple(CASES[int(number)] for number in options.cases.split(","))
    methods = options.methods.split(",")

    def setup_for(case: Case, seed: int) -> BFRSetup:
        return setup_of(case, BFRControl(sample_rows=batch, buffer_rows=buffer, seed=seed))

    def ordered(order: str) -> Iterator[tuple[tuple[object, ...], BFRSetup, np.ndarray]]:
        for case, seed in itertools.product(cases, range(options.seeds)):
            rows = case.rows(n + min(HELD_OUT, n // 5), seed, order)
            yield (case.d, case.k, case.spread, seed), setup_for(case, seed), rows

    def scene() -> Iterator[tuple[tuple[object, ...], BFRSetup, np.ndarray]]:
        for k, seed in itertools.product(map(int, options.components.split(",")), range(options.seeds)):
            rows = pixels_of(options.scene, seed)[: n if options.quick else None]
            yield (5, k, None, seed), setup_for(Case(5, k, 0.0), seed), rows

    with one_thread():
        print(f"\nrounds and sample of {batch:,} rows, buffer {buffer:,}: {batch + buffer:,} rows kept")
        for order in options.orders.split(","):
            compare(order, scene() if order == "scene" else ordered(order), methods)


if __name__ == "__main__":
    main()
