"""`zenkei nodes --map`: the cluster drawn in a terminal.

Used by `nodes`. One row for each node, below the place where it stands, and one cell for each GPU:
a letter for the job that has it, a shade where it is shared. A cluster with more than MOST_ROWS
nodes is drawn by place, one cell for each node. Never wider than the terminal. Cost: O(GPUs).
"""

from __future__ import annotations

import string
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zenkei.cli import render
from zenkei.cli.nodes import natural
from zenkei.cli.queue import bar

Json = dict[str, Any]
MOST_ROWS = 64
"""Nodes, and then places, that have a row of their own."""
LETTERS = string.ascii_lowercase + string.ascii_uppercase
WIDTH = 80
LEAST_WIDTH = 40
NAME = 24
STATES = {
    "down": ("x", "31"),
    "draining": ("d", "33"),
    "drained": ("d", "33"),
    "suspect": ("?", "33"),
    "probing": ("?", "33"),
}
JOB_COLOURS = ("36", "32", "35", "34", "96", "92", "95", "94")
GREY = "90"


@dataclass(frozen=True)
class Glyphs:
    """free, foreign: of a GPU. shades: of a shared one, little to much. some, full: of a node."""

    free: str
    foreign: str
    shades: str
    some: str
    full: str
    cut: str
    other: str = "*"


UTF8 = Glyphs("·", "×", "░▒▓█", "▄", "█", "…")
ASCII = Glyphs(".", "!", "123456789", "-", "#", "~")


@dataclass(frozen=True)
class Pen:
    """How to draw. now_us: reservations that are over by then do not show."""

    glyphs: Glyphs
    width: int
    now_us: int

    def fit(self, text: str, width: int) -> str:
        """Cut to so many columns, in characters that the output has."""
        return render.fit(text, width).replace("…", self.glyphs.cut)

    @classmethod
    def of_terminal(cls) -> Pen:
        """As wide as the terminal; plain characters where the output has no others."""
        encoding = (sys.stdout.encoding or "").lower().replace("-", "")
        width = max(LEAST_WIDTH, render.columns(sys.stdout) or WIDTH)
        return cls(UTF8 if encoding == "utf8" else ASCII, width, render.now_us())


def map_text(nodes: Sequence[Json], reservations: Iterable[Json], pen: Pen) -> str:
    """The whole drawing with its legend. reservations: as in the cluster's configuration."""
    if not nodes:
        return "no node has registered yet"
    booked = _booked(nodes, reservations, pen)
    places = _places(nodes)
    if len(nodes) > MOST_ROWS:
        lines = _by_place(places, booked, pen)
    else:
        lines = _by_node(places, booked, pen)
    return "\n".join([*lines, pen.fit(_sum(nodes), pen.width)])


# -- where nodes stand ---------------------------------------------------------------------------
Places = dict[tuple[str, ...], list[Json]]


def _places(nodes: Sequence[Json]) -> Places:
    """By place, both in the order in which people count."""
    several = len({node["cluster"] for node in nodes}) > 1
    found: Places = {}
    for node in nodes:
        path = (node["cluster"], *node["topology"]) if several else (*node["topology"],)
        found.setdefault(path, []).append(node)
    order = sorted(found, key=lambda path: [natural(name) for name in path])
    return {path: sorted(found[path], key=lambda n: natural(n["name"])) for path in order}


def _wider(places: Places) -> Places:
    """Places put together until there are not more than MOST_ROWS."""
    while len(places) > MOST_ROWS:
        depth = max(map(len, places)) - 1
        joined: Places = {}
        for path, nodes in places.items():
            joined.setdefault(path[:depth], []).extend(nodes)
        places = joined
    return places


def _booked(nodes: Sequence[Json], reservations: Iterable[Json], pen: Pen) -> Mapping[str, Json]:
    """By node: the first reservation that is not over."""
    open_ = [one for one in reservations if one["to_us"] > pen.now_us]
    if not open_:
        return {}
    from zenkei.model.nodenames import matcher

    found: dict[str, Json] = {}
    for one in sorted(open_, key=lambda one: (one["from_us"], one["name"])):
        fits = matcher(one["nodes"])
        for node in nodes:
            if node["name"] not in found and fits(node["name"]):
                found[node["name"]] = one
    return found


# -- a row for each node -------------------------------------------------------------------------
def _by_node(places: Places, booked: Mapping[str, Json], pen: Pen) -> list[str]:
    every = [node for nodes in places.values() for node in nodes]
    letters = _letters(every)
    names = min(NAME, max(render.width_of(render.clean(node["name"])) for node in every))
    most = max(len(node["devices"]) for node in every)
    lines = []
    for path, nodes in places.items():
        if path:
            lines.append(pen.fit(render.clean("/".join(path)), pen.width))
        for node in nodes:
            lines += _row(node, names, most, letters, booked.get(node["name"]), pen)
    return [*lines, *_legend(every, letters, pen)]


def _row(
    node: Json, names: int, most: int, letters: Mapping[str, str], booked: Json | None, pen: Pen
) -> list[str]:
    name = pen.fit(render.clean(node["name"]), names)
    head = f"  {name}{' ' * (names - render.width_of(name))}  "
    room = pen.width - len(head)
    cells = _cells(node, letters, pen)
    wide = min(most, max(8, room - 20))
    lines = [cells[at : at + wide] for at in range(0, len(cells), wide)] if cells else [[]]
    said = pen.fit(render.clean(_said(node, booked, pen)), room - wide - 2)
    rows = []
    for at, some in enumerate(lines):
        start = head if not at else " " * len(head)
        space = " " * (wide - len(some) + 2 * bool(wide))
        tail = f"{space}{render.paint(said, _colour(node))}" if not at else ""
        rows.append((start + "".join(some) + tail).rstrip())
    return rows


def _colour(node: Json) -> str:
    return STATES.get(node["state"], ("", ""))[1]


def _said(node: Json, booked: Json | None, pen: Pen) -> str:
    """What is free, and what must be said about the node."""
    parts = [_free_text(node)]
    if node["state"] != "ready":
        parts.append(node["state"] + (f": {node['reason']}" if node["reason"] else ""))
    if booked is not None:
        when = f"to {render.clock(booked['to_us'])[:16]}"
        if booked["from_us"] > pen.now_us:
            when = f"from {render.clock(booked['from_us'])[:16]} {when}"
        parts.append(f"reserved ({booked['name']}) {when}")
    shares = [
        f"GPU {index} {milli / 10:g} %"
        for index, (milli, jobs) in sorted(_taken(node).items())
        if _is_shared(milli, jobs)
    ]
    return ", ".join([*parts, *(["shared: " + ", ".join(shares)] if shares else [])])


def _free_text(node: Json) -> str:
    if node["devices"]:
        return f"{_free_gpus(node) / 1000:g}/{len(node['devices'])} GPUs free"
    cpu, used = node["cpu_milli"], sum(part["cpu_milli"] for part in node["held"])
    return f"{(cpu - used) / 1000:g}/{cpu / 1000:g} CPUs free {bar(used, cpu, max(cpu, 1))}"


def _taken(node: Json) -> dict[int, tuple[int, list[str]]]:
    """By GPU: thousandths that are taken, and the jobs that have them."""
    found: dict[int, tuple[int, list[str]]] = {}
    for part in node["held"]:
        for share in part["devices"]:
            milli, jobs = found.get(share["index"], (0, []))
            found[share["index"]] = milli + share["milli"], [*jobs, part["job"]]
    return found


def _is_shared(milli: int, jobs: Sequence[str]) -> bool:
    return milli < 1000 or len(jobs) > 1


def _free_gpus(node: Json) -> int:
    taken = _taken(node)
    usable = [d["index"] for d in node["devices"] if not d["foreign"]]
    return sum(max(0, 1000 - taken.get(index, (0, []))[0]) for index in usable)


def _cells(node: Json, letters: Mapping[str, str], pen: Pen) -> list[str]:
    """One for each GPU, painted."""
    taken, glyphs = _taken(node), pen.glyphs
    cells = []
    for device in node["devices"]:
        milli, jobs = taken.get(device["index"], (0, []))
        if not jobs:
            mark = glyphs.foreign if device["foreign"] else glyphs.free
            cells.append(render.paint(mark, "31" if device["foreign"] else GREY))
        elif _is_shared(milli, jobs):
            cells.append(render.paint(_shade(milli, glyphs), "33"))
        else:
            letter = letters.get(jobs[0], glyphs.other)
            at = LETTERS.find(letter)
            cells.append(render.paint(letter, JOB_COLOURS[at % len(JOB_COLOURS)]))
    return cells


def _shade(milli: int, glyphs: Glyphs) -> str:
    steps = len(glyphs.shades)
    return glyphs.shades[min(steps - 1, max(0, milli * steps // 1000 - (milli >= 1000)))]


def _letters(nodes: Sequence[Json]) -> dict[str, str]:
    """By job, those that have most whole GPUs first if there are more jobs than letters."""
    held: dict[str, int] = {}
    for node in nodes:
        for milli, jobs in _taken(node).values():
            if not _is_shared(milli, jobs):
                held[jobs[0]] = held.get(jobs[0], 0) + 1
    largest = sorted(held, key=lambda job: (-held[job], natural(job)))[: len(LETTERS)]
    return dict(zip(sorted(largest, key=natural), LETTERS, strict=False))


def _legend(nodes: Sequence[Json], letters: Mapping[str, str], pen: Pen) -> list[str]:
    """What the marks mean, those that occur; as many lines as it takes."""
    glyphs = pen.glyphs
    said = [f"{letter} job {job}" for job, letter in letters.items()]
    drawn = {mark for node in nodes for mark in _marks(node, letters, glyphs)}
    if glyphs.other in drawn:
        said.append(f"{glyphs.other} other jobs")
    if drawn & {*glyphs.shades}:
        said.append(f"{glyphs.shades[0]}..{glyphs.shades[-1]} shared, little to all of it")
    if glyphs.free in drawn:
        said.append(f"{glyphs.free} free")
    if glyphs.foreign in drawn:
        said.append(f"{glyphs.foreign} used by others")
    return _wrapped(said, pen)


def _marks(node: Json, letters: Mapping[str, str], glyphs: Glyphs) -> Iterable[str]:
    taken = _taken(node)
    for device in node["devices"]:
        milli, jobs = taken.get(device["index"], (0, []))
        if not jobs:
            yield glyphs.foreign if device["foreign"] else glyphs.free
        elif _is_shared(milli, jobs):
            yield _shade(milli, glyphs)
        elif jobs[0] not in letters:
            yield glyphs.other


def _wrapped(said: Sequence[str], pen: Pen) -> list[str]:
    lines: list[str] = []
    for text in map(render.clean, said):
        if lines and render.width_of(lines[-1]) + 2 + render.width_of(text) <= pen.width:
            lines[-1] += f"  {text}"
        else:
            lines.append(pen.fit(text, pen.width))
    return lines


# -- a cell for each node ------------------------------------------------------------------------
def _by_place(places: Places, booked: Mapping[str, Json], pen: Pen) -> list[str]:
    drawn, lines = dict[str, str](), list[str]()
    places = _wider(places)
    names = {path: pen.fit(render.clean("/".join(path)) or "all nodes", NAME) for path in places}
    wide = max(map(render.width_of, names.values()))
    most = max(map(len, places.values()))
    for path, nodes in places.items():
        marks = [_mark(node, booked.get(node["name"]), pen) for node in nodes]
        drawn |= {mark: meaning for mark, meaning, _ in marks}
        cells = [render.paint(mark, colour) for mark, _, colour in marks]
        head = names[path] + " " * (wide - render.width_of(names[path]))
        said = _sum(nodes)
        if len(head) + most + len(said) + 4 <= pen.width:
            lines.append(f"{head}  {''.join(cells)}{' ' * (most - len(cells))}  {said}")
            continue
        lines.append(pen.fit(f"{names[path]}: {said}", pen.width))
        room = pen.width - 2
        lines += ["  " + "".join(cells[at : at + room]) for at in range(0, len(cells), room)]
    return [*lines, *_wrapped([f"{mark} {drawn[mark]}" for mark in sorted(drawn)], pen)]


def _mark(node: Json, booked: Json | None, pen: Pen) -> tuple[str, str, str]:
    """Sign, meaning and colour of a whole node."""
    glyphs = pen.glyphs
    if node["state"] in STATES:
        sign, colour = STATES[node["state"]]
        words = {"d": "draining", "?": "suspect", "x": "down"}
        return sign, words[sign], colour
    if booked is not None and booked["from_us"] <= pen.now_us:
        return "r", "reserved", "34"
    free, every = _room(node)
    if free <= 0:
        return glyphs.full, "full", "36"
    if free < every:
        return glyphs.some, "partly used", "36"
    return glyphs.free, "free", GREY


def _room(node: Json) -> tuple[int, int]:
    """Free and all: of GPUs, or of CPUs where there are none."""
    if node["devices"]:
        return _free_gpus(node), 1000 * len(node["devices"])
    cpu = node["cpu_milli"]
    return cpu - sum(part["cpu_milli"] for part in node["held"]), cpu


def _sum(nodes: Sequence[Json]) -> str:
    """`16 nodes, 2 down, 96.5/128 GPUs free on those that are ready`."""
    states: dict[str, int] = {}
    for node in nodes:
        states[node["state"]] = states.get(node["state"], 0) + 1
    ready = [node for node in nodes if node["state"] == "ready"]
    parts = [render.count(len(nodes), "node")]
    parts += [f"{states[state]} {state}" for state in STATES if state in states]
    devices = sum(len(node["devices"]) for node in nodes)
    if devices:
        free = sum(map(_free_gpus, ready)) / 1000
        parts.append(f"{free:g}/{devices} GPUs free")
    else:
        parts.append(
            f"{sum(_room(node)[0] for node in ready) / 1000:g}"
            f"/{sum(node['cpu_milli'] for node in nodes) / 1000:g} CPUs free"
        )
    return ", ".join(parts)
