"""Numbers with their things; the command line's own, for the sake of its start, says the same."""

import pytest

from zenkei.cli import render
from zenkei.model import wording


@pytest.fixture(params=[wording.count, render.count], ids=["wording", "render"])
def count(request):
    return request.param


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 files"), (1, "1 file"), (2, "2 files"), ("1", "1 file"), ("0.5", "0.5 files")],
)
def test_one_thing_is_not_called_many(count, number, words):
    assert count(number, "file") == words


def test_a_plural_of_its_own_is_used_for_all_but_one(count):
    assert [count(n, "entry is", "entries are") for n in (1, 3)] == ["1 entry is", "3 entries are"]
