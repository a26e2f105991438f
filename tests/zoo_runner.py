"""Runs the programs of `tests/zoo` (format: tests/zoo/README.md), all at once against one daemon.

Used by tests/system/test_zoo_*.py: `cases(kind)` are the programs of one kind, `open_zoo` submits
them, waits until each is over (or its time is), and gives what a person would see of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.system.cli_runs import Place, a_place
from zenkei.client.client import Client

FOLDER = Path(__file__).resolve().parent / "zoo"
OVER = frozenset({"succeeded", "failed", "cancelled"})
LOOK_EVERY_S = 0.1
KEYS = frozenset(
    {
        "kind",
        "state",
        "stop_reason",
        "failure",
        "symptom",
        "rank",
        "node",
        "first_line",
        "tail",
        "attempts",
        "notices",
        "within_s",
        "nodes",
        "needs",
    }
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One program of the zoo. expect: as in its expect.yaml."""

    name: str
    folder: Path
    expect: Mapping[str, Any]

    @property
    def within_s(self) -> float:
        return float(self.expect.get("within_s", 60))


@dataclass(kw_only=True)
class Seen:
    """job: as `zenkei show --json` has it. first_line: what `zenkei show` says first of the end."""

    id: str
    job: dict[str, Any] = field(default_factory=dict)
    first_line: str = ""
    text: str = ""


def cases(kind: str) -> list[Case]:
    """All programs whose expect.yaml says `kind`, by name."""
    found = []
    for path in sorted(FOLDER.glob("*/expect.yaml")):
        expect = yaml.safe_load(path.read_text(encoding="utf-8"))
        unknown = expect.keys() - KEYS
        assert not unknown, f"{path}: unknown keys {sorted(unknown)}"
        if expect["kind"] == kind:
            found.append(Case(name=path.parent.name, folder=path.parent, expect=expect))
    return found


@contextmanager
def open_zoo(
    wanted: Iterable[Case],
    *,
    nodes: int,
    cpus: int = 32,
    gpus: int = 0,
    settings: str = "",
    envs: Path | None = None,
) -> Iterator[dict[str, Seen]]:
    """What became of each program, by name.

    settings: text of the daemon's settings.toml. envs: a store of environments to share.
    """
    with a_place() as place:
        if envs is not None:
            (place.home / "envs").symlink_to(envs)
        if settings:
            (place.home / "settings.toml").write_text(settings, encoding="utf-8")
        up = ("--nodes", str(nodes), "--cpus-per-node", str(cpus), "--memory-per-node", "64GiB")
        place.ok("up", *up, "--gpus-per-node", str(gpus))
        client = Client(str(place.home))
        begin = time.monotonic()
        seen = {case.name: Seen(id=_submit(client, case)) for case in wanted}
        _await(client, wanted, seen, begin)
        _once_more(client, wanted, seen)
        _show(place, client, seen)
        yield seen


def _submit(client: Client, case: Case) -> str:
    body = (case.folder / "job.yaml").read_bytes()
    made = client.post("/v1/jobs", body, source=str(case.folder), file="job.yaml", key=case.name)
    return str(made["id"])


def _await(client: Client, wanted: Iterable[Case], seen: dict[str, Seen], begin: float) -> None:
    left = {case.name: case for case in wanted}
    while left:
        for name, case in list(left.items()):
            state = client.get(f"/v1/jobs/{seen[name].id}")["state"]
            if state in OVER or time.monotonic() - begin > case.within_s:
                del left[name]
        time.sleep(LOOK_EVERY_S)


def _once_more(client: Client, wanted: Iterable[Case], seen: dict[str, Seen]) -> None:
    """All at once they starve each other. Who was taken for hung then must be left alone by itself.

    Only for programs that do not hang: nothing is made easier for those that do.
    """
    for case in wanted:
        job = client.get(f"/v1/jobs/{seen[case.name].id}")
        is_alarm = any(one["stop"] == "hung" for one in job["attempts"])
        if case.expect.get("state") == "succeeded" and job["state"] == "failed" and is_alarm:
            again = client.post(f"/v1/jobs/{job['id']}/rerun", {})
            seen[case.name] = Seen(id=str(again["id"]))
            _await(client, [case], seen, time.monotonic())


def _show(place: Place, client: Client, seen: dict[str, Seen]) -> None:
    ids = [each.id for each in seen.values()]
    blocks = place.ok("show", *ids).stdout.split("\n\njob ") if ids else []
    for each, block in zip(seen.values(), blocks, strict=True):
        each.job = client.get(f"/v1/jobs/{each.id}")
        each.text = block
        lines = block.splitlines()
        told = len(lines) > 1 and lines[1].startswith(("failed: ", "last attempt: "))
        each.first_line = lines[1] if told else ""


def check(case: Case, seen: Seen) -> None:
    """Everything that expect.yaml names is as it says; the job's own text stands beside a failure.

    A program that needs what cannot be had here is skipped.
    """
    job, expect = seen.job, case.expect
    if expect.get("needs") and not job["attempts"] and job["state"] == "failed":
        pytest.skip(f"{case.name} needs {expect['needs']}: {job['message'][:200]}")
    assert job["attempts"], seen.text
    last = job["attempts"][-1]
    ended = last["rank_exit"] or {}
    found = {
        "state": job["state"],
        "stop_reason": last["stop"],
        "failure": last["failure"],
        "symptom": ended.get("symptom"),
        "rank": ended.get("rank"),
        "node": ended.get("node"),
        "attempts": len(job["attempts"]),
    }
    wanted = {key: expect[key] for key in found if key in expect}
    assert {key: found[key] for key in wanted} == wanted, seen.text
    if "first_line" in expect:
        assert re.search(expect["first_line"], seen.first_line), seen.text
    if "tail" in expect:
        assert re.search(expect["tail"], "\n".join(last["tail"])), seen.text
    told = {
        notice["notice"] for attempt in job["attempts"] for notice in attempt.get("notices", ())
    }
    for kind, must in expect.get("notices", {}).items():
        assert (kind in told) is must, (kind, told, seen.text)
