"""Writes the readings of a night, in the place of those of the night before, as a machine would that is watched.

    python workflows/make_night.py nightly/readings.zarr --night 0

40,000 readings of three sensors, of a machine that is idle, runs or is under load. It wears: from night 2 on it is
warmer under load. In night 3 a sensor says millivolts in the place of volts. The same night has the same readings
whenever it is written.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import xarray as xr

READINGS = 40_000
SENSORS = ("temperature", "current", "vibration")
STATES = {"idle": (20.0, 1.0, 0.1), "runs": (45.0, 6.0, 1.0), "under load": (60.0, 11.0, 2.0)}
NOISE = (2.0, 0.4, 0.15)
WARMER, WEARS_FROM, BROKEN = 1.0, 2, 3


def readings(night: int) -> xr.Dataset:
    """Return the readings of a night, counted from 0."""
    rng = np.random.default_rng(night)
    means = np.array(list(STATES.values()))
    if night >= WEARS_FROM:
        means[2, 0] += WARMER
    values = means[rng.choice(3, p=(0.5, 0.3, 0.2), size=READINGS)] + NOISE * rng.normal(size=(READINGS, 3))
    if night == BROKEN:
        values[:, 2] *= 1000.0
    return xr.Dataset({sensor: ("reading", values[:, column]) for column, sensor in enumerate(SENSORS)})


def write(path: Path, night: int) -> None:
    """Replace what is at ``path``; a job is run when this has ended."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    readings(night).chunk(reading=10_000).to_zarr(path, consolidated=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, metavar="PATH.zarr")
    parser.add_argument("--night", type=int, default=0, help="counted from 0, which it is if left out")
    given = parser.parse_args()
    write(given.path, given.night)
    print(f"{given.path}: {READINGS:,} readings of night {given.night}")
