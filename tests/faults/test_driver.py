"""The process that runs the fit is killed: at every change of the disk, and at random moments."""

import itertools
import re
import signal
from pathlib import Path

import dask
import pytest
from faults.small_fit import (
    FEW,
    FITS,
    fit,
    in_a_process,
    is_result,
    leftovers,
    random_moments,
    rows,
    run_and_copy,
    run_and_die,
    run_for,
    same_bits,
)

from dgmm import Checkpoint

REALLY = 12


@pytest.mark.parametrize("kind", ["em", pytest.param("em from a scan", marks=pytest.mark.slow)])
def test_a_kill_before_every_change_of_the_disk(kind, tmp_path, capsys):
    """As a test of a database does; a kill after a change is one before the next.

    Whatever is on the disk then, the same command ends with the same bits. What is on the disk is copied at each
    of these moments, from one run; every few of them a process is killed, and must leave the very same.
    """
    expected = fit(rows(FEW), kind=kind)
    assert in_a_process(run_and_copy, tmp_path / "whole", tmp_path / "copy", kind=kind) == 0
    survived = tried = 0
    for number in itertools.count(1):
        place, result = tmp_path / f"copy-{number}", tmp_path / f"{number}.npz"
        if number % REALLY == 1:
            killed = tmp_path / f"place-{number}"
            code = in_a_process(run_and_die, killed, result, number, kind=kind)
            if code == 0:
                assert not place.exists()
                assert is_result(result, expected)
                break
            assert code == -signal.SIGKILL
            assert not result.exists()
            assert as_it_was(killed) == as_it_was(place)
            assert in_a_process(run_and_die, killed, result, kind=kind) == 0
            assert is_result(result, expected)
        elif tried and not place.exists():
            continue
        with dask.config.set(scheduler="synchronous"):
            survived += same_bits(fit(rows(FEW), Checkpoint(place, interval=0.0), kind=kind), expected)
        tried += 1
        assert not leftovers(place)
    with capsys.disabled():
        print(f"\nkilled before each change of the disk: survived {survived} of {tried}")
    assert survived == tried >= 100


def as_it_was(place: Path) -> list[str]:
    """What lies in a folder, but for the numbers that are drawn."""
    return sorted(re.sub("[0-9a-f]{8}", "", path.relative_to(place).as_posix()) for path in place.rglob("*"))


def killed_again_and_again(folder: Path, seed: int, kills: int, kind: str = "em") -> tuple[int, int]:
    """Fits that are killed at random moments until they end: how many kills, how many wrong results."""
    expected = fit(rows(), kind=kind)
    moments, wrong, tried = random_moments(seed, longest=1.2), 0, 0
    schedulers = itertools.cycle([("threads", 2), ("synchronous", 1), ("threads", 4)])
    for number in itertools.count():
        place, result = folder / f"place-{number}", folder / f"{number}.npz"
        while tried < kills:
            code = in_a_process(run_for, place, result, next(moments), *next(schedulers), kind=kind)
            tried += code != 0
            if code == 0:
                break
            assert code == -signal.SIGKILL
        if not result.exists():
            assert in_a_process(run_for, place, result, None, *next(schedulers), kind=kind) == 0
        wrong += not is_result(result, expected)
        if tried >= kills:
            return tried, wrong


@pytest.mark.parametrize("kind", FITS)
def test_random_kills(kind, tmp_path, capsys):
    tried, wrong = killed_again_and_again(tmp_path, seed=1, kills=10, kind=kind)
    with capsys.disabled():
        print(f"\nrandom kills of the driver, {kind}: survived {tried - wrong} of {tried}")
    assert not wrong


@pytest.mark.slow
def test_a_hundred_random_kills(tmp_path, capsys):
    tried, wrong = killed_again_and_again(tmp_path, seed=2, kills=120)
    with capsys.disabled():
        print(f"\nrandom kills of the driver: survived {tried - wrong} of {tried}")
    assert not wrong
