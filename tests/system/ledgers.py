"""What the ranks of `exact_training` have noted, and what that proves about the attempts of a job.

`read` gives the notes of one job, `check` raises AssertionError unless: no rank of an attempt was
started twice; no two attempts ever ran at the same time, on whatever rank; within an attempt steps
follow each other; all ranks of an attempt go on from the same step, one that all ranks of an
earlier attempt had saved (or from the beginning); the last one came to the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Notes:
    """Of one rank of one attempt. first_s, last_s: on the machine's monotonic clock."""

    attempt: int
    rank: int
    first_s: float
    last_s: float
    begins: int
    steps: tuple[int, ...]
    saved: frozenset[int]
    overlaps: tuple[str, ...]
    ended: bool


def read(folder: Path, job: str) -> list[Notes]:
    """By attempt and rank."""
    found = []
    for path in folder.glob(f"{job}_*_*"):
        _, attempt, rank = path.name.split("_")
        lines = [line.split() for line in path.read_text().splitlines()]
        if not lines:
            continue  # killed between its first two system calls
        by_kind = [(line[0], int(line[1])) for line in lines]
        found.append(
            Notes(
                attempt=int(attempt),
                rank=int(rank),
                first_s=float(lines[0][2]),
                last_s=max(float(line[2]) for line in lines),
                begins=by_kind[0][1],
                steps=tuple(step for kind, step in by_kind if kind == "step"),
                saved=frozenset(step for kind, step in by_kind if kind == "saved"),
                overlaps=tuple(line[3] for line in lines if line[0] == "overlaps"),
                ended="end" in {kind for kind, _ in by_kind},
            )
        )
    return sorted(found, key=lambda notes: (notes.attempt, notes.rank))


def check(folder: Path, job: str, steps: int, ranks: int) -> dict[int, int]:
    """The step that each attempt went on from, if its ranks came so far that they said so."""
    assert list(folder.glob(f"twice_{job}_*")) == [], "a rank of an attempt was started twice"
    notes = read(folder, job)
    by_attempt: dict[int, list[Notes]] = {}
    for one in notes:
        assert one.overlaps == (), f"{one.attempt}/{one.rank} began while {one.overlaps} lived"
        expected = tuple(range(one.begins + 1, one.begins + 1 + len(one.steps)))
        assert one.steps == expected, f"steps of {one.attempt}/{one.rank} do not join"
        by_attempt.setdefault(one.attempt, []).append(one)
    for before, after in pairwise(sorted(by_attempt)):
        last_s = max(one.last_s for one in by_attempt[before])
        first_s = min(one.first_s for one in by_attempt[after])
        assert last_s < first_s, f"attempts {before} and {after} ran at the same time"
    went_on = {}
    saved = {0}
    for attempt, group in sorted(by_attempt.items()):
        begins = {one.begins for one in group}
        assert len(begins) == 1, f"ranks of attempt {attempt} go on from {begins}"
        assert begins <= saved, f"attempt {attempt} goes on from {begins}, which nobody saved"
        went_on[attempt] = begins.pop()
        if len(group) == ranks:
            saved |= set.intersection(*(set(one.saved) for one in group))
    last = by_attempt[max(by_attempt)]
    assert [one.ended for one in last] == [True] * ranks, "the last attempt came to no end"
    assert {one.begins + len(one.steps) for one in last} == {steps}
    return went_on
