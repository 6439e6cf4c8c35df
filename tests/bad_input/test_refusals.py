"""Each kind of bad input has one documented refusal, with what is wrong, where, and what to do."""

from __future__ import annotations

import re
import shutil
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

import dask
import distributed
import numpy as np
import pytest
from bad_input import arguments, chunks, data, features, files, jobs, labelled
from bad_input.kinds import DOORS, K, Kind, Shelf, blobs, time_limit

import dgmm
from dgmm import EigenMoments, GaussianMixture, errors
from dgmm.errors import DgmmError
from dgmm.estimators._parameters import RULES

PACKAGE = Path(dgmm.__file__).parent
KINDS: list[Kind] = [
    *data.KINDS,
    *arguments.KINDS,
    *jobs.KINDS,
    *files.KINDS,
    *features.KINDS,
    *chunks.KINDS,
    *labelled.KINDS,
]
SECONDS = 60


@pytest.fixture(scope="module")
def fitted():
    return GaussianMixture(K, random_state=0, max_iter=300).fit(blobs())


@pytest.fixture(scope="module")
def stock(tmp_path_factory, fitted):
    """A folder with good rows, a good model and good features."""
    folder = tmp_path_factory.mktemp("stock")
    np.save(folder / "x.npy", blobs())
    fitted.save(folder / "m.zarr")
    EigenMoments(2, noise=1.0).fit(blobs()).save(folder / "f.zarr")
    return folder


@pytest.fixture
def shelf(tmp_path, monkeypatch, fitted, stock):
    folder, scratch = tmp_path / "shelf", tmp_path / "scratch"
    shutil.copytree(stock, folder)
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(folder)
    scheduler = dask.config.get("scheduler", None)
    yield Shelf(folder, fitted)
    assert dask.config.get("scheduler", None) == scheduler
    with pytest.raises(ValueError, match="No global client"):
        distributed.get_client()
    assert list(scratch.iterdir()) == []


def test_every_kind_is_one_of_a_kind():
    names = [str(kind) for kind in KINDS]
    assert sorted(set(names)) == sorted(names)
    assert {kind.door for kind in KINDS} == set(DOORS)


@pytest.mark.parametrize("name", RULES)
def test_every_parameter_has_kinds_of_its_own(name):
    assert any(kind.door in ("fit", "scan", "clusters") and kind.name.startswith(f"{name}: ") for kind in KINDS)


@pytest.mark.parametrize("error", [kind for kind in vars(errors).values() if isinstance(kind, type)])
def test_every_error_is_also_one_of_python(error):
    if issubclass(error, DgmmError) and error is not DgmmError:
        assert issubclass(error, (ValueError, MemoryError, RuntimeError, ImportError, OSError))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_bad_input_is_refused(shelf, kind):
    given = kind.make(shelf)
    before = shelf.tree()
    with time_limit(SECONDS):
        message = (
            refusal_by_a_command(shelf, kind, given) if isinstance(kind.refusal, int) else refusal(shelf, kind, given)
        )
    for part in (kind.what, kind.where, kind.to_do):
        assert re.search(part, message), f"{part!r} is not in: {message}"
    assert shelf.tree() == before
    shelf.assert_untouched()


@pytest.mark.parametrize("kind", [kind for kind in (*data.KINDS, *chunks.KINDS) if kind.door == "fit"], ids=str)
def test_rows_that_a_fit_refuses_are_refused_by_clusters(shelf, kind):
    given = kind.make(shelf)
    if given.parameters or given.options:
        return  # these are a mixture's
    message = refusal(shelf, replace(kind, door="clusters"), given)
    for part in (kind.what, kind.where, kind.to_do):
        assert re.search(part, message), f"{part!r} is not in: {message}"


def refusal(shelf, kind, given):
    with pytest.raises(DgmmError) as caught:
        DOORS[kind.door](shelf, given)
    assert caught.type is kind.refusal
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert Path(last.filename).is_relative_to(PACKAGE), f"raised in {last.filename}:{last.lineno}"
    return str(caught.value)


def refusal_by_a_command(shelf, kind, given):
    code, message = DOORS[kind.door](shelf, given)
    assert code == kind.refusal, message
    assert "Traceback" not in message
    assert "a bug in dgmm" not in message
    return message
