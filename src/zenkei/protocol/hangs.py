"""Evidence about silent ranks, and what it means together. Pure; used by agents and by engines.

A supervisor sees the ranks of its node only. On one node it judges itself; with several nodes each
writes what it sees into its spool (`stuck` records) and the engine judges when all have: a rank
that merely waits is never blamed while another one is stopped, computes, or has ended.
`share` records say how a rank spends its time; together they show a straggler.
"""

from __future__ import annotations

from typing import Any, Iterable, NamedTuple, Sequence

STOPPED = "stopped"
COMPUTES = "computes"
POLLS = "polls"
WAITS = "waits"
ENDED = "ended"

MOST_PLACES = 4
SHARE = 0.8
"""A straggler is seen at work (or asleep) at least so often, the others waiting."""


class Evidence(NamedTuple):
    """state: one of the words above. how: what a person reads about it ("waits for a lock").

    place: where its main thread is ("train.py:27 in main"), empty if unknown. collective: that is a
    call which needs the other ranks.
    """

    rank: int
    state: str
    how: str = ""
    place: str = ""
    collective: bool = False


class Verdict(NamedTuple):
    """rank: the one to be blamed; -1 if there is none."""

    rank: int
    text: str


def judge(found: Sequence[Evidence], silent_s: float, usual_s: float) -> Verdict:
    """The root cause among ranks of which none makes progress."""
    usual = f" (usual: {seconds(usual_s)})" if usual_s > 0 else ""
    head = f"no sign of progress for {seconds(silent_s)}{usual}"
    culprits, others = _culprits(found)
    if not culprits:
        return Verdict(-1, head)
    names = _names([one.rank for one in culprits])
    text = f"{head}: {names} {_how(culprits)}"
    if others and culprits[0].state != ENDED:
        text += f"; {_waiters(others)}"
    if culprits[0].state == ENDED:
        text += f" while {_waiters(others)}" if others else ""
    alone = not others and len(culprits) > 1
    return Verdict(-1 if alone else culprits[0].rank, text)


def _culprits(found: Sequence[Evidence]) -> tuple[list[Evidence], list[Evidence]]:
    """Those that keep the others waiting, and the others."""
    for state in (STOPPED, COMPUTES):
        chosen = [one for one in found if one.state == state]
        rest = [one for one in found if one.state != state]
        # ranks that spin in a collective wait as well, if they are not all of them
        outside = [one for one in chosen if not one.collective]
        if state == COMPUTES and outside and len(outside) < len(found):
            chosen, rest = outside, [one for one in found if one not in outside]
        if chosen and (state == STOPPED or outside):
            return chosen, [one for one in rest if one.state != ENDED]
    ended = [one for one in found if one.state == ENDED]
    if ended and len(ended) < len(found):
        return ended, [one for one in found if one.state != ENDED]
    outside = [one for one in found if not one.collective and one.place]
    inside = [one for one in found if one.collective]
    if outside and inside and len(outside) <= len(inside):
        return outside, [one for one in found if one not in outside]
    return _odd_ones(found)


def _odd_ones(found: Sequence[Evidence]) -> tuple[list[Evidence], list[Evidence]]:
    """Those that wait where few wait; all, if no place is rarer than another."""
    places: dict[str, list[Evidence]] = {}
    for one in found:
        places.setdefault(one.place, []).append(one)
    groups = sorted(places.values(), key=len)
    if "" not in places and len(groups) > 1 and len(groups[0]) < len(groups[-1]):
        odd = groups[0]
        return odd, [one for one in found if one not in odd]
    return list(found), []


def _how(culprits: Sequence[Evidence]) -> str:
    """In the singular or plural, with the place, or the places if they are few."""
    one, many = culprits[0], len(culprits)
    if one.state == STOPPED:
        return f"{'is' if many == 1 else 'are'} stopped (SIGSTOP)"
    words = one.how or {COMPUTES: "computes", POLLS: "polls"}.get(one.state, "waits")
    if one.state == ENDED:
        words = one.how or "has ended"
    if many > 1:
        first, _, rest = words.partition(" ")
        plural = {"has": "have", "is": "are"}.get(first, first.rstrip("s") or first)
        words = f"{plural} {rest}".rstrip()
    places = dict.fromkeys(each.place for each in culprits)
    if "" in places:
        return words
    if len(places) == 1:
        return f"{words} at {one.place}"
    shown = [f"{each.rank} at {each.place}" for each in culprits[:MOST_PLACES]]
    more = ", …" if many > MOST_PLACES else ""
    return f"{words} in different places ({', '.join(shown)}{more})"


def _waiters(others: Sequence[Evidence]) -> str:
    names = _names([one.rank for one in others])
    places = {one.place for one in others}
    verb = "waits" if len(others) == 1 else "wait"
    where = f" at {places.pop()}" if len(places) == 1 and others[0].place else ""
    return f"{names} {verb} for it{where}"


def _names(ranks: Sequence[int]) -> str:
    ranks = sorted(ranks)
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    if len(ranks) <= 4:
        return "ranks " + ", ".join(map(str, ranks[:-1])) + f" and {ranks[-1]}"
    return f"{len(ranks)} ranks ({ranks[0]}, {ranks[1]}, …, {ranks[-1]})"


def seconds(value: float) -> str:
    """For people: 0.3 s, 42 s, 12 min, 3 h."""
    if value < 1:
        return f"{max(value, 0.1):.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h"


def dump(found: Iterable[Evidence]) -> list[list[Any]]:
    """For a record."""
    return [list(one) for one in found]


def load(rows: Any) -> tuple[Evidence, ...]:
    """From a record; rows that are none are left out."""
    whole = len(Evidence._fields)
    return tuple(Evidence(*row) for row in rows if isinstance(row, list) and len(row) == whole)


class Share(NamedTuple):
    """How a rank was seen: looks in which it worked, in which it slept by itself, and all looks.

    queued: looks in which it seemed to work, but had mostly stood in line for a processor since the
    look before: on a machine that is overloaded, they say nothing.
    """

    rank: int
    works: int
    sleeps: int
    looks: int
    queued: int = 0


def part_of(share: Share) -> str:
    """In a word: works, sleeps, waits, or mixed."""
    told = share.looks - share.queued
    # if it stood in line most of the time, the rest is too little
    least = SHARE * told if 3 * told >= share.looks else float("inf")
    if share.sleeps >= least:
        return "sleeps"
    if share.works + share.sleeps >= SHARE * share.looks:
        return "works"
    return "waits" if share.looks - share.works - share.sleeps >= least else "mixed"


def straggler(shares: Sequence[Share], *, spins: bool) -> int:
    """The one rank that all others wait for; -1 if there is none.

    A rank ten times slower works nine tenths of the time in which the others wait nine tenths: the
    limit leaves room for chance in a dozen looks. spins: waiting ranks compute, as those of MPI do;
    then only one that sleeps can be told from them.
    """
    parts = {share.rank: part_of(share) for share in shares if share.looks > 0}
    if len(parts) < 2:
        return -1
    slow = [rank for rank, part in parts.items() if part in ("works", "sleeps")]
    if len(slow) == 1 and all(parts[rank] == "waits" for rank in parts if rank != slow[0]):
        return slow[0]
    asleep = [rank for rank, part in parts.items() if part == "sleeps"]
    if spins and len(asleep) == 1 and len(slow) == len(parts):
        return asleep[0]
    return -1
