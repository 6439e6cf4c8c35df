"""The pictures of a scan show its sets: what is drawn is read back from the artists."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dgmm import BFRGaussianMixture
from dgmm.errors import DataError
from dgmm.viz import plot_sets

ROOT = Path(__file__).parents[2]


def drawn(ax, name):
    """Means (s, 2) and covariances (s, 2, 2) of the ellipses of a set, from points on their outlines."""
    means, covariances = [], []
    for patch in ax.patches:
        if patch.get_gid() == name:
            # The unit circle's points (1, 0) and (0, 1) are carried to two standard deviations.
            centre, first, second = patch.get_patch_transform().transform([(0, 0), (1, 0), (0, 1)])
            means.append(centre)
            sides = np.array([first - centre, second - centre]) / 2.0
            covariances.append(sides.T @ sides)
    return np.array(means).reshape(-1, 2), np.array(covariances).reshape(-1, 2, 2)


def points(ax, name):
    (found,) = [np.asarray(drawn.get_offsets()) for drawn in ax.collections if drawn.get_gid() == name]
    return found


def fitted(covariance_type, **options):
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.normal(size=(900, 2)) @ [[1.0, 0.8], [0.0, 0.5]], rng.normal(4.0, 0.7, size=(600, 2))])
    return BFRGaussianMixture(
        2, covariance_type=covariance_type, batch_rows=500, buffer_rows=60, random_state=0, **options
    ).fit(rng.permutation(X))


AS_MATRICES = {
    "full": lambda c: c,
    "tied": lambda c: np.stack([c, c]),
    "diag": lambda c: np.stack([np.diag(row) for row in c]),
    "spherical": lambda c: np.stack([value * np.eye(2) for value in c]),
}


@pytest.mark.parametrize("covariance_type", AS_MATRICES)
def test_all_sets_are_drawn_as_they_are(covariance_type):
    # The textbook's rule leaves most rows to the buffer, and so to compression.
    scan = fitted(covariance_type, primary="mahalanobis", secondary_tightness=1.0)
    ax = plot_sets(scan)
    np.testing.assert_array_equal(points(ax, "retained"), scan.retained_set_["rows"])
    assert len(scan.compressed_set_["weights"])
    for name, means, covariances in (
        ("mixture", scan.means_, AS_MATRICES[covariance_type](scan.covariances_)),
        ("discarded", scan.discard_set_["means"], None),
        ("compressed", scan.compressed_set_["means"], None),
    ):
        centres, matrices = drawn(ax, name)
        np.testing.assert_allclose(centres, means, rtol=1e-9)
        if covariances is not None:
            np.testing.assert_allclose(matrices, covariances, rtol=1e-9, atol=1e-12)
        assert len(matrices) == len(means)
    assert [text.get_text() for text in ax.texts] == [f"{weight:.3g}" for weight in scan.discard_set_["weights"]]
    assert len(ax.get_legend_handles_labels()[1]) == 4


def test_sums_have_the_covariance_of_their_rows():
    scan = fitted("full")
    _, matrices = drawn(plot_sets(scan), "discarded")
    np.testing.assert_allclose(matrices, scan.discard_set_["covariances"], rtol=1e-9)


def test_before_the_start_there_are_only_rows():
    scan = BFRGaussianMixture(2, batch_rows=100).partial_fit(np.arange(10.0).reshape(5, 2))
    ax = plot_sets(scan)
    np.testing.assert_array_equal(points(ax, "retained"), np.arange(10.0).reshape(5, 2))
    assert not ax.patches


def test_components_without_rows_and_groups_of_equal_rows_are_drawn():
    none, one = np.full((1, 2), np.nan), np.zeros((1, 2))
    scan = SimpleNamespace(
        covariance_type="diag",
        means_=np.array([[0.0, 0.0], [3.0, 3.0]]),
        covariances_=np.ones((2, 2)),
        discard_set_={
            "weights": np.array([0.0, 1234.0]),
            "means": np.concatenate([none, one]),
            "covariances": np.concatenate([none, one + 1.0]),
        },
        compressed_set_={"weights": np.array([2.0]), "means": one, "covariances": one - 1e-18},
        retained_set_={"rows": np.empty((0, 2)), "weights": np.empty(0)},
    )
    ax = plot_sets(scan)
    assert [len(drawn(ax, name)[0]) for name in ("mixture", "discarded", "compressed")] == [2, 1, 1]
    assert [text.get_text() for text in ax.texts] == ["1.2k"]


def test_other_than_two_features_are_refused():
    scan = BFRGaussianMixture(2, batch_rows=100).partial_fit(np.zeros((5, 3)))
    with pytest.raises(DataError, match="3 feature"):
        plot_sets(scan)


def test_the_pictures_of_the_documentation_tell_what_the_page_says(tmp_path):
    script = runpy.run_path(str(ROOT / "docs" / "pictures" / "bfr.py"))
    rounds, late = (script["STORIES"][name].draw() for name in ("bfr_rounds.png", "bfr_late.png"))
    sets = [[len(drawn(ax, name)[0]) for name in ("mixture", "discarded", "compressed")] for ax in rounds.axes]
    assert all(counts[:2] == [4, 4] for counts in sets)
    assert [counts[2] for counts in sets] == [0, 0, 1, 2]
    # Tight groups lie between the clusters.
    groups = drawn(rounds.axes[-1], "compressed")[0]
    assert np.linalg.norm(groups[:, None] - script["CENTRES"], axis=2).min() > 1.0
    assert all(0 < len(points(ax, "retained")) <= 400 for ax in rounds.axes)
    before, few, moved = (np.linalg.norm(drawn(ax, "mixture")[0] - script["LATE"], axis=1).min() for ax in late.axes)
    assert min(before, few) > 3.0
    assert moved < 0.3
    assert np.linalg.norm(points(late.axes[1], "retained") - script["LATE"], axis=1).min() < 2.0
    script["main"](tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(script["STORIES"])
    for path in tmp_path.iterdir():
        assert path.stat().st_size < 200_000
        with Image.open(path) as image:
            assert image.size[0] >= 700
        assert (ROOT / "docs" / "pictures" / path.name).exists()
