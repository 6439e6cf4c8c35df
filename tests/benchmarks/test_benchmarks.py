"""The benchmarks run, and what they compare agrees; nothing here depends on time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str) -> list[str]:
    """Lines that a benchmark prints in its quick form."""
    done = subprocess.run(
        [sys.executable, *command, "--quick"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(len(line) for line in lines) <= 100
    assert lines[0].startswith("$ python benchmarks/")
    assert "limits, one thread: dgemm" in done.stdout
    return lines


def table(lines: list[str], title: str) -> list[dict[str, str]]:
    """Rows of the table under a title, by their headings."""
    start = next(i for i, line in enumerate(lines) if line.startswith(title)) + 1
    head = lines[start]
    # A column ends where a heading ends, or begins where it begins, two spaces apart at least.
    names = [name.strip() for name in head.split("  ") if name.strip()]
    rows = []
    for line in lines[start + 1 :]:
        cells = [cell.strip() for cell in line.split("  ") if cell.strip()]
        if len(cells) != len(names):
            break
        rows.append(dict(zip(names, cells, strict=True)))
    assert rows
    return rows


@pytest.mark.parametrize(("flags", "log_likelihood", "parameters"), [((), 1e-11, 1e-9), (("--float32",), 1e-4, 1e-2)])
def test_kernel_agrees_with_scikit_learn(flags: tuple[str, ...], log_likelihood: float, parameters: float) -> None:
    rows = table(run("benchmarks/kernel.py", *flags), "one EM iteration")
    assert [(row["family"], row["d"], row["K"]) for row in rows] == [
        *(("full", str(d), str(k)) for d, k in ((2, 3), (8, 16), (16, 32), (32, 64), (64, 32), (128, 16))),
        *((name, "16", "32") for name in ("diag", "spherical", "tied")),
    ]
    assert all(float(row["logL"]) < log_likelihood for row in rows)
    assert all(float(row["par"]) < parameters for row in rows)


def test_kernel_block_scan_and_profile() -> None:
    rows = table(run("-m", "benchmarks.kernel", "--blocks"), "time by rows of a block")
    assert all(row[row["fastest"]] == "1.00" for row in rows)
    rows = table(run("benchmarks/kernel.py", "--parts"), "where the time of the kernel goes")
    assert {row["family"] for row in rows} == {"full", "diag", "spherical", "tied"}


def test_precision_errors_stay_below_the_plans_promise() -> None:
    lines = run("benchmarks/precision.py")
    rows = table(lines, "errors of one E-step")
    assert {row["family"] for row in rows} == {"full", "tied", "diag", "spherical"}
    assert all(float(row["plan logL"]) < 1e-5 for row in rows)
    # In float64 the same estimate is smaller by the ratio of the roundings, and bounds the error.
    ratio = np.finfo(np.float64).eps / np.finfo(np.float32).eps
    assert all(float(row["f64 max"]) < 1e-11 + 10.0 * ratio * float(row["estimate"]) for row in rows)
    assert all(float(row["cen max"]) < 1e-11 for row in rows)
    assert all(float(row["rounded"]) < float(row["in float32"]) for row in table(lines, "largest error of z'z / 2"))
    assert len(table(lines, "one iteration of float32 rows")) == 3


def test_start_reaches_what_scikit_learn_reaches_on_separated_data() -> None:
    rows = table(run("benchmarks/start.py"), "mean log-likelihood from the default start")
    apart = next(row for row in rows if row["data"] == "d 2, apart")
    assert float(apart["mean"]) == pytest.approx(float(apart["sk mean"]), abs=0.01)
    assert {row["data"] for row in rows} == {"iris", "wine", "d 2, apart"}


def test_start_compares_its_metrics() -> None:
    rows = table(run("benchmarks/start.py", "--metrics"), "mean log-likelihood by the metric of the starts")
    assert {row["data"] for row in rows} == {"iris", "wine", "correlated"}
    correlated = next(row for row in rows if row["data"] == "correlated")
    assert float(correlated["whitened"]) > float(correlated["scaled"]) + 0.1
    # Starts that take turns choose among both kinds.
    assert float(correlated["alternating"]) > float(correlated["scaled"]) + 0.1


@pytest.mark.cluster
def test_overhead_covers_threads_and_processes() -> None:
    rows = table(run("benchmarks/overhead.py"), "seconds of one pass")
    assert [(row["scheduler"], row["chunks"]) for row in rows] == [
        (scheduler, chunks) for scheduler in ("threads", "2 workers") for chunks in ("10", "100")
    ]


def test_machine_alone() -> None:
    assert len(run("-m", "benchmarks.machine")) >= 3


def test_reads_are_few_and_end_at_the_optimum() -> None:
    lines = run("benchmarks/reads.py")
    rows = table(lines, "reads until within p_free / (2 n)")
    assert [(row["d"], row["K"]) for row in rows] == [("2", "3"), ("4", "4")]
    assert all(int(row["auto"]) <= 4 and float(row["left"]) < 1.0 for row in rows)
    assert int(lines[-1].split(":")[1]) <= 1
