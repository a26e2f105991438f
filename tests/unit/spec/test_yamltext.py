"""What of YAML a job file may hold, and what hostile bytes are answered with."""

import pytest

from zenkei import spec
from zenkei.model.errors import InvalidInput, Problem
from zenkei.model.job import JobSpec
from zenkei.spec import limits


def parse(text: bytes) -> JobSpec:
    return spec.parse(text, file="job.yaml")


def problem(text: bytes) -> Problem:
    """The first problem of a file that has one."""
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    return caught.value.problems[0]


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        (b"command: x\nname: caf\xe9\n", "job.yaml:2:10", "0xe9"),
        ("name: 数\n".encode() + b"queue: \xff", "job.yaml:2:8", "0xff"),
        (b"command: x\r\nname: a\x00b", "job.yaml:2:8", "U+0000"),
        (b"command: x\x1b[0m", "job.yaml:1:11", "U+001B"),
        (b"command: x\n\xef\xbb\xbfname: y", "job.yaml:2:1", "U+FEFF"),
        ("command: x".encode("utf-16"), "job.yaml:1:1", "UTF-16"),
        ("command: x".encode("utf-32-be"), "job.yaml:1:1", "U+0000"),
    ],
)
def test_what_is_no_text_is_placed(text: bytes, place: str, part: str):
    found = problem(text)
    assert (found.code, str(found.at)) == ("not-utf8", place)
    assert part in found.message


def test_a_byte_order_mark_of_an_editor_is_nothing():
    with_mark = parse(b"\xef\xbb\xbfcommand: x\r\nname: a\r\n")
    assert spec.digest(with_mark) == spec.digest(parse(b"command: x\nname: a\n"))


def test_a_file_of_one_mebibyte_is_read_and_one_byte_more_is_not():
    head = b"command: x\n#"
    assert parse(head + b"c" * (limits.FILE_BYTES - len(head))).command == "x"
    assert problem(head + b"c" * (limits.FILE_BYTES - len(head) + 1)).code == "too-large"


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (new, new, b",".join([b"*%c" % (new - 1)] * 9)) for new in b"bcdefgh"
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        b"[" * 500_000,
        b"{a: " * 200_000,
        b"- " * 400_000,
        b"? " * 400_000,
        b"matrix: {a: [" + b"1," * 400_000 + b"]}",
        b"labels: {" + b"a: " * 300_000 + b"}",
    ],
    ids=["aliases", "lists", "mappings", "dashes", "questions", "wide", "chain"],
)
def test_a_bomb_is_refused_before_it_is_built(text: bytes):
    assert problem(text).code in ("too-large", "yaml-syntax")


def test_aliases_count_as_what_they_stand_for():
    values = b", ".join(b"%d" % n for n in range(1000))
    text = b"command: x\nlabels: {}\nmatrix: {a: &a [%s], b: *a}\n" % values
    assert "1000000 members" in problem(text).message


def test_depth_counts_through_aliases():
    links = b"".join(b"  k%d: &k%d [[*k%d]]\n" % (n, n, n - 1) for n in range(1, 20))
    found = problem(b"labels:\n  k0: &k0 [x]\n" + links)
    assert "nested deeper" in found.message


def test_an_anchor_may_be_used_again():
    parsed = parse(b"command: x\nlabels: &both {rack: a}\nconstraints: *both\n")
    assert parsed.constraints == {"rack": ("a",)}
    assert parsed.labels == {"rack": "a"}


def test_a_merge_takes_the_first_of_several_bases():
    text = b"""
command: x
env: {vars: {<<: [{A: "1", B: "1"}, {B: "2", C: "2"}], C: "3"}}
"""
    assert parse(text).env.vars == {"A": "1", "B": "1", "C": "3"}


def test_a_quoted_merge_sign_is_a_key_like_any_other():
    assert problem(b'command: x\n"<<": {name: y}\n').code == "unknown-key"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("012", "012"),
        ("3.10", "3.10"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("2026-01-02", "2026-01-02"),
        (".inf", ".inf"),
        ("true", "true"),
        ("'null'", "null"),
        ('"~"', "~"),
        ('""', ""),
        ("'it''s'", "it's"),
    ],
)
def test_a_variable_has_the_text_that_was_written(written: str, value: str):
    parsed = parse(f"command: x\nenv: {{vars: {{A: {written}}}}}".encode())
    assert parsed.env.vars == {"A": value}


def test_python_3_10_is_not_3_1():
    assert parse(b"command: x\nenv: {python: 3.10}").env.python == "3.10"


def test_norway_is_a_project():
    assert parse(b"command: x\nproject: no").project == "no"


def test_member_ten_is_not_member_one():
    assert str(parse(b"command: x\nafter: 42.10").after[0].job) == "42.10"


def test_hundreds_of_problems_are_counted_and_cut():
    lines = b"".join(b"k%d: 1\n" % n for n in range(300))
    with pytest.raises(InvalidInput) as caught:
        parse(lines)
    assert len(caught.value.problems) == limits.PROBLEMS
    assert "has 301 problems" in caught.value.message


def test_a_file_name_cannot_paint_the_terminal():
    with pytest.raises(InvalidInput) as caught:
        spec.parse(b"x", file="/very/long" * 30 + "/\x1b[31mjob.yaml")
    assert caught.value.message.isprintable()
    assert caught.value.problems[0].at is not None
    assert caught.value.problems[0].at.file.endswith("\\x1b[31mjob.yaml")
