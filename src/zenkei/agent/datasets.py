"""The datasets of an attempt: the node helper has them ready, the ranks find them at their places.

Called by the supervisor. `fetch` runs in the staging child: it starts the helper once for each
dataset, and what that says goes to a file. `show` runs in the supervisor, before the ranks start:
as root it binds what was made ready into a mount namespace of the attempt's own, read-only, and
hides where the helper keeps it; what is executed afterwards cannot undo that. As an ordinary user
nothing can be bound: a link leads from the place to the private copy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from zenkei.agent import diary, kernel
from zenkei.agent.attempt import Cause
from zenkei.protocol import datasets, launch, names
from zenkei.protocol.splits import Shuffle, Split

if TYPE_CHECKING:
    from zenkei.agent.attempt import Attempt

FOLDER = "data"
PASSED = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


PASSING = ("depot-unavailable", "disk-full", "disk-read-only", "worker-died", "cache-full")
"""Errors of the helper that may be gone on another try."""


class NoData(Exception):
    """Why a dataset cannot be had, in words for its user. lasting: it will not be had later."""

    def __init__(self, text: str, *, lasting: bool = True) -> None:
        super().__init__(text)
        self.lasting = lasting


def refused(text: str) -> Cause:
    """The end of an attempt whose data will not be had on another try either."""
    return Cause("launch_failed", detail=text, symptom="dataset_unusable")


def fetch(document: launch.Launch, supervisor: int) -> None:
    """Have everything ready, and note where. Raises NoData, OSError."""
    assert document.data is not None
    found = []
    for number, mount in enumerate(document.data.mounts):
        request = dict(document.data.request)
        request.update(
            {
                "do": "mount",
                "digest": mount.digest,
                "ticket": mount.ticket,
                "attempt": document.attempt,
                "holder": document.attempt,
                "pid": supervisor,
                "copy_to": os.path.abspath(os.path.join(FOLDER, str(number))),
            }
        )
        if mount.split:
            to = os.path.abspath(os.path.join(FOLDER, f"{number}.rows"))
            request["split"] = {**mount.split, "to": to}
        os.makedirs(FOLDER, mode=0o700, exist_ok=True)
        found.append(_ask(document.data.helper, request, mount.name))
    with open(names.DATASETS_FOUND, "w", encoding="utf-8") as file:
        json.dump(found, file)


def _ask(helper: tuple[str, ...], request: dict[str, Any], name: str) -> dict[str, Any]:
    done = subprocess.run(
        helper,
        input=json.dumps(request).encode() + b"\n",
        capture_output=True,
        env={key: os.environ[key] for key in PASSED if key in os.environ},
        check=False,
    )
    answer: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        answer = message if "progress" not in message else answer
    if "ok" in answer:
        found: dict[str, Any] = answer["ok"]
        return found
    if "error" in answer:
        error = answer["error"]
        raise NoData(f"dataset `{name}`: {error['message']}", lasting=error["code"] not in PASSING)
    diary.note(f"the node helper ended with {done.returncode}: {done.stderr[-2000:]!r}")
    raise NoData(f"dataset `{name}`: the node helper ended early", lasting=False)


def show(attempt: Attempt) -> None:
    """Put everything in its place. Raises NoData, OSError."""
    plan = attempt.document.data
    assert plan is not None
    with open(names.DATASETS_FOUND, encoding="utf-8") as file:
        found = json.load(file)
    is_root = os.geteuid() == 0
    given = []
    for number, (mount, ready) in enumerate(zip(plan.mounts, found)):
        place = os.path.abspath(os.path.join(names.WORK_DIR, mount.at))
        index = ready.get("index") or ""
        if is_root:
            _bind(ready["path"], place, mount)
            if index:
                index = _bind_file(index, os.path.abspath(f"{FOLDER}/{number}.index"))
        else:
            _link(ready["path"], place, mount)
        given.append(_given(mount, place, index, ready))
    with open(names.DATASETS_FILE, "wb") as document:
        document.write(datasets.dump(tuple(given)))
    if is_root:
        for directory in plan.hide:
            kernel.cover(directory)
        kernel.cannot_look_behind()


def remove_copies() -> None:
    """After the end: private copies."""
    shutil.rmtree(FOLDER, ignore_errors=True)


def _bind(source: str, place: str, mount: launch.DataMount) -> None:
    _make_room(place, mount)
    os.makedirs(place, exist_ok=True)
    kernel.show_read_only(source, place)


def _bind_file(source: str, place: str) -> str:
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    with open(place, "ab"):
        kernel.show_read_only(source, place)
    return place


def _link(source: str, place: str, mount: launch.DataMount) -> None:
    if os.path.isabs(mount.at):
        raise NoData(
            f"dataset `{mount.name}` cannot be shown at {mount.at}: that needs root on the node; "
            f"give it a place in the job's directory, such as `at: data/{mount.name}`"
        )
    _make_room(place, mount)
    if os.path.isdir(place):
        os.rmdir(place)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    os.symlink(source, place)


def _make_room(place: str, mount: launch.DataMount) -> None:
    """What the code brought to that place is not covered up silently."""
    outside = os.path.isabs(mount.at)
    if os.path.lexists(place) and (
        not os.path.isdir(place)
        or (os.path.islink(place) and not outside)
        or (os.listdir(place) and not outside)
    ):
        raise NoData(
            f"dataset `{mount.name}` is to be at `{mount.at}`, where the code has something else; "
            "give it another place with `at`"
        )


def _given(
    mount: launch.DataMount, place: str, index: str, ready: dict[str, Any]
) -> datasets.Given:
    split, shuffle = mount.split, mount.shuffle
    parts = tuple((name, part) for name, part in split["parts"]) if split else ()
    return datasets.Given(
        name=mount.name,
        digest=mount.digest,
        path=place,
        number=mount.number,
        at=mount.at,
        index_path=index,
        rows_path=ready.get("rows_path") or "",
        rows_digest=ready.get("rows_digest") or "",
        split=Split(parts, split["seed"], split["by"]) if split else None,
        shuffle=Shuffle(shuffle["seed"], shuffle["epoch"]) if shuffle else None,
    )
