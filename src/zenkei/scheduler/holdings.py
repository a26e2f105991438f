"""Nodes and what jobs hold on them until when, as columns: what `calendar` reads.

Kept by `planner` from delta to delta beside its index; pure. What a lost node held stays known: it
may come back with it. The order in which things were entered never shows: readers see nodes in the
order of cluster, topology and name.

Cost: `hold`, `release`, `put_node` O(1) each; new parts are entered together when the columns are
read next, and a node that came or went costs O(nodes log nodes) then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zenkei.model.cluster import Node, NodeState
from zenkei.model.resources import (
    WHOLE_GPU_MILLI,
    Capacity,
    DeviceShare,
    Request,
    allowed_devices,
    could_fit,
)
from zenkei.scheduler.free import HeldPart
from zenkei.scheduler.promises import NEVER_US
from zenkei.scheduler.snapshot import IntArray, JobClass

Bools = NDArray[np.bool_]
_LEAST: Final = 64


class _Fresh(NamedTuple):
    """A row that the columns do not have yet."""

    slot: int
    job: int
    cpu_milli: int
    memory_bytes: int
    tmp_bytes: int
    devices: tuple[DeviceShare, ...]


class Parts:
    """Growing columns of held parts. number: rows in use, some of them free (slot -1).

    job: whose. sizes `[3, P]`: CPU, memory, disk. milli `[D, P]`: of each device. What was added is
    entered by `settle`, all at once, before anybody reads.
    """

    def __init__(self) -> None:
        self.number = 0
        self.devices = 0
        self.slot = np.full(_LEAST, -1, np.int64)
        self.job = np.zeros(_LEAST, np.int64)
        self.ends_us = np.full(_LEAST, NEVER_US, np.int64)
        self.sizes = np.zeros((3, _LEAST), np.int64)
        self.milli = np.zeros((0, _LEAST), np.int32)
        self._spare: list[int] = []
        self._fresh: dict[int, _Fresh] = {}

    def widen(self, devices: int) -> None:
        """Room for devices with indices below `devices`."""
        if devices > self.devices:
            more = np.zeros((devices - self.devices, self.milli.shape[1]), np.int32)
            self.milli = np.concatenate((self.milli, more))
            self.devices = devices

    def add(self, slot: int, part: HeldPart) -> int:
        if self._spare:
            row = self._spare.pop()
        else:
            row = self.number
            self.number += 1
        job, _, cpu_milli, memory_bytes, tmp_bytes, devices = part
        self._fresh[row] = _Fresh(slot, job, cpu_milli, memory_bytes, tmp_bytes, devices)
        return row

    def end(self, row: int, ends_us: int) -> None:
        """Another end than what `settle` is told."""
        if row not in self._fresh:
            self.ends_us[row] = ends_us

    def remove(self, row: int) -> int:
        """The slot that it was on."""
        fresh = self._fresh.pop(row, None)
        if row < len(self.slot):
            slot = int(self.slot[row])
            self.slot[row] = -1
        else:
            slot = -1
        self._spare.append(row)
        return fresh.slot if fresh is not None else slot

    def settle(self, ends_us: Mapping[int, int]) -> None:
        """Enter what is new. ends_us: by job, where one is known."""
        while self.number > len(self.slot):
            self._grow()
        if not self._fresh:
            return
        rows = np.array([*self._fresh], np.int64)
        some = [*self._fresh.values()]
        self._fresh.clear()
        flat = chain.from_iterable(one[:5] for one in some)
        table = np.fromiter(flat, np.int64, 5 * len(some)).reshape(-1, 5).T
        self.slot[rows], self.job[rows] = table[:2]
        self.sizes[:, rows] = table[2:]
        self.ends_us[rows] = [ends_us.get(one.job, NEVER_US) for one in some]
        flat = chain.from_iterable(share for one in some for share in one.devices)
        counts = [len(one.devices) for one in some]
        index, milli = np.fromiter(flat, np.int64, 2 * sum(counts)).reshape(-1, 2).T
        self.widen(1 + int(index.max(initial=-1)))
        self.milli[:, rows] = 0
        np.add.at(self.milli, (index, np.repeat(rows, counts)), milli)

    def _grow(self) -> None:
        more = len(self.slot)
        self.slot = np.concatenate((self.slot, np.full(more, -1, np.int64)))
        self.job = np.concatenate((self.job, np.zeros(more, np.int64)))
        self.ends_us = np.concatenate((self.ends_us, np.full(more, NEVER_US, np.int64)))
        self.sizes = np.concatenate((self.sizes, np.zeros((3, more), np.int64)), axis=1)
        fresh = np.zeros((self.devices, more), np.int32)
        self.milli = np.concatenate((self.milli, fresh), axis=1)


class Layout:
    """The nodes there are, in order of cluster, topology, name. Made anew when they change.

    rank: of each slot, -1 where no node is. sizes `[3, N]`: capacity. milli `[D, N]`: of devices
    that are there and not blocked. model: place in `models`.
    """

    def __init__(self, nodes: Mapping[int, Node], slots: int, devices: int) -> None:
        order = sorted(nodes, key=lambda slot: _place(nodes[slot]))
        self.nodes = [nodes[slot] for slot in order]
        self.names = [node.name for node in self.nodes]
        self.rank_of = {name: i for i, name in enumerate(self.names)}
        self.rank = np.full(slots, -1, np.int64)
        self.rank[order] = np.arange(len(order))
        self.slots = np.array(order, np.int64)
        self.sizes = np.zeros((3, len(order)), np.int64)
        self.milli = np.zeros((devices, len(order)), np.int32)
        self.cluster = np.zeros(len(order), np.int64)
        self.model = np.zeros(len(order), np.int64)
        self.models: list[Node] = []
        """One node of each."""
        self.clusters = sorted({node.cluster for node in self.nodes})
        self._fill()
        self._domains: dict[int, IntArray] = {}
        self._apt: dict[JobClass, Bools] = {}
        self._label_sets: dict[tuple[str, ...], tuple[list[tuple[str | None, ...]], IntArray]] = {}

    def _fill(self) -> None:
        places = {name: i for i, name in enumerate(self.clusters)}
        models: dict[tuple[Capacity, tuple[int, ...]], int] = {}
        model_of: list[int] = []
        rows: list[tuple[int, int, int]] = []
        columns: list[list[int]] = []
        for node in self.nodes:
            key = (node.capacity, node.blocked)
            model = models.setdefault(key, len(models))
            model_of.append(model)
            if model == len(self.models):
                self.models.append(node)
                capacity = node.capacity
                rows.append((capacity.cpu_milli, capacity.memory_bytes, capacity.tmp_bytes))
                has = {device.index for device in capacity.devices} - set(node.blocked)
                columns.append([WHOLE_GPU_MILLI * (i in has) for i in range(len(self.milli))])
        if not self.nodes:
            return
        self.model[:] = model_of
        self.cluster[:] = [places[node.cluster] for node in self.nodes]
        self.sizes[:] = np.array(rows, np.int64).T[:, self.model]
        self.milli[:] = np.array(columns, np.int32).reshape(len(rows), -1).T[:, self.model]

    def domains(self, depth: int) -> IntArray:
        """By node: its domain of a level, numbered along the order; -1 in none."""
        known = self._domains.get(depth)
        if known is None:
            numbers: dict[tuple[str, ...], int] = {}
            known = self._domains[depth] = np.array(
                [
                    numbers.setdefault((n.cluster, *n.topology[: depth + 1]), len(numbers))
                    if len(n.topology) > depth
                    else -1
                    for n in self.nodes
                ],
                np.int64,
            )
        return known

    def apt(self, wanted: JobClass) -> Bools:
        """By node: whether it would take a part if it were empty and ready. Remembered."""
        known = self._apt.get(wanted)
        if known is None:
            if len(self._apt) > 4096:
                self._apt.clear()
            request = wanted.request
            able = np.array([_could(node, request) for node in self.models], np.bool_)
            known = able[self.model] if len(self.models) else np.zeros(0, np.bool_)
            constraints = dict(wanted.constraints)
            if constraints:
                known &= self._labelled(constraints)
            for name in wanted.avoid:
                if name in self.rank_of:
                    known[self.rank_of[name]] = False
            self._apt[wanted] = known
        return known

    def _labelled(self, constraints: Mapping[str, tuple[str, ...]]) -> Bools:
        """By node: whether its labels are allowed. There are few sets of labels that differ."""
        keys = tuple(sorted(constraints))
        known = self._label_sets.get(keys)
        if known is None:
            places: dict[tuple[str | None, ...], int] = {}
            values = [tuple([n.labels.get(key) for key in keys]) for n in self.nodes]
            at = np.array([places.setdefault(one, len(places)) for one in values], np.int64)
            known = self._label_sets[keys] = [*places], at
        some, at = known
        able = [all(v in constraints[k] for k, v in zip(keys, one, strict=True)) for one in some]
        return np.array(able, np.bool_)[at]

    def allowed(self, request: Request) -> Bools | None:
        """`[D, N]`: devices of the wanted models; None where no node has others beside them."""
        some = [allowed_devices(node.capacity, request) for node in self.models]
        if all(
            not x or len(x) == len(n.capacity.devices)
            for x, n in zip(some, self.models, strict=True)
        ):
            return None
        table = np.zeros((len(self.milli), len(self.models)), np.bool_)
        for model, indices in enumerate(some):
            table[indices, model] = True
        return table[:, self.model]


class Holdings:
    """See the module's docstring."""

    def __init__(self) -> None:
        self.parts = Parts()
        self._slots: dict[str, int] = {}
        self._names: list[str] = []
        """By slot."""
        self._on: list[int] = []
        """By slot: parts held there."""
        self._spare: list[int] = []
        self._nodes: dict[int, Node] = {}
        self._rows: dict[int, list[int]] = {}
        self._ends: dict[int, int] = {}
        self._ready = np.zeros(_LEAST, np.bool_)
        self._layout: Layout | None = None

    # -- nodes -----------------------------------------------------------------------------------
    def put_node(self, node: Node) -> None:
        """Enter a node, or what it has become."""
        slot = self._slot(node.name)
        known = self._nodes.get(slot)
        self._nodes[slot] = node
        self._ready[slot] = node.state is NodeState.READY
        self.parts.widen(1 + max((d.index for d in node.capacity.devices), default=-1))
        if known is None or _static(known) != _static(node):
            self._layout = None
        elif self._layout is not None and (at := self._layout.rank_of.get(node.name)) is not None:
            self._layout.nodes[at] = node

    def drop_node(self, name: str) -> None:
        """Forget a node, if it is known; not what is held on it."""
        slot = self._slots.get(name)
        if slot is not None and self._nodes.pop(slot, None) is not None:
            self._ready[slot] = False
            self._layout = None
            self._tidy(slot)

    def _slot(self, name: str) -> int:
        slot = self._slots.get(name)
        if slot is None:
            if self._spare:
                slot = self._spare.pop()
                self._names[slot] = name
            else:
                slot = len(self._on)
                self._on.append(0)
                self._names.append(name)
                if slot == len(self._ready):
                    self._ready = np.concatenate((self._ready, np.zeros(slot, np.bool_)))
            self._slots[name] = slot
            self._layout = None
        return slot

    def _tidy(self, slot: int) -> None:
        """Give the slot back if nothing is there any more."""
        if not self._on[slot] and slot not in self._nodes:
            del self._slots[self._names[slot]]
            self._spare.append(slot)

    # -- what is held ----------------------------------------------------------------------------
    def hold(self, part: HeldPart) -> None:
        slot = self._slot(part.node)
        self._on[slot] += 1
        row = self.parts.add(slot, part)
        self._rows.setdefault(part.job, []).append(row)

    def ends(self, job: int, ends_us: int | None) -> None:
        """When the job has ended at the latest; None: nobody knows. Before or after `hold`."""
        known = NEVER_US if ends_us is None else ends_us
        self._ends[job] = known
        for row in self._rows.get(job, ()):
            self.parts.end(row, known)

    def release(self, job: int) -> None:
        """Forget all that the job holds, if anything."""
        self._ends.pop(job, None)
        for row in self._rows.pop(job, ()):
            slot = self.parts.remove(row)
            self._on[slot] -= 1
            self._tidy(slot)

    # -- reading ---------------------------------------------------------------------------------
    @property
    def layout(self) -> Layout:
        self.parts.settle(self._ends)
        devices = self.parts.devices
        if self._layout is None or len(self._layout.milli) != devices:
            self._layout = Layout(self._nodes, len(self._on), devices)
        return self._layout

    def ready(self) -> Bools:
        """By node of the layout: whether it takes work."""
        ready: Bools = self._ready[self.layout.slots]
        return ready

    def columns(
        self, estimates: Mapping[int, int] | None = None
    ) -> tuple[IntArray, IntArray, IntArray, NDArray[np.int32]]:
        """Of parts on nodes there are: rank of the node, end, sizes `[3, P]`, milli `[D, P]`.

        estimates: ends of jobs without one.
        """
        layout, parts = self.layout, self.parts
        slot = parts.slot[: parts.number]
        rank = layout.rank[slot]
        rank[slot < 0] = -1
        ends_us = parts.ends_us[: parts.number]
        if estimates:
            ends_us = ends_us.copy()
            for job, guess_us in estimates.items():
                for row in self._rows.get(job, ()):
                    if ends_us[row] >= NEVER_US:
                        ends_us[row] = guess_us
        there = np.flatnonzero(rank >= 0)
        return rank[there], ends_us[there], parts.sizes[:, there], parts.milli[:, there]

    def jobs(self) -> IntArray:
        """Whose the parts of `columns` are, in the same order."""
        self.parts.settle(self._ends)
        slot = self.parts.slot[: self.parts.number]
        there = (slot >= 0) & (self.layout.rank[slot] >= 0)
        return self.parts.job[: self.parts.number][there]


def holdings(nodes: Iterable[Node], parts: Iterable[HeldPart], ends: Mapping[int, int]) -> Holdings:
    """All at once. ends: by job."""
    made = Holdings()
    for node in nodes:
        made.put_node(node)
    for job, ends_us in ends.items():
        made.ends(job, ends_us)
    for part in parts:
        made.hold(part)
    return made


def _place(node: Node) -> tuple[str, tuple[str, ...], str]:
    return node.cluster, node.topology, node.name


def _static(node: Node) -> tuple[object, ...]:
    return node.capacity, node.blocked, node.cluster, node.topology, node.labels


def _could(node: Node, request: Request) -> bool:
    if could_fit(node.capacity, request) is not None:
        return False
    usable = set(allowed_devices(node.capacity, request)) - set(node.blocked)
    return len(usable) >= request.gpu_count
