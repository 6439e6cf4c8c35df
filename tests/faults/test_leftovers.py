"""Nothing is left behind: by many fits, by an error, by an interrupt, on a cluster of the user's."""

import gc
import os
import threading
from pathlib import Path

import dask
import psutil
import pytest
from faults.small_fit import FEW, fit, rows
from waiting import wait_until

from dgmm import Checkpoint, Execution
from dgmm.fitting.events import PassAdvanced


class Interrupt:
    """A callback that interrupts a pass."""

    def __call__(self, event):
        if isinstance(event, PassAdvanced) and event.index == 2:
            raise KeyboardInterrupt


def held(folder):
    """Threads, open files, children of this process, and files in a folder."""
    gc.collect()
    threads = {thread.name for thread in threading.enumerate() if thread.name.startswith("dgmm")}
    children = len(psutil.Process().children(recursive=True))
    return threads, psutil.Process().num_fds(), children, sorted(path.name for path in Path(folder).iterdir())


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_many_fits_in_one_process_leave_nothing(scheduler, tmp_path):
    place = tmp_path / "place"
    with dask.config.set(scheduler=scheduler, num_workers=2):
        fit(rows(FEW), Checkpoint(place))
        before = held(place)
        for number in range(50):
            if number % 5 == 0:
                with pytest.raises(KeyboardInterrupt):
                    fit(rows(FEW), Checkpoint(place, interval=0.0, resume="never"), [Interrupt()])
            else:
                fit(rows(FEW), Checkpoint(place, interval=0.0, resume="never"))
        after = held(place)
    assert after[0] == set()
    assert after[1] <= before[1]
    assert after[2] <= before[2]
    # A checkpoint is its pointer, its lock and its parts, of which old ones do not pile up.
    assert len(after[3]) <= 2 + 3 * 2, after[3]


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
