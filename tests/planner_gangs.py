"""Where a gang goes, by comparing sets of names: slow, and short enough to trust.

The policy of `zenkei.scheduler.topology` written down again for `planner_worlds.brute_force`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple


class Able(NamedTuple):
    """A node that fits. rating: less is better. place: topology path and name."""

    rating: Any
    tight: Any
    place: tuple[tuple[str, ...], str]

    @property
    def name(self) -> str:
        return self.place[1]

    @property
    def path(self) -> tuple[str, ...]:
        return self.place[0]


def gang(
    able: Collection[Able], count: int, depth: int | None = None, beside: Collection[Any] = ()
) -> list[str]:
    """`count` nodes of one cluster, or what there is, in rank order.

    depth: all in one domain whose paths agree in so many names. beside: (path, name) of nodes that
    the gang has already.
    """
    deepest = max((len(one.path) for one in able), default=0)
    if beside:
        found = _beside(able, count, depth, [path for path, _ in beside])
    elif count == 1:
        found = _best(able, 1)
    elif depth is not None:
        most = max(map(len, _domains(able, depth).values()), default=0)
        number = min(count, most)
        domain = _smallest(able, depth, deepest, number) if number else None
        found = [] if domain is None else _fill(domain[1], domain[0], deepest, number)
    else:
        found = _fill(able, 0, deepest, min(count, len(able)))
    return [one.name for one in sorted(found, key=lambda one: one.place)]


def _beside(
    able: Collection[Able], count: int, depth: int | None, paths: list[tuple[str, ...]]
) -> list[Able]:
    deepest = max((len(one.path) for one in able), default=0)
    for names in range(deepest, (depth or 1) - 1, -1):
        there = {path[:names] for path in paths}
        if len(there) == 1 and len(min(there)) == names and names:
            around = [one for one in able if one.path[:names] in there]
            if len(around) >= count or names == depth:
                return _fill(around, names, deepest, min(count, len(around)))
    return [] if depth else _fill(able, 0, deepest, min(count, len(able)))


def _domains(able: Collection[Able], names: int) -> dict[tuple[str, ...], list[Able]]:
    groups: dict[tuple[str, ...], list[Able]] = {}
    for one in able:
        if len(one.path) >= names:
            groups.setdefault(one.path[:names], []).append(one)
    return groups


def _smallest(
    able: Collection[Able], least: int, deepest: int, count: int
) -> tuple[int, list[Able]] | None:
    for names in range(deepest, least - 1, -1):
        enough = [(path, g) for path, g in _domains(able, names).items() if len(g) >= count]
        if enough:
            key = min(enough, key=lambda e: (len(e[1]), min(o.rating for o in e[1]), e[0]))
            return names, key[1]
    return None


def _fill(able: Collection[Able], names: int, deepest: int, count: int) -> list[Able]:
    if not count:
        return []
    smaller = _smallest(able, names + 1, deepest, count)
    if smaller is not None:
        return _fill(smaller[1], smaller[0], deepest, count)
    if names == deepest:
        return _best(able, count)
    below: dict[tuple[str, ...], list[Able]] = {}
    for one in able:
        path = (*one.path, *[""] * deepest)[: names + 1]
        below.setdefault(path, []).append(one)
    _, largest = min(below.items(), key=lambda e: (-len(e[1]), min(o.rating for o in e[1]), e[0]))
    if len(largest) >= count:
        return _fill(largest, names + 1, deepest, count)
    rest = [one for one in able if one not in largest]
    return largest + _fill(rest, names, deepest, count - len(largest))


def _best(able: Collection[Able], count: int) -> list[Able]:
    return sorted(able)[:count]
