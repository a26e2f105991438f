"""Patterns with which an operator names nodes."""

import pytest

from zenkei.model.nodenames import complaint, matcher


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("node-1", ["node-1"], ["node-10", "node-2", "xnode-1"]),
        ("n[01-16]", ["n01", "n09", "n16"], ["n1", "n00", "n17", "n001", "n16x"]),
        ("n[1-10]", ["n1", "n9", "n10"], ["n01", "n11", "n0", "n"]),
        ("n[8-11,20]", ["n8", "n11", "n20"], ["n08", "n12", "n2"]),
        ("rack3-*", ["rack3-a", "rack3-"], ["rack30", "rack3"]),
        ("n?", ["n1", "nx"], ["n", "n10"]),
        ("r[1-2]-n[1-4]", ["r1-n1", "r2-n4"], ["r3-n1", "r1-n5"]),
        ("n[1-2][10-20]", ["n115", "n220"], ["n315", "n121", "n15"]),
        ("[1-3]*[7-8]-?", ["17-a", "3xx8-b"], ["47-a", "1-a", "17-"]),
        ("*", ["n", "a-b.c"], ["a/b"]),
        ("?", ["?", "n"], ["nn"]),
        ("gpu.example.org", ["gpu.example.org"], ["gpuxexample.org"]),
    ],
)
def test_a_pattern_fits_the_names_that_it_means(pattern, yes, no):
    assert complaint(pattern) == ""
    fits = matcher([pattern])
    assert [name for name in [*yes, *no] if fits(name)] == yes


@pytest.mark.parametrize(
    "pattern", ["", "n[", "n]1", "n[a-b]", "n[9-1]", "n[01-100]", "n[]", "n[[1]]", "x" * 300]
)
def test_what_is_no_pattern_is_told_and_fits_nothing(pattern):
    assert complaint(pattern)
    assert not matcher([pattern])(pattern)


def test_any_of_several_patterns_will_do():
    fits = matcher(["a", "b[1-2]"])
    assert [name for name in ("a", "b1", "b2", "b3", "c") if fits(name)] == ["a", "b1", "b2"]


@pytest.mark.parametrize("pattern", ["*a" * 60 + "b", "[1-9]" * 50 + "x", "*?" * 60 + "x"])
def test_no_pattern_takes_longer_than_its_length(pattern):
    assert not matcher([pattern])("a" * 200 + "1" * 53)
    assert not matcher([pattern])("1" * 253)
