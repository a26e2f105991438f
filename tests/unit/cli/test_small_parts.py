"""Pure parts of the verbs: texts of events, times, sizes, actions, what a TAB offers."""

import os

import pytest

from zenkei.cli import (
    complete,
    describing,
    du,
    events,
    explain,
    helping,
    metrics,
    nodes,
    prune,
    ps,
    render,
)
from zenkei.cli.entry import VERBS
from zenkei.cli.nouns import act
from zenkei.client.failure import Failure


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("allocated", {"attempt": 2, "parts": [{"node": "a"}, {"node": "b"}]}, "attempt 2 on a, b"),
        (
            "exited",
            {"attempt": 1, "reason": "nonzero_exit", "exit": {"code": 3, "signal": 0, "rank": 2}},
            "attempt 1: nonzero_exit, code 3 of rank 2",
        ),
        (
            "exited",
            {"attempt": 1, "reason": "nonzero_exit", "exit": {"code": None, "signal": 9}},
            "attempt 1: nonzero_exit, signal 9",
        ),
        ("released", {"attempt": 1, "failure": "none", "message": ""}, "attempt 1"),
        ("released", {"attempt": 1, "message": "why"}, "attempt 1: why"),
        ("held", {"reasons": ["user"], "by": "ann"}, "user by ann"),
        ("cancelled", {"by": "ann"}, "by ann"),
        ("rejected", {"message": "never\x1b[31m"}, "never\\x1b[31m"),
        ("prepare_failed", {"message": "no mpi\nhint: add it"}, "no mpi; hint: add it"),
        ("resumed", {"attempt": 2, "step": 120}, "attempt 2: step 120"),
        ("checkpointed", {"attempt": 1, "step": 0, "parts": []}, "attempt 1: step 0"),
        (
            "checkpoint_lost",
            {"attempt": 1, "step": 7, "reason": "it is torn", "left": -1},
            "attempt 1: step 7: it is torn",
        ),
        ("of-a-newer-version", {}, ""),
    ],
)
def test_an_event_says_what_a_person_wants_to_know(kind, body, text):
    assert events.detail(kind, body) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2592000), ("1.5h", 5400), ("90m", 5400), ("7", 7), ("0", 0)]
)
def test_an_age_is_read(text, seconds):
    assert prune.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1d", "1y", "1e9", "1d2h", "٣d" * 9])
def test_an_age_that_is_none_is_refused(text):
    with pytest.raises(Failure) as caught:
        prune.seconds(text)
    assert caught.value.exit_code == 2


def test_a_file_that_is_linked_twice_counts_once_and_a_link_is_not_followed(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "c").symlink_to("/")
    once = du.size_of(str(tmp_path / "a"), set())
    assert once >= 100_000
    assert once <= du.size_of(str(tmp_path), set()) < once + 50_000


def test_the_home_is_measured_by_kind_and_by_job(tmp_path):
    (tmp_path / "attempts" / "7" / "1").mkdir(parents=True)
    (tmp_path / "attempts" / "7" / "1" / "log").write_bytes(b"x" * 50_000)
    (tmp_path / "attempts" / ".active").mkdir()
    (tmp_path / "blobs").mkdir()
    found = du.measured(str(tmp_path), 10)
    sizes = {kind["kind"]: kind["bytes"] for kind in found["kinds"]}
    assert [job["job"] for job in found["jobs"]] == ["7"]
    assert sizes["attempts"] >= 50_000
    assert found["bytes"] == sum(sizes.values())
    with pytest.raises(Failure):
        du.measured(str(tmp_path / "nowhere"), 10)


def test_an_action_is_called_or_the_nearest_is_named(capsys):
    said: list[list[str]] = []

    def listed(argv: list[str]) -> int:
        said.append(argv)
        return 0

    actions = {"list": (listed, "all"), "rm": (lambda argv: 3, "one")}
    assert act("env", actions, ["list", "--json"]) == 0
    assert said == [["--json"]]
    assert act("env", actions, ["7", "x"], default="rm") == 3
    assert act("env", actions, ["--help"]) == 0
    assert "list  all" in capsys.readouterr().out
    for argv, hint in ((["lst"], "did you mean `zenkei env list`?"), ([], "zenkei env --help")):
        with pytest.raises(Failure) as caught:
            act("env", actions, argv)
        assert hint in caught.value.hint
        assert caught.value.exit_code == 2


def test_a_tab_offers_verbs_actions_shells_and_flags():
    assert set(VERBS) < set(complete.offers([""]))
    assert complete.offers(["env", ""]) == list(describing.actions("env"))
    assert complete.offers(["completion", ""]) == ["bash", "zsh", "fish"]
    assert "--follow" in complete.offers(["events", "7", "--f"])
    assert "--force" in complete.offers(["result", "fetch", "-"])
    assert complete.offers(["env", "--"]) == []
    assert complete.offers(["run", "--", "-"]) == []
    assert complete.offers(["nonsense", ""]) == []


def test_a_tab_without_a_daemon_offers_nothing_and_starts_none(zenkei_home, capsys):
    assert complete.complete(["show", ""]) == 0
    assert capsys.readouterr().out == ""
    assert list(zenkei_home.iterdir()) == []


def test_a_tab_offers_only_what_begins_as_typed(capsys):
    assert complete.complete(["ex"]) == 0
    assert capsys.readouterr().out.split() == ["explain", "exec"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_describes_itself_without_doing_anything(verb, zenkei_home):
    for action in [*describing.actions(verb)] or [""]:
        parser = describing.parser_of(verb, action)
        assert "--json" in {o for flag in describing.flags(parser) for o in flag.option_strings}
    assert list(zenkei_home.iterdir()) == []


def test_verbs_that_take_jobs_are_completed_with_jobs():
    takes = {
        verb
        for verb in VERBS
        if not describing.actions(verb)
        and {"job", "jobs"} & {a.dest for a in describing.positionals(describing.parser_of(verb))}
    }
    assert takes == set(complete.JOBS)


def test_the_help_forgets_no_verb():
    text = helping.text({**VERBS, "brandnew": ("x", "x", "a new one")})
    assert all(f"  {verb} " in text for verb in VERBS)
    assert "More:\n  brandnew" in text


def test_nodes_are_sorted_as_people_count_and_foreign_gpus_are_not_free():
    def node(name, **keys):
        device = {"kind": "h200", "uuid": "", "memory_bytes": 1}
        devices = [
            {**device, "index": 0, "foreign": False},
            {**device, "index": 1, "foreign": True},
        ]
        known = {"state": "ready", "virtual": False, "reason": "", "held": [], "devices": devices}
        return {"name": name, "cpu_milli": 2000, "memory_bytes": 1 << 30, **known, **keys}

    part = {
        "job": "9",
        "cpu_milli": 500,
        "memory_bytes": 0,
        "devices": [{"index": 0, "milli": 250}],
    }
    text = nodes.nodes_text([node("node-10"), node("node-9", held=[part], reason="\x1b]0;x\x07")])
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["node-9", "node-10"]
    assert "0.75/2 (1 used by others)" in lines[1]
    assert "1.5/2" in lines[1]
    assert "\x1b" not in text


def test_a_waiting_job_that_no_plan_has_seen_is_explained_too():
    job: dict[str, object] = {"id": "1", "name": "n", "state": "pending", "holds": [], "exit": None}
    lines = explain.said({"job": job, "reason": None, "explanation": None})
    assert lines == ["job 1 (n) is pending; the planner has not looked at it yet"]


@pytest.mark.parametrize(("value", "text"), [("nan", "nan"), (None, "-"), (0.1234567, "0.123457")])
def test_numbers_of_metrics_are_short(value, text):
    assert metrics._number(value) == text


@pytest.mark.parametrize(
    ("attempt", "message", "why"),
    [
        (0, "job 4.1, which it waited for, failed\nmore", "job 4.1, which it waited for, failed"),
        (0, "", "never started"),
        (1, "of an attempt", "never started"),
    ],
)
def test_a_job_that_never_started_is_listed_with_what_kept_it(attempt, message, why):
    row = {"state": "failed", "attempt": attempt, "message": message}
    assert ps._why(row | {"exit": {"code": 2, "text": "never started"}}) == why


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"succeeded": 3, "running": 2, "pending": 4}, "3/9 done, 2 running, 4 pending"),
        ({"failed": 1, "succeeded": 1, "held": 1}, "2/3 done (1 failed), 1 held"),
        ({"cancelled": 2, "failed": 1, "succeeded": 0}, "3/3 done (1 failed, 2 cancelled)"),
    ],
)
def test_members_are_counted_by_how_far_they_are(counts, text):
    assert render.members(counts) == text


def test_an_array_is_one_line_with_all_members_also_those_that_are_not_listed():
    row = {"number": 7, "name": "n", "state": "running", "exit": None, "attempt": 1}
    rows = [{**row, "id": f"7.{m}", "member": m, "changed_us": m} for m in (8, 7)]
    rows.append({**row, "id": "6", "number": 6, "member": None, "changed_us": 0})
    array, single = ps._grouped(rows, {"7": {"succeeded": 6, "failed": 1, "running": 2}})
    assert ps._line(array, 0)[:3] == ("7", "n ×9", "running")
    assert ps._why(array) == "7/9 done (1 failed), 2 running"
    assert single["id"] == "6"


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({"held": 1, "running": 1, "failed": 1}, "running"),
        ({"failed": 1, "cancelled": 1, "succeeded": 5}, "failed"),
        ({"succeeded": 5}, "succeeded"),
    ],
)
def test_an_array_is_what_its_furthest_unfinished_member_is_or_its_worst_end(counts, state):
    assert ps._state(counts) == state
