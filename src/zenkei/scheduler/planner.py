"""The planner: who starts now, where, and why everybody else waits.

Called by `control.planner`. Pure: the same snapshot, `now_us` and `seed` give the same plan, under
every hash seed. What is kept between plans are inputs (indexes of nodes, the line, tallies of what
can ever fit); every plan is decided from scratch on them and leaves them as they were, so a planner
kept by deltas plans exactly like a cold one (tested).

Ideal: nobody who could start waits, and nobody waits for ever.
Policy now: the job at the head of the line that fits starts; one that does not fit is passed over,
and smaller ones behind it may start (back-filling without reservations). A large gang can thus be
overtaken for as long as small jobs keep coming; its reason says what it waits for, and a higher
priority does not reserve anything either. `Reserve` ends that when durations are known.
A class that did not fit is not tried again in the same plan: resources only shrink within it.
A gang stays within one cluster; clusters are tried in the order of their names.
A job that failed on a node is not sent there again while enough others could do (`avoid`), and a
gang that comes back takes the nodes that it had, as far as they fit, and others for the rest
(`prefer`): what they hold ready stays of use.

Cost: `apply` O(changed jobs · log) + O(parts on the nodes touched); `plan` O(segments) for the
heads + O(log) and some passes of NumPy over the nodes per start and per class that fails; never
O(waiting).
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace
from typing import Final

from zenkei.model.cluster import Node, NodePart, NodeState
from zenkei.model.ids import JobId
from zenkei.model.resources import Free, Misfit
from zenkei.scheduler.census import Census, asked
from zenkei.scheduler.decisions import ClassReason, Plan, Start, Trace
from zenkei.scheduler.explain import Explanation, NodeNow, explain
from zenkei.scheduler.free import HeldPart, check, left_of
from zenkei.scheduler.index import ANYHOW, NodeIndex, NodeRow, Shape, Tally, Wishes
from zenkei.scheduler.line import Segment, WaitingLine, job_of
from zenkei.scheduler.placement.port import Ask, Scorer
from zenkei.scheduler.reasons import Reason, ReasonCode, paused
from zenkei.scheduler.snapshot import Delta, JobClass, Snapshot

MOST_STARTS: Final = 256
"""Starts of one plan: they share a transaction."""


def plan(snapshot: Snapshot, *, now_us: int, seed: int = 0, max_starts: int = MOST_STARTS) -> Plan:
    """The plan of a cold planner."""
    return Planner(snapshot).plan(now_us=now_us, seed=seed, max_starts=max_starts)


class Planner:
    """See the module's docstring. Not safe to share between threads without a lock."""

    def __init__(self, snapshot: Snapshot, scorer: Scorer | None = None) -> None:
        self._classes: list[JobClass] = []
        self._wanted: list[dict[str, tuple[str, ...]]] = []
        self._shapes: dict[tuple[int, str], Shape] = {}
        self._nodes: dict[str, Node] = {}
        self._unready: dict[str, Node] = {}
        self._clusters: dict[str, int] = {}
        self._held: dict[str, dict[int, list[HeldPart]]] = {}
        self._holds: dict[int, list[str]] = {}
        self._index = NodeIndex(scorer)
        self._census = Census()
        self._line = WaitingLine()
        self._queues: list[str] = []
        self._paused = ""
        self.seq = 0
        self._index.use_levels(snapshot.config.levels)
        self._line.load(snapshot.waiting)
        self.apply(
            Delta(
                seq=snapshot.seq,
                classes=snapshot.classes,
                queues=snapshot.queues,
                held=tuple(snapshot.held.rows()),
                nodes=snapshot.nodes,
                paused=snapshot.paused,
            )
        )

    # -- what is known ---------------------------------------------------------------------------
    def apply(self, delta: Delta) -> None:
        """Take in what was committed."""
        self._add_classes(delta.classes)
        self._queues.extend(delta.queues)
        touched: dict[str, None] = {}
        for job in delta.changed:
            self._line.leave(job)
            for name in self._holds.pop(job, ()):
                del self._held[name][job]
                touched[name] = None
        for part in delta.held:
            self._hold(part)
            touched[part.node] = None
        self._line.enter(delta.waiting)
        for name in delta.removed_nodes:
            self._remove_node(name)
            touched.pop(name, None)
        for node in delta.nodes:
            self._put_node(node)
            touched.pop(node.name, None)
        for name in touched:
            self._refill(name)
        if delta.paused is not None:
            self._paused = delta.paused
        if delta.config is not None:
            self._index.use_levels(delta.config.levels)
        self.seq = delta.seq

    def _add_classes(self, classes: tuple[JobClass, ...]) -> None:
        if not classes:
            return
        self._classes.extend(classes)
        self._wanted.extend(dict(c.constraints) for c in classes)
        self._index.use_labels(key for c in classes for key, _ in c.constraints)

    def _hold(self, part: HeldPart) -> None:
        parts = self._held.setdefault(part.node, {}).setdefault(part.job, [])
        if not parts:
            self._holds.setdefault(part.job, []).append(part.node)
        parts.append(part)

    def _left(self, node: Node) -> Free:
        held = self._held.get(node.name, {})
        return left_of(node, (part for parts in held.values() for part in parts))

    def _refill(self, name: str) -> None:
        """What is held on the node has changed."""
        if not self._held[name]:
            del self._held[name]
        row = self._index.rows.get(name)
        if row is not None:
            row.free = self._left(row.node)
            self._index.move(row)

    def _put_node(self, node: Node) -> None:
        if node.name in self._nodes:
            self._remove_node(node.name)
        self._nodes[node.name] = node
        self._clusters[node.cluster] = self._clusters.get(node.cluster, 0) + 1
        self._census.put(node)
        if node.state is NodeState.READY:
            self._index.put(NodeRow(node, self._left(node)))
        else:
            self._unready[node.name] = node

    def _remove_node(self, name: str) -> None:
        """What is held there stays known: the node may come back with it."""
        node = self._nodes.pop(name, None)
        if node is None:
            return
        self._unready.pop(name, None)
        self._census.drop(name)
        self._clusters[node.cluster] -= 1
        if not self._clusters[node.cluster]:
            del self._clusters[node.cluster]
        row = self._index.rows.get(name)
        if row is not None:
            self._index.drop(row)

    # -- planning --------------------------------------------------------------------------------
    def plan(self, *, now_us: int, seed: int = 0, max_starts: int = MOST_STARTS) -> Plan:
        """Decide from scratch. seed: for policies that draw lots; none does yet."""
        self._line.due(now_us)
        self._index.sweep()
        cycle = _Cycle(self, max_starts)
        if not self._paused:
            try:
                cycle.run()
            finally:
                cycle.undo()
        return Plan(
            based_on=self.seq,
            now_us=now_us,
            decisions=tuple(cycle.starts),
            reasons=tuple(cycle.reasons),
            next_us=self._line.next_us,
            more=cycle.more,
            trace=Trace(
                waiting=len(self._line),
                delayed=self._line.aside,
                classes_tried=len(cycle.tried),
                classes_failed=len(cycle.failed),
                started=len(cycle.starts),
            ),
            started=frozenset(start.job for start in cycle.starts),
            by_class=cycle.failed,
            everyone=paused(self._paused) if self._paused else None,
            line=self._line,
        )

    def unready(self) -> tuple[tuple[Node, bool], ...]:
        """Nodes that take no work, by name, and whether anything is held there."""
        return tuple((n, bool(self._held.get(name))) for name, n in sorted(self._unready.items()))

    def explain(self, job: JobId, last: Plan | None) -> Explanation | None:
        """The full account of a waiting job as things are now; None if it does not wait.

        last: the plan that tried it, for its reason. O(nodes + parts held + segments).
        """
        place = self._line.class_of(job.key)
        if place is None:
            return None
        job_class = self._classes[place]
        nodes = (
            NodeNow(node, self._left(node), self._held_on(name))
            for name, node in sorted(self._nodes.items())
        )
        return explain(
            job=job,
            job_class=self._census.forgiving(job_class),
            placed=self._census.forgiving,
            failed_on=job_class.avoid,
            nodes=tuple(nodes),
            ahead=self._line.ahead_of(job.key),
            reason=last.reason(job) if last is not None else None,
            names=self._index.names_of(job_class.level) if _wishes(job_class).required else 0,
        )

    def _held_on(self, name: str) -> tuple[HeldPart, ...]:
        return tuple(part for parts in self._held.get(name, {}).values() for part in parts)

    def shape(self, job_class: int, cluster: str) -> Shape:
        """Interned, so that a placement need not build it."""
        known = self._shapes.get((job_class, cluster))
        if known is None:
            wanted = self._classes[job_class]
            ask = Ask.of(wanted.request)
            known = self._shapes[job_class, cluster] = Shape(cluster, ask, wanted.constraints)
        return known

    def place(self, job_class: int) -> tuple[str, list[NodeRow]] | None:
        """The nodes for one job of a class in the first cluster that has enough of them.

        Of clusters that have less than a gang would take but the least that will do: that with
        most.
        """
        wanted = self._classes[job_class]
        if wanted.avoid or wanted.prefer:
            return self._place_again(job_class, forgives=self.forgives(wanted))
        wishes, least = _wishes(wanted), wanted.fewest
        found: tuple[str, list[NodeRow]] | None = None
        for cluster in sorted(self._clusters):
            shape = self.shape(job_class, cluster)
            rows = self._index.select(
                shape, wanted.request, wanted.nodes, least=least, wishes=wishes
            )
            if len(rows) == wanted.nodes:
                return cluster, rows
            if rows and (found is None or len(rows) > len(found[1])):
                found = cluster, rows
        return found

    def forgives(self, wanted: JobClass) -> bool:
        """Whether a class takes nodes that failed it too: too few others could ever do."""
        return bool(wanted.avoid) and not self._census.forgiving(wanted).avoid

    def _place_again(self, job_class: int, *, forgives: bool) -> tuple[str, list[NodeRow]] | None:
        """`place` for a job that ran before: first where it was, where it failed last or never.

        Nodes of the last attempt keep their ranks; whoever replaces one takes its place.
        """
        wanted = self._classes[job_class]
        kept = {cluster: self._kept(cluster, wanted) for cluster in self._clusters}
        best: tuple[str, list[NodeRow]] | None = None
        for cluster in sorted(kept, key=lambda c: (-len(kept[c]), c)):
            rows = self._join(job_class, cluster, kept[cluster], forgives=forgives)
            if len(rows) == wanted.nodes:
                return cluster, rows
            if rows and (best is None or len(rows) > len(best[1])):
                best = cluster, rows
        return best

    def _join(
        self, job_class: int, cluster: str, found: dict[int, NodeRow], *, forgives: bool
    ) -> list[NodeRow]:
        """Nodes of the last attempt, by rank, and others for the rest; none if too few.

        Where all must lie in one domain and none has room for the rest beside the old nodes: all
        anew.
        """
        wanted = self._classes[job_class]
        required = wanted.required and wanted.nodes > 1
        if required and found and not self._index.together(list(found.values()), wanted.level):
            found = {}
        missing, names = wanted.nodes - len(found), tuple(row.node.name for row in found.values())
        wishes = Wishes(
            without={*names} if forgives else {*wanted.avoid, *names},
            last=wanted.avoid if forgives else (),
            level=wanted.level,
            required=required,
            beside=names,
        )
        shape = self.shape(job_class, cluster)
        others = (
            self._index.select(shape, wanted.request, missing, wishes=wishes) if missing else []
        )
        rest = iter(others)
        ranks = [found.get(rank) or next(rest, None) for rank in range(wanted.nodes)]
        rows = [row for row in ranks if row is not None]
        if required and found and len(rows) < wanted.nodes:
            anew = self._join(job_class, cluster, {}, forgives=forgives)
            rows = anew if len(anew) > len(rows) else rows
        return rows if len(rows) >= wanted.fewest else []

    def _kept(self, cluster: str, wanted: JobClass) -> dict[int, NodeRow]:
        """By rank: nodes of the last attempt in `cluster` that fit again."""
        constraints = dict(wanted.constraints)
        kept = {}
        for rank, name in enumerate(wanted.prefer[: wanted.nodes]):
            row = self._index.rows.get(name)
            if row is not None and row.node.cluster == cluster:
                fits = check(row.node, row.free, wanted.request, constraints, wanted.avoid)
                if not isinstance(fits, Misfit):
                    kept[rank] = row
        return kept


class _Cycle:
    """One plan in the making: takes from the planner's rows and puts everything back."""

    def __init__(self, planner: Planner, max_starts: int) -> None:
        self._of = planner
        self._max_starts = max_starts
        self._before: dict[str, tuple[NodeRow, Free]] = {}
        self.starts: list[Start] = []
        self.reasons: list[ClassReason] = []
        self.failed: dict[int, Reason] = {}
        self.tried: set[int] = set()
        self.more = False

    def run(self) -> None:
        """Walk the line: the smallest head of all segments is the next job."""
        heap = [
            (segment.keys[segment.start], segment.start, key[1], segment)
            for key, segment in self._of._line.segments()
        ]
        heapify(heap)
        while heap:
            order, at, job_class, segment = heap[0]
            if job_class in self.failed:
                heappop(heap)
                continue
            if len(self.starts) >= self._max_starts:
                self.more = True
                return
            self.tried.add(job_class)
            if not self._start(job_of(order), job_class):
                heappop(heap)
            else:
                self._advance(heap, at + 1, job_class, segment)

    @staticmethod
    def _advance(
        heap: list[tuple[int, int, int, Segment]], at: int, job_class: int, segment: Segment
    ) -> None:
        if at < len(segment.keys):
            heapreplace(heap, (segment.keys[at], at, job_class, segment))
        else:
            heappop(heap)

    def _start(self, job: JobId, job_class: int) -> bool:
        placed = self._of.place(job_class)
        wanted = self._of._classes[job_class]
        if placed is None:
            reason = self._reason(job_class)
            self.failed[job_class] = reason
            self.reasons.append(ClassReason(job_class=wanted, head=job, reason=reason))
            return False
        cluster, rows = placed
        parts = tuple(self._take(row, job_class, cluster) for row in rows)
        forgives = bool(wanted.avoid) and self._of.forgives(wanted)
        self.starts.append(Start(job=job, cluster=cluster, parts=parts, forgives=forgives))
        return True

    def _take(self, row: NodeRow, job_class: int, cluster: str) -> NodePart:
        """The devices are named here, and checked by the predicate that the applier uses."""
        request, constraints = self._of._classes[job_class].request, self._of._wanted[job_class]
        on = self._of._index.devices(self._of.shape(job_class, cluster), row)
        devices = check(row.node, row.free, request, constraints, on=on)
        assert not isinstance(devices, Misfit), f"index and check disagree: {devices}"
        if row.node.name not in self._before:
            self._before[row.node.name] = (row, row.free.copy())
        row.free.take(request, devices)
        self._of._index.move(row)
        return NodePart(node=row.node.name, request=request, devices=devices)

    def undo(self) -> None:
        """Every touched node is as it was before the plan."""
        for row, free in self._before.values():
            row.free = free
            self._of._index.move(row)

    def _reason(self, job_class: int) -> Reason:
        planner = self._of
        wanted = planner._census.forgiving(planner._classes[job_class])
        obstacle = planner._census.obstacle(wanted)
        if obstacle is not None:
            return obstacle
        best, ready = Tally(), 0
        for cluster, suits in sorted(planner._census.suits(wanted).items()):
            shape = planner.shape(job_class, cluster)
            tally = planner._index.tally(shape, wanted.request, _wishes(wanted))
            if suits.ready >= wanted.fewest and (not ready or tally.fitting > best.fitting):
                best, ready = tally, suits.ready
        if wanted.avoid and planner._place_again(job_class, forgives=True) is not None:
            return _avoided(wanted, best, ready)
        return _busy(wanted, best, ready)


def _wishes(wanted: JobClass) -> Wishes:
    """What a class asks for beside room."""
    if not wanted.avoid and not wanted.required:
        return ANYHOW  # the level that is preferred: gangs stand as near as can be at all levels
    return Wishes(
        without=frozenset(wanted.avoid),
        level=wanted.level,
        required=wanted.required and wanted.nodes > 1,
    )


def _avoided(wanted: JobClass, tally: Tally, ready: int) -> Reason:
    """It could start now, but only where it failed before; the others are busy."""
    return Reason(
        code=ReasonCode.NODES_AVOIDED,
        numbers={
            **asked(wanted),
            "ready_nodes": ready,
            "nodes_fitting": tally.fitting,
            "avoided": ", ".join(wanted.avoid),
        },
    )


def _busy(wanted: JobClass, tally: Tally, ready: int) -> Reason:
    """Suitable nodes are there, but jobs hold what is needed: the first thing that runs out."""
    if tally.with_gpus < wanted.fewest:
        code = ReasonCode.GPUS_BUSY
    elif tally.with_cpus < wanted.fewest:
        code = ReasonCode.CPUS_BUSY
    elif tally.with_memory < wanted.fewest:
        code = ReasonCode.MEMORY_BUSY
    else:
        code = ReasonCode.TMP_BUSY
    return Reason(
        code=code,
        numbers={
            **asked(wanted),
            "ready_nodes": ready,
            "nodes_with_gpus": tally.with_gpus,
            "nodes_with_cpus": tally.with_cpus,
            "nodes_with_memory": tally.with_memory,
            "nodes_fitting": tally.fitting,
            "gpus_free": tally.gpus_free,
            "most_gpus_free": tally.most_gpus_free,
        },
    )
