"""Jobs that are ended within and run again: what they fit, what they tell, what lies there after them."""

import shutil

import dask.array as da
import numpy as np

from dgmm import GaussianMixture
from dgmm.jobs.progress import LogReporter

JOB = """
input: {path: X.zarr}
model: {n_components: 2, max_iter: 4, tol: 0.0, random_state: 0}
output: {model: out/model.zarr, labels: out/labels.zarr, report: out/report.json}
"""


class DiedError(Exception):
    pass


class Told(LogReporter):
    """Keeps what it is told, and does something at one kind of event."""

    def __init__(self, kind=(), action=None):
        super().__init__()
        self.kind, self.action, self.events, self.steps = kind, action, [], []

    def __call__(self, event):
        self.events.append(event)
        if isinstance(event, self.kind):
            self.action()

    def step(self, text):
        self.steps.append(text)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def die():
    raise DiedError


def store(folder, seed=0):
    """Rows in the place of those before."""
    X = np.random.default_rng(seed).normal(size=(600, 2))
    X[::2] += 4.0
    shutil.rmtree(folder / "X.zarr", ignore_errors=True)
    da.from_array(X, chunks=(50, 2)).to_zarr(str(folder / "X.zarr"))


def written(folder, text=JOB, name="job.yaml", **changes):
    """A job file, with some words changed."""
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)
    return folder / name


def expected_of(folder):
    """The model of the job by the class itself."""
    return GaussianMixture(2, max_iter=4, tol=0.0, random_state=0).fit(da.from_zarr(str(folder / "X.zarr")))


def somebodys(path):
    """A model of somebody else's in the place of a job's, to be found again."""
    shutil.rmtree(path, ignore_errors=True)
    model = GaussianMixture(1, random_state=1).fit(np.random.default_rng(1).normal(size=(50, 5)))
    model.save(path)
    return lambda: np.array_equal(GaussianMixture.load(path).means_, model.means_)


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
