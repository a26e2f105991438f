"""What a follower prints of a job's stream, and that it comes back when the stream breaks."""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from zenkei.cli.following import Follower, detached, follow
from zenkei.client.failure import Disconnected, Failure
from zenkei.client.sse import Message

JOB = {"id": "4", "name": "n", "state": "preparing", "world": 1}
EXIT = {"code": 3, "by": "job", "text": "exited with code 3"}
END = {"id": "4", "name": "n", "state": "failed", "exit": EXIT, "result": None, "message": ""}


def say(follower: Follower, event: str, data: dict[str, Any], id_: str = "") -> None:
    follower.take(Message(event, json.dumps(data), id_))


def log(*chunks: tuple[int, int, int, str]) -> dict[str, Any]:
    """Chunks of (rank, stream, flags, text)."""
    return {"attempt": 1, "chunks": [[1, *chunk] for chunk in chunks]}


def test_output_goes_to_stdout_and_words_of_zenkei_to_stderr(capsys):
    follower = Follower()
    say(follower, "job", JOB)
    say(follower, "log", log((0, 1, 0, "out\n"), (0, 2, 0, "err\n")))
    say(follower, "end", END)
    out, err = capsys.readouterr()
    assert out == "out\n"
    assert "err\n" in err
    assert err.splitlines()[-1].startswith("zenkei: job 4 exited with code 3")
    assert "the job's own" in err.splitlines()[-1]
    assert follower.exit_code == 3


def test_lines_of_several_ranks_are_marked(capsys):
    follower = Follower(quiet=True)
    say(follower, "job", {**JOB, "world": 2})
    say(follower, "log", log((0, 1, 0, "a\nb\n"), (1, 1, 0, "c\n")))
    assert capsys.readouterr().out == "[0] a\n[0] b\n[1] c\n"


def test_a_line_in_pieces_is_marked_once_and_ended_when_another_rank_speaks(capsys):
    follower = Follower(quiet=True)
    say(follower, "job", {**JOB, "world": 2})
    say(follower, "log", log((0, 1, 1, "half "), (0, 1, 0, "whole\n")))
    say(follower, "log", log((0, 1, 1, "open"), (1, 1, 0, "other\n")))
    assert capsys.readouterr().out == "[0] half whole\n[0] open\n[1] other\n"


def test_lines_of_a_launcher_are_marked_and_remarks_of_zenkei_stand_alone(capsys):
    follower = Follower(quiet=True)
    say(follower, "log", log((-1, 1, 0, "Traceback:\n  main()\n"), (0, 1, 1, "50 %")))
    say(follower, "log", log((-1, 0, 0, "zenkei: the disk was full\n")))
    expected = "[launcher] Traceback:\n[launcher]   main()\n50 %\n-- zenkei: the disk was full --\n"
    assert capsys.readouterr().out == expected


def test_an_open_line_is_ended_where_both_streams_are_one(tmp_path, monkeypatch):
    with (tmp_path / "both").open("w") as one, os.fdopen(os.dup(one.fileno()), "w") as other:
        monkeypatch.setattr(sys, "stdout", one)
        monkeypatch.setattr(sys, "stderr", other)
        follower = Follower(quiet=True)
        say(follower, "job", {**JOB, "world": 2})
        say(follower, "log", log((0, 1, 1, "open"), (1, 2, 0, "err\n"), (0, 1, 0, "out\n")))
    assert (tmp_path / "both").read_text() == "[0] open\n[1] err\n[0] out\n"


def test_escapes_of_a_job_are_shown_not_obeyed(capsys):
    follower = Follower(quiet=True)
    say(follower, "log", log((0, 1, 0, "\x1b]0;owned\x07\n")))
    assert capsys.readouterr().out == "\\x1b]0;owned\\x07\n"


def test_states_of_a_progress_bar_are_left_out_of_a_file(capsys):
    follower = Follower(quiet=True)
    say(follower, "log", log((0, 1, 2, "\r10%"), (0, 1, 0, "\r100%\n")))
    assert "10%\r" not in capsys.readouterr().out


def test_a_second_attempt_is_announced(capsys):
    follower = Follower(quiet=True)
    for attempt in (1, 2):
        state = {"kind": "allocated", "state": "starting", "attempt": attempt, "job": "4"}
        say(follower, "state", state)
    assert capsys.readouterr().err == "zenkei: -- attempt 2 --\n"


def test_json_is_one_object_a_line_and_nothing_else(capsys):
    follower = Follower(as_json=True)
    say(follower, "job", {**JOB, "warnings": ["w"]})
    say(follower, "log", log((0, 1, 0, "x\n")))
    say(follower, "end", END)
    out, err = capsys.readouterr()
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["job", "log", "end"]
    assert err == ""


def test_an_error_in_the_stream_ends_it_with_its_exit_code():
    follower = Follower()
    body = {"status": 404, "error": {"code": "no-such-job", "message": "gone"}}
    with pytest.raises(Failure) as refused:
        say(follower, "error", body)
    assert refused.value.exit_code == 4


class BrokenLine:
    """A client whose streams break after `pieces` messages each."""

    def __init__(self, *streams: list[Message]) -> None:
        self.streams = list(streams)
        self.asked: list[str] = []

    def stream(self, _method: str, path: str, *, after: str, **_query: object):
        self.asked.append(f"{path} {after}")
        yield from self.streams.pop(0)
        raise Disconnected("broke")


def test_a_broken_stream_is_taken_up_after_the_last_message(capsys):
    client = BrokenLine(
        [Message("log", json.dumps(log((0, 1, 0, "b\n"))), "2:1:9")],
        [],
        [Message("end", json.dumps(END), "3:1:9")],
    )

    def first():
        yield Message("job", json.dumps(JOB))
        yield Message("log", json.dumps(log((0, 1, 0, "a\n"))), "1:1:5")
        raise Disconnected("broke")

    follower = Follower()
    follow(client, follower, first(), "/v1/jobs/{job}/follow")  # type: ignore[arg-type]
    assert client.asked == [f"/v1/jobs/4/follow {id_}" for id_ in ("1:1:5", "2:1:9", "2:1:9")]
    assert capsys.readouterr().out == "a\nb\n"


def test_a_stream_that_breaks_before_the_job_is_known_is_not_followed():
    def first() -> Iterator[Message]:
        yield from ()
        raise Disconnected("broke")

    with pytest.raises(Disconnected):
        follow(BrokenLine(), Follower(), first(), "/x")  # type: ignore[arg-type]


def test_detaching_says_how_to_come_back(capsys):
    assert detached("4", as_json=False) == 0
    assert "zenkei logs -f 4" in capsys.readouterr().err
    with pytest.raises(Failure) as refused:
        detached("", as_json=False)
    assert refused.value.exit_code == 130


# -- arrays ----------------------------------------------------------------------------------------
ARRAY = {**JOB, "array": True, "members": {"pending": 3}, "output": True}


def of(member: str, *chunks: tuple[int, int, int, str], attempt: int = 1) -> dict[str, Any]:
    return {**log(*chunks), "job": member, "attempt": attempt}


def test_lines_of_members_begin_with_the_members_id(capsys):
    follower = Follower(quiet=True)
    say(follower, "job", ARRAY)
    say(follower, "log", of("4.0", (0, 1, 0, "a\nb\n")))
    say(follower, "log", of("4.1", (0, 1, 1, "half ")))
    say(follower, "log", of("4.0", (0, 1, 0, "c\n"), (0, 2, 0, "e\n")))
    out, err = capsys.readouterr()
    assert out == "4.0 | a\n4.0 | b\n4.1 | half \n4.0 | c\n"
    assert err == "4.0 | e\n"


def test_lines_of_several_ranks_of_a_member_have_both_marks(capsys):
    follower = Follower(quiet=True)
    say(follower, "job", {**ARRAY, "world": 2})
    say(follower, "log", of("4.2", (1, 1, 0, "x\n"), (-1, 3, 0, "remark\n")))
    assert capsys.readouterr().out == "4.2 | [1] x\n4.2 | -- remark --\n"


def test_a_second_attempt_of_a_member_is_announced_once(capsys):
    follower = Follower()
    for attempt in (1, 2, 2):
        say(follower, "log", of("4.0", (0, 1, 0, "x\n"), attempt=attempt))
    assert capsys.readouterr().err == "zenkei: -- 4.0, attempt 2 --\n"


@pytest.mark.parametrize(
    ("asked", "shown", "told"), [(True, False, 1), (True, True, 0), (False, False, 0)]
)
def test_it_says_where_output_is_that_was_asked_for_and_is_not_shown(capsys, asked, shown, told):
    follower = Follower(output=asked)
    say(follower, "job", {**ARRAY, "output": shown})
    assert capsys.readouterr().err.count("zenkei logs 4.0") == told


def test_a_file_is_told_of_each_tenth_and_of_the_first_failure_only(capsys):
    follower = Follower()
    say(follower, "job", ARRAY)
    for done in range(101):
        failed = int(done > 50) + int(done > 60)
        counts = {"succeeded": done - failed, "failed": failed, "running": 100 - done}
        say(follower, "members", {"members": counts})
    lines = capsys.readouterr().err.splitlines()[1:]
    assert len(lines) == 12
    assert lines[0] == "zenkei: job 4: 0/100 done, 100 running"
    assert "zenkei: job 4: 51/100 done (1 failed), 49 running" in lines
    assert lines[-1] == "zenkei: job 4: 100/100 done (2 failed)"


def test_an_array_that_failed_ends_with_its_counts_and_whose_code_it_is(capsys):
    follower = Follower()
    say(follower, "job", ARRAY)
    end = {**END, "array": True, "members": {"succeeded": 2, "failed": 1}}
    say(follower, "end", end)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "zenkei: array 4: 3/3 done (1 failed)",
        "zenkei: array 4 exited with code 3 (exit code 3 is the job's own)",
    ]


def test_counts_that_were_told_are_not_told_again_at_the_end(capsys):
    follower = Follower()
    say(follower, "job", ARRAY)
    say(follower, "members", {"members": {"failed": 3}})
    say(follower, "end", {**END, "array": True, "members": {"failed": 3}})
    assert capsys.readouterr().err.count("3/3 done (3 failed)") == 1
