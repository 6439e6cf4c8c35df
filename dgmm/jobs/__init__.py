"""Job files: their specification, how they run, what they report."""

from dgmm.jobs.clusters.opening import open_cluster
from dgmm.jobs.loading import Job, load_cluster, load_job
from dgmm.jobs.running import run_job
from dgmm.jobs.runs.recording import RecordedRun, run_file
from dgmm.jobs.state import JobResult

__all__ = ["Job", "JobResult", "RecordedRun", "load_cluster", "load_job", "open_cluster", "run_file", "run_job"]
