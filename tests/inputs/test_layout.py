"""Arrays with several leading dimensions as rows, and back."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmm.inputs.layout import Layout

sizes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@settings(max_examples=40, deadline=None)
@given(chunks=st.lists(sizes, min_size=2, max_size=4).map(tuple))
def test_rows_are_the_cells_of_the_array_and_go_back_to_their_place(chunks):
    shape = tuple(sum(c) for c in chunks)
    values = np.arange(np.prod(shape)).reshape(shape)
    x = da.from_array(values, chunks=chunks)
    layout = Layout(x.chunks[:-1])
    rows = layout.flatten(x)
    assert rows.shape == (np.prod(shape[:-1]), shape[-1])
    assert rows.numblocks[1] == 1
    as_set = {tuple(row) for row in values.reshape(-1, shape[-1])}
    with dask.config.set(scheduler="synchronous"):
        assert {tuple(row) for row in rows.compute()} == as_set
        restored = layout.restore(rows[:, 0])
        assert restored.chunks == x.chunks[:-1]
        np.testing.assert_array_equal(restored.compute(), values[..., 0])


def test_weights_follow_their_rows():
    values = np.arange(24.0).reshape(4, 6)
    x = da.from_array(np.stack([values] * 3, axis=-1), chunks=(3, 4, 3))
    layout = Layout(x.chunks[:-1])
    weights = layout.flatten(da.from_array(values, chunks=(2, 6)))
    np.testing.assert_array_equal(weights.compute(), layout.flatten(x)[:, 0].compute())
