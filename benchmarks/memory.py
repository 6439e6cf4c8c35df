"""Resident memory of this process, now and at its peak, as the kernel counts it (Linux)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

MB = 2.0**20

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _entry(name: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return float(line.split()[1]) * 1024.0


def resident() -> float:
    """Bytes that are resident now."""
    return _entry("VmRSS")


def peak() -> float:
    """Bytes that were resident at most, since the start or the last :func:`reset_peak`."""
    return _entry("VmHWM")


def address_space() -> float:
    """Bytes of address space in use."""
    return _entry("VmSize")


def reset_peak() -> None:
    """Let the peak start again from what is resident now."""
    _CLEAR.write_text("5")


def in_fresh_process(module: str, function: str, **arguments: Any) -> Any:
    """What a function returns, called in a process of its own; all of it plain values."""
    code = f"import json, sys, {module} as module; print(json.dumps(module.{function}(**json.loads(sys.argv[1]))))"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module}.{function} failed with exit code {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])
