"""Draw the picture of docs/selection.md: python docs/pictures/selection.py [folder]."""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import dgmm
from dgmm.viz import plot_selection, save_figure


def draw(most: int = 20) -> Figure:
    """BIC and held-out log-likelihood of the handwritten digits, over the number of components."""
    X = PCA(10, random_state=0).fit_transform(load_digits().data)
    found = dgmm.select(X, range(1, most + 1), ["full", "tied", "diag"], "bic", held_out=0.2, random_state=0)
    print(found)
    figure = Figure(figsize=(10.0, 4.2), dpi=100, layout="constrained", facecolor="white")
    for ax, criterion in zip(figure.subplots(1, 2), ("bic", "heldout"), strict=True):
        plot_selection(found.table, criterion, ax)
    return figure


def main(folder: Path) -> None:
    """Write the picture."""
    save_figure(draw(), folder / "selection.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
