"""Nodes that take work, indexed by what is free on them.

Used by `planner` only. Pure. Nodes with the same free devices share an interned *state*; within a
state they lie sorted by free CPU, memory, disk and name. Whether the devices of a state suffice for
a *shape* (the GPU side of a request) is asked of `model.resources.fits` once and remembered, so a
placement looks at states, not at nodes. The order is total and depends on nothing but what is free:
the same world gives the same choice, however it came about.

Order (`select`): the score of the state, then least free CPU, memory, disk, then name. Score, least
first: thousandths left over on the devices that would be used (a share goes where it fills best),
whether the node has GPUs at all (work on CPUs leaves them alone), free thousandths of all its GPUs
(fullest first: large blocks stay whole for those who need them).
Cost: `put`, `drop` O(log nodes) and one short memmove; `select` O(states passed over + parts · log
nodes), plus a scan of nodes that have the CPU but lack memory or disk.
Departure: states are exact to 1/1000 of a device; where fractions of many sizes are mixed, there
are nearly as many states as nodes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from zenkei.model.cluster import Node
from zenkei.model.resources import Capacity, Device, Free, Misfit, Request, fits, matches

Score: TypeAlias = tuple[int, int, int]
Entry: TypeAlias = tuple[int, int, int, str]
"""Free CPU, memory, disk, and the node's name."""

SPARE_STATES: Final = 256
"""States may outnumber the nodes by this much before the empty ones are swept out."""


class Shape(NamedTuple):
    """The part of a request that is answered by a node's devices and labels alone."""

    cluster: str
    gpu_count: int
    gpu_milli: int
    gpu_kinds: tuple[str, ...]
    constraints: tuple[tuple[str, tuple[str, ...]], ...]


class NodeRow:
    """A node and what is free on it now. `state` is -1 while the node is in no bucket."""

    __slots__ = ("entry", "free", "node", "state", "static")

    def __init__(self, node: Node, free: Free) -> None:
        self.node = node
        self.free = free
        self.state = -1
        self.static = -1
        self.entry: Entry = (0, 0, 0, node.name)


class Tally(NamedTuple):
    """Nodes that take work, of one shape's cluster and constraints: how many pass each test.

    Each test counts those that passed the ones before it. gpus_free: whole devices' worth free on
    matching nodes, most_gpus_free: on one of them.
    """

    matching: int = 0
    with_gpus: int = 0
    with_cpus: int = 0
    with_memory: int = 0
    fitting: int = 0
    gpus_free: int = 0
    most_gpus_free: int = 0


class _Static(NamedTuple):
    cluster: str
    labels: tuple[tuple[str, str | None], ...]
    kinds: tuple[str, ...]


class _State:
    """Free thousandths, sorted within each kind, and the nodes that are so."""

    __slots__ = ("bucket", "milli", "static", "total", "whole")

    def __init__(self, static: int, milli: tuple[int, ...]) -> None:
        self.static = static
        self.milli = milli
        self.bucket: list[Entry] = []
        self.total = sum(milli)
        self.whole = sum(m >= 1000 for m in milli)


class _Candidates:
    """States whose devices suffice for one shape, best first. read: states looked at so far."""

    __slots__ = ("read", "sorted")

    def __init__(self) -> None:
        self.read = 0
        self.sorted: list[tuple[Score, int]] = []


class NodeIndex:
    """See the module's docstring. Holds rows of nodes that are READY; the caller sees to that."""

    def __init__(self) -> None:
        self._label_keys: tuple[str, ...] = ()
        self.rows: dict[str, NodeRow] = {}
        self._forget()

    def _forget(self) -> None:
        self._static_ids: dict[_Static, int] = {}
        self._statics: list[_Static] = []
        self._state_ids: dict[tuple[int, tuple[int, ...]], int] = {}
        self._states: list[_State] = []
        self._shapes: dict[Shape, _Candidates] = {}

    def use_labels(self, keys: Iterable[str]) -> None:
        """Labels that constraints may name; others must not set nodes apart. O(nodes) if new."""
        wanted = tuple(sorted({*self._label_keys, *keys}))
        if wanted != self._label_keys:
            self._label_keys = wanted
            self._rebuild()

    def sweep(self) -> None:
        """Drop states that no node is in, if there are many. O(nodes) when it happens."""
        if len(self._states) > 2 * len(self.rows) + SPARE_STATES:
            self._rebuild()

    def _rebuild(self) -> None:
        rows = self.rows
        self.rows = {}
        self._forget()
        for row in rows.values():
            self.put(row)

    # -- nodes -----------------------------------------------------------------------------------
    def put(self, row: NodeRow) -> None:
        """Enter a node with what is free on it."""
        row.static = self._static(row.node)
        self.rows[row.node.name] = row
        self._enter(row)

    def drop(self, row: NodeRow) -> None:
        """Take a node out, as it was entered."""
        self._leave(row)
        del self.rows[row.node.name]
        row.state = -1

    def move(self, row: NodeRow) -> None:
        """`row.free` has changed: find the node's new place."""
        self._leave(row)
        self._enter(row)

    def _enter(self, row: NodeRow) -> None:
        free, static = row.free, row.static
        milli = self._sorted_milli(row.node, static, free.gpu_milli)
        key = (static, milli)
        state = self._state_ids.get(key)
        if state is None:
            state = self._state_ids[key] = len(self._states)
            self._states.append(_State(static, milli))
        row.state = state
        row.entry = (free.cpu_milli, free.memory_bytes, free.tmp_bytes, row.node.name)
        insort(self._states[state].bucket, row.entry)

    def _leave(self, row: NodeRow) -> None:
        bucket = self._states[row.state].bucket
        del bucket[bisect_left(bucket, row.entry)]

    def _static(self, node: Node) -> int:
        kinds = tuple(sorted(device.kind for device in node.capacity.devices))
        labels = tuple((key, node.labels.get(key)) for key in self._label_keys)
        static = _Static(node.cluster, labels, kinds)
        known = self._static_ids.setdefault(static, len(self._statics))
        if known == len(self._statics):
            self._statics.append(static)
        return known

    def _sorted_milli(self, node: Node, static: int, milli: list[int]) -> tuple[int, ...]:
        """Canonical order: by kind, as in `_Static.kinds`, and within a kind by what is free."""
        if len(milli) < 2:
            return tuple(milli)
        kinds = self._statics[static].kinds
        if kinds[0] == kinds[-1]:
            return tuple(sorted(milli))
        by_kind = sorted((device.kind, milli[device.index]) for device in node.capacity.devices)
        return tuple(m for _, m in by_kind)

    # -- placement -------------------------------------------------------------------------------
    def select(self, shape: Shape, request: Request, count: int) -> list[NodeRow]:
        """The best `count` nodes of one cluster that each fit `request`; all there are if fewer."""
        found: list[NodeRow] = []
        group: list[Entry] = []
        score: Score | None = None
        for ranked, state in self._candidates(shape):
            bucket = self._states[state].bucket
            if not bucket:
                continue
            if ranked != score:
                if group:
                    self._add(found, group, count)
                    if len(found) == count:
                        return found
                score, group = ranked, []
            group.extend(_fitting(bucket, request, count - len(found)))
        self._add(found, group, count)
        return found

    def _add(self, found: list[NodeRow], group: list[Entry], count: int) -> None:
        group.sort()
        found.extend(self.rows[entry[3]] for entry in group[: count - len(found)])

    def tally(self, shape: Shape, request: Request) -> Tally:
        """How many nodes pass which test, for a reason. O(states + nodes with enough CPU)."""
        matching = with_cpus = with_memory = fitting = total = most = 0
        wanted = dict(shape.constraints)
        apt = [
            static.cluster == shape.cluster and matches(_labels(static), wanted)
            for static in self._statics
        ]
        for state in self._states:
            if state.bucket and apt[state.static]:
                matching += len(state.bucket)
                total += state.whole * len(state.bucket)
                most = max(most, state.whole)
        able = [one for _, one in self._candidates(shape)]
        for one in able:
            bucket = self._states[one].bucket
            first = bisect_left(bucket, (request.cpu_milli,))
            with_cpus += len(bucket) - first
            for _, memory, tmp, _ in bucket[first:]:
                if memory >= request.memory_bytes:
                    with_memory += 1
                    fitting += tmp >= request.tmp_bytes
        with_gpus = sum(len(self._states[one].bucket) for one in able)
        return Tally(matching, with_gpus, with_cpus, with_memory, fitting, total, most)

    def _candidates(self, shape: Shape) -> list[tuple[Score, int]]:
        known = self._shapes.get(shape)
        if known is None:
            known = self._shapes[shape] = _Candidates()
        while known.read < len(self._states):
            score = self._score(shape, self._states[known.read])
            if score is not None:
                insort(known.sorted, (score, known.read))
            known.read += 1
        return known.sorted

    def _score(self, shape: Shape, state: _State) -> Score | None:
        """None if the devices of `state` do not suffice; asked of `fits` on a node made of them."""
        static = self._statics[state.static]
        if static.cluster != shape.cluster:
            return None
        if not matches(_labels(static), dict(shape.constraints)):
            return None
        devices = tuple(Device(index=i, kind=kind) for i, kind in enumerate(static.kinds))
        capacity = Capacity(cpu_milli=0, memory_bytes=0, tmp_bytes=0, devices=devices)
        request = Request(
            cpu_milli=0,
            gpu_count=shape.gpu_count,
            gpu_milli=shape.gpu_milli,
            gpu_kinds=shape.gpu_kinds,
        )
        got = fits(capacity, Free(0, 0, 0, list(state.milli)), request)
        if isinstance(got, Misfit):
            return None
        left_over = sum(state.milli[share.index] - share.milli for share in got)
        return left_over, int(bool(devices)), state.total


def _fitting(bucket: list[Entry], request: Request, count: int) -> Iterator[Entry]:
    """The first `count` entries with enough CPU, memory and disk: the bucket is sorted by CPU."""
    memory_bytes, tmp_bytes = request.memory_bytes, request.tmp_bytes
    for i in range(bisect_left(bucket, (request.cpu_milli,)), len(bucket)):
        entry = bucket[i]
        if entry[1] >= memory_bytes and entry[2] >= tmp_bytes:
            yield entry
            count -= 1
            if not count:
                return


def _labels(static: _Static) -> dict[str, str]:
    return {key: value for key, value in static.labels if value is not None}
