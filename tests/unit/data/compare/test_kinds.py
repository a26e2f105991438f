"""Files by kind: what is the same, what is close, what differs and where first."""

import gzip
import io
import json
import struct
import zipfile

import numpy as np
import pytest

from zenkei.data.compare.arrays import compare_npy, compare_npz
from zenkei.data.compare.documents import compare_json, compare_lines
from zenkei.data.compare.files import compare_files
from zenkei.data.compare.plain import compare_bytes
from zenkei.data.compare.tables import compare_csv
from zenkei.data.compare.tally import Unreadable
from zenkei.data.compare.tensors import compare_safetensors
from zenkei.model.data import Digest, Entry, EntryKind
from zenkei.model.verdict import Finding, Tolerance, Verdict

IDENTICAL, WITHIN, DIFFERENT = Verdict


def npy(array, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def tensors(**found) -> bytes:
    """A safetensors file by hand; values: (dtype, array)."""
    header, body = {}, b""
    for name, (kind, array) in found.items():
        data = array.tobytes()
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def over(compare, a: bytes, b: bytes, *more) -> Finding:
    found: Finding = compare(io.BytesIO(a), io.BytesIO(b), *more)
    return found


def test_arrays_with_the_same_values_are_identical_whatever_their_archives_say_of_time():
    values = np.array([1.0, np.nan, -0.0, np.inf])
    first, second = npz(w=values), npz(w=values).replace(b"\x00\x00\x21\x00", b"\x00\x00\x21\x10")
    assert over(compare_npz, first, second, 0.0).verdict is IDENTICAL


def test_the_first_element_beyond_the_tolerance_is_named_not_the_first_that_differs():
    a = np.zeros((3, 4))
    b = a.copy()
    b[0, 1], b[2, 3] = 1e-9, 0.5
    found = over(compare_npy, npy(a), npy(b), 1e-6)
    assert (found.verdict, found.where, found.a, found.b) == (DIFFERENT, "[2, 3]", "0.0", "0.5")
    assert (found.differing, found.compared, found.absolute) == (2, 12, 0.5)


def test_within_the_tolerance_names_the_first_element_and_the_greatest_difference():
    a = np.array([1.0, 2.0, 3.0], np.float32)
    found = over(compare_npy, npy(a), npy(a * np.float32(1 + 1e-6)), 1e-5)
    assert (found.verdict, found.where) == (WITHIN, "[0]")
    assert 0 < found.relative < 2e-6


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        (np.nan, np.nan, IDENTICAL),
        (-0.0, 0.0, WITHIN),
        (np.inf, np.inf, IDENTICAL),
        (np.inf, -np.inf, DIFFERENT),
        (np.inf, 1e308, DIFFERENT),
        (np.nan, 0.0, DIFFERENT),
    ],
)
def test_special_numbers(a, b, verdict):
    assert over(compare_npy, npy(np.array([a])), npy(np.array([b])), 0.0).verdict is verdict


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        (np.zeros(3), np.zeros(4), "shape"),
        (np.zeros(3), np.zeros((3, 1)), "shape"),
        (np.zeros(3, "f4"), np.zeros(3, "f8"), "dtype"),
        (np.zeros((2, 3)), np.zeros((2, 3), order="F"), "order in memory"),
    ],
)
def test_no_tolerance_forgives_another_form(a, b, why):
    found = over(compare_npy, npy(a), npy(b), 1e9)
    assert (found.verdict, found.why) == (DIFFERENT, why)


def test_large_whole_numbers_are_not_the_same_because_a_float_cannot_tell():
    a, b = np.array([2**63], np.uint64), np.array([2**63 + 1], np.uint64)
    assert over(compare_npy, npy(a), npy(b), 0.0).verdict is DIFFERENT
    assert over(compare_json, b"[36028797018963969]", b"[36028797018963968]", 0.0).verdict is (
        DIFFERENT
    )


def test_numbers_larger_than_any_float_are_compared_as_what_they_are():
    huge = "1" + "0" * 400
    assert over(compare_json, f"[{huge}]".encode(), f"[{huge}]".encode(), 0.0).verdict is IDENTICAL
    for other in (huge[:-1] + "1", "1.5", "-" + huge):
        found = over(compare_json, f"[{huge}]".encode(), f"[{other}]".encode(), 0.5)
        assert found.verdict is DIFFERENT
    assert over(compare_json, b"[-0.0]", b"[0]", 0.0).verdict is WITHIN


def test_records_are_compared_field_by_field():
    kind = [("x", "<f8"), ("n", "<i4")]
    a, b = np.zeros(3, kind), np.zeros(3, kind)
    b["n"][1] = 7
    assert over(compare_npy, npy(a), npy(b), 0.0).where == "[1].n"


@pytest.mark.parametrize(
    "data",
    [
        npy(np.array([{}], object), allow_pickle=True),
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535,
        b"\x93NUMPY\x01\x00\x40\x00"
        + b"{'descr':'<f8','fortran_order':False,'shape':(1<<70,)}".ljust(64),
        b"\x93NUMPY\x01\x00\x50\x00"
        + b"{'descr':'V999999999','fortran_order':False,'shape':(9,)}".ljust(80),
        npy(np.zeros(1000))[:-1],
        npy(np.zeros(2)) + b"more",
        b"",
    ],
    ids=["objects", "nested", "expression", "huge-item", "cut", "tail", "empty"],
)  # fmt: skip
def test_what_is_no_sound_array_is_never_taken_for_one(data):
    with pytest.raises(Unreadable):
        over(compare_npy, data, data[:-1] + b"!" if b"more" not in data else data, 0.0)


def test_an_array_of_objects_is_refused_for_what_it_is_before_its_pickle_is_looked_at():
    objects = npy(np.array([{}], object), allow_pickle=True)
    with pytest.raises(Unreadable, match="Python objects, which are never loaded"):
        over(compare_npy, objects, objects, 0.0)


def test_a_header_that_promises_more_than_there_is_costs_no_memory():
    head = b"{'descr':'<f8','fortran_order':False,'shape':(1099511627776,)}".ljust(80)
    bomb = b"\x93NUMPY\x01\x00\x50\x00" + head
    with pytest.raises(Unreadable, match="before its last element"):
        over(compare_npy, bomb, bomb, 0.0)


def test_an_array_that_only_one_archive_has_is_named():
    found = over(compare_npz, npz(a=np.zeros(1), b=np.zeros(1)), npz(a=np.zeros(1)), 1.0)
    assert (found.verdict, found.where) == (DIFFERENT, "b.npy")


def test_a_name_that_stands_twice_in_an_archive_makes_it_unreadable():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", npy(np.zeros(1)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", npy(np.ones(1)))
    with pytest.raises(Unreadable):
        over(compare_npz, file.getvalue(), file.getvalue(), 0.0)


def test_tables_compare_numbers_as_numbers_and_name_row_and_column():
    a = b"step,loss\n1,0.5\n2,0.25\n"
    found = over(compare_csv, a, b"step,loss\n1,0.5\n2,0.26\n", 1e-3)
    assert (found.verdict, found.where, found.a, found.b) == (
        DIFFERENT,
        "row 3, column loss",
        "0.25",
        "0.26",
    )
    assert over(compare_csv, a, b"step,loss\r\n1,0.50\r\n2,2.5e-1\r\n", 0.0).verdict is IDENTICAL
    assert over(compare_csv, a, b"step,loss\n1,0.5\n2,0.2500001\n", 1e-3).verdict is WITHIN


@pytest.mark.parametrize(
    ("b", "where"),
    [
        (b"a,b\n1,2,3\n", "row 2"),
        (b"a,b\n1\n", "row 2"),
        (b"a,b\n1,2\n3,4\n", "row 3"),
        (b"a,c\n1,2\n", "row 1, column 2"),
        (b"a,b\n1,x\n", "row 2, column b"),
        (b"a,b\n1,nan\n", "row 2, column b"),
    ],
)
def test_ragged_and_longer_tables_and_other_words(b, where):
    found = over(compare_csv, b"a,b\n1,2\n", b, 0.0)
    assert (found.verdict, found.where) == (DIFFERENT, where)


def test_a_line_without_end_is_no_table():
    with pytest.raises(Unreadable):
        over(compare_csv, b"x" * (2 << 20), b"y" * (2 << 20), 0.0)


def test_documents_do_not_care_for_the_order_of_keys_but_for_everything_else():
    assert over(compare_json, b'{"a": 1, "b": [1.0]}', b'{"b":[1],"a":1}', 0.0).verdict is IDENTICAL
    found = over(compare_json, b'{"a": {"b": [1, 2]}}', b'{"a": {"b": [1, 3]}}', 0.1)
    assert (found.verdict, found.where) == (DIFFERENT, "$.a.b[1]")
    assert over(compare_json, b"[1]", b"[true]", 9.0).verdict is DIFFERENT
    assert over(compare_json, b'{"a": 1}', b'{"a": 1, "b": null}', 9.0).where == "$.b"


@pytest.mark.parametrize(
    "data",
    [b'{"a": 1, "a": 2}', b"[" * 100_000, b"[" * 300 + b"]" * 300, b"{", b"[" + b"9" * 5000 + b"]"],
    ids=["twice", "deep", "deeper", "cut", "digits"],
)
def test_documents_that_readers_do_not_agree_on_are_unreadable(data):
    with pytest.raises(Unreadable):
        over(compare_json, data, data, 0.0)


def test_lines_of_documents_are_compared_one_by_one():
    a = b'{"loss": 1}\n{"loss": 2}\n'
    assert over(compare_lines, a, b'{"loss":1}\n{"loss":3}\n', 0.0).where == "line 2: $.loss"
    assert over(compare_lines, a, b'{"loss":1}\n', 0.0).where == "line 2"


def test_tensors_are_compared_by_name_wherever_they_lie_in_the_file():
    one, two = ("F32", np.ones(3, "<f4")), ("I64", np.arange(4))
    assert over(compare_safetensors, tensors(a=one, b=two), tensors(b=two, a=one), 0.0).verdict is (
        IDENTICAL
    )
    other = ("F32", np.array([1, 1, 2], "<f4"))
    found = over(compare_safetensors, tensors(a=one, b=two), tensors(a=other, b=two), 0.1)
    assert (found.verdict, found.where, found.a, found.b) == (DIFFERENT, "a[2]", "1.0", "2.0")
    # 0x3f80 is 1.0 as bfloat16, 0x3f81 the next number
    near = [("BF16", np.array([word], "<u2")) for word in (0x3F80, 0x3F81)]
    assert over(compare_safetensors, tensors(w=near[0]), tensors(w=near[1]), 0.01).verdict is WITHIN


@pytest.mark.parametrize(
    "header",
    [
        {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 999]}},
        {"w": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}},
        {"w": {"dtype": "F32", "shape": [1 << 70], "data_offsets": [0, 16]}},
        {"w": {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]}},
        {"w": {"dtype": "O", "shape": [4], "data_offsets": [0, 16]}},
        {"w": [1]},
        [],
    ],
)
def test_tensors_that_are_not_where_the_header_says_are_refused(header):
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + bytes(16)
    with pytest.raises(Unreadable):
        over(compare_safetensors, data, data, 0.0)


def test_other_files_differ_at_a_line_if_they_are_text_and_at_a_byte_if_not():
    found = over(compare_bytes, b"one\ntwo\nthree\n", b"one\ntwo\nTHREE\n")
    assert (found.where, found.a, found.b) == ("line 3", "three", "THREE")
    assert over(compare_bytes, b"\0\1\2", b"\0\1\3").where == "byte 2"
    assert over(compare_bytes, b"abc\n", b"abc\nd").a == "the end"


class Store:
    """Contents by digest; `entry` makes a file of a tree."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def entry(self, path: str, content: bytes, mode: int = 0o644) -> Entry:
        digest = Digest(f"b3:{hash(content) & (1 << 256) - 1:064x}")
        self.contents[digest] = content
        size = len(content)
        return Entry(path=path, kind=EntryKind.FILE, mode=mode, size_bytes=size, digest=digest)

    def open(self, entry: Entry) -> io.BytesIO:
        return io.BytesIO(self.contents[entry.digest])


def found_in(store: Store, a: list[Entry], b: list[Entry], **more) -> dict[str, Finding | None]:
    return dict(compare_files(a, b, store.open, Tolerance(**more)))


def test_only_files_that_differ_are_told_and_those_with_the_same_digest_are_not_opened():
    store = Store()
    same = store.entry("same.npy", b"not an array")
    store.contents.clear()
    assert found_in(store, [same], [same]) == {}


def test_each_file_is_compared_as_its_name_says_with_its_own_tolerance():
    store = Store()
    a = [store.entry(name, b"[1.0]") for name in ("x.json", "y.json", "z.json")]
    b = [store.entry(name, b"[1.001]") for name in ("x.json", "y.json", "z.json")]
    found = found_in(store, a, b, named=(("x*", 0.01),), ignored=("z*",))
    assert {path: finding.verdict for path, finding in found.items() if finding} == {
        "x.json": WITHIN,
        "y.json": DIFFERENT,
    }


def test_what_is_no_sound_file_of_its_kind_is_compared_by_its_bytes_and_that_is_said():
    store = Store()
    found = found_in(store, [store.entry("x.npy", b"one")], [store.entry("x.npy", b"two")])
    assert found["x.npy"] is not None
    assert found["x.npy"].verdict is DIFFERENT
    assert "compared by its bytes" in found["x.npy"].note


def test_a_pickle_is_never_loaded():
    store = Store()
    evil = b"cos\nsystem\n(S'touch /tmp/never'\ntR."
    found = found_in(store, [store.entry("m.pkl", evil)], [store.entry("m.pkl", evil + b"x")])
    assert found["m.pkl"] is not None
    assert "never loaded" in found["m.pkl"].note


def test_checkpoints_of_pytorch_are_left_to_a_job_until_it_has_looked():
    store = Store()
    a, b = store.entry("model.pt", b"PK\x03\x041"), store.entry("model.pt", b"PK\x03\x042")
    assert found_in(store, [a], [b]) == {"model.pt": None}
    seen = {"model.pt": Finding(verdict=WITHIN)}
    (told,) = compare_files([a], [b], store.open, Tolerance(), seen)
    assert told == ("model.pt", seen["model.pt"])
    (bytes_,) = compare_files([a], [b], store.open, Tolerance(), {})
    assert bytes_[1] is not None
    assert bytes_[1].verdict is DIFFERENT


def test_what_is_compressed_is_compared_by_what_is_inside():
    store = Store()
    a, b = (gzip.compress(b"x,y\n1,2\n", mtime=t) for t in (1, 2))
    found = found_in(store, [store.entry("t.csv.gz", a)], [store.entry("t.csv.gz", b)])
    assert found["t.csv.gz"] is not None
    assert found["t.csv.gz"].verdict is IDENTICAL
    cut = found_in(store, [store.entry("t.csv.gz", a)], [store.entry("t.csv.gz", a[:-3])])
    assert cut["t.csv.gz"] is not None
    assert cut["t.csv.gz"].verdict is DIFFERENT


def test_missing_files_other_modes_and_other_links_are_differences():
    store = Store()
    a = [
        store.entry("gone", b"1"),
        store.entry("run", b"2"),
        Entry(path="to", kind=EntryKind.LINK, target="x"),
    ]
    b = [store.entry("run", b"2", 0o755), Entry(path="to", kind=EntryKind.LINK, target="y")]
    found = found_in(store, a, b)
    assert [(path, finding.why) for path, finding in found.items() if finding] == [
        ("gone", "only the first has it"),
        ("run", "mode"),
        ("to", "target"),
    ]
