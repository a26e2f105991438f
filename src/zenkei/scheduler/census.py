"""What the nodes are, whatever is free on them: can a class of jobs ever run, and if not, why not.

Used by `planner` for classes that did not fit. Nodes that do not differ are counted as one model,
and the answer for a class is kept until a node changes. Pure. Cost: O(models) per class and change
of nodes, O(1) after that.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeAlias

from zenkei.model.cluster import Node, NodeState
from zenkei.model.job import RDMA
from zenkei.model.resources import (
    Capacity,
    Misfit,
    Request,
    allowed_devices,
    could_fit,
    fits,
    matches,
)
from zenkei.scheduler.codes import ReasonCode
from zenkei.scheduler.free import left_of
from zenkei.scheduler.reasons import Numbers, Reason
from zenkei.scheduler.snapshot import JobClass

_Model: TypeAlias = tuple[str, Capacity, tuple[tuple[str, str], ...], tuple[int, ...], bool, bool]
"""Cluster, capacity, labels, blocked devices, whether it is READY, whether it is expected to be."""


class Suits(NamedTuple):
    """Nodes of one cluster for one class. Each number counts those of the one before it.

    suitable: would fit if empty. usable: also without the devices that foreign processes use.
    ready: also take work now. expected: of the suitable ones, those that do so now or soon.
    """

    suitable: int = 0
    usable: int = 0
    ready: int = 0
    blocked_gpus: int = 0
    expected: int = 0


_DEPTH: Final = (
    Misfit.CONSTRAINT,
    Misfit.GPU_KIND,
    Misfit.GPU_CAPACITY,
    Misfit.CPU_CAPACITY,
    Misfit.MEMORY_CAPACITY,
    Misfit.TMP_CAPACITY,
)
"""The order in which a node is tested: one that fails later is nearer to fitting."""


@dataclass(slots=True)
class _Counted:
    """One model, with a node of it to ask."""

    node: Node
    number: int = 0


class Census:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._models: dict[_Model, _Counted] = {}
        self._model_of: dict[str, _Model] = {}
        self._known: dict[JobClass, dict[str, Suits]] = {}

    def put(self, node: Node) -> None:
        """Enter a node, or what it has become."""
        self.drop(node.name)
        model = (
            node.cluster,
            node.capacity,
            tuple(sorted(node.labels.items())),
            tuple(sorted(node.blocked)),
            node.state is NodeState.READY,
            node.state.expected,
        )
        self._model_of[node.name] = model
        counted = self._models.get(model)
        if counted is None:
            counted = self._models[model] = _Counted(node)
        counted.number += 1

    def drop(self, name: str) -> None:
        """Forget a node, if it is known."""
        self._known.clear()
        model = self._model_of.pop(name, None)
        if model is not None:
            self._models[model].number -= 1
            if not self._models[model].number:
                del self._models[model]

    def suits(self, job_class: JobClass) -> dict[str, Suits]:
        """By cluster: how many nodes suit a part of `job_class`, without those it avoids."""
        known = self._known.get(job_class)
        if known is None:
            known = self._known[job_class] = self._count(job_class)
        return known

    def forgiving(self, job_class: JobClass) -> JobClass:
        """`job_class`, avoiding nobody if it could have too few others in every cluster.

        Nodes that are down or drained are no others: nobody knows when they come back.
        """
        if not job_class.avoid:
            return job_class
        suits = self.suits(job_class).values()
        if any(s.expected >= job_class.fewest for s in suits):
            return job_class
        return replace(job_class, avoid=())

    def obstacle(self, job_class: JobClass) -> Reason | None:
        """Why waiting alone cannot help; None if jobs that end will make room. Any cluster will do.

        In this order: no nodes at all; no cluster has enough suitable nodes; too few of them are
        free of foreign processes; too few are ready.
        """
        if not self._models:
            return Reason(code=ReasonCode.NO_NODES)
        suits = list(self.suits(job_class).values())
        wanted = job_class.fewest
        if all(s.suitable < wanted for s in suits):
            return self._never(job_class, max(s.suitable for s in suits))
        best = max(suits, key=lambda s: (s.ready, s.usable, s.suitable))
        if best.ready >= wanted:
            return None
        numbers: Numbers = {**asked(job_class), "suitable_nodes": best.suitable}
        if job_class.avoid:
            numbers["avoided"] = ", ".join(job_class.avoid)
        if all(s.usable < wanted for s in suits):
            numbers |= {"usable_nodes": best.usable, "blocked_gpus": best.blocked_gpus}
            return Reason(code=ReasonCode.DEVICES_IN_FOREIGN_USE, numbers=numbers)
        numbers["ready_nodes"] = best.ready
        return Reason(code=ReasonCode.NODES_NOT_READY, numbers=numbers)

    def _count(self, job_class: JobClass) -> dict[str, Suits]:
        suits: dict[str, Suits] = {}
        request, wanted = job_class.request, dict(job_class.constraints)
        # a model is a long key: it is not looked up for those who avoid nobody
        avoid = Counter(map(self._model_of.get, job_class.avoid)) if job_class.avoid else None
        for model, counted in self._models.items():
            cluster, capacity, _, _, ready, expected = model
            node, number = counted.node, counted.number - (avoid[model] if avoid else 0)
            known = suits.setdefault(cluster, Suits())
            if not matches(node.labels, wanted) or could_fit(capacity, request) is not None:
                continue
            usable = not isinstance(fits(capacity, left_of(node, ()), request), Misfit)
            suits[cluster] = Suits(
                known.suitable + number,
                known.usable + number * usable,
                known.ready + number * (usable and ready),
                known.blocked_gpus + number * len(node.blocked),
                known.expected + number * expected,
            )
        return suits

    def _never(self, job_class: JobClass, suitable: int) -> Reason:
        """The nearest thing that there is, from the nodes that come closest to fitting."""
        numbers: Numbers = {**asked(job_class), "suitable_nodes": suitable}
        without = without_rdma(job_class)
        if without is not job_class:
            others = max((s.suitable for s in self._count(without).values()), default=0)
            if others < job_class.fewest:
                # TCP would not help either
                return self._never(without, others)
            return Reason(code=ReasonCode.NO_RDMA, numbers=numbers | {"other_nodes": others})
        if suitable:
            return Reason(code=ReasonCode.TOO_FEW_NODES, numbers=numbers)
        request, wanted = job_class.request, dict(job_class.constraints)
        depth, near = -1, list[Capacity]()
        for counted in self._models.values():
            capacity = counted.node.capacity
            misfit = (
                could_fit(capacity, request)
                if matches(counted.node.labels, wanted)
                else Misfit.CONSTRAINT
            )
            assert misfit is not None, "no node suits"
            at = _DEPTH.index(misfit)
            if at > depth:
                depth, near = at, []
            if at == depth:
                near.append(capacity)
        return _nearest(_DEPTH[depth], near, job_class, numbers)


def without_rdma(job_class: JobClass) -> JobClass:
    """The same class on nodes with or without RDMA; itself if it does not ask for it."""
    left = tuple(wish for wish in job_class.constraints if wish != (RDMA[0], (RDMA[1],)))
    return job_class if left == job_class.constraints else replace(job_class, constraints=left)


def asked(job_class: JobClass) -> Numbers:
    """What each part asks for, as numbers of a reason."""
    request = job_class.request
    return {
        "nodes": job_class.fewest,
        "gpus": request.gpu_count,
        "gpu_milli": request.gpu_milli,
        "cpu_milli": request.cpu_milli,
        "memory_bytes": request.memory_bytes,
        "tmp_bytes": request.tmp_bytes,
    }


def _nearest(misfit: Misfit, near: list[Capacity], job_class: JobClass, numbers: Numbers) -> Reason:
    request: Request = job_class.request
    if misfit is Misfit.CONSTRAINT:
        said = ", ".join(f"{key}={'|'.join(values)}" for key, values in job_class.constraints)
        return Reason(code=ReasonCode.NO_SUCH_LABELS, numbers=numbers | {"constraints": said})
    if misfit is Misfit.GPU_KIND:
        kinds = sorted({device.kind for capacity in near for device in capacity.devices})
        numbers |= {"gpu_kinds": ", ".join(request.gpu_kinds)}
        numbers |= {"cluster_gpu_kinds": ", ".join(kinds)}
        return Reason(code=ReasonCode.NO_SUCH_GPU, numbers=numbers)
    if misfit is Misfit.GPU_CAPACITY:
        code, largest = (
            ReasonCode.TOO_MANY_GPUS,
            max(len(allowed_devices(capacity, request)) for capacity in near),
        )
    elif misfit is Misfit.CPU_CAPACITY:
        code, largest = ReasonCode.TOO_MANY_CPUS, max(c.cpu_milli for c in near)
    elif misfit is Misfit.MEMORY_CAPACITY:
        code, largest = ReasonCode.TOO_MUCH_MEMORY, max(c.memory_bytes for c in near)
    else:
        code, largest = ReasonCode.TOO_MUCH_TMP, max(c.tmp_bytes for c in near)
    return Reason(code=code, numbers=numbers | {"largest": largest})
