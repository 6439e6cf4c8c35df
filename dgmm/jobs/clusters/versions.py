"""Whether the processes of a cluster run what this one runs, and compute on the same kernels."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dgmm._version import __version__
from dgmm.errors import ClusterError
from dgmm.jobs.clusters.starting import FAILURES, brief
from dgmm.passes.blas import kernel_families

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger("dgmm")

PACKAGES = ("dask", "distributed", "numpy")
"""Of which the versions must be equal, besides dgmm's own and the first two numbers of Python's."""

_MOST_LINES = 10


@dataclass(frozen=True)
class About:
    """What a worker process says of itself."""

    version: str
    families: tuple[str, ...]


def about_this_process() -> About:
    """Is run by each worker; one without dgmm cannot."""
    return About(__version__, kernel_families())


def check_processes(client: Any, words: str) -> None:
    """Refuse a cluster whose scheduler or workers have other versions; report workers that compute with other bits.

    Raises
    ------
    ClusterError
        With the differences, by host.
    """
    try:
        found = client.get_versions(packages=PACKAGES)
        here = _versions(found["client"])
        differences = {name: _differences(here, _versions(told)) for name, told in found["workers"].items()}
        scheduler = {key: here[key] for key in here if key != "numpy"}
        differences["the scheduler"] = _differences(scheduler, _versions(found["scheduler"]))
        if not any(differences.values()):
            told = client.run(about_this_process, on_error="return")
            differences = {name: _of_dgmm(answer) for name, answer in told.items()}
    except FAILURES as error:
        raise ClusterError(f"the {words} does not say which versions it runs: {brief(error)}") from error
    if lines := _by_host(differences):
        raise ClusterError(
            f"the {words} runs other versions than this process: {'; '.join(lines)}; install the same everywhere"
        )
    report_families(told)


def report_families(told: Mapping[str, Any]) -> None:
    """Warn if workers compute on different kernels of BLAS: then it matters to the last bits which of them did what."""
    hosts: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for address, answer in told.items():
        if isinstance(answer, About):
            hosts[answer.families].add(_host(address))
    if len(hosts) > 1:
        parts = [f"{', '.join(families) or 'unknown'} on {_few(names)}" for families, names in sorted(hosts.items())]
        logger.warning(
            "the workers compute on different BLAS kernels (%s): results agree to about 1e-9, but their last bits may "
            "differ from run to run; take hosts with one family of processors if they must not",
            "; ".join(parts),
        )


def _versions(told: Any) -> dict[str, str | None]:
    """The versions that count, of what Dask tells of a process."""
    packages = (told or {}).get("packages") or {}
    python = ".".join(str(packages.get("python", "unknown")).split(".")[:2])
    return {"python": python} | {name: packages.get(name) for name in PACKAGES}


def _differences(here: Mapping[str, str | None], there: Mapping[str, str | None]) -> tuple[str, ...]:
    return tuple(
        f"{name} {there[name] or 'missing'} (here {here[name] or 'missing'})"
        for name in here
        if there[name] != here[name]
    )


def _of_dgmm(answer: Any) -> tuple[str, ...]:
    if isinstance(answer, About):
        return () if answer.version == __version__ else (f"dgmm {answer.version} (here {__version__})",)
    if "No module named 'dgmm" in str(answer):
        return (f"dgmm missing, or another one (here {__version__})",)
    return (f"dgmm cannot be loaded, {brief(answer)} (here {__version__})",)


def _by_host(differences: Mapping[str, tuple[str, ...]]) -> list[str]:
    """One line for all processes of which the same is to say."""
    hosts: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for address, texts in differences.items():
        if texts:
            hosts[texts].add(_host(address))
    lines = [f"{_few(names)}: {', '.join(texts)}" for texts, names in sorted(hosts.items())]
    return lines[:_MOST_LINES] + ([f"and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else [])


def _host(address: str) -> str:
    """Its host; the address as it is where it is none."""
    return address.rpartition("://")[2].rpartition(":")[0] or address


def _few(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:5]) + (f" and {len(ordered) - 5} more" if len(ordered) > 5 else "")
