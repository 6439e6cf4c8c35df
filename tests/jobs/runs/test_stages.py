"""Whoever runs the stages of a job in a way of its own."""

import numpy as np

from dgmm.jobs import run_file
from dgmm.jobs.runs.folders import runs_in


def test_each_stage_is_handed_to_who_performs_them(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(200, 2)))
    text = "input: {path: x.npy}\nmodel: {n_components: 2, random_state: 0}\noutput: {model: m.zarr}\n"
    (tmp_path / "job.yaml").write_text(text)
    performed = []

    def perform(name, do):
        assert runs_in(tmp_path / "runs")[0].record.stage == name
        performed.append(name)
        do()

    assert run_file(tmp_path / "job.yaml", perform=perform).result is not None
    assert performed == ["prepare", "open", "fit", "write"]
    assert run_file(tmp_path / "job.yaml", perform=perform).result is None
    assert len(performed) == 4
