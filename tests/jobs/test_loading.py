"""Job files: what is refused, on which line, in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dgmm.errors import JobError
from dgmm.jobs.loading import Job, load_cluster, load_job, parse_job
from dgmm.jobs.source import parse
from dgmm.jobs.specification import ImageInput, JobFile, LocalCluster, PathInput, ThreadsCluster

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
    assert job.input.path == tmp_path / "x.zarr"
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


BAD = {
    "empty": ("", 1, "", "missing; expected sections input, preprocess, model, output, cluster, checkpoint"),
    "a word": ("hello", 1, "", "found 'hello'"),
    "a list": ("- 1\n- 2", 1, "", "found [1, 2]"),
    "no yaml": ("input: {path: x", 1, "", "not valid YAML"),
    "tab": (GOOD + "cluster:\n\tkind: threads", 5, "", "not valid YAML"),
    "control character": ("input:\n  path: \x07", 2, "", "not valid YAML"),
    "two documents": (GOOD + "---\n" + GOOD, 4, "", "not valid YAML"),
    "python object": (
        job_with("{path: x.zarr}", "\n  path: !!python/object/apply:os.system [ls]"),
        2,
        "input.path",
        "the tag",
    ),
    "alias": (job_with("{path: x.zarr}", "&a\n  path: *a"), 2, "", "aliases"),
    "deep": ("[" * 20_000, 1, "", "nested too deeply"),
    "huge number": (job_with("3", "9" * 5000), 2, "model.n_components", "not a number"),
    "lone surrogate": (job_with("x.zarr", '"\\ud800"'), 1, "input.path", "cannot be printed"),
    "number as key": (GOOD + "7: x", 4, "", "a key must be a plain word"),
    "unknown section": (GOOD + "outptu: {}", 4, "outptu", "did you mean 'output'?"),
    "unknown section, listed": (
        GOOD + "extra: 1",
        4,
        "extra",
        "unknown key; allowed: input, preprocess, model, output, cluster, checkpoint",
    ),
    "duplicate": (GOOD + "model: {n_components: 4}", 4, "model", "stands on line 2 already"),
    "duplicate within": (
        job_with("{n_components: 3}", "\n  n_components: 3\n  tol: 1\n  tol: 2"),
        5,
        "model.tol",
        "line 4",
    ),
    "no input": (GOOD.replace("input: {path: x.zarr}\n", "\n"), 2, "input", "missing"),
    "no path": (job_with("path: x.zarr", "variable: x"), 1, "input.path", "give path (an array) or image"),
    "path and image": (job_with("path: x.zarr", "path: a, image: b, store: c"), 1, "input.path", "not both"),
    "no store": (job_with("path: x.zarr", "image: a.png"), 1, "input.store", "missing"),
    "path is a number": (job_with("x.zarr", "3"), 1, "input.path", "found 3"),
    "path is a URL": (job_with("x.zarr", "s3://bucket/x"), 1, "input.path", "local files only"),
    "path is too long": (job_with("x.zarr", "x" * 5000), 1, "input.path", "too long"),
    "unknown home": (job_with("x.zarr", "~no-such-user/x"), 1, "input.path", "home"),
    "chunk_rows": (
        job_with("path: x.zarr", "image: a.png, store: b, chunk_rows: 0"),
        1,
        "input.chunk_rows",
        "found 0; allowed: a whole number of at least 1",
    ),
    "no n_components": (
        job_with("n_components: 3", "n_component: 3"),
        2,
        "model.n_components",
        "missing; expected a whole number of at least 1",
    ),
    "misspelt": (job_with("n_components: 3", "n_component: 3"), 2, "model.n_component", "'n_components'?"),
    "n_components 0": (job_with("3", "0"), 2, "model.n_components", "found 0; allowed: a whole number of"),
    "n_components 2.5": (job_with("3", "2.5"), 2, "model.n_components", "found 2.5"),
    "n_components as text": (job_with("3", "'3'"), 2, "model.n_components", "found '3'"),
    "n_components true": (job_with("3", "true"), 2, "model.n_components", "found true"),
    "family": (
        job_with("3", "3, covariance_type: ful"),
        2,
        "model.covariance_type",
        "found 'ful'; allowed: full, tied, diag or spherical; did you mean 'full'?",
    ),
    "init": (job_with("3", "3, init_params: kmean"), 2, "model.init_params", "did you mean 'kmeans'?"),
    "tol negative": (job_with("3", "3, tol: -1"), 2, "model.tol", "found -1"),
    "tol word": (job_with("3", "3, tol: aut"), 2, "model.tol", "found 'aut'"),
    "tol infinite": (job_with("3", "3, tol: .inf"), 2, "model.tol", "found inf"),
    "reg_covar nan": (job_with("3", "3, reg_covar: .nan"), 2, "model.reg_covar", "found nan"),
    "reg_covar yes": (job_with("3", "3, reg_covar: yes"), 2, "model.reg_covar", "found 'yes'"),
    "seed": (job_with("3", "3, random_state: -1"), 2, "model.random_state", "found -1; allowed: a whole"),
    "weights": (job_with("3", "2, weights_init: [0.5, 0.6]"), 2, "model.weights_init", "whose sum is 1"),
    "weights, number": (job_with("3", "3, weights_init: [0.5, 0.5]"), 2, "model.weights_init", "2 entries for 3"),
    "means": (job_with("3", "2, means_init: [[1], [2, 3]]"), 2, "model.means_init", "different lengths"),
    "means, one word": (
        job_with("{n_components: 3}", "\n  n_components: 1\n  means_init:\n    - [1, x]"),
        5,
        "model.means_init[0][1]",
        "found 'x'",
    ),
    "precisions": (job_with("3", "1, precisions_init: [[1, x]]"), 2, "model.precisions_init", "nested lists"),
    "dtype": (GOOD + "preprocess: {dtype: float16}", 4, "preprocess.dtype", "allowed: float32 or float64"),
    "features": (GOOD + "preprocess: {features: [1, 1]}", 4, "preprocess.features", "stands twice"),
    "features, negative": (GOOD + "preprocess: {features: [-1]}", 4, "preprocess.features[0]", "found -1"),
    "nothing written": (job_with("model: m.zarr", "overwrite: true"), 3, "output", "nothing would be written"),
    "output misspelt": (job_with("model: m.zarr", "modl: m"), 3, "output.modl", "did you mean 'model'?"),
    "picture of an array": (job_with("model: m.zarr", "picture: p.png"), 3, "output.picture", "input.image"),
    "picture of two colours": (
        job_with("path: x.zarr", "image: p.jpg, store: s").replace("model: m.zarr", "picture: p.png")
        + "preprocess:\n  features: [0]",
        5,
        "preprocess.features",
        "all colours",
    ),
    "kind of input": (job_with("path: x.zarr", "kind: zarr"), 1, "input.kind", "unknown key; allowed: path"),
    "no kind": (GOOD + "cluster: {n_workers: 2}", 4, "cluster.kind", "missing; expected threads, synchronous"),
    "kind": (GOOD + "cluster:\n  kind: locl", 5, "cluster.kind", "did you mean 'local'?"),
    "key of another kind": (
        GOOD + "cluster:\n  kind: threads\n  memory_limit: 2GiB",
        6,
        "cluster.memory_limit",
        "unknown key; allowed: persist, lean, kind, n_workers",
    ),
    "memory": (GOOD + "cluster: {kind: local, memory_limit: 4 Gb}", 4, "cluster.memory_limit", "'4GiB'"),
    "address": (GOOD + "cluster: {kind: scheduler, address: host}", 4, "cluster.address", "tcp://host:8786"),
    "half of tls": (
        GOOD + "cluster: {kind: scheduler, address: 'tls://h:1', tls_key: k}",
        4,
        "cluster",
        "tls_ca_file, tls_cert and tls_key",
    ),
    "checkpoint without a place": (GOOD + "checkpoint: {keep: 1}", 4, "checkpoint.path", "missing"),
    "how to resume": (GOOD + "checkpoint: {path: c, resume: yes}", 4, "checkpoint.resume", "auto (go on"),
    "checkpoint with a key": (
        GOOD + "checkpoint: {path: 's3://me:hidden@bucket/c'}",
        4,
        "checkpoint.path",
        "taken from the environment",
    ),
}


@pytest.mark.parametrize(("text", "line", "key", "words"), BAD.values(), ids=BAD)
def test_a_bad_job_is_refused_with_its_line(text, line, key, words):
    start = f"job.yaml:{line}: {key}: " if key else f"job.yaml:{line}: "
    matching = [refusal for refusal in refusals(text) if refusal.startswith(start) and words in refusal]
    assert matching, "\n".join(refusals(text))


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
        f"{path}:3: n_worker: unknown key; allowed: persist, lean, kind, n_workers, threads_per_worker, memory_limit, "
        "local_directory, dashboard_address; did you mean 'n_workers'?",
        f"{path}:4: n_workers: found 0; allowed: a whole number of at least 1: worker processes; "
        "chosen by Dask if left out",
    ]
    path.write_text("cluster: {kind: local}")
    with pytest.raises(JobError, match="kind: missing"):
        load_cluster(path)


@pytest.mark.parametrize("path", sorted((ROOT / "cluster_configs").glob("*.yaml")), ids=lambda path: path.name)
def test_the_cluster_files_of_the_project_are_valid(path):
    assert load_cluster(path).kind == path.stem
    assert path.stem in {"threads", "local", "scheduler"}


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
