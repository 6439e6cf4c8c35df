"""The jobs of ``workflows/``, by the commands and blocks of ``docs/workflows.md``, top to bottom."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from dgmm import EigenMoments, GaussianMixture
from dgmm.cli import main
from dgmm.estimators.loading import load_mixture
from dgmm.jobs.models import RefitSection

ROOT = Path(__file__).parents[2]
JOBS = sorted(path.name for path in (ROOT / "workflows").glob("*.yaml"))
PAGE = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE))

SMALLER = {"--size 8GB": "--size 850MB", "ulimit -d 1000000": "ulimit -d 800000"}
"""What the page says, and what is run: more rows than memory, in a minute."""


def section_of(job: str) -> str:
    """The section of the page that a job belongs to."""
    return next(title for title, text in SECTIONS.items() if text.lstrip().startswith(f"`workflows/{job}`"))


class Reader:
    """Someone who follows the page: a folder, the names that its Python blocks made, and sections that are done."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.names, self.done = folder, {}, set()
        shutil.copytree(ROOT / "workflows", folder / "workflows", ignore=shutil.ignore_patterns("__pycache__"))

    def follow(self, title: str, capfd: pytest.CaptureFixture[str]) -> None:
        """Run all sections of the page to the end of one, but for those that were run."""
        for name, text in SECTIONS.items():
            if name not in self.done:
                self._run(text, capfd)
                self.done.add(name)
            if name == title:
                return

    def _run(self, text: str, capfd: pytest.CaptureFixture[str]) -> None:
        for kind, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE):
            if kind == "python":
                exec(compile(block, "docs/workflows.md", "exec"), self.names)
            elif kind == "console":
                for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, flags=re.MULTILINE):
                    self._command(command, shown, capfd)

    def _command(self, command: str, shown: str, capfd: pytest.CaptureFixture[str]) -> None:
        if "benchmarks/" in command:  # the benchmarks have tests of their own
            return
        for said, run in SMALLER.items():
            command = command.replace(said, run)
        capfd.readouterr()
        words = shlex.split(command) if command[0] != "(" else []
        if words[:1] == ["dgmm"]:
            assert main(words[1:]) == 0, capfd.readouterr().err
        elif words[:1] == ["python"]:
            before, sys.argv = sys.argv, words[1:]
            try:
                runpy.run_path(words[1], run_name="__main__")
            finally:
                sys.argv = before
        else:
            script = f'dgmm() {{ "{sys.executable}" -m dgmm "$@"; }}; {command}'
            found = subprocess.run(
                ["bash", "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, timeout=300
            )
            assert found.returncode == 0, capfd.readouterr().err
        told = capfd.readouterr().out.splitlines()
        assert [masked(line) for line in shown.splitlines()] == [masked(line) for line in told][
            : len(shown.splitlines())
        ]


def masked(line: str) -> str:
    """A line without its numbers, of which the last digits are the machine's."""
    return re.sub(r"[+-]?[0-9][0-9.,TZe+-]*|iterations?", "#", line)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return Reader(tmp_path_factory.mktemp("reader"))


def report(reader: Reader, name: str) -> dict:
    return json.loads((reader.folder / name / "report.json").read_text())


def quickstart(reader: Reader) -> None:
    assert report(reader, "quickstart")["converged"]
    assert xr.open_zarr(reader.folder / "quickstart" / "labels.zarr").labels.dims == ("y", "x")


def select(reader: Reader) -> None:
    found = report(reader, "select")
    assert (found["n_components"], found["covariance_type"]) == (4, "spherical")
    candidates = found["selection"]["candidates"]
    assert len(candidates) == 24
    assert {row["status"] for row in candidates} <= {"ranked", "not ranked"}
    model = GaussianMixture.load(reader.folder / "select" / "model.zarr")
    assert model.means_.tolist() == found["means"]
    assert "By bic: 4 components" in (reader.folder / "select" / "report.html").read_text()


def label(reader: Reader) -> None:
    model = load_mixture(reader.folder / "quickstart" / "model.zarr")
    pixels = xr.open_zarr(reader.folder / "label" / "pixels.zarr")["pixels"].astype(float)
    out = reader.folder / "label"
    xr.testing.assert_equal(xr.open_zarr(out / "labels.zarr").labels.astype(int), model.predict(pixels).compute())
    found = report(reader, "label")
    assert found["mean_log_likelihood"] == pytest.approx(float(model.score_samples(pixels).mean()))
    densities = xr.open_zarr(out / "log_densities.zarr").log_density.values
    assert found["rare_share"] == pytest.approx((densities < found["rare_log_density"]).mean(), abs=1e-5)
    assert "Many rows are unlike those of the fit" in (out / "report.html").read_text()


def larger_than_memory(reader: Reader) -> None:
    found = report(reader, "larger_than_memory")
    limit = int(SMALLER["ulimit -d 1000000"].split()[-1]) * 1024
    assert found["n_rows"] * found["n_features"] * 4 > limit
    assert found["converged"]
    assert sorted(np.round(np.array(found["weights"]) * 21).tolist()) == [1, 2, 3, 4, 5, 6]
    assert xr.open_zarr(reader.folder / "larger_than_memory" / "labels.zarr").labels.size == found["n_rows"]


def stream(reader: Reader) -> None:
    assert report(reader, "stream")["n_rows"] == 40_000


def nightly(reader: Reader) -> None:
    found = report(reader, "nightly")["refit"]
    assert not found["promoted"]
    assert len(found["reasons"]) == 2
    folder = reader.folder / "nightly"
    assert [path.name[:6] for path in sorted((folder / "model.versions").glob("*.zarr"))] == ["000001", "000002"]
    model = GaussianMixture.load(folder / "model.zarr")
    assert model.feature_names_in_.tolist() == ["current", "temperature", "vibration"]
    assert "The model before is kept" in (folder / "report.html").read_text()


def digits(reader: Reader) -> None:
    found = report(reader, "digits")
    assert found["preprocess"]["n_features"] == found["n_features"] == 12
    features = EigenMoments.load(reader.folder / "digits" / "features.zarr")
    images = xr.open_zarr(reader.folder / "digits" / "images.zarr", consolidated=False)["image_of_a_digit"]
    model = GaussianMixture.load(reader.folder / "digits" / "model.zarr")
    labels = xr.open_zarr(reader.folder / "digits" / "labels.zarr").labels
    xr.testing.assert_equal(labels.astype(int), model.predict(features.transform(images)).compute())
    assert "preprocess.information_loss" in (reader.folder / "digits" / "report.html").read_text()


CHECKS: dict[str, Callable[[Reader], None]] = {
    "digits.yaml": digits,
    "larger_than_memory.yaml": larger_than_memory,
    "label.yaml": label,
    "nightly.yaml": nightly,
    "quickstart.yaml": quickstart,
    "select.yaml": select,
    "stream.yaml": stream,
}


@pytest.mark.parametrize("job", sorted(JOBS, key=lambda job: list(SECTIONS).index(section_of(job))))
def test_each_job_runs_as_its_page_says(job, reader, monkeypatch, capfd):
    monkeypatch.chdir(reader.folder)
    reader.follow(section_of(job), capfd)
    CHECKS[job](reader)


def test_the_rest_of_the_page(reader, monkeypatch, capfd):
    monkeypatch.chdir(reader.folder)
    reader.follow(list(SECTIONS)[-1], capfd)


@pytest.mark.parametrize("job", JOBS)
def test_each_job_says_how_it_is_run(job):
    text = (ROOT / "workflows" / job).read_text()
    assert f"dgmm run workflows/{job}" in text
    assert max(map(len, text.splitlines())) <= 120
    results = yaml.safe_load(text)["output"]
    paths = [place["path"] if isinstance(place, dict) else place for place in results.values() if place is not True]
    assert all(path.startswith(f"../{job.removesuffix('.yaml')}/") for path in paths)


def test_the_page_tells_the_thresholds_of_the_file():
    text = yaml.safe_load((ROOT / "workflows" / "nightly.yaml").read_text())

    assert RefitSection(**text["refit"]) == RefitSection()
