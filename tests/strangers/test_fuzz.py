"""Every parser of a file, on files with random damage: what they said before, or one of dgmm's errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from reference import FAMILIES

from dgmm import EigenMoments, GaussianMixture
from dgmm.cli import main
from dgmm.errors import DgmmError, FormatError, JobError
from dgmm.jobs.inspection import inspect_path
from dgmm.jobs.loading import load_cluster, load_job
from dgmm.storage.arrays import open_array

ROOT = Path(__file__).parents[2]
several = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])

# -- damage ---------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**15, 10**30, 10**400]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["float32", "string", "os.system", "pickle", "bytes", "zstd", "vlen-utf8", "NaN", "|O", "array"]),
)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "id", "configuration", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """Bytes with one flipped, some removed, some repeated or some put in."""
    at = draw(st.integers(0, max(len(content) - 1, 0)))
    match draw(st.sampled_from(["flip", "cut", "remove", "repeat", "insert"])):
        case "flip" if content:
            return content[:at] + bytes([content[at] ^ draw(st.integers(1, 255))]) + content[at + 1 :]
        case "cut":
            return content[:at]
        case "remove":
            return content[:at] + content[at + draw(st.integers(1, 40)) :]
        case "repeat":
            return content[:at] + content[at : at + draw(st.integers(1, 200))] * 2 + content[at:]
        case _:
            return content[:at] + draw(st.binary(min_size=1, max_size=8)) + content[at:]


def places(value, path=()):
    """The path of every value within a JSON value."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


@st.composite
def mutated(draw, value):
    """A JSON value of which one part was removed or is another."""
    value = json.loads(json.dumps(value))
    path = draw(st.sampled_from(list(places(value))))
    if not path:
        return draw(json_values)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if draw(st.booleans()):
        del inner[path[-1]]
    else:
        inner[path[-1]] = draw(json_values)
    return value


# -- job and cluster files ------------------------------------------------------------------------

JOB = (ROOT / "workflows" / "quickstart.yaml").read_bytes()
CLUSTERS = [path.read_bytes() for path in sorted((ROOT / "cluster_configs").glob("*.yaml"))]


def hold_to_lines(load, path: Path) -> None:
    """A file is read, or every line of the error begins with its name."""
    found = raised(JobError, load, path)
    assert "\x1b" not in found
    assert all(line.startswith(f"{path}:") for line in found.splitlines())


def raised(kind, call, *arguments) -> str:
    """The text of the error; empty if there is none."""
    try:
        call(*arguments)
    except kind as error:
        return str(error)
    return ""


@several
@given(st.binary(max_size=300) | damaged(JOB) | damaged(JOB).flatmap(damaged))
def test_any_file_is_a_job_or_a_job_error(tmp_path, content):
    (tmp_path / "job.yaml").write_bytes(content)
    hold_to_lines(load_job, tmp_path / "job.yaml")


@several
@given(st.binary(max_size=300) | st.sampled_from(CLUSTERS).flatmap(damaged))
def test_any_file_is_a_cluster_or_a_job_error(tmp_path, content):
    (tmp_path / "cluster.yaml").write_bytes(content)
    hold_to_lines(load_cluster, tmp_path / "cluster.yaml")


# -- models ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a saved model of each family, and with features of signals."""
    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (60, 3)), rng.normal(7, 2, (60, 3))])
    for family in FAMILIES:
        means = X[[0, 100]].tolist()
        model = GaussianMixture(2, covariance_type=family, means_init=means, random_state=0, max_iter=50)
        model.fit(X).save(folder / family)
    EigenMoments(3, order=(3, 2), noise=1.0).fit(rng.normal(size=(60, 6, 5))).save(folder / FEATURES)
    return folder


FEATURES = "features"


def load_any(folder: Path) -> GaussianMixture | EigenMoments:
    return (EigenMoments if folder.name == FEATURES else GaussianMixture).load(folder)


def content_of(model: GaussianMixture | EigenMoments) -> dict[str, object]:
    """All that a loaded model is, in values that can be compared."""
    fitted = {name: value for name, value in vars(model).items() if name.endswith("_")}
    arrays = {name: np.asarray(value).tolist() for name, value in fitted.items() if name != "plan_"}
    inner = {name: vars(model)[name] for name in ("_axes", "_space") if isinstance(model, EigenMoments)}
    return {**arrays, **model.get_params(), **inner, "plan": getattr(model, "plan_", None)}


def use(model: GaussianMixture | EigenMoments) -> None:
    """Whatever is loaded works."""
    if isinstance(model, GaussianMixture):
        assert model.predict(np.zeros((2, 3))).shape == (2,)
    elif model.n_features_in_ < 10_000:  # a file may say that its signals are long
        assert model.transform(np.zeros((2, model.n_features_in_))).shape == (2, 3)


def files_of(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def hold_to(folder: Path, truth: dict[str, object]) -> None:
    """A damaged model is the one that was saved, or it is refused."""
    try:
        found = content_of(load_any(folder))
    except FormatError:
        pass
    else:
        assert found == truth


class Copy:
    """A model with one file that is damaged for the body."""

    def __init__(self, models: Path, family: str, number: int) -> None:
        files = files_of(models / family)
        self.folder, self.file = models / family, models / family / files[number % len(files)]
        self.content = self.file.read_bytes()

    def __enter__(self):
        self.truth = content_of(load_any(self.folder))
        return self

    def __exit__(self, *_) -> None:
        self.file.write_bytes(self.content)


STORED = [*FAMILIES, FEATURES]
families, numbers = st.sampled_from(STORED), st.integers(0, 12)


@several
@given(families, numbers, st.data())
def test_a_model_with_a_damaged_file_is_the_same_or_refused(models, family, number, data):
    with Copy(models, family, number) as copy:
        copy.file.write_bytes(data.draw(damaged(copy.content)))
        hold_to(copy.folder, copy.truth)


@several
@given(families, st.data())
def test_a_model_with_other_metadata_is_the_same_or_refused(models, family, data):
    metadata = [i for i, path in enumerate(files_of(models / family)) if path.name == "zarr.json"]
    with Copy(models, family, data.draw(st.sampled_from(metadata))) as copy:
        copy.file.write_text(json.dumps(data.draw(mutated(json.loads(copy.content)))))
        hold_to(copy.folder, copy.truth)


@several
@given(families, st.data())
def test_a_model_with_other_details_is_the_same_or_refused(models, family, data):
    number = [str(path) for path in files_of(models / family)].index("zarr.json")
    with Copy(models, family, number) as copy:
        values = json.loads(copy.content)
        details = data.draw(mutated(json.loads(values["attributes"]["details"])))
        values["attributes"]["details"] = json.dumps(details)
        copy.file.write_text(json.dumps(values))
        hold_to(copy.folder, copy.truth)


@several
@given(families, st.data())
def test_a_model_without_a_digest_takes_only_values_that_hold_together(models, family, data):
    number = [str(path) for path in files_of(models / family)].index("zarr.json")
    with Copy(models, family, number) as copy:
        values = json.loads(copy.content)
        del values["attributes"]["digest"]
        details = data.draw(mutated(json.loads(values["attributes"]["details"])))
        values["attributes"]["details"] = json.dumps(details)
        copy.file.write_text(json.dumps(values))
        try:
            model = load_any(copy.folder)
        except FormatError:
            return
        use(model)
        model.save(copy.folder.parent / "again", overwrite=True)
        inspect_path(copy.folder)


@pytest.mark.parametrize("family", STORED)
def test_a_model_without_one_of_its_files_is_the_same_or_refused(models, family):
    for number, name in enumerate(files_of(models / family)):
        with Copy(models, family, number) as copy:
            copy.file.unlink()
            with pytest.raises(FormatError):
                load_any(copy.folder)
            assert name not in files_of(copy.folder)


def test_every_flipped_byte_of_a_models_numbers_is_noticed_also_by_xarray(models, tmp_path):
    shutil.copytree(models / "full", tmp_path / "m")
    chunks = [path for path in files_of(tmp_path / "m") if path.name != "zarr.json"]
    assert len(chunks) == 6
    for name in chunks:
        file = tmp_path / "m" / name
        content = file.read_bytes()
        for at in range(len(content)):
            file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(ValueError, match="checksum"):
                zarr.open_array(tmp_path / "m" / name.parts[0], mode="r")[...]
            if at % 8 == 0:
                with pytest.raises(FormatError):
                    GaussianMixture.load(tmp_path / "m")
        with pytest.raises(ValueError, match="checksum"):
            xr.open_zarr(tmp_path / "m").load()
        file.write_bytes(content)


# -- arrays ---------------------------------------------------------------------------------------


def npy_bytes() -> bytes:
    import io

    file = io.BytesIO()
    np.save(file, np.arange(12.0).reshape(6, 2))
    return file.getvalue()


NPY = npy_bytes()


def look_at(path: Path) -> None:
    """Open and describe an array, or be told in dgmm's words why not."""
    for look in (open_array, inspect_path):
        found = raised(DgmmError, look, path)
        assert not found or str(path) in found


headers = st.text(alphabet="{}()[]'\":,<|>fiuOUSVM0123456789 -*descrshapfotn_\nFalsTue\\x", max_size=120)


@several
@given(st.binary(max_size=200) | damaged(NPY) | damaged(NPY[:128]) | headers)
@example("{'descr': '<f8', 'fortran_order': False, 'shape': (1" + "0" * 40 + ",2)}")
def test_any_npy_file_is_an_array_or_refused(tmp_path, content):
    if isinstance(content, str):
        text = content.encode()
        content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)
    (tmp_path / "x.npy").write_bytes(content)
    look_at(tmp_path / "x.npy")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Arrays of both formats of zarr, one of them packed, and a group of them."""
    folder = tmp_path_factory.mktemp("stores")
    for version in (2, 3):
        array = zarr.create_array(folder / f"v{version}", shape=(6, 2), chunks=(2, 2), dtype="f8", zarr_format=version)
        array[...] = 1.0
    packed = xr.Dataset({"x": (("a", "b"), np.ones((6, 2)))})
    packed.to_zarr(
        folder / "v4", encoding={"x": {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}}, consolidated=False
    )
    return folder


FILES = ("v2/.zarray", "v3/zarr.json", "v4/zarr.json", "v4/x/zarr.json")


@several
@given(st.sampled_from(FILES), st.booleans(), st.data())
def test_any_metadata_are_those_of_an_array_or_refused(stores, name, by_value, data):
    file = stores / name
    content = file.read_bytes()
    if by_value:
        value = data.draw(mutated(json.loads(content)))
        new = json.dumps(value).encode()
    else:
        new = data.draw(damaged(content))
    try:
        file.write_bytes(new)
        look_at(stores / name.split("/")[0])
    finally:
        file.write_bytes(content)


# -- the command line -----------------------------------------------------------------------------

TOKENS = [
    *("run", "fit", "predict", "inspect", "x.npy", "m.zarr", "job.yaml", "-k", "2", "-o", "n.zarr", "--tol", "auto"),
    *("--overwrite", "--features", "0,1", "--cluster", "--variable", "--random-state", "--n-init", "--max-iter", "1"),
    *("--sample-weight", "--covariance-type", "full", "--reg-covar", "nan", "-1", "1e400", "", ".", "..", "/", "\0"),
    *("--", "--help", "--version", "--no-such", "ä", "\x1b[2J", "x" * 5000, "s3://a:b@c/d", "~nobody/x", "/dev/null"),
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    X = np.random.default_rng(0).normal(size=(30, 2))
    np.save(folder / "x.npy", X)
    GaussianMixture(1).fit(X).save(folder / "m.zarr")
    (folder / "job.yaml").write_text("input: {path: x.npy}\nmodel: {n_components: 1}\noutput: {report: r.json}\n")
    return folder


@several
@given(st.lists(st.sampled_from(TOKENS) | st.text(max_size=5), max_size=9))
@example(["fit", "x.npy", "-k", "2", "-o", "n.zarr", "--tol", "nan"])
@example(["fit", "x.npy", "-k", "99999999999999999999", "-o", "n.zarr"])
@example(["fit", "x.npy", "-k", "2", "-o", "n.zarr", "--random-state", "-1"])
@example(["predict", "m.zarr", "x.npy", "n.zarr", "--features", ",".join("9" * 5000)])
def test_any_arguments_end_with_an_exit_code_that_is_no_bug(desk, monkeypatch, capsys, arguments):
    assume("-" not in arguments)
    monkeypatch.chdir(desk)
    code = main(arguments)
    printed = capsys.readouterr()
    assert code in (0, 2, 65), (arguments, printed.err)
    assert "Traceback" not in printed.err
    shutil.rmtree(desk / "n.zarr", ignore_errors=True)
    (desk / "r.json").unlink(missing_ok=True)
