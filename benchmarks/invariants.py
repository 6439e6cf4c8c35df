"""How alike are the invariants of copies of an image that were moved, scaled and turned?

"shapes": each is drawn some 20 times at any angle, in sizes from 0.6 to 1 and 6 pixels about the middle at most,
sharp but for pixels that are averages of 16 points. "axis": ``(mu20 - mu02) / (mu20 + mu02)``. "even", "odd": the
largest difference of a moment of even or odd degree (of an image of mass 1 and radius 1) between two copies.

"digits": of handwritten digits of scikit-learn, four times as large, copies are made likewise by cubic splines, and
white noise is added, in shares of the darkest ink; "cleared": pixels below three times the noise are set to 0. Which
share of the copies has another copy of the very same digit as its nearest neighbour, in features of EigenMoments?

"simulations": the noise of the moments of copies of half the digits is found by simulation, and the best five features
with it. Which share of their ratio of signal to noise (the trace of ``(W' B W)^-1 W' A W``) have the features that are
found with other draws of the noise, and, five times each, with 500 and with 5,000 copies of digits of the other half?
"mean" and "least" are of the five; "apart": the largest difference of an eigenvalue between them, as share of its mean.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import affine_transform, zoom
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.machine import Table, arguments, introduce
from dgmm import EigenMoments
from dgmm.errors import DataError
from dgmm.mixture.sampling import RowSample
from dgmm.signals.eigen import EigenFeatures, generalized
from dgmm.signals.invariants import INVARIANCES, NormalizedMoments
from dgmm.typing import Array, FloatArray

SIDE, ORDER = 64, 6
SHAPES: dict[str, Callable[[FloatArray, FloatArray], Array]] = {
    "disc": lambda u, v: u**2 + v**2 < 0.25,
    "square": lambda u, v: np.maximum(abs(u), abs(v)) < 0.4,
    "plus sign": lambda u, v: (np.minimum(abs(u), abs(v)) < 0.12) & (np.maximum(abs(u), abs(v)) < 0.5),
    "rectangle 1.05 : 1": lambda u, v: np.maximum(abs(u) / 1.05, abs(v)) < 0.4,
    "rectangle 1.5 : 1": lambda u, v: np.maximum(abs(u) / 1.5, abs(v)) < 0.3,
    "ellipse 2 : 1": lambda u, v: u**2 + 4 * v**2 < 0.3,
    "triangle, wide": lambda u, v: (abs(v - 0.1) < 0.25) & (abs(u) < 1.2 * (v + 0.15)),
    "letter T": lambda u, v: (abs(u) < 0.4) & (abs(v) < 0.4) & ((v > 0.2) | (abs(u) < 0.1)),
    "letter F": lambda u, v: (
        (abs(v) < 0.5) & (((u > -0.3) & (u < -0.1)) | ((abs(u) < 0.3) & ((v > 0.35) | (abs(v) < 0.08))))
    ),
}


def drawn(shape: Callable[[FloatArray, FloatArray], Array], rng: np.random.Generator, points: int = 4) -> FloatArray:
    """A shape somewhere in an image, (SIDE, SIDE)."""
    places = (2.0 * np.arange(points * SIDE) + 1.0) / (points * SIDE) - 1.0
    shift = rng.uniform(-12.0, 12.0, 2) / SIDE
    x, y = np.meshgrid(places - shift[0], places - shift[1], indexing="ij")
    turn, scale = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.6, 1.0)
    u, v = (np.cos(turn) * x + np.sin(turn) * y) / scale, (np.cos(turn) * y - np.sin(turn) * x) / scale
    return np.asarray(shape(u, v).reshape(SIDE, points, SIDE, points).mean(axis=(1, 3)))


def moved(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """An image somewhere in a larger one, (SIDE, SIDE)."""
    turn, scale = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.6, 1.0)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / scale
    middle = (SIDE - 1.0) / 2.0 + rng.uniform(-6.0, 6.0, 2)
    offset = (len(image) - 1.0) / 2.0 - matrix @ middle
    return np.maximum(affine_transform(image, matrix, offset, (SIDE, SIDE)), 0.0)


def spread(images: FloatArray) -> tuple[float, float, float]:
    """The axis of the copies of a shape, and the largest differences of their even and odd moments."""
    space = NormalizedMoments.of((SIDE, SIDE), ORDER, INVARIANCES, ORDER)
    moments = space.project(images.reshape(len(images), -1))
    degree = np.sum(space.degrees, axis=1)
    unit = moments / np.sqrt(moments[:, :1] + moments[:, 1:2]) ** degree
    between = np.ptp(unit, axis=0)
    return float((unit[:, 0] - unit[:, 1]).mean()), between[degree % 2 == 0].max(), between[degree % 2 == 1].max()


def found_again(images: FloatArray, which: Array, noise: float, invariant: tuple[str, ...]) -> str:
    """Share of images whose nearest neighbour is of the same one; '-' where noise is too large."""
    try:
        features = EigenMoments(order=ORDER, noise=noise**2, invariant=invariant, random_state=0).fit_transform(images)
    except DataError:
        return "-"
    _, nearest = NearestNeighbors(n_neighbors=2).fit(features).kneighbors(features)
    return f"{np.mean(which[nearest[:, 1]] == which):.3f}"


def copies_of(digits: FloatArray, order: int, times: int) -> tuple[FloatArray, FloatArray]:
    """Moments of copies of digits, (b, m), in turns, and what is kept of them, (b, p)."""
    rng, space = np.random.default_rng(2), NormalizedMoments.of((SIDE, SIDE), order, INVARIANCES, order)
    parts = [
        space.measure(np.stack([moved(each, rng) for each in digits]).reshape(len(digits), -1)) for _ in range(times)
    ]
    in_turns = [np.stack(part, axis=1) for part in ([each.moments for each in parts], [each.kept for each in parts])]
    moments, kept = (part.reshape(times * len(digits), -1) for part in in_turns)
    return moments, kept


def kept(moments: FloatArray, rows: FloatArray, noise: float, order: int, sizes: Sequence[int]) -> list[float]:
    """Shares of the best ratio that features of other draws and other images have, and how far these are apart."""
    space, half = NormalizedMoments.of((SIDE, SIDE), order, INVARIANCES, order), len(rows) // 2
    A = moments.T @ moments / len(rows)

    def found(some: FloatArray, seed: int) -> FloatArray:
        n = len(some)
        return space.of_noise(noise**2, RowSample(n, np.arange(n), some, np.ones(n)), seed)

    B = found(rows[:half], 0)
    best = generalized(A, B, 5).eigenvalues.sum()

    def share(features: EigenFeatures) -> float:
        W = features.weights
        return float(np.trace(np.linalg.solve(W.T @ B @ W, W.T @ A @ W)) / best)

    shares = [share(generalized(A, found(rows[:half], 1), 5))]
    for size in sizes:
        drawn = (np.random.default_rng(seed).choice(rows[half:], size, replace=False) for seed in range(5))
        features = [generalized(A, found(some, seed), 5) for seed, some in enumerate(drawn)]
        each, values = [share(one) for one in features], np.array([one.eigenvalues for one in features])
        shares += [float(np.mean(each)), min(each), float((np.ptp(values, axis=0) / values.mean(axis=0)).max())]
    return shares


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    options = arguments(__doc__, argv)
    introduce(options)
    copies, originals = (4, 20) if options.quick else (20, 200)
    table = Table("shapes", {"shape": "<20s", "axis": "6.3f", "even": "8.3f", "odd": "8.3f"})
    for name, shape in SHAPES.items():
        rng = np.random.default_rng(0)
        table.row(name, *spread(np.stack([drawn(shape, rng) for _ in range(copies)])))

    rng = np.random.default_rng(1)
    digits = zoom(load_digits().images[:originals] / 16.0, (1, 4, 4))
    clean = np.stack([moved(image, rng) for image in digits for _ in range(5)])
    which = np.repeat(np.arange(originals), 5)
    kinds = {"moments": (), "moved, scaled": ("translation", "scale"), "turned too": INVARIANCES}
    table = Table("digits", {"noise": "<8s", "cleared": "<8s"} | dict.fromkeys(kinds, "<14s"))
    for noise in (1e-3, 1e-2, 3e-2):
        for cleared in (False, True):
            images = clean + rng.normal(0.0, noise, clean.shape)
            if cleared:
                images[images < 3.0 * noise] = 0.0
            shares = (found_again(images, which, noise, invariant) for invariant in kinds.values())
            table.row(f"{noise:g}", "yes" if cleared else "no", *shares)

    sizes, times = ((20, 100), 10) if options.quick else ((500, 5000), 12)
    digits = zoom(load_digits().images[: originals if options.quick else None] / 16.0, (1, 4, 4))
    headings = [f"{size} {of}" for size in sizes for of in ("mean", "least", "apart")]
    columns = {"order": "5d", "noise": "<8s", "other draws": "11.4f"} | dict.fromkeys(headings, "10.4f")
    table = Table("simulations", columns)
    for order in (4, 6) if options.quick else (4, 6, 8):
        moments, rows = copies_of(digits, order, times)
        for noise in (1e-3, 1e-2):
            table.row(order, f"{noise:g}", *kept(moments, rows, noise, order, sizes))


if __name__ == "__main__":
    main()
