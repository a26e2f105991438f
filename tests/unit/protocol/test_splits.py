"""Splits and orders: the same numbers as ever, and what cannot be is refused."""

from __future__ import annotations

import hashlib

import pytest

from zenkei.protocol import splits
from zenkei.protocol.splits import Split

WORDS = [int.from_bytes(hashlib.sha256(b"%d" % n).digest()[:8], "little") for n in range(12)]
THREE = Split((("train", 0.5), ("val", 0.25), ("test", 0.25)), seed=7)


def dealt(words, split):
    return [list(part) for part in splits.divide(words, split)]


def test_the_key_and_the_values_of_a_split_never_change():
    assert splits.split_key(0) == 0x9DE058E27EC6428B
    assert splits.split_key(7) == 0xB6ED10EF3F6DA309
    assert splits.values([0, 1, 1 << 63], splits.split_key(7)) == [
        0x6A9FF46938658D4A,
        0xEE19F8A916284A43,
        0x9123A6B6FDAF5DB6,
    ]
    assert splits.group_word("é/日".encode()) == 0x66EA351AA2D6EED0


def test_the_parts_of_a_split_never_change():
    assert dealt(WORDS, THREE) == [[1, 3, 6, 7, 8, 9], [2, 5, 11], [0, 4, 10]]


def test_the_order_of_an_epoch_never_changes():
    assert list(splits.order(10, seed=7, epoch=0)) == [6, 3, 0, 2, 7, 8, 4, 9, 5, 1]
    assert list(splits.order(10, seed=7, epoch=1)) == [2, 4, 8, 6, 9, 0, 5, 1, 3, 7]
    far = splits.order(10, seed=-(1 << 63), epoch=1 << 40)
    assert list(far) == [2, 9, 0, 1, 5, 6, 7, 4, 3, 8]
    content = splits.order(100_000, seed=0, epoch=0).tobytes()
    assert hashlib.blake2b(content, digest_size=8).hexdigest() == "1dbbd28b65c6eeab"


def test_an_order_has_every_number_once():
    assert sorted(splits.order(1000, 3, 4)) == list(range(1000))
    assert list(splits.order(0)) == []
    assert list(splits.order(1)) == [0]


@pytest.mark.parametrize(
    ("count", "expected"), [(0, [0, 0, 0]), (1, [1, 1, 1]), (2, [1, 2, 2]), (10, [5, 8, 10])]
)
def test_counts_are_exact(count, expected):
    assert splits.cuts(count, THREE) == expected


def test_fractions_mean_their_decimals_and_not_the_nearest_double():
    tenths = Split(tuple((f"p{n}", 0.1) for n in range(10)))
    assert splits.cuts(1000, splits.check(tenths)) == list(range(100, 1001, 100))
    thirds = Split((("a", 1 / 3), ("b", 1 / 3), ("c", 1 / 3)))
    assert splits.cuts(9, splits.check(thirds)) == [3, 6, 9]
    assert splits.cuts(5, Split((("half", 0.5),))) == [3]
    assert splits.cuts(10, Split((("less than it looks", 0.15),))) == [2]


def test_another_seed_deals_anew():
    words = [splits.group_word(b"%d" % number) for number in range(2000)]
    one, other = (set(dealt(words, Split((("a", 0.5),), seed))[0]) for seed in (1, 2))
    assert 420 < len(one & other) < 580


def test_what_is_left_over_is_in_no_part():
    (only,) = dealt(WORDS, Split((("train", 0.5),), seed=7))
    assert only == dealt(WORDS, THREE)[0]


def test_a_part_that_is_divided_later_keeps_what_it_had():
    train, rest = dealt(WORDS, Split((("train", 0.5), ("rest", 0.5)), seed=7))
    same, val, test = dealt(WORDS, THREE)
    assert train == same
    assert sorted(val + test) == rest


def test_the_same_content_is_on_one_side_and_counts_once():
    parts = dealt(WORDS[:4] + [WORDS[0]] * 50, Split((("a", 0.5), ("b", 0.5)), seed=1))
    copies = [index for index in range(54) if index == 0 or index >= 4]
    assert sum(set(copies) <= set(part) for part in parts) == 1
    assert sorted(len(set(part) - set(copies[1:])) for part in parts) == [2, 2]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(()), "1 to 1000 parts"),
        (Split((("a", 0.6), ("b", 0.6))), "1 together at most, not 1.2"),
        (Split((("a", 0.0),)), "above 0"),
        (Split((("a", float("nan")),)), "above 0"),
        (Split((("a", 0.1), ("a", 0.1))), "not twice"),
        (Split((("", 0.1),)), "cannot have the name"),
        (Split((("x" * 65, 0.1),)), "cannot have the name"),
        (Split((("a\n", 0.1),)), "cannot have the name"),
        (Split((("a", 0.1),), by="size"), "not by 'size'"),
        (Split((("a", 0.1),), seed=1 << 63), "64 bits"),
    ],
)
def test_a_split_that_cannot_be_is_refused(split, message):
    with pytest.raises(ValueError, match=message):
        splits.check(split)
