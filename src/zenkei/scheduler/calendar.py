"""When what is held falls free: reservations, protected starts of blocked gangs, back-filling.

Made by `planner` once per cycle over the `Holdings` that it keeps; pure. In the cycle, in this order
for each job whose turn it is:

 1. `lift(job)`: its own promise of an earlier plan, if any, no longer counts;
 2. it is placed without the nodes of `forbids(request, ends_us, queue, user)`;
 3. started: `took` for each part. Blocked, and among the first `reserve_gangs`: `promise`.

A job's `ends_us` is now + its time limit, or + an estimate; None without either: it has no end.

Guarantees. A job that respects `forbids` delays no promise of this cycle beyond its `due_us` and
runs into no reservation, whichever devices it gets. If the promises of the last plan come back as
`standing`, none that was given is ever broken by jobs behind it or beside it, and `due_us` never
grows; without, this holds for the first blocked gang only: those behind it are planned anew.

Departures from the ideal. A share of one GPU is promised with its device. On nodes with several GPU
models a promise keeps all GPUs. Nothing is back-filled on nodes that a gang collects. A time limit
of more than two years is none.

Cost: nothing until it is asked; then once O(parts held · log), `promise` some 40 NumPy calls on the
candidates, `forbids` one pass over the promised nodes for a new `ends_us`, then O(changed nodes).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from zenkei.model.queue import ClusterConfig
from zenkei.model.resources import DeviceShare, Request
from zenkei.scheduler.holdings import Holdings
from zenkei.scheduler.promises import Booking, Collecting, Promise, Standing
from zenkei.scheduler.reasons import Reason
from zenkei.scheduler.snapshot import JobClass


def bookings(config: ClusterConfig, names: Iterable[str]) -> tuple[Booking, ...]:
    """Reservations with the nodes they take, by start. Keep it until config or nodes change."""
    raise NotImplementedError


class Calendar:
    """See the module's docstring.

    held: nodes and what is held on them, as committed. booked: by `bookings`. estimates: when
    running jobs without a time limit are thought to have ended, by job. standing: see above.
    """

    def __init__(
        self,
        held: Holdings,
        config: ClusterConfig,
        now_us: int,
        *,
        booked: tuple[Booking, ...] = (),
        estimates: Mapping[int, int] | None = None,
        standing: Iterable[Standing] = (),
    ) -> None:
        raise NotImplementedError

    @property
    def next_us(self) -> int | None:
        """The next instant at which planning again could differ although nothing happens.

        Starts and ends of reservations, and of promises; when a blocked gang begins to starve.
        """
        raise NotImplementedError

    def lift(self, job: int) -> None:
        """The job's turn has come: what an earlier plan promised it is in nobody's way."""
        raise NotImplementedError

    def forbids(
        self, request: Request, ends_us: int | None, *, queue: str = "", user: str = ""
    ) -> frozenset[str]:
        """Nodes on which a part that starts now would delay a promise or meet a reservation.

        The same object as long as the answer is the same. ends_us: of the job; few distinct values
        per cycle are cheap, so round up to the end of a duration bucket.
        """
        raise NotImplementedError

    def took(
        self, node: str, request: Request, devices: tuple[DeviceShare, ...], ends_us: int | None
    ) -> None:
        """A part starts on `node` in this cycle. O(1), on promised nodes O(rows)."""
        raise NotImplementedError

    def promise(
        self,
        job: int,
        wanted: JobClass,
        *,
        limit_us: int = 0,
        since_us: int = 0,
        queue: str = "",
        user: str = "",
    ) -> Promise | Collecting | None:
        """The earliest start of a blocked job, kept free from now on; in the order of the line.

        wanted: with `avoid` as `Census.forgiving` leaves it; a gang that may be smaller is promised
        the least. limit_us: its time limit, 0 for none. since_us: since when it waits, for
        starvation. None: nobody knows, and it does not starve yet (or collects what is at its
        limit, or no cluster could ever hold it).
        """
        raise NotImplementedError

    def why(
        self,
        request: Request,
        ends_us: int | None,
        nodes: Collection[str],
        *,
        queue: str = "",
        user: str = "",
    ) -> Reason | None:
        """Why `nodes`, on which it would fit now, are forbidden; None if they are not.

        RESERVED names the reservation, WOULD_DELAY the first promised job, COLLECTING one that
        collects.
        """
        raise NotImplementedError
