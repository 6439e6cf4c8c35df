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
    assert max(len(line) for line in lines[1:]) <= 100
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
    lines = run("benchmarks/kernel.py", *flags)
    rows = table(lines, "one EM iteration")
    assert [(row["family"], row["d"], row["K"]) for row in rows] == [
        *(("full", str(d), str(k)) for d, k in ((2, 3), (8, 16), (16, 32), (32, 64), (64, 32), (128, 16))),
        *((name, "16", "32") for name in ("diag", "spherical", "tied")),
    ]
    assert all(float(row["logL"]) < log_likelihood for row in rows)
    assert all(float(row["par"]) < parameters for row in rows)
    if flags:
        assert len(table(lines, "one EM iteration in float32 and float64")) == 9


def test_kernel_with_many_components_and_threads() -> None:
    rows = table(run("benchmarks/kernel.py", "--large-k"), "many components")
    assert [(row["d"], row["K"]) for row in rows] == [(d, k) for d in ("16", "64", "128") for k in ("64", "128")]
    # Beside A and T: a block of log-densities and features, and copies of A.
    assert all(float(row["peak MB"]) < 3.0 * float(row["A and T MB"]) + 8.0 for row in rows)
    rows = table(run("benchmarks/kernel.py", "--threads"), "one iteration on one thread and on two")
    assert len(rows) == 10


def test_kernel_block_scan_and_parts() -> None:
    rows = table(run("-m", "benchmarks.kernel", "--blocks"), "numpy kernel: time by rows of a block")
    assert all(row[row["fastest"]] == "1.00" for row in rows)
    rows = table(run("benchmarks/parts.py"), "where the time of the compiled kernel goes")
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
    rows = table(run("benchmarks/overhead.py"), "ms a chunk of 4 rows")
    assert [(row["scheduler"], row["chunks"]) for row in rows] == [
        (scheduler, chunks) for scheduler in ("threads", "2 workers") for chunks in ("10", "100")
    ]
    assert len(table(run("benchmarks/overhead.py", "--million"), "1,000 chunks on threads")) == 5


def test_machine_alone() -> None:
    assert len(run("-m", "benchmarks.machine")) >= 3


def test_peers_agree() -> None:
    lines = run("benchmarks/peers.py")
    for dtype, tolerance in (("float64", 1e-10), ("float32", 1e-3)):
        rows = table(lines, f"one EM iteration on 2 threads, {dtype}")
        assert [(row["family"], row["d"], row["K"]) for row in rows] == [
            ("full", "2", "3"), ("full", "8", "16"), ("diag", "16", "32"),
        ]  # fmt: skip
        assert all(float(row[column]) < tolerance for row in rows for column in row if column.endswith(" par"))
        assert "sklearn par" in rows[0]
    assert {"dgmm", "sklearn"} <= {row["by"] for row in table(lines, "peak memory of an iteration")}


@pytest.mark.cluster
def test_scaling_covers_threads_and_processes() -> None:
    lines = run("benchmarks/scaling.py")
    assert [row["work"] for row in table(lines, "two threads against one")] == [
        "dgemm", "memory read", "iteration", "iteration", "iteration",
    ]  # fmt: skip
    assert len(table(lines, "two worker processes against one")) == 1


@pytest.mark.cluster
def test_out_of_core_fits_every_store_and_spills_nothing(tmp_path: Path) -> None:
    lines = run("benchmarks/out_of_core.py", "--folder", str(tmp_path))
    stores = ["zstd", "raw", "zstd shards", "raw shards"]
    assert [row["store"] for row in table(lines, "a pass over")] == stores
    rows = [(row["store"], row["lean"]) for row in table(lines, "peak memory of a fit")]
    assert rows == [("zstd", "no"), ("raw shards", "no"), ("raw", "yes")]
    (row,) = table(lines, "a fit on two workers of 700 MB")
    assert (row["spilled MB"], row["restarts"]) == ("0", "0")
    assert not list(tmp_path.iterdir())


def test_writing_gives_the_right_labels_in_every_format() -> None:
    rows = table(run("benchmarks/writing.py"), "labels of")
    assert [(row["as"], row["right"]) for row in rows] == [(name, "True") for name in ("zarr", "nc", "tif", "parquet")]


def test_out_of_core_fits_under_a_limit_of_address_space(tmp_path: Path) -> None:
    lines = run("benchmarks/out_of_core.py", "--larger-than-memory", "--folder", str(tmp_path))
    (row,) = table(lines, "a fit under an enforced limit")
    assert np.isfinite(float(row["logL"]))
    assert not list(tmp_path.iterdir())


@pytest.mark.cluster
def test_cluster_sizes_tree_gives_the_same_bits_everywhere() -> None:
    lines = run("benchmarks/cluster_size.py")
    assert len(table(lines, "predicted: seconds of a pass")) == 2
    rows = table(lines, "40 records")
    assert [row["by"] for row in rows] == ["left fold", "1 thread", "2 threads", "2 workers"]
    assert len({row["bits"] for row in rows[1:]}) == 1
    assert all(float(row["from math"]) < 1e-13 for row in rows)


def test_reads_are_few_and_end_at_the_optimum() -> None:
    lines = run("benchmarks/reads.py")
    rows = table(lines, "reads until within p_free / (2 n)")
    assert [(row["d"], row["K"]) for row in rows] == [("2", "3"), ("4", "4")]
    assert all(int(row["auto"]) <= 4 and float(row["left"]) < 1.0 for row in rows)
    assert int(lines[-1].split(":")[1]) <= 1


def test_checkpoint_spares_what_was_done() -> None:
    lines = run("benchmarks/checkpoint.py")
    assert [row["interval"] for row in table(lines, "40,000 rows")] == ["none", "60 s", "1 s", "0 s"]
    again = {row["after"]: row["passes"] for row in table(lines, "the same call once more")}
    assert again == {"stopped in pass 4": "1", "finished": "0"}


def test_bfr_lands_where_it_was_heading() -> None:
    rows = table(run("benchmarks/bfr.py"), "8,000 rows, rounds of 2,000")
    assert [(row["d"], row["K"]) for row in rows] == [("2", "3"), ("4", "8")]
    assert all(float(row["left c"]) < 0.01 for row in rows)
    assert all(float(row["sweep c"]) <= 4.0 for row in rows)


def test_bfr_finds_clusters_in_any_order() -> None:
    rows = table(run("benchmarks/bfr.py", "--orders"), "8,000 rows of 10 clusters")
    apart = {row["order"]: row for row in rows}
    assert int(apart["late"]["moved"]) >= 3
    assert all(float(row["scan"]) > float(row["then EM"]) - 0.05 for row in apart.values())


def test_hard_clusters_of_one_scan_are_better_than_those_of_mini_batches() -> None:
    lines = run("benchmarks/bfr_kmeans.py")
    rows = table(lines, "6,000 rows in batches of 2,000")
    assert [(row["d"], row["K"]) for row in rows] == [("2", "3"), ("4", "8")]
    peers = ("batch", "batch s", "1024", "1024 s")
    assert all(float(row["scan"]) > max(float(row[peer]) for peer in peers) for row in rows)
    assert all(0.0 < float(row[peer]) <= 1.0 for row in rows for peer in peers)


def test_hard_clusters_are_found_in_any_order() -> None:
    rows = table(run("benchmarks/bfr_kmeans.py", "--orders"), "6,000 rows in three orders")
    assert [row["order"] for row in rows] == ["random", "sorted", "late"]
    assert all(float(row["scan"]) > 0.9 for row in rows)


def test_bfr_is_near_the_optimum_after_a_few_passes() -> None:
    rows = table(run("benchmarks/bfr.py", "--passes"), "8,000 rows: what EM to convergence adds")
    for row in rows:
        left = [float(row[f"em{count}"]) for count in range(4)]
        assert left == sorted(left, reverse=True)
        assert -0.01 < left[-1] < 1.0
        assert float(row["auto3"]) < 1.0


def test_all_tightnesses_are_tried() -> None:
    rows = table(run("benchmarks/bfr.py", "--tightness"), "8,000 rows, rounds of 2,000, mahalanobis")
    assert [row["order"] for row in rows] == ["random", "late", "sorted"]
    columns = [name for name in rows[0] if name not in {"order", "buffer", "d", "K", "best"}]
    assert all(max(float(row[name]) for name in columns) == 0.0 for row in rows)


def test_one_scan_is_compared_in_all_orders() -> None:
    lines = run("benchmarks/one_scan.py")
    for order in ("random", "sorted", "drifting", "scene"):
        rows = table(lines, f"{order}: held-out mean log-likelihood")
        assert len(rows) == (3 if order == "scene" else 2)
        assert all(np.isfinite(float(row[name])) for row in rows for name in row if row[name] != "-")
        if order == "random":  # all ways lead there
            assert all(abs(float(row[name])) < 0.02 for row in rows for name in ("+2", "split", "mean", "step"))
        else:  # stepwise EM forgets what came first
            assert all(float(row["step"]) < 0.0 for row in rows)


def test_a_selection_agrees_with_its_candidates_one_by_one() -> None:
    rows = table(run("benchmarks/selection.py"), "K = 1 to 3")
    assert [(row["rows"], row["way"]) for row in rows] == [
        *(("memory", way) for way in ("select", "one by one", "scikit-learn")),
        *(("zarr", way) for way in ("select", "one by one")),
    ]
    assert {row["best"] for row in rows} == {"3"}
    assert len({row["BIC"] for row in rows if row["way"] != "scikit-learn"}) == 1
    reads = {(row["rows"], row["way"]): int(row["reads"]) for row in rows}
    assert all(reads[place, "select"] < reads[place, "one by one"] for place in ("memory", "zarr"))
    rows = table(run("benchmarks/selection.py", "--growth"), "K that each criterion chooses")
    assert [(row["rows are"], row["n"]) for row in rows] == [
        (noise, n) for noise in ("t", "skew") for n in ("300", "600")
    ]
    assert all(int(row["within 1 SE"]) <= int(row["held-out"]) for row in rows)


def test_predictions_of_scenes_are_built_without_a_compute() -> None:
    rows = table(run("benchmarks/labelled.py"), "200 chunks, seven features")
    assert [row["what"] for row in rows] == [
        "open_rows", "predict", "predict_proba", "predict_proba(top=3)", "score_samples",
    ]  # fmt: skip


def test_invariants_of_copies_agree() -> None:
    lines = run("benchmarks/invariants.py")
    shapes = {row["shape"]: row for row in table(lines, "shapes")}
    for name in ("disc", "ellipse 2 : 1", "letter F"):
        assert max(float(shapes[name]["even"]), float(shapes[name]["odd"])) < 0.1
    assert float(shapes["square"]["even"]) > 0.1  # it has no axis
    for row in table(lines, "digits"):
        assert float(row["turned too"]) > float(row["moved, scaled"])
    assert all(0.98 < float(row["other draws"]) < 1.0 for row in table(lines, "simulations"))


def test_missing_values_are_priced_by_their_patterns() -> None:
    rows = table(run("benchmarks/missing.py"), "an E-step, times that of complete rows")
    assert {row["family"] for row in rows} == {"full", "tied", "diag", "spherical"}
    assert {row["patterns"] for row in rows} >= {"1", "16", "255"}
    assert all(float(row["differ"]) < 1e-12 for row in rows)


def test_chance_alone_promotes_no_model() -> None:
    rows = table(run("benchmarks/refit.py"), "what chance alone gives")
    assert len(rows) == 7
    gaussians = [row for row in rows if not row["rows are"].startswith("t")]  # tails want more rows than this
    assert all(float(row["largest"]) <= float(row["asked"]) for row in gaussians)
    assert all(row["promoted"] == "0" for row in gaussians)


def test_features_of_digits_are_worth_what_their_noise_says() -> None:
    lines = run("benchmarks/eigenmoments.py")
    for row in table(lines, "mean squared error of reconstructions"):
        errors = {name: float(row[name]) for name in ("eigen4", "eigen6", "eigen7", "pca")}
        if row["noise"] == "white":  # of all pixels the two are the same
            assert errors["eigen7"] == pytest.approx(errors["pca"], abs=0.02)
        else:
            assert 2.0 * max(errors["eigen6"], errors["eigen7"]) < errors["pca"]
    rows = table(lines, "adjusted Rand index")
    assert {row["noise"] for row in rows} == {"white", "stripes"}
    stripes = next(row for row in rows if row["noise"] == "stripes")
    assert float(stripes["eigen7"].split()[0]) > float(stripes["pca"].split()[0]) + 0.1


def test_features_of_images_are_found_in_little_memory(tmp_path: Path) -> None:
    rows = table(run("benchmarks/eigenmoments.py", "--speed", "--folder", str(tmp_path)), "400 float32 images")
    assert [row["store"] for row in rows] == ["zstd", "raw"]
    assert not list(tmp_path.iterdir())


def test_legendre_keeps_the_equations_where_monomials_are_refused() -> None:
    rows = table(run("benchmarks/eigenmoments.py", "--orders"), "signals of 256 samples")
    assert all(float(row["legendre B"]) < 1e-12 for row in rows)
    assert float(rows[0]["apart"]) < 1e-9
    assert rows[-1]["monomial B"] == "refused"
