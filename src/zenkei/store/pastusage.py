"""What is released is added to the past usage of its queue and person, in the same transaction.

Called by `units.Batch` at the end of a batch. Pure. Cost: O(1) per allocation that ends, plus two
statements of the store for a batch in which one does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol, TypeAlias

from zenkei.model.ids import AttemptId
from zenkei.model.queue import PastUsage, counted_s
from zenkei.ports.store import Usage

Whose: TypeAlias = tuple[str, str]
"""Queue and person."""


class UsageRows(Protocol):
    """Part of `units.RowSource`."""

    def open_usage(self, attempts: Collection[AttemptId]) -> Iterable[Usage]:
        """Segments of `attempts` that have not ended."""

    def past_usage(self, whose: Collection[Whose]) -> Mapping[Whose, PastUsage]: ...


def after_release(
    rows: UsageRows,
    released: Collection[AttemptId],
    begun: Iterable[Usage],
    *,
    now_us: int,
    half_life_s: float,
) -> dict[Whose, PastUsage]:
    """The rows that change. begun: segments of this batch, which are not among the rows yet."""
    ended = [*rows.open_usage(released), *(usage for usage in begun if usage.attempt in released)]
    if not ended:
        return {}
    sums = dict(rows.past_usage({(usage.queue, usage.owner) for usage in ended}))
    for usage in ended:
        whose = (usage.queue, usage.owner)
        known = sums.get(whose, PastUsage(*whose, 0.0, 0.0, 0.0, now_us))
        known = known.as_of(now_us, half_life_s)
        seconds = counted_s(usage.from_us, now_us, half_life_s)
        sums[whose] = PastUsage(
            *whose,
            known.cpu_milli_s + seconds * usage.cpu_milli,
            known.memory_byte_s + seconds * usage.memory_bytes,
            known.gpu_milli_s + seconds * usage.gpu_milli,
            max(now_us, known.at_us),
        )
    return sums
