"""Quantities of a node, and the one predicate that says whether a request fits: `fits`.

The planner and the applier both call `fits`; a second feasibility logic anywhere makes endless
reject loops (Nomad #13017). Units: CPU in thousandths of a core, memory and disk in bytes, a GPU in
thousandths of one device. A request below one GPU is a share of exactly one device; a request of
one or more takes that many whole devices of one node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

WHOLE_GPU_MILLI: Final = 1000


class DeviceShare(NamedTuple):
    """`milli` thousandths of the device with index `index` on its node."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    milli: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One GPU. `uuid` names a real one for its driver; a virtual device has none.

    island: devices of one node with the same number are joined by fast links (NVLink, xGMI). numa:
    the memory node that its PCIe root belongs to. Both are 0 where nothing is known.
    """

    index: int
    kind: str
    uuid: str = ""
    memory_bytes: int = 0
    island: int = 0
    numa: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """All that a node offers."""

    cpu_milli: int
    memory_bytes: int
    tmp_bytes: int
    devices: tuple[Device, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What one node must give to one part of a gang.

    gpu_count devices with gpu_milli of each: (0, 0) none, (1, 500) half of one, (8, 1000) eight.
    gpu_kinds: allowed models; empty means any.
    """

    cpu_milli: int = 1000
    memory_bytes: int = 0
    tmp_bytes: int = 0
    gpu_count: int = 0
    gpu_milli: int = 0
    gpu_kinds: tuple[str, ...] = ()


def scaled(request: Request, memory_milli: int) -> Request:
    """`request` with its memory multiplied, in thousandths, rounded up."""
    if memory_milli == 1000 or not request.memory_bytes:
        return request
    return replace(request, memory_bytes=-(-request.memory_bytes * memory_milli // 1000))


@dataclass(slots=True)
class Free:
    """What is left of a node. Mutable on purpose: a planner takes and gives back in place.

    gpu_milli: free thousandths by device index; a device that may not be used has 0.
    """

    cpu_milli: int
    memory_bytes: int
    tmp_bytes: int
    gpu_milli: list[int]

    @classmethod
    def of(cls, capacity: Capacity) -> Free:
        return cls(
            capacity.cpu_milli,
            capacity.memory_bytes,
            capacity.tmp_bytes,
            [WHOLE_GPU_MILLI] * len(capacity.devices),
        )

    def copy(self) -> Free:
        return Free(self.cpu_milli, self.memory_bytes, self.tmp_bytes, list(self.gpu_milli))

    def take(self, request: Request, devices: tuple[DeviceShare, ...]) -> None:
        self.cpu_milli -= request.cpu_milli
        self.memory_bytes -= request.memory_bytes
        self.tmp_bytes -= request.tmp_bytes
        for share in devices:
            self.gpu_milli[share.index] -= share.milli

    def give_back(self, request: Request, devices: tuple[DeviceShare, ...]) -> None:
        self.cpu_milli += request.cpu_milli
        self.memory_bytes += request.memory_bytes
        self.tmp_bytes += request.tmp_bytes
        for share in devices:
            self.gpu_milli[share.index] += share.milli


class Misfit(StrEnum):
    """Why a request does not fit a node. `*_CAPACITY` can never fit, the others may later."""

    CPU = "cpu"
    MEMORY = "memory"
    TMP = "tmp"
    GPU = "gpu"
    GPU_KIND = "gpu_kind"
    CPU_CAPACITY = "cpu_capacity"
    MEMORY_CAPACITY = "memory_capacity"
    TMP_CAPACITY = "tmp_capacity"
    GPU_CAPACITY = "gpu_capacity"
    CONSTRAINT = "constraint"
    STATE = "state"
    AVOIDED = "avoided"

    @property
    def permanent(self) -> bool:
        """True if no amount of waiting on this node as it is can help."""
        return self in _PERMANENT


_PERMANENT = frozenset(
    {
        Misfit.GPU_KIND,
        Misfit.CPU_CAPACITY,
        Misfit.MEMORY_CAPACITY,
        Misfit.TMP_CAPACITY,
        Misfit.GPU_CAPACITY,
        Misfit.CONSTRAINT,
    }
)


def could_fit(capacity: Capacity, request: Request) -> Misfit | None:
    """Whether `request` would fit the node if it were empty. O(devices)."""
    if request.gpu_count:
        allowed = allowed_devices(capacity, request)
        if not allowed:
            return Misfit.GPU_KIND if capacity.devices else Misfit.GPU_CAPACITY
        if len(allowed) < request.gpu_count:
            return Misfit.GPU_CAPACITY
    if request.cpu_milli > capacity.cpu_milli:
        return Misfit.CPU_CAPACITY
    if request.memory_bytes > capacity.memory_bytes:
        return Misfit.MEMORY_CAPACITY
    if request.tmp_bytes > capacity.tmp_bytes:
        return Misfit.TMP_CAPACITY
    return None


def fits(
    capacity: Capacity, free: Free, request: Request, on: Sequence[DeviceShare] = ()
) -> tuple[DeviceShare, ...] | Misfit:
    """The devices that `request` would get on a node with `free` left, or why it does not fit.

    on: those very devices, or a Misfit; empty: the best ones. A share goes to the fullest device
    that still has room. Whole GPUs lie in the island with the fewest free ones that suffices, in
    one NUMA node of it if they can, else in few islands; then lowest indices. All of it keeps large
    blocks whole. O(devices). Deterministic.
    """
    permanent = could_fit(capacity, request)
    if permanent is not None:
        return permanent
    if request.cpu_milli > free.cpu_milli:
        return Misfit.CPU
    if request.memory_bytes > free.memory_bytes:
        return Misfit.MEMORY
    if request.tmp_bytes > free.tmp_bytes:
        return Misfit.TMP
    count, milli = request.gpu_count, request.gpu_milli
    if not count:
        return Misfit.GPU if on else ()
    room = [i for i in allowed_devices(capacity, request) if free.gpu_milli[i] >= milli]
    if len(room) < count:
        return Misfit.GPU
    if on:
        named = {share.index for share in on if share.milli == milli}
        return tuple(on) if len(on) == len(named) == count and named <= {*room} else Misfit.GPU
    if milli < WHOLE_GPU_MILLI:
        room.sort(key=lambda i: (free.gpu_milli[i], i))
    elif count < len(room) and any(d.island or d.numa for d in capacity.devices):
        room = _together(capacity.devices, room, count)
    return _shares(tuple(room[:count]), milli)


@lru_cache(maxsize=4096)
def _shares(indices: tuple[int, ...], milli: int) -> tuple[DeviceShare, ...]:
    return tuple(DeviceShare(i, milli) for i in indices)


def _together(devices: Sequence[Device], room: list[int], count: int) -> list[int]:
    """`count` of the devices `room`, sorted, in few islands and few NUMA nodes of them."""

    def split(indices: list[int], key: Callable[[Device], int]) -> list[list[int]]:
        groups: dict[int, list[int]] = {}
        for i in indices:
            groups.setdefault(key(devices[i]), []).append(i)
        return list(groups.values())

    def pick(groups: list[list[int]], wanted: int) -> list[list[int]]:
        """Whole groups, largest first, until the smallest that suffices for the rest is left."""
        found: list[list[int]] = []
        while groups:
            enough = [group for group in groups if len(group) >= wanted]
            if enough:
                return [*found, min(enough, key=len)]
            largest = max(groups, key=len)
            groups.remove(largest)
            found.append(largest)
            wanted -= len(largest)
        return found

    chosen: list[int] = []
    for island in pick(split(room, lambda d: d.island), count):
        for numa in pick(split(island, lambda d: d.numa), min(count - len(chosen), len(island))):
            chosen += numa[: count - len(chosen)]
    return sorted(chosen)


def allowed_devices(capacity: Capacity, request: Request) -> list[int]:
    """Indices of the devices whose model the request allows."""
    kinds = request.gpu_kinds
    return [d.index for d in capacity.devices if not kinds or d.kind in kinds]


def matches(labels: Mapping[str, str], constraints: Mapping[str, tuple[str, ...]]) -> bool:
    """True if for every constraint key the label has one of the allowed values."""
    return all(labels.get(key) in allowed for key, allowed in constraints.items())
