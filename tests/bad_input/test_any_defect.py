"""Defects that hypothesis places: wherever they are, the message names the place."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from bad_input.jobs import GOOD
from bad_input.kinds import DOORS, Given, Shelf, lazy, time_limit
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dgmm import Execution, GaussianMixture
from dgmm.errors import DataError, JobError, ParameterError
from dgmm.jobs.loading import Job, parse_job

FEATURES = 3


@st.composite
def chunks_with_a_place(draw):
    """Lengths of chunks, some of them empty, and a place: chunk, row of the chunk, feature."""
    lengths = draw(st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(lambda found: sum(found) >= 2))
    chunk = draw(st.sampled_from([i for i, length in enumerate(lengths) if length]))
    return lengths, chunk, draw(st.integers(0, lengths[chunk] - 1)), draw(st.integers(0, FEATURES - 1))


def rows(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, FEATURES))


@pytest.fixture(scope="module")
def fitted():
    return GaussianMixture(1, random_state=0).fit(rows(20))


@pytest.mark.parametrize("door", ["fit", "score", "predict", "predict_proba", "score_samples"])
@settings(max_examples=30)
@given(
    chunks_with_a_place(),
    st.sampled_from([np.nan, np.inf, -np.inf]),
    st.sampled_from(["f8", "f4", "f2"]),
    st.booleans(),
)
def test_a_bad_value_is_found_where_it_is(fitted, door, found, value, dtype, known):
    lengths, chunk, row, feature = found
    X = rows(sum(lengths)).astype(dtype)
    index = sum(lengths[:chunk]) + row
    X[index, feature] = value
    table = da.from_array(X, chunks=(tuple(lengths), FEATURES))
    if not known:
        table = table.map_blocks(lambda block: block, chunks=((np.nan,) * len(lengths), (FEATURES,)), dtype=X.dtype)
    with pytest.raises(DataError) as caught:
        DOORS[door](Shelf(Path(), fitted), Given(table))
    name = "NaN" if np.isnan(value) else "infinity"
    place = rf"X contains {name}, first at chunk {chunk}, row {row}( \(row {index} of the data\))?, feature {feature}; "
    assert re.match(place, str(caught.value)), caught.value


@pytest.mark.parametrize("door", ["fit", "score"])
@settings(max_examples=30)
@given(chunks_with_a_place(), st.sampled_from([np.nan, np.inf, -1.0, -1e-300]))
def test_a_bad_weight_is_found_where_it_is(fitted, door, found, value):
    lengths, chunk, row, _ = found
    weights = np.ones(sum(lengths))
    weights[sum(lengths[:chunk]) + row] = value
    table = da.from_array(rows(sum(lengths)), chunks=(tuple(lengths), FEATURES))
    with pytest.raises(DataError, match=rf"sample_weight contains .*, first at chunk {chunk}, row {row}( \(|;)"):
        DOORS[door](Shelf(Path(), fitted), Given(table, weights))


@pytest.mark.parametrize("door", ["fit", "score", "predict"])
@settings(max_examples=30)
@given(chunks_with_a_place(), st.sampled_from(["rows", "features", "words", "objects", "masked"]))
def test_a_bad_chunk_is_found_where_it_is(fitted, door, found, defect):
    lengths, chunk, _, feature = found
    X = rows(sum(lengths))
    changes = {
        "rows": lambda block: block[:-1],
        "features": lambda block: np.delete(block, feature, axis=1),
        "words": lambda block: block.astype(str),
        "objects": lambda block: block.astype(object),
        "masked": lambda block: np.ma.masked_array(block, mask=True),
    }

    def change(block, block_info=None):
        here = block_info is not None and block_info[0]["chunk-location"][0] == chunk
        return changes[defect](block) if here else block

    table = da.from_array(X, chunks=(tuple(lengths), FEATURES))
    table = table.map_blocks(change, dtype=float, meta=np.empty((0, FEATURES)))
    with pytest.raises(DataError, match=rf"\bchunk {chunk}\b"):
        DOORS[door](Shelf(Path(), fitted), Given(table))


# -- parameters -----------------------------------------------------------------------------------

anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 5),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.lists(st.floats(), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.sampled_from([np.float32(1e-3), np.int8(2), np.array([1, 2]), np.array(3), np.True_, object(), int, print]),
    st.sampled_from(["full", "tied", "diag", "spherical", "auto", "kmeans", "k-means||", "random"]),
)
NAMES = sorted(set(GaussianMixture().get_params()) - {"n_init", "verbose"})  # which may be asked to work for hours


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(NAMES), anything, min_size=1, max_size=3))
@example({"random_state": 10**5000})
@example({"tol": 10**400})
@example({"means_init": [[np.nan]]})
def test_any_parameters_are_a_fit_or_a_parameter_error(parameters):
    parameters = {"n_components": 1} | parameters
    model = GaussianMixture(**parameters)
    with warnings.catch_warnings(), time_limit(60):
        warnings.simplefilter("ignore")
        try:
            model.fit(lazy(rows(30), 10))
        except ParameterError:
            refused = True
        except (DataError, MemoryError) as error:
            refused = "n_components" in str(error) or "K=" in str(error)
        else:
            refused = False
    assert refused != hasattr(model, "means_")
    assert refused or np.isfinite(model.means_).all()


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(["persist", "lean", "memory_limit"]), anything, max_size=3))
def test_any_execution_is_one_or_a_parameter_error(options):
    try:
        execution = Execution(**options)
    except ParameterError as error:
        message = str(error)
    else:
        message = ""
        assert execution.persist in (True, False, "auto")
        assert execution.memory_limit is None or execution.memory_limit >= 1
    assert not message or re.match(r"(persist|lean|memory_limit) is ", message)


# -- job files ------------------------------------------------------------------------------------

LINES = """
input:
  path: x.npy
  sample_weight: w.npy
model:
  n_components: 3
  tol: 1e-3
  reg_covar: 1e-6
  covariance_type: full
  random_state: 0
output:
  model: m.zarr
  report: r.json
cluster:
  kind: threads
  n_workers: 2
""".strip().splitlines()

VALUES = ("", "-1", ".nan", "x", "[1]", "{a: 1}", "1e400", "~")
# From a line and a number that hypothesis draws to what stands in its place.
CHANGES = {
    "drop": lambda line, n: [],
    "twice": lambda line, n: [line, line],
    "typo": lambda line, n: [line[: n % len(line)] + "xq_ "[n % 4] + line[n % len(line) :]],
    "value": lambda line, n: [line.partition(":")[0] + ": " + VALUES[n % len(VALUES)]],
    "indent": lambda line, n: [" " + line],
    "comment": lambda line, n: ["#" + line],
    "another": lambda line, n: [LINES[n % len(LINES)]],
}


@settings(max_examples=300)
@given(st.integers(0, len(LINES) - 1), st.sampled_from(sorted(CHANGES)), st.integers(0, 1000))
def test_any_change_to_a_job_file_is_a_job_or_is_refused_with_lines(number, change, n):
    lines = [*LINES[:number], *CHANGES[change](LINES[number], n), *LINES[number + 1 :]]
    try:
        job = parse_job("\n".join(lines), "job.yaml", Path("/data"))
    except JobError as error:
        for line in str(error).splitlines():
            assert re.match(r"job\.yaml:\d+: \S", line), line
    else:
        assert isinstance(job, Job)


@pytest.mark.parametrize("end", range(0, len(GOOD), 3))
def test_a_job_file_cut_short_is_refused_or_whole(end):
    if "output: {model: m.zarr}" in GOOD[:end]:
        assert isinstance(parse_job(GOOD[:end], "job.yaml", Path("/data")), Job)
    else:
        with pytest.raises(JobError, match=r"^job\.yaml:\d"):
            parse_job(GOOD[:end], "job.yaml", Path("/data"))
