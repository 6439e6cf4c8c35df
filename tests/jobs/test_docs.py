"""``docs/jobs.md``: its examples run in their order, and its tables are those of the specification."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dgmm.cli import EXIT_CODES, main
from dgmm.jobs.clusters.base import Adapt
from dgmm.jobs.clusters.kubernetes_section import KubernetesCluster
from dgmm.jobs.clusters.sections import (
    FargateCluster,
    GatewayCluster,
    GCPCluster,
    LocalCluster,
    ProcessesCluster,
    SchedulerCluster,
    SlurmCluster,
    SSHCluster,
    ThreadsCluster,
)
from dgmm.jobs.models import ModelSection, RefitSection, SavedSection, ScanSection, SelectionSection
from dgmm.jobs.preprocess import EigenMomentsSection, PlainSection, SavedFeatures, StationarySection
from dgmm.jobs.specification import (
    CheckpointSection,
    ImageInput,
    OutputSection,
    PathInput,
    Probabilities,
    RunSection,
)

PAGE = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text(encoding="utf-8")
SECTIONS = [PathInput, ImageInput, PlainSection, ModelSection, ScanSection, OutputSection]
SECTIONS += [Probabilities, ThreadsCluster, ProcessesCluster, LocalCluster, SchedulerCluster, CheckpointSection]
SECTIONS += [
    EigenMomentsSection,
    StationarySection,
    SavedFeatures,
    SelectionSection,
    SavedSection,
    RefitSection,
    RunSection,
]
SECTIONS += [Adapt, SSHCluster, SlurmCluster, GatewayCluster, KubernetesCluster, FargateCluster, GCPCluster]


def test_every_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert [kind for kind, _ in blocks].count("console") == 2
    for kind, text in blocks:
        match kind:
            case "python":
                exec(compile(text, "docs/jobs.md", "exec"), {})
            case "yaml":
                Path("job.yaml").write_text(text)
            case "console":
                for command in text.splitlines():
                    assert command.startswith("$ dgmm ")
                    assert main(command.removeprefix("$ dgmm ").split()) == 0, capsys.readouterr().err
            case _:
                assert kind == "text"


def test_the_refusals_shown_are_those_of_dgmm(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    text = "\n" * 4 + "input: {path: x.npy}\nmodel:\n  covariance_type: ful\n  n_components: 2\noutput: {modl: m}\n"
    Path("job.yaml").write_text(text)
    assert main(["run", "job.yaml"]) == 2
    assert capsys.readouterr().err == shown


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_each_key_is_in_the_tables_as_it_is_specified(section):
    for key, field in section.model_fields.items():
        if key == "kind":
            continue
        default = "required" if field.is_required() else field.default
        shown = {"None": "none", "False": "false"}.get(str(default), str(default))
        description = str(field.description).replace("|", "\\|")
        assert f"| `{key}` | {shown} | {description} |" in PAGE


def test_no_table_has_a_key_that_is_not_specified():
    keys = {key for section in SECTIONS for key in section.model_fields}
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)) == keys - {"kind"}


def test_every_exit_code_is_listed():
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)}
    assert listed == {0, 1, 75} | {code for _, code in EXIT_CODES}
