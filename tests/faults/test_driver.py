"""The process that runs the fit is killed: at every change of the disk, and at random moments."""

import itertools
import signal
from pathlib import Path

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
    run_and_die,
    run_for,
)


@pytest.mark.parametrize("kind", ["em", pytest.param("em from a scan", marks=pytest.mark.slow)])
def test_a_kill_before_every_change_of_the_disk(kind, tmp_path, capsys):
    """As a test of a database does; a kill after a change is one before the next.

    Whatever is on the disk then, the same command ends with the same bits.
    """
    expected = fit(rows(FEW), kind=kind)
    survived = 0
    for number in itertools.count(1):
        place, result = tmp_path / f"place-{number}", tmp_path / f"{number}.npz"
        code = in_a_process(run_and_die, place, result, number, kind=kind)
        if code == 0:
            assert is_result(result, expected)
            break
        assert code == -signal.SIGKILL
        assert not result.exists()
        assert in_a_process(run_and_die, place, result, kind=kind) == 0
        survived += is_result(result, expected)
        assert not leftovers(place)
    tried = number - 1
    with capsys.disabled():
        print(f"\nkilled before each change of the disk: survived {survived} of {tried}")
    assert survived == tried >= 100


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
