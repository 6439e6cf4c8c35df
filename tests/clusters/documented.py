"""What ``docs/clusters.md`` shows under a heading, run as it is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from dgmm.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")


def blocks(heading: str, kind: str) -> list[str]:
    """The blocks of a kind under a heading."""
    (part,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE)
    return re.findall(rf"^```{kind}\n(.*?)^```$", part, flags=re.DOTALL | re.MULTILINE)


def run_page(heading: str, name: str, folder: Path, **changed) -> dict[str, bytes]:
    """Run the commands of a heading with its file, some keys of which are those of the test; the model's files."""
    for text in blocks("The job", "python"):
        exec(compile(text, "docs/clusters.md", "exec"), {})
    (folder / "job.yaml").write_text(blocks("The job", "yaml")[0])
    (shown,) = blocks(heading, "yaml")
    (folder / name).write_text(yaml.safe_dump(yaml.safe_load(shown) | changed))
    ran = 0
    for command in "".join(blocks(heading, "console")).splitlines():
        if not command.startswith("$ dgmm certs"):
            assert main(command.removeprefix("$ dgmm ").split()) == 0
            report = json.loads((folder / "report.json").read_text())
            assert report["converged"]
            assert ("--cluster" in command) != report["cluster"].startswith("threads")
            ran += 1
    assert ran
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in (folder / "model.zarr").rglob("c/**/*")
        if path.is_file()
    }
    assert files
    return files
