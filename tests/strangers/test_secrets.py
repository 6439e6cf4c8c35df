"""Secrets stay in the environment: nothing that dgmm prints, writes or sends has them."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from obstore.store import S3Store
from zarr.storage import ObjectStore

from dgmm import GaussianMixture, errors, write_results
from dgmm.cli import main
from dgmm.errors import DgmmError, JobError, redact
from dgmm.jobs import load_job
from dgmm.storage.arrays import open_array

ROOT = Path(__file__).parents[2]
SECRET = "MARKER7wJalrXUtnFEMI/K7MDENG"
NAMES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
JOB = """
input: {path: x.zarr}
model: {n_components: 2, random_state: 0}
output: {model: m.zarr, labels: l.zarr, report: r.json}
cluster: {kind: KIND}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, SECRET)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    data = np.concatenate([rng.normal(0, 1, (200, 2)), rng.normal(9, 1, (200, 2))])
    da.from_array(data, chunks=(100, 2)).to_zarr("x.zarr")
    return tmp_path


def files_with(folder: Path, secret: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


RUNS = {
    "threads": ("threads", {}, 0),
    "live view": ("threads", {"FORCE_COLOR": "1", "TERM": "xterm"}, 0),
    "local cluster": ("local, n_workers: 1, threads_per_worker: 1", {}, 0),
    "failing, with a live view": ("threads", {"FORCE_COLOR": "1", "TERM": "xterm"}, 65),
}


@pytest.mark.parametrize(("kind", "more", "code"), RUNS.values(), ids=RUNS)
def test_no_output_of_a_run_has_the_secrets_of_its_environment(folder, kind, more, code):
    if code:
        data = np.zeros((10, 2))
        data[3, 1] = np.nan
        da.from_array(data).to_zarr("x.zarr", overwrite=True)
    Path("job.yaml").write_text(JOB.replace("KIND", kind))
    done = subprocess.run(
        [sys.executable, "-m", "dgmm", "run", "job.yaml"],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | more,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert SECRET.encode() not in done.stdout + done.stderr
    assert files_with(folder, SECRET) == []
    assert Path("r.json").exists() == (code == 0)


@pytest.fixture
def bucket(folder, monkeypatch):
    """A bucket of a loopback S3; the environment has the secret key of its user, and the endpoint."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        for name, value in (("ENDPOINT_URL", endpoint), ("ALLOW_HTTP", "true"), ("REGION", "us-east-1")):
            monkeypatch.setenv(f"AWS_{name}", value)
        with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT"), timeout=30):
            yield S3Store("bucket")
    finally:
        server.stop()


def test_a_run_with_its_checkpoints_on_s3_leaves_no_secret_anywhere(folder, bucket, capfd):
    Path("job.yaml").write_text(JOB.replace("KIND", "threads") + "checkpoint: {path: s3://bucket/fit, interval: 0}\n")
    assert main(["run", "job.yaml"]) == 0, capfd.readouterr().err
    stored = [item["path"] for page in bucket.list() for item in page]
    assert len(stored) > 1
    content = [bytes(bucket.get(path).bytes()) for path in stored]
    assert not any(SECRET.encode() in each for each in [*content, *map(str.encode, stored)])
    assert files_with(folder, SECRET) == []
    text = Path("job.yaml").read_text().replace("bucket/fit", "no-such-bucket/fit")
    Path("job.yaml").write_text(text.replace("report: r.json", "overwrite: true"))
    assert main(["run", "job.yaml"]) != 0
    printed = capfd.readouterr()
    assert "no-such-bucket" in printed.err
    assert SECRET not in printed.out + printed.err


def test_a_run_of_which_all_lies_on_s3_leaves_no_secret_anywhere(folder, bucket, capfd):
    rows = open_array("x.zarr").compute()
    zarr.create_array(ObjectStore(S3Store("bucket", prefix="all/x.zarr")), data=rows, chunks=(100, 2))
    text = JOB.replace("KIND", "threads").replace("r.json}", "r.json, page: p.html}")
    for name in ("x.zarr", "m.zarr", "l.zarr", "r.json", "p.html"):
        text = text.replace(name, f"s3://bucket/all/{name}")
    Path("job.yaml").write_text(text)
    assert main(["run", "job.yaml"]) == 0, capfd.readouterr().err
    assert main(["inspect", "s3://bucket/all/m.zarr"]) == 0
    stored = [item["path"] for page in bucket.list("all") for item in page]
    assert {name.split("/")[1] for name in stored} == {"x.zarr", "m.zarr", "l.zarr", "r.json", "p.html"}
    content = [bytes(bucket.get(path).bytes()) for path in stored]
    assert not any(SECRET.encode() in each for each in [*content, *map(str.encode, stored)])
    assert files_with(folder, SECRET) == []
    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err


def test_no_graph_that_writes_to_a_store_holds_the_secrets(folder, bucket):
    graphs = []

    def get(graph, keys, **kwargs):
        graphs.append(cloudpickle.dumps((graph, keys)))
        return dask.get(graph, keys, **kwargs)

    with dask.config.set(scheduler=get):
        write_results(da.arange(8, chunks=2), "s3://bucket/l.zarr")
    assert graphs
    assert not any(SECRET.encode() in graph for graph in graphs)


def test_inspect_shows_no_secrets(folder, capsys):
    GaussianMixture(2, random_state=0).fit(open_array("x.zarr")).save("m.zarr")
    assert main(["inspect", "m.zarr"]) == main(["inspect", "x.zarr"]) == 0
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err


def test_no_graph_holds_the_secrets(folder):
    graphs = []

    def get(graph, keys, **kwargs):
        graphs.append(cloudpickle.dumps((graph, keys)))
        return dask.get(graph, keys, **kwargs)

    with dask.config.set(scheduler=get):
        model = GaussianMixture(2, random_state=0).fit(open_array("x.zarr"))
        model.predict(open_array("x.zarr")).compute()
    assert len(graphs) > 2
    assert not any(SECRET.encode() in graph for graph in graphs)
    assert SECRET.encode() not in pickle.dumps(model)


URLS = {
    "user": f"s3://user:{SECRET}@bucket/x.zarr",
    "user, twice": f"https://host/a,s3://user:{SECRET}@bucket/x",
    "token for a user": f"https://{SECRET}@host/x",
    "signature": f"https://bucket.s3.amazonaws.com/x?X-Amz-Signature={SECRET}",
    "fragment": f"https://host/x#token={SECRET}",
    "an @ in it": f"ftp://user:a@{SECRET}@host/x",
    "one slash": f"s3:/user:{SECRET}@bucket/x.zarr",
    "long": f"s3://{'user' * 30}:{SECRET}{'x' * 100}@bucket/x",
    "a sign of quoting": f"s3://user:a'{SECRET}@bucket/x",
}

PLACES = {
    "input": "input: {path: URL}\nmodel: {n_components: 2}\noutput: {model: m}",
    "weights": "input: {path: x, sample_weight: URL}\nmodel: {n_components: 2}\noutput: {model: m}",
    "picture": "input: {image: URL, store: s}\nmodel: {n_components: 2}\noutput: {model: m}",
    "output": "input: {path: x}\nmodel: {n_components: 2}\noutput: {model: URL, report: URL}",
    "number": "input: {path: x}\nmodel: {n_components: URL, tol: URL}\noutput: {model: m}",
    "choice": "input: {path: x}\nmodel: {n_components: 2, covariance_type: URL}\noutput: {model: m}",
    "section": "input: URL\nmodel: [URL]\noutput: {model: m}",
    "whole": "URL",
    "list": "[[URL], URL]",
    "key": "? URL\n: 1",
    "nested": "input: {path: [{password: MARKED}]}\nmodel: [{secret_key: MARKED, x: [{token: MARKED}]}]\n",
    "unknown": "aws_secret_access_key: MARKED\ncluster: {kind: threads, password: MARKED}",
    "address": "cluster: {kind: scheduler, address: URL}",
    "address, of a scheduler": "cluster: {kind: scheduler, address: 'tcp://user:MARKED@host:8786'}",
    "dashboard": "cluster: {kind: local, dashboard_address: [URL]}",
    "checkpoint": "checkpoint: {path: URL, keep: URL}",
    "tag": "input: !!int URL",
    "broken": "input: {path: URL\nmodel: ]",
}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
@pytest.mark.parametrize("text", PLACES.values(), ids=PLACES)
def test_a_job_file_with_a_secret_is_refused_without_it(tmp_path, text, url):
    path = tmp_path / "job.yaml"
    path.write_text(text.replace("URL", json.dumps(url)).replace("MARKED", SECRET))
    with pytest.raises(JobError) as caught:
        load_job(path)
    for shown in (str(caught.value), repr(caught.value)):
        assert "MARKER7" not in shown
        assert "MDENG" not in shown


COMMANDS = {
    "run": ["run", "URL"],
    "cluster": ["run", "job.yaml", "--cluster", "URL"],
    "fit": ["fit", "URL", "-k", "2", "-o", "m"],
    "fit to": ["fit", "x.zarr", "-k", "2", "-o", "URL"],
    "weights": ["fit", "x.zarr", "-k", "2", "-o", "m", "--sample-weight", "URL"],
    "predict": ["predict", "URL", "x.zarr", "l"],
    "predict of": ["predict", "x.zarr", "URL", "l"],
    "predict to": ["predict", "x.zarr", "x.zarr", "URL"],
    "inspect": ["inspect", "URL"],
    "certs": ["certs", "URL"],
}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_a_command_with_a_secret_is_refused_without_it(folder, capsys, arguments, url):
    Path("job.yaml").write_text(JOB.replace("KIND", "threads"))
    before = sorted(folder.iterdir())
    assert main([url if each == "URL" else each for each in arguments]) == 2
    printed = capsys.readouterr()
    assert "MARKER7" not in printed.out + printed.err
    assert "MDENG" not in printed.out + printed.err
    assert sorted(folder.iterdir()) == before


def test_the_trace_of_a_bug_shows_no_secret(folder, monkeypatch, capsys):
    def bug(*_, **__):
        try:
            raise OSError(f"no answer from {URLS['user']}")
        except OSError as error:
            raise RuntimeError(f"gave up on {URLS['signature']}") from error

    Path("job.yaml").write_text(JOB.replace("KIND", "threads"))
    monkeypatch.setattr("dgmm.jobs.runs.recording.run_job", bug)
    assert main(["run", "job.yaml"]) == 1
    err = capsys.readouterr().err
    assert "gave up on https://bucket.s3.amazonaws.com/x?***" in err
    assert "MARKER7" not in err


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DgmmError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_error_of_dgmm_shows_credentials_also_not_one_from_a_worker(kind):
    arguments = ("package", "extra", URLS["user"]) if kind is errors.MissingExtraError else (f"at {URLS['user']}: no",)
    error = kind(*arguments)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    for shown in (str(error), str(again), *(repr(error) for _ in [0] if kind is not errors.MissingExtraError)):
        assert "s3://***@bucket/x.zarr" in shown
        assert "MARKER7" not in shown


words = st.text(st.sampled_from("§€Ω/+=%:@~,;!"), min_size=1, max_size=30)


@given(
    st.text(st.characters(categories=["Lu", "Zs"])), words, words, st.sampled_from(["s3", "https", "tcp", "a+b.c-d"])
)
def test_what_stands_before_the_at_sign_and_in_the_query_is_struck_out(text, secret, signature, scheme):
    found = redact(f"{text}{scheme}://{secret}@host/path?key={signature} END")
    assert re.search(r"://\*\*\*(@host/path\?\*\*\*)? END\Z", found)
    assert not set("§€Ω%~!") & set(found.removeprefix(text))


@given(st.text(st.characters(exclude_characters="@?#")))
def test_text_without_credentials_stays_as_it_is(text):
    assert redact(text) == text


def test_redaction_takes_time_in_proportion_to_the_text():
    # Quadratic work would take hours.
    for text in ("f" * 2_000_000, "a:/" * 700_000, "@" * 2_000_000, "a://" + "@?" * 1_000_000):
        redact(text)
