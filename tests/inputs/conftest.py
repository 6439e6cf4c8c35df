"""Counting computes."""

from __future__ import annotations

import contextlib

import dask
import pytest


@pytest.fixture
def computes():
    """A context in which the computes of Dask are counted."""

    @contextlib.contextmanager
    def counting():
        runs = []

        def run(graph, keys, **kwargs):
            runs.append(keys)
            return dask.get(graph, keys, **kwargs)

        with dask.config.set(scheduler=run):
            yield runs

    return counting
