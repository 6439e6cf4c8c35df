"""What the sections of the kinds of clusters have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dgmm.jobs.clusters.variables import EXPANDED, Text
from dgmm.jobs.sections import COUNT, PATH, Count, Section

PLACE = f"{PATH}; {EXPANDED}"
MEMORY = r"^[0-9]+(\.[0-9]+)? ?([kMGT]i?B|B)$"

Memory = Annotated[str, Field(pattern=MEMORY)]
# What a shell takes as it is.
Program = Annotated[Text, Field(pattern=r"^[A-Za-z0-9_./~+@%=-]+$")]
Seconds = Annotated[float, Field(gt=0.0)]
SECONDS = "a number of seconds above 0"

IMAGE = f"a container image with dgmm in it, of the same versions as here; {EXPANDED}"
THREADS = f"{COUNT}: threads of each worker"


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> count(1, "worker"), count(2, "process")
    ('1 worker', '2 processes')
    """
    plural = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{plural}"


class Cluster(Section):
    """What every kind of cluster takes: where the rows are held."""

    persist: Literal["auto"] | bool = Field(
        default="auto",
        description="true loads the rows into memory once, false reads them in each pass, auto by what memory is free",
    )
    lean: bool = Field(
        default=False, description="true or false: rows that are read in each pass take the least memory, and more time"
    )

    @property
    def words(self) -> str:
        """A few words on what computes, for logs and reports."""
        raise NotImplementedError

    @property
    def files(self) -> dict[str, Path]:
        """What the section reads, keys of TLS and of SSH among it, by key: nothing may be written over them."""
        found: dict[str, Path] = {}
        for key in type(self).model_fields:
            value = getattr(self, key)
            paths = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, Path)]
            if not key.endswith("directory"):
                found |= {f"{key}[{i}]" if isinstance(value, list) else key: path for i, path in enumerate(paths)}
        return found


class Nodes(Cluster):
    """What the kinds take whose workers are started on machines with a Python of their own."""

    interface: Text | None = Field(
        default=None,
        description="the network interface that scheduler and workers answer on, as eth0; "
        f"Dask's choice if left out; {EXPANDED}",
    )
    python: Program | None = Field(
        default=None,
        description=f"the Python that runs the workers, with dgmm in it; the path of this one if left out; {EXPANDED}",
    )
    local_directory: Text | None = Field(
        default=None,
        description="a path on the workers' machines, of the folder that they spill to; "
        f"chosen by Dask if left out; {EXPANDED}",
    )


class Adapt(Section):
    """Bounds of a number of workers that Dask changes with the load."""

    minimum: Count = Field(default=1, description=f"{COUNT}: workers, at least")
    maximum: Count = Field(description=f"{COUNT}: workers, at most")

    @model_validator(mode="after")
    def _ordered(self) -> Adapt:
        if self.minimum > self.maximum:
            raise ValueError("minimum is larger than maximum")
        return self


class Scaled(Cluster):
    """What the kinds take that start workers of their own: how many, and how long to wait for them."""

    n_workers: Count | None = Field(default=None, description=f"{COUNT}: worker processes; this or adapt")
    adapt: Adapt | None = Field(
        default=None, description="the keys minimum and maximum: as many workers as the load asks for, within these"
    )
    wait_for: Count | None = Field(
        default=None,
        description=f"{COUNT}: workers that are enough to start with; n_workers, or adapt's minimum, if left out",
    )
    timeout: Seconds = Field(default=300.0, description=f"{SECONDS}: how long to wait for workers")

    @model_validator(mode="after")
    def _one_number(self) -> Scaled:
        if self.n_workers is not None and self.adapt is not None:
            raise ValueError("give n_workers or adapt, not both")
        if self.n_workers is None and self.adapt is None and self._needs_number():
            raise ValueError("missing: n_workers, or adapt with minimum and maximum")
        most = self.n_workers or (self.adapt and self.adapt.maximum)
        if most and self.wait_for and self.wait_for > most:
            raise ValueError(f"wait_for is {self.wait_for}, and there will be {most} workers at most")
        return self

    def _needs_number(self) -> bool:
        return True

    @property
    def wanted(self) -> int:
        """Workers to wait for."""
        return self.wait_for or self.n_workers or (self.adapt.minimum if self.adapt else 1)

    @property
    def size(self) -> str:
        """As "of 2 workers"; empty if it is left to Dask."""
        if self.adapt is not None:
            return f" of {self.adapt.minimum} to {count(self.adapt.maximum, 'worker')}"
        return f" of {count(self.n_workers, 'worker')}" if self.n_workers else ""
