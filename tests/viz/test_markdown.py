"""The report as Markdown, for pages that are somebody else's."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dgmm import GaussianMixture
from dgmm.viz import markdown as module
from dgmm.viz.markdown import component_rows, markdown


@pytest.fixture(scope="module")
def content():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(600, 2)), rng.normal(8.0, 2.0, size=(200, 2))])
    model = GaussianMixture(2, random_state=0).fit(rows)
    return model._report_content(
        "a | job",
        facts=(("input", "s3://key:secret@host/x | `y`"),),
        seconds=(("the fit", 2.0),),
        feature_names=("a|b", "<c>"),
    )


def test_it_tells_what_the_page_tells(content):
    text = markdown(content, [("model", "out_1/model.zarr")])
    assert text.startswith("# 2 components fitted to 800 rows of 2 features\n\nThe fit converged after ")
    assert "| **Covariances** | full | 11 free parameters |" in text
    assert "| model | out\\_1/model.zarr |" in text
    assert "| the fit | 2.0 s |" in text
    assert len(re.findall(r"^!\[.*\]\(data:image/svg\+xml;base64,[A-Za-z0-9+/=]+\)$", text, re.MULTILINE)) == 2


def test_names_do_nothing_to_the_page_and_credentials_are_not_shown(content):
    text = markdown(content)
    assert "secret" not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    # A bar that is not escaped would begin a cell of its own.
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3, 4}
    assert "<c>" not in text


def test_without_matplotlib_there_are_no_pictures(content, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert "data:image" not in markdown(content)


def test_components_are_rows_of_plain_values(content):
    rows = component_rows(content)
    assert [row["component"] for row in rows] == [0, 1]
    np.testing.assert_allclose([row["weight"] for row in rows], content.weights, rtol=1e-5)
    np.testing.assert_allclose([row["<c>"] for row in rows], np.asarray(content.means)[:, 1], rtol=1e-5)
    np.testing.assert_allclose([row["<c> ±"] for row in rows], np.sqrt(content.variances[:, 1]), rtol=1e-5)
    assert all(type(value) in (int, float) for row in rows for value in row.values())
