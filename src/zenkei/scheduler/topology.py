"""Where the nodes of a gang stand: in the smallest domain that has room, else in few of them.

Used by `index` only. Pure. A domain is a run of slots whose nodes share the beginning of their
topology path; depth 0 is the widest level. Nodes whose path ends above a level are in no domain of
it: they are never taken for near to each other there.

Policy (`Choice.compact`): the deepest level that has a sufficient domain, and there the one with
the fewest fitting nodes, then the best rating, then the first. Where nothing suffices below it, the
largest domain of the next level is taken whole, and the search goes on for the rest.
Source: best-fit over topology domains as in Kueue's topology-aware scheduling; departure: Kueue
looks at the requested level and wider ones only, here narrower ones come first.
Cost: two NumPy passes over the nodes per level and domain taken whole.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zenkei.scheduler.placement.port import Floats, Ints

_NEVER: Final = 1 << 40


class Domain(NamedTuple):
    """Slots `start` to `end`, excluded. depth: of its level, -1 for the whole cluster."""

    depth: int
    start: int
    end: int


class Domains:
    """The domains of nodes in topology order. depth: how many levels are known."""

    def __init__(self, paths: Sequence[tuple[str, ...]]) -> None:
        self.size = len(paths)
        self.depth = max(map(len, paths), default=0)
        self.starts: list[Ints] = []
        self.real: list[NDArray[np.bool_]] = []
        self._starts: list[list[int]] = []
        for depth in range(1, self.depth + 1):
            heads = [path[:depth] for path in paths]
            padded = [head + ("",) * (depth - len(head)) for head in heads]
            starts = [0, *(at for at, (a, b) in enumerate(pairwise(padded), 1) if a != b)]
            self._starts.append(starts)
            self.starts.append(np.array(starts, dtype=np.int64))
            self.real.append(np.array([all(padded[at]) for at in starts], dtype=np.bool_))

    @property
    def whole(self) -> Domain:
        return Domain(-1, 0, self.size)

    def below(self, domain: Domain, depth: int) -> slice:
        """The domains of a deeper level within `domain`, as places in `starts[depth]`."""
        starts = self._starts[depth]
        return slice(bisect_left(starts, domain.start), bisect_left(starts, domain.end))

    def at(self, depth: int, place: int) -> Domain:
        starts = self._starts[depth]
        end = starts[place + 1] if place + 1 < len(starts) else self.size
        return Domain(depth, starts[place], end)

    def around(self, slot: int, depth: int) -> Domain | None:
        """The domain of a level that a slot is in, if it is in one."""
        place = bisect_right(self._starts[depth], slot) - 1
        return self.at(depth, place) if self.real[depth][place] else None


class Choice:
    """Picks nodes among those with a rating above minus infinity; taking from `rating` in place.

    rating, tight, warm: `[N]`. Equal ratings: more warm data, then least tight, then first slot.
    """

    def __init__(self, domains: Domains, rating: Floats, tight: Ints, warm: Ints | None) -> None:
        self._domains = domains
        self._rating = rating
        self._fit = rating > -np.inf
        self._tight = tight
        self._warm = warm

    def number(self, domain: Domain) -> int:
        return int(np.count_nonzero(self._fit[domain.start : domain.end]))

    def largest(self, depth: int) -> int:
        """The most fitting nodes that a domain of this level has."""
        counts = self._counts(self._domains.whole, depth)
        return int((counts * self._domains.real[depth]).max(initial=0))

    def within(self, depth: int, count: int) -> list[int] | None:
        """`count` slots in one domain of this level or a deeper one, if there is one."""
        domain = self._smallest(self._domains.whole, depth, count)
        return None if domain is None else self.compact(domain, count)

    def compact(self, domain: Domain, count: int) -> list[int]:
        """`count` slots in a domain that has so many, as the module's docstring says; in order."""
        found: list[int] = []
        while True:
            smaller = self._smallest(domain, domain.depth + 1, count)
            if smaller is None and domain.depth + 1 < self._domains.depth:
                largest = self._largest(domain)
                number = self.number(largest)
                if number < count:
                    taken = np.flatnonzero(self._fit[largest.start : largest.end]) + largest.start
                    found += taken.tolist()
                    self._fit[taken] = False
                    self._rating[taken] = -np.inf
                    count -= number
                    continue
                smaller = largest
            if smaller is None:
                return sorted(found + self.best(domain, count))
            domain = smaller

    def _counts(self, domain: Domain, depth: int) -> Ints:
        below = self._domains.below(domain, depth)
        fit = self._fit[domain.start : domain.end]
        starts = self._domains.starts[depth][below] - domain.start
        counts: Ints = np.add.reduceat(fit, starts, dtype=np.int64)
        return counts

    def _smallest(self, domain: Domain, depth: int, count: int) -> Domain | None:
        """Within `domain`, at `depth` or deeper, the smallest one that has `count` nodes."""
        for at in range(self._domains.depth - 1, depth - 1, -1):
            counts = self._counts(domain, at)
            real = self._domains.real[at][self._domains.below(domain, at)]
            size = np.where(real & (counts >= count), counts, _NEVER)
            least = size[size.argmin()]
            if least < _NEVER:
                return self._first(domain, at, size == least)
        return None

    def _largest(self, domain: Domain) -> Domain:
        """The one of the next level that has most fitting nodes."""
        counts = self._counts(domain, domain.depth + 1)
        return self._first(domain, domain.depth + 1, counts == counts.max())

    def _first(self, domain: Domain, depth: int, alike: NDArray[np.bool_]) -> Domain:
        """Of the `alike` domains of a level, the one with the best rating, then the first."""
        below = self._domains.below(domain, depth)
        places = np.flatnonzero(alike)
        place = int(places[0])
        if len(places) > 1:
            starts = self._domains.starts[depth][below] - domain.start
            peaks = np.maximum.reduceat(self._rating[domain.start : domain.end], starts)
            place = int(places[peaks[places].argmax()])
        return self._domains.at(depth, below.start + place)

    def best(self, domain: Domain, count: int) -> list[int]:
        """The `count` best nodes of a domain that has so many, in order of slots."""
        slots = np.flatnonzero(self._fit[domain.start : domain.end]) + domain.start
        found: list[Ints] = []
        for key, sign in ((self._rating, -1), (self._warm, -1), (self._tight, 1)):
            if len(slots) == count:
                break
            if key is None:
                continue
            values = key[slots] * sign
            bound = np.partition(values, count - 1)[count - 1]
            sure = slots[values < bound]
            found.append(sure)
            count -= len(sure)
            slots = slots[values == bound]
        chosen: list[int] = np.sort(np.concatenate([*found, slots[:count]])).tolist()
        return chosen
