"""Schedulers of jobs, and what is written for each of them.

To add one, write a module with a function that makes files of a :class:`Schedule`, and a row here.
"""

from __future__ import annotations

from dgmm.jobs.schedules.cron import write_cron
from dgmm.jobs.schedules.kubernetes import write_kubernetes
from dgmm.jobs.schedules.prefect import write_prefect
from dgmm.jobs.schedules.slurm import write_slurm
from dgmm.jobs.schedules.systemd import write_systemd

SCHEDULERS = {
    "cron": write_cron,
    "slurm": write_slurm,
    "systemd": write_systemd,
    "kubernetes": write_kubernetes,
    "prefect": write_prefect,
}
"""What makes the files of each scheduler: a function of a Schedule that returns a list of Written."""

ELSEWHERE = frozenset({"kubernetes"})
"""Those whose jobs run on other machines: the places that a job writes to cannot be looked at from here."""
