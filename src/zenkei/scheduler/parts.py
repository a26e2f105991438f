"""What a job has on the nodes that were found for it. Used by `cycle`. Pure. Cost: O(nodes)."""

from __future__ import annotations

from zenkei.model.cluster import NodePart
from zenkei.model.resources import DeviceShare, Request
from zenkei.scheduler.index import NodeRow


def parts_of(
    rows: list[NodeRow], request: Request, shares: tuple[tuple[DeviceShare, ...], ...]
) -> tuple[NodePart, ...]:
    return tuple(
        NodePart(node=row.node.name, request=request, devices=devices)
        for row, devices in zip(rows, shares, strict=True)
    )


def kinds_of(
    rows: list[NodeRow], shares: tuple[tuple[DeviceShare, ...], ...]
) -> tuple[tuple[str, int], ...]:
    """GPU-milli of each model."""
    found: dict[str, int] = {}
    for row, devices in zip(rows, shares, strict=True):
        for index, milli in devices:
            kind = row.node.capacity.devices[index].kind
            found[kind] = found.get(kind, 0) + milli
    return tuple(sorted(found.items()))
