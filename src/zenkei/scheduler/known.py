"""All that plans are made of, kept current by deltas: nodes, what is held, who waits, queues.

Owned by `planner`, read by `cycle`, which changes free amounts in the index while it decides and
puts them back. Pure. Two histories that lead to the same world lead to equal plans.
Cost: `apply` O(changed jobs · log) + O(parts on the nodes touched).
"""

from __future__ import annotations

from zenkei.model.cluster import Node, NodeState
from zenkei.model.queue import ClusterConfig
from zenkei.model.resources import Free
from zenkei.scheduler.calendar import bookings
from zenkei.scheduler.census import Census
from zenkei.scheduler.free import HeldPart, left_of
from zenkei.scheduler.holdings import Holdings
from zenkei.scheduler.index import NodeIndex, NodeRow
from zenkei.scheduler.ledger import Ledger
from zenkei.scheduler.line import WaitingLine
from zenkei.scheduler.placement import Learned, scorer
from zenkei.scheduler.placement.port import Scorer
from zenkei.scheduler.promises import Booking
from zenkei.scheduler.roster import Roster, held_in
from zenkei.scheduler.snapshot import Claim, Delta, JobClass, RunningJob, Snapshot
from zenkei.scheduler.tree import QueueTree


class Known:
    """See the module's docstring. chosen: a placement policy that no configuration replaces."""

    def __init__(self, snapshot: Snapshot, chosen: Scorer | None = None) -> None:
        self.config = snapshot.config
        self.classes: list[JobClass] = []
        self.queues: list[str] = []
        self.users: list[str] = []
        self.nodes: dict[str, Node] = {}
        self.unready: dict[str, Node] = {}
        self.clusters: dict[str, int] = {}
        """How many nodes each has."""
        self.held: dict[str, dict[int, list[HeldPart]]] = {}
        """By node and job."""
        self.running: dict[int, RunningJob] = {}
        self.elastic: dict[int, None] = {}
        """Gangs that run on fewer nodes than they would take."""
        self.claims: dict[int, Claim] = {}
        self._learned: Learned | None = snapshot.learned
        self.index = NodeIndex(chosen or self._scorer())
        self.census = Census()
        self.line = WaitingLine()
        self.tree = QueueTree(snapshot.config)
        self.holdings = Holdings()
        self.roster = Roster()
        self._ledger = Ledger()
        self._edition = -1
        """Of the tree's terms that the ledger knows."""
        self.paused = ""
        self.mean_us = snapshot.mean_us
        self.seq = 0
        self._chosen = chosen
        self._on: dict[int, list[str]] = {}
        """Nodes on which a job holds parts."""
        self._booked: tuple[Booking, ...] | None = None
        self.index.use_levels(snapshot.config.levels)
        self.line.load(snapshot.waiting)
        self.apply(
            Delta(
                seq=snapshot.seq,
                classes=snapshot.classes,
                queues=snapshot.queues,
                users=snapshot.users,
                held=tuple(snapshot.held.rows()),
                running=tuple(snapshot.running.rows()),
                usage=snapshot.usage,
                claims=snapshot.claims,
                nodes=snapshot.nodes,
                paused=snapshot.paused,
            )
        )

    def apply(self, delta: Delta) -> None:
        """Take in what was committed."""
        self._add_classes(delta.classes)
        self.queues.extend(delta.queues)
        self.users.extend(delta.users)
        self.mean_us = delta.mean_us or self.mean_us
        if delta.config is not None or delta.learned is not None:
            self._configure(delta.config or self.config, delta.learned)
        touched: dict[str, None] = {}
        for job in delta.changed:
            self._forget(job, touched)
        for part in delta.held:
            self._hold(part)
            touched[part.node] = None
        self.line.enter(delta.waiting)
        for name in delta.removed_nodes:
            self._remove_node(name)
            self.holdings.drop_node(name)
            self.tree.drop_node(name)
            self._count_again(name)
            touched.pop(name, None)
        for node in delta.nodes:
            known = self.nodes.get(node.name)
            self._put_node(node)
            if known is None or known.capacity.devices != node.capacity.devices:
                self._count_again(node.name)
            touched.pop(node.name, None)
        for name in touched:
            self._refill(name)
        for row in delta.running:
            self._run(row)
        self.claims.update((claim.job, claim) for claim in delta.claims)
        for usage in delta.usage:
            self.tree.use(usage)
        if delta.paused is not None:
            self.paused = delta.paused
        self.seq = delta.seq

    @property
    def booked(self) -> tuple[Booking, ...]:
        """Reservations with the nodes that they take now."""
        if self._booked is None:
            self._booked = bookings(self.config, sorted(self.nodes))
        return self._booked

    @property
    def ledger(self) -> Ledger:
        """Quotas as they are since the tree was made ready for this plan."""
        if self.tree.edition != self._edition:
            self._ledger, self._edition = Ledger(), self.tree.edition
        return self._ledger

    def left(self, node: Node) -> Free:
        """What the parts held there leave of a node, committed ones only."""
        held = self.held.get(node.name, {})
        return left_of(node, (part for parts in held.values() for part in parts))

    def held_on(self, name: str) -> tuple[HeldPart, ...]:
        return tuple(part for parts in self.held.get(name, {}).values() for part in parts)

    def nodes_of(self, job: int) -> tuple[str, ...]:
        """Where a job holds parts, those on nodes that are gone too."""
        return tuple(self._on.get(job, ()))

    def parts_of(self, job: int, name: str) -> tuple[HeldPart, ...]:
        return tuple(self.held.get(name, {}).get(job, ()))

    # -- jobs ------------------------------------------------------------------------------------
    def _add_classes(self, classes: tuple[JobClass, ...]) -> None:
        if classes:
            self.classes.extend(classes)
            self.index.use_labels(key for c in classes for key, _ in c.constraints)

    def _forget(self, job: int, touched: dict[str, None]) -> None:
        self.line.leave(job)
        for name in self._on.pop(job, ()):
            del self.held[name][job]
            touched[name] = None
        self.holdings.release(job)
        self.tree.let_go(job)
        self.roster.drop(job)
        self.running.pop(job, None)
        self.elastic.pop(job, None)
        self.claims.pop(job, None)

    def _hold(self, part: HeldPart) -> None:
        parts = self.held.setdefault(part.node, {}).setdefault(part.job, [])
        if not parts:
            self._on.setdefault(part.job, []).append(part.node)
        parts.append(part)
        self.holdings.hold(part)

    def _run(self, row: RunningJob) -> None:
        """What a job holds counts for its queue and its owner, and may have an end."""
        self.running[row.job] = row
        wanted = self.classes[row.job_class]
        if wanted.least and row.nodes < wanted.nodes:
            self.elastic[row.job] = None
        parts = [part for name in self._on.get(row.job, ()) for part in self.held[name][row.job]]
        held = held_in(parts, self.nodes)
        if parts:
            self.roster.put(row, held)
        self.tree.hold(row.job, self.queues[row.queue], self.users[row.user], held, row.since_us)
        ends_us = [row.since_us + row.limit_us] if row.limit_us else []
        likely_us = [row.likely_end_us] if row.likely_end_us else []
        self.holdings.ends(row.job, min(ends_us + likely_us, default=None))

    def _count_again(self, name: str) -> None:
        """The GPUs of a node are others, or it is: which models jobs hold there may be too."""
        for job in self.held.get(name, ()):
            if job in self.running:
                self._run(self.running[job])

    # -- nodes -----------------------------------------------------------------------------------
    def _scorer(self) -> Scorer:
        placement, learned = self.config.policy.placement, self._learned
        if learned is None:
            return scorer(placement)
        return scorer(
            placement, tables=learned.tables, typical=learned.typical, version=learned.version
        )

    def _configure(self, config: ClusterConfig, learned: Learned | None) -> None:
        is_another = config.policy.placement is not self.config.policy.placement
        self.config = config
        self._learned = learned or self._learned
        if self._chosen is None and (is_another or learned is not None):
            self.index.use_scorer(self._scorer())
        self.tree.configure(config)
        self.index.use_levels(config.levels)
        self._booked = None

    def _refill(self, name: str) -> None:
        """What is held on the node has changed."""
        if not self.held[name]:
            del self.held[name]
        row = self.index.rows.get(name)
        if row is not None:
            row.free = self.left(row.node)
            self.index.move(row)

    def _put_node(self, node: Node) -> None:
        if node.name in self.nodes:
            self._remove_node(node.name)
        self.nodes[node.name] = node
        self._booked = None
        self.clusters[node.cluster] = self.clusters.get(node.cluster, 0) + 1
        self.census.put(node)
        self.tree.put_node(node)
        self.holdings.put_node(node)
        if node.state is NodeState.READY:
            self.index.put(NodeRow(node, self.left(node)))
        else:
            self.unready[node.name] = node

    def _remove_node(self, name: str) -> None:
        """What is held there stays known: the node may come back with it."""
        node = self.nodes.pop(name, None)
        if node is None:
            return
        self._booked = None
        self.unready.pop(name, None)
        self.census.drop(name)
        self.clusters[node.cluster] -= 1
        if not self.clusters[node.cluster]:
            del self.clusters[node.cluster]
        row = self.index.rows.get(name)
        if row is not None:
            self.index.drop(row)
