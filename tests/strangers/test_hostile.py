"""Files of strangers: each is refused in so many words; none runs code, hangs or eats the memory."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from strangers import hostile, hostile_features, hostile_text

from dgmm import EigenMoments, GaussianMixture

ROOT = Path(__file__).parents[2]

CASES = [
    *(("job", name, text) for name, text in hostile_text.YAML.items()),
    *(("cluster", name, text) for name, text in hostile_text.YAML.items()),
    *((kind, name, place) for kind in ("job", "cluster") for name, place in hostile_text.PLACES.items()),
    *(("model", name, change) for name, change in hostile.MODELS.items()),
    *(("features", name, change) for name, change in hostile_features.FEATURES.items()),
    *(("data", name, make) for name, make in hostile.DATA.items()),
]
ERRORS = {
    "job": {"JobError"},
    "cluster": {"JobError"},
    "model": {"FormatError", "NotFoundError"},
    "features": {"FormatError"},
    "data": {"DataError", "DataTypeError", "FormatError", "InsufficientMemoryError", "ReadError"},
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The error and its text for every case, as a process of its own saw them."""
    folder = tmp_path_factory.mktemp("hostile")
    cases = folder / "cases"
    cases.mkdir()
    X = np.random.default_rng(0).normal(size=(40, 2))
    GaussianMixture(2, random_state=0, max_iter=2, tol=1.0).fit(X).save(folder / "model.zarr")
    waves = np.random.default_rng(1).normal(size=(40, 6, 5))
    EigenMoments(3, order=(3, 2), noise=1.0).fit(waves).save(folder / "features.zarr")
    requests = []
    for number, (kind, _, make) in enumerate(CASES):
        path = cases / f"{number}{'.npy' if kind == 'data' else ''}"
        if kind in ("model", "features"):
            shutil.copytree(folder / f"{kind}.zarr", path)
            make(path)
        elif callable(make):
            make(path)
        else:
            text = make if isinstance(make, bytes) else make.encode()
            path.write_bytes(text.replace(b"CANARY", str(folder / "CANARY").encode()))
        requests.append(json.dumps([kind, str(path)]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", Path(__file__).with_name("open_hostile.py")],
        input="\n".join(requests),
        capture_output=True,
        text=True,
        timeout=500,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(CASES), (CASES[len(found)][:2], done.stderr[-2000:])
    return {case[:2]: tuple(outcome) for case, outcome in zip(CASES, found, strict=True)}, folder


@pytest.mark.parametrize(("kind", "name"), [case[:2] for case in CASES], ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_a_hostile_file_is_refused(outcomes, kind, name):
    error, text = outcomes[0][kind, name]
    assert error in ERRORS[kind], text
    assert not re.search("Unable to allocate|MemoryError|recursion", text)
    assert len(text) < 20_000
    assert text.isprintable() or "\n" in text
    assert "\x1b" not in text


def test_no_code_of_theirs_has_run(outcomes):
    _, folder = outcomes
    assert sorted(path.name for path in folder.iterdir()) == ["cases", "features.zarr", "model.zarr"]
    assert not (ROOT / "CANARY").exists()
