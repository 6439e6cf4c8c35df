"""A report page as a person sees it: in a browser, on a phone, on paper."""

from __future__ import annotations

import re
import runpy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dgmm import GaussianMixture
from dgmm.viz.colours import NO_LABEL, component_colours
from dgmm.viz.labelmap import LabelMap
from dgmm.viz.page import compose

ROOT = Path(__file__).parents[2]
NAMES = [
    "<script>document.title = 'taken'</script>",
    'a "quoted" & odd <b>name</b>',
    "price $ of x_{1$",
    "a_name_without_any_blank_that_is_longer_than_a_telephone_is_wide",
    "温度",
    "north",
    "east",
]
SCAN = ["What to look at", "Map of labels", "Where components lie", "What sets components apart", "Components",
        "How the fit converged", "How the model was chosen", "Where the time went", "How it was made"]  # fmt: skip
CONTRAST = """() => {
  const channel = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const parse = text => text.match(/[0-9.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(c => channel(c / 255)).reduce((s, c, i) => s + c * [.2126, .7152, .0722][i], 0);
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(ground(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), e.textContent.slice(0, 40)]);
  }
  return found;
}"""  # noqa: E501


@dataclass
class Opened:
    """A page that is open, and what it asked for or complained of."""

    page: object
    model: GaussianMixture
    file: Path
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def texts(self, selector):
        return [item.inner_text() for item in self.page.query_selector_all(selector)]


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 7)) * 4.0
    X = (centres[rng.integers(5, size=3000)] + rng.normal(size=(3000, 7))) * [1, 1e-4, 1e5, 1, 1, 10, 1] + [
        0, 0, 0, 1e6, 0, 0, 0,
    ]  # fmt: skip
    model = GaussianMixture(5, reg_covar=1e-12, random_state=0).fit(X)
    labels = np.arange(12 * 30).reshape(12, 30) % 6 - 1
    content = model._report_content(
        "<i>odd</i>.zarr",
        feature_names=tuple(NAMES),
        grid=LabelMap(labels, np.linspace(60.0, 49.0, 12), np.linspace(0.0, 29.0, 30), ("latitude", "longitude")),
        draw_selection=lambda ax: ax.plot([1, 2, 3], [3.0, 2.0, 2.5]),
        seconds=(("first read", 3.0), ("EM <iterations>", 1.5)),
        facts=(("input", "s3://user:secret@bucket/rows.zarr"),),
        versions=(("numpy", "2.4"),),
    )
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(compose(content), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    found = Opened(page, model, file)
    page.on("request", lambda request: found.requests.append(request.url))
    page.on("console", lambda message: found.complaints.append(message.text))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.goto(file.as_uri())
    yield found
    page.close()


def test_its_parts_are_seen_in_their_order(opened):
    assert opened.texts("h2") == SCAN
    assert all(heading.is_visible() for heading in opened.page.query_selector_all("h1, h2, h3"))
    assert opened.texts("h1") == ["5 components fitted to 3,000 rows of 7 features"]
    assert opened.page.query_selector("html").get_attribute("lang") == "en"
    assert opened.page.title().startswith("<i>odd</i>.zarr: 5 components")


def test_it_needs_nothing_and_complains_of_nothing(opened):
    assert [url for url in opened.requests if not url.startswith("data:")] == opened.requests[:1]
    assert opened.requests[0].startswith("file:")
    assert not opened.complaints
    assert not opened.page.query_selector_all("script, iframe, object, embed, link[rel=stylesheet], form")


def test_names_are_shown_as_they_are(opened):
    heads = opened.texts("thead th")
    for name in NAMES:
        assert " ".join(name.split()) in [" ".join(text.split()) for text in heads]
    assert opened.page.title() != "taken"
    assert not opened.page.query_selector_all("main b, header i")
    assert "secret" not in opened.page.content()


def value(text):
    return float(text.replace("\N{MINUS SIGN}", "-").replace(",", "").lstrip("±% ").rstrip("% rows"))


def shown_precision(text):
    """Half a unit of the last digit that is shown."""
    digits = re.search(r"\.(\d+)", text)
    exponent = int(text.split("e")[1]) if "e" in text else 0
    return 0.5000001 * 10.0 ** (exponent - (len(digits[1]) if digits else 0))


def test_the_numbers_are_those_of_the_model(opened):
    model = opened.model
    table = opened.page.query_selector("table")
    rows = [
        [cell.inner_text() for cell in row.query_selector_all("td")] for row in table.query_selector_all("tbody tr")
    ]
    assert len(rows) == 6
    deviations = np.sqrt(np.diagonal(model.covariances_, axis1=1, axis2=2))
    for k, (weight, *cells) in enumerate(rows[:5]):
        share, count = weight.split("\n")
        assert value(share) / 100 == pytest.approx(model.weights_[k], abs=5.1e-5)
        assert value(count) == pytest.approx(3000 * model.weights_[k], abs=0.51)
        for j, cell in enumerate(cells):
            mean, deviation = cell.split("\n")
            assert value(mean) == pytest.approx(model.means_[k, j], abs=shown_precision(mean))
            assert value(deviation) == pytest.approx(deviations[k, j], abs=shown_precision(deviation))
            assert shown_precision(mean) <= deviations[k, j] / 100


def test_all_pictures_are_there(opened):
    pictures = opened.page.query_selector_all("img")
    assert len(pictures) == 1 + 10 + 5 + 1 + 1
    for picture in pictures:
        assert picture.evaluate("e => e.complete && e.naturalWidth > 100 && e.naturalHeight > 50")
        box = picture.bounding_box()
        assert box["width"] > 100
        assert box["height"] > 50
        assert box["width"] / box["height"] == pytest.approx(
            picture.evaluate("e => e.naturalWidth / e.naturalHeight"), rel=0.02
        )
        assert len(picture.get_attribute("alt")) > 10


def test_components_have_one_colour_all_over_the_page(opened):
    colours = component_colours(5)
    wanted = [f"rgb{tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))}" for colour in (*colours, NO_LABEL)]
    for selector, count in ((".legend .dot", 6), ("table:first-of-type tbody .dot", 5)):
        found = opened.page.eval_on_selector_all(selector, "all => all.map(e => getComputedStyle(e).backgroundColor)")
        assert found[:count] == wanted[:count]
    assert opened.texts(".legend li")[-1].startswith("no label")


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_nothing_is_wider_than_the_screen(opened, width):
    opened.page.set_viewport_size({"width": width, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    # What is too wide scrolls within itself, by keyboard too; its first column stays.
    first = opened.page.query_selector(".scroll")
    assert first.evaluate("e => e.getBoundingClientRect().right") <= width
    if width <= 375:
        assert first.evaluate("e => e.scrollWidth > e.clientWidth")
        assert first.get_attribute("tabindex") == "0"
        first.evaluate("e => { e.scrollLeft = 200; }")
        assert first.query_selector("tbody th").bounding_box()["x"] >= 0
    assert all(item.bounding_box()["width"] <= width for item in opened.page.query_selector_all("img"))


@pytest.mark.parametrize("media", ["screen", "print"])
def test_text_stands_out_from_its_ground(opened, media):
    opened.page.emulate_media(media=media)
    found = opened.page.evaluate(CONTRAST)
    opened.page.emulate_media(media="screen")
    assert len(found) > 100
    assert min(found)[0] >= 4.5


def test_the_picture_of_the_documentation_is_taken_from_a_page(opened, browser):
    script = runpy.run_path(str(ROOT / "docs" / "pictures" / "report.py"))
    pictures = [script["photograph"](browser, opened.file, width) for width in script["WIDTHS"]]
    whole = script["beside"](pictures)
    with Image.open(ROOT / "docs" / "pictures" / "report.png") as there:
        assert whole.size == there.size
        assert len(np.unique(np.asarray(there.convert("L")))) > 20
    assert (ROOT / "docs" / "pictures" / "report.png").stat().st_size < 200_000


def test_it_prints(opened):
    opened.page.emulate_media(media="print")
    for selector in ("figure", "tr", ".findings li"):
        found = opened.page.eval_on_selector_all(selector, "all => all.map(e => getComputedStyle(e).breakInside)")
        assert set(found) <= {"avoid"}
    # On paper nothing scrolls: tables fit between the margins of an A4 page, 182 mm apart, 688 pixels.
    opened.page.set_viewport_size({"width": 688, "height": 1000})
    edges = opened.page.eval_on_selector_all("table", "all => all.map(e => e.getBoundingClientRect().right)")
    assert max(edges) <= 688
    pdf = opened.page.pdf(format="A4")
    opened.page.emulate_media(media="screen")
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) <= 8
