"""Metrics are summed up while they are read, whatever a program has written."""

import json
import math

import pytest

from zenkei.protocol import metrics
from zenkei.server import series
from zenkei.server.series import PIECE, number, read_rank


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
