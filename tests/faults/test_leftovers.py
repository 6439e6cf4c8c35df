"""Nothing is left behind: by many fits, by an error, by an interrupt, on a cluster of the user's."""

import gc
import json
import os

import pytest
from faults.small_fit import Interrupt, fit, fit_many, in_a_process, rows
from waiting import wait_until

from dgmm import Checkpoint, Execution


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_many_fits_in_one_process_leave_nothing(scheduler, tmp_path):
    place, result = tmp_path / "place", tmp_path / "result.json"
    assert in_a_process(fit_many, str(place), str(result), scheduler) == 0
    before, after = json.loads(result.read_text())
    assert after["threads"] == []
    assert after["files"] <= before["files"]
    assert after["children"] <= before["children"]
    # A checkpoint is its pointer, its lock and its parts, of which old ones do not pile up.
    assert len(after["stored"]) <= 2 + 3 * 2, after["stored"]


def keys_held(dask_scheduler):
    return sorted(str(key) for key in dask_scheduler.tasks)


@pytest.mark.cluster
@pytest.mark.parametrize("persist", [False, True])
@pytest.mark.parametrize("ends", ["done", "error", "interrupt"])
def test_a_client_is_left_as_it_was_found(client, persist, ends, tmp_path):
    mine = client.scatter(list(range(3)), hash=False)

    def found():
        gc.collect()
        return client.run_on_scheduler(keys_held), dict(client.futures), client.status

    # The scheduler hears of released futures, those of the test before among them, a moment later.
    wait_until(lambda: found()[0] == sorted(future.key for future in mine), 30)
    before = found()
    callbacks = [Interrupt()] if ends == "interrupt" else []
    X = rows().map_blocks(fails_at_last, dtype=float) if ends == "error" else rows()
    try:
        fit(X, Checkpoint(tmp_path / "place", interval=0.0), callbacks, Execution(persist=persist))
        assert ends == "done"
    except (KeyboardInterrupt, ValueError):
        assert ends != "done"
    wait_until(lambda: found() == before, 10)
    assert client.gather(mine) == [0, 1, 2]
    assert os.getpid() not in client.run(os.getpid).values()


def fails_at_last(block, block_info=None):
    if block_info[0]["chunk-location"][0] == 15:
        raise ValueError("no more")
    return block
