"""Defects that the simulator must find: each a text of the source and what stands there instead.

A text that is not in its file any more makes the test fail: move the mutant with the code.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Mutant(NamedTuple):
    """file: below src/zenkei. before: stands there exactly once."""

    name: str
    file: str
    before: str
    after: str


MUTANTS: Final = (
    Mutant(
        "an effect is not kept when it is committed",
        "store/tables.py",
        "            inserted.append(effect)\n",
        "            inserted.append(effect)\n            del tables.outbox[effect.id]\n",
    ),
    Mutant(
        "an effect that is done is done again",
        "control/dispatcher.py",
        "changes = Changes(done=[e.id for e in done or ()])",
        "changes = Changes(done=[])",
    ),
    Mutant(
        "devices are free when the ranks have ended, not when they are gone",
        "control/draft.py",
        "        elif isinstance(body, e.Released):\n",
        "        elif isinstance(body, e.Exited):\n",
    ),
    Mutant(
        "what a dead attempt reports is believed",
        "lifecycle/decide.py",
        '        raise Stale(f"attempt {job.id}/{attempt} is no longer current',
        '        str(f"attempt {job.id}/{attempt} is no longer current',
    ),
    Mutant(
        "a gang starts without its last node",
        "control/apply.py",
        "    return tuple(parts)\n",
        "    return tuple(parts[:-1] or parts)\n",
    ),
    Mutant(
        "time is that of the host",
        "store/memory.py",
        "writes = Batch(rows, tables.counters, self._clock()).decide(batch)",
        "import time; writes = Batch(rows, tables.counters, time.time_ns() // 1000).decide(batch)",
    ),
    Mutant(
        "the planner forgets that what ended is free",
        "control/planrows.py",
        "        if told.get(key, _NOTHING) == now:\n",
        "        if told.get(key, _NOTHING) == now or now == _NOTHING:\n",
    ),
)
