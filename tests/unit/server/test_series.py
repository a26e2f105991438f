"""Metrics are summed up while they are read, whatever a program has written."""

import json
import math

import pytest

from zenkei.model.ids import AttemptId, JobId
from zenkei.protocol import metrics
from zenkei.server import series
from zenkei.server.series import PIECE, Summaries, number, read_rank


def stream(*points, name="loss"):
    """A rank's file: (step, value) in order."""
    key = metrics.name_key(name)
    data = [metrics.encode_name(name)]
    data += [metrics.encode_point(i, s, v, key) for i, (s, v) in enumerate(points)]
    return b"".join(data)


def views(data, *, name="", points=0):
    def read(offset, limit):
        return data[offset : offset + limit]

    return [one.view() for one in read_rank(3, read, name=name, points=points)]


def test_latest_extremes_and_number_of_points_are_told():
    (found,) = views(stream((0, 2.0), (1, 5.0), (2, 1.0), (1, 3.0)))
    assert (found["rank"], found["name"], found["count"]) == (3, "loss", 4)
    assert found["last"] == {"at_us": 3, "step": 1, "value": 3.0}
    assert (found["least"], found["most"]) == (1.0, 5.0)
    assert "points" not in found


def test_nan_and_infinities_are_texts_that_json_can_hold():
    (found,) = views(stream((0, math.nan), (1, math.inf), (2, -math.inf), (3, math.nan)), points=10)
    assert [p["value"] for p in found["points"]] == ["nan", "inf", "-inf", "nan"]
    assert (found["least"], found["most"]) == ("-inf", "inf")
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_series_of_nothing_but_nan_has_no_extremes():
    (found,) = views(stream((0, math.nan)))
    assert (found["least"], found["most"], found["last"]["value"]) == (None, None, "nan")


def test_a_point_without_a_step_has_none():
    (found,) = views(stream((metrics.NO_STEP, 1.0)))
    assert found["last"]["step"] is None


def test_only_the_name_that_is_asked_for():
    data = stream((0, 1.0)) + stream((0, 2.0), name="acc")
    assert [found["name"] for found in views(data)] == ["loss", "acc"]
    assert [found["name"] for found in views(data, name="acc")] == ["acc"]
    assert views(data, name="other") == []


def test_a_long_series_is_thinned_and_keeps_its_peak():
    count = 3 * PIECE // metrics.SIZE
    values = [(i, 1e6 if i == count // 2 else math.sin(i)) for i in range(count)]
    (found,) = views(stream(*values), points=100)
    assert found["count"] == count
    assert len(found["points"]) <= 120
    assert max(p["value"] for p in found["points"]) == 1e6


def test_a_program_that_makes_up_names_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(series, "MOST_SERIES", 5)
    data = b"".join(stream((0, 1.0), name=f"n{i}") for i in range(50))
    assert len(views(data)) == 5


@pytest.mark.parametrize("data", [b"", b"\0" * 31, b"\xff" * 1000], ids=["empty", "torn", "noise"])
def test_what_is_no_metric_gives_nothing(data):
    assert views(data) == []


def test_numbers_stay_numbers():
    assert number(1.5) == 1.5


class Growing:
    """A rank's stream while its program runs; counts the bytes that are read."""

    def __init__(self, data=b""):
        self.data = data
        self.bytes = 0

    def read(self, offset, limit):
        piece = self.data[offset : offset + limit]
        self.bytes += len(piece)
        return piece


ATTEMPT = AttemptId(JobId(1), 1)


@pytest.mark.parametrize("torn", [0, 1, 31, 40])
def test_asking_again_reads_only_what_is_new_and_says_the_same(torn):
    first = stream(*((i, float(i % 7)) for i in range(1000)))
    then = stream((7, 9.0), (8, math.nan)) + stream((0, 0.5), name="acc")
    whole, summaries = first + then, Summaries()
    growing = Growing(whole[: len(first) + torn])
    summaries.views(ATTEMPT, 3, growing.read, name="")
    growing.data, growing.bytes = whole, 0
    assert summaries.views(ATTEMPT, 3, growing.read, name="") == views(whole)
    assert growing.bytes == len(then) - torn
    assert summaries.views(ATTEMPT, 3, growing.read, name="acc") == views(whole, name="acc")
    assert summaries.views(ATTEMPT, 3, growing.read, name="no") == []


def test_ranks_and_attempts_are_summed_up_apart():
    summaries = Summaries()
    streams = {
        (ATTEMPT, 0): stream((0, 1.0)),
        (ATTEMPT, 1): stream((0, 2.0)),
        (AttemptId(JobId(1), 2), 0): stream((0, 3.0)),
    }
    for _ in range(2):
        found = [
            summaries.views(attempt, rank, Growing(data).read, name="")[0]["last"]["value"]
            for (attempt, rank), data in streams.items()
        ]
        assert found == [1.0, 2.0, 3.0]


def test_what_was_asked_for_long_ago_is_summed_up_anew():
    summaries = Summaries(most=4)
    growing = {rank: Growing(stream((0, float(rank)))) for rank in range(5)}
    for rank in (0, 1, 2, 3, 4, 0):
        (found,) = summaries.views(ATTEMPT, rank, growing[rank].read, name="")
        assert found["last"]["value"] == rank
    assert growing[0].bytes == 2 * len(growing[0].data)
    assert growing[4].bytes == len(growing[4].data)


def test_a_name_beyond_those_that_are_shown_is_found_if_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(series, "MOST_SERIES", 2)
    data = b"".join(stream((0, 1.0), name=name) for name in ("a", "b", "c"))
    summaries = Summaries()
    assert len(summaries.views(ATTEMPT, 0, Growing(data).read, name="")) == 2
    (found,) = summaries.views(ATTEMPT, 0, Growing(data).read, name="c")
    assert found["name"] == "c"
