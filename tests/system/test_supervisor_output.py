"""Output of real ranks: nothing is lost, nothing blocks, no secret is shown."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.testbeds.local_place import Limits, LocalPlace, until
from zenkei.model.job import SecretUse, StopReason
from zenkei.ports.engine import Released, Started
from zenkei.protocol import logs

MIB = 1 << 20
# prints numbered lines of 1,000 bytes
FLOOD = """
import sys
line = b"%08d " + b"x" * 990 + b"\\n"
for start in range(0, int(sys.argv[1]), 1000):
    sys.stdout.buffer.write(b"".join(line % n for n in range(start, start + 1000)))
"""


@pytest.fixture
def place(short_tmp: Path):
    opened = LocalPlace(short_tmp / "home")
    yield opened
    opened.close()


def python(code: str, *words: str) -> tuple[str, ...]:
    return ("python", "-I", "-S", "-c", code, *words)


def test_every_byte_of_both_streams_is_kept_in_order(place):
    code = r"""
import os
data = bytes(range(256)).replace(b"\r", b"") * 40
os.write(1, data + b"\n"); os.write(2, b"\xff\xfe\0 to stderr"); os.write(1, b"no end")
"""
    place.run(1, python(code))
    data = bytes(range(256)).replace(b"\r", b"") * 40
    attempt = place.order(1, "").attempt
    assert place.output(attempt) == data + b"\nno end"
    assert place.output(attempt, stream=logs.STDERR) == b"\xff\xfe\0 to stderr"


def test_a_line_of_100_mb_is_kept(place):
    place.options["limits"] = Limits(log_head_bytes=256 * MIB, log_tail_bytes=64 * MIB)
    place.open()
    code = "import sys; sys.stdout.write('a' * 100_000_000 + '\\n')"
    ended = place.run(1, python(code))
    chunks = place.chunks(ended.attempt)
    assert ended.reason is StopReason.COMPLETED
    assert sum(len(chunk.data) for chunk in chunks) == 100_000_001
    assert [c.flags & logs.PARTIAL for c in chunks[:-1]] == [logs.PARTIAL] * (len(chunks) - 1)


def test_an_unfinished_line_is_shown_while_the_program_waits(place):
    attempt = place.launch(1, "printf 'name? '; exec sleep 1000")
    place.until_output(attempt, b"name? ")
    assert place.chunks(attempt)[0].flags == logs.PARTIAL


def test_a_program_that_prints_a_gigabyte_neither_blocks_nor_fills_the_disk(place):
    place.options["limits"] = Limits(log_head_bytes=8 * MIB, log_tail_bytes=8 * MIB)
    place.open()
    ended = place.run(1, python(FLOOD, "1000000"))
    assert ended.reason is StopReason.COMPLETED
    chunks = place.chunks(ended.attempt)
    [gap] = [logs.gap_of(chunk) for chunk in chunks if chunk.stream == logs.GAP]
    text = b"".join(chunk.data for chunk in chunks if chunk.stream == logs.STDOUT)
    assert len(text) + gap.dropped_bytes == 1_000_000_000
    assert text.count(b"\n") + gap.dropped_lines == 1_000_000
    assert (text[:8], text[-1000:-992]) == (b"00000000", b"00999999")
    folder = place.node_dir(ended.attempt) / "log"
    assert sum(f.stat().st_size for f in folder.iterdir()) < 20 * MIB


def test_a_progress_bar_is_kept_as_its_last_state(place):
    command = r"""
for n in $(seq 200); do printf '\r%3d%%' $n >&2; done; printf '\n' >&2; printf 'done\n' >&2
"""
    attempt = place.run(1, command).attempt
    assert place.output(attempt, stream=logs.STDERR).endswith(b"\r200%\ndone\n")
    assert len(place.output(attempt, stream=logs.STDERR)) < 60


def test_secrets_reach_the_ranks_and_no_file_that_stays(short_tmp):
    place = LocalPlace(short_tmp / "home", secrets={"token": b"hunter-2-hunter", "key": b"k\0ey!"})
    uses = (
        SecretUse(name="token", variable="TOKEN"),
        SecretUse(name="key", variable="KEY_FILE", as_file=True),
    )
    command = (
        'echo "$TOKEN"; printf "%s" hunter-2; sleep 0.3; echo -hunter; '
        'stat -c "%a" "$KEY_FILE"; cat "$KEY_FILE"; tr "\\0" " " < /proc/$$/cmdline; sleep 0.3'
    )
    attempt = place.launch(1, command, secrets=uses)
    place.until_output(attempt, b"600")
    place.wait(attempt, Released)
    assert place.output(attempt).startswith(b"***\n***\n600\n***")
    place.close()
    stay = [p.read_bytes() for p in place.home.rglob("*") if p.is_file()]
    assert all(b"hunter-2-hunter" not in data and b"k\0ey!" not in data for data in stay)
    assert not list(Path("/dev/shm").glob("zenkei-*"))


def test_several_ranks_are_told_apart(place):
    attempt = place.run(1, 'echo "I am $ZENKEI_RANK of $ZENKEI_WORLD_SIZE"', ranks=3).attempt
    said = {chunk.rank: chunk.data for chunk in place.chunks(attempt)}
    assert said == {rank: b"I am %d of 3\n" % rank for rank in range(3)}


@pytest.fixture
def small_disk(short_tmp: Path):
    """A file system of a few MiB, as a home."""
    disk = short_tmp / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "zkt", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.root
def test_a_full_disk_while_logging_ends_the_attempt_with_that_reason(small_disk):
    with LocalPlace(small_disk / "home") as place:
        ended = place.run(1, python(FLOOD, "20000"))
        assert ended.reason is StopReason.DISK_FULL
        assert place.output(ended.attempt).startswith(b"00000000")


@pytest.mark.root
def test_a_full_disk_while_staging_ends_the_attempt_with_that_reason(small_disk):
    def code(folder: Path) -> None:
        (folder / "large").write_bytes(b"x" * 3_500_000)

    with LocalPlace(small_disk / "home", code=code) as place:
        ended = place.run(1, "true", code="b3:" + "a" * 64)
        assert ended.reason is StopReason.DISK_FULL


@pytest.mark.root
def test_a_full_disk_stops_neither_an_order_nor_a_report(small_disk):
    with LocalPlace(small_disk / "home") as place:
        attempt = place.launch(1, "exec sleep 1000")
        place.wait(attempt, Started)
        try:
            with open(small_disk / "filler", "wb", buffering=0) as filler:
                while True:
                    filler.write(b"x" * 4096)
        except OSError:
            pass
        place.stop(attempt)
        place.wait(attempt, Released)
        assert place.exited(attempt).reason is StopReason.USER_CANCEL
        (small_disk / "filler").unlink()


def test_code_is_a_private_copy_and_outputs_land_where_the_job_names_them(short_tmp):
    def code(folder: Path) -> None:
        (folder / "pkg").mkdir()
        (folder / "pkg" / "data.txt").write_text("from the code")
        (folder / "run.sh").write_text("#!/bin/sh\ncp pkg/data.txt out/result.txt\n")
        (folder / "run.sh").chmod(0o755)

    with LocalPlace(short_tmp / "home", code=code) as place:
        ended = place.run(1, ("./run.sh",), code="b3:" + "a" * 64, outputs="out")
        assert ended.exit.code == 0
        [outputs] = place.engine.outputs(ended.attempt)
        assert (Path(outputs) / "result.txt").read_text() == "from the code"
        shared = place.home / "code" / ("a" * 64) / "pkg" / "data.txt"
        private = place.node_dir(ended.attempt) / "work" / "pkg" / "data.txt"
        assert os.stat(shared).st_ino != os.stat(private).st_ino


def test_a_command_that_does_not_exist_says_so(place):
    ended = place.run(1, ("no-such-program", "x"))
    assert (ended.reason, ended.exit.code) == (StopReason.NONZERO_EXIT, 127)
    assert "no-such-program" in ended.exit.detail


def test_nothing_of_the_daemons_environment_leaks(place, monkeypatch):
    monkeypatch.setenv("DAEMON_ONLY", "1")
    attempt = place.run(1, "env; pwd", gpus=2).attempt
    env = dict(
        line.split("=", 1) for line in place.output(attempt).decode().split("\n") if "=" in line
    )
    assert "DAEMON_ONLY" not in env
    assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert env["ZENKEI_VIRTUAL_GPUS"] == "0,1"
    assert env["PYTHONUNBUFFERED"] == "1"
    assert until(lambda: place.output(attempt).strip().endswith(b"/work"), "pwd")
