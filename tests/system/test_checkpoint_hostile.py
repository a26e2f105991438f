"""Programs that, by malice or mishap, make of a checkpoint what it must not be."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.system.test_checkpoint_orders import details, ended, launch, preempt, steps, up
from tests.testbeds.local_place import LocalPlace, until
from tests.testbeds.small_disk import small_disk
from zenkei.model.data import CheckpointPart
from zenkei.model.errors import PermanentEngineError
from zenkei.model.job import CheckpointPolicy, StopReason
from zenkei.ports.engine import AskCheckpoint, Checkpointed, Released


@pytest.fixture
def place(short_tmp: Path):
    with LocalPlace(short_tmp / "home") as opened:
        yield opened


def until_saved(place: LocalPlace, attempt, step: int) -> None:
    until(lambda: step in steps(place, attempt), f"step {step}")


def part(place: LocalPlace, attempt, step: int) -> tuple[CheckpointPart, ...]:
    [found] = [
        r.parts for r in place.reports(attempt) if isinstance(r, Checkpointed) and r.step == step
    ]
    return found


@pytest.mark.parametrize("path", ["\\ud800", "\\ud800/..", "missing-\\udcff"])
def test_a_path_that_is_no_text_is_told_and_costs_the_job_nothing(place, path):
    attempt = launch(
        place,
        f"""
        with open(V["ZENKEI_CHECKPOINT_MARKER"], "a") as file:
            file.write('{{"saved": 1, "path": "{path}"}}' + chr(10))
        save(2)
        time.sleep(60)
        """.replace("\\", "\\\\"),
    )
    until_saved(place, attempt, 2)
    assert steps(place, attempt) == [2]
    assert "\\ud" in details(place, attempt)


def test_who_cannot_be_asked_by_the_file_is_asked_by_the_signal(place):
    attempt = launch(
        place,
        """
        os.mkdir(V["ZENKEI_CHECKPOINT_ASK"])
        signal.signal(signal.SIGTERM, lambda *_: save(7))
        print("ready", flush=True)
        while True: time.sleep(0.01)
        """,
        checkpoint=CheckpointPolicy(),
    )
    place.until_output(attempt, b"ready")
    preempt(place, attempt)
    assert ended(place, attempt) is StopReason.PREEMPTED
    assert steps(place, attempt) == [7]
    assert "the file that asks for one cannot be made" in details(place, attempt)


def fill(disk: Path) -> None:
    """To the last page: a file system in memory counts roughly while there is much room."""
    for size in (1 << 20, 4096, 1):
        for number in range(1 << 16):
            try:
                (disk / f"rest-{size}-{number}").write_bytes(bytes(size))
            except OSError:
                break


def test_on_a_full_disk_a_program_is_asked_all_the_same(short_tmp):
    with small_disk(short_tmp / "disk", 16 << 20) as disk, LocalPlace(disk / "home") as place:
        attempt = launch(
            place,
            """
            wait_for_ask()
            while asked(): time.sleep(0.005)
            wait_for_ask()
            print("asked again", flush=True)
            time.sleep(60)
            """,
        )
        up(place, attempt)
        # orders and reports have their room from now on
        place.engine.tell(attempt, AskCheckpoint(deadline_s=0.2))
        until(lambda: "no checkpoint was saved" in details(place, attempt), "the first answer")
        fill(disk)
        preempt(place, attempt, checkpoint_s=3.0)
        place.until_output(attempt, b"asked again")
        for path in disk.glob("rest-*"):
            path.unlink()
        assert ended(place, attempt) is StopReason.PREEMPTED
        assert "supervisor" not in place.exited(attempt).exit.detail


LINKED = """
elsewhere = V["ZENKEI_CHECKPOINT_DIR"] + "-elsewhere"
os.rename(V["ZENKEI_CHECKPOINT_DIR"], elsewhere)
os.symlink(elsewhere, V["ZENKEI_CHECKPOINT_DIR"])
save(1)
time.sleep(60)
"""


def test_what_lies_behind_a_link_in_place_of_the_directory_is_no_checkpoint(place):
    attempt = launch(place, LINKED)
    until(lambda: "leads through a link" in details(place, attempt), "a notice")
    assert steps(place, attempt) == []


def test_nothing_is_removed_through_a_link_in_place_of_the_directory(place):
    attempt = launch(place, "save(1)\ntime.sleep(60)")
    until_saved(place, attempt, 1)
    folder = place.node_dir(attempt) / "checkpoints"
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")
    place.engine.discard(attempt, 1, part(place, attempt, 1))
    assert (folder / "step-1-rank-0").exists()


FOLDER = """
os.mkdir(os.path.join(V["ZENKEI_CHECKPOINT_DIR"], "a"))
for name in "xyz":
    with open(os.path.join(V["ZENKEI_CHECKPOINT_DIR"], "a", name), "w") as file:
        file.write(name)
say(saved=1, path="a")
time.sleep(60)
"""


def test_a_directory_from_which_something_was_removed_is_not_taken_for_the_whole(place):
    attempt = launch(place, FOLDER)
    until_saved(place, attempt, 1)
    parts = part(place, attempt, 1)
    assert place.engine.saved(attempt, 1, parts)
    folder = place.node_dir(attempt) / "checkpoints" / "a"
    (folder / "y").unlink()
    # file systems' clocks move in steps of some milliseconds: not at the same moment
    os.utime(folder, (time.time() + 1.0,) * 2)
    with pytest.raises(PermanentEngineError, match="was changed after step 1"):
        place.engine.saved(attempt, 1, parts)


def test_a_removal_that_was_cut_off_is_ended_by_the_next(place):
    attempt = launch(place, FOLDER)
    until_saved(place, attempt, 1)
    folder = place.node_dir(attempt) / "checkpoints" / "a"
    (folder / "x").unlink()
    place.engine.discard(attempt, 1, part(place, attempt, 1))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("os.mkfifo(marker)", "it is a named pipe"),
        ("os.symlink(marker + '-elsewhere', marker)", "it is a symbolic link"),
        ("os.mkdir(marker)", "it is a directory"),
    ],
)
def test_a_marker_that_is_no_plain_file_is_told_and_read_once_it_is_one(place, made, told):
    attempt = launch(
        place,
        f"""
        marker = V["ZENKEI_CHECKPOINT_MARKER"]
        {made}
        while not os.path.exists("mended"): time.sleep(0.01)
        (os.rmdir if os.path.isdir(marker) else os.unlink)(marker)
        save(1)
        time.sleep(60)
        """,
    )
    until(lambda: told in details(place, attempt), "a notice")
    assert details(place, attempt).count("\n") == 0, "told once"
    (place.node_dir(attempt) / "work" / "mended").touch()
    until_saved(place, attempt, 1)


def test_a_rank_that_cannot_tell_of_a_checkpoint_says_so_and_goes_on(place):
    attempt = launch(
        place,
        """
        from zenkei.sdk import checkpoint
        os.mkfifo(V["ZENKEI_CHECKPOINT_MARKER"])
        sys.stderr = sys.stdout
        for _ in range(100): assert not checkpoint.saved(1)
        """,
    )
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.COMPLETED
    assert b"a checkpoint cannot be told" in place.output(attempt, 0)
