"""What a queue is owed and where it must stop, in vectors of resources.

Made by `tree` once per configuration and capacity, read by `seats` and `limits`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from zenkei.model.queue import Amounts, Queue
from zenkei.scheduler.codes import ReasonCode

GPU: Final = 2
BASE: Final = 3
"""CPU, memory and GPUs are there whatever is configured; GPU models that are named come after."""

Said: TypeAlias = tuple[tuple[int, int], ...]
"""(resource, amount), of those about which something is said."""


class Bound(NamedTuple):
    """The most of one resource. code: of the reason why who would go beyond it waits."""

    resource: int
    limit: int
    code: ReasonCode


class Terms(NamedTuple):
    """total: what the queue could have at most, `[R]`. quota: what is guaranteed.

    covered: up to which amount what is held counts as guaranteed, `[R]`: the quota, and of a
    resource without one the same share of the total as the quota's largest. scale: share of the
    parent's total, over weight, of one unit, `[R]`. kept: of the quota, what is not lent, `[R]`.
    models: those that are allowed; None: all.
    """

    total: tuple[int, ...]
    quota: Said
    covered: tuple[float, ...]
    scale: tuple[float, ...]
    weightless: bool
    bounds: tuple[Bound, ...]
    user_bounds: tuple[Bound, ...]
    kept: tuple[int, ...]
    models: frozenset[str] | None


def named(amounts: Amounts, kinds: tuple[str, ...]) -> Said:
    """(resource, amount) of what is said."""
    base = (amounts.cpu_milli, amounts.memory_bytes, amounts.gpu_milli)
    said = [(r, amount) for r, amount in enumerate(base) if amount is not None]
    return (*said, *((BASE + kinds.index(kind), amount) for kind, amount in amounts.kinds))


def root_terms(total: list[int]) -> Terms:
    """Of the whole cluster."""
    size = len(total)
    return Terms(
        total=tuple(total),
        quota=(),
        covered=(0.0,) * size,
        scale=(0.0,) * size,
        weightless=False,
        bounds=(),
        user_bounds=(),
        kept=(0,) * size,
        models=None,
    )


def terms_below(
    above: Terms, wish: Queue, quota: Said, kinds: tuple[str, ...], models: Mapping[str, int]
) -> Terms:
    """Of a queue below another. models: GPUs of each model in the cluster, in thousandths."""
    caps = named(wish.cap, kinds)
    allowed = _allowed(above, wish)
    total = list(above.total)
    if allowed is not None:
        total[GPU] = min(total[GPU], sum(models.get(kind, 0) for kind in allowed))
        for place, kind in enumerate(kinds, BASE):
            total[place] = total[place] if kind in allowed else 0
    for r, cap in caps:
        total[r] = min(total[r], cap)
    weight = wish.weight_milli / 1000 if wish.weight_milli > 0 else 1.0
    kept = [0] * len(total)
    lent = dict(named(wish.lend_limit, kinds))
    for r, amount in quota:
        kept[r] = max(0, amount - lent.get(r, amount))
    return Terms(
        total=tuple(total),
        quota=quota,
        covered=_covered(quota, above.total),
        scale=tuple(1 / (most * weight) if most else 0.0 for most in above.total),
        weightless=wish.weight_milli <= 0,
        bounds=_bounds(wish, caps, dict(quota), kinds),
        user_bounds=tuple(
            Bound(r, most, ReasonCode.USER_CAP) for r, most in named(wish.user_cap, kinds)
        ),
        kept=tuple(kept),
        models=allowed,
    )


def _allowed(above: Terms, wish: Queue) -> frozenset[str] | None:
    if not wish.gpu_kinds:
        return above.models
    own = frozenset(wish.gpu_kinds)
    return own if above.models is None else own & above.models


def _covered(quota: Said, total: tuple[int, ...]) -> tuple[float, ...]:
    """The quota; a resource that it does not name goes with the largest share that it gives.

    Else the CPUs beside guaranteed GPUs would count as borrowed.
    """
    share = max((amount / total[r] for r, amount in quota if total[r]), default=0.0)
    covered = [share * most for most in total]
    for r, amount in quota:
        covered[r] = float(amount)
    return tuple(covered)


def _bounds(
    wish: Queue, caps: Said, quota: dict[int, int], kinds: tuple[str, ...]
) -> tuple[Bound, ...]:
    """Caps, and how far beyond its quota the queue may go; the narrower one of each resource."""
    most = {r: Bound(r, cap, ReasonCode.QUEUE_CAP) for r, cap in caps}
    if wish.borrow:
        ends = {r: quota.get(r, 0) + more for r, more in named(wish.borrow_limit, kinds)}
    else:
        ends = quota
    for r, end in ends.items():
        if r not in most or end < most[r].limit:
            most[r] = Bound(r, end, ReasonCode.BORROW_LIMIT)
    return tuple(bound for _, bound in sorted(most.items()))
