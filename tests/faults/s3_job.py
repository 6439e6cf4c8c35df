"""A small job of which all lies in an object store, to be killed; runs in processes of its own."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import obstore
import xarray as xr
import zarr
from obstore.store import from_url
from zarr.storage import ObjectStore

from dgmm import GaussianMixture
from dgmm.cli import main
from dgmm.storage import storing
from dgmm.storage.objects import ObjectPlace

JOB = """
input: {path: URL/x.zarr}
model: {n_components: 2, random_state: 0, sample_rows: 100}
output:
  model: URL/m.zarr
  labels: URL/labels.zarr
  probabilities: {path: URL/p.zarr, top: 1}
  log_densities: URL/d.zarr
  report: URL/report.json
checkpoint: {path: URL/fit, interval: 0}
cluster: {kind: KIND}
"""
RESULTS = ("labels", "p", "d")


def write_job(folder, url, kind):
    """Write a job file, and the rows that it reads; returns the path of the file."""
    write_rows(f"{url}/x.zarr")
    path = Path(folder, "job.yaml")
    path.write_text(JOB.replace("URL", url).replace("KIND", kind))
    return str(path)


def write_rows(url):
    """Write rows of two clusters, in four chunks."""
    rng = np.random.default_rng(5)
    rows = np.repeat([[0.0, 0.0], [9.0, 1.0]], 200, axis=0) + rng.normal(size=(400, 2))
    rng.shuffle(rows)
    array = zarr.create_array(ObjectStore(from_url(url)), shape=rows.shape, chunks=(100, 2), dtype="f8")
    array[...] = rows


def outputs(url):
    """All that a job has written, without what differs between two runs that do the same."""
    model = GaussianMixture.load(f"{url}/m.zarr")
    report = json.loads(bytes(obstore.get(from_url(url), "report.json").bytes()))
    found = {name: report[name] for name in ("log_likelihood", "iterations", "stop_reason", "weights", "means", "bic")}
    found |= {name: getattr(model, name).tobytes() for name in ("weights_", "means_", "precisions_cholesky_")}
    for name in RESULTS:
        opened = xr.open_zarr(ObjectStore(from_url(f"{url}/{name}.zarr")))
        found |= {f"{name}/{key}": values.values.tobytes() for key, values in opened.variables.items()}
    return found


def run(job, die=None, seconds=None):
    """Run a job file, killed before the n-th change below a name, or after some seconds; or to the end."""
    if seconds is not None:
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    if die is not None:
        _kill_before(*die)
    sys.exit(main(["run", job]))


def _kill_before(name, number):
    left = [number]

    def count(place):
        if place.rstrip("/").endswith(f"/{name}"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def counted(operation, place_of):
        def change(target, *arguments):
            count(place_of(target))
            return operation(target, *arguments)

        return change

    for durable in ObjectPlace.DURABLE:
        setattr(ObjectPlace, durable, counted(getattr(ObjectPlace, durable), str))
    storing._Target.__setitem__ = counted(storing._Target.__setitem__, lambda target: target.folder)
