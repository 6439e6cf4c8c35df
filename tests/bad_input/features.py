"""Bad features of signals: nothing else is taken for them, and they are taken for nothing else."""

from __future__ import annotations

from bad_input.files import BAD_DATA, BAD_JOB, command
from bad_input.kinds import Given, Kind

from dgmm.errors import FormatError, NotFoundError, ParameterError

KINDS: list[Kind] = []

for door, name, path, error, what, to_do in (
    ("load features", "nothing", "gone", NotFoundError, "there is no feature map at", "no feature map"),
    ("load features", "a file", "x.npy", FormatError, "is not a zarr group", "so it is no dgmm feature map"),
    (
        "load features",
        "a model",
        "m.zarr",
        FormatError,
        "is a dgmm model, not a feature map",
        "mixture's class opens it",
    ),
    ("load features", "a scheme", "ftp://h/f.zarr", ParameterError, "a URL of scheme 'ftp'", "must be one of file, s3"),
    ("load", "features", "f.zarr", FormatError, "is a dgmm feature map, not a model", "EigenMoments.load opens it"),
):
    KINDS.append(Kind(door, name, lambda _, path=path: Given(options={"path": path}), error, what, ".", to_do))

for name, arguments, code, what, where, to_do in (
    ("features for a model", "f.zarr x.npy l.zarr", BAD_DATA, "is a dgmm feature map", "f.zarr", "EigenMoments.load"),
    ("a model for features", "m.zarr x.npy l.zarr --preprocess m.zarr", BAD_DATA, "is a dgmm model", "m.zarr", "opens"),
    ("no features", "m.zarr x.npy l.zarr --preprocess gone", BAD_JOB, "no such file", "--preprocess", "correct"),
    ("features of others", "m.zarr x.npy l.zarr --preprocess f.zarr", BAD_DATA, "X has 2 feat", "X", "give the feat"),
    ("labels over features", "m.zarr x.npy f.zarr --overwrite", BAD_JOB, "is a feature map", "LABELS", "choose"),
    ("features for data", "m.zarr f.zarr l.zarr", BAD_DATA, "a feature map of dgmm", "f.zarr", "give the data"),
):  # fmt: skip
    command("dgmm predict", name, arguments.split(), code, what, where, to_do, kinds=KINDS)
command("dgmm fit", "features", ["f.zarr", "-k", "2", "-o", "new.zarr"], BAD_DATA, "a feature map of dgmm, not data",
        "f.zarr: ", "give the data", kinds=KINDS)  # fmt: skip
