"""A whole job of which all lies in an object store: killed, on a store that fails, with nothing to log in with."""

import os
import re
import signal
import urllib.request
from pathlib import Path

import obstore
import pytest
from faults import s3_job
from faults.small_fit import in_a_process, random_moments, with_environment
from obstore.store import from_url

from dgmm.cli import main
from dgmm.storage.urls import ObjectUrl

# Before which change below which name: in the fit, and before outputs are half done, and whole.
MOMENTS = (("fit", 9), ("m.zarr", 4), ("m.zarr", 8), ("labels.zarr", 4), ("labels.zarr", 7), ("d.zarr", 5))


def in_a_process_with_s3(job, **how):
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return in_a_process(with_environment, environment, s3_job.run, job, **how)


@pytest.fixture(scope="module")
def undisturbed():
    """What the job makes if nothing happens to it, on any kind of cluster."""
    return {}


def expected(undisturbed, s3, tmp_path):
    if not undisturbed:
        assert main(["run", s3_job.write_job(tmp_path, f"{s3}-undisturbed", "threads")]) == 0
        undisturbed |= s3_job.outputs(f"{s3}-undisturbed")
    return undisturbed


def test_a_job_that_is_killed_again_and_again_ends_with_the_same_bits(s3, tmp_path, undisturbed):
    job = s3_job.write_job(tmp_path, s3, "threads, n_workers: 2")
    for moment in MOMENTS:
        assert in_a_process_with_s3(job, die=moment) == -signal.SIGKILL, moment
        for name in ("m.zarr", *(f"{name}.zarr" for name in s3_job.RESULTS)):
            place = ObjectUrl(f"{s3}/{name}")
            assert place.is_zarr() == place.exists()
    assert in_a_process_with_s3(job) == 0
    assert s3_job.outputs(s3) == expected(undisturbed, s3, tmp_path)
    before = {item["path"]: item["e_tag"] for page in obstore.list(from_url(s3)) for item in page}
    assert in_a_process_with_s3(job) == 0
    after = {item["path"]: item["e_tag"] for page in obstore.list(from_url(s3)) for item in page}
    assert {key for key in before if before[key] != after.get(key)} <= {"fit/zarr.json"}  # who holds it


def test_a_job_on_a_cluster_that_is_killed_ends_with_the_same_bits(s3, tmp_path, undisturbed):
    job = s3_job.write_job(tmp_path, s3, "local, n_workers: 2, threads_per_worker: 1")
    for how in ({"die": ("fit", 9)}, {"die": ("labels.zarr", 3)}):
        assert in_a_process_with_s3(job, **how) == -signal.SIGKILL
    assert in_a_process_with_s3(job) == 0
    assert s3_job.outputs(s3) == expected(undisturbed, s3, tmp_path)


def test_a_job_that_is_killed_at_random_ends_with_the_same_bits(s3, tmp_path, undisturbed):
    job = s3_job.write_job(tmp_path, s3, "threads, n_workers: 2")
    for seconds, _ in zip(random_moments(7, 2.0), range(4), strict=False):
        assert in_a_process_with_s3(job, seconds=seconds) in (0, -signal.SIGKILL)
    assert in_a_process_with_s3(job) == 0
    assert s3_job.outputs(s3) == expected(undisturbed, s3, tmp_path)


# -- a store that fails -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 503])
def test_a_store_that_fails_for_a_while_is_asked_again(s3, tmp_path, gate, undisturbed, status, monkeypatch):
    write = s3_job.storing._Target.__setitem__

    def write_later(*arguments):
        monkeypatch.setattr(s3_job.storing._Target, "__setitem__", write)
        gate.fail(3, status)
        write(*arguments)

    monkeypatch.setattr(s3_job.storing._Target, "__setitem__", write_later)
    assert main(["run", s3_job.write_job(tmp_path, s3, "threads")]) == 0
    assert gate.refused.is_set()
    assert s3_job.outputs(s3) == expected(undisturbed, s3, tmp_path)


def at_the_start(gate, monkeypatch):
    gate.fail()


def in_a_block(gate, monkeypatch):
    write = s3_job.storing._Target.__setitem__

    def fail_and_write(*arguments):
        gate.fail()
        write(*arguments)

    monkeypatch.setattr(s3_job.storing._Target, "__setitem__", fail_and_write)


def in_the_model(gate, monkeypatch):
    def save(*arguments, **keywords):
        gate.fail()
        inner(*arguments, **keywords)

    inner = s3_job.GaussianMixture.save
    monkeypatch.setattr(s3_job.GaussianMixture, "save", save)


@pytest.mark.parametrize("fall", [at_the_start, in_the_model, in_a_block])
def test_a_store_that_does_not_come_back_is_told_in_a_line(s3, tmp_path, gate, soon, undisturbed, fall, capfd):
    job = s3_job.write_job(tmp_path, s3, "threads")
    with pytest.MonkeyPatch.context() as monkeypatch:
        fall(gate, monkeypatch)
        assert main(["run", job]) == 69
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith(f"dgmm: {s3}")
    assert "see to the bucket, the network, and the credentials" in err
    assert "marker" not in err
    gate.shut = False
    assert main(["run", job]) == 0, capfd.readouterr().err
    assert s3_job.outputs(s3) == expected(undisturbed, s3, tmp_path)


REFUSALS = {
    "wrong credentials": (403, "dgmm-test", "(PermissionDenied); see to the bucket, the network, and the credentials"),
    "no such bucket": (None, "dgmm-none", "the bucket to be listed is not there"),
}


@pytest.mark.parametrize(("status", "bucket", "said"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_wrong_with_a_place_is_told_in_a_line(s3, tmp_path, gate, status, bucket, said, capfd):
    job = s3_job.write_job(tmp_path, s3, "threads")
    Path(job).write_text(Path(job).read_text().replace("dgmm-test", bucket))
    if status is not None:
        gate.fail(None, status)
    place = s3.replace("dgmm-test", bucket)
    for command in (["run", job], ["inspect", f"{place}/m.zarr"], ["report", f"{place}/m.zarr", "-o", "p.html"]):
        assert main(command) == 69
        err = capfd.readouterr().err
        assert said in err
        assert len(err.strip().splitlines()) == 1
        assert "marker" not in err


def test_the_commands_take_urls(s3, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    s3_job.write_job(tmp_path, s3, "threads")
    rows, model, labels = f"{s3}/x.zarr", f"{s3}/model.zarr", f"{s3}/out/labels.zarr"
    assert main(["fit", rows, "-k", "2", "--random-state", "0", "-o", model]) == 0
    assert main(["predict", model, rows, labels]) == 0
    assert f"labels: {labels}" in capsys.readouterr().out
    assert main(["predict", model, rows, labels]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["predict", model, rows, labels, "--overwrite"]) == 0
    assert main(["predict", model, rows, model, "--overwrite"]) == 2
    assert main(["predict", model, rows, f"{s3}/labels.nc"]) == 2
    assert "its name must end in .zarr" in capsys.readouterr().err
    assert main(["inspect", model]) == main(["inspect", rows]) == main(["inspect", labels]) == 0
    assert "model.zarr: a Gaussian mixture" in capsys.readouterr().out
    assert main(["report", model, rows, "-o", f"{s3}/page.html"]) == 0
    assert bytes(obstore.get(from_url(s3), "page.html").bytes()).startswith(b"<!DOCTYPE html>")
    assert main(["inspect", f"{s3}/none.zarr"]) == 2
    assert "there is no such file or folder" in capsys.readouterr().err
    assert main(["predict", f"{s3}/none.zarr", rows, f"{s3}/l.zarr"]) == 65
    assert f"there is nothing at {s3}/none.zarr" in capsys.readouterr().err


def test_the_page_about_object_stores_runs(s3, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with urllib.request.urlopen(urllib.request.Request(f"{os.environ['AWS_ENDPOINT_URL']}/our-bucket", method="PUT")):
        s3_job.write_rows("s3://our-bucket/rows.zarr")
    page = Path(__file__).parents[2] / "docs" / "object_stores.md"
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert [kind for kind, _ in blocks] == ["yaml", "console", "python"]
    Path("job.yaml").write_text(blocks[0][1])
    for command in blocks[1][1].splitlines():
        assert main(command.removeprefix("$ dgmm ").split()) == 0, capsys.readouterr().err
    exec(compile(blocks[2][1], str(page), "exec"), {})
