"""Pages of jobs and of saved models: what they are told, and what the command refuses."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import yaml

from dgmm import BFRGaussianMixture, GaussianMixture
from dgmm.cli import main
from dgmm.errors import DataError, JobError, MissingExtraError
from dgmm.estimators._seeing import few_rows, map_of
from dgmm.jobs import load_job, run_job
from dgmm.jobs.commands import report_source
from dgmm.jobs.page import Stopwatch


def headings(page):
    return re.findall(r"<h2[^>]*>(.*?)</h2>", page)


def words(page):
    """What is read on a page."""
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)).split())


@pytest.fixture
def scene(tmp_path):
    """A scene of three times in a store; its northern lines are of one group, the others of another."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 20, 30, 2)) + np.where(np.arange(20) < 10, 0.0, 9.0)[:, None, None]
    coords = {"time": [10, 20, 30], "y": np.linspace(60.0, 41.0, 20), "x": np.arange(30.0), "band": ["red", "nir"]}
    dims = ("time", "y", "x", "band")
    found = xr.DataArray(values, coords={k: v for k, v in coords.items() if k != "band"}, dims=dims, name="scene")
    found.chunk({"y": 5}).to_zarr(tmp_path / "scene.zarr", consolidated=False)
    return tmp_path


def run(folder, **sections):
    job = {"input": {"path": "scene.zarr", "variable": "scene"}, "model": {"n_components": 2, "random_state": 0}}
    (folder / "job.yaml").write_text(yaml.safe_dump(job | sections))
    return run_job(load_job(folder / "job.yaml"))


def test_a_job_writes_a_page(scene):
    result = run(scene, output={"page": "out/look.html"})
    assert result.outputs == {"page": scene / "out" / "look.html"}
    page = (scene / "out" / "look.html").read_text(encoding="utf-8")
    assert headings(page) == [
        "What to look at", "Map of labels", "Where components lie", "What sets components apart", "Components",
        "How the fit converged", "Where the time went", "How it was made",
    ]  # fmt: skip
    text = words(page)
    report = result.report
    assert "2 components fitted to 1,800 rows of 2 features" in text
    assert f"{report['mean_log_likelihood']:.4f}".replace("-", "\N{MINUS SIGN}") in text
    assert f"{report['bic']:,.0f}".replace("-", "\N{MINUS SIGN}") in text
    assert "time number 1" in text
    for name, version in report["versions"].items():
        assert f"{name} {version}" in text
    assert "model.n_components 2" in text


def test_a_job_refuses_another_name_and_a_missing_package(scene, monkeypatch):
    with pytest.raises(JobError, match=r"output.page: found 'look.txt'; the page is HTML: its name must end in .html"):
        run(scene, output={"page": "look.txt"})
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match="matplotlib"):
        run(scene, output={"page": "look.html"})


def test_a_scan_reads_its_rows_once_and_still_has_a_page(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(900, 2)))
    model = {"kind": "bfr", "n_components": 1, "random_state": 0, "sample_rows": 100, "batch_rows": 300}
    run(tmp_path, input={"path": "x.npy"}, model=model, output={"page": "p.html"})
    text = words((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert "1 component fitted to 900 rows of 2 features" in text
    assert "One scan in 3 rounds" in text
    assert "rounds of the scan" in text


def test_the_parts_of_the_time_are_the_whole(tmp_path):
    X = da.from_array(np.random.default_rng(0).normal(size=(3_000, 2)), chunks=(1_000, 2))
    for model in (GaussianMixture(2, init_params="k-means||", max_iter=3, tol=1.0), BFRGaussianMixture(2)):
        watch = Stopwatch()
        model.fit(X, callbacks=watch)
        parts = watch.parts({"fit": 100.0, "total": 130.0})
        assert sum(seconds for _, seconds in parts) == pytest.approx(130.0)
        assert all(seconds >= 0.0 for _, seconds in parts)
        assert parts[-1] == ("before and after: opening, scoring, writing", 30.0)
        assert len(parts) >= 3


@pytest.mark.parametrize("order", [("lon", "lat", "time"), ("lat", "time", "lon"), ("time", "lon", "lat")])
def test_a_map_has_its_lines_upright_in_whatever_order_they_lie(order):
    labels = xr.DataArray(np.arange(24).reshape(2, 3, 4), dims=("time", "lat", "lon"))
    found = map_of(labels.transpose(*order))
    np.testing.assert_array_equal(found.labels, labels[1])
    assert found.names == ("lat (index)", "lon (index)")


def test_a_map_is_of_the_last_two_dimensions():
    rng = np.random.default_rng(0)
    values = rng.integers(-1, 4, size=(5, 3, 1_500, 70))
    coords = {"time": np.arange(5) * 10, "lat": np.linspace(50, 20, 1_500), "lon": np.linspace(-3, 3, 70)}
    dims = ("time", "level", "lat", "lon")
    labels = xr.DataArray(da.from_array(values, chunks=(1, 1, 500, 70)), coords=coords, dims=dims)
    found = map_of(labels)
    np.testing.assert_array_equal(found.labels, values[2, 1, ::3, ::3])
    np.testing.assert_array_equal(found.y, coords["lat"][::3])
    np.testing.assert_array_equal(found.x, coords["lon"][::3])
    assert found.names == ("lat", "lon")
    assert found.note == "time number 2 (20), level number 1, one line and column in 3"
    bare = map_of(da.from_array(values[0, 0, :40]))
    assert (bare.names, bare.y, bare.x, bare.note) == (("dim_0 (index)", "dim_1 (index)"), None, None, "")
    assert map_of(values[0, 0, 0]) is None


def test_rows_that_are_shown_are_rows_of_all_parts():
    X = np.arange(60_000.0).reshape(30_000, 2)
    for rows in (X, da.from_array(X, chunks=(500, 2)), da.from_array(X, chunks=(500, 2))[da.from_array(X[:, 0]) > 9]):
        found = few_rows(rows)
        assert 1_900 <= len(found) <= 2_100
        at = (found[:, 0] / 2).astype(int)
        np.testing.assert_array_equal(X[at], found)
        assert len(set(at)) == len(at)
        assert np.bincount(at // 6_000, minlength=5).min() > 200
    assert len(few_rows(X[:7])) == 7


@pytest.fixture
def saved(tmp_path, monkeypatch):
    X = np.random.default_rng(0).normal(size=(500, 3)) + np.repeat([[0.0], [9.0]], 250, axis=0)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "narrow.npy", X[:, :2])
    GaussianMixture(2, random_state=0).fit(X).save(tmp_path / "m.zarr")
    GaussianMixture(2, random_state=0).fit(X).save(tmp_path / "bare.zarr", sample=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_the_page_of_a_model(saved, capsys):
    assert main(["report", "m.zarr"]) == 0
    assert "page: report.html" in capsys.readouterr().out
    text = words(Path("report.html").read_text(encoding="utf-8"))
    assert text.startswith("m.zarr: 2 components fitted to 500 rows of 3 features")
    assert "dots below are 500 rows" in text
    assert "Where the time went" not in text
    assert main(["report", "bare.zarr", "-o", "bare.html"]) == 0
    assert "holds no sample" in words(Path("bare.html").read_text(encoding="utf-8"))
    assert main(["report", "bare.zarr", "x.npy", "-o", "bare.html", "--overwrite"]) == 0
    assert "dots below are 500 rows" in words(Path("bare.html").read_text(encoding="utf-8"))


def test_a_map_is_made_of_data_with_lines_and_columns(scene):
    result = run(scene, output={"model": "m.zarr"})
    report_source(scene / "m.zarr", scene / "p.html", {"path": str(scene / "scene.zarr")})
    page = (scene / "p.html").read_text(encoding="utf-8")
    assert "Map of labels" in headings(page)
    # Half of the lines are of each group; the legend counts places.
    assert re.findall(r"</span>(\d) <small>(.*?)</small></li>", page) == [("0", "50%"), ("1", "50%")]
    assert "time number 1 (20)" in words(page)
    assert len(result.model.weights_) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gone.zarr"], 2, "MODEL: there is no such file or folder"),
        (["m.zarr", "gone.npy"], 2, "DATA: there is no such file or folder"),
        (["m.zarr", "-o", "page.txt"], 2, "its name must end in .html"),
        (["m.zarr", "-o", "old.html"], 2, "old.html exists already"),
        (["m.zarr", "-o", "m.zarr/page.html"], 2, "lies within, MODEL"),
        (["x.npy"], 65, "x.npy is not a zarr group"),
        (["m.zarr", "narrow.npy"], 65, "2 features"),
    ],
)
def test_what_cannot_be_shown_is_refused(saved, capsys, arguments, code, message):
    Path("old.html").write_text("old")
    assert main(["report", *arguments]) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert Path("old.html").read_text() == "old"
    assert not Path("report.html").exists()


def test_a_model_writes_the_same_page(saved):
    model = GaussianMixture.load("m.zarr")
    model.report("own.html")
    report_source(Path("m.zarr"), Path("page.html"), {})
    own, page = (Path(name).read_text(encoding="utf-8") for name in ("own.html", "page.html"))
    cut = page.index('<section aria-labelledby="made">')
    assert page[:cut].replace("m.zarr", "GaussianMixture") == own[: cut + 2 * (len("GaussianMixture") - len("m.zarr"))]
    X = xr.DataArray(np.load("x.npy").reshape(50, 10, 3), dims=("y", "x", "band"), coords={"y": np.arange(50.0)})

    class Chosen:
        best, criterion = ("full", 2), "bic"

        def plot(self, ax):
            ax.plot([1, 2], [30.0, 20.0])

    model.report("own.html", X, selection=Chosen())
    own = Path("own.html").read_text(encoding="utf-8")
    assert "Map of labels" in headings(own)
    assert "By bic: 2 components, covariances full." in words(own)
    with pytest.raises(DataError, match="2 features"):
        model.report("other.html", np.load("narrow.npy"))
    assert not Path("other.html").exists()
