"""Take the picture of docs/report.md: python docs/pictures/report.py [folder]; needs chromium and playwright."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from dgmm.jobs import load_job, run_job

JOB = Path(__file__).parents[2] / "workflows" / "quickstart.yaml"
HEIGHT, GAP = 1500, 40
WIDTHS = (1040, 375)


def photograph(browser: Any, page: Path, width: int, height: int = HEIGHT) -> Image.Image:
    """The upper part of a page, on a screen so wide."""
    opened = browser.new_page(viewport={"width": width, "height": height})
    opened.goto(page.absolute().as_uri())
    picture = Image.open(io.BytesIO(opened.screenshot())).convert("RGB")
    opened.close()
    return picture


def beside(pictures: list[Image.Image]) -> Image.Image:
    """Pictures side by side on grey, in so few colours that the file is small."""
    size = (sum(picture.width for picture in pictures) + GAP * (len(pictures) + 1), HEIGHT + 2 * GAP)
    whole, left = Image.new("RGB", size, "#c9d0d6"), GAP
    for picture in pictures:
        whole.paste(picture, (left, GAP))
        left += picture.width + GAP
    return whole.quantize(64, dither=Image.Dither.NONE)


def main(folder: Path) -> None:
    """Run the quickstart in a folder of its own, and photograph its page on a desk and on a phone."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        (Path(name) / "workflows").mkdir()
        result = run_job(load_job(shutil.copy(JOB, Path(name) / "workflows")))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        pictures = [photograph(browser, result.outputs["page"], width) for width in WIDTHS]
        beside(pictures).save(folder / "report.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
