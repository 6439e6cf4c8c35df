"""Bad stores, models, paths and clusters, through ``save``, ``load`` and the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
import zarr
from bad_input.kinds import CHUNK, Given, Kind, Shelf, blobs, spoilt

from dgmm import GaussianMixture
from dgmm.errors import ExistsError, FormatError, NotFoundError, ParameterError, WriteError

BAD_JOB, BAD_DATA, NO_CLUSTER = 2, 65, 69

KINDS: list[Kind] = []
Make = Callable[[Path], object]


def command(
    door: str, name: str, arguments: list[str], code: int, what: str, where: str, to_do: str,
    make: Make | None = None, kinds: list[Kind] = KINDS,
) -> None:  # fmt: skip
    """Add a command to the kinds of a table; ``make`` writes files into the folder first."""

    def given(shelf: Shelf) -> Given:
        if make is not None:
            make(shelf.folder)
        return Given(arguments=arguments)

    kinds.append(Kind(door, name, given, code, what, where, to_do))


def store(values: Any, name: str = "bad", **options: Any) -> Callable[[Path], zarr.Array]:
    return lambda folder: zarr.create_array(folder / name, data=values, **options)


def group(*names: str) -> Make:
    def make(folder: Path) -> None:
        root = zarr.create_group(folder / "bad")
        for name in names:
            root.create_array(name, data=blobs())

    return make


def saved(values: Any) -> Make:
    return lambda folder: np.save(folder / "bad", values)  # bad.npy


def edited(**changes: Any) -> Make:
    """A store whose metadata say something else than is there."""

    def make(folder: Path) -> None:
        store(blobs(), chunks=(CHUNK, 3))(folder)
        file = folder / "bad" / "zarr.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return make


def written(name: str, content: str) -> Make:
    """A folder with one file in it."""

    def make(folder: Path) -> None:
        (folder / "bad").mkdir()
        (folder / "bad" / name).write_text(content)

    return make


# -- data -----------------------------------------------------------------------------------------


def data(
    name: str,
    make: Make,
    what: str,
    where: str,
    to_do: str,
    file: str = "bad",
    code: int = BAD_DATA,
    inspect: bool = False,
) -> None:
    """Add data that neither ``dgmm fit`` nor ``dgmm predict`` take, nor ``dgmm inspect`` if so told."""
    command("dgmm fit", name, [file, "-k", "2", "-o", "new.zarr"], code, what, where, to_do, make)
    command("dgmm predict", name, ["m.zarr", file, "new.zarr"], code, what, where, to_do, make)
    if inspect:
        command("dgmm inspect", name, [file], code, what, where, to_do, make)


NUMBERS = "convert it first|give its real part"
data("NaN", store(spoilt(np.nan), chunks=(CHUNK, 3)), "NaN", "chunk 2, row 7.*feature 2", "drop or impute them")
data("infinity in a .npy file", saved(spoilt(np.inf)), "infinity", "row 47, feature 2", "drop or impute", "bad.npy")
data("complex numbers", store(blobs() * 1j), "Complex data", "X has dtype complex128", NUMBERS)
data(
    "complex numbers in a .npy file", saved(blobs() * 1j), "Complex data", "X has dtype complex128", NUMBERS, "bad.npy"
)
data("strings in a .npy file", saved(np.full((5, 3), "a")), "no real numbers", "X has dtype <U1", NUMBERS, "bad.npy")
data(
    "dates in a .npy file", saved(np.zeros((5, 3), "M8[s]")), "no real numbers", "dtype datetime64", NUMBERS, "bad.npy"
)
data("objects in a .npy file", saved(np.full((5, 3), None)), "not a .npy file of numbers", "bad.npy: ", "of numbers",
     "bad.npy", inspect=True)  # fmt: skip
data("one dimension", store(blobs()[:, 0]), r"Expected 2D array.*\(60,\)", "bad: ", "Reshape your data")
data("a number", store(np.float64(3.0)), "has no dimensions", "bad: ", "give an array of rows")
data("several arrays", group("a", "b"), "holds 2 arrays", "bad: .* the arrays in it: a, b", "give the name of one")
data("no arrays", group(), "no array in this zarr group", "bad: ", "write it again")
data(
    "a folder",
    lambda folder: (folder / "bad").mkdir(),
    "not a zarr store|of no kind that is read",
    "bad: ",
    "expected a zarr",
    inspect=True,
)
data("a text file", lambda folder: (folder / "bad").write_text("1,2\n3,4\n"), "neither a zarr store nor|of no kind",
    "bad: ",
     "a zarr store(,| nor) a .npy file", inspect=True)  # fmt: skip
data("an empty file", lambda folder: (folder / "bad").touch(), "neither a zarr store nor|of no kind", "bad: ",
     "a zarr store(,| nor) a .npy file", inspect=True)  # fmt: skip
data("a .npz archive", lambda folder: np.savez(folder / "bad.npz", blobs()), "neither a zarr|of no kind", "bad.npz: ",
     ".npz archives are not read|expected a zarr store", "bad.npz", inspect=True)  # fmt: skip
data("a truncated .npy file", lambda folder: (folder / "bad").write_bytes((folder / "x.npy").read_bytes()[:500]),
     "not a .npy file of numbers that can be read", "bad: ", "of numbers", inspect=True)  # fmt: skip
data("half of a .npy header", lambda folder: (folder / "bad").write_bytes((folder / "x.npy").read_bytes()[:30]),
     "not a .npy file of numbers that can be read", "bad: ", "of numbers", inspect=True)  # fmt: skip
for name, changes in {
    "metadata of a later format": {"zarr_format": 9},
    "a negative shape": {"shape": [-5, 3]},
    "an unknown codec": {"codecs": [{"name": "nope", "configuration": {}}]},
    "an unknown dtype": {"data_type": "float7"},
    "a shape in words": {"shape": "many"},
    "10**15 rows": {"shape": [10**15, 3]},
}.items():
    data(name, edited(**changes), "metadata|codec|chunks|shape", "bad", "write the store again", inspect=True)
data("metadata cut short", lambda folder: [store(blobs())(folder), (folder / "bad" / "zarr.json").write_text("{")],
     "metadata|JSON", "bad", "write the store again", inspect=True)  # fmt: skip
for name, file, content in (
    ("metadata that are a list", "zarr.json", "[1]"),
    ("metadata of little", "zarr.json", '{"node_type": "array"}'),
    ("metadata of format 2 without content", ".zarray", "{}"),
):
    data(name, written(file, content), "metadata|JSON", "bad", "write the store again", inspect=True)  # fmt: skip
data("a model", lambda folder: None, "a model of dgmm, not data", "m.zarr: ", "give the data", "m.zarr")
data(
    "nothing",
    lambda folder: None,
    "there is no such file or folder",
    "gone",
    "correct the path|expected",
    "gone",
    BAD_JOB,
    inspect=True,
)
data("a path below a file", lambda folder: None, "there is no such file or folder", "x.npy/a",
    "correct the path|expected", "x.npy/a", BAD_JOB,
     inspect=True)  # fmt: skip
data("a path that is too long", lambda folder: None, "too long", "xxx", "allowed|choose another", "x" * 5000, BAD_JOB,
     inspect=True)  # fmt: skip
data("a URL", lambda folder: None, "URL|no such file", "ftp", "local file|no such file|s3, gs, az", "ftp://host/x",
     BAD_JOB,
     inspect=True)  # fmt: skip
for door, before in {"dgmm fit": ["-k", "2", "-o", "new.zarr"], "dgmm predict": ["new.zarr"]}.items():
    model = ["m.zarr"] if door == "dgmm predict" else []
    command(door, "no such variable", [*model, "bad", *before, "--variable", "c"], BAD_DATA, "no array 'c'", "bad: ",
            "the arrays in it: a, b", group("a", "b"))  # fmt: skip
    command(door, "a variable of a file", [*model, "x.npy", *before, "--variable", "c"], BAD_DATA,
            "no arrays with names", "x.npy: ", "remove the name 'c'")  # fmt: skip
    command(door, "no such column", [*model, "x.npy", *before, "--features", "0,3"], BAD_JOB, "there is no column 3",
            "features: ", "allowed: 0 to 2")  # fmt: skip
    command(door, "a column twice", [*model, "x.npy", *before, "--features", "0,0,1"], BAD_JOB, "stands twice",
            "features: ", "allowed: a list of different")  # fmt: skip
    command(door, "columns in words", [*model, "x.npy", *before, "--features", "a"], BAD_JOB, "'a' is a name",
            "features: ", "give numbers, 0 to 2")  # fmt: skip
    command(door, "no columns", [*model, "x.npy", *before, "--features", ""], BAD_JOB, "found ''", "input.features",
            "allowed: a list of different names")  # fmt: skip
command("dgmm predict", "other features", ["m.zarr", "x.npy", "new.zarr", "--features", "0"], BAD_DATA,
        "X has 1 features", "is expecting 3", "give the features of the fit")  # fmt: skip
command("dgmm fit", "too few rows", ["x.npy", "-k", "61", "-o", "new.zarr"], BAD_DATA, "there are 60 rows",
        "n_components=61", "give more rows or decrease")  # fmt: skip
command("dgmm fit", "more components than memory", ["x.npy", "-k", "1000000000", "-o", "new.zarr"], NO_CLUSTER,
        "the fit needs about", "K=1000000000", "smaller model")  # fmt: skip
for name, values, what in (
    ("of two dimensions", np.ones((60, 1)), r"sample_weight has shape \(60, 1\)"),
    ("too few", np.ones(59), r"sample_weight has shape \(59,\)"),
):
    command("dgmm fit", f"weights {name}", ["x.npy", "-k", "2", "-o", "new.zarr", "--sample-weight", "bad.npy"],
        BAD_DATA,
            what, "bad.npy: ", r"expected one weight for each row, \(60,\)", saved(values))  # fmt: skip
command("dgmm fit", "negative weights", ["x.npy", "-k", "2", "-o", "new.zarr", "--sample-weight", "bad.npy"], BAD_DATA,
        "sample_weight contains -1", "row 59", "weights are counts", saved(np.r_[np.ones(59), -1.0]))  # fmt: skip
command("dgmm fit", "weights in words", ["x.npy", "-k", "2", "-o", "new.zarr", "--sample-weight", "bad.npy"], BAD_DATA,
        "no real numbers", "sample_weight has dtype", NUMBERS, saved(np.array(["a"] * 60)))  # fmt: skip
command("dgmm fit", "no weights", ["x.npy", "-k", "2", "-o", "new.zarr", "--sample-weight", "gone.npy"], BAD_JOB,
        "there is no such file", "input.sample_weight", "file or folder: ")  # fmt: skip

# -- commands -------------------------------------------------------------------------------------

command("dgmm", "no such command", ["bogus"], BAD_JOB, "No such command 'bogus'", "dgmm", "Try 'dgmm -h'|--help|-h")
command("dgmm fit", "a missing option", ["x.npy"], BAD_JOB, "Missing option", "--n-components", "-h")
command("dgmm fit", "an unknown option", ["x.npy", "-k", "2", "--outptu", "m"], BAD_JOB, "No such option", "--outptu",
        "Did you mean --output|possible options|--output")  # fmt: skip
for option, value, what, to_do in (
    ("-k", "x", "Invalid value", "not a valid int|valid"),
    ("-k", "0", "model.n_components: found 0", "at least 1"),
    ("-k", str(10**20), "model.n_components: found 1000", "at least 1"),
    ("--covariance-type", "ful", "model.covariance_type: found 'ful'", "did you mean 'full'"),
    ("--tol", "nan", "model.tol: found nan", "at least 0"),
    ("--tol", "aut", "model.tol: found 'aut'", "or auto"),
    ("--reg-covar", "nan", "model.reg_covar: found nan", "at least 0"),
    ("--max-iter", "0", "model.max_iter: found 0", "at least 1"),
    ("--n-init", "-1", "model.n_init: found -1", "at least 1"),
    ("--init-params", "kmean", "model.init_params: found 'kmean'", "did you mean 'kmeans'"),
    ("--random-state", "-1", "model.random_state: found -1", "from 0 to"),
    ("--features", "-1", "'-1' is a name", "give numbers, 0 to 2"),
):
    arguments = ["x.npy", "-o", "new.zarr", *([] if option == "-k" else ["-k", "2"]), option, value]
    where = option.removeprefix("--").replace("-", ".") if option != "-k" else "n.components"
    command("dgmm fit", f"{option} {value}", arguments, BAD_JOB, what, where, to_do)

# -- where outputs go -----------------------------------------------------------------------------

for name, place, what, to_do in (
    ("a model", "m.zarr", "m.zarr exists already", "remove it, or set output.overwrite: true"),
    ("a file", "x.npy", "x.npy exists|must end in .zarr", "never overwritten|exists already|allowed: a path"),
    ("below a file", "x.npy/m.zarr", "x.npy is not a folder|same place as", "choose another"),
    ("in the data", "bad/new.zarr", "same place as, or lies within", "choose another"),
    ("the data", "bad", "bad exists already", "overwrite"),
):
    fit = ["bad", "-k", "2", "-o", place]
    for door, arguments in {"dgmm fit": fit, "dgmm predict": ["m.zarr", "bad", place]}.items():
        key = "output.model" if door == "dgmm fit" else "LABELS|output.labels"
        command(door, f"output: {name}", arguments, BAD_JOB, what, key, to_do, store(blobs()))
        if not name.endswith("model"):
            command(door, f"output: {name}, to be replaced", [*arguments, "--overwrite"], BAD_JOB,
                    "same place as|never overwritten|not a folder|must end in .zarr", key,
                    "choose another|never overwritten|allowed: a path",
                    store(blobs()))  # fmt: skip
command("dgmm predict", "labels over the model", ["m.zarr", "x.npy", "m.zarr", "--overwrite"], BAD_JOB, "same place as",
        "LABELS", "lies within, MODEL")  # fmt: skip
command("dgmm predict", "labels over another model", ["m.zarr", "x.npy", "other", "--overwrite"], BAD_JOB, "is a model",
        "LABELS: .*other", "choose another path",
        lambda folder: GaussianMixture.load(folder / "m.zarr").save(folder / "other"))  # fmt: skip
command("dgmm predict", "labels in the model", ["m.zarr", "x.npy", "m.zarr/new"], BAD_JOB, "same place as", "LABELS",
        "lies within, MODEL")  # fmt: skip
for door, arguments in {
    "dgmm fit": ["x.npy", "-k", "2", "-o", "/proc/dgmm/new.zarr"],
    "dgmm predict": ["m.zarr", "x.npy", "/proc/dgmm/new.zarr"],
}.items():
    command(door, "output: where nothing can be written", arguments, NO_CLUSTER, "cannot be written",
            "/proc/dgmm/new.zarr", "choose another path")  # fmt: skip
command(
    "dgmm predict",
    "output: a URL",
    ["m.zarr", "x.npy", "s3://bucket/l.nc"],
    BAD_JOB,
    "l.nc",
    "LABELS|labels",
    "must end in .zarr",
)
for name, place, error, what, to_do in (
    ("a model", "m.zarr", ExistsError, "exists already", "ask for overwrite"),
    ("a file", "x.npy", ExistsError, "is no zarr store, so it is never overwritten", "choose another path"),
    ("the folder itself", ".", ExistsError, "is no zarr store, so it is never overwritten", "choose another path"),
    ("below a file", "x.npy/m.zarr", WriteError, "cannot be written: (Not a directory|File exists)", "choose another"),
    ("where nothing can be written", "/proc/dgmm/m.zarr", WriteError, "cannot be written", "choose another path"),
    ("a name that is too long", "x" * 300, ParameterError, "too long", "choose another"),
    ("a null character", "a\0b", ParameterError, "is no path", "choose another"),
    ("nothing", "", ParameterError, "is no path", "expected a str or pathlib.Path"),
    ("None", None, ParameterError, "None is no path", "expected a str or pathlib.Path"),
    ("a number", 3, ParameterError, "3 is no path", "expected a str or pathlib.Path"),
    ("bytes", b"m.zarr", ParameterError, "is no path", "expected a str or pathlib.Path"),
    ("a URL", "ftp://host/m.zarr", ParameterError, "a URL of scheme 'ftp'", "must be one of file, s3"),
):
    KINDS.append(Kind("save", name, lambda _, place=place: Given(options={"path": place}), error, what, ".", to_do))

# -- models ---------------------------------------------------------------------------------------


def model(
    name: str, path: Any, error: type[Exception], what: str, where: str, to_do: str, make: Make | None = None
) -> None:
    def given(shelf: Shelf) -> Given:
        if make is not None:
            make(shelf.folder)
        return Given(options={"path": path})

    KINDS.append(Kind("load", name, given, error, what, where, to_do))


def chunk_cut_short(folder: Path) -> None:
    chunk = next(path for path in (folder / "m.zarr" / "means" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:3])


model("nothing", "gone", NotFoundError, "there is no model at", "gone", "no model")
model("a file", "x.npy", FormatError, "is not a zarr group", "x.npy", "so it is no dgmm model")
model("a folder", ".", FormatError, "is not a zarr group", r"\.", "so it is no dgmm model")
model("an array", "bad", FormatError, "is not a zarr group|no dgmm model", "bad", "no dgmm model", store(blobs()))
model("another group", "bad", FormatError, "is a zarr group, but no dgmm model", "bad", "'format' is not 'dgmm-model'",
      group("a"))  # fmt: skip
model(
    "a chunk cut short",
    "m.zarr",
    FormatError,
    "is damaged",
    "m.zarr.*means|means.*m.zarr|m.zarr",
    "damaged",
    chunk_cut_short,
)
for value, what in ((None, "None is no path"), (3, "3 is no path"), ("", "is no path"), ("a\0b", "is no path")):
    model(f"{value!r}", value, ParameterError, what, ".", "expected a str|choose another")
model("a URL", "ftp://host/m.zarr", ParameterError, "a URL of scheme 'ftp'", ".", "must be one of file, s3")
model("a name that is too long", "x" * 5000, ParameterError, "too long", "xxx", "choose another")
command("dgmm predict", "data for a model", ["x.npy", "x.npy", "new.zarr"], BAD_DATA, "is not a zarr group", "x.npy",
        "so it is no dgmm model")  # fmt: skip
command("dgmm predict", "a store for a model", ["bad", "x.npy", "new.zarr"], BAD_DATA, "no dgmm model", "bad",
        "so it is no dgmm model|'format' is not", group("a"))  # fmt: skip
command("dgmm predict", "no model", ["gone", "x.npy", "new.zarr"], BAD_JOB, "there is no such file", "MODEL", "gone")
command("dgmm predict", "a damaged model", ["m.zarr", "x.npy", "new.zarr"], BAD_DATA, "is damaged", "m.zarr", "damaged",
        chunk_cut_short)  # fmt: skip
command("dgmm inspect", "a damaged model", ["m.zarr"], BAD_DATA, "is damaged", "m.zarr", "damaged", chunk_cut_short)

# -- jobs and clusters ----------------------------------------------------------------------------


def job(name: str, code: int, what: str, where: str, to_do: str, **sections: Any) -> None:
    """Add a job file that is well formed and cannot be run."""
    good = {"input": {"path": "x.npy"}, "model": {"n_components": 2}, "output": {"model": "new.zarr"}}

    def make(folder: Path) -> None:
        (folder / "folder").mkdir()
        (folder / "there.json").write_text("{}")
        np.save(folder / "nan.npy", spoilt(np.nan))
        (folder / "job.yaml").write_text(yaml.safe_dump(good | sections))

    command("dgmm run", name, ["job.yaml"], code, what, where, to_do, make)


for name, line, what, to_do, sections in (
    ("no data", 2, "input.path: there is no such file", "file or folder: ", {"input": {"path": "gone"}}),
    ("no weights", 3, "input.sample_weight: there is no such", "folder: ", {"input": {"path": "x.npy",
        "sample_weight": "g.npy"}}),
    ("a model is there", 6, "output.model: .* exists already", "remove it, or set", {"output": {"model": "m.zarr"}}),
    ("a report is there", 6, "output.report: .* exists already", "remove it", {"output": {"report": "there.json"}}),
    ("a folder for a model", 6, "output.model: .* exists and is no zarr store", "never overwritten",
     {"output": {"model": "folder", "overwrite": True}}),
    ("a folder for a report", 7, "output.report: .* exists and is no file", "never overwritten",
     {"output": {"report": "folder", "overwrite": True}}),
    ("below a file", 6, "output.model: cannot be written", "is not a folder", {"output": {"model": "x.npy/m.zarr"}}),
    ("two outputs at one place", 6, "output.labels: .* lies within", "output.model",
     {"output": {"model": "a.zarr", "labels": "a.zarr"}}),
    ("an output in another", 7, "output.report: .* lies within", "output.model",
     {"output": {"model": "a.zarr", "report": "a.zarr/r.json"}}),
    ("labels over the data", 6, "output.labels: .* lies within", "input.path",
     {"input": {"path": "m.zarr"}, "output": {"labels": "m.zarr", "overwrite": True}}),
    ("no such column", 2, "input.features: there is no column 3", "allowed: 0 to 2",
     {"input": {"path": "x.npy", "features": [0, 3]}}),
    ("a picture with another name", 7, "output.picture: found 'p.jpg'", "must end in .png",
     {"input": {"image": "no.jpg", "store": "s"}, "output": {"picture": "p.jpg"}}),
    ("no picture", 2, "input.image: there is no such file", "file or folder: ", {"input": {"image": "no.jpg",
        "store": "s"}}),
    ("a folder for pixels", 3, "input.store: .* was not made from a picture", ".",
     {"input": {"image": "china.jpg", "store": "folder"}}),
):  # fmt: skip
    job(name, BAD_JOB, what, rf"job.yaml:{line}: ", to_do, **sections)
job("NaN in the data", BAD_DATA, "X contains NaN", "row 47, feature 2", "drop or impute", input={"path": "nan.npy"})
job("means of other features", BAD_JOB, r"means_init has shape \(2, 1\)", "means_init", r"expected .* = \(2, 3\)",
    model={"n_components": 2, "means_init": [[0.0], [1.0]]})  # fmt: skip
job(
    "a picture that is none",
    BAD_DATA,
    "there.json|picture",
    "there.json",
    ".",
    input={"image": "there.json", "store": "s"},
)
for name, path, what, to_do, make in (
    ("nothing", "gone.yaml", "there is no such file", ".", None),
    ("a folder", ".", "this is a folder", "expected a YAML file", None),
    ("no text", "x.npy", "not UTF-8 text", "byte", None),
    ("a name that is too long", "x" * 5000, "too long", ".", None),
):
    command("dgmm run", f"job: {name}", [path], BAD_JOB, what, re_path := ".", to_do, make)
    command("dgmm fit", f"cluster: {name}", ["x.npy", "-k", "2", "-o", "new.zarr", "--cluster", path], BAD_JOB, what,
            re_path, to_do, make)  # fmt: skip
TLS = {"tls_ca_file": "gone.pem", "tls_cert": "gone.pem", "tls_key": "gone.pem"}
for name, address, code, what, to_do, keys in (
    ("nobody answers", "tcp://127.0.0.1:9", NO_CLUSTER, "no Dask scheduler answered", "is it running", {}),
    ("no such host", "tcp://no.such.host.invalid:8786", NO_CLUSTER, "no Dask scheduler answered", "is it running", {}),
    ("no port", "tcp://127.0.0.1", NO_CLUSTER, "missing port number", "is it running", {}),
    ("an impossible port", "tcp://127.0.0.1:99999", NO_CLUSTER, "no Dask scheduler answered", "is it running", {}),
    ("no such process", "inproc://nothing", NO_CLUSTER, "no Dask scheduler answered", "is it running", {}),
    ("certificates that are not there", "tls://127.0.0.1:9", BAD_JOB, "there is no such file", "gone.pem", TLS),
    ("certificates that are none", "tls://127.0.0.1:9", NO_CLUSTER, "no Dask scheduler answered",
     "SSLError|is it running", dict.fromkeys(TLS, "cluster.yaml")),
):  # fmt: skip
    text = yaml.safe_dump({"kind": "scheduler", "address": address, "timeout": 0.5} | keys)
    command("dgmm fit", f"cluster: {name}", ["x.npy", "-k", "2", "-o", "new.zarr", "--cluster", "cluster.yaml"],
            code, what, "cluster.tls_ca_file" if code == BAD_JOB else address, to_do,
            lambda folder, text=text: (folder / "cluster.yaml").write_text(text))  # fmt: skip
