"""From the fields of a cluster file to a ClusterConfig: defaults, and rules that join several keys.

Called by `cluster`. Everything with an order that means nothing is sorted here (queues, models,
reservations), so that the same wish has the same hash. Cost: O(values of the file).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, Final

from zenkei.model.queue import (
    ROOT,
    Amounts,
    ClusterConfig,
    NodePlace,
    Order,
    Placement,
    Policy,
    Queue,
    Reclaim,
    Reservation,
    Within,
)
from zenkei.spec.cluster_keys import TOTAL
from zenkei.spec.instants import resolved, zone_of
from zenkei.spec.problems import Code, Reading, listing, nearest, show
from zenkei.spec.quantities import show_bytes
from zenkei.spec.shapes import Fields
from zenkei.spec.tree import Node, Scalar

NODE_LEVEL: Final = "node"
EXAMPLES: Final = {
    "nodes": "nodes: n[01-16]",
    "from": "from: 2026-12-01 09:00",
    "to": "to: 2026-12-01 18:00",
}
_POLICY: Final = Policy()
_LENDS_NOTHING: Final = Amounts(cpu_milli=0, memory_bytes=0, gpu_milli=0)


def build(fields: Fields, to: Reading) -> ClusterConfig:
    """The configuration; meaningless if problems were recorded (the caller raises them)."""
    zone = zone_of(fields.get("timezone", "UTC"))
    levels = _levels(fields.get("topology"), to)
    queues = _Queues(to)
    queues.take(fields.get("queues"), None)
    places = tuple(_place(found, levels, to) for found, _ in fields.get("nodes", ()))
    config = ClusterConfig(
        levels=levels,
        places=places,
        queues=queues.sorted(),
        policy=_policy(fields.get("policy")),
    )
    if zone is None:
        return config
    table: Fields | None = fields.get("reservations")
    found = [] if table is None else list(table.items())
    made = [_reservation(name, one, key, zone, queues, to) for name, one, _, key in found]
    reservations = tuple(sorted((r for r in made if r is not None), key=lambda r: r.name))
    return ClusterConfig(
        levels=levels,
        places=places,
        queues=config.queues,
        reservations=reservations,
        policy=config.policy,
    )


def _texts(fields: Fields, name: str) -> tuple[str, ...]:
    return tuple(text for text, _ in fields.get(name, ()))


def _amounts(fields: Fields | None) -> Amounts:
    if fields is None:
        return Amounts()
    gpus = fields.get("gpus")
    total: int | None = gpus if isinstance(gpus, int) else None
    kinds: tuple[tuple[str, int], ...] = ()
    if isinstance(gpus, Fields):
        total = gpus.get(TOTAL)
        kinds = tuple(sorted((name, milli) for name, milli, _, _ in gpus.items() if name != TOTAL))
    return Amounts(
        cpu_milli=fields.get("cpus"),
        memory_bytes=fields.get("memory"),
        gpu_milli=total,
        kinds=kinds,
    )


def parts(limit: Amounts) -> dict[str, int]:
    """By resource as the file calls it: `cpus`, `memory`, `gpus`, `gpus.MODEL`.

    A limit of one model says nothing about all GPUs together.
    """
    found = {f"gpus.{kind}": milli for kind, milli in limit.kinds}
    sizes = (("cpus", limit.cpu_milli), ("memory", limit.memory_bytes), ("gpus", limit.gpu_milli))
    return {name: size for name, size in sizes if size is not None} | found


def promise(quota: Amounts) -> dict[str, int]:
    """As `parts`; who is promised so much of some models is promised their sum of GPUs."""
    found = parts(quota)
    if quota.kinds and quota.gpu_milli is None:
        found["gpus"] = sum(milli for _, milli in quota.kinds)
    return found


def quotas(queues: Sequence[Queue]) -> dict[str, dict[str, int]]:
    """What each queue is guaranteed: its own quota, else the sum of those inside.

    queues: each after the one around it. Under ROOT: of all together.
    """
    found: dict[str, dict[str, int]] = {}
    for queue in reversed(queues):
        inside = found.pop(queue.name, {})
        own = parts(queue.quota) if queue.quota else inside
        found[queue.name] = own
        outer = found.setdefault(queue.parent, {})
        for resource, amount in own.items():
            outer[resource] = outer.get(resource, 0) + amount
    return found


def show_amount(resource: str, amount: int) -> str:
    """`16`, `0.5`, `2TiB`."""
    if resource == "memory":
        return show_bytes(amount)
    whole, rest = divmod(amount, 1000)
    return f"{whole}.{rest:03}".rstrip("0") if rest else str(whole)


def told(resource: str, amount: int) -> str:
    """`16 GPUs`, `8 H100`, `64 cores`, `2TiB of memory`."""
    shown = show_amount(resource, amount)
    if resource == "memory":
        return f"{shown} of memory"
    words = {"gpus": "GPUs", "cpus": "cores"}
    return f"{shown} {words.get(resource) or resource.removeprefix('gpus.')}"


# -- queues ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Made:
    """A queue with its place in the file, and the sum of what it guarantees."""

    queue: Queue
    fields: Fields
    key: Scalar
    path: tuple[str, ...]
    promised: dict[str, int] = field(default_factory=dict)


class _Queues:
    """Reads the tree from the outside in, checks quotas from the inside out."""

    def __init__(self, to: Reading) -> None:
        self._to = to
        self.made: dict[str, _Made] = {}

    def sorted(self) -> tuple[Queue, ...]:
        """Each after the one it is inside of; neighbours by name."""
        return tuple(made.queue for made in sorted(self.made.values(), key=lambda m: m.path))

    def take(self, table: Fields | None, outer: _Made | None) -> dict[str, int]:
        """What the queues of `table` guarantee together."""
        promised: dict[str, int] = {}
        for name, fields, _, key in [] if table is None else list(table.items()):
            first = self.made.get(name)
            if first is not None:
                message = (
                    f"the queue `{show(name)}` is given twice (first in line {first.key.line})"
                )
                hint = "names are unique in the whole tree: `vision-train` and `speech-train`"
                self._to.add(key, Code.DUPLICATE_KEY, message, hint)
                continue
            path = (*(outer.path if outer is not None else ()), name)
            made = _Made(self._queue(name, fields, outer), fields, key, path)
            self.made[name] = made
            self._check(made, outer)
            below = self.take(fields.get("queues"), made)
            self._check_below(made, below)
            made.promised = promise(made.queue.quota) if made.queue.quota else below
            for resource, amount in made.promised.items():
                promised[resource] = promised.get(resource, 0) + amount
        return promised

    def _queue(self, name: str, fields: Fields, outer: _Made | None) -> Queue:
        above = outer.queue if outer is not None else Queue(name=ROOT)
        preemption: Fields = fields.get("preemption") or Fields(None, "")
        borrow, lend = fields.get("borrow", True), fields.get("lend", True)
        return Queue(
            name=name,
            parent=above.name,
            quota=_amounts(fields.get("quota")),
            cap=_amounts(fields.get("cap")),
            borrow=borrow is not False,
            borrow_limit=_amounts(borrow) if isinstance(borrow, Fields) else Amounts(),
            lend_limit=_lend(lend),
            user_cap=_amounts(fields.get("user_cap")),
            weight_milli=fields.get("weight", 1000),
            priority=fields.get("priority", above.priority),
            gpu_kinds=tuple(sorted(set(_texts(fields, "gpu_types")))) or above.gpu_kinds,
            within=Within(preemption.get("within", above.within)),
            reclaim=Reclaim(preemption.get("reclaim", above.reclaim)),
            order=Order(fields.get("order")) if "order" in fields else above.order,
        )

    def _check(self, made: _Made, outer: _Made | None) -> None:
        queue, fields, to = made.queue, made.fields, self._to
        quota, cap = promise(queue.quota), parts(queue.cap)
        for resource, amount in quota.items():
            most = cap.get(resource)
            if most is not None and amount > most:
                message = (
                    f"the quota of `{queue.name}` is {show_amount(resource, amount)} {resource},"
                    f" its cap {show_amount(resource, most)}"
                )
                to.add(
                    fields.at("cap"), Code.CONFLICT, message, "raise the cap, or lower the quota"
                )
        if outer is not None and outer.queue.gpu_kinds and "gpu_types" in fields:
            strange = sorted(set(queue.gpu_kinds) - set(outer.queue.gpu_kinds))
            if strange:
                message = f"`{show(strange[0])}` is not allowed in the queue `{outer.queue.name}`"
                hint = f"allowed there: {listing(outer.queue.gpu_kinds)}"
                to.add(fields.at("gpu_types"), Code.CONFLICT, message, hint)
        if queue.gpu_kinds:
            useless = [kind for kind, _ in queue.quota.kinds if kind not in queue.gpu_kinds]
            if useless:
                message = f"a quota of `{show(useless[0])}`, which `gpu_types` does not allow"
                hint = f"allowed: {listing(queue.gpu_kinds)}"
                to.add(fields.at("quota"), Code.CONFLICT, message, hint)

    def _check_below(self, made: _Made, below: dict[str, int]) -> None:
        """The queues inside guarantee no more than the queue has."""
        quota = promise(made.queue.quota)
        for resource, amount in below.items():
            most = quota.get(resource)
            if most is not None and amount > most:
                message = (
                    f"the queues inside `{made.queue.name}` have quotas of"
                    f" {show_amount(resource, amount)} {resource} together,"
                    f" it has {show_amount(resource, most)}"
                )
                hint = f"raise the quota of `{made.queue.name}`, or lower theirs"
                self._to.add(made.fields.at("quota"), Code.CONFLICT, message, hint)


def _lend(lend: bool | Fields) -> Amounts:
    if isinstance(lend, bool):
        return Amounts() if lend else _LENDS_NOTHING
    return _amounts(lend)


# -- nodes -----------------------------------------------------------------------------------


def _levels(fields: Fields | None, to: Reading) -> tuple[str, ...]:
    found: dict[str, Node] = {}
    for name, node in [] if fields is None else fields.get("levels", ()):
        if name in found:
            to.add(node, Code.CONFLICT, f"the level `{name}` is given twice", "keep one of them")
        elif name == NODE_LEVEL:
            message = "`node` is no level above the node"
            to.add(node, Code.BAD_VALUE, message, "leave it out: a node is a level by itself")
        found[name] = node
    return tuple(found)


def _place(fields: Fields, levels: tuple[str, ...], to: Reading) -> NodePlace:
    if not fields.wrote("match"):
        message = "an entry of `nodes` needs `match`"
        to.add(fields.node, Code.MISSING_KEY, message, "which nodes: `match: n[01-16]`")
    labels: Fields | None = fields.get("labels")
    return NodePlace(
        nodes=_texts(fields, "match"),
        topology=_topology(fields, levels, to),
        labels={} if labels is None else {name: value for name, value, _, _ in labels.items()},
    )


def _topology(fields: Fields, levels: tuple[str, ...], to: Reading) -> tuple[str, ...]:
    found = fields.get("topology")
    at = fields.at("topology")
    if found is None:
        return ()
    if not levels:
        hint = "name them at the top: `topology: {levels: [rack]}`"
        to.add(at, Code.CONFLICT, "a place is given, but no levels", hint)
        return ()
    if isinstance(found, list):
        path = tuple(text for text, _ in found)
        if len(path) != len(levels):
            message = f"{len(path)} places are given, there are {len(levels)} levels"
            to.add(at, Code.CONFLICT, message, f"one for each of: {listing(levels)}")
        return path
    given = {name: place for name, place, _, _ in found.items()}
    for name, _, _, key in found.items():
        if name not in levels:
            meant = nearest(name, levels)
            hint = f"did you mean `{meant}`? " if meant else ""
            message = f"`{show(name)}` is not a level"
            to.add(key, Code.CONFLICT, message, f"{hint}levels: {listing(levels)}")
    missing = [level for level in levels if level not in given]
    if missing and len(given) == len(levels) - len(missing):
        message = f"the place on the level `{missing[0]}` is missing"
        to.add(at, Code.MISSING_KEY, message, f"one for each of: {listing(levels)}")
    return tuple(given.get(level, "") for level in levels)


# -- the rest --------------------------------------------------------------------------------


def _reservation(
    name: str, fields: Fields, key: Scalar, zone: tzinfo, queues: _Queues, to: Reading
) -> Reservation | None:
    needed = ["nodes", "from"] + ([] if fields.wrote("for") else ["to"])
    for missing in [word for word in needed if not fields.wrote(word)]:
        hint = f"such as `{EXAMPLES[missing]}`"
        message = f"the reservation `{name}` needs `{missing}`"
        to.add(key, Code.MISSING_KEY, message, hint)
    if "to" in fields and "for" in fields:
        message = f"the reservation `{name}` has an end and a length"
        to.add(fields.at("for"), Code.CONFLICT, message, "keep `to` or `for`")
    names = tuple(sorted(set(_texts(fields, "queues"))))
    for queue, node in fields.get("queues", ()):
        if queue not in queues.made:
            meant = nearest(queue, queues.made)
            hint = f"did you mean `{meant}`? " if meant else ""
            message = (
                f"the reservation `{name}` is for the queue `{show(queue)}`, which is not here"
            )
            to.add(node, Code.CONFLICT, message, f"{hint}queues: {listing(queues.made)}")
    from_us = _moment(fields, "from", zone, to)
    to_us = _moment(fields, "to", zone, to)
    if from_us is not None and "for" in fields:
        to_us = from_us + int(1e6 * fields.get("for"))
    if from_us is None or to_us is None:
        return None
    if to_us <= from_us:
        message = f"the reservation `{name}` ends before it begins"
        to.add(fields.at("to"), Code.CONFLICT, message, "`to` is later than `from`")
    return Reservation(
        name=name,
        nodes=_texts(fields, "nodes"),
        from_us=from_us,
        to_us=to_us,
        queues=names,
        users=tuple(sorted(set(_texts(fields, "users")))),
        reason=fields.get("reason", ""),
    )


def _moment(fields: Fields, key: str, zone: tzinfo, to: Reading) -> int | None:
    found: datetime | None = fields.get(key)
    if found is None:
        return None
    moment = resolved(found, zone)
    if isinstance(moment, str):
        message = f"`{fields.where}.{key}`: {found:%Y-%m-%d %H:%M} {moment}"
        to.add(fields.at(key), Code.BAD_VALUE, message, "add the zone: `2026-12-01 09:00+09:00`")
        return None
    return moment


def _policy(fields: Fields | None) -> Policy:
    if fields is None:
        return _POLICY

    def value(key: str, default: Any) -> Any:
        return fields.get(key, default)

    return Policy(
        order=Order(value("order", _POLICY.order)),
        placement=Placement(value("placement", _POLICY.placement)),
        half_life_s=value("half_life", _POLICY.half_life_s),
        usage_milli=value("usage_weight", _POLICY.usage_milli),
        ageing_s=value("ageing", _POLICY.ageing_s),
        preempt=value("preempt", _POLICY.preempt),
        protect_s=value("protect", _POLICY.protect_s),
        most_preemptions=value("most_preemptions", _POLICY.most_preemptions),
        restart_s=value("restart", _POLICY.restart_s),
        backfill=value("backfill", _POLICY.backfill),
        reserve_gangs=value("reserve_gangs", _POLICY.reserve_gangs),
        tolerance_s=value("tolerance", _POLICY.tolerance_s),
        starvation_s=value("starvation_after", _POLICY.starvation_s),
        collect_gpus_milli=value("collect", _POLICY.collect_gpus_milli),
    )
