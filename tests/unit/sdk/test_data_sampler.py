"""Whose turn a sample is: shards, epochs, and going on in the middle of one."""

from __future__ import annotations

import json

import pytest

from zenkei.protocol import names, splits
from zenkei.sdk import data
from zenkei.sdk.data_sampler import Sampler


def ranks(world: int, samples: int = 10, **keys) -> list[Sampler]:
    return [Sampler(samples, rank=rank, world_size=world, **keys) for rank in range(world)]


def turns(samplers: list[Sampler]) -> list[list[int]]:
    return [list(sampler) for sampler in samplers]


def test_ranks_take_turns_in_one_order():
    order = list(splits.order(12, 7, 0))
    assert turns(ranks(3, 12, seed=7)) == [order[0::3], order[1::3], order[2::3]]
    assert turns(ranks(2, 4, shuffle=False)) == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ("pad", [[0, 4, 8], [1, 5, 9], [2, 6, 0], [3, 7, 1]]),
        ("drop", [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ("uneven", [[0, 4, 8], [1, 5, 9], [2, 6], [3, 7]]),
    ],
)
def test_what_happens_where_ranks_would_not_have_equally_many(ends, expected):
    samplers = ranks(4, shuffle=False, ends=ends)
    assert [len(sampler) for sampler in samplers] == [len(own) for own in expected]
    assert turns(samplers) == expected


def test_more_ranks_than_samples_get_one_each_or_none():
    assert turns(ranks(5, 2, shuffle=False)) == [[0], [1], [0], [1], [0]]
    assert turns(ranks(3, 2, shuffle=False, ends="drop")) == [[], [], []]
    assert turns(ranks(3, 2, shuffle=False, ends="uneven")) == [[0], [1], []]
    assert turns(ranks(2, 0)) == [[], []]


def test_each_epoch_has_another_order_with_and_without_being_told():
    told, untold = Sampler(50, seed=1), Sampler(50, seed=1)
    found = []
    for epoch in range(3):
        told.set_epoch(epoch)
        found.append(list(told))
        assert list(untold) == found[-1] == list(splits.order(50, 1, epoch))
    assert len({tuple(order) for order in found}) == 3


def test_an_epoch_can_be_had_again():
    sampler = Sampler(50, seed=1)
    first = list(sampler)
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_it_goes_on_in_the_middle_whatever_was_fetched_ahead():
    sampler = Sampler(20, seed=3, rank=0, world_size=1)
    ahead = iter(sampler)
    order = [next(ahead) for _ in range(9)]
    sampler.advance(4)
    state = json.loads(json.dumps(sampler.state_dict()))
    other = Sampler(20, seed=99, rank=0, world_size=1)
    other.load_state_dict(state)
    other.set_epoch(0)
    assert len(other) == 16
    assert order[:4] + list(other) == list(splits.order(20, 3, 0))


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_other_ranks_share_what_was_not_done(world):
    before = ranks(4, 24, seed=3)
    done = [index for own in turns(before) for index in own[:2]]
    before[2].advance(1)
    before[2].advance(1)
    after = ranks(world, 24, ends="uneven")
    for sampler in after:
        sampler.load_state_dict(before[2].state_dict())
    rest = [index for own in turns(after) for index in own]
    assert sorted(done + rest) == list(range(24))


def test_a_state_at_the_end_of_an_epoch_is_the_beginning_of_the_next():
    for ends in ("pad", "drop", "uneven"):
        sampler = Sampler(10, ends=ends, rank=0, world_size=4)
        sampler.advance(len(list(sampler)))
        other = Sampler(10, ends=ends, rank=0, world_size=1)
        other.load_state_dict(sampler.state_dict())
        assert (other.epoch, other.position, len(other)) == (1, 0, 10)


def test_what_is_done_after_the_last_was_fetched_counts_for_its_own_epoch():
    sampler = Sampler(8, rank=0, world_size=1)
    list(sampler)
    sampler.advance(4)
    assert (sampler.state_dict()["epoch"], sampler.state_dict()["position"]) == (0, 4)
    sampler.advance(4)
    assert sampler.state_dict()["epoch"] == 1
    assert list(sampler) == list(splits.order(8, 0, 1))


def test_a_state_of_other_data_is_refused():
    state = Sampler(10).state_dict()
    with pytest.raises(ValueError, match="other data: samples 10, and here 11"):
        Sampler(11).load_state_dict(state)
    with pytest.raises(ValueError, match="other data: identity"):
        Sampler(10).load_state_dict({**state, "identity": "b3:1/train"})
    with pytest.raises(ValueError, match="version 2"):
        Sampler(10).load_state_dict({**state, "version": 2})


def test_rank_and_seed_are_those_of_the_job(monkeypatch, tmp_path):
    for name, value in {names.RANK: "1", names.WORLD_SIZE: "4", names.SEED: "7"}.items():
        monkeypatch.setenv(name, value)
    assert list(Sampler(8)) == list(splits.order(8, 7, 0))[1::4]
    (tmp_path / "a").touch()
    files = data.open("x", path=tmp_path).files()
    assert Sampler(files).seed == 7


@pytest.mark.parametrize(
    "keys", [{"ends": "wrap"}, {"rank": 2, "world_size": 2}, {"rank": -1, "world_size": 2}]
)
def test_what_cannot_be_is_refused(keys):
    with pytest.raises(ValueError, match=r"`ends` is one of|rank"):
        Sampler(10, **keys)
