"""Draw the pictures of docs/eigenmoments.md: python docs/pictures/eigenmoments.py [folder]."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from dgmm import EigenMoments
from dgmm.viz import save_figure

K, SHOWN = 10, 10


def stripes(n: int, sd: float, seed: int) -> np.ndarray:
    """An offset of each row of pixels, with white noise of a quarter of it, (n, 8, 8)."""
    rng = np.random.default_rng(seed)
    return sd * rng.normal(size=(n, 8, 1)) + 0.25 * sd * rng.normal(size=(n, 8, 8))


def _grid(rows: dict[str, tuple[np.ndarray, list[str]]], height: float) -> Figure:
    """Rows of images, (count, 8, 8), and what is written above each, by the word beside them."""
    figure = Figure(figsize=(10.0, height), dpi=90, layout="constrained", facecolor="white")
    for axes, (word, (images, titles)) in zip(figure.subplots(len(rows), SHOWN), rows.items(), strict=True):
        for ax, image, title in zip(axes, images, titles, strict=True):
            ax.imshow(image, cmap="gray_r")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_title(title, fontsize=8)
        axes[0].set_ylabel(word, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def draw_filters() -> Figure:
    """The first filters of digits in white noise and in stripes, with their ratios of signal to noise."""
    digits = load_digits().images
    white = digits + 4.0 * np.random.default_rng(0).normal(size=digits.shape)
    models = {
        "white noise": EigenMoments(K, center=True).fit(white),
        "stripes": EigenMoments(K, center=True).fit(
            digits + stripes(len(digits), 8.0, 0), noise_signals=stripes(len(digits), 8.0, 1)
        ),
    }
    return _grid(
        {word: (found.filters_, [f"{ratio:.2g}" for ratio in found.snr_]) for word, found in models.items()}, 2.4
    )


def draw_digits() -> Figure:
    """Digits, the same in stripes, and what ten principal components and ten EigenMoments make of them."""
    digits = load_digits().images
    noisy, noise = digits + stripes(len(digits), 8.0, 0), stripes(len(digits), 8.0, 1)
    pca = PCA(K, random_state=0).fit(rows := noisy.reshape(len(noisy), -1))
    model = EigenMoments(K, center=True).fit(noisy, noise_signals=noise)
    shown = {
        "digits": digits,
        "in stripes": noisy,
        "PCA": pca.inverse_transform(pca.transform(rows)).reshape(noisy.shape),
        "EigenMoments": model.inverse_transform(model.transform(noisy)),
    }
    return _grid({word: (images[:SHOWN], [""] * SHOWN) for word, images in shown.items()}, 4.0)


def main(folder: Path) -> None:
    """Write the pictures."""
    save_figure(draw_filters(), folder / "eigenmoments_filters.png")
    save_figure(draw_digits(), folder / "eigenmoments_digits.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
