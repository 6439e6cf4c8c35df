"""Programs that tests need: servers and browsers that are not Python packages."""

from __future__ import annotations

import os
import shutil

import pytest

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def require_programs(*programs, package):
    """Return where programs lie. Where one is not installed the test is skipped, or fails if it has to run.

    Parameters
    ----------
    *programs : str
    package : str
        What Debian calls the packages that hold them.
    """
    found = {each: shutil.which(each, path=_PATH) for each in programs}
    if missing := [each for each, path in found.items() if path is None]:
        reason = f"not installed: {', '.join(missing)} (Debian: apt-get install {package})"
        (pytest.fail if os.environ.get("DGMM_REQUIRE_SERVERS") else pytest.skip)(reason)
    return [str(path) for path in found.values()]
