"""Job files: what is refused, on which line, in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dgmm.errors import JobError
from dgmm.jobs.clusters.sections import LocalCluster, ThreadsCluster
from dgmm.jobs.loading import Job, load_cluster, load_job, parse_job
from dgmm.jobs.source import parse
from dgmm.jobs.specification import ImageInput, JobFile, PathInput

ROOT = Path(__file__).parents[2]
GOOD = "input: {path: x.zarr}\nmodel: {n_components: 3}\noutput: {model: m.zarr}\n"


def job_with(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def refusals(text: str) -> list[str]:
    with pytest.raises(JobError) as caught:
        parse_job(text, "job.yaml", Path("/data"))
    return str(caught.value).splitlines()


def test_a_minimal_job_has_scikit_learns_defaults(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(GOOD)
    job = load_job(path)
    assert isinstance(job.input, PathInput)
    assert job.input.path == str(tmp_path / "x.zarr")
    assert job.output.paths == {"model": tmp_path / "m.zarr"}
    assert (job.model.tol, job.model.reg_covar, job.model.max_iter) == (1e-3, 1e-6, 100)
    assert (job.model.covariance_type, job.model.init_params, job.model.n_init) == ("full", "kmeans", 1)
    assert job.cluster == ThreadsCluster()


def test_empty_sections_count_as_left_out():
    job = parse_job(GOOD + "preprocess:\ncluster:\ncheckpoint:\n", "job.yaml", Path())
    assert job.cluster == ThreadsCluster()


def test_numbers_are_read_as_in_yaml_1_2():
    text = job_with("n_components: 3", "n_components: 3, tol: 1e-4, reg_covar: 2, max_iter: 0x10")
    job = parse_job(text, "job.yaml", Path())
    assert (job.model.tol, job.model.reg_covar, job.model.max_iter) == (1e-4, 2.0, 16)


def test_a_picture_as_input():
    job = parse_job(job_with("path: x.zarr", "image: china.jpg, store: s.zarr"), "job.yaml", Path("/data"))
    assert isinstance(job.input, ImageInput)
    assert (job.input.image, job.input.store) == ("china.jpg", Path("/data/s.zarr"))
    job = parse_job(job_with("path: x.zarr", "image: p.png, store: s.zarr"), "job.yaml", Path("/data"))
    assert isinstance(job.input, ImageInput)
    assert job.input.image == "/data/p.png"


def test_every_problem_is_reported_at_once_in_the_order_of_lines():
    text = "input:\n  path: 3\nmodel:\n  n_components: 0\n  tol: x\noutput:\n  modl: m\ncluster:\n  kind: x\n"
    found = refusals(text)
    assert [line.split(":")[1] for line in found] == ["2", "4", "5", "7", "9"]


def test_every_field_states_its_allowed_values():
    def fields(model):
        for field in model.model_fields.values():
            yield field
            for member in getattr(field.annotation, "__args__", (field.annotation,)):
                if hasattr(member, "model_fields"):
                    yield from fields(member)

    unstated = [f for f in fields(JobFile) if not f.description and f.annotation is not None]
    assert all("Literal" in str(field.annotation) for field in unstated), unstated


@pytest.mark.parametrize("name", ["no-such.yaml", "."])
def test_an_unreadable_file_is_a_job_error(tmp_path, name):
    with pytest.raises(JobError, match=r"there is no such file|this is a folder"):
        load_job(tmp_path / name)


def test_a_file_that_is_no_text_is_a_job_error(tmp_path):
    (tmp_path / "job.yaml").write_bytes(b"input: \xff\xfe")
    with pytest.raises(JobError, match="not UTF-8"):
        load_job(tmp_path / "job.yaml")


def test_a_cluster_file_takes_the_place_of_the_section(tmp_path):
    (tmp_path / "job.yaml").write_text(GOOD + "cluster: {kind: synchronous}")
    (tmp_path / "cluster.yaml").write_text("kind: local\nn_workers: 2\n")
    cluster = load_cluster(tmp_path / "cluster.yaml")
    assert cluster == LocalCluster(kind="local", n_workers=2)
    assert load_job(tmp_path / "job.yaml", cluster=cluster).cluster is cluster


def test_a_cluster_file_reports_its_own_keys_and_lines(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("# comment\nkind: local\nn_worker: 2\nn_workers: 0\n")
    with pytest.raises(JobError) as caught:
        load_cluster(path)
    assert str(caught.value).splitlines() == [
        f"{path}:3: n_worker: unknown key; allowed: persist, lean, n_workers, adapt, wait_for, timeout, kind, "
        "threads_per_worker, memory_limit, local_directory, dashboard_address; did you mean 'n_workers'?",
        f"{path}:4: n_workers: found 0; allowed: a whole number of at least 1: worker processes; "
        "chosen by Dask if this and adapt are left out",
    ]
    path.write_text("cluster: {kind: local}")
    with pytest.raises(JobError, match="kind: missing"):
        load_cluster(path)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["full", "auto", "china.jpg", "local", "a"])
)
KEYS = (
    "input model output cluster checkpoint preprocess path image store kind n_components tol features address "
    "local 0 [ memory_limit weights_init means_init precisions_init overwrite picture"
)
keys = st.sampled_from(KEYS.split())
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=25
)


def outcome(text: str) -> Job | JobError:
    try:
        return parse_job(text, "job.yaml", Path("/data"))
    except JobError as error:
        return error


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="{}[]:,-&*!|>'\"%@#?\n abc01~\\u", max_size=80))
@example("? [1]\n: 2")
@example("!!int foo")
@example("%YAML 1.x\n---\na")
@example('a: "\\U7fffffff"')
@example("!!map [1]")
def test_any_text_is_a_job_or_a_job_error(text):
    outcome(text)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(keys, values, max_size=6))
def test_any_structure_is_a_job_or_a_job_error(value):
    text = "\n".join(f"{key!r}: {as_yaml(item)}" for key, item in value.items())
    found = outcome(text)
    if isinstance(found, JobError):
        assert all(line.startswith("job.yaml:") for line in str(found).splitlines())


def as_yaml(value: object) -> str:
    """Write a value in YAML's flow style, independently of the reader under test."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key!r}: {as_yaml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(as_yaml(item) for item in value) + "]"
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(repr(value), repr(value))
    return repr(value)


@given(values)
def test_values_and_lines_survive_reading(value):
    source = parse(f"# comment\n\nkey: {as_yaml(value)}\n", "f")
    assert not source.problems
    assert repr(source.value) == repr({"key": value})
    assert source.line(("key",)) == 3
