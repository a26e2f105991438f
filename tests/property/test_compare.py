"""Comparing never finds a difference where there is none, and never misses one where there is."""

import io
import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from zenkei.data.compare.arrays import compare_npy, compare_npz
from zenkei.data.compare.documents import compare_json
from zenkei.data.compare.files import KINDS
from zenkei.data.compare.plain import compare_bytes
from zenkei.data.compare.tables import compare_csv
from zenkei.data.compare.tally import Unreadable
from zenkei.model.verdict import Verdict

DTYPES = st.one_of(
    nps.floating_dtypes(endianness="?"),
    nps.integer_dtypes(endianness="?"),
    nps.complex_number_dtypes(),
    nps.boolean_dtypes(),
    nps.unicode_string_dtypes(max_len=5),
)
ARRAYS = nps.arrays(DTYPES, nps.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
FLOATS = nps.arrays(np.float64, nps.array_shapes(max_dims=2, max_side=6))
KEYS = st.text(max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def npy(array) -> io.BytesIO:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    file.seek(0)
    return file


def npz(array) -> io.BytesIO:
    file = io.BytesIO()
    np.savez(file, x=array)
    file.seek(0)
    return file


@settings(deadline=None)
@given(ARRAYS)
def test_an_array_is_identical_to_itself(array):
    for write, compare in ((npy, compare_npy), (npz, compare_npz)):
        found = compare(write(array), write(array.copy()), 0.0)
        assert (found.verdict, found.compared) == (Verdict.IDENTICAL, array.size)


@settings(deadline=None)
@given(FLOATS, st.data())
def test_one_changed_element_is_found_at_its_place(array, data):
    at = data.draw(st.integers(0, array.size - 1))
    new = data.draw(st.floats().filter(lambda x: x != array.flat[at]))
    old = array.flat[at]
    other = array.copy()
    other.flat[at] = new
    found = compare_npy(npy(array), npy(other), 0.0)
    if np.isnan(old) and np.isnan(new):
        assert found.verdict is Verdict.IDENTICAL
        return
    place = ", ".join(str(i) for i in np.unravel_index(at, array.shape))
    assert (found.verdict, found.where, found.differing) == (Verdict.DIFFERENT, f"[{place}]", 1)


@settings(deadline=None)
@given(FLOATS, FLOATS, st.floats(0, 1e3))
def test_the_verdict_does_not_depend_on_which_side_is_which(a, b, tolerance):
    one = compare_npy(npy(a), npy(b), tolerance)
    two = compare_npy(npy(b), npy(a), tolerance)
    assert (one.verdict, one.where, one.relative) == (two.verdict, two.where, two.relative)


@settings(deadline=None)
@given(
    nps.arrays(np.float64, 5, elements=st.floats(-1e6, 1e6)),
    nps.arrays(np.float64, 5, elements=st.floats(-1e6, 1e6)),
)
def test_the_greatest_difference_is_enough_of_a_tolerance_and_half_of_it_is_not(a, b):
    found = compare_npy(npy(a), npy(b), 0.0)
    enough = min(found.relative, found.absolute)
    assert compare_npy(npy(a), npy(b), enough).verdict is not Verdict.DIFFERENT
    each = np.minimum(np.abs(a - b), np.abs(a - b) / np.maximum(np.maximum(abs(a), abs(b)), 1e-300))
    if each.max() > 0:
        half = float(each.max()) / 2
        assert compare_npy(npy(a), npy(b), half).verdict is Verdict.DIFFERENT


@settings(deadline=None)
@given(JSON, JSON)
def test_documents_are_identical_exactly_if_they_mean_the_same(a, b):
    left, right = (json.dumps(x).encode() for x in (a, b))
    same = compare_json(io.BytesIO(left), io.BytesIO(left), 0.0)
    assert same.verdict is Verdict.IDENTICAL
    found = compare_json(io.BytesIO(left), io.BytesIO(right), 0.0)
    if left == right:
        assert found.verdict is Verdict.IDENTICAL
    if found.verdict is Verdict.IDENTICAL:
        assert a == b


CELLS = st.text(st.characters(codec="utf-8", exclude_characters='\r\n,"\0'), max_size=4)
ROWS = st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=5)


@settings(deadline=None)
@given(ROWS, ROWS)
def test_ragged_tables_are_identical_only_if_all_cells_are(a, b):
    left, right = ("".join(",".join(row) + "\n" for row in rows).encode() for rows in (a, b))
    assert compare_csv(io.BytesIO(left), io.BytesIO(left), 0.0).verdict is Verdict.IDENTICAL
    found = compare_csv(io.BytesIO(left), io.BytesIO(right), 0.0)
    if [len(row) for row in a] != [len(row) for row in b]:
        assert found.verdict is Verdict.DIFFERENT


@settings(deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_are_read_as_their_kind_or_are_said_to_be_unreadable(suffix, a, b):
    try:
        found = KINDS[suffix](io.BytesIO(a), io.BytesIO(b), 0.0)
    except Unreadable:
        return
    assert found.verdict in Verdict


@settings(deadline=None)
@given(st.sampled_from([".npy", ".npz", ".safetensors"]), FLOATS, st.data())
def test_a_flipped_byte_never_breaks_the_comparison(suffix, array, data):
    sound = (npz if suffix == ".npz" else npy)(array).getvalue()
    at = data.draw(st.integers(0, len(sound) - 1))
    broken = sound[:at] + bytes([sound[at] ^ data.draw(st.integers(1, 255))]) + sound[at + 1 :]
    try:
        KINDS[suffix](io.BytesIO(sound), io.BytesIO(broken), 0.0)
    except Unreadable:
        pass


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_bytes_are_identical_exactly_if_they_are(a, b):
    found = compare_bytes(io.BytesIO(a), io.BytesIO(b))
    assert (found.verdict is Verdict.IDENTICAL) == (a == b)
