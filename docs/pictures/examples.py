"""Run the pages of docs/examples and keep the pictures that they write: python docs/pictures/examples.py [page ...]."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PAGES = HERE.parent / "examples"


def draw(page: Path, folder: Path) -> None:
    """Run a page's Python blocks, top to bottom, and copy its pictures to a folder."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    with tempfile.TemporaryDirectory() as place:
        own = {**os.environ, "MPLBACKEND": "Agg"}
        subprocess.run([sys.executable, "-c", "".join(blocks)], cwd=place, env=own, check=True)
        for picture in sorted(Path(place).glob("*.png")):
            shutil.copy(picture, folder / picture.name)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(page.stem for page in PAGES.glob("*.md") if page.stem != "README"):
        print(f"== {name}", flush=True)
        draw(PAGES / f"{name}.md", HERE)
