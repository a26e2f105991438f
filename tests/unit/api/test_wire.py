"""The wire: what ids, sets and impossible texts become; which versions understand each other."""

import json

import pytest

from zenkei.api import version
from zenkei.api.errors import body_of
from zenkei.api.wire import dumps
from zenkei.model.errors import InvalidInput, Location, Problem
from zenkei.model.event import Held
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import HoldReason, JobState
from zenkei.model.resources import DeviceShare


def test_ids_and_shares_have_the_form_that_people_type():
    value = {"job": JobId(4, 2), "attempt": AttemptId(JobId(4), 1), "share": DeviceShare(0, 500)}
    assert json.loads(dumps(value)) == {
        "job": "4.2",
        "attempt": "4/1",
        "share": {"index": 0, "milli": 500},
    }


def test_enums_and_frozen_values_are_written_by_their_fields():
    value = {"state": JobState.HELD, "holds": frozenset(["b", "a"]), "body": Held(reasons=())}
    found = json.loads(dumps(value))
    assert found == {"state": "held", "holds": ["a", "b"], "body": {"reasons": [], "by": ""}}


def test_bytes_that_are_no_text_are_shown_and_break_nothing():
    name = b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    held = Held(reasons=(HoldReason.USER,), by=name)
    found = json.loads(dumps({"path": name, "body": held, "list": [name], "fine": "日本"}))
    assert found["path"] == "caf\\xe9.txt"
    assert found["body"] == {"reasons": ["user"], "by": "caf\\xe9.txt"}
    assert found["list"] == ["caf\\xe9.txt"]
    assert found["fine"] == "日本"


def test_what_has_no_form_is_refused():
    with pytest.raises(TypeError):
        dumps({"x": object()})


def test_an_error_carries_all_its_problems_with_their_places():
    problem = Problem(code="c", message="m", hint="h", at=Location(file="f", line=1, column=2))
    body = body_of(InvalidInput("bad", "all wrong", problems=(problem,)))
    assert body["error"]["problems"] == [
        {"code": "c", "message": "m", "hint": "h", "at": {"file": "f", "line": 1, "column": 2}}
    ]


def test_a_side_that_speaks_this_protocol_is_understood():
    assert version.daemon_refuses(version.PROTOCOL) == ""
    assert version.client_refuses(version.PROTOCOL) == ""


def test_a_request_without_the_header_is_served():
    assert version.daemon_refuses(0) == ""


def test_a_newer_side_is_refused_in_words():
    assert "newer" in version.daemon_refuses(version.PROTOCOL + 1)
    assert "newer" in version.client_refuses(version.PROTOCOL + 1)
    assert "older" in version.client_refuses(0)


@pytest.mark.parametrize("text", [None, "", "x", "-1", "1.0", "١"])
def test_a_header_that_is_no_number_is_no_protocol(text):
    assert version.number(text) == 0
