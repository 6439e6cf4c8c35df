"""Pictures: what is read, and what is drawn."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from dgmm.errors import DataError, MissingExtraError
from dgmm.viz import read_picture, save_figure, segment, segmentation_figure


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_the_shipped_photographs_have_scikit_learns_pixels(name):
    np.testing.assert_array_equal(read_picture(name).pixels, load_sample_image(name))


def test_any_picture_is_read_as_colours(tmp_path):
    Image.new("L", (4, 3), 77).save(tmp_path / "grey.png")
    picture = read_picture(tmp_path / "grey.png")
    assert picture.pixels.shape == (3, 4, 3)
    assert picture.pixels.dtype == np.uint8
    assert (picture.pixels == 77).all()
    Image.new("L", (4, 3), 78).save(tmp_path / "other.png")
    assert read_picture(tmp_path / "other.png").digest != picture.digest


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match="not a picture that Pillow can read"):
        read_picture(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"no.png: cannot be read"):
        read_picture(tmp_path / "no.png")


def test_the_picture_shows_photograph_segmentation_and_convergence(tmp_path):
    photograph = np.zeros((40, 60, 3), np.uint8)
    photograph[:, :30] = (200, 10, 10)
    photograph[:, 30:] = (10, 10, 200)
    labels = np.zeros((40, 60), np.int64)
    labels[:, 30:] = 1
    means = np.array([[10.0, 180.0, 10.4], [250.0, 240.0, 9.6]])
    figure = segmentation_figure(photograph, labels, means, [-9.0, -8.0, -7.5], name="two halves")
    save_figure(figure, tmp_path / "out" / "p.png")
    assert names(tmp_path / "out") == ["p.png"]
    image = np.asarray(Image.open(tmp_path / "out" / "p.png").convert("RGB"))
    assert image.shape[1] == 1800
    middle = image.shape[1] // 2
    left, right = colours(image[:, :middle]), colours(image[:, middle:])
    assert {(200, 10, 10), (10, 10, 200)} <= left
    assert {(10, 180, 10), (250, 240, 10)} <= right
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "two halves: 2,400 pixels"
    assert "EM converged after 3 iterations" in titles
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    (line,) = figure.axes[2].lines
    np.testing.assert_array_equal(line.get_xydata(), [[1, -9.0], [2, -8.0], [3, -7.5]])


def colours(image):
    found, counts = np.unique(image.astype(int) @ [65_536, 256, 1], return_counts=True)
    return {(c >> 16, c >> 8 & 255, c & 255) for c in found[counts > 500].tolist()}


@pytest.mark.parametrize("k", [1, 30])
def test_few_and_many_components_and_one_iteration_are_drawn(tmp_path, k):
    labels = np.arange(600).reshape(20, 30) % k
    figure = segmentation_figure(
        np.zeros((20, 30, 3), np.uint8), labels, np.full((k, 3), 99.0), [-3.0], converged=False
    )
    save_figure(figure, tmp_path / "p.png")
    assert figure.axes[2].get_title() == "EM stopped before convergence after 1 iteration"


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="expected \\(lines, columns, 3\\)"):
        segmentation_figure(np.zeros((4, 5, 3)), np.zeros((5, 4), int), np.zeros((1, 3)), [0.0])


def test_colours_beyond_the_scale_are_cut():
    np.testing.assert_array_equal(
        segment(np.array([[0]]), np.array([[-3.0, 128.5, 400.0]])), np.array([[[0, 128, 255]]], np.uint8)
    )


def test_a_failed_picture_leaves_the_old_one(tmp_path):
    class Broken:
        def savefig(self, path, **_):
            path.write_text("half")
            raise OSError("disk full")

    (tmp_path / "p.png").write_text("old")
    with pytest.raises(OSError, match="disk full"):
        save_figure(Broken(), tmp_path / "p.png")
    assert names(tmp_path) == ["p.png"]
    assert (tmp_path / "p.png").read_text() == "old"


def test_drawing_touches_no_global_state_and_a_missing_package_is_named():
    code = (
        "import sys, numpy as np; from dgmm.viz import segmentation_figure;"
        "f = lambda: segmentation_figure(np.zeros((2, 2, 3), 'u1'), np.zeros((2, 2), int), np.zeros((1, 3)), [0.0]);"
        "f(); assert 'matplotlib.pyplot' not in sys.modules;"
        "sys.modules['matplotlib.figure'] = None\n"
        "try: f()\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(MissingExtraError("matplotlib", "viz", "drawing a picture"))
