"""Output of several nodes in the order of time, resumed anywhere, shown whatever it is."""

from pathlib import Path
from random import Random

import pytest

from tests.served import chunk
from zenkei.agent.logfile import LogFile
from zenkei.protocol import logs
from zenkei.server.loglines import LogTail, Texts, last_lines, wanted


class Nodes:
    """Logs in memory; `read` gives at most `most` bytes at once."""

    def __init__(self, *nodes: bytes, most: int = 1 << 20) -> None:
        self.nodes = list(nodes)
        self.most = most

    def read(self, node: int, offset: int, limit: int) -> bytes:
        return self.nodes[node][offset : offset + min(limit, self.most)]


def texts(batch: list[logs.Chunk]) -> list[str]:
    return [c.data.decode() for c in batch]


def test_chunks_of_all_nodes_come_in_the_order_of_time():
    nodes = Nodes(chunk("a1", 10) + chunk("a2", 30), chunk("b1", 20) + chunk("b2", 40))
    assert texts(LogTail(nodes.read, 2).batch()) == ["a1", "b1", "a2", "b2"]


def test_order_holds_when_a_node_is_read_in_small_pieces():
    one = b"".join(chunk(f"a{i}", 10 * i) for i in range(50))
    two = b"".join(chunk(f"b{i}", 10 * i + 5) for i in range(50))
    tail = LogTail(Nodes(one, two, most=60).read, 2)
    found = [text for batch in tail.rest() for text in texts(batch)]
    assert found == [f"{n}{i}" for i in range(50) for n in "ab"]


def test_what_is_written_later_is_read_later_and_nothing_twice():
    nodes = Nodes(chunk("a", 1))
    tail = LogTail(nodes.read, 1)
    assert texts(tail.batch()) == ["a"]
    assert tail.batch() == []
    nodes.nodes[0] += chunk("b", 2)[:10]
    assert tail.batch() == [], "half a record is not shown"
    nodes.nodes[0] = chunk("a", 1) + chunk("b", 2)
    assert texts(tail.batch()) == ["b"]


def test_a_follower_resumes_at_every_chunk_without_gap_or_duplicate():
    whole = [chunk(f"{i}\n", i) for i in range(20)]
    nodes = Nodes(b"".join(whole[::2]), b"".join(whole[1::2]))
    everything = texts(LogTail(nodes.read, 2).batch())
    for seen in range(20):
        first = LogTail(nodes.read, 2)
        first.batch()
        # where a follower is that has been shown `seen` chunks
        sizes = [len(c) for c in whole[:seen]]
        offsets = (sum(sizes[::2]), sum(sizes[1::2]))
        assert texts(LogTail(nodes.read, 2, offsets).batch()) == everything[seen:]


def test_offsets_of_another_number_of_nodes_start_again():
    nodes = Nodes(chunk("a", 1))
    assert texts(LogTail(nodes.read, 1, (5, 5)).batch()) == ["a"]


def test_a_gap_is_told_and_jumped():
    body = logs.GAP_BODY.pack(1000, 12, 3)
    gap = logs.encode(logs.Chunk(5, logs.NO_RANK, logs.GAP, 0, body))

    def read(node: int, offset: int, limit: int) -> bytes:
        return {0: gap, 1000: chunk("after", 6)}.get(offset, b"")

    tail = LogTail(read, 1)
    first = tail.batch()
    assert "3 lines (12 bytes) were not kept" in Texts().line(first[0]).text
    assert texts(first[1:] + tail.batch()) == ["after"]


def test_damage_is_said_once_and_ends_only_that_node():
    nodes = Nodes(b"\x00" * 100, chunk("b", 1))
    tail = LogTail(nodes.read, 2)
    found = [c.data for batch in tail.rest() for c in batch]
    assert any(b"cannot be read further" in data for data in found)
    assert b"b" in found


def test_a_letter_cut_in_two_is_shown_whole():
    letter = "日".encode()
    one = logs.Chunk(1, 0, logs.STDOUT, logs.PARTIAL, b"x" + letter[:2])
    two = logs.Chunk(2, 0, logs.STDOUT, 0, letter[2:] + b"\n")
    shown = Texts()
    assert shown.line(one).text + shown.line(two).text == "x日\n"


def test_bytes_that_are_no_text_are_shown_escaped():
    shown = Texts().line(logs.Chunk(1, 0, logs.STDOUT, 0, b"a\xff\xfeb\n"))
    assert shown.text == "a\\xff\\xfeb\n"


def test_cut_letters_of_two_ranks_do_not_mix():
    letter = "日".encode()
    shown = Texts()
    shown.line(logs.Chunk(1, 0, logs.STDOUT, logs.PARTIAL, letter[:1]))
    assert shown.line(logs.Chunk(2, 1, logs.STDOUT, 0, b"ok\n")).text == "ok\n"


def test_the_last_lines_are_the_last_lines_whatever_the_chunks():
    batches = [[logs.Chunk(1, 0, 1, 0, b"1\n2\n3\n")], [logs.Chunk(2, 0, 1, 0, b"4\n5\n")]]
    for count in range(6):
        found = b"".join(c.data for c in last_lines(iter(batches), count))
        assert found == b"".join(b"%d\n" % i for i in range(6 - count, 6))
    assert len(b"".join(c.data for c in last_lines(iter(batches), 99))) == 10


def test_an_open_last_line_counts_with_the_ones_before():
    batches = [[logs.Chunk(1, 0, 1, 0, b"1\n2\nopen")]]
    assert b"".join(c.data for c in last_lines(iter(batches), 1)) == b"2\nopen"


def test_ranks_and_times_are_chosen_remarks_of_zenkei_stay():
    own = logs.Chunk(10, 3, logs.STDOUT, 0, b"")
    remark = logs.Chunk(10, logs.NO_RANK, logs.SYSTEM, 0, b"")
    assert wanted(own, frozenset(), 0)
    assert wanted(own, frozenset([3]), 10)
    assert not wanted(own, frozenset([2]), 0)
    assert not wanted(own, frozenset([3]), 11)
    assert wanted(remark, frozenset([2]), 0)


class Written:
    """Logs of two nodes as a supervisor writes them; counts the bytes that are read."""

    def __init__(self, folder: Path, chunks: int, *, tail_bytes: int = 1 << 30) -> None:
        self.folder = folder
        self.bytes = 0
        dice = Random(7)
        for node in range(2):
            log = LogFile(str(folder / str(node)), head_bytes=64 << 10, tail_bytes=tail_bytes)
            for i in range(chunks):
                text = "".join(dice.choice(("word ", "line\n")) for _ in range(dice.randrange(9)))
                flags = 0 if text.endswith("\n") else logs.PARTIAL
                data = f"{node}.{i} {text}".encode()
                log.append(logs.Chunk(10 * i + node, i % 3, logs.STDOUT, flags, data))
            log.close(sync=False)

    def read(self, node: int, offset: int, limit: int) -> bytes:
        data = logs.read(str(self.folder / str(node)), offset, limit)
        self.bytes += len(data)
        return data

    def index(self, node: int) -> list[logs.Entry]:
        return logs.index(str(self.folder / str(node)))

    def tail(self) -> LogTail:
        return LogTail(self.read, 2, index=self.index)


def everything(_chunk: logs.Chunk) -> bool:
    return True


def of_rank_1(chunk: logs.Chunk) -> bool:
    return wanted(chunk, frozenset({1}), 0)


@pytest.mark.parametrize("keep", [everything, of_rank_1])
@pytest.mark.parametrize("tail_bytes", [1 << 30, 64 << 10], ids=["whole", "with-a-gap"])
def test_the_last_lines_found_from_the_end_are_those_found_from_the_start(
    tmp_path, monkeypatch, keep, tail_bytes
):
    monkeypatch.setattr(logs, "INDEX_EVERY", 2000)
    written = Written(tmp_path, 6000, tail_bytes=tail_bytes)
    for count in (0, 1, 2, 7, 50, 1000, 4000, 20_000, 10**6):
        batches = ([c for c in batch if keep(c)] for batch in written.tail().rest())
        from_the_start = last_lines(batches, count)
        tail = written.tail()
        assert tail.last(count, keep) == from_the_start, count
        assert tail.batch() == [], "what follows is what is written later"


def test_the_last_lines_of_a_long_log_are_found_without_reading_it(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "INDEX_EVERY", 4000)
    written = Written(tmp_path, 40_000)
    list(written.tail().rest())
    whole, written.bytes = written.bytes, 0
    assert len(written.tail().last(10, everything)) > 1
    assert written.bytes < whole / 20


def test_the_numbers_in_a_gap_are_not_counted_as_lines():
    body = logs.GAP_BODY.pack(0x0A0A0A, 0x0A0A, 0x0A)
    gap = logs.Chunk(5, logs.NO_RANK, logs.GAP, 0, body)
    line = logs.Chunk(4, 0, logs.STDOUT, 0, b"before\n")
    assert last_lines(iter([[line, gap]]), 2) == [line, gap]
