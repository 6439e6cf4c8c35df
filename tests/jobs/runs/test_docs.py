"""``docs/runs.md``: its examples run in their order, and what it shows is what is printed and written."""

import re
from pathlib import Path

from dgmm.cli import main
from dgmm.jobs.exits import ENDINGS
from dgmm.jobs.runs.telling import FILES

PAGE = (Path(__file__).parents[3] / "docs" / "runs.md").read_text(encoding="utf-8")


def shape(text):
    """A text whose numbers are all alike."""
    return re.sub(r"[0-9][0-9a-f,.]*|\b[0-9a-f]{6}\b", "0", " ".join(text.split()))


def test_every_example_runs_and_shows_what_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    printed, shown, names = [], [], {}
    for kind, text in blocks:
        match kind:
            case "python":
                exec(compile(text, "docs/runs.md", "exec"), names)
            case "yaml":
                Path("night.yaml").write_text(text)
            case "console":
                for command in text.splitlines():
                    assert main(command.removeprefix("$ dgmm ").split()) == 0, capsys.readouterr().err
                    printed.append(capsys.readouterr().out)
            case _:
                assert kind == "text"
                shown.append(text)
    listed, metrics = shown
    assert shape(listed) == shape(printed[1])
    (file,) = Path("metrics").glob("dgmm-night-*.prom")
    found = file.read_text().replace(str(tmp_path), "/data")
    assert {shape(line) for line in metrics.splitlines()} == {
        shape(line) for line in found.splitlines() if not line.startswith("#")
    }


def test_every_file_and_every_exit_code_is_told_of():
    for name in FILES:
        assert f"`{name}`" in PAGE
    for code, ending in ENDINGS.items():
        assert f"{code} {ending.state}" in PAGE
