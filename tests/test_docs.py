"""Every Python block of the documentation runs, in the order of its page."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Run elsewhere, together with their job files and commands.
ELSEWHERE = ("docs/jobs.md", "docs/object_stores.md", "docs/runs.md", "docs/workflows.md")
PAGES = [
    page
    for page in TEXTS
    if "```python" in page.read_text(encoding="utf-8") and page.relative_to(ROOT).as_posix() not in ELSEWHERE
]
EXAMPLES = [page for page in TEXTS if page.parent.name == "examples" and page.name != "README.md"]


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {"__name__": "docs"}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    if page in EXAMPLES:
        _check_pictures(page, tmp_path)


def _check_pictures(page: Path, folder: Path) -> None:
    """The pictures that a page shows are those that its code writes, but for fonts and rounding."""
    import matplotlib.pyplot as plt
    from PIL import Image

    plt.close("all")
    shown = re.findall(r"!\[[^]]+\]\(\.\./pictures/(\w+\.png)\)", page.read_text(encoding="utf-8"))
    written = sorted(path.name for path in folder.glob("*.png"))
    assert written == sorted(shown) == [f"{page.stem}.png"]
    for name in shown:
        own, kept = (Image.open(place / name).convert("RGB") for place in (folder, PICTURES))
        assert own.size == kept.size, f"{name} is not what the page draws: python docs/pictures/examples.py {page.stem}"
        difference = np.abs(np.asarray(own, dtype=float) - np.asarray(kept, dtype=float)).mean() / 255
        assert difference < 0.05, f"{name} is not what the page draws: python docs/pictures/examples.py {page.stem}"
        assert (PICTURES / name).stat().st_size < 150_000


def test_links_between_pages_lead_somewhere() -> None:
    for page in TEXTS:
        for target in re.findall(r"(?:\]\(|src=\")(?!http)([^)#\"]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_index_names_every_example() -> None:
    index = (ROOT / "docs" / "examples" / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in EXAMPLES] == sorted({*re.findall(r"\]\((\w+\.md)\)", index)})


def test_the_script_keeps_the_pictures_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nname = 'a.png'\n```\n\n```python\nopen(name, 'wb').close()\n```\n")
    runpy.run_path(str(PICTURES / "examples.py"))["draw"](page, tmp_path)
    assert (tmp_path / "a.png").exists()
