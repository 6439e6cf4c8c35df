"""What lies at a place is known again, and told from what lay there before."""

import os

import dask.array as da
import numpy as np
import pytest
from obstore.store import S3Store

from dgmm.jobs import run_file
from dgmm.jobs.runs.stamps import stamp_of


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/x.parquet", "a/b/y.parquet", "a/z.txt"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_files_are_counted(folder):
    found = stamp_of(folder / "a")
    assert (found.files, found.bytes) == (3, len("a/x.parqueta/b/y.parqueta/z.txt"))
    assert stamp_of(str(folder / "a")) == stamp_of(folder / "a") == stamp_of((folder / "a").as_uri())
    assert stamp_of(folder / "a" / "z.txt").files == 1
    assert stamp_of(folder / "a" / "*.parquet").files == 1
    assert stamp_of(folder / "a" / "*" / "*.parquet").files == 1
    for nothing in ("none", "*.csv", "a/none/x"):
        assert stamp_of(folder / nothing).files == 0


@pytest.mark.parametrize("place", ["a", "a/b/y.parquet", "a/*"])
@pytest.mark.parametrize("how", ["longer", "as long", "renamed", "removed", "touched"])
def test_any_change_is_seen(how, place, folder):
    path, before = folder / "a" / "b" / "y.parquet", stamp_of(folder / place)
    match how:
        case "longer":
            path.write_text("a/b/y.parquet!")
        case "as long":
            path.write_text("a/b/y.PARQUET")
        case "renamed":
            path.rename(path.with_name("w.parquet"))
        case "removed":
            path.unlink()
        case "touched":
            os.utime(path)
    assert stamp_of(folder / place) != before


def test_the_order_of_files_does_not_count(folder):
    def copied(name, order):
        (folder / name).mkdir()
        for file in order:
            (folder / name / file).write_text(file)
            os.utime(folder / name / file, ns=(1, 1))
        return stamp_of(folder / name)

    assert copied("one", "abcdef") == copied("two", "fedcba")


def test_a_link_to_rows_is_what_it_leads_to(folder):
    (folder / "link").symlink_to(folder / "a")
    assert stamp_of(folder / "link") == stamp_of(folder / "a")


def test_objects_are_known_by_their_tags(s3, folder):
    store = S3Store("dgmm-test", prefix="/".join(s3.split("/")[3:]), virtual_hosted_style_request=False)
    assert stamp_of(s3).files == 0
    store.put("a/x", b"1")
    store.put("a/y", b"2")
    before = stamp_of(s3)
    assert (before.files, before.bytes) == (2, 2)
    assert stamp_of(s3) == before
    store.put("a/y", b"3")
    assert stamp_of(s3) != before
    assert stamp_of("s3://no-such-bucket/x") is None


def test_a_job_on_objects_is_done_once(s3, tmp_path):
    X = np.random.default_rng(0).normal(size=(400, 2))
    da.from_array(X, chunks=(100, 2)).to_zarr(str(tmp_path / "X.zarr"))
    (tmp_path / "job.yaml").write_text(
        f"input: {{path: X.zarr}}\nmodel: {{n_components: 2, random_state: 0}}\noutput: {{model: {s3}/m.zarr}}\n"
    )
    assert run_file(tmp_path / "job.yaml").result is not None
    before = stamp_of(f"{s3}/m.zarr")
    assert before.files > 1
    assert run_file(tmp_path / "job.yaml").result is None
    assert stamp_of(f"{s3}/m.zarr") == before
