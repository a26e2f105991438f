"""The node helper as its callers meet it: a process, a line of JSON, lines of JSON back.

Where nothing can be mounted the same tests pass with private copies; `kind` says which it was.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.data.dataset_maker import version
from tests.unit.data.folder_depot import FolderDepot
from tests.unit.data.test_node_image import tree_at
from tests.unit.data.test_node_ladder import TREE
from zenkei.data import tickets
from zenkei.data.node import mounting
from zenkei.data.node.request import Request
from zenkei.data.node.service import Node
from zenkei.model.errors import Conflict, Denied
from zenkei.protocol import dataindex

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def depot(tmp_path: Path) -> FolderDepot:
    return FolderDepot(tmp_path / "depot")


@pytest.fixture
def base(tmp_path: Path, depot: FolderDepot) -> Iterator[dict[str, Any]]:
    """What all requests have. Whatever they mounted is unmounted."""
    cache = tmp_path / "cache"
    yield {"cache": str(cache), "depot": depot.location}
    for path in (cache / "mounts").glob("*"):
        if mounting.is_mount(path):
            mounting.unmount(path)


def ask_process(values: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
    done = subprocess.run(
        [sys.executable, "-m", "zenkei.data.node"],
        input=json.dumps(values).encode() + b"\n",
        stdout=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


@pytest.fixture
def ask(base: dict[str, Any]) -> Ask:
    """In this process: everything but the lines."""

    def call(do: str, **more: Any) -> dict[str, Any]:
        request = Request({**base, **more})
        return dict(getattr(Node(request, lambda *_: None), do)(request))

    return call


def test_a_job_gets_its_version_and_gives_it_back(base: dict[str, Any], depot: FolderDepot):
    digest = depot.keep(*version(TREE))
    lines, code = ask_process({**base, "do": "mount", "digest": digest, "holder": "42/1"})
    answer = lines[-1]["ok"]
    assert code == 0
    assert all("progress" in line for line in lines[:-1])
    assert tree_at(Path(answer["path"])) == TREE
    assert answer["kind"] in {"erofs", "copy"}, answer["why"]
    assert dataindex.Index.open(answer["index"]).sizes.rows == answer["files"] == len(TREE)
    lines, code = ask_process({"do": "release", "cache": base["cache"], "holder": "42/1"})
    assert code == 0
    assert lines[-1]["ok"]["released"] == [digest]
    assert not Path(answer["path"]).exists()


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"do": "mount", "digest": "b3:" + "0" * 64, "holder": "1"}, "no-such-object"),
        ({"do": "mount", "digest": "../../etc", "holder": "1"}, "bad-digest"),
        ({"do": "mount", "digest": "b3:" + "0" * 64, "holder": 7}, "bad-request"),
        ({"do": "_copy_place"}, "bad-request"),
        ({"do": "ls", "cache": "relative"}, "bad-request"),
    ],
)
def test_what_cannot_be_done_is_an_error_with_its_code(
    base: dict[str, Any], values: dict[str, Any], code: str
):
    lines, exit_code = ask_process({**base, **values})
    assert (lines[-1]["error"]["code"], exit_code) == (code, 1)
    assert set(lines[-1]["error"]) == {"code", "message", "hint", "details", "kind"}


def pending(pid: int) -> bool:
    """Whether a signal has been sent to a process and not reached it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = [line.split()[1] for line in lines if line.startswith(("SigPnd:", "ShdPnd:"))]
    return any(int(mask, 16) for mask in masks)


def test_it_ends_when_it_is_told_to_and_leaves_nothing(base: dict[str, Any], depot: FolderDepot):
    digest = depot.keep(*version(TREE))
    pipe = depot.folder / "packs" / next((depot.folder / "packs").iterdir()).name
    pipe.unlink()
    os.mkfifo(pipe)  # a store that does not answer
    process = subprocess.Popen(
        [sys.executable, "-m", "zenkei.data.node"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdin is not None
        order = {**base, "do": "prefetch", "digest": digest}
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        writer = os.open(pipe, os.O_WRONLY)  # returns once it reads
        process.terminate()
        for _ in range(1000):  # else it may find the end of the pipe first
            if not pending(process.pid):
                break
            time.sleep(0.01)
        os.close(writer)
        output, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert json.loads(output.splitlines()[-1])["error"]["code"] == "interrupted"
    assert not list(Path(base["cache"], "tmp").iterdir())
    assert not list(Path(base["cache"], "claims").iterdir())


# --- holds ---


def test_a_version_stays_as_long_as_one_job_has_it(ask: Ask, depot: FolderDepot):
    digest = depot.keep(*version(TREE))
    ask("mount", digest=digest, holder="1/1")
    answer = ask("mount", digest=digest, holder="2/1")
    ask("release", holder="1/1")
    assert ask("evict", bytes=1 << 40)["removed_bytes"] == 0
    assert tree_at(Path(answer["path"])) == TREE
    ask("release", holder="2/1")
    assert ask("evict", bytes=1 << 40)["removed_bytes"] > 0


def test_a_repeated_mount_is_the_same_and_a_repeated_release_harmless(ask: Ask, depot: FolderDepot):
    digest = depot.keep(*version(TREE))
    first, second = (ask("mount", digest=digest, holder="1/1") for _ in range(2))
    assert first["path"] == second["path"]
    assert ask("release", holder="1/1")["released"] == [digest]
    assert ask("release", holder="1/1")["released"] == []


def test_a_mount_that_fails_holds_nothing_and_leaves_an_earlier_one(ask: Ask, depot: FolderDepot):
    table, packs = version(TREE)
    digest = depot.keep(table, packs)
    depot.remove(f"packs/{table.packs[0]}")
    with pytest.raises(Exception, match=table.packs[0]):
        ask("mount", digest=digest, holder="1/1")
    assert ask("release", holder="1/1")["released"] == []
    depot.put(f"packs/{table.packs[0]}", packs[table.packs[0]])
    answer = ask("mount", digest=digest, holder="1/1")
    with pytest.raises(Exception, match="means"):
        ask("mount", digest=digest, holder="1/1", means=["magic"])
    assert ask("ls")["versions"][0]["holders"] == ["1/1"]
    assert tree_at(Path(answer["path"])) == TREE


def test_prefetch_makes_a_later_mount_independent_of_the_depot(ask: Ask, depot: FolderDepot):
    digest = depot.keep(*version(TREE))
    ask("prefetch", digest=digest)
    listed = ask("ls")["versions"]
    assert [(each["digest"], each["whole"], each["holders"]) for each in listed] == [
        (digest, True, [])
    ]
    answer = ask("mount", digest=digest, holder="1/1", depot=None)
    assert tree_at(Path(answer["path"])) == TREE


def test_a_prefetch_tidies_up_after_attempts_that_nobody_released(ask: Ask, depot: FolderDepot):
    digest = depot.keep(*version(TREE))
    sleeper = subprocess.Popen(["sleep", "100"])
    order = {"digest": digest, "holder": "1/1", "pid": sleeper.pid}
    paths = [ask("mount", **order)["path"], ask("mount", **order, means=[])["path"]]
    ask("prefetch", digest=digest)
    assert all(tree_at(Path(path)) == TREE for path in paths)
    sleeper.kill()
    sleeper.wait()
    ask("prefetch", digest=digest)
    assert not any(Path(path).exists() for path in paths)


def test_a_private_copy_is_kept_where_the_caller_wants_it(
    ask: Ask, depot: FolderDepot, tmp_path: Path
):
    digest = depot.keep(*version(TREE))
    place = tmp_path / "scratch" / "data"
    for _ in range(2):
        answer = ask("mount", digest=digest, holder="1/1", copy_to=str(place), means=[])
        assert (answer["kind"], answer["path"]) == ("copy", str(place))
    assert tree_at(place) == TREE
    ask("release", holder="1/1")
    assert place.exists(), "it belongs to the job"


def test_an_attempt_of_several_supervisors_holds_until_the_last_has_ended(
    ask: Ask, depot: FolderDepot, tmp_path: Path
):
    digest = depot.keep(*version(TREE))
    sleepers = [subprocess.Popen(["sleep", "100"]) for _ in range(2)]
    try:
        for number, sleeper in enumerate(sleepers):
            place = tmp_path / str(number)
            ask("mount", digest=digest, holder="1/1", pid=sleeper.pid, copy_to=str(place))
        sleepers[1].kill()
        sleepers[1].wait()
        assert ask("evict", bytes=1 << 40)["removed_bytes"] == 0
        sleepers[0].kill()
        sleepers[0].wait()
        assert ask("evict", bytes=1 << 40)["removed_bytes"] > 0
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


@pytest.mark.root
def test_a_mount_is_seen_in_the_callers_namespace_only_and_ends_with_it(
    base: dict[str, Any], depot: FolderDepot
):
    digest = depot.keep(*version(TREE))
    order = {**base, "do": "mount", "digest": digest, "holder": "1/1"}
    python, shown = shlex.quote(sys.executable), f"{base['cache']}/mounts/{digest[3:]}"
    program = f"{python} -m zenkei.data.node; stat -fc %t {shown}"
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", program],
        input=json.dumps(order).encode() + b"\n",
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    answer = json.loads(done.stdout.splitlines()[-2])["ok"]
    if answer["kind"] != "erofs":
        pytest.skip(f"nothing can be mounted here: {answer['why']}")
    assert done.stdout.splitlines()[-1] == b"e0f5e1e2"
    assert not mounting.is_mount(Path(answer["path"]))


# --- tickets ---


def test_a_version_is_given_to_the_attempt_of_its_ticket_only(
    ask: Ask, depot: FolderDepot, tmp_path: Path
):
    digest = depot.keep(*version(TREE))
    other = depot.keep(*version({b"secret": b"x"}))
    key = b"k" * 32
    (tmp_path / "key").write_bytes(key)
    ticket = tickets.issue(key, "1/1", digest, time.time() + 60)
    given = {"holder": "1/1", "key": str(tmp_path / "key"), "ticket": ticket}
    assert tree_at(Path(ask("mount", digest=digest, attempt="1/1", **given)["path"])) == TREE
    for wrong in ({"digest": other, "attempt": "1/1"}, {"digest": digest, "attempt": "2/1"}):
        with pytest.raises(Denied):
            ask("mount", **wrong, **given)
    with pytest.raises(Exception, match="ticket"):
        ask("mount", digest=digest, attempt="1/1", holder="1/1", key=given["key"])


# --- by reference ---


def by_reference(folder: Path, depot: FolderDepot) -> str:
    table, _ = version({b"a/b": b"content", b"c": b"x", b"empty": None})
    for path in ("a/b", "c"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"content" if path == "a/b" else b"x")
    mtimes = [0] * len(table)
    for row in range(len(table)):
        file = folder / os.fsdecode(table.path(row))
        mtimes[row] = file.stat().st_mtime_ns if file.exists() else 0
    referring = dataclasses.replace(
        table,
        digests=table.digests * 0,
        packs=(),
        pack_sizes=table.pack_sizes[:0],
        pieces=table.pieces[:0],
        mtimes_ns=np.array(mtimes, dtype=np.int64),
        origin=os.fsencode(folder),
    )
    return depot.keep(referring, {})


def test_a_version_by_reference_is_shown_where_it_lies_while_it_is_unchanged(
    ask: Ask, depot: FolderDepot, tmp_path: Path
):
    digest = by_reference(tmp_path / "theirs", depot)
    answer = ask("mount", digest=digest, holder="1/1")
    assert (answer["kind"], answer["path"]) == ("reference", str(tmp_path / "theirs"))
    assert "the content was not looked at" in answer["why"]
    ask("release", holder="1/1")
    assert (tmp_path / "theirs" / "c").exists()


def test_a_job_finds_the_rows_of_a_version_by_reference_too(
    ask: Ask, depot: FolderDepot, tmp_path: Path
):
    digest = by_reference(tmp_path / "theirs", depot)
    split = {"parts": [["all", 1.0]], "to": str(tmp_path / "rows")}
    answer = ask("mount", digest=digest, holder="1/1", split=split)
    index = dataindex.Index.open(answer["index"])
    assert index.digest == digest
    assert answer["parts"] == {"all": index.sizes.files}
    assert index.sizes.files > 0
    ask("release", holder="1/1")


@pytest.mark.parametrize("change", ["gone", "longer", "touched", "replaced"])
def test_a_version_by_reference_is_refused_once_a_file_is_another(
    ask: Ask, depot: FolderDepot, tmp_path: Path, change: str
):
    digest = by_reference(tmp_path / "theirs", depot)
    file = tmp_path / "theirs" / "a" / "b"
    if change == "longer":
        file.write_bytes(b"contents")
    elif change == "touched":
        os.utime(file, (1, 1))
    else:
        file.unlink()
        if change == "replaced":
            file.mkdir()
    with pytest.raises(Conflict, match="`a/b` is not what") as refused:
        ask("mount", digest=digest, holder="1/1")
    assert refused.value.code == "reference-changed"
    assert ask("ls")["versions"][0]["holders"] == []
