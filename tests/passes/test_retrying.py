"""What is said of work that a cluster lost."""

from types import SimpleNamespace

import dask
import dask.array as da
import numpy as np
import pytest
from distributed.scheduler import KilledWorker

from dgmm import Execution, GaussianMixture
from dgmm.errors import ClusterError


@pytest.mark.parametrize(
    ("key", "chunks"),
    [
        (("dgmm-moments-1-2", 3), "6 to 7"),
        (("dgmm-merge-1-dgmm-moments-1-2", 3), "0 to 11"),
        (("the user's own", 3, 0), "0 to 11"),
        ("dgmm-parameters-dgmm-moments-1-2", "0 to 11"),
    ],
)
def test_only_the_task_of_a_shard_says_which_chunks(key, chunks, small_pieces):
    def lose(graph, keys, **kwargs):
        raise KilledWorker(key, SimpleNamespace(address="tcp://there:1"), 0)

    X = da.from_array(np.random.default_rng(0).normal(size=(1200, 2)), chunks=(100, 2)).map_blocks(lambda block: block)
    words = rf"pass 1 \(moments\) over chunks {chunks} failed 1 time: 1 worker died of it, the last one tcp://there:1"
    with dask.config.set(scheduler=lose, num_workers=2), pytest.raises(ClusterError, match=words):
        GaussianMixture(2, random_state=0).fit(X, execution=Execution(persist=False, pass_retries=0))
