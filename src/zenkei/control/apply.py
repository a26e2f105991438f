"""Turns a plan's decisions into committed facts, one transaction for a cycle.

Called by `controller.step`. Every start is checked again inside the transaction, by the planner's
own predicate (`scheduler.check`), against what is really held: a plan is a proposal. A gang is
entered whole or not at all. What no longer fits is left PENDING; the next plan sees why. Who makes
room for others, and what is kept free for them, is `displace`.
Cost: O(parts + allocations on the nodes touched).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from zenkei.control import displace
from zenkei.control.draft import Draft
from zenkei.control.specs import SpecCache
from zenkei.lifecycle import commands as c
from zenkei.model.cluster import Node, NodePart
from zenkei.model.errors import Conflict, NotFound
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Job, JobSpec, node_request
from zenkei.model.resources import DeviceShare, Free, Misfit
from zenkei.ports.store import Changes, Reads, Store, Unit, View
from zenkei.scheduler import Decision, Grow, Hold, Preempt, Reserve, Start, check
from zenkei.scheduler.free import free_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """started: attempts whose allocation is committed. refused: starts that no longer held.

    displaced, grown: attempts that were told now to end for another job, or for more nodes.
    claimed: jobs for which parts are kept free from now on.
    """

    started: tuple[AttemptId, ...] = ()
    refused: int = 0
    displaced: tuple[AttemptId, ...] = ()
    grown: tuple[AttemptId, ...] = ()
    claimed: tuple[JobId, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything was changed or refused: then it is time to look again."""
        return bool(self.refused or self.started or self.displaced or self.grown or self.claimed)


class _Nodes:
    """Free resources of the touched nodes, reduced by the starts of this very transaction."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._known: dict[str, tuple[Node, Free]] = {}

    def get(self, name: str) -> tuple[Node, Free] | None:
        if name not in self._known:
            node = self._view.node(name)
            if node is None:
                return None
            self._known[name] = (node, free_of(node, self._view.held_on(name)))
        return self._known[name]


def apply_plan(store: Store, cache: SpecCache, decisions: Iterable[Decision]) -> Applied:
    """Commit what still holds of `decisions`, in order. A `Reserve` is the planner's own memory."""
    todo = tuple(d for d in decisions if not isinstance(d, Reserve))
    starts = [d for d in todo if isinstance(d, Start)]
    reads = Reads(
        jobs=tuple(dict.fromkeys(job for decision in todo for job in _jobs(decision))),
        nodes=tuple(dict.fromkeys(part.node for start in starts for part in start.parts)),
    )

    def decide(view: View) -> tuple[Changes, Applied]:
        draft, nodes = Draft(view), _Nodes(view)
        started, displaced, grown = [], [], []
        claimed: list[JobId] = []
        for decision in todo:
            if isinstance(decision, Start):
                started.append(_start(draft, nodes, cache, decision))
            elif isinstance(decision, Preempt):
                displaced.append(displace.displace(draft, cache, decision))
            elif isinstance(decision, Grow):
                grown.append(displace.grow(draft, cache, decision))
            elif displace.claim(draft, decision):
                claimed.append(decision.job)
        applied = Applied(
            started=_done(started),
            refused=started.count(None),
            displaced=_done(displaced),
            grown=_done(grown),
            claimed=tuple(claimed),
        )
        return draft.finish(), applied

    return store.submit(Unit(reads=reads, decide=decide)).result()


def _jobs(decision: Start | Preempt | Hold | Grow) -> tuple[JobId, ...]:
    if isinstance(decision, Preempt):
        return (decision.favoured, decision.victim)
    return (decision.job,)


def _done(attempts: Iterable[AttemptId | None]) -> tuple[AttemptId, ...]:
    return tuple(attempt for attempt in attempts if attempt is not None)


def _start(draft: Draft, nodes: _Nodes, cache: SpecCache, start: Start) -> AttemptId | None:
    try:
        row = draft.job(start.job)
        parts = _parts(nodes, row, cache.get(row.spec), start)
        if parts is None:
            return None
        row = draft.advance(start.job, c.Allocate(cluster=start.cluster, parts=parts))
    except (Conflict, NotFound) as refusal:
        log.info("start refused job=%s why=%s", start.job, refusal.code)
        return None
    for part in parts:
        known = nodes.get(part.node)
        assert known is not None, "checked by _parts"
        known[1].take(part.request, part.devices)
    return AttemptId(row.id, row.attempt)


def _parts(nodes: _Nodes, row: Job, spec: JobSpec, start: Start) -> tuple[NodePart, ...] | None:
    """The parts on the devices that the plan names; None if one of them does not fit.

    Where these are no longer what the job asks for, or no longer free, others of the node will do.
    What each needs and whom it avoids is the row's word: the plan may be older. That it forgives is
    the plan's: only the planner sees all nodes.
    """
    request = node_request(row, spec)
    avoid = () if start.forgives else row.avoid
    asks = spec.resources
    if len({part.node for part in start.parts}) < len(start.parts):
        return None
    if not asks.fewest <= len(start.parts) <= asks.nodes:
        log.info("start refused job=%s why=edited nodes=%d", start.job, len(start.parts))
        return None
    parts = []
    for part in start.parts:
        known = nodes.get(part.node)
        found: tuple[DeviceShare, ...] | Misfit = Misfit.STATE
        if known is not None:
            found = check(*known, request, spec.wanted_labels, avoid, on=part.devices)
            if found is Misfit.GPU and part.devices:
                found = check(*known, request, spec.wanted_labels, avoid)
        if isinstance(found, Misfit):
            log.info("start refused job=%s node=%s why=%s", start.job, part.node, found)
            return None
        parts.append(NodePart(node=part.node, request=request, devices=found))
    return tuple(parts)
