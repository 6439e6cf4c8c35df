"""Bad job files and cluster files: each problem with its line, its key, and what is allowed."""

from __future__ import annotations

import re

from bad_input.kinds import Given, Kind, Shelf

from dgmm.errors import JobError

GOOD = "input: {path: x.zarr}\nmodel: {n_components: 3}\noutput: {model: m.zarr}\n"


def job_with(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


# Name: text, line, key, words of the message.
BAD = {
    "empty": (
        "",
        1,
        "",
        "missing; expected sections input, preprocess, model, output, cluster, checkpoint, run",
    ),
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
        "unknown key; allowed: input, preprocess, model, output, cluster, checkpoint, run, refit",
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
        "found 'ful'; allowed: full, tied, diag, spherical, tied-diag or tied-spherical; did you mean 'full'?",
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
    **{
        f"preprocess, {name}": (GOOD + f"preprocess: {{{text}}}", 4, key and f"preprocess.{key}", words)
        for name, (text, key, words) in {
            "another kind": ("kind: pca", "kind", "found 'pca'; allowed: none, eigenmoments, saved"),
            "no path": ("kind: saved", "path", "missing; expected a path"),
            "a key of another kind": ("order: 3", "order", "unknown key; allowed: dtype, kind; of kind eigenmoments"),
            "misspelt": ("kind: eigenmoments, n_component: 3", "n_component", "did you mean 'n_components'?"),
            "a share of 1": ("kind: eigenmoments, n_components: 1.0", "n_components", "found 1.0"),
            "n_components true": ("kind: eigenmoments, n_components: true", "n_components", "found true"),
            "a negative order": ("kind: eigenmoments, order: [2, -1]", "order[1]", "found -1"),
            "no orders": ("kind: eigenmoments, order: []", "order", "found []"),
            "noise in words": ("kind: eigenmoments, noise: much", "noise", "found 'much'"),
            "noise without end": ("kind: eigenmoments, noise: .inf", "noise", "found inf"),
            "noise twice": ("kind: eigenmoments, noise: 1, noise_signals: n.npy", "noise_signals", "leave one of them"),
            "a formula of words": ("kind: eigenmoments, correlation: smooth", "correlation", "allowed: data, or the"),
            "a formula of no kind": ("kind: eigenmoments, correlation: {c: 1}", "correlation.kind", "missing"),
            "a formula that rises": (
                "kind: eigenmoments, correlation: {kind: stationary, c: -1}",
                "correlation.c",
                "a number above 0",
            ),
            "another invariance": ("kind: eigenmoments, invariant: [sclae]", "invariant[0]", "did you mean 'scale'?"),
            "an invariance twice": ("kind: eigenmoments, invariant: [scale, scale]", "invariant", "stands twice"),
            "a dimension twice": ("kind: eigenmoments, signal_dims: [y, y]", "signal_dims", "stands twice"),
        }.items()
    },
    "preprocess, nothing to write": (
        job_with("model: m.zarr", "model: m.zarr, preprocess: f.zarr"),
        3,
        "output.preprocess",
        "needs preprocess.kind",
    ),
    "preprocess, anew each night": (
        GOOD + "preprocess: {kind: eigenmoments}\nrefit: {}",
        4,
        "preprocess.kind",
        "give kind: saved",
    ),
    "features": (job_with("path: x.zarr", "path: x, features: [1, 1]"), 1, "input.features", "stands twice"),
    "features, negative": (job_with("path: x.zarr", "path: x, features: [-1]"), 1, "input.features[0]", "found -1"),
    "dimensions": (job_with("path: x.zarr", "path: x, sample_dims: y"), 1, "input.sample_dims", "found 'y'"),
    "weights, a number": (job_with("path: x.zarr", "path: x, sample_weight: 2"), 1, "input.sample_weight", "found 2"),
    "a scheme": (job_with("path: x.zarr", "path: ftp://host/x"), 1, "input.path", "must be one of file, s3, gs, az"),
    "a format": (job_with("model: m.zarr", "labels: l.csv"), 3, "output.labels", "must end in .zarr, .nc, .parquet"),
    "top": (
        job_with("model: m.zarr", "probabilities: {path: p.zarr, top: 0}"),
        3,
        "output.probabilities.top",
        "found 0; allowed: a whole number of at least 1",
    ),
    "nothing written": (job_with("model: m.zarr", "overwrite: true"), 3, "output", "nothing would be written"),
    "output misspelt": (job_with("model: m.zarr", "modl: m"), 3, "output.modl", "did you mean 'model'?"),
    "picture of an array": (job_with("model: m.zarr", "picture: p.png"), 3, "output.picture", "input.image"),
    "kind of input": (job_with("path: x.zarr", "kind: zarr"), 1, "input.kind", "unknown key; allowed: path"),
    "no kind": (GOOD + "cluster: {n_workers: 2}", 4, "cluster.kind", "missing; expected threads, synchronous"),
    "kind": (GOOD + "cluster:\n  kind: locl", 5, "cluster.kind", "did you mean 'local'?"),
    "key of another kind": (
        GOOD + "cluster:\n  kind: threads\n  memory_limit: 2GiB",
        6,
        "cluster.memory_limit",
        "unknown key; allowed: persist, lean, kind, n_workers; of kind local",
    ),
    "memory": (GOOD + "cluster: {kind: local, memory_limit: 4 Gb}", 4, "cluster.memory_limit", "'4GiB'"),
    "address": (GOOD + "cluster: {kind: scheduler, address: host}", 4, "cluster.address", "tcp://host:8786"),
    "half of tls": (
        GOOD + "cluster: {kind: scheduler, address: 'tls://h:1', tls_key: k}",
        4,
        "cluster",
        "tls_ca_file, tls_cert and tls_key",
    ),
    "kind of model": (
        job_with("3", "3, kind: bfrr"),
        2,
        "model.kind",
        "allowed: gaussian_mixture, bfr, selection, saved; did you mean",
    ),
    "kind of model as list": (
        job_with("3", "3, kind: [bfr]"),
        2,
        "model.kind",
        "allowed: gaussian_mixture, bfr, selection, saved",
    ),
    "key of a scan": (job_with("3", "3, batch_rows: 10"), 2, "model.batch_rows", "unknown key; allowed: n_components"),
    "key of a scan, its kind": (job_with("3", "3, buffer_rows: 10"), 2, "model.buffer_rows", "; of kind bfr"),
    "key of EM": (job_with("3", "3, kind: bfr, tol: 1"), 2, "model.tol", "; of kind gaussian_mixture"),
    "scan misspelt": (job_with("3", "3, kind: bfr, batch_row: 1"), 2, "model.batch_row", "did you mean 'batch_rows'?"),
    "batch_rows": (job_with("3", "3, kind: bfr, batch_rows: 0"), 2, "model.batch_rows", "found 0; allowed: a whole"),
    "buffer_rows": (job_with("3", "3, kind: bfr, buffer_rows: -1"), 2, "model.buffer_rows", "found -1; allowed"),
    "primary": (job_with("3", "3, kind: bfr, primary: certian"), 2, "model.primary", "did you mean 'certain'?"),
    "fraction": (job_with("3", "3, kind: bfr, primary_fraction: 2"), 2, "model.primary_fraction", "from 0 to 1"),
    "tightness": (job_with("3", "3, kind: bfr, secondary_tightness: 0"), 2, "model.secondary_tightness", "above 0"),
    "forgetting": (job_with("3", "3, kind: bfr, forgetting: 1.5"), 2, "model.forgetting", "at most 1"),
    "inner_max_iter": (job_with("3", "3, kind: bfr, inner_max_iter: 0"), 2, "model.inner_max_iter", "found 0"),
    "refine_passes": (job_with("3", "3, kind: bfr, refine_passes: x"), 2, "model.refine_passes", "found 'x'"),
    "a start that a scan has not": (
        job_with("3", "3, kind: bfr, init_params: bfr"),
        2,
        "model.init_params",
        "allowed: kmeans, k-means++, random",
    ),
    "growing maybe": (job_with("x.zarr", "x.zarr, growing: maybe"), 1, "input.growing", "found 'maybe'; allowed: true"),
    "growing for EM": (job_with("x.zarr", "x.zarr, growing: true"), 1, "input.growing", "needs a model of kind bfr"),
    "growing without a checkpoint": (
        job_with("x.zarr", "x.zarr, growing: true").replace("3", "3, kind: bfr"),
        1,
        "input.growing",
        "needs a section checkpoint",
    ),
    "growing and refined": (
        job_with("x.zarr", "x.zarr, growing: true").replace("3", "3, kind: bfr, refine_passes: 1")
        + "checkpoint: {path: c}",
        2,
        "model.refine_passes",
        "read once; remove it",
    ),
    "labels of what grows": (
        job_with("x.zarr", "x.zarr, growing: true").replace("3", "3, kind: bfr").replace("model: m", "labels: m")
        + "checkpoint: {path: c}",
        3,
        "output.labels",
        "remove it, and use dgmm predict",
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

ADVICE = (
    "allowed:|expected|did you mean|give |remove|needs|not valid YAML|write|only|must be|stands on line|one of them"
    "|whose|entries for|rows of different lengths|cannot be printed|nested too deeply|not a number|twice|too long|home"
    "|tls_ca_file|tag"
)

KINDS = [
    Kind(
        "job file",
        name,
        lambda _, text=text: Given(text=text),
        JobError,
        rf"(?m)^job.yaml:{line}: {re.escape(key + ': ' if key else '')}.*{re.escape(words)}",
        rf"(?m)^job.yaml:{line}: {re.escape(key)}",
        ADVICE,
    )
    for name, (text, line, key, words) in BAD.items()
]


def cluster(name: str, text: str | bytes, line: int | None, words: str, to_do: str) -> None:
    """Add a cluster file; ``line`` is None if the file as a whole is wrong."""

    def make(shelf: Shelf) -> Given:
        (shelf.folder / "cluster.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        return Given()

    place = rf"cluster\.yaml:{line}: " if line else r"cluster\.yaml"
    KINDS.append(Kind("cluster file", name, make, JobError, words, place, to_do))


cluster("empty", "", 1, "missing", "expected the content of a section")
cluster("not text", b"\xff\xfe\x00", None, "not UTF-8 text", "not UTF-8")
cluster("not YAML", "kind: [", 1, "not valid YAML", "not valid YAML")
cluster("a job's section around it", "cluster: {kind: local}", 1, "kind: missing", "expected threads")
cluster("unknown kind", "kind: slrum\n", 1, "kind: found 'slrum'", "allowed: threads|threads, synchronous")
cluster("misspelt key", "kind: local\nn_worker: 2\n", 2, "n_worker: unknown key", "did you mean 'n_workers'")
cluster("no workers", "kind: local\nn_workers: 0\n", 2, "n_workers: found 0", "allowed: a whole number of at least 1")
cluster("half a worker", "kind: local\nn_workers: 0.5\n", 2, "n_workers: found 0.5", "allowed: a whole number")
cluster("memory in words", "kind: local\nmemory_limit: much\n", 2, "memory_limit: found 'much'", "'4GiB'")
cluster("no address", "kind: scheduler\n", 1, "give address", "or scheduler_file")
cluster("an address without a protocol", "kind: scheduler\naddress: host:8786\n", 2, "found 'host:8786'", "tcp://host")
cluster("no time", "kind: scheduler\naddress: tcp://h:1\ntimeout: 0\n", 3, "timeout: found 0", "seconds above 0")
cluster(
    "tls without keys", "kind: scheduler\naddress: tls://h:1\n", 1, "a tls:// address", "needs tls_ca_file, tls_cert"
)
cluster(
    "persist in words", "kind: threads\npersist: sometimes\n", 2, "persist: found 'sometimes'", "allowed: true loads"
)
cluster("two kinds", "kind: local\nkind: threads\n", 2, "kind: .*stands on line 1", "stands on line 1")
