"""Each kind of bad input has one documented refusal, with what is wrong, where, and what to do."""

from __future__ import annotations

import re
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
from bad_input import arguments, data
from bad_input.kinds import DOORS, K, Kind, Shelf, blobs, time_limit

import dgmm
from dgmm import GaussianMixture
from dgmm.errors import DgmmError

PACKAGE = Path(dgmm.__file__).parent
KINDS: list[Kind] = [*data.KINDS, *arguments.KINDS]
SECONDS = 60


@pytest.fixture(scope="module")
def fitted():
    return GaussianMixture(K, random_state=0, max_iter=300).fit(blobs())


@pytest.fixture
def shelf(tmp_path, monkeypatch, fitted):
    folder, scratch = tmp_path / "shelf", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(folder)
    np.save(folder / "x.npy", blobs())
    fitted.save(folder / "m.zarr")
    yield Shelf(folder, fitted)
    assert list(scratch.iterdir()) == []


def test_every_kind_is_one_of_a_kind():
    names = [str(kind) for kind in KINDS]
    assert sorted(set(names)) == sorted(names)
    assert {kind.door for kind in KINDS} == set(DOORS)


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


def refusal(shelf, kind, given):
    with pytest.raises(DgmmError) as caught, warnings.catch_warnings():
        warnings.simplefilter("error")
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
