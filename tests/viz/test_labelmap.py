"""A map shows each place at its coordinates, in its component's colour."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from dgmm.viz.colours import NO_LABEL, component_colours
from dgmm.viz.labelmap import LabelMap, plot_label_map

LABELS = np.array([[0, 1, -1], [2, 2, 1]])


def colour_at(ax, x, y):
    """The colour that is seen at a place, by the picture's own extent, and where that is on the paper."""
    (image,) = ax.images
    left, right, bottom, top = image.get_extent()
    pixels = image.get_array()
    line = int((y - top) / (bottom - top) * pixels.shape[0])
    column = int((x - left) / (right - left) * pixels.shape[1])
    return tuple(pixels[line, column]), ax.transData.transform((x, y))


@pytest.mark.parametrize("falling_y", [True, False])
@pytest.mark.parametrize("falling_x", [True, False])
def test_places_lie_at_their_coordinates(falling_y, falling_x):
    y, x = np.array([50.0, 40.0]), np.array([-10.0, -5.0, 0.0])
    labels = LABELS
    if not falling_y:
        y, labels = y[::-1], labels[::-1]
    if falling_x:
        x, labels = x[::-1], labels[:, ::-1]
    ax = plot_label_map(LabelMap(labels, y, x, ("latitude", "longitude")), 3)
    colours = [tuple(round(255 * part) for part in to_rgb(colour)) for colour in (*component_colours(3), NO_LABEL)]
    places = {}
    for i, j in np.ndindex(LABELS.shape):
        at = (-10.0 + 5.0 * j, 50.0 - 10.0 * i)
        found, places[i, j] = colour_at(ax, *at)
        assert found == colours[LABELS[i, j]]
    # North is above and east to the right, whatever order the data have.
    assert places[0, 0][1] > places[1, 0][1]
    assert places[0, 0][0] < places[0, 1][0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("longitude", "latitude")


@pytest.mark.parametrize("y", [None, np.array([0.0, 7.0, 8.0]), np.array(["a", "b", "c"])])
def test_lines_are_counted_from_above_where_no_coordinates_are_even(y):
    ax = plot_label_map(LabelMap(np.zeros((3, 2), int), y), 1)
    assert ax.get_ylim() == (2.5, -0.5)
    assert ax.get_xlim() == (-0.5, 1.5)


def test_pixels_are_square_unless_axes_are_of_different_kinds():
    assert plot_label_map(LabelMap(LABELS), 3).get_aspect() == 1.0
    times = LabelMap(LABELS, np.array([0.0, 1.0]), np.array([0.0, 500.0, 1000.0]))
    assert plot_label_map(times, 3).get_aspect() == "auto"


def test_labels_that_are_no_components_are_grey():
    ax = plot_label_map(LabelMap(np.array([[-1, 3, 0]])), 3)
    grey = tuple(round(255 * part) for part in to_rgb(NO_LABEL))
    assert [tuple(pixel) for pixel in ax.images[0].get_array()[0, :2]] == [grey, grey]
