"""What the tests of faults in object stores share."""

import os
from datetime import timedelta

import pytest
from faults.gate import Gate

from dgmm.storage import objects


@pytest.fixture
def gate(s3, monkeypatch):
    found = Gate(os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def soon(monkeypatch):
    """What fails is given up at the first failure."""
    monkeypatch.setattr(objects, "_RETRIES", {"max_retries": 0, "retry_timeout": timedelta(seconds=1)})
