"""A page is the same for the same content, holds what it shows, and copes with any model."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from dgmm import GaussianMixture
from dgmm.mixture.families import FAMILIES
from dgmm.viz import rendering
from dgmm.viz.content import ReportContent
from dgmm.viz.page import compose
from dgmm.viz.page_tables import MOST_COMPONENTS, MOST_FEATURES
from dgmm.viz.profiles import positions


class Checked(HTMLParser):
    """Tags that are opened and closed in order; ids and what they are asked for by."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.asked, self.words = [], [], set(), []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        self.asked.update(filter(None, [attrs.get("aria-labelledby")]))
        assert tag != "img" or attrs["alt"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def content_of(k, d, name="full", **known):
    rng = np.random.default_rng(k + d)
    shape = FAMILIES[name].shape(k, d)
    covariances = rng.uniform(0.5, 2.0, size=shape)
    if shape[-2:] == (d, d):
        covariances = np.broadcast_to(np.eye(d), shape) * covariances
    return ReportContent("m", name, np.full(k, 1 / k), rng.normal(size=(k, d)) * 3, covariances, **known)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("k", "d"), [(1, 1), (2, 1), (3, 2)])
def test_all_families_and_small_models(name, k, d):
    page = Checked(compose(content_of(k, d, name)))
    assert len(set(page.ids)) == len(page.ids)
    assert page.asked <= set(page.ids)
    words = " ".join(page.words)
    assert "no sample of its rows" in words
    correlations = name in ("full", "tied") and d > 1
    assert ("Correlation of features" in words) == correlations


def test_large_models_say_what_is_left_out(monkeypatch):
    monkeypatch.setattr(rendering, "render", lambda draw, size: b"<svg/>")  # words are what counts here
    page = compose(content_of(MOST_COMPONENTS + 2, MOST_FEATURES + 6, "diag"))
    words = " ".join(Checked(page).words)
    assert f"The first {MOST_COMPONENTS} of {MOST_COMPONENTS + 2} components are listed" in words
    assert f"Of {MOST_FEATURES + 6} features the {MOST_FEATURES} that tell components apart best" in words
    assert "The 20 heaviest components are shown" in words
    assert "feature 0" in words
    assert "left out: " in words


def test_the_same_content_is_the_same_page():
    X = np.random.default_rng(0).normal(size=(900, 2))
    model = GaussianMixture(2, random_state=0).fit(X)
    pages = {compose(model._report_content("m")) for _ in range(2)}
    assert len(pages) == 1
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', pages.pop())
    assert len(pictures) == 1 + 2 + 1
    for picture in pictures:
        root = ElementTree.fromstring(base64.b64decode(picture))
        text = "".join(root.itertext())
        assert "DejaVu" not in base64.b64decode(picture).decode()
        assert re.search("[0-9]", text)
        # A picture of a page may not load anything either.
        links = [value for item in root.iter() for key, value in item.attrib.items() if key.endswith("href")]
        assert all(link.startswith(("#", "data:")) for link in links)


def test_features_that_have_names_are_called_by_them(recwarn):
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 2)), columns=["salt", "heat"])
    model = GaussianMixture(2, random_state=0).fit(X)
    text = " ".join(Checked(compose(model._report_content("m"))).words)
    assert "salt · heat" in text
    assert model._report_content("m").certainty.tolist() == pytest.approx(
        model.predict_proba(pd.DataFrame(model.sample_, columns=["salt", "heat"])).max(axis=1).tolist()
    )
    assert not recwarn.list


def test_rows_with_missing_values_are_no_obstacle():
    sample = np.random.default_rng(0).normal(size=(800, 3))
    sample[::3, 0] = np.nan
    sample[::5, 2] = np.nan
    assert "800 rows drawn at random" in compose(content_of(2, 3, sample=sample))


@pytest.mark.parametrize(
    ("names", "axis"),
    [
        (tuple(f"depth={z}.5" for z in range(8)), "depth"),
        (tuple(f"{z}" for z in range(20, 0, -2)), "feature"),
        (("a 1", "a 2", "a 3"), None),
        (tuple(f"x{z}" for z in (1, 3, 2, 4, 5, 6)), None),
        ((), None),
    ],
)
def test_profiles_are_known_by_their_names(names, axis):
    found = positions(names)
    assert (None if found is None else found[0]) == axis
