"""What are EigenMoments good for: clusters and pictures of noisy digits, beside principal components.

Digits are scikit-learn's 1,797 images of 8 x 8 pixels from 0 to 16, with noise: "white", or "stripes",
an offset of each row of pixels, with white noise of a quarter of its standard deviation. Features of
each noisy set are found in that set, and clustered by a mixture of 10 Gaussians; numbers are means and
standard deviations over seeds of noise and fits. "eigen4" and so on: EigenMoments of that order, centred
(order 7 is all that 8 pixels can show); their noise is estimated from the images where it is white, and
from as many others of noise alone where it is not. "pca": principal components. "monomials": geometric
moments, those of the least degrees. With ``--speed`` the time and memory of 100,000 images of 64 x 64
from zarr, about two minutes; with ``--orders`` how well equations are met as the order rises.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import zarr
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import memory
from benchmarks.machine import Table, arguments, interleaved, introduce
from benchmarks.out_of_core import THREADS, folder_for_stores, open_store, read_alone
from dgmm import EigenMoments, GaussianMixture
from dgmm.errors import DataError
from dgmm.signals.spaces import MomentSpace

LEVELS = (("white", 0.0), ("white", 4.0), ("white", 8.0), ("white", 12.0), ("white", 16.0), ("stripes", 8.0))
"""Kind of noise and its standard deviation."""

DEGREES = (4, 6, 7)
FAMILIES, COMPONENTS, SEEDS = ("full", "diag"), (10, 20), 5
SIDE, ORDER, FEATURES = 64, 6, 10
"""Of the images whose time is taken."""

ROWS, CHUNK_ROWS = 100_000, 1_000
ORDERS, SAMPLES = (5, 10, 15, 20, 30, 40, 60), 256


# -- noisy digits -----------------------------------------------------------------------------------


def draw_noise(kind: str, sd: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of so many digits, (n, 8, 8)."""
    white = rng.normal(size=(n, 8, 8))
    if kind == "white":
        return sd * white
    return sd * rng.normal(size=(n, 8, 1)) + 0.25 * sd * white


def eigenmoments(k: int, order: int, kind: str, sd: float, X: np.ndarray, seed: int) -> EigenMoments:
    """Fitted to noisy digits, with other noise where it is not white."""
    alone = None if kind == "white" else draw_noise(kind, sd, len(X), np.random.default_rng([seed, 1]))
    return EigenMoments(k, order=order, center=True).fit(X, noise_signals=alone)


def monomials(X: np.ndarray, k: int) -> np.ndarray:
    """The geometric moments of the k least degrees, standardised."""
    space = MomentSpace((8, 8), (7, 7), "monomial")
    first = sorted(range(space.n_moments), key=lambda i: (sum(space.degrees[i]), i))[:k]
    return StandardScaler().fit_transform(space.project(X.reshape(len(X), -1))[:, first])


def features(k: int, kind: str, sd: float, X: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Features of noisy digits, by the name of their kind."""
    pixels = X.reshape(len(X), -1)
    found = {f"eigen{order}": eigenmoments(k, order, kind, sd, X, seed).transform(X) for order in DEGREES}
    return {
        **found,
        "pca": PCA(k, random_state=0).fit_transform(pixels),
        "monomials": monomials(X, k),
        "pixels": pixels,
    }


def agreement(X: np.ndarray, truth: np.ndarray, family: str, seed: int) -> float:
    """Adjusted Rand index of a mixture's labels."""
    mixture = GaussianMixture(10, covariance_type=family, random_state=seed)
    return float(adjusted_rand_score(truth, mixture.fit(X).predict(X)))


def compare_clusters(*, quick: bool) -> None:
    """Print how well clusters of each kind of features agree with the digits."""
    images, digits = load_digits(return_X_y=True)
    step, levels, seeds, sizes = (6, LEVELS[1::4], 1, (10,)) if quick else (1, LEVELS, SEEDS, COMPONENTS)
    images, digits = images[::step].reshape(-1, 8, 8), digits[::step]
    kinds = (*(f"eigen{order}" for order in DEGREES), "pca", "monomials", "pixels")
    table = Table(
        f"adjusted Rand index of clusters of {len(images)} digits, mean and deviation over {seeds} seeds",
        {"noise": "<7s", "sd": "2.0f", "family": "<6s", "k": "2d", **dict.fromkeys(kinds, "<10s")},
    )
    for (kind, sd), family in itertools.product(levels, FAMILIES[:1] if quick else FAMILIES):
        pixels: list[float] = []
        for k in sizes:
            found: dict[str, list[float]] = {name: [] for name in kinds}
            for seed in range(seeds):
                X = images + draw_noise(kind, sd, len(images), np.random.default_rng(seed))
                for name, rows in features(k, kind, sd, X, seed).items():
                    # Pixels have no k.
                    if name != "pixels":
                        found[name].append(agreement(rows, digits, family, seed))
                    elif len(pixels) < seeds:
                        pixels.append(agreement(rows, digits, family, seed))
            found["pixels"] = pixels
            cells = (f"{np.mean(values):.2f} ±{np.std(values):.2f}" for values in found.values())
            table.row(kind, sd, family, k, *cells)


def compare_pictures(*, quick: bool) -> None:
    """Print how far reconstructions are from the digits without noise."""
    images = load_digits().images
    table = Table(
        "mean squared error of reconstructions of digits from k features, to the digits without noise",
        {"noise": "<7s", "sd": "2.0f", "noisy": "6.1f", "k": "2d",
         **{f"eigen{order}": "6.2f" for order in DEGREES}, "pca": "6.2f"},
    )  # fmt: skip
    for kind, sd in LEVELS[1::4] if quick else LEVELS[1:]:
        for k in (5, 10, 20):
            errors = []
            for seed in range(1 if quick else SEEDS):
                X = images + draw_noise(kind, sd, len(images), np.random.default_rng(seed))
                models = [eigenmoments(k, order, kind, sd, X, seed) for order in DEGREES]
                pca = make_pipeline(PCA(k, random_state=0)).fit(rows := X.reshape(len(X), -1))
                shown = [model.inverse_transform(model.transform(X)) for model in models]
                shown.append(pca.inverse_transform(pca.transform(rows)).reshape(X.shape))
                errors.append([np.mean((each - images) ** 2) for each in (X, *shown)])
            noisy, *others = np.mean(errors, axis=0)
            table.row(kind, sd, noisy, k, *others)


# -- time and memory --------------------------------------------------------------------------------


def write_images(path: Path, n: int, compressed: bool) -> Path:
    """Bright spots with noise, (n, 64, 64) float32, a chunk at a time."""
    rng = np.random.default_rng(0)
    chunk_rows = min(CHUNK_ROWS, n // 4)
    store = zarr.create_array(
        path, shape=(n, SIDE, SIDE), chunks=(chunk_rows, SIDE, SIDE), dtype=np.float32,
        compressors="auto" if compressed else None,
    )  # fmt: skip
    x = np.linspace(-1.0, 1.0, SIDE, dtype=np.float32)
    for start in range(0, n, chunk_rows):
        at, width = rng.uniform(-0.5, 0.5, (2, chunk_rows, 1)), rng.uniform(0.1, 0.5, (2, chunk_rows, 1))
        down, across = np.exp(-((x - at) ** 2) / width).astype(np.float32)
        spots = down[:, :, None] * across[:, None, :]
        store[start : start + chunk_rows] = spots + np.float32(0.1) * rng.standard_normal(spots.shape, dtype=np.float32)
    return path


def fit(path: str) -> EigenMoments:
    """Find the features of images in a store."""
    with dask.config.set(scheduler="threads", num_workers=THREADS):
        return EigenMoments(FEATURES, order=ORDER).fit(open_store(path))


def transform(model: EigenMoments, X: da.Array) -> np.ndarray:
    """Features of images, in memory."""
    with dask.config.set(scheduler="threads", num_workers=THREADS):
        return np.asarray(model.transform(X).compute())


def peaks(path: str) -> dict[str, float]:
    """Bytes of fit and transform beyond those after the imports; meant for a process of its own."""
    rng = np.random.default_rng(0)
    EigenMoments(2).fit_transform(rng.normal(size=(100, 20)))
    before, found = memory.resident(), {}
    memory.reset_peak()
    model = fit(path)
    found["fit"] = memory.peak() - before
    memory.reset_peak()
    transform(model, open_store(path))
    found["transform"] = memory.peak() - before
    return found


def compare_times(folder: Path, *, quick: bool) -> None:
    """Print what a fit and a transform take beside reading and a bare product."""
    n, repeats = (400, 1) if quick else (ROWS, 5)
    table = Table(
        f"{n:,} float32 images of {SIDE} x {SIDE}, order {ORDER}, {THREADS} threads: seconds, MB, and over the bound",
        {"store": "<5s", "GB": "4.2f", "reading": "7.2f", "product": "7.2f", "fit": "5.2f", "ratio": "5.2f",
         "transform": "9.2f", "ratio ": "6.2f", "fit MB": "6.0f", "transform MB": "12.0f"},
    )  # fmt: skip
    for kind in ("zstd", "raw"):
        path = write_images(folder / f"{kind}.zarr", n, kind == "zstd")
        model = fit(str(path))
        filters = model._space.synthesize(np.eye(model._space.n_moments)).T.astype(np.float32)
        in_memory = zarr.open_array(path, mode="r")[:].reshape(n, -1)
        product: Callable[[], object] = lambda X=in_memory, F=filters: X @ F  # noqa: E731
        first = interleaved({"product": product}, repeats, time.perf_counter)
        del in_memory, product
        seconds = first | interleaved(
            {
                "reading": lambda path=path: read_alone(path),
                "fit": lambda path=path: fit(str(path)),
                "transform": lambda path=path, model=model: transform(model, open_store(path)),
            },
            repeats,
            time.perf_counter,
        )
        bound = max(seconds["reading"], seconds["product"])
        used = memory.in_fresh_process("benchmarks.eigenmoments", "peaks", path=str(path))
        table.row(
            kind, 4e-9 * n * SIDE**2, seconds["reading"], seconds["product"], seconds["fit"], seconds["fit"] / bound,
            seconds["transform"], seconds["transform"] / bound, used["fit"] / 2**20, used["transform"] / 2**20,
        )  # fmt: skip
        shutil.rmtree(path)


# -- orders -----------------------------------------------------------------------------------------


def smooth_signals(n: int) -> np.ndarray:
    """Random waves of falling size, and a little noise, (n, samples)."""
    rng = np.random.default_rng(0)
    x = np.linspace(-1.0, 1.0, SAMPLES)
    waves = np.array([np.cos(0.5 * np.pi * i * (x + 1.0)) * np.exp(-0.1 * i) for i in range(80)])
    return np.asarray(rng.normal(size=(n, len(waves))) @ waves + 0.01 * rng.normal(size=(n, SAMPLES)))


def compare_orders(*, quick: bool) -> None:
    """Print how far W'BW is from I and W'AW from diagonal, by the order."""
    X = smooth_signals(200 if quick else 5_000)
    table = Table(
        f"signals of {SAMPLES} samples, all features: |W'BW - I|, |W'AW - L| / L, features of the bases apart",
        {"order": "5d", "legendre B": "10.0e", "A": "6.0e", "monomial B": "<10s", "A ": "<6s", "apart": "<6s"},
    )
    for order in ORDERS[:4] if quick else ORDERS:
        models = {}
        for basis in ("legendre", "monomial"):
            try:
                models[basis] = EigenMoments(order=order, basis=basis, noise=1e-4).fit(X)
            except DataError:
                continue
        cells: list[str] = ["refused", "-", "-"]
        if "monomial" in models:
            q, other = (models[basis].transform(X[:100]) for basis in ("legendre", "monomial"))
            apart = float(np.abs(q - other).max() / np.abs(q).max())
            cells = [f"{value:.0e}" for value in (*defects(models["monomial"]), apart)]
        table.row(order, *defects(models["legendre"]), *cells)


def defects(model: EigenMoments) -> tuple[float, float]:
    """How far W'BW is from I, and W'AW from diagonal, in units of the larger eigenvalue of the two."""
    W, values = model.components_, model.eigenvalues_
    noise = np.abs(W @ model.noise_correlation_ @ W.T - np.eye(len(W))).max()
    signal = np.abs(W @ model.correlation_ @ W.T - np.diag(values)) / np.maximum.outer(values, values)
    return float(noise), float(signal.max())


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    options = arguments(
        __doc__,
        argv,
        ("--speed", "time and memory of images from zarr instead"),
        ("--orders", "how well equations are met as the order rises instead"),
        values={"--folder": ("", "where stores are written; by default where temporary files are")},
    )
    introduce(options)
    warnings.simplefilter("ignore")
    if options.speed:
        with folder_for_stores(options.folder) as folder:
            compare_times(folder, quick=options.quick)
    elif options.orders:
        compare_orders(quick=options.quick)
    else:
        compare_pictures(quick=options.quick)
        compare_clusters(quick=options.quick)


if __name__ == "__main__":
    main()
