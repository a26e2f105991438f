"""Nothing of an attempt remains: shared memory, System V objects, mounts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbeds.local_place import LocalPlace
from zenkei.model.ids import AttemptId
from zenkei.ports.engine import Released

MAKES = """
import ctypes, mmap, os, sys, time
name = "/dev/shm/torch_x-%d-%s" % (os.getuid(), os.environ["ZENKEI_ATTEMPT"].replace("/", "-"))
fd = os.open(name, os.O_CREAT | os.O_RDWR, 0o600)
os.ftruncate(fd, 4096)
held = mmap.mmap(fd, 4096)
os.close(fd)
libc = ctypes.CDLL(None)
segment = libc.shmget(0, 4096, 0o1600)
semaphore = libc.semget(0, 1, 0o1600)
queue = libc.msgget(0, 0o1600)
assert min(segment, semaphore, queue) >= 0
if sys.argv[1] == "unmapped":
    held.close()
print("made", flush=True)
while not os.path.exists("go"):
    time.sleep(0.02)
"""


@pytest.fixture
def place(short_tmp: Path) -> Iterator[LocalPlace]:
    def code(folder: Path) -> None:
        (folder / "makes.py").write_text(MAKES)

    with LocalPlace(short_tmp / "home", code=code) as opened:
        yield opened


def launched(place: LocalPlace, number: int, how: str = "mapped") -> AttemptId:
    attempt = place.launch(number, ("python3", "makes.py", how), code="b3:" + "7" * 64)
    place.until_output(attempt, b"made")
    return attempt


def shared() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith(f"torch_x-{os.getuid()}-")}


def objects() -> dict[str, set[str]]:
    """This user's System V objects by kind."""
    found = {}
    for kind, column in (("shm", "shmid"), ("sem", "semid"), ("msg", "msqid")):
        text = Path(f"/proc/sysvipc/{kind}").read_text(encoding="ascii")
        head, *rows = [line.split() for line in text.splitlines()]
        uid, key = head.index("uid"), head.index(column)
        found[kind] = {row[key] for row in rows if row[uid] == str(os.geteuid())}
    return found


def test_shared_memory_of_a_rank_that_was_killed_is_gone_when_its_devices_are_free(
    place: LocalPlace,
) -> None:
    before, ours = objects(), shared()
    attempt = launched(place, 1)
    place.stop(attempt, 0.0)
    place.wait(attempt, Released)
    assert shared() == ours
    assert objects() == before


def test_shared_memory_of_a_rank_that_ended_well_is_gone_too(place: LocalPlace) -> None:
    before, ours = objects(), shared()
    attempt = launched(place, 1)
    (place.node_dir(attempt) / "work" / "go").touch()
    place.wait(attempt, Released)
    assert shared() == ours
    assert objects() == before


def test_shared_memory_is_gone_although_the_supervisor_was_killed(place: LocalPlace) -> None:
    before, ours = objects(), shared()
    attempt = launched(place, 1)
    os.kill(place.supervisor_pid(attempt), signal.SIGKILL)
    place.wait(attempt, Released)
    assert shared() == ours
    assert objects() == before


def test_what_another_attempt_has_made_and_does_not_map_now_stays(place: LocalPlace) -> None:
    other = launched(place, 1, "unmapped")
    attempt = launched(place, 2)
    place.stop(attempt, 0.0)
    place.wait(attempt, Released)
    # as its rank sees it
    assert f"torch_x-{os.getuid()}-1-1" in os.listdir(
        f"/proc/{_rank_of(place, other)}/root/dev/shm"
    )


def test_shared_memory_that_the_user_makes_beside_a_job_stays(place: LocalPlace) -> None:
    attempt = launched(place, 1)
    own = Path(f"/dev/shm/data-of-{os.getuid()}-{os.getpid()}")
    try:
        own.write_bytes(b"kept")
        place.stop(attempt, 0.0)
        place.wait(attempt, Released)
        assert own.read_bytes() == b"kept"
    finally:
        own.unlink(missing_ok=True)


def _rank_of(place: LocalPlace, attempt: AttemptId) -> int:
    """The process of the only rank."""
    children = Path(f"/proc/{place.supervisor_pid(attempt)}/task").glob("*/children")
    return int(next(word for file in children for word in file.read_text().split()))


def test_a_mount_that_a_rank_has_made_is_gone_with_it(place: LocalPlace) -> None:
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    ended = place.run(1, "mkdir m && mount -t tmpfs none m && echo mounted > m/f")
    if ended.exit.code:
        pytest.skip("this user may not mount")
    assert Path("/proc/self/mountinfo").read_text(encoding="utf-8") == mounts


def test_a_new_attempt_on_the_same_place_lays_no_code_out_again(short_tmp: Path) -> None:
    laid: list[Path] = []
    with LocalPlace(short_tmp / "home", code=laid.append) as place:
        for number in (1, 2):
            assert place.run(number, "true", code="b3:" + "7" * 64).exit.code == 0
    assert len(laid) == 1
