"""Following: everything once, in order, resumed from any message, over attempts."""

import threading

import pytest

from tests.plant import Plant, never_ends
from tests.served import ECHO, Served, chunk, data_of, text_of
from zenkei.client.failure import Failure
from zenkei.client.sse import Message
from zenkei.model.ids import AttemptId
from zenkei.model.job import Exit
from zenkei.server.follow import Position


def kinds(messages: list[Message]) -> list[str]:
    return [data_of(m)["kind"] if m.event == "state" else m.event for m in messages]


def until(stream, event: str) -> list[Message]:
    """Messages up to the first `event`."""
    found = []
    for message in stream:
        found.append(message)
        if message.event == event or data_of(message).get("kind") == event:
            return found
    raise AssertionError(f"the stream ended before {event}: {kinds(found)}")


@pytest.fixture
def served(short_tmp):
    with Served(short_tmp, Plant(program=never_ends)) as running:
        yield running


def write(served: Served, job: str, text: str, at_us: int = 1, attempt: int = 1) -> None:
    served.plant.engine.write(AttemptId.parse(f"{job}/{attempt}"), "log/0", chunk(text, at_us))


def end(served: Served, job: str, code: int = 0, attempt: int = 1) -> None:
    served.plant.engine.finish(AttemptId.parse(f"{job}/{attempt}"), Exit(code=code))
    served.plant.settle()


def test_one_request_submits_and_follows_to_the_kept_result(served):
    stream = served.client.stream("POST", "/v1/jobs", ECHO, follow=True)
    first = next(stream)
    job = data_of(first)["id"]
    served.plant.settle()
    seen = [first, *until(stream, "started")]
    write(served, job, "hello\n")
    seen += until(stream, "log")
    end(served, job, code=3)
    seen += list(stream)
    assert kinds(seen) == [
        "job", "submitted", "prepared", "allocated", "started", "log", "exited", "released", "end",
    ]  # fmt: skip
    assert text_of(seen) == "hello\n"
    last = data_of(seen[-1])
    assert (last["exit"]["code"], last["exit"]["by"]) == (3, "job")
    assert last["result"]["state"] == "sealed"


def test_output_comes_before_the_word_that_the_job_is_over(served):
    job = served.submit()
    served.plant.settle()
    write(served, job, "last words\n")
    end(served, job)
    seen = list(served.follow(job, logs=True))
    assert kinds(seen).index("log") < kinds(seen).index("exited")


def test_a_follower_resumes_after_any_message_without_gap_or_duplicate(served):
    job = served.submit()
    served.plant.settle()
    stream = served.follow(job, logs=True)
    seen = until(stream, "started")
    for i in range(3):
        write(served, job, f"{i}\n", at_us=i + 1)
        seen += until(stream, "log")
    end(served, job)
    seen += list(stream)
    whole = [(m.event, m.data) for m in seen if m.event in ("state", "log")]
    assert text_of(seen) == "0\n1\n2\n"
    for at, message in enumerate(seen[:-1]):
        if not message.id:
            continue
        again = list(served.follow(job, after=message.id, logs=True))
        before = [(m.event, m.data) for m in seen[: at + 1] if m.event in ("state", "log")]
        rest = [(m.event, m.data) for m in again if m.event in ("state", "log")]
        states = [pair for pair in before + rest if pair[0] == "state"]
        assert states == [pair for pair in whole if pair[0] == "state"]
        assert text_of(seen[: at + 1]) + text_of(again) == "0\n1\n2\n"


def test_a_retry_is_followed_into_its_next_attempt(served):
    body = b"command: x\ncode: false\nretry: {limit: 1, backoff: 1s}\n"
    job = served.submit(body)
    served.plant.settle()
    write(served, job, "first\n")
    end(served, job, code=1)
    served.plant.settle(seconds=5)
    write(served, job, "second\n", attempt=2)
    end(served, job, attempt=2)
    seen = list(served.follow(job, logs=True))
    attempts = [(data_of(m)["attempt"], text_of([m])) for m in seen if m.event == "log"]
    assert attempts == [(1, "first\n"), (2, "second\n")]
    only = list(served.client.stream("GET", f"/v1/jobs/{job}/logs", attempt=2))
    assert text_of(only) == "second\n"
    last = list(served.client.stream("GET", f"/v1/jobs/{job}/logs", tail=5))
    assert text_of(last) == "second\n"


def test_logs_of_a_running_job_end_unless_they_are_followed(served):
    job = served.submit()
    served.plant.settle()
    write(served, job, "1\n2\n3\n")
    seen = list(served.client.stream("GET", f"/v1/jobs/{job}/logs", tail=2))
    assert text_of(seen) == "2\n3\n"
    assert kinds(seen) == ["job", "log", "end"]
    stream = served.client.stream("GET", f"/v1/jobs/{job}/logs", tail=1, follow=True)
    assert text_of(until(stream, "log")) == "3\n"
    write(served, job, "4\n")
    assert text_of(until(stream, "log")) == "4\n"
    stream.close()


def test_raw_logs_are_the_exact_bytes(served):
    job = served.submit()
    served.plant.settle()
    data = bytes(range(256)) + b"\x1b[31m\r\n"
    served.plant.engine.write(AttemptId.parse(f"{job}/1"), "log/0", chunk(data))
    assert b"".join(served.client.fetch(f"/v1/jobs/{job}/logs", raw=True)) == data


def test_a_waiting_job_tells_why_once(served):
    job = served.submit(ECHO + b"resources: {gpus: 1}\n")
    stream = served.follow(job)
    served.plant.settle()
    seen = until(stream, "reason")
    assert "no node has any" in data_of(seen[-1])["text"]
    served.client.post(f"/v1/jobs/{job}/cancel")
    served.plant.settle()
    rest = list(stream)
    assert "reason" not in kinds(rest)
    assert data_of(rest[-1])["exit"]["code"] == 130


def test_progress_of_the_preparation_is_shown(served):
    job = served.submit()
    served.services.progress.say(int(job), "resolving 12 packages")
    stream = served.follow(job)
    assert data_of(until(stream, "progress")[-1])["text"] == "resolving 12 packages"
    stream.close()


def test_a_job_that_does_not_exist_is_refused_before_the_stream(served):
    with pytest.raises(Failure) as refused:
        next(served.follow("77"))
    assert refused.value.exit_code == 4


@pytest.mark.parametrize("text", ["x", "1", "1:2", "1:2:a", "-1:0:", "1:-2:", "1:2:3,-4", "::"])
def test_an_event_id_that_was_never_given_is_refused(served, text):
    job = served.submit()
    with pytest.raises(Failure) as refused:
        next(served.follow(job, after=text))
    assert refused.value.code == "bad-event-id"


def test_positions_survive_the_wire():
    for position in (Position(), Position(5), Position(5, 2, (1, 2, 3))):
        assert Position.parse(str(position)) == position


def test_an_error_in_the_middle_of_a_stream_is_told_and_ends_it(served, monkeypatch):
    job = served.submit()
    stream = served.follow(job)
    until(stream, "submitted")

    def fail(*_: object) -> None:
        raise ZeroDivisionError("inner")

    monkeypatch.setattr(served.plant.feed, "after", fail)
    served.plant.settle()
    (last,) = list(stream)
    assert (last.event, data_of(last)["status"]) == ("error", 500)
    assert "inner" not in last.data


def test_a_hundred_followers_of_one_job_all_see_its_end(served):
    job = served.submit()
    served.plant.settle()
    seen: list[str] = []

    def watch() -> None:
        seen.append(list(served.follow(job))[-1].event)

    threads = [threading.Thread(target=watch) for _ in range(100)]
    for thread in threads:
        thread.start()
    end(served, job)
    for thread in threads:
        thread.join(60)
    assert seen == ["end"] * 100
