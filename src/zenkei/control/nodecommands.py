"""What an operator may ask of a node, and what anybody may see of one. Called by the routes.

An operator's word is kept with the node's row: it outlives the daemon and every inventory. Each
command is one unit; `drain` with `preempt` is two: after the first nothing new can start there, so
the second reaches all that runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from zenkei.control.draft import Draft
from zenkei.control.noderows import NodeRows
from zenkei.control.reasons import one_line
from zenkei.control.specs import SpecCache
from zenkei.lifecycle import commands as c
from zenkei.lifecycle import nodes
from zenkei.lifecycle.nodes import Moved
from zenkei.model.access import Principal, Target, Verb, can
from zenkei.model.cluster import Allocation, Node, NodeEvent
from zenkei.model.errors import Denied, InvalidInput, NotFound
from zenkei.model.job import Job, StopReason
from zenkei.ports.store import Changes, Reads, Store, Unit, View

MOST_EVENTS = 1000
MOST_LABELS = 64
"""Of an operator, on one node."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeView:
    """A node with what is held there. preempted: jobs that this command has asked to leave."""

    node: Node
    held: tuple[Allocation, ...]
    preempted: tuple[Job, ...] = ()


class NodeCommands:
    """See the module's docstring."""

    def __init__(self, store: Store, cache: SpecCache) -> None:
        self._store = store
        self._specs = cache

    # -- looking -------------------------------------------------------------------------------

    def show(self, principal: Principal, name: str) -> NodeView:
        """The cluster is no secret to its users. Raises NotFound."""
        node = next((node for node in self._store.nodes() if node.name == name), None)
        if node is None:
            raise self._unknown(name)
        return NodeView(node=node, held=_on(name, self._store.allocations()))

    def events(
        self, principal: Principal, name: str = "", *, limit: int = MOST_EVENTS
    ) -> tuple[NodeEvent, ...]:
        """What happened to a node, or to all, oldest first. Raises NotFound for an unknown one."""
        found = self._store.node_events(name, limit=limit)
        if name and not found:
            self.show(principal, name)  # a node that is gone has its log all the same
        return found

    # -- the operator's word -------------------------------------------------------------------

    def drain(
        self, principal: Principal, name: str, *, reason: str, preempt: bool = False
    ) -> NodeView:
        """Nothing new starts there. What runs goes on, or with `preempt` is asked to leave.

        Those jobs save a checkpoint if they can, and go on elsewhere.
        """
        reason = one_line(reason)
        if not reason:
            raise InvalidInput(
                "bad-reason", "a drain has a reason, which is not blank", hint="say why"
            )

        def change(node: Node, view: View) -> Moved | None:
            empty = not view.held_on(name)
            return nodes.drain(
                node, by=principal.name, reason=reason, empty=empty, now_us=view.clock_us
            )

        found = self._change(principal, name, change)
        if not preempt:
            return found
        return NodeView(node=found.node, held=found.held, preempted=self._preempt(principal, found))

    def resume(self, principal: Principal, name: str, *, reason: str = "") -> NodeView:
        """Take work again; a node that was suspect or down is checked first."""
        return self._change(
            principal,
            name,
            lambda node, view: nodes.resume(
                node, by=principal.name, reason=one_line(reason), now_us=view.clock_us
            ),
        )

    def label(
        self,
        principal: Principal,
        name: str,
        *,
        labels: dict[str, str],
        without: tuple[str, ...] = (),
        reason: str = "",
    ) -> NodeView:
        """Set labels and take own ones away: what constraints of jobs are compared with."""
        reason = one_line(reason)
        both = sorted(labels.keys() & set(without))
        if both:
            raise InvalidInput(
                "bad-label",
                f"the label `{both[0]}` cannot be set and taken away at once",
                hint="say one of the two",
            )

        def change(node: Node, view: View) -> Moved | None:
            now_us = view.clock_us
            moved = nodes.label(
                node, labels, without, by=principal.name, reason=reason, now_us=now_us
            )
            count = len(moved.node.own_labels) if moved is not None else 0
            if count > MOST_LABELS:
                raise InvalidInput(
                    "bad-label",
                    f"{name} would have {count} own labels, {MOST_LABELS} are allowed",
                    hint="take some away first: `zenkei node label NODE KEY-`",
                )
            return moved

        return self._change(principal, name, change)

    # -- inside --------------------------------------------------------------------------------

    def _change(
        self, principal: Principal, name: str, change: Callable[[Node, View], Moved | None]
    ) -> NodeView:
        if not can(principal, Verb.OPERATE, Target()):
            raise Denied("may-not-operate", f"{principal.name} may not operate the cluster")

        def decide(view: View) -> tuple[Changes, NodeView | None]:
            rows, changes = NodeRows(view), Changes()
            node = rows.get(name)
            if node is None:
                return changes, None
            rows.take(change(node, view))
            rows.write(changes)
            return changes, NodeView(node=rows.get(name) or node, held=view.held_on(name))

        unit = Unit(reads=Reads(nodes=(name,)), decide=decide)
        found = self._store.submit(unit).result()
        if found is None:
            raise self._unknown(name)
        return found

    def _preempt(self, principal: Principal, there: NodeView) -> tuple[Job, ...]:
        attempts = {held.attempt.job: held.attempt.number for held in there.held}

        def decide(view: View) -> tuple[Changes, tuple[Job, ...]]:
            draft, after = Draft(view), []
            for job, number in attempts.items():
                row = draft.job(job)
                if row.attempt != number or not row.state.holds_allocation:
                    continue
                spec = self._specs.get(row.spec)
                stop = c.Stop(
                    attempt=number,
                    reason=StopReason.PREEMPTED,
                    by=principal.name,
                    grace_s=spec.grace_s,
                    checkpoint_s=spec.checkpoint.grace_s if spec.checkpoint is not None else 0.0,
                )
                after.append(draft.advance(job, stop))
            return draft.finish(), tuple(after)

        unit = Unit(reads=Reads(jobs=tuple(attempts)), decide=decide)
        return self._store.submit(unit).result()

    def _unknown(self, name: str) -> NotFound:
        known = [node.name for node in self._store.nodes()]
        near = get_close_matches(name, known, 1)
        shown = f"did you mean `{near[0]}`?" if near else "`zenkei nodes` lists them"
        return NotFound("no-such-node", f"there is no node `{name[:80]}`", hint=shown)


def _on(name: str, allocations: tuple[Allocation, ...]) -> tuple[Allocation, ...]:
    return tuple(held for held in allocations if any(part.node == name for part in held.parts))
