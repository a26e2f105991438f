"""Splits, orders and samplers: what never happens, whatever the files, seeds and ranks."""

from __future__ import annotations

from array import array
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import tries
from zenkei.protocol import dataindex, splits
from zenkei.protocol.dataindex import Index, Row
from zenkei.protocol.splits import Split
from zenkei.sdk import data_numpy
from zenkei.sdk.data_sampler import ENDS, Sampler

WORDS = st.lists(st.integers(1, (1 << 64) - 1), max_size=60)
SEEDS = st.integers(-(1 << 63), (1 << 63) - 1)


@st.composite
def some_splits(draw: st.DrawFn) -> Split:
    ends = sorted(set(draw(st.lists(st.integers(1, 1000), min_size=1, max_size=5))))
    shares = [ends[0], *(b - a for a, b in pairwise(ends))]
    parts = tuple((f"p{number}", share / 1000) for number, share in enumerate(shares))
    return splits.check(Split(parts, draw(SEEDS), draw(st.sampled_from(["file", "group"]))))


def sides(words: list[int], split: Split) -> dict[int, int]:
    """Part of each word; the number of parts for what is left over."""
    found = dict.fromkeys(words, len(split.parts))
    for number, part in enumerate(splits.divide(words, split)):
        found.update({words[index]: number for index in part})
    return found


@given(words=WORDS, split=some_splits())
def test_each_part_has_its_exact_share_rounded_up_or_down(words, split):
    distinct = sorted(set(words))
    parts = splits.divide(distinct, split)
    for (_, fraction), part in zip(split.parts, parts, strict=True):
        assert abs(len(part) - len(distinct) * fraction) < 1 + 1e-6
    dealt = [index for part in parts for index in part]
    assert len(set(dealt)) == len(dealt) == splits.cuts(len(distinct), split)[-1]
    assert all(list(part) == sorted(part) for part in parts)


@given(words=WORDS, new=st.integers(1, (1 << 64) - 1), split=some_splits())
def test_what_is_added_or_removed_moves_at_most_one_other_over_each_border(words, new, split):
    less = [word for word in words if word != new]
    before, after = sides(less, split), sides([*less, new], split)
    moved = [(before[word], after[word]) for word in set(less) if before[word] != after[word]]
    borders = [{*range(min(pair), max(pair))} for pair in moved]
    crossed = [border for crossing in borders for border in crossing]
    assert len(set(crossed)) == len(crossed) <= len(split.parts)


@given(words=WORDS, copies=st.lists(st.integers(0, 59), max_size=60), split=some_splits())
def test_no_content_is_on_two_sides_and_copies_change_nothing(words, copies, split):
    more = words + [words[number] for number in copies if number < len(words)]
    found = splits.divide(more, split)
    where = [{more[index] for index in part} for part in found]
    assert sum(map(len, where)) == len(set().union(*where))
    assert where == [{words[index] for index in part} for part in splits.divide(words, split)]


@given(words=WORDS, split=some_splits())
def test_columns_give_the_same_parts(words, split):
    expected = splits.divide(words, split)
    found = data_numpy.divide(array("Q", words), split)
    assert [part.tolist() for part in found] == [part.tolist() for part in expected]


@given(count=st.integers(0, 300), seed=SEEDS, epoch=st.integers(0, 1 << 40))
def test_columns_give_the_same_order(count, seed, epoch):
    expected = splits.order(count, seed, epoch)
    assert data_numpy.order(count, seed, epoch).tolist() == expected.tolist()
    assert sorted(expected) == list(range(count))


NAMES = st.binary(min_size=1, max_size=3).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
ROWS = st.lists(
    st.tuples(
        st.lists(NAMES, min_size=1, max_size=3).map(b"/".join),
        st.sampled_from([bytes(32), b"a" * 32, b"b" * 32]) | st.binary(min_size=32, max_size=32),
        st.integers(0, 1 << 50),
        st.sampled_from([dataindex.FILE, dataindex.LINK, dataindex.EMPTY_DIRECTORY]),
        st.booleans(),
    ).map(lambda fields: Row(*fields)),
    max_size=20,
    unique_by=lambda row: row.path,
)


@given(rows=ROWS, by=st.sampled_from(["file", "group"]))
def test_an_index_gives_back_the_rows_in_order_and_the_same_words_by_columns(rows, by):
    index = Index(dataindex.encode(b"d" * 32, rows))
    index.verify()
    by_folder = sorted(rows, key=lambda row: row.path.rpartition(b"/")[::2])
    assert [index[number] for number in range(len(index))] == by_folder
    files = [number for number, row in enumerate(by_folder) if row.kind == dataindex.FILE]
    assert list(index.files()) == files
    assert data_numpy.words(index, by).tolist() == index.words(by)


@given(content=st.binary(max_size=300), at=st.integers(0, 400), rows=ROWS)
def test_an_index_that_was_altered_is_refused_or_stays_inside_itself(content, at, rows):
    whole = dataindex.encode(b"d" * 32, rows)
    altered = whole[:at] + content + whole[at + len(content) :]
    if altered == whole:
        return
    with pytest.raises(ValueError, match="index"):
        Index(altered).verify()


@settings(max_examples=tries(200))
@given(
    samples=st.integers(1, 60),
    worlds=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    steps=st.lists(st.integers(0, 7), min_size=4, max_size=4),
    ends=st.sampled_from(ENDS),
    seed=st.integers(0, 100),
)
def test_an_epoch_that_was_gone_on_with_by_other_ranks_has_each_sample_once(
    samples, worlds, steps, ends, seed
):
    done: list[int] = []
    state = Sampler(samples, seed=seed, ends=ends, rank=0, world_size=1).state_dict()
    for world, most in zip(worlds, steps, strict=False):
        ranks = [Sampler(samples, ends=ends, rank=rank, world_size=world) for rank in range(world)]
        for sampler in ranks:
            sampler.load_state_dict(state)
        ends_here = world == worlds[-1]
        turn = [list(sampler) for sampler in ranks]
        taken = min(map(len, turn)) if ends_here else min(most, *map(len, turn))
        done += [own[step] for step in range(taken) for own in turn]
        ranks[0].advance(taken)
        state = ranks[0].state_dict()
        if state["epoch"] > 0:
            break
    repeated = len(done) - len(set(done))
    assert repeated < world if ends == "pad" else repeated == 0
    assert done[: len(set(done))] == list(splits.order(samples, seed, 0))[: len(set(done))]
    if ends == "pad" and state["epoch"] > 0:
        assert set(done) == set(range(samples))
