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
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from zenkei.model.cluster import Node
from zenkei.model.resources import Capacity, Device, Free, Misfit, Request, fits, matches

Score: TypeAlias = tuple[int, int, int]
Entry: TypeAlias = tuple[int, int, int, str]
"""Free CPU, memory, disk, and the node's name."""

Milli: TypeAlias = tuple[int, ...]
"""Free thousandths by device, in the order of `_Static.kinds`, within a kind least first."""

MOST_SCORES: Final = 200_000
"""Scores remembered, about 200 bytes each."""
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
    """A node and what is free on it now; the rest is the index's own."""

    __slots__ = ("entry", "free", "node", "state", "static")

    def __init__(self, node: Node, free: Free) -> None:
        self.node = node
        self.free = free
        self.static = 0
        self.state: _State | None = None
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
    """What does not change with what is free. kinds: of the devices, sorted."""

    cluster: str
    labels: tuple[tuple[str, str | None], ...]
    kinds: tuple[str, ...]

    def apt(self, shape: Shape) -> bool:
        labels = {key: value for key, value in self.labels if value is not None}
        return self.cluster == shape.cluster and matches(labels, dict(shape.constraints))


class _State:
    """Free thousandths, sorted within each kind, and the nodes that are so."""

    __slots__ = ("bucket", "milli", "static", "whole")

    def __init__(self, static: int, milli: Milli) -> None:
        self.static = static
        self.milli = milli
        self.bucket: list[Entry] = []
        self.whole = sum(m >= 1000 for m in milli)


class _Candidates:
    """States for one shape. able: those whose devices suffice, best first. apt: those with its

    cluster and labels. apt_statics: the same of statics. read: states looked at so far.
    """

    __slots__ = ("able", "apt", "apt_statics", "read")

    def __init__(self) -> None:
        self.read = 0
        self.able: list[tuple[Score, _State]] = []
        self.apt: list[_State] = []
        self.apt_statics: list[bool] = []


class NodeIndex:
    """See the module's docstring. Holds rows of nodes that are READY; the caller sees to that."""

    def __init__(self) -> None:
        self._label_keys: tuple[str, ...] = ()
        self._scores: dict[tuple[int, int, tuple[str, ...], tuple[str, ...], Milli], Score | None]
        self._scores = {}
        self.rows: dict[str, NodeRow] = {}
        self._forget()

    def _forget(self) -> None:
        self._static_ids: dict[_Static, int] = {}
        self._statics: list[_Static] = []
        self._state_of: dict[tuple[int, Milli], _State] = {}
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
        if len(self._scores) > MOST_SCORES:
            self._scores.clear()

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
        row.state = None

    def move(self, row: NodeRow) -> None:
        """`row.free` has changed: find the node's new place."""
        self._leave(row)
        self._enter(row)

    def _enter(self, row: NodeRow) -> None:
        free, static = row.free, row.static
        milli = self._sorted_milli(row.node, static, free.gpu_milli)
        key = (static, milli)
        state = self._state_of.get(key)
        if state is None:
            state = self._state_of[key] = _State(static, milli)
            self._states.append(state)
        row.state = state
        row.entry = (free.cpu_milli, free.memory_bytes, free.tmp_bytes, row.node.name)
        insort(state.bucket, row.entry)

    def _leave(self, row: NodeRow) -> None:
        assert row.state is not None, "only nodes in the index leave it"
        bucket = row.state.bucket
        del bucket[bisect_left(bucket, row.entry)]

    def _static(self, node: Node) -> int:
        kinds = tuple(sorted(device.kind for device in node.capacity.devices))
        labels = tuple((key, node.labels.get(key)) for key in self._label_keys)
        static = _Static(node.cluster, labels, kinds)
        known = self._static_ids.setdefault(static, len(self._statics))
        if known == len(self._statics):
            self._statics.append(static)
        return known

    def _sorted_milli(self, node: Node, static: int, milli: list[int]) -> Milli:
        """Canonical order: by kind, as in `_Static.kinds`, and within a kind by what is free."""
        if len(milli) < 2:
            return tuple(milli)
        kinds = self._statics[static].kinds
        if kinds[0] == kinds[-1]:
            return tuple(sorted(milli))
        by_kind = sorted((device.kind, milli[device.index]) for device in node.capacity.devices)
        return tuple(m for _, m in by_kind)

    # -- placement -------------------------------------------------------------------------------
    def select(
        self, shape: Shape, request: Request, count: int, without: Collection[str] = ()
    ) -> list[NodeRow]:
        """The best `count` nodes of one cluster that each fit `request`; all there are if fewer.

        without: nodes that are passed over.
        """
        able = self._candidates(shape).able
        if count == 1 and not without:
            best = _first(able, request)
            return [] if best is None else [self.rows[best[3]]]
        found: list[NodeRow] = []
        for _, group in groupby(able, itemgetter(0)):
            left = count - len(found)
            entries = [
                e for _, state in group for e in _fitting(state.bucket, request, left, without)
            ]
            entries.sort()
            found.extend(self.rows[entry[3]] for entry in entries[:left])
            if len(found) == count:
                break
        return found

    def tally(self, shape: Shape, request: Request, without: Collection[str] = ()) -> Tally:
        """How many nodes pass which test, for a reason. O(states + nodes with enough CPU).

        Nodes that are passed over count with those that match, and pass no test.
        """
        matching = with_gpus = with_cpus = with_memory = fitting = gpus_free = most = 0
        cpu_milli, memory_bytes, tmp_bytes = (
            request.cpu_milli,
            request.memory_bytes,
            request.tmp_bytes,
        )
        known = self._candidates(shape)
        for state in known.apt:
            if state.bucket:
                nodes = len(state.bucket)
                matching += nodes
                gpus_free += state.whole * nodes
                most = max(most, state.whole)
        for _, state in known.able:
            bucket = state.bucket
            if not bucket:
                continue
            if without:
                bucket = [entry for entry in bucket if entry[3] not in without]
            with_gpus += len(bucket)
            if not bucket or bucket[-1][0] < cpu_milli:
                continue
            first = bisect_left(bucket, (cpu_milli,))
            with_cpus += len(bucket) - first
            for _, memory, tmp, _ in bucket[first:]:
                if memory >= memory_bytes:
                    with_memory += 1
                    fitting += tmp >= tmp_bytes
        return Tally(matching, with_gpus, with_cpus, with_memory, fitting, gpus_free, most)

    def _candidates(self, shape: Shape) -> _Candidates:
        known = self._shapes.get(shape)
        if known is None:
            known = self._shapes[shape] = _Candidates()
        if known.read == len(self._states):
            return known
        known.apt_statics.extend(
            static.apt(shape) for static in self._statics[len(known.apt_statics) :]
        )
        for state in self._states[known.read :]:
            if known.apt_statics[state.static]:
                known.apt.append(state)
                score = self._score(shape, state)
                if score is not None:
                    insort(known.able, (score, state), key=itemgetter(0))
        known.read = len(self._states)
        return known

    def _score(self, shape: Shape, state: _State) -> Score | None:
        """None if the devices of `state` do not suffice. A pure function, remembered."""
        kinds = self._statics[state.static].kinds
        key = (shape.gpu_count, shape.gpu_milli, shape.gpu_kinds, kinds, state.milli)
        if key in self._scores:
            return self._scores[key]
        score = self._scores[key] = score_of(shape, kinds, state.milli)
        return score


def score_of(shape: Shape, kinds: tuple[str, ...], milli: Milli) -> Score | None:
    """What it costs to take `shape` from these devices; asked of `fits` on a node made of them."""
    request = Request(
        cpu_milli=0,
        gpu_count=shape.gpu_count,
        gpu_milli=shape.gpu_milli,
        gpu_kinds=shape.gpu_kinds,
    )
    got = fits(_only_devices(kinds), Free(0, 0, 0, list(milli)), request)
    if isinstance(got, Misfit):
        return None
    left_over = sum(milli[share.index] - share.milli for share in got)
    return left_over, int(bool(kinds)), sum(milli)


@lru_cache(maxsize=256)
def _only_devices(kinds: tuple[str, ...]) -> Capacity:
    devices = tuple(Device(index=i, kind=kind) for i, kind in enumerate(kinds))
    return Capacity(cpu_milli=0, memory_bytes=0, tmp_bytes=0, devices=devices)


def _first(able: list[tuple[Score, _State]], request: Request) -> Entry | None:
    """The best entry that fits: `_fitting` for one node, on the path of every single-node job."""
    memory_bytes, tmp_bytes = request.memory_bytes, request.tmp_bytes
    needed = (request.cpu_milli,)
    best: Entry | None = None
    score: Score | None = None
    for ranked, state in able:
        if best is not None and ranked != score:
            break
        bucket = state.bucket
        if not bucket or bucket[-1] < needed:
            continue
        for i in range(bisect_left(bucket, needed), len(bucket)):
            entry = bucket[i]
            if entry[1] >= memory_bytes and entry[2] >= tmp_bytes:
                if best is None or entry < best:
                    best, score = entry, ranked
                break
    return best


def _fitting(
    bucket: list[Entry], request: Request, count: int, without: Collection[str]
) -> Iterator[Entry]:
    """The first `count` entries with enough CPU, memory and disk: the bucket is sorted by CPU."""
    memory_bytes, tmp_bytes = request.memory_bytes, request.tmp_bytes
    for i in range(bisect_left(bucket, (request.cpu_milli,)), len(bucket)):
        entry = bucket[i]
        if entry[1] >= memory_bytes and entry[2] >= tmp_bytes and entry[3] not in without:
            yield entry
            count -= 1
            if not count:
                return
