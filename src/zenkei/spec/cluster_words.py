"""A ClusterConfig in the words of its file, value by value: what a diff and a person compare.

Used by `control` for every file that is applied or looked at. Pure. Cost: O(values).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from zenkei.model.clusterlog import Change
from zenkei.model.queue import Amounts, ClusterConfig, Policy, Queue, Reservation
from zenkei.spec.cluster_build import show_amount
from zenkei.spec.quantities import show_ms


def diff(before: ClusterConfig, after: ClusterConfig) -> tuple[Change, ...]:
    """Every value that differs, by path; empty if the two wish the same."""
    old, new = words(before), words(after)
    paths = [*new, *(path for path in old if path not in new)]
    return tuple(
        Change(path=path, before=old.get(path, ""), after=new.get(path, ""))
        for path in sorted(paths)
        if old.get(path) != new.get(path)
    )


def words(config: ClusterConfig) -> dict[str, str]:
    """Path to text, such as `queues.vision.quota.gpus`: `16`. What is not said is left out."""
    found: dict[str, str] = {}
    if config.levels:
        found["topology.levels"] = ", ".join(config.levels)
    for number, place in enumerate(config.places):
        at = f"nodes[{number}]"
        found[f"{at}.match"] = ", ".join(place.nodes)
        if place.topology:
            found[f"{at}.topology"] = " / ".join(place.topology)
        found |= {f"{at}.labels.{name}": value for name, value in place.labels.items()}
    paths: dict[str, str] = {}
    for queue in config.queues:
        outer = paths.get(queue.parent)
        path = f"{outer}.queues.{queue.name}" if outer else f"queues.{queue.name}"
        paths[queue.name] = path
        found |= dict(_queue(path, queue))
    for reservation in config.reservations:
        found |= dict(_reservation(f"reservations.{reservation.name}", reservation))
    found |= dict(_policy(config.policy))
    return found


def amounts(said: Amounts) -> Iterator[tuple[str, str]]:
    """`gpus`: `8`, `gpus.A100`: `4`, `cpus`: `64`, `memory`: `2TiB`."""
    sizes = (("gpus", said.gpu_milli), ("cpus", said.cpu_milli), ("memory", said.memory_bytes))
    for resource, amount in sizes:
        if amount is not None:
            yield resource, show_amount(resource, amount)
    for kind, milli in said.kinds:
        yield f"gpus.{kind}", show_amount("gpus", milli)


def _queue(path: str, queue: Queue) -> Iterator[tuple[str, str]]:
    """A queue without any wish has a line too: that there is one is news."""
    usual = Queue(name=queue.name)
    yield path, "a queue"
    limits = (
        ("quota", queue.quota),
        ("cap", queue.cap),
        ("borrow", queue.borrow_limit),
        ("lend", queue.lend_limit),
        ("user_cap", queue.user_cap),
    )
    for key, said in limits:
        for resource, text in amounts(said):
            yield f"{path}.{key}.{resource}", text
    if not queue.borrow:
        yield f"{path}.borrow", "false"
    if queue.weight_milli != usual.weight_milli:
        yield f"{path}.weight", show_amount("weight", queue.weight_milli)
    if queue.priority != usual.priority:
        yield f"{path}.priority", str(queue.priority)
    if queue.gpu_kinds:
        yield f"{path}.gpu_types", ", ".join(queue.gpu_kinds)
    if queue.within is not usual.within:
        yield f"{path}.preemption.within", str(queue.within)
    if queue.reclaim is not usual.reclaim:
        yield f"{path}.preemption.reclaim", str(queue.reclaim)
    if queue.order is not None:
        yield f"{path}.order", str(queue.order)


def _reservation(path: str, one: Reservation) -> Iterator[tuple[str, str]]:
    yield f"{path}.nodes", ", ".join(one.nodes)
    yield f"{path}.from", _moment(one.from_us)
    yield f"{path}.to", _moment(one.to_us)
    for key, said in (("queues", one.queues), ("users", one.users)):
        if said:
            yield f"{path}.{key}", ", ".join(said)
    if one.reason:
        yield f"{path}.reason", one.reason


def _policy(policy: Policy) -> Iterator[tuple[str, str]]:
    usual = Policy()
    for key, value, default in (
        ("order", str(policy.order), str(usual.order)),
        ("placement", str(policy.placement), str(usual.placement)),
        ("half_life", _span(policy.half_life_s), _span(usual.half_life_s)),
        ("usage_weight", _number(policy.usage_milli), _number(usual.usage_milli)),
        ("ageing", _span(policy.ageing_s), _span(usual.ageing_s)),
        ("preempt", _flag(policy.preempt), _flag(usual.preempt)),
        ("protect", _span(policy.protect_s), _span(usual.protect_s)),
        ("most_preemptions", str(policy.most_preemptions), str(usual.most_preemptions)),
        ("restart", _span(policy.restart_s), _span(usual.restart_s)),
        ("backfill", _flag(policy.backfill), _flag(usual.backfill)),
        ("reserve_gangs", str(policy.reserve_gangs), str(usual.reserve_gangs)),
        ("tolerance", _span(policy.tolerance_s), _span(usual.tolerance_s)),
        ("starvation_after", _span(policy.starvation_s), _span(usual.starvation_s)),
        ("collect", _number(policy.collect_gpus_milli), _number(usual.collect_gpus_milli)),
    ):
        if value != default:
            yield f"policy.{key}", value


def _span(seconds: float) -> str:
    return show_ms(round(1000 * seconds))


def _number(milli: int) -> str:
    return show_amount("", milli)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _moment(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC):%Y-%m-%d %H:%M:%S}Z"
