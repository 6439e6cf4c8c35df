"""Whether the processes of a cluster run what this one runs, and compute on the same kernels."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from distributed.versions import get_versions

from dgmm._version import __version__
from dgmm.errors import ClusterError
from dgmm.jobs.clusters.starting import FAILURES, brief
from dgmm.passes.blas import kernel_families

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

logger = logging.getLogger("dgmm")

PACKAGES = ("dask", "distributed", "numpy")
"""Of which the versions must be equal, besides dgmm's own and the first two numbers of Python's."""

Families: TypeAlias = "set[tuple[str, ...]]"

_MOST_LINES = 10
# Seconds between two looks at who is there.
_EACH = 30.0
_PATIENCE = 5.0
_BITS = (
    "results agree to about 1e-9, but their last bits may differ from run to run; take hosts with one family of "
    "processors if they must not"
)


@dataclass(frozen=True)
class About:
    """What a worker process says of itself.

    Attributes
    ----------
    version : str
        Of dgmm.
    packages : dict
        Versions by name, as :func:`versions_of` gives them.
    families : tuple of str
        Of BLAS kernels.
    """

    version: str
    packages: dict[str, str | None]
    families: tuple[str, ...]


def about_this_process() -> About:
    """Is run by each worker; one without dgmm cannot."""
    return About(__version__, versions_of(get_versions(PACKAGES)), kernel_families())


def check_processes(client: Any, words: str) -> Families:
    """Refuse a cluster whose scheduler or workers have other versions; report workers that compute with other bits.

    Returns
    -------
    set of tuple of str
        The families of BLAS kernels that there are.

    Raises
    ------
    ClusterError
        With the differences, by host.
    """
    try:
        found = client.get_versions(packages=PACKAGES)
        here = versions_of(found["client"])
        differences = {name: _differences(here, versions_of(told)) for name, told in found["workers"].items()}
        scheduler = {key: here[key] for key in here if key != "numpy"}
        differences["the scheduler"] = _differences(scheduler, versions_of(found["scheduler"]))
        if not any(differences.values()):
            told = client.run(about_this_process, on_error="return")
            differences = {name: _of_dgmm(answer) for name, answer in told.items()}
    except FAILURES as error:
        raise ClusterError(f"the {words} does not say which versions it runs: {brief(error)}") from error
    if lines := _by_host(differences):
        raise ClusterError(
            f"the {words} runs other versions than this process: {'; '.join(lines)}; install the same everywhere"
        )
    return report_families(told)


def report_families(told: Mapping[str, Any]) -> Families:
    """Warn if workers compute on different kernels of BLAS: then it matters to the last bits which of them did what."""
    hosts: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for address, answer in told.items():
        if isinstance(answer, About):
            hosts[answer.families].add(_host(address))
    if len(hosts) > 1:
        parts = [f"{_named(families)} on {_few(names)}" for families, names in sorted(hosts.items())]
        logger.warning("the workers compute on different BLAS kernels (%s): %s", "; ".join(parts), _BITS)
    return set(hosts)


@contextmanager
def watch_joining(client: Any, families: Families, *, retire: bool) -> Iterator[None]:
    """Check the workers that join while the body runs.

    Parameters
    ----------
    client : distributed.Client
    families : set of tuple of str
        Of :func:`check_processes`.
    retire : bool
        Whether one that runs other versions is sent away; else it is only reported.
    """
    ended, seen = threading.Event(), _addresses(client)

    def look() -> None:
        while not ended.wait(_EACH):
            try:
                joined = _addresses(client) - seen
                for address in joined:
                    _check_one(client, address, families, retire)
                seen.update(joined)
            except (*FAILURES, CancelledError):
                continue  # it is lost, which who computes on it will say, or being taken down

    thread = threading.Thread(target=look, name="dgmm-joined", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_PATIENCE)


def _addresses(client: Any) -> set[str]:
    return set(client.scheduler_info(n_workers=-1)["workers"])


def _check_one(client: Any, address: str, families: Families, retire: bool) -> None:
    answer = client.run(about_this_process, workers=[address], on_error="return").get(address)
    if answer is None or isinstance(answer, OSError):
        return  # it is gone already
    here = versions_of(get_versions(PACKAGES))
    other = _differences(here, answer.packages) if isinstance(answer, About) else ()
    if texts := _of_dgmm(answer) + other:
        what = "it is sent away" if retire else "send it away, or install the same there"
        logger.warning("a worker joined from %s with %s: %s", _host(address), ", ".join(texts), what)
        if retire:
            client.retire_workers([address])
    elif answer.families not in families:
        families.add(answer.families)
        kernels = _named(answer.families)
        logger.warning(
            "a worker joined from %s that computes on other BLAS kernels (%s): %s", _host(address), kernels, _BITS
        )


def _named(families: tuple[str, ...]) -> str:
    return ", ".join(families) or "unknown"


def versions_of(told: Any) -> dict[str, str | None]:
    """Return the versions that count, of what Dask tells of a process."""
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
