"""Programs that judge what is written for schedulers."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def systemd_analyze():
    """Nothing, where systemd-analyze is installed."""
