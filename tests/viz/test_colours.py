"""Colours of components are told apart by everybody, and stand out from white."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dgmm.viz.colours import GREY, INK, NO_LABEL, PALETTE, component_colours

# How colours look to those without one kind of cone: Machado, Oliveira and Fernandes (2009), "A physiologically-based
# model for simulation of color vision deficiency", table 1, severity 1.0; on linear light.
VISION = {
    "usual": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour):
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast_to_white(colour):
    """WCAG 2.1."""
    return 1.05 / (linear(colour) @ [0.2126, 0.7152, 0.0722] + 0.05)


def lab(light):
    """CIE 1976 L*a*b*, white point D65."""
    xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]] @ np.clip(light, 0, 1)
    f = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 0.008856))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_the_first_colours_differ_for_everybody(vision):
    seen = [lab(np.array(VISION[vision]) @ linear(colour)) for colour in (*PALETTE, NO_LABEL)]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 10.0


def test_lines_and_words_stand_out_from_white():
    assert min(map(contrast_to_white, PALETTE)) >= 3.0
    assert min(contrast_to_white(INK), contrast_to_white(GREY)) >= 4.5


def test_colours_do_not_depend_on_how_many_there_are():
    assert component_colours(40)[:5] == component_colours(5) == list(PALETTE[:5])
    assert len(set(component_colours(28))) == 28
