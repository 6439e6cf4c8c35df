"""Features of signals that a stranger might hand over, by name: how to make each."""

from __future__ import annotations

from strangers.hostile import attributes, bomb, details, huge, metadata, payload, replace_chunk, zstd_header

FEATURES = {
    "pickle as a codec of format 3": metadata("components", codecs=[{"name": "numcodecs.pickle", "configuration": {}}]),
    "text as values": metadata("components", data_type="string"),
    "1e15 numbers": huge([10**15], [10**15], "components"),
    "a chunk that says it unpacks to 1 TB": bomb(zstd_header(2**40), "mean"),
    "a chunk that is a device": replace_chunk("mean", lambda file, _: file.symlink_to("/dev/zero")),
    "a pickle under the name of metadata": lambda path: (path / "zarr.json").write_bytes(payload(path)),
    "another class": attributes(**{"class": "os.system"}),
    "a model's format": attributes(format="dgmm-model"),
    "a format that is a list": attributes(format=["dgmm-feature-map"]),
    "details nested deeply": attributes(details='{"params":' * 100_000),
    "signals of 1e30 samples": details("fit", signal_shape=[10**15, 10**15]),
    "signals of 1e18 samples": details("fit", signal_shape=[10**9, 10**9], order=[3, 2], noise=1.0),
    "an order of 1e9": details("fit", signal_shape=[2 * 10**9, 5], order=[10**9, 2]),
    "many axes": details("fit", signal_shape=[2] * 10_000, order=[1] * 10_000),
    "a basis of no polynomials": details("fit", basis="__class__"),
    "an invariance that is a mapping": details("fit", invariant={"scale": 1}),
    "a parameter of no estimator": details("params", __class__="os.system"),
    "a formula of text": details("params", correlation={"c": "os.system", "variance": 1.0}),
    "a formula that overflows": details("params", correlation={"c": 10**400, "variance": 1.0}),
    "a generator that is a mapping": details("params", random_state={"a": 1}),
    "names that are numbers": details("fit", feature_names_in=[1] * 30),
}
