"""Editing and cancelling of many over HTTP and on the command line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plant import Plant, never_ends, node
from tests.served import Served
from zenkei.cli import session
from zenkei.cli.cancel import cancel
from zenkei.cli.complete import offers
from zenkei.cli.edit import edit
from zenkei.cli.events import events
from zenkei.client.failure import Failure

BIG = b"name: big\ncommand: x\ncode: false\nresources: {cpus: 99}\n"


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def served(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    with Served(short_tmp, Plant(node("node-1"), program=never_ends)) as opened:
        monkeypatch.setattr(session, "open", lambda **_: opened.client)
        yield opened


def waiting(served: Served) -> str:
    made = served.client.post("/v1/jobs", BIG)
    served.plant.settle()
    return str(made["id"])


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_an_edit_says_where_the_job_stands_and_events_say_what_changed(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    job = waiting(served)
    assert edit([job, "--priority", "-5", "--nodes", "2-8", "--gpu-type", "A100,H200",
                 "--gpus", "4", "--topology", "rack!"]) == 0  # fmt: skip
    assert out(capsys) == f"{job} pending, queue default, priority -5\n"
    spec = served.client.get(f"/v1/jobs/{job}")["spec"]
    assert (spec["resources"]["least"], spec["resources"]["nodes"]) == (2, 8)
    assert spec["resources"]["node"]["gpu_kinds"] == ["A100", "H200"]
    assert spec["topology"] == {"level": "rack", "required": True}
    events([job])
    assert "edited" in (told := out(capsys))
    assert "resources.nodes: 1 to 2-8" in told


def test_none_takes_a_limit_away(served: Served) -> None:
    job = waiting(served)
    edit([job, "--time-limit", "2h", "--memory", "2GiB"])
    edit([job, "--time-limit", "none", "--memory", "none"])
    assert "time_limit_s" not in served.client.get(f"/v1/jobs/{job}")["spec"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "nothing is to be changed"),
        (["--gpus", "1.5"], "`resources.gpus` cannot be 1.5"),
        (["--nodes", "8-2"], "`resources.nodes.min` is 8"),
    ],
)
def test_a_bad_edit_is_refused_in_words(served: Served, argv: list[str], message: str) -> None:
    job = waiting(served)
    with pytest.raises(Failure) as refused:
        edit([job, *argv])
    assert refused.value.exit_code == 2
    texts = [refused.value.message, *(p["message"] for p in refused.value.problems)]
    assert message in " ".join(texts)


def test_extra_words_of_a_request_are_refused(served: Served) -> None:
    job = waiting(served)
    for path, body in (
        (f"/v1/jobs/{job}/edit", {"priority": 1}),
        (f"/v1/jobs/{job}/edit", {"changes": {}}),
        ("/v1/cancel", {"owner": "ann"}),
    ):
        with pytest.raises(Failure) as refused:
            served.client.post(path, body)
        assert refused.value.exit_code == 2


def test_many_are_cancelled_after_a_count_and_a_question(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [waiting(served), waiting(served)]
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    with pytest.raises(Failure) as refused:
        cancel(["--name", "big"])
    assert (refused.value.code, refused.value.exit_code) == ("not-confirmed", 1)
    assert "2 jobs will be cancelled (2 pending): 2, 1" in out(capsys)
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert cancel(["--name", "big"]) == 0
    assert out(capsys).endswith("2 jobs cancelled\n")
    assert {served.client.get(f"/v1/jobs/{job}")["state"] for job in jobs} == {"cancelled"}


def test_without_a_terminal_yes_is_needed(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(served)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(Failure, match="no terminal to answer from"):
        cancel(["--state", "pending"])
    assert cancel(["--state", "pending", "--dry-run"]) == 0
    assert out(capsys) == "1 job would be cancelled\n"
    assert cancel(["--state", "pending", "--yes", "--json"]) == 0
    assert json.loads(out(capsys))["states"] == {"cancelled": 1}


def test_nothing_that_fits_is_no_error(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert cancel(["--user", "nobody"]) == 0
    assert out(capsys) == "no jobs that fit\n"


@pytest.mark.parametrize("argv", [[], ["1", "--user", "ann"], ["1", "--dry-run"]])
def test_jobs_are_named_by_id_or_by_what_they_are(argv: list[str]) -> None:
    with pytest.raises(Failure) as refused:
        cancel(argv)
    assert refused.value.exit_code == 2


def test_jobs_that_wait_and_queues_are_offered(
    served: Served, monkeypatch: pytest.MonkeyPatch, short_tmp: Path
) -> None:
    monkeypatch.setenv("ZENKEI_HOME", str(short_tmp))
    job = waiting(served)
    assert offers(["edit", ""]) == [job, "-"]
    assert "--priority" in offers(["edit", job, "--"])
    assert "default" in offers(["edit", job, "--queue", ""])
