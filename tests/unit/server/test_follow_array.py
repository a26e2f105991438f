"""Following an array: counts, and the members' output, each line once, resumed from any message."""

from collections import defaultdict
from typing import Any

import pytest

from tests.plant import Plant, never_ends
from tests.served import ECHO, Served, chunk, data_of
from zenkei.client.failure import Failure
from zenkei.client.sse import Message
from zenkei.model.errors import PermanentEngineError
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Exit
from zenkei.server.loglines import BATCH_CHUNKS
from zenkei.server.member_output import BATCHES, ArrayPosition

THREE = ECHO + b"array: 3\n"


@pytest.fixture
def served(short_tmp):
    with Served(short_tmp, Plant(program=never_ends)) as running:
        yield running


@pytest.fixture
def array(served):
    """Three members that run."""
    job = served.submit(THREE)
    served.plant.settle()
    return job


def write(served: Served, job: str, member: int, *lines: str, attempt: int = 1) -> None:
    name = AttemptId.parse(f"{job}.{member}/{attempt}")
    served.plant.engine.write(name, "log/0", b"".join(chunk(line) for line in lines))


def end(served: Served, job: str, *codes: int) -> None:
    """Members end, in their order."""
    for member, code in enumerate(codes):
        served.plant.engine.finish(AttemptId.parse(f"{job}.{member}/1"), Exit(code=code))
    served.plant.settle()


def texts(messages: list[Message]) -> dict[str, str]:
    """Output by member."""
    found: dict[str, str] = defaultdict(str)
    for message in messages:
        if message.event == "log":
            data = data_of(message)
            found[data["job"]] += "".join(line[4] for line in data["chunks"])
    return dict(found)


def logs_of(served: Served, job: str, after: str = "", **query: Any) -> list[Message]:
    return list(served.client.stream("GET", f"/v1/jobs/{job}/logs", after=after, **query))


def test_an_array_is_followed_as_counts_to_its_end(served):
    job = served.submit(THREE)
    stream = served.follow(job)
    first = next(stream)
    assert data_of(first)["members"] == {"preparing": 3}
    served.plant.settle()
    end(served, job, 0, 1, 2)
    seen = list(stream)
    last = data_of(seen[-1])
    assert last["members"] == {"succeeded": 1, "failed": 2}
    assert last["exit"]["code"] == 1
    assert texts(seen) == {}


def test_what_kept_all_members_from_starting_is_told_of_the_array(served, monkeypatch):
    def refuse(*_args: object) -> None:
        raise PermanentEngineError("no launcher here")

    monkeypatch.setattr(served.plant.engine, "check", refuse)
    job = served.submit(THREE)
    served.plant.settle()
    last = data_of(list(served.follow(job))[-1])
    assert last["message"] == "no launcher here"
    assert served.client.get(f"/v1/jobs/{job}")["message"] == "no launcher here"


def test_output_of_all_members_is_merged_as_it_is_written(served, array):
    stream = served.follow(array, logs=True)
    assert data_of(next(stream))["output"] is True
    write(served, array, 2, "two\n")
    seen = [next(m for m in stream if m.event == "log")]
    assert texts(seen) == {f"{array}.2": "two\n"}
    write(served, array, 0, "zero\n")
    seen += [next(m for m in stream if m.event == "log")]
    write(served, array, 2, "last\n")
    end(served, array, 0, 0, 0)
    seen += list(stream)
    assert texts(seen) == {f"{array}.2": "two\nlast\n", f"{array}.0": "zero\n"}
    assert seen[-1].event == "end"


def test_a_submit_is_followed_with_the_output_of_its_members(served):
    stream = served.client.stream("POST", "/v1/jobs", THREE, follow=True)
    job = data_of(next(stream))["id"]
    served.plant.settle()
    write(served, job, 1, "hello\n")
    end(served, job, 0, 0, 0)
    assert texts(list(stream)) == {f"{job}.1": "hello\n"}


def test_a_quiet_submit_is_followed_without_output(served):
    stream = served.client.stream("POST", "/v1/jobs", ECHO, follow=True, quiet=True)
    job = data_of(next(stream))["id"]
    served.plant.settle()
    served.plant.engine.write(AttemptId.parse(f"{job}/1"), "log/0", chunk("x\n"))
    served.plant.engine.finish(AttemptId.parse(f"{job}/1"), Exit(code=0))
    served.plant.settle()
    assert "log" not in {m.event for m in stream}


def test_a_follower_resumes_after_any_message_without_gap_or_duplicate(served, array):
    stream = served.follow(array, logs=True)
    seen = [next(stream)]
    for i in range(3):
        for member in (2, 0):
            write(served, array, member, f"{member}-{i}\n")
            seen += [next(m for m in stream if m.event == "log")]
    end(served, array, 0)
    write(served, array, 1, "late\n")
    end(served, array, 0, 0, 0)
    seen += list(stream)
    whole = texts(seen)
    assert whole[f"{array}.2"] == "2-0\n2-1\n2-2\n"
    for at, message in enumerate(seen):
        if message.id:
            rest = list(served.follow(array, after=message.id, logs=True))
            before, after = texts(seen[: at + 1]), texts(rest)
            assert {m: before.get(m, "") + after.get(m, "") for m in whole} == whole


def test_a_talkative_member_does_not_keep_the_others_waiting(served, array):
    many = (BATCHES + 2) * BATCH_CHUNKS
    write(served, array, 0, *(f"{i}\n" for i in range(many)))
    write(served, array, 1, "short\n")
    end(served, array)
    stream = served.follow(array, logs=True)
    order = [data_of(m)["job"] for m in _until_text(stream, "short\n")]
    assert order == [f"{array}.0"] * BATCHES + [f"{array}.1"]
    end(served, array, 0, 0, 0)
    rest = texts(list(stream))
    assert rest[f"{array}.0"].endswith(f"{many - 1}\n")


def _until_text(stream, text: str) -> list[Message]:
    found = []
    for message in stream:
        if message.event == "log":
            found.append(message)
            if data_of(message)["chunks"][-1][4] == text:
                return found
    raise AssertionError(f"{text!r} never came")


def test_of_an_array_that_is_larger_than_wished_only_the_counts_are_followed(served, array):
    write(served, array, 0, "x\n")
    stream = served.follow(array, logs=True, most_members=2)
    assert data_of(next(stream))["output"] is False
    end(served, array, 0, 0, 0)
    assert texts(list(stream)) == {}
    assert texts(list(served.follow(array, logs=True, most_members=3))) == {f"{array}.0": "x\n"}


def test_logs_of_an_array_are_those_of_its_members_in_their_order(served, array):
    for member in (2, 1, 0):
        write(served, array, member, f"{member}a\n", f"{member}b\n")
    seen = logs_of(served, array)
    assert list(texts(seen).items()) == [
        (f"{array}.{member}", f"{member}a\n{member}b\n") for member in range(3)
    ]
    assert [seen[0].event, seen[-1].event] == ["job", "end"]
    for at, message in enumerate(seen):
        if message.id:
            before, after = texts(seen[: at + 1]), texts(logs_of(served, array, message.id))
            assert before | after == texts(seen)


def test_the_last_lines_are_those_of_each_member(served, array):
    for member in range(3):
        write(served, array, member, *(f"{member}-{i}\n" for i in range(5)))
    wanted = {f"{array}.{member}": f"{member}-3\n{member}-4\n" for member in range(3)}
    assert texts(logs_of(served, array, tail=2)) == wanted
    stream = served.client.stream("GET", f"/v1/jobs/{array}/logs", tail=2, follow=True)
    seen = _until_text(stream, "2-4\n")
    write(served, array, 1, "new\n")
    end(served, array, 0, 0, 0)
    seen += list(stream)
    assert texts(seen) == wanted | {f"{array}.1": "1-3\n1-4\nnew\n"}
    assert "members" not in {m.event for m in seen}


def test_all_attempts_of_a_member_are_shown(served):
    job = served.submit(THREE + b"retry: {limit: 1, backoff: 1s}\n")
    served.plant.settle()
    write(served, job, 1, "first\n")
    end(served, job, 0, 1, 0)
    served.plant.settle(seconds=5)
    write(served, job, 1, "second\n", attempt=2)
    served.plant.engine.finish(AttemptId.parse(f"{job}.1/2"), Exit(code=0))
    served.plant.settle()
    assert texts(logs_of(served, job)) == {f"{job}.1": "first\nsecond\n"}
    assert texts(logs_of(served, job, follow=True)) == {f"{job}.1": "first\nsecond\n"}
    assert texts(logs_of(served, job, follow=True, tail=5)) == {f"{job}.1": "second\n"}
    assert texts(logs_of(served, job, follow=True, attempt=1)) == {f"{job}.1": "first\n"}


def test_exact_bytes_are_those_of_one_member(served, array):
    with pytest.raises(Failure) as refused:
        b"".join(served.client.fetch(f"/v1/jobs/{array}/logs", raw=True))
    assert refused.value.exit_code == 2
    assert f"zenkei logs --raw {array}.0" in refused.value.hint


@pytest.mark.parametrize("text", ["x", "1;2", "1;2/1:", "1;2/1:a", "-1", "1;2/-1:3", "1:2:3", "²"])
@pytest.mark.parametrize("query", [{"follow": True}, {"follow": False}])
def test_an_event_id_that_was_never_given_is_refused(served, array, text, query):
    with pytest.raises(Failure) as refused:
        logs_of(served, array, text.encode().decode("latin-1"), **query)
    assert refused.value.code == "bad-event-id"


def test_positions_survive_the_wire():
    offsets = {AttemptId(JobId(7, 3), 2): (5, 6), AttemptId(JobId(7, 11), 1): (4,)}
    for position in (ArrayPosition(), ArrayPosition(seq=9, offsets=offsets)):
        assert ArrayPosition.parse(position.text(), 7) == position
