"""`zenkei dataset` as a person uses it: one daemon, real files, what is printed and what is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli_runs import Place, a_place
from tests.testbeds.local_place import until


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with a_place() as found:
        yield found


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """One for each test: they share the daemon."""
    return "d" + str(abs(hash(request.node.name)) % 10**9)


@pytest.fixture
def source(place: Place, name: str) -> Path:
    folder = place.work / f"{name}-files"
    (folder / "cats").mkdir(parents=True)
    (folder / "cats" / "a.txt").write_text("tabby\n")
    (folder / "dogs.txt").write_text("woof\n")
    return folder


def add(place: Place, name: str, source: Path, *flags: str) -> Any:
    return place.ok("dataset", "add", name, str(source), "--json", *flags).json()


def error(place: Place, *argv: str, code: int = 2) -> str:
    done = place.run("dataset", *argv)
    assert done.code == code, (done.code, done.stdout, done.stderr)
    assert "hint: " in done.stderr
    return done.stderr


def test_a_directory_becomes_a_dataset_and_comes_back_the_same(
    place: Place, name: str, source: Path
) -> None:
    (source / "cats" / "link").symlink_to("a.txt")
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / os.fsdecode(b"b\xff\n")).write_bytes(b"odd")
    (source / "empty").mkdir()
    assert add(place, name, source)["files"] == 4
    target = place.work / f"{name}-out"
    place.ok("dataset", "export", name, str(target))
    done = subprocess.run(["diff", "-r", "--no-dereference", source, target], check=False)
    assert done.returncode == 0
    assert os.access(target / "run.sh", os.X_OK)


def test_only_what_changed_is_stored_and_told(place: Place, name: str, source: Path) -> None:
    assert add(place, name, source)["stored_bytes"] > 0
    (source / "dogs.txt").write_text("wuff\n")
    second = place.ok("dataset", "commit", name, str(source), "--json").json()
    assert (second["number"], second["stored_bytes"]) == (2, 512)
    again = place.ok("dataset", "commit", name, str(source)).stdout
    assert again.startswith(f"{name}@2 has this content already")
    diff = place.run("dataset", "diff", f"{name}@1", name)
    assert (diff.code, diff.stdout.splitlines()[0]) == (1, "~ dogs.txt")
    assert place.run("dataset", "diff", name, f"{name}@2").code == 0


def test_what_leads_out_or_cannot_be_stored_is_left_out_and_told(
    place: Place, name: str, source: Path
) -> None:
    (source / "out").symlink_to("/etc/passwd")
    os.mkfifo(source / "pipe")
    done = place.ok("dataset", "add", name, str(source))
    assert "left out: out (" in done.stderr
    assert "left out: pipe (a named pipe)" in done.stderr
    paths = [r["path"] for r in place.ok("dataset", "files", name, "--json").json()["rows"]]
    assert paths == ["cats/a.txt", "dogs.txt"] or sorted(paths) == ["cats/a.txt", "dogs.txt"]


def test_tags_move_and_their_history_stays(place: Place, name: str, source: Path) -> None:
    add(place, name, source, "--tag", "stable")
    (source / "more").write_text("x")
    place.ok("dataset", "commit", name, str(source))
    place.ok("dataset", "tag", name, "stable")
    place.ok("dataset", "tag", name, "stable", "--delete")
    events = place.ok("dataset", "log", name, "--events", "--json").json()["events"]
    moves = [(e["kind"], e["number"]) for e in events if e["details"].get("tag") == "stable"]
    assert moves == [("tagged", 1), ("tagged", 2), ("untagged", 2)]
    assert "no tag `stable`" in error(place, "files", f"{name}:stable", code=4)


def test_a_version_is_removed_only_when_it_is_meant(place: Place, name: str, source: Path) -> None:
    add(place, name, source, "--tag", "paper")
    assert "no version is named" in error(place, "rm", name)
    assert "has the tag `" in error(place, "rm", f"{name}@1", code=6)
    place.ok("dataset", "rm", f"{name}@1", "--force")
    place.ok("dataset", "rm", name, "--all")
    assert f"there is no dataset `{name}`" in error(place, "show", name, code=4)


def test_space_is_freed_by_gc_and_what_a_job_had_is_kept(
    place: Place, name: str, source: Path
) -> None:
    add(place, name, source)
    file = place.work / f"{name}.yaml"
    file.write_text(f"command: cat data/{name}/dogs.txt\ncode: false\ndatasets: [{name}]\n")
    assert place.ok("run", "-f", str(file)).stdout == "woof\n"
    place.ok("dataset", "rm", name, "--all")
    kept = place.ok("dataset", "gc", "--grace", "0", "--json").json()
    assert kept["missing"] == []
    again = place.ok("rerun", "-", "--json").json()["id"]
    assert place.run("wait", str(again)).code == 0
    assert place.ok("logs", str(again)).stdout == "woof\n"


def test_damage_is_found_and_the_same_files_repair_it_once_it_is_taken_away(
    place: Place, name: str, source: Path
) -> None:
    (source / "unique").write_text(name * 100)
    add(place, name, source)
    assert place.run("dataset", "verify", name).code == 0
    packs = place.home / "datasets" / "packs"
    (pack,) = [p for p in packs.iterdir() if name.encode() in p.read_bytes()]
    content = bytearray(pack.read_bytes())
    content[content.index(name.encode())] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    damaged = place.run("dataset", "verify", name, "--json")
    assert damaged.code == 1
    assert pack.name in json.dumps(damaged.json()["damaged"])
    refused = place.run("dataset", "export", name, str(place.work / f"{name}-out"))
    assert refused.code != 0
    assert not (place.work / f"{name}-out").exists()
    pack.unlink()
    place.ok("dataset", "commit", name, str(source))
    assert place.run("dataset", "verify", name).code == 0
    place.ok("dataset", "export", name, str(place.work / f"{name}-out"))


def test_a_commit_that_is_interrupted_leaves_nothing_half_done(
    place: Place, name: str, source: Path
) -> None:
    for number in range(4000):
        (source / f"{number}").write_bytes(b"%d" % number * 200)
    command = [sys.executable, "-m", "zenkei.cli.entry", "dataset", "add", name, str(source)]
    process = subprocess.Popen(
        command, cwd=place.work, env=place.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    intents = place.home / "datasets" / "intents"
    until(lambda: process.poll() is not None or any(intents.iterdir()), "the commit to begin")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    until(lambda: not any(intents.iterdir()), "the end of the worker")
    assert place.ok("dataset", "commit", name, str(source), "--create").stdout.startswith(name)
    assert place.run("dataset", "verify", name).code == 0


def test_a_mounted_version_is_read_only_until_it_is_unmounted(
    place: Place, name: str, source: Path
) -> None:
    add(place, name, source)
    at = place.work / f"{name}-at"
    place.ok("dataset", "mount", name, str(at))
    assert (at / "dogs.txt").read_text() == "woof\n"
    assert "is there already" in error(place, "mount", name, str(at))
    place.ok("dataset", "unmount", str(at))
    assert not os.path.lexists(at)
    assert "nothing is mounted" in error(place, "unmount", str(at))


def test_a_job_is_told_at_once_of_a_dataset_that_it_cannot_have(place: Place, name: str) -> None:
    file = place.work / f"{name}.yaml"
    file.write_text(f"command: 'true'\ncode: false\ndatasets: [{name}]\n")
    done = place.run("submit", "-f", str(file))
    assert done.code == 4
    assert f"there is no dataset `{name}`" in done.stderr
    assert place.run("dataset", "export", "a b", "x").code == 2
    assert place.run("dataset", "commit", "none", str(place.work)).code == 4
    assert place.run("dataset", "add", "Big", str(place.work)).code == 2


def test_code_in_the_place_of_a_dataset_is_not_covered_up(
    place: Place, name: str, source: Path
) -> None:
    add(place, name, source)
    folder = place.work / f"{name}-code"
    (folder / "data" / name).mkdir(parents=True)
    (folder / "data" / name / "mine.txt").write_text("mine")
    (folder / "job.yaml").write_text(f"command: ls\ndatasets: [{name}]\n")
    done = place.run("run", "-f", str(folder / "job.yaml"))
    assert done.code != 0
    assert "where the code has something else" in done.stderr


def test_a_version_by_reference_is_where_it_was_and_a_change_is_noticed(
    place: Place, name: str, source: Path
) -> None:
    found = add(place, name, source, "--reference")
    assert (found["storing"], found["stored_bytes"]) == ("reference", 0)
    file = place.work / f"{name}.yaml"
    file.write_text(f"command: cat data/{name}/dogs.txt\ncode: false\ndatasets: [{name}]\n")
    assert place.ok("run", "-f", str(file)).stdout == "woof\n"
    (source / "dogs.txt").write_text("another content\n")
    done = place.run("run", "-f", str(file))
    assert done.code != 0
    assert "dogs.txt" in done.stderr


def test_what_a_job_has_made_becomes_a_version_that_says_what_it_came_from(
    place: Place, name: str, source: Path
) -> None:
    raw = add(place, name, source)
    file = place.work / f"{name}.yaml"
    command = f"tr a-z A-Z < data/{name}/dogs.txt > outputs/loud.txt"
    file.write_text(f"command: {command}\ncode: false\ndatasets: [{name}]\n")
    place.ok("run", "--no-output", "-f", str(file))
    done = place.ok("result", "promote", "-", f"{name}-loud", "--tag", "v1", "--json").json()
    job = place.ok("show", "-", "--json").json()["id"]
    assert (done["number"], done["files"], done["job"]) == (1, 1, f"{job}/1")
    assert done["inputs"] == [f"{name}@{raw['digest']}"]
    place.ok("dataset", "export", f"{name}-loud:v1", str(place.work / f"{name}-loud"))
    assert (place.work / f"{name}-loud" / "loud.txt").read_text() == "WOOF\n"
    assert f"{name}-loud@1" in place.ok("result", "lineage", "-").stdout
    place.ok("run", "--no-output", "--no-code", "--", "true")
    assert place.run("result", "promote", "-", f"{name}-loud").code == 6


def test_a_job_with_data_has_its_secret_files_too(place: Place, name: str, source: Path) -> None:
    add(place, name, source)
    place.ok("secret", "set", "token", given="hunter-2")
    file = place.work / f"{name}.yaml"
    command = f"cat data/{name}/dogs.txt; stat -c %a $TOKEN; wc -c < $TOKEN"
    secrets = "[{name: token, file: TOKEN}]"
    file.write_text(f"command: {command}\ncode: false\ndatasets: [{name}]\nsecrets: {secrets}\n")
    assert place.ok("run", "-f", str(file)).stdout.split() == ["woof", "600", "8"]
    assert not list(Path("/dev/shm").glob("zenkei-*"))
