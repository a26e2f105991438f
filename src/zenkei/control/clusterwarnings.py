"""What in a cluster's file is allowed, and probably not meant. Told when it is applied. Pure.

Cost: O(nodes x patterns + reservations^2 on the same nodes).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zenkei.model.cluster import Node
from zenkei.model.nodenames import matcher
from zenkei.model.queue import ROOT, ClusterConfig, Reservation
from zenkei.spec.cluster_build import quotas, show_amount, told
from zenkei.spec.problems import listing

MOST: Final = 50


def warnings(config: ClusterConfig, nodes: tuple[Node, ...]) -> tuple[str, ...]:
    """Sentences for people; at most MOST."""
    found = [*_quotas(config, nodes), *_nowhere(config, nodes), *_overlaps(config, nodes)]
    return tuple(found[:MOST])


def machines(nodes: tuple[Node, ...]) -> dict[str, int]:
    """All there is, by resource as `cluster_build.parts` names them."""
    have = {"cpus": 0, "memory": 0, "gpus": 0}
    for node in nodes:
        have["cpus"] += node.capacity.cpu_milli
        have["memory"] += node.capacity.memory_bytes
        have["gpus"] += 1000 * len(node.capacity.devices)
        for device in node.capacity.devices:
            name = f"gpus.{device.kind}"
            have[name] = have.get(name, 0) + 1000
    return have


def _quotas(config: ClusterConfig, nodes: tuple[Node, ...]) -> Iterator[str]:
    have = machines(nodes)
    for resource, amount in quotas(config.queues).get(ROOT, {}).items():
        if amount > have.get(resource, 0):
            yield (
                f"the quotas promise {told(resource, amount)} together,"
                f" the cluster has {show_amount(resource, have.get(resource, 0))}"
            )
    known = {name.removeprefix("gpus.") for name in have if name.startswith("gpus.")}
    wanted = {kind for queue in config.queues for kind in queue.gpu_kinds}
    strange = sorted(wanted - known)
    if strange:
        yield f"no node has a GPU of the model {listing(strange, 5)}"


def _nowhere(config: ClusterConfig, nodes: tuple[Node, ...]) -> Iterator[str]:
    names = [node.name for node in nodes]
    patterns = [p for place in config.places for p in place.nodes]
    patterns += [p for reservation in config.reservations for p in reservation.nodes]
    for pattern in dict.fromkeys(patterns):
        if not any(map(matcher([pattern]), names)):
            yield f"no node is called `{pattern}` now"


def _overlaps(config: ClusterConfig, nodes: tuple[Node, ...]) -> Iterator[str]:
    by_start = sorted(config.reservations, key=lambda r: (r.from_us, r.name))
    taken = {r.name: _taken(r, nodes) for r in by_start}
    going: list[Reservation] = []
    for later in by_start:
        going = [one for one in going if one.to_us > later.from_us]
        for earlier in going:
            both = sorted(taken[earlier.name] & taken[later.name])
            if both:
                yield (
                    f"the reservations `{earlier.name}` and `{later.name}` overlap on"
                    f" {listing(both, 3)}"
                )
        going.append(later)


def _taken(reservation: Reservation, nodes: tuple[Node, ...]) -> frozenset[str]:
    fits = matcher(reservation.nodes)
    return frozenset(node.name for node in nodes if fits(node.name))
