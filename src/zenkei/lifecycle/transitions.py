"""The one transition table. `evolve` refuses what is not in it; the reference page shows it."""

from __future__ import annotations

from typing import Final

from zenkei.model.event import EventKind as E
from zenkei.model.job import TERMINAL
from zenkei.model.job import JobState as S

BIRTH: Final = frozenset({S.HELD, S.PREPARING})
IMPORT: Final = TERMINAL
"""As what jobs of other installations are born: they are over."""

TRANSITIONS: Final[dict[tuple[S, E], frozenset[S]]] = {
    (S.HELD, E.HELD): frozenset({S.HELD}),
    (S.HELD, E.UNHELD): frozenset({S.HELD, S.PREPARING}),
    (S.HELD, E.REJECTED): frozenset({S.FAILED}),
    (S.HELD, E.CANCELLED): frozenset({S.CANCELLED}),
    (S.PREPARING, E.PREPARED): frozenset({S.PENDING}),
    (S.PREPARING, E.PREPARE_FAILED): frozenset({S.FAILED}),
    (S.PREPARING, E.HELD): frozenset({S.HELD}),
    (S.PREPARING, E.CANCELLED): frozenset({S.CANCELLED}),
    (S.PENDING, E.ALLOCATED): frozenset({S.STARTING}),
    (S.PENDING, E.HELD): frozenset({S.HELD}),
    (S.PENDING, E.REJECTED): frozenset({S.FAILED}),
    (S.PENDING, E.CANCELLED): frozenset({S.CANCELLED}),
    (S.PENDING, E.CLAIMED): frozenset({S.PENDING}),
    **{(state, E.EDITED): frozenset({state}) for state in (S.HELD, S.PREPARING, S.PENDING)},
    (S.STARTING, E.STARTED): frozenset({S.RUNNING}),
    (S.STARTING, E.EXITED): frozenset({S.STOPPING}),
    (S.STARTING, E.STOP_ORDERED): frozenset({S.STOPPING}),
    (S.RUNNING, E.EXITED): frozenset({S.STOPPING}),
    (S.RUNNING, E.STOP_ORDERED): frozenset({S.STOPPING}),
    (S.STOPPING, E.STOP_ORDERED): frozenset({S.STOPPING}),
    (S.STOPPING, E.EXITED): frozenset({S.STOPPING}),
    (S.STOPPING, E.RELEASED): frozenset({S.SUCCEEDED, S.FAILED, S.CANCELLED, S.PENDING, S.HELD}),
    **{
        (state, kind): frozenset({state})
        for state in (S.STARTING, S.RUNNING, S.STOPPING)
        for kind in (E.RESUMED, E.CHECKPOINTED, E.NOTICED)
    },
    **{
        # a checkpoint is stored beside whatever the job does next
        (state, kind): frozenset({state})
        for state in S
        for kind in (E.CHECKPOINT_KEPT, E.CHECKPOINT_LOST)
    },
}
