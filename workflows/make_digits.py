"""Writes scikit-learn's images of handwritten digits, with noise added, as a chunked zarr store.

    python workflows/make_digits.py digits/images.zarr

1,797 images of 8 x 8 samples, values from 0 to 16, in white noise. Which digit each one is lies beside them, as a
coordinate: the job does not look at it, and keeps it. Another --seed brings other noise.
"""

import argparse
from pathlib import Path

import numpy as np
import xarray as xr
from sklearn.datasets import load_digits

NOISE = 4.0


def images(seed: int) -> xr.DataArray:
    """Return the images (image, y, x) in float32."""
    digits = load_digits()
    noise = np.random.default_rng(seed).normal(0.0, NOISE, digits.images.shape)
    values = (digits.images + noise).astype(np.float32)
    coords = {"digit": ("image", digits.target.astype(np.int32))}
    return xr.DataArray(values, coords, dims=("image", "y", "x"), name="image_of_a_digit")


def write(path: Path, seed: int) -> None:
    """Write a new store."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images(seed).chunk(image=300).to_zarr(path, consolidated=False, zarr_format=3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, metavar="PATH.zarr")
    parser.add_argument("--seed", type=int, default=0, help="of the noise; 0 if left out")
    given = parser.parse_args()
    write(given.path, given.seed)
    print(f"{given.path}: 1,797 images of 8 x 8 samples")
