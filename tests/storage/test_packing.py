"""Values come back with the same bits, types and layout; whatever else a tree says is refused with its place."""

import math
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from storing import bits, stored

from dgmm.errors import FormatError
from dgmm.fitting.driving import ManyRecords
from dgmm.fitting.em import FitState
from dgmm.fitting.stopping import StopReason
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.families import FAMILIES
from dgmm.mixture.moments import MomentsMap
from dgmm.mixture.sampling import Candidates
from dgmm.mixture.seeding import Distances
from dgmm.mixture.statistics import SufficientStatistics
from dgmm.storage.kinds import (
    Anything,
    Enumeration,
    Fixed,
    Flag,
    Flags,
    Floats,
    Integer,
    Integers,
    Keys,
    Many,
    Maybe,
    Named,
    Numbers,
    OneOf,
    Real,
    Record,
    Schemas,
    Text,
)
from dgmm.storage.packing import DTYPES, pack, unpack
from dgmm.storage.states import STATES


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Leaf:
    points: np.ndarray
    weight: float = 1.0


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    scale: np.ndarray
    colour: Colour | None
    name: str = "tree"
    extra: dict = field(default_factory=dict)


ENTRIES = (
    Enumeration(Colour),
    Record(Leaf, points=Floats(("n", "d")), weight=Real()),
    Record(
        Tree,
        leaves=Many(OneOf(Leaf, shared="d")),
        scale=Floats(("d",)),
        colour=Maybe(OneOf(Colour)),
        name=Text(),
        extra=Named(Anything()),
    ),
)
TABLE = Schemas(*ENTRIES)
# Any bits at all: NaN with payloads, subnormals, negative zeros.
floats = st.binary(min_size=8, max_size=8).map(lambda data: struct.unpack("d", data)[0])


@st.composite
def arrays(draw):
    dtype = np.dtype(draw(st.sampled_from(sorted(DTYPES))))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    size = math.prod(shape)
    data = draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize))
    flat = np.frombuffer(data, np.uint8) % 2 if dtype.kind == "b" else np.frombuffer(data, np.uint8)
    order = draw(st.sampled_from("CF"))
    return np.array(flat.view(dtype).reshape(shape, order=order), order=order)


leaves = st.none() | st.booleans() | st.integers() | st.integers(-(2**80), 2**80) | floats | st.text() | arrays()
scalars = arrays().filter(lambda array: array.size > 0).map(lambda array: array.reshape(-1)[0])
values = st.recursive(
    leaves | scalars | st.sampled_from(Colour),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_values_come_back_bit_for_bit(value):
    back = stored(value, TABLE)
    assert bits(back) == bits(value)


@given(arrays())
def test_arrays_are_fresh_aligned_and_writable(array):
    back = stored(array)
    assert back.flags.owndata
    assert back.flags.writeable
    assert back.flags.aligned
    assert not np.shares_memory(back, array)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1), (3, 1, 2), (1,), ()])
@pytest.mark.parametrize("order", "CF")
def test_sides_of_length_one_keep_their_strides(shape, order):
    array = np.ones(shape, order=order)
    assert stored(array).strides == array.strides


def test_other_layouts_become_c():
    array = np.arange(24.0).reshape(4, 6)
    for other in (array[::2], array[:, ::-1], np.broadcast_to(array[0], (3, 6)), array.reshape(2, 3, 4).swapaxes(1, 2)):
        back = stored(other)
        assert back.flags.c_contiguous
        np.testing.assert_array_equal(back, other)


def test_one_array_in_two_places_is_stored_once():
    array = np.arange(4.0)
    packed = pack((array, {"again": array}), TABLE)
    assert len(packed.arrays) == 1
    assert packed.arrays[0] is array
    first, second = stored((array, {"again": array}))
    assert first is second["again"]


def test_memory_maps_are_arrays_and_masked_arrays_are_not(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(3.0))
    assert bits(stored(np.load(tmp_path / "x.npy", mmap_mode="r"))) == bits(np.arange(3.0))
    with pytest.raises(FormatError, match="MaskedArray"):
        pack(np.ma.masked_array([1.0], [True]), TABLE)


@pytest.mark.parametrize(
    "value",
    [object(), {1: 2}, [1], {1}, b"bytes", 1j, np.array([object()]), np.array(["a"]), np.array([1j]), Leaf, len,
     np.zeros(2, "M8[s]"), np.zeros(2, [("a", "f8")])],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_cannot_be_stored_is_refused_with_its_place(value):
    with pytest.raises(FormatError, match=r"value\['a'\]\[1\]"):
        pack({"a": (0, value)}, TABLE)


def test_values_too_deep_are_refused_both_ways():
    value, tree = (), []
    for _ in range(100):
        value, tree = (value,), [tree]
    for refused in (lambda: pack(value, TABLE), lambda: unpack(tree, [], TABLE)):
        with pytest.raises(FormatError, match="deep"):
            refused()


# -- records ------------------------------------------------------------------------------------


def example():
    leaf = Leaf(np.arange(6.0).reshape(3, 2), 0.5)
    return Tree((leaf, leaf), np.ones(2), Colour.BLUE, "oak", {"k": (1,)})


def test_records_come_back():
    assert bits(stored(example(), TABLE)) == bits(example())


def test_fields_with_defaults_may_be_missing_and_others_not():
    packed = pack(example(), TABLE)
    del packed.tree["fields"]["name"], packed.tree["fields"]["extra"]
    back = unpack(packed.tree, packed.arrays, TABLE)
    assert (back.name, back.extra) == ("tree", {})
    del packed.tree["fields"]["colour"]
    with pytest.raises(FormatError, match="'colour' is missing"):
        unpack(packed.tree, packed.arrays, TABLE)


def test_a_table_that_does_not_fit_its_class_is_refused_at_once():
    with pytest.raises(TypeError, match="fields"):
        Record(Leaf, points=Floats(("n", "d")))
    with pytest.raises(TypeError, match="one name"):
        Schemas(*ENTRIES, Enumeration(Colour))


def leaf_tree(points=0, **fields):
    return {"record": "Leaf", "fields": {"points": {"array": points}, "weight": 1.0, **fields}}


def tree_tree(**fields):
    usual = {"leaves": [leaf_tree()], "scale": {"array": 1}, "colour": None, "name": "a", "extra": {"dict": {}}}
    return {"record": "Tree", "fields": {**usual, **fields}}


ARRAYS = [np.zeros((3, 2)), np.zeros(2), np.zeros(3, np.float32), np.zeros((3, 3)), np.zeros(())]

HOSTILE = {
    "no value": ({"what": 1}, "value: expected a value"),
    "an empty object": ({}, "expected a value"),
    "two tags": ({"array": 0, "scalar": 4}, "expected a value"),
    "a record that is not in the table": ({"record": "os.system", "fields": {}}, "no record 'os.system'"),
    "a class of the library that is not": ({"record": "ExecutionPlan", "fields": {}}, "no record"),
    "a record without a name": ({"record": None, "fields": {}}, "expected a string"),
    "a list as a name": ({"record": ["Leaf"], "fields": {}}, "expected a string"),
    "fields that are a list": ({"record": "Leaf", "fields": []}, "expected an object"),
    "an unknown field": (leaf_tree(more=1), "no field 'more'"),
    "a special field": (leaf_tree(__class__=1), "no field '__class__'"),
    "a field of another type": (leaf_tree(weight="1"), r"value<Leaf>.weight: expected a float; found str"),
    "an int for a float": (leaf_tree(weight=1), "expected a float; found 1"),
    "a bool for a float": (leaf_tree(weight=True), "expected a float"),
    "another dtype": (leaf_tree(2), r"expected an array of float64; found an array of float32"),
    "too few dimensions": (leaf_tree(1), r"expected an array of shape \(n, d\); found"),
    "dimensions that differ": (tree_tree(scale={"array": 0}), r"shape \(d,\)"),
    "lengths that differ": (tree_tree(leaves=[leaf_tree(3)]), r"shape \(d,\), d = 3"),
    "leaves that differ": (tree_tree(leaves=[leaf_tree(), leaf_tree(3)]), "expected d = 2"),
    "a leaf that is none": (tree_tree(leaves=[None]), r"leaves\[0\]: expected Leaf"),
    "leaves in no tuple": (tree_tree(leaves={"dict": {}}), "expected a tuple"),
    "an unknown member": (tree_tree(colour={"member": "Colour", "name": "GREEN"}), "no 'Colour' 'GREEN'"),
    "a special member": (tree_tree(colour={"member": "Colour", "name": "__class__"}), "no 'Colour'"),
    "an unknown enumeration": ({"member": "Leaf", "name": "x"}, "no 'Leaf'"),
    "a name that is no text": (tree_tree(name=7), "expected a str"),
    "an array that is not there": (leaf_tree(99), "there is no array 99"),
    "a negative array": (leaf_tree(-1), "there is no array"),
    "a bool as a number": (leaf_tree(True), "there is no array"),
    "a float as a number": (leaf_tree(0.0), "there is no array"),
    "a scalar with dimensions": ({"scalar": 0}, "without dimensions"),
    "an integer in no hexadecimal": ({"int": "zz"}, "hexadecimal"),
    "an integer in an integer": ({"int": 7}, "hexadecimal; found 7"),
    "a large integer": (2**70, "53 bits"),
    "a float of few bits": ({"float": "ff"}, "64 bits"),
    "a float of other letters": ({"float": "x" * 16}, "64 bits"),
    "not a number": (float("nan"), "not finite"),
    "a dict that is a list": ({"dict": [1]}, "expected an object"),
    "something else": (object(), "expected a value"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_trees_are_refused_with_their_place(name):
    tree, words = HOSTILE[name]
    with pytest.raises(FormatError, match=words):
        unpack(tree, ARRAYS, TABLE)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["Leaf", "Tree", "Colour", "ff", "RED"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["record", "fields", "array", "scalar", "dict", "int", "float", "member", "name", "points"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(json_values)
def test_any_json_is_a_value_or_refused(tree):
    with suppress(FormatError):
        unpack(tree, ARRAYS, TABLE)


KINDS = {
    "flag": (Flag(), [True, False], [0, 1, None, np.True_]),
    "integer": (Integer(-1, 5), [-1, 5], [True, 6, -2, 1.0, np.int64(1), 10**400]),
    "real": (Real(), [1.0, math.nan, np.float64(1.0)], [1, True, None, np.float32(1.0)]),
    "text": (Text(), ["", "a"], [None, 1, b"a"]),
    "maybe": (Maybe(Real()), [None, 1.0], [1, "None"]),
    "many": (Many(Real(), least=1), [(1.0,), (1.0, 2.0)], [(), [1.0], (1,), None]),
    "fixed": (Fixed(Real(), Text()), [(1.0, "a")], [(1.0,), ("a", 1.0), (1.0, "a", 1), None]),
    "named": (Named(Real()), [{}, {"a": 1.0}], [{"a": 1}, None, ()]),
    "one of": (OneOf(Leaf, Colour), [Leaf(ARRAYS[0]), Colour.RED], [None, "RED", Leaf, Colour]),
    "floats": (Floats(("n", "n"), ("n", 1)), [np.eye(3), np.ones((4, 1))],
               [np.ones((2, 3)), np.eye(3, dtype="i8"), 1.0]),
    "flags": (Flags(("n",)), [np.ones(3, bool)], [np.ones(3)]),
    "integers": (Integers(("n",)), [np.ones(3, np.int64)], [np.ones(3, np.int32)]),
    "keys": (Keys(("n",)), [np.ones(3, np.uint64), np.ones(3)], [np.ones(3, np.int64)]),
    "numbers": (Numbers(("n",)), [np.ones(3, ">i2"), np.ones(1, bool)], [np.array(["a"]), np.array([1j]), [1]]),
    "anything": (Anything(), [None, 1, ()], []),
}  # fmt: skip


@dataclass(frozen=True)
class Holder:
    value: object


@pytest.mark.parametrize("name", KINDS)
def test_kinds(name):
    kind, right, wrong = KINDS[name]
    table = Schemas(*ENTRIES, Record(Holder, value=kind))
    for value in right:
        assert bits(unpack(*vars(pack(Holder(value), table)).values(), table).value) == bits(value)
    for value in wrong:
        with pytest.raises(FormatError, match=r"Holder>\.value.*: expected"):
            pack(Holder(value), table)


# -- the states of a fit ------------------------------------------------------------------------


def states(family, k=3, d=2):
    rng = np.random.default_rng(0)
    shape = family.inner_shape(k, d)
    covariances = np.broadcast_to(np.eye(d), shape).copy() if len(shape) == 3 else np.ones(shape)
    parameters = family.parameters(np.full(k, 1 / k), rng.normal(size=(k, d)), covariances)
    state = FitState.start(parameters)
    statistics = SufficientStatistics.zero(parameters.means, (1 if family.tied else k, 1))
    rows = rng.normal(size=(50, d)).astype(np.float32)
    moments = MomentsMap(1, 10)(rows, None, Chunk(0, 0, 50))
    distances = Distances(1.0, np.ones(k), Candidates.of(3, np.arange(5.0), rows[:5], np.ones(5)))
    full = FitState(parameters, (-2.0, -1.5), state.dead, state.dead, 1, StopReason.GAP, parameters, 4, 2, 1, 0.25)
    return [parameters, state, full, statistics, moments.merge(moments), distances, ManyRecords((statistics, moments))]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
@pytest.mark.parametrize("d", [1, 2])
def test_the_states_of_a_fit_come_back(family, d):
    for value in states(family, d=d):
        assert bits(stored(value)) == bits(value)


def test_shapes_within_a_state_must_fit():
    full, diag = (states(FAMILIES[name])[0] for name in ("full", "diag"))
    packed = pack(full, STATES)
    for number, array in ((3, diag.precisions_cholesky), (0, np.ones(4)), (2, np.ones((2, 2, 2)))):
        arrays = list(packed.arrays)
        arrays[number] = array
        with pytest.raises(FormatError, match="MixtureParameters>"):
            unpack(packed.tree, arrays, STATES)
