"""Draw the pictures of docs/bfr.md: python docs/pictures/bfr.py [folder]."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dgmm import BFRGaussianMixture
from dgmm.viz import plot_sets, save_figure

GREY = "#b0b0b0"
# Rows of a round that are drawn.
SHOWN = 600
# The rows that stay alike: four clusters, of standard deviation 1.
CENTRES = np.array([[0.0, 0.0], [3.5, 0.0], [0.0, 3.5], [3.5, 3.5]])
SHARES = (0.28, 0.26, 0.24, 0.22)
# A cluster like the others.
LATE = np.array([9.0, 2.0])


@dataclass(frozen=True)
class Story:
    """A stream, its scan, and what is drawn of it.

    Attributes
    ----------
    others : callable
        Where the rows of a round, of a given number from 1, come from that are of none of the four
        clusters, and the share of the rows that they are.
    titles : dict of int to str
        What is said of each round that is drawn.
    n_components, batch_rows, buffer_rows : int
    primary : str
    columns : int
        Pictures beside each other.
    size : (float, float)
        Inches.
    """

    others: Callable[[np.random.Generator, int, int], np.ndarray]
    titles: Mapping[int, str]
    n_components: int
    batch_rows: int
    buffer_rows: int
    primary: str
    columns: int
    size: tuple[float, float]

    def rows(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """The rows of a round."""
        n = self.batch_rows
        others = self.others(rng, number, n)
        known = CENTRES[rng.choice(4, n - len(others), p=SHARES)] + rng.normal(size=(n - len(others), 2))
        return rng.permutation(np.concatenate([known, others]))

    def draw(self) -> Figure:
        """Make the scan, and draw its sets after some of the rounds."""
        figure = Figure(figsize=self.size, dpi=100, layout="constrained", facecolor="white")
        lines = -(-len(self.titles) // self.columns)
        axes = iter(figure.subplots(lines, self.columns, sharex=True, sharey=True, squeeze=False).flat)
        rng = np.random.default_rng(0)
        scan = BFRGaussianMixture(
            self.n_components, batch_rows=self.batch_rows, buffer_rows=self.buffer_rows, primary=self.primary,
            random_state=0,
        )  # fmt: skip
        for number in range(1, max(self.titles) + 1):
            rows = self.rows(rng, number)
            scan.partial_fit(rows)
            if number in self.titles:
                ax = plot_sets(scan, next(axes))
                ax.scatter(*rows[:SHOWN].T, s=1.0, color=GREY, zorder=0.0, gid="rows", label="rows of the round")
                ax.set_title(f"round {number}: {self.titles[number]}", fontsize=10)
                ax.tick_params(labelsize=8, colors="#5a5a5a")
                ax.locator_params(nbins=5)
        handles, labels = figure.axes[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False, markerscale=1.6)
        return figure


def none(rng: np.random.Generator, number: int, n: int) -> np.ndarray:
    """No rows."""
    return np.empty((0, 2))


def late(rng: np.random.Generator, number: int, n: int) -> np.ndarray:
    """Rows of a fifth cluster: eight in the ninth round, more than any other's in the tenth."""
    count = {9: 8, 10: n // 3}.get(number, 0)
    return LATE + rng.normal(size=(count, 2))


STORIES = {
    "bfr_rounds.png": Story(
        none,
        {1: "the middles leave", 2: "doubtful rows gather", 4: "a tight group is summed", 8: "another one"},
        n_components=4, batch_rows=1_500, buffer_rows=400, primary="mahalanobis", columns=2, size=(7.2, 7.6),
    ),
    "bfr_late.png": Story(
        late,
        {8: "a component to spare", 9: "a few strange rows", 10: "it has moved there"},
        n_components=5, batch_rows=2_000, buffer_rows=500, primary="certain", columns=3, size=(9.0, 3.1),
    ),
}  # fmt: skip


def main(folder: Path) -> None:
    """Write all the pictures to a folder."""
    for name, story in STORIES.items():
        save_figure(story.draw(), folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
