"""Models and arrays that a stranger might hand over, by name: how to make each."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np


class Bomb:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return (os.mkdir, (str(self.canary),))


# -- models ---------------------------------------------------------------------------------------

ARRAYS = ("weights", "means", "covariances", "precisions_cholesky", "lower_bounds")


def change_json(file: Path, change) -> None:
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def attributes(**new):
    def change(path: Path) -> None:
        change_json(path / "zarr.json", lambda values: values["attributes"].update(new))

    return change


def details(section: str, **new):
    """Change the details, in a model of the time before the digest."""

    def change(path: Path) -> None:
        def inner(values):
            found = json.loads(values["attributes"]["details"])
            found[section].update(new)
            values["attributes"]["details"] = json.dumps(found)
            del values["attributes"]["digest"]

        change_json(path / "zarr.json", inner)

    return change


def metadata(name: str, **new):
    def change(path: Path) -> None:
        change_json(path / name / "zarr.json", lambda values: values.update(new))

    return change


def chunk(path: Path, name: str) -> Path:
    return next(file for file in sorted((path / name / "c").rglob("*")) if file.is_file())


def replace_chunk(name: str, make):
    def change(path: Path) -> None:
        file = chunk(path, name)
        content = file.read_bytes()
        file.unlink()
        make(file, content)

    return change


def huge(shape, chunks, name="means"):
    grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
    return metadata(name, shape=shape, chunk_grid=grid)


def zstd_header(size: int) -> bytes:
    """A Zstandard frame that says it unpacks to ``size`` bytes, of one run of one byte."""
    return b"\x28\xb5\x2f\xfd" + bytes([0xC0 | 0x20]) + struct.pack("<Q", size)


def run_of_bytes(size: int) -> bytes:
    """A Zstandard frame that does unpack to ``size`` zeros: blocks of one repeated byte."""
    most, parts = 2**17, []
    for start in range(0, size, most):
        length = min(most, size - start)
        last = start + length == size
        parts.append(((length << 3) | (1 << 1) | last).to_bytes(3, "little") + b"\0")
    # A window of 128 KiB, and no word on the size of the content.
    return b"\x28\xb5\x2f\xfd" + bytes([0x00, 0x38]) + b"".join(parts)


def without_checksum(name: str) -> dict:
    return {
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": 0, "checksum": False}},
        ]
    }


def bomb(content: bytes, name: str = "means"):
    def change(path: Path) -> None:
        metadata(name, **without_checksum(name))(path)
        chunk(path, name).write_bytes(content)

    return change


def format_2(filters, compressor=None, dtype="|O"):
    """The same group in zarr's format 2, with filters of one's own."""

    def change(path: Path) -> None:
        values = json.loads((path / "zarr.json").read_text())["attributes"]
        shutil.rmtree(path)
        path.mkdir()
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps(values))
        for name in ARRAYS:
            array_2(path / name, filters, compressor, dtype)

    return change


def array_2(path: Path, filters, compressor, dtype) -> None:
    path.mkdir()
    fill = None if dtype == "|O" else 0
    shape = {"shape": [4, 2], "chunks": [4, 2]}
    (path / ".zarray").write_text(
        json.dumps(
            {"zarr_format": 2, "dtype": dtype, "compressor": compressor, "filters": filters, "fill_value": fill}
            | {"order": "C", **shape}
        )
    )
    (path / "0.0").write_bytes(payload(path))


def payload(path: Path) -> bytes:
    """A pickle that makes a folder named CANARY beside the cases."""
    import pickle

    return pickle.dumps(Bomb(canary_of(path)))


def canary_of(path: Path) -> Path:
    return next(parent for parent in path.parents if (parent / "cases").is_dir()) / "CANARY"


PICKLE = {"id": "pickle", "protocol": 5}
TEXT = {"id": "vlen-utf8"}

MODELS = {
    "pickled objects": format_2([PICKLE]),
    "pickled objects behind text": format_2([TEXT, PICKLE]),
    "pickled objects as compression": format_2([TEXT], PICKLE),
    "pickled objects as numbers": format_2([PICKLE], dtype="<f8"),
    "json objects": format_2([{"id": "json2"}]),
    "pickle as a codec of format 3": metadata("means", codecs=[{"name": "numcodecs.pickle", "configuration": {}}]),
    "a class as codec": metadata("means", codecs=[{"name": "os.mkdir", "configuration": {"path": "CANARY"}}]),
    "a codec of another package": metadata("means", codecs=[{"name": "imagecodecs_tiff"}]),
    "a codec without a name": metadata("means", codecs=[{"configuration": {}}]),
    "a codec that is a number": metadata("means", codecs=[3]),
    "a codec within codecs": metadata(
        "means",
        codecs=[
            {
                "name": "sharding_indexed",
                "configuration": {"codecs": [{"name": "numcodecs.pickle"}], "chunk_shape": [1]},
            }
        ],
    ),
    "no codecs": metadata("means", codecs=[]),
    "text as values": metadata("means", data_type="string"),
    "whole numbers as values": metadata("means", data_type="int64"),
    "an unknown type": metadata("means", data_type={"name": "os.system", "configuration": {}}),
    "a type of objects": metadata("means", data_type="object"),
    "an extension that must be understood": metadata("means", extra={"must_understand": True}),
    "a storage transformer": metadata("means", storage_transformers=[{"name": "os.system"}]),
    "an unknown grid": metadata("means", chunk_grid={"name": "os.system"}),
    "an unknown key encoding": metadata("means", chunk_key_encoding={"name": "os.system"}),
    "keys that climb": metadata("means", chunk_key_encoding={"name": "v2", "configuration": {"separator": "../"}}),
    "1e15 numbers": huge([10**15], [10**15]),
    "1e15 numbers in small chunks": huge([10**15, 2], [2, 2]),
    "1e9 numbers": huge([500_000_000, 2], [500_000_000, 2]),
    "a chunk of 1e15": huge([2, 2], [10**15, 2]),
    "a chunk of 1e9": huge([2, 2], [10**9, 2]),
    "a negative length": huge([-2, 2], [2, 2]),
    "a length that is text": huge(["2", 2], [2, 2]),
    "a length beyond 64 bits": huge([2**70, 2], [2**70, 2]),
    "chunks of nothing": huge([2, 2], [0, 0]),
    "33 dimensions": huge([1] * 70, [1] * 70),
    "a chunk that is missing": replace_chunk("means", lambda file, _: None),
    "a chunk that says it unpacks to 1 TB": bomb(zstd_header(2**40)),
    "a chunk that unpacks to 8 GB": bomb(run_of_bytes(2**33)),
    "a chunk with a hole of 1 TB": replace_chunk("means", lambda file, _: file.touch() or os.truncate(file, 2**40)),
    "a chunk that is a pipe": replace_chunk("means", lambda file, _: os.mkfifo(file)),
    "a chunk that is a device": replace_chunk("means", lambda file, _: file.symlink_to("/dev/zero")),
    "a chunk that is a link out of the store": replace_chunk("means", lambda file, _: file.symlink_to("/etc/passwd")),
    "a chunk that is a folder": replace_chunk("means", lambda file, _: file.mkdir()),
    "an array that is a link": lambda path: (
        (path / "means").rename(path / "far") and (path / "means").symlink_to(path / "far" / "c")
    ),
    "metadata that are a pipe": lambda path: (path / "zarr.json").unlink() or os.mkfifo(path / "zarr.json"),
    "an array's metadata that are a pipe": lambda path: (
        (path / "means" / "zarr.json").unlink() or os.mkfifo(path / "means" / "zarr.json")
    ),
    "metadata that are a device": lambda path: (
        (path / "zarr.json").unlink() or (path / "zarr.json").symlink_to("/dev/zero")
    ),
    "metadata of 1 TB": lambda path: os.truncate(path / "zarr.json", 2**40),
    "metadata nested deeply": lambda path: (path / "zarr.json").write_text('{"a":' * 100_000),
    "metadata that are a list": lambda path: (path / "zarr.json").write_text("[1]"),
    "metadata with huge numbers": lambda path: (path / "means" / "zarr.json").write_text(
        '{"shape": [' + "9" * 9000 + "]}"
    ),
    "a pickle under the name of metadata": lambda path: (path / "zarr.json").write_bytes(payload(path)),
    "attributes that are a list": lambda path: change_json(path / "zarr.json", lambda v: v.update(attributes=[1])),
    "another class": attributes(**{"class": "os.system"}),
    "a class that is a list": attributes(**{"class": ["GaussianMixture"]}),
    "another dtype": attributes(dtype="O"),
    "a record as dtype": attributes(dtype="f4,O"),
    "a version that is a list": attributes(format_version=[1]),
    "a version that is true": attributes(format_version=True),
    "details that are no text": attributes(details={"params": {}, "fit": {}}),
    "details with NaN": attributes(details='{"params": {"tol": NaN}, "fit": {}}'),
    "details nested deeply": attributes(details='{"params":' * 100_000),
    "details with a huge number": attributes(details='{"params": {"tol": ' + "9" * 9000 + '}, "fit": {}}'),
    "details that were changed": attributes(details='{"params": {}, "fit": {}}'),
    "a digest of something else": attributes(digest="0" * 64),
    "a digest that is a list": attributes(digest=[]),
    "a parameter of no estimator": details("params", __class__="os.system"),
    "a private parameter": details("params", _exact=3),
    "a parameter of the wrong type": details("params", n_components="2"),
    "a parameter that is a mapping": details("params", random_state={"a": 1}),
    "a parameter that overflows": details("params", tol=10**400),
    "a parameter that is not finite": details("params", reg_covar=1e999),
    "initial means that are text": details("params", means_init="os.system"),
    "initial means of different lengths": details("params", means_init=[[1], [2, 3]]),
    "initial weights that are a mapping": details("params", weights_init={"a": 1}),
    "iterations that are text": details("fit", n_iter_="5"),
    "converged that is a number": details("fit", converged_=1),
    "a bound that is a list": details("fit", lower_bound_=[1.0]),
    "a reason that is none": details("fit", stop_reason_="__class__"),
    "a reason that is a list": details("fit", stop_reason_=["TOLERANCE"]),
    "names of other features": details("fit", feature_names_in_=["a"]),
    "names that are numbers": details("fit", feature_names_in_=[1, 2]),
    "a plan of another kind": details("fit", plan_={"backend": "os.system"}),
    "a plan with text for numbers": details(
        "fit", plan_={"backend": "numpy", "block_rows": "x", "chunk_rows": 1, "tolerance": {}}
    ),
    "a plan that is a list": details("fit", plan_=[]),
    "scalars that are a list": lambda path: attributes(details='{"params": {}, "fit": []}')(path),
}


# -- arrays ---------------------------------------------------------------------------------------


def npy(header: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0)):
    def make(path: Path) -> None:
        text = header.encode() if isinstance(header, str) else header
        length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
        path.write_bytes(b"\x93NUMPY" + bytes(version) + length + text + data)

    return make


def shaped(shape: str, descr: str = "'<f8'", data: bytes = bytes(64)):
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n", data)


def objects(path: Path) -> None:
    array = np.empty(2, dtype=object)
    array[0] = Bomb(canary_of(path))
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=True)


def archive(path: Path) -> None:
    array = np.empty(2, dtype=object)
    array[0] = Bomb(canary_of(path))
    with path.open("wb") as file:
        np.savez(file, array)


def zarr_3(**changes):
    """An array of format 3 with metadata of one's own and a pickle as its chunk."""

    def make(path: Path) -> None:
        path.mkdir()
        values = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [4, 2],
            "data_type": "float64",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 2]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0.0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "attributes": {},
        }
        (path / "zarr.json").write_text(json.dumps(values | changes))
        (path / "c" / "0").mkdir(parents=True)
        (path / "c" / "0" / "0").write_bytes(payload(path))

    return make


def within(depth: int) -> dict:
    """A pickle within so many shards."""
    inner = within(depth - 1) if depth else {"name": "numcodecs.pickle"}
    return {"name": "sharding_indexed", "configuration": {"codecs": [inner], "chunk_shape": [1, 1]}}


def group_3(**inner):
    def make(path: Path) -> None:
        path.mkdir()
        copies = {"consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": inner}}
        (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}} | copies))

    return make


def grid(*sizes):
    return {"name": "regular", "configuration": {"chunk_shape": list(sizes)}}


DATA = {
    "npy of objects": objects,
    "npz of objects": archive,
    "a pickle": lambda path: path.write_bytes(payload(path)),
    "npy with code in its header": npy("__import__('os').mkdir('CANARY')\n"),
    "npy with a call in its header": shaped("(2, [x for x in (1,)][0])"),
    "npy with a deep header": npy("(" * 5000 + ")" * 5000 + "\n"),
    "npy with signs for a header": npy("-" * 9000 + "1\n"),
    "npy with a header of 100 kB": npy(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }" + " " * 60_000 + "\n"
    ),
    "npy with a header of 4 GB": lambda path: path.write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"),
    "npy of version 9": npy("{}", version=(9, 0)),
    "npy with a broken header": npy("{'descr': '<f8'"),
    "npy with no text for a header": npy(bytes(range(128, 256))),
    "npy of 1e15 rows": shaped("(1000000000000000, 2)"),
    "npy of 2**70 rows": shaped(f"({2**70}, 2)"),
    "npy of 1e15 rows of nothing": shaped("(1000000000000000, 0)"),
    "npy of no rows": shaped("(0, 1000000000000000)"),
    "npy with a negative length": shaped("(-4, 2)"),
    "npy with two negative lengths": shaped("(-4, -1)"),
    "npy with a true length": shaped("(True, 2)"),
    "npy with a length that is text": shaped("('4', 2)"),
    "npy of objects, by name": shaped("(2, 2)", "'|O'"),
    "npy of a record of objects": shaped("(2,)", "[('a', '|O'), ('b', '<f8')]"),
    "npy of text": shaped("(2, 2)", "'<U2'"),
    "npy of nothing": shaped("(2, 2)", "'|V0'"),
    "npy of empty text": shaped("(2, 2)", "'|S0'"),
    "npy of a record": shaped("(2,)", "[('a', '<f8'), ('b', '<f8')]"),
    "npy of huge items": shaped("(2, 2)", "'|V1000000000000'"),
    "npy of dates": shaped("(2, 2)", "'<M8[ns]'"),
    "npy of 70 dimensions": shaped(str((1,) * 70)),
    "npy cut off": shaped("(400, 2)"),
    "npy of one number": shaped("()"),
    "zarr of pickled objects": lambda path: array_2(path, [PICKLE], None, "|O"),
    "zarr of pickled objects behind text": lambda path: array_2(path, [TEXT, PICKLE], None, "|O"),
    "zarr of pickled numbers": lambda path: array_2(path, [PICKLE], None, "<f8"),
    "zarr of objects pickled under another name": lambda path: array_2(
        path, [TEXT | {"name": "bytes"}, PICKLE | {"name": "bytes"}], None, "|O"
    ),
    "zarr with a pickle codec under another id": zarr_3(codecs=[{"name": "numcodecs.pickle", "id": "bytes"}]),
    "zarr with a pickle codec far within": zarr_3(codecs=[within(12)]),
    "zarr of text": lambda path: array_2(path, [TEXT], None, "|O"),
    "zarr of json": lambda path: array_2(path, [{"id": "json2"}], None, "|O"),
    "zarr with an unknown filter": lambda path: array_2(path, [{"id": "os.system"}], None, "<f8"),
    "zarr with a filter that is text": lambda path: array_2(path, ["pickle"], None, "<f8"),
    "zarr with a pickle codec": zarr_3(codecs=[{"name": "numcodecs.pickle", "configuration": {}}]),
    "zarr with a class as codec": zarr_3(codecs=[{"name": "os.mkdir", "configuration": {"path": "CANARY"}}]),
    "zarr of strings": zarr_3(data_type="string", fill_value="", codecs=[{"name": "vlen-utf8"}]),
    "zarr of 1e15 chunks": zarr_3(shape=[10**15, 2], chunk_grid=grid(1, 2)),
    "zarr with a chunk of 1e15": zarr_3(shape=[10**15, 2], chunk_grid=grid(10**15, 2)),
    "zarr with a negative length": zarr_3(shape=[-4, 2]),
    "zarr with chunks of nothing": zarr_3(chunk_grid=grid(0, 2)),
    "zarr with 70 dimensions": zarr_3(shape=[1] * 70, chunk_grid=grid(*[1] * 70)),
    "zarr scaled by text": zarr_3(attributes={"scale_factor": "x"}, dimension_names=["a", "b"]),
    "zarr whose chunk is a pickle": zarr_3(),
    "zarr with copies that name a codec": group_3(
        x={"zarr_format": 3, "node_type": "array", "codecs": [{"name": "os.system"}]}
    ),
    "zarr group of nothing": group_3(),
    "a pipe": lambda path: os.mkfifo(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
    "zlib": lambda path: path.write_bytes(zlib.compress(b"x" * 1000)),
}
