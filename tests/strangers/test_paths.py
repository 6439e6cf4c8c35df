"""Paths stay where they say: nothing is written through a link, nor over what a job needs."""

from __future__ import annotations

import os
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import yaml

from dgmm import GaussianMixture
from dgmm.cli import main
from dgmm.errors import ExistsError, JobError
from dgmm.jobs import load_job, run_job
from dgmm.storage.storing import write_array


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project with data, and a folder of somebody else's."""
    project, theirs = tmp_path / "project", tmp_path / "theirs"
    project.mkdir()
    theirs.mkdir()
    rng = np.random.default_rng(0)
    np.save(project / "x.npy", np.concatenate([rng.normal(0, 1, (50, 2)), rng.normal(9, 1, (50, 2))]))
    (theirs / "notes.txt").write_text("mine")
    write_array(da.zeros(3), theirs / "store.zarr", name="a", dims=["row"])
    monkeypatch.chdir(project)
    return tmp_path


def job(text: str = "", **output: str) -> Path:
    sections = {
        "input": {"path": "x.npy"},
        "model": {"n_components": 2, "random_state": 0},
        "output": {"overwrite": True, **output},
    }
    Path("job.yaml").write_text(yaml.safe_dump(sections) + text)
    return Path("job.yaml")


def snapshot(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()  # noqa: PTH115
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_paths_start_from_the_folder_of_the_job_file(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "theirs"))
    written = job(model="../elsewhere/m.zarr", labels="~/l.zarr", report="./a/../r.json")
    monkeypatch.chdir("/")
    output = load_job(folder / "project" / written).output
    assert output.model == folder / "elsewhere" / "m.zarr"
    assert output.labels == folder / "theirs" / "l.zarr"
    assert output.report == folder / "project" / "r.json"


def test_a_folder_on_the_way_may_be_a_link(folder):
    (folder / "project" / "results").symlink_to(folder / "theirs")
    result = run_job(load_job(job(model="results/m.zarr", report="results/r.json")))
    assert result.outputs["model"] == folder / "theirs" / "m.zarr"
    assert GaussianMixture.load("results/m.zarr").n_components == 2
    assert (folder / "theirs" / "notes.txt").read_text() == "mine"


TARGETS = {"store": "../theirs/store.zarr", "file": "../theirs/notes.txt", "nothing": "../theirs/new", "itself": "out"}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("key", ["model", "labels", "report"])
def test_an_output_that_is_a_link_is_refused(folder, key, target):
    Path("out").symlink_to(target)
    path = job(**{key: "out"})
    before = snapshot(folder)
    with pytest.raises(JobError, match=rf"output\.{key}: .*is a link to"):
        run_job(load_job(path))
    assert snapshot(folder) == before


def test_a_picture_and_its_store_are_not_written_through_links(folder):
    Path("out.png").symlink_to("../theirs/notes.txt")
    Path("out.zarr").symlink_to("../theirs/store.zarr")
    Path("job.yaml").write_text(
        "input: {image: china.jpg, store: out.zarr}\nmodel: {n_components: 2}\noutput: {picture: out.png}\n"
    )
    before = snapshot(folder)
    with pytest.raises(JobError) as caught:
        run_job(load_job("job.yaml"))
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["input.store", "output.picture"]
    assert snapshot(folder) == before


@pytest.mark.parametrize("target", ["../theirs/store.zarr", "../theirs/notes.txt", "../theirs/new"])
def test_python_does_not_write_through_links_either(folder, target):
    Path("out").symlink_to(target)
    model = GaussianMixture(2, random_state=0).fit(np.load("x.npy"))
    before = snapshot(folder)
    with pytest.raises(ExistsError, match="a link to"):
        model.save("out", overwrite=True)
    with pytest.raises(ExistsError, match="a link to"):
        write_array(da.zeros(3), "out", name="a", dims=["row"], overwrite=True)
    assert snapshot(folder) == before


def test_commands_do_not_write_through_links(folder, capsys):
    Path("out").symlink_to("../theirs/store.zarr")
    assert main(["fit", "x.npy", "-k", "2", "-o", "m.zarr"]) == 0
    before = snapshot(folder)
    for arguments in (
        ["fit", "x.npy", "-k", "2", "-o", "out", "--overwrite"],
        ["predict", "m.zarr", "x.npy", "out", "--overwrite"],
        ["certs", "out"],
    ):
        assert main(arguments) == 2, arguments
    assert "is a link to" in capsys.readouterr().err
    assert snapshot(folder) == before


FILES = {"job file": ("job.yaml", ""), "key": ("key.pem", "KEY"), "data": ("x.npy", "")}


@pytest.mark.parametrize(("name", "more"), FILES.values(), ids=FILES)
def test_what_a_job_needs_is_not_overwritten(folder, name, more):
    Path("key.pem").write_text("secret")
    tls = "cluster: {kind: scheduler, address: 'tls://127.0.0.1:9', tls_ca_file: c, tls_cert: d, tls_key: key.pem}\n"
    path = job(tls if more else "", report=f"../project/./{name}")
    before = snapshot(folder)
    with pytest.raises(JobError, match=r"output\.report: .* is the same place as"):
        run_job(load_job(path))
    assert snapshot(folder) == before


def test_a_link_to_the_data_is_read(folder):
    Path("x.npy").rename("../theirs/y.npy")
    Path("x.npy").symlink_to("../theirs/y.npy")
    assert run_job(load_job(job(model="m.zarr"))).report["n_rows"] == 100


def test_an_output_over_the_target_of_a_linked_input_is_refused(folder):
    Path("in.zarr").symlink_to("../theirs/store.zarr")
    path = job(model="../theirs/store.zarr")
    path.write_text(path.read_text().replace("x.npy", "in.zarr"))
    with pytest.raises(JobError, match=r"output\.model: .* is the same place as, or lies within, input\.path"):
        run_job(load_job(path))
