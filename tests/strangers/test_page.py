"""``docs/security.md``: what it shows is what dgmm does. Its Python blocks run with those of the other pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dgmm.cli import main
from dgmm.errors import JobError
from dgmm.jobs import load_job
from dgmm.jobs.clusters.sections import SchedulerCluster

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
REST = "input: {path: x.npy}\nmodel: {n_components: 2}\noutput: {model: m.zarr}\n"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


def test_the_command_makes_what_the_section_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (command,), (section,) = blocks("console"), blocks("yaml")
    assert main(command.removeprefix("$ dgmm ").split()) == 0
    printed = capsys.readouterr().out
    Path("job.yaml").write_text(REST + section)
    cluster = load_job("job.yaml").cluster
    assert isinstance(cluster, SchedulerCluster)
    for file in (cluster.tls_ca_file, cluster.tls_cert, cluster.tls_key):
        assert file.is_file()
        assert str(file) in printed
    assert f"address: {cluster.address}" in printed


JOBS = ("input: &x [*x]\n", REST.replace("x.npy", "s3://user:secret@bucket/rows.zarr"))


@pytest.mark.parametrize(("text", "shown"), list(zip(JOBS, blocks("text"), strict=True)))
def test_the_refusals_are_those_of_dgmm(tmp_path, monkeypatch, text, shown):
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(text)
    with pytest.raises(JobError) as caught:
        load_job("job.yaml")
    assert f"{caught.value}\n" == shown
