"""The entry: verbs, errors in both forms, and what the hot verbs may not import."""

import json
import subprocess
import sys
from typing import Any

import pytest

from zenkei.cli import entry, errors, run, session
from zenkei.client.failure import Disconnected, Failure, NotRunning
from zenkei.model.errors import InvalidInput, Location, Problem

HEAVY = "asyncio dataclasses fastapi httpx http.client numpy pathlib pydantic rich sqlalchemy typer"
BANNED = [*HEAVY.split(), "yaml", "zenkei.app", "zenkei.model", "zenkei.settings", "zenkei.server"]


def test_a_misspelled_verb_is_met_with_the_nearest(capsys):
    assert entry.main(["rnu"]) == 2
    assert "did you mean `run`" in capsys.readouterr().err


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["version"], ["help"], ["schema"], ["version", "--json"]])
def test_output_that_nobody_can_take_is_told_in_words(words, unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    command = [sys.executable, "-m", "zenkei.cli.entry", *words]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 75
    assert done.stderr.startswith("error: the output cannot be written: No space left on device\n")
    assert len(done.stderr.splitlines()) == 2


def test_help_about_a_verb_is_the_verbs_own(capsys):
    with pytest.raises(SystemExit):
        entry.main(["help", "cancel"])
    assert capsys.readouterr().out.startswith("usage: zenkei cancel ")
    assert entry.main(["help", "cancle"]) == 2
    assert "did you mean `cancel`" in capsys.readouterr().err


def test_help_lists_every_verb(capsys):
    assert entry.main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in entry.VERBS)


def test_the_version_is_told_in_both_forms(capsys):
    assert entry.main(["version", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"version", "protocol"}
    assert entry.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("zenkei ")


def test_json_after_the_dashes_belongs_to_the_job(capsys):
    assert entry.main(["run", "--nodess", "1", "--", "x", "--json"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith("error: ")) == ("", True)
    assert entry.main(["run", "--nodess", "1", "--json", "--", "x"]) == 2
    out, err = capsys.readouterr()
    assert err == ""
    told = json.loads(out)
    assert (told["error"]["code"], told["exit"]) == (
        "usage",
        {"code": 2, "by": "zenkei", "text": "zenkei could not do it"},
    )


def test_every_problem_is_shown_with_its_place_and_hint(capsys):
    problems = tuple(
        Problem(code="c", message=f"m{i}", hint=f"h{i}", at=Location(file="f", line=i, column=1))
        for i in (1, 2)
    )
    code = errors.report(InvalidInput("bad", "all", problems=problems), as_json=False)
    assert code == 2
    shown = capsys.readouterr().err
    assert shown == "error: m1 (f:1:1)\nhint: h1\nerror: m2 (f:2:1)\nhint: h2\n"


def test_an_error_cannot_speak_to_the_terminal(capsys):
    errors.report(Failure("x", "\x1b[2Jgone", hint="\x07"), as_json=False)
    assert "\x1b" not in capsys.readouterr().err


def test_a_defect_is_one_line_and_no_traceback(capsys):
    assert errors.report(ZeroDivisionError("by zero"), as_json=False) == 70
    shown = capsys.readouterr().err
    assert "ZeroDivisionError: by zero" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("verb", ["run", "ps", "logs", "wait", "cancel"])
def test_a_hot_verb_imports_little(verb):
    module = entry.VERBS[verb][0]
    code = f"import sys, zenkei.cli.entry, zenkei.cli.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(set(done.stdout.split()) & set(BANNED)) == []


# -- run's arguments -------------------------------------------------------------------------------
def asked(*argv: str) -> dict[str, Any]:
    own, command = run._split(list(argv))
    assert command is not None
    body, query = run._from_command(run._parser().parse_args(own), command)
    return {"body": body, "query": query}


def test_flags_become_keys_of_a_job_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = asked(
        "--gpus", "1", "--memory", "4GiB", "-p", "numpy", "-p", "torch", "-e", "A=b=c", "--seed",
        "3", "--", "python", "a.py", "--", "--gpus", "9",
    )  # fmt: skip
    assert found["body"] == {
        "command": ["python", "a.py", "--", "--gpus", "9"],
        "flags": {
            "name": "python",
            "seed": "3",
            "resources": {"gpus": "1", "memory": "4GiB"},
            "env": {"packages": ["numpy", "torch"], "vars": {"A": "b=c"}},
        },
    }
    assert found["query"] == {"source": str(tmp_path), "home": False}


@pytest.mark.parametrize("home", ["~", "/"])
def test_nobody_sends_a_home_directory_by_accident(home, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path if home == "~" else "/")
    assert asked("--", "ls")["query"]["home"] is True


@pytest.mark.parametrize(
    "argv",
    [
        ["--"],
        ["a.yaml", "--", "ls"],
        ["-f", "a.yaml", "--", "ls"],
        ["a.yaml", "-f", "b.yaml"],
        ["a.yaml", "--gpus", "1"],
        ["a.yaml", "-p", "numpy"],
        ["a.yaml", "--no-code"],
        ["-e", "NOVALUE", "--", "ls"],
        ["--gpu", "1", "--", "ls"],
        ["--", "a\udcff"],
    ],
)
def test_a_wrong_command_line_is_refused_before_any_daemon_starts(argv, capsys, monkeypatch):
    monkeypatch.setattr("zenkei.cli.session.open", lambda: pytest.fail("a daemon was asked"))
    assert entry.main(["run", *argv]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_missing_job_file_says_what_else_there_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert entry.main(["run"]) == 2
    assert "zenkei init" in capsys.readouterr().err


def test_check_needs_no_daemon(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zenkei.cli.session.open", lambda: pytest.fail("a daemon was asked"))
    (tmp_path / "job.yaml").write_text("command: x\nmatrix: {lr: [1, 2]}\n")
    assert entry.main(["run", "--check"]) == 0
    assert "2 members" in capsys.readouterr().out
    (tmp_path / "job.yaml").write_text("comand: x\n")
    assert entry.main(["run", "--check"]) == 2
    assert "job.yaml:1:1" in capsys.readouterr().err


# -- a daemon that goes away -----------------------------------------------------------------------
def broken_session(monkeypatch, failure: Failure) -> tuple[session.Session, list[str]]:
    """A session whose first connection fails; what was started and asked is listed."""
    did: list[str] = []

    def open_(self: object, method: str, *_: object) -> str:
        did.append(method)
        if did.count(method) == 1:
            raise failure
        return "answer"

    monkeypatch.setattr("zenkei.client.client.Client._open", open_)
    monkeypatch.setattr("zenkei.cli.starting.start", lambda home: did.append("start"))
    return session.Session("/home"), did


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_missing_daemon_is_started_and_asked_again(monkeypatch, method):
    client, did = broken_session(monkeypatch, NotRunning("nobody"))
    answer: Any = client._open(method, "/", {}, b"", {})
    assert answer == "answer"
    assert did == [method, "start", method]


def test_reading_from_a_daemon_that_was_ending_is_repeated(monkeypatch):
    client, did = broken_session(monkeypatch, Disconnected("gone"))
    answer: Any = client._open("GET", "/", {}, b"", {})
    assert answer == "answer"
    assert did == ["GET", "start", "GET"]


def test_a_change_that_may_have_happened_is_not_asked_for_twice(monkeypatch):
    client, did = broken_session(monkeypatch, Disconnected("gone"))
    with pytest.raises(Disconnected):
        client._open("POST", "/", {}, b"", {})
    assert did == ["POST"]
