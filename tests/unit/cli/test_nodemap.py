"""The cluster as it is drawn: cells, marks, widths, and what stands below them."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from zenkei.cli import nodemap, render
from zenkei.cli.nodemap import ASCII, UTF8, Pen, map_text

NOW_US = 1_700_000_000_000_000
HOUR_US = 3_600_000_000
PEN = Pen(UTF8, 80, NOW_US)
Json = dict[str, Any]


def node(
    name: str,
    gpus: int = 4,
    *,
    held: dict[str, dict[int, int]] | None = None,
    foreign: tuple[int, ...] = (),
    **keys: object,
) -> Json:
    """held: by job, thousandths of each GPU."""
    devices = [{"index": i, "kind": "H100", "foreign": i in foreign} for i in range(gpus)]
    parts = [
        {
            "job": job,
            "cpu_milli": 1000,
            "devices": [{"index": i, "milli": milli} for i, milli in shares.items()],
        }
        for job, shares in (held or {}).items()
    ]
    known = {"cluster": "local", "state": "ready", "reason": "", "topology": [], "cpu_milli": 8000}
    return {"name": name, **known, "devices": devices, "held": parts, **keys}


def whole(*indices: int) -> dict[int, int]:
    return dict.fromkeys(indices, 1000)


def booked(from_us: int, to_us: int, *nodes: str) -> Json:
    return {"name": "upgrade", "nodes": list(nodes), "from_us": from_us, "to_us": to_us}


def drawn(*nodes: Json, pen: Pen = PEN, reservations: tuple[Json, ...] = ()) -> list[str]:
    return map_text(nodes, reservations, pen).splitlines()


def test_each_gpu_is_a_cell_with_the_letter_of_its_job():
    lines = drawn(node("n1", held={"12": whole(0, 1), "7": whole(3)}), node("n2"))
    assert lines == [
        "  n1  bb·a  1/4 GPUs free",
        "  n2  ····  4/4 GPUs free",
        "a job 7  b job 12  · free",
        "2 nodes, 5/8 GPUs free",
    ]


def test_a_shared_gpu_is_a_shade_and_its_share_is_told():
    lines = drawn(node("n1", held={"3": {0: 250}, "4": {0: 500}, "5": {1: 100}}))
    assert lines[0] == "  n1  █░··  3.15/4 GPUs free, shared: GPU 0 75 %, GPU 1 10 %"
    assert "░..█ shared" in lines[1]


def test_a_gpu_that_others_use_is_neither_free_nor_a_job():
    lines = drawn(node("n1", foreign=(2,)))
    assert lines[0] == "  n1  ··×·  3/4 GPUs free"
    assert "× used by others" in lines[1]


def test_nodes_stand_below_their_place_in_the_order_in_which_people_count():
    lines = drawn(
        node("n1", topology=["row1", "rack10"]),
        node("n10", topology=["row1", "rack2"]),
        node("n9", topology=["row1", "rack2"]),
    )
    assert [line.split()[0] for line in lines[:5]] == [
        "row1/rack2",
        "n9",
        "n10",
        "row1/rack10",
        "n1",
    ]


def test_several_clusters_are_told_apart():
    lines = drawn(node("a", cluster="east"), node("b", cluster="west"))
    assert [line.split()[0] for line in lines[:4]] == ["east", "a", "west", "b"]


def test_what_keeps_a_node_from_taking_work_is_told():
    down = node("n1", state="down", reason="no sign of life\x1b[2J")
    lines = drawn(down, node("n2", state="draining"))
    assert lines[0].endswith("down: no sign of life\\x1b[2J")
    assert lines[1].endswith("draining")
    assert lines[-1] == "2 nodes, 1 down, 1 draining, 0/8 GPUs free"


@pytest.mark.parametrize(
    ("from_us", "to_us", "told"),
    [(-1, 1, "reserved (upgrade) to"), (1, 2, "reserved (upgrade) from"), (-2, -1, "")],
    ids=["now", "later", "over"],
)
def test_reservations_are_told_until_they_are_over(from_us, to_us, told):
    one = booked(NOW_US + from_us * HOUR_US, NOW_US + to_us * HOUR_US, "n[1-3]")
    first, second = drawn(node("n1"), node("n9"), reservations=(one,))[:2]
    assert (told in first) if told else ("reserved" not in first)
    assert "reserved" not in second


def test_a_node_without_gpus_shows_its_cpus():
    lines = drawn(node("n1", 0, held={"3": {}, "4": {}}))
    assert lines[0] == "  n1  6/8 CPUs free #####..............."
    assert lines[-1] == "1 node, 6/8 CPUs free"


def test_an_empty_cluster_says_so():
    assert drawn() == ["no node has registered yet"]


def many(number: int, topology: bool = True) -> list[Json]:
    return [
        node(
            f"n{i}",
            8,
            topology=[f"row{i // 100}", f"rack{i // 20}"] if topology else [],
            state="down" if i == 3 else "ready",
            held={str(i): whole(*range(i % 9))} if i % 9 else {},
        )
        for i in range(number)
    ]


def test_a_large_cluster_has_a_line_for_each_rack_with_a_cell_for_each_node():
    lines = drawn(*many(1000))
    assert len(lines) == 50 + 2
    assert lines[0] == "row0/rack0   ·▄▄x▄▄▄▄█·▄▄▄▄▄▄▄█·▄  20 nodes, 1 down, 82/160 GPUs free"
    assert lines[-2] == "x down  · free  ▄ partly used  █ full"


def test_reserved_nodes_of_a_large_cluster_are_marked():
    one = booked(NOW_US - 1, NOW_US + 1, "n1")
    lines = drawn(*many(100), reservations=(one,))
    assert lines[0].split()[1].startswith("·r▄x")
    assert "r reserved" in lines[-2]


def test_a_large_cluster_of_unknown_places_is_one_block():
    lines = drawn(*many(1000, topology=False))
    assert lines[0].startswith("all nodes: 1000 nodes")
    assert sum(len(line.strip()) for line in lines[1:-2]) == 1000


def test_more_racks_than_lines_are_put_together_by_the_next_level():
    nodes = [node(f"n{i}", 1, topology=["site", f"rack{i}"]) for i in range(200)]
    assert [line.split(":")[0] for line in drawn(*nodes)[:1]] == ["site"]


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("nodes", [9, 300])
@pytest.mark.parametrize("gpus", [0, 8, 64])
def test_nothing_is_wider_than_the_terminal(width, nodes, gpus):
    some = [
        node(
            f"a-name-that-goes-on-and-on-{i}",
            gpus,
            topology=["a-place-with-a-long-name" * 3],
            state="suspect",
            reason="it was slow " * 20,
            held={f"{i}.1": dict.fromkeys(range(gpus // 2), 300)},
        )
        for i in range(nodes)
    ]
    assert max(map(render.width_of, drawn(*some, pen=Pen(UTF8, width, NOW_US)))) <= width


def test_all_of_a_node_with_many_gpus_is_drawn():
    lines = drawn(node("n1", 64, held={"1": whole(*range(64))}), pen=Pen(UTF8, 40, NOW_US))
    assert sum(line.count("a") for line in lines if line.startswith("  ")) >= 64


def test_more_jobs_than_letters_leave_the_small_ones_without():
    nodes = [node(f"n{i}", 1, held={str(i): whole(0)}) for i in range(60)]
    large = node("n99", 2, held={"99": whole(0, 1)})
    lines = drawn(*nodes, large)
    assert "* other jobs" in "\n".join(lines)
    assert any(line.startswith("  n99") and "*" not in line for line in lines)


def test_plain_characters_do_where_the_output_has_no_others():
    shared = node("n1", held={"3": {0: 500}, "4": whole(1)}, foreign=(3,), reason="x" * 99)
    text = "\n".join(
        drawn(shared, node("n2", state="down", reason="y" * 99), pen=Pen(ASCII, 50, 0))
    )
    assert text.isascii()
    assert "  n1  5a.!  " in text
    assert "\n".join(drawn(*many(99), pen=Pen(ASCII, 80, 0))).isascii()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("refused", ["", "1"])
def test_colours_show_on_a_terminal_that_wants_them(monkeypatch, refused):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", refused)
    text = map_text([node("n1", held={"1": whole(0)}, state="down")], (), PEN)
    assert ("\x1b[" in text) == (not refused)


@pytest.mark.parametrize(
    ("encoding", "glyphs"), [("utf-8", UTF8), ("UTF8", UTF8), ("ascii", ASCII), ("latin-1", ASCII)]
)
def test_the_encoding_of_the_output_decides_on_the_characters(monkeypatch, encoding, glyphs):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert Pen.of_terminal().glyphs is glyphs
    assert Pen.of_terminal().width == nodemap.WIDTH
