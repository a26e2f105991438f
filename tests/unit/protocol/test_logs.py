"""The log format: whole records only, gaps that say what is missing, an index to start from."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenkei.agent.logfile import LogFile
from zenkei.protocol import logs

KIB = 1024


def chunk(data: bytes, at_us: int = 1, rank: int = 0, flags: int = 0) -> logs.Chunk:
    return logs.Chunk(at_us, rank, logs.STDOUT, flags, data)


def write(folder: Path, chunks: list[logs.Chunk], *, head: int = 1 << 30, tail: int = 1 << 30):
    log = LogFile(str(folder), head_bytes=head, tail_bytes=tail)
    for each in chunks:
        log.append(each)
    log.close(sync=False)


def read_all(folder: Path, limit: int = 1 << 20) -> list[logs.Chunk]:
    return [found for found, _ in logs.walk(partial(logs.read, str(folder)), 0, limit)]


chunks = st.lists(st.binary(max_size=300).map(chunk), max_size=20)


@given(chunks, st.integers(min_value=0, max_value=5000))
def test_a_reader_gets_whole_records_wherever_the_bytes_end(written, cut):
    data = b"".join(map(logs.encode, written))[:cut]
    found, after = logs.decode(data, 100)
    assert found == written[: len(found)]
    assert after - 100 == sum(len(logs.encode(each)) for each in found)
    assert len(data) - (after - 100) < logs.HEADER.size + 300


def test_damage_is_told_with_its_place():
    data = bytearray(logs.encode(chunk(b"abc")) * 2)
    data[-1] ^= 1
    with pytest.raises(ValueError, match="offset 27"):
        logs.decode(bytes(data), 0)


def test_a_log_is_read_across_its_segments(tmp_path):
    written = [chunk(b"%05d\n" % n * 1000, at_us=n) for n in range(100)]
    write(tmp_path / "log", written, head=256 * KIB)
    assert read_all(tmp_path / "log") == written
    assert len(logs.segments(str(tmp_path / "log"))) > 1


def test_a_reader_with_a_small_limit_still_gets_whole_records(tmp_path):
    written = [chunk(b"%05d\n" % n * 8000, at_us=n) for n in range(5)]
    write(tmp_path / "log", written)
    assert read_all(tmp_path / "log", limit=10) == written


def test_a_long_log_keeps_head_and_tail_and_counts_what_is_gone(tmp_path):
    written = [chunk(b"%05d\n" % n * 1000, at_us=n) for n in range(1000)]
    write(tmp_path / "log", written, head=256 * KIB, tail=256 * KIB)
    found = read_all(tmp_path / "log")
    [at] = [i for i, each in enumerate(found) if each.stream == logs.GAP]
    gap = logs.gap_of(found[at])
    kept = [each for each in found if each.stream != logs.GAP]
    assert found[:at] == written[:at]
    assert found[at + 1 :] == written[len(written) - len(found) + at + 1 :]
    assert sum(len(each.data) for each in kept) + gap.dropped_bytes == 6_000_000
    assert sum(each.data.count(b"\n") for each in kept) + gap.dropped_lines == 1_000_000
    size = sum(file.stat().st_size for file in (tmp_path / "log").iterdir())
    assert size < 1000 * KIB


def test_a_reader_that_fell_behind_goes_on_after_the_gap(tmp_path):
    log = LogFile(str(tmp_path / "log"), head_bytes=64 * KIB, tail_bytes=64 * KIB)
    log.append(chunk(b"first\n"))
    [(_, after)] = logs.walk(partial(logs.read, str(tmp_path / "log")))
    for number in range(200):
        log.append(chunk(b"%05d\n" % number * 1000))
    rest = [each for each, _ in logs.walk(partial(logs.read, str(tmp_path / "log")), after)]
    log.close(sync=False)
    assert rest[-1].data.startswith(b"00199")
    assert [each.stream for each in rest].count(logs.GAP) == 1


def test_the_index_leads_near_the_last_lines_and_near_an_instant(tmp_path):
    written = [chunk(b"%05d\n" % n * 1000, at_us=n) for n in range(500)]
    write(tmp_path / "log", written)
    entries = logs.index(str(tmp_path / "log"))
    read = partial(logs.read, str(tmp_path / "log"))
    start = logs.start_for_tail(entries, 2000, 500_000)
    tail = [each for each, _ in logs.walk(read, start)]
    assert tail[-2:] == written[-2:]
    assert len(tail) < 60
    since = [each for each, _ in logs.walk(read, logs.start_for_since(entries, 400))]
    assert [each for each in since if each.at_us >= 400] == written[400:]
    assert len(since) < 160


def test_a_chunk_that_is_too_long_is_cut_at_line_ends(tmp_path):
    data = b"".join(b"%09d\n" % n for n in range(20_000))
    write(tmp_path / "log", [chunk(data)])
    found = read_all(tmp_path / "log")
    assert b"".join(each.data for each in found) == data
    assert all(each.data.endswith(b"\n") and not each.flags for each in found)


def test_there_is_nothing_to_read_where_nothing_was_printed(tmp_path):
    assert logs.read(str(tmp_path / "log"), 0, 100) == b""
    assert logs.index(str(tmp_path / "log")) == []
