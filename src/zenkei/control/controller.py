"""The controller's cycle. `step` is run by a thread of the daemon and, unchanged, by the simulator.

Ideal: whatever happens, the next step brings the world closer to what was asked, and doing a step
twice does no more than doing it once.
Departures: a plan may be stale when it is applied; then the applier refuses and the next step plans
again. Two controllers may plan the same start; one of them is refused by compare-and-set.

Woken by commits and by engines, never by a fast timer: the longest sleep is CLAIM_S, after which
the outbox is searched for effects of controllers that died.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from threading import Event as Flag

from zenkei.control.apply import apply_plan
from zenkei.control.dispatcher import Dispatcher
from zenkei.control.health import HealthKeeper
from zenkei.control.observer import Observer
from zenkei.control.planner import PlanKeeper
from zenkei.control.specs import SpecCache
from zenkei.model.errors import EngineError, Unavailable
from zenkei.ports.engine import Engine, NodeSeen
from zenkei.ports.store import Committed, Store
from zenkei.ports.system import Clock, Workers
from zenkei.scheduler import Reserve

log = logging.getLogger(__name__)

CLAIM_S = 5.0
AGAIN_S = 1.0
"""After a step that failed: the next, unless something happens."""
MOST_CYCLES = 64
"""Planning cycles within one step before reports are looked at again."""


class Controller:
    """guard: why nothing may start now (disk full, paused), or an empty text.

    stepped_us: when the last step ended; 0 before the first. trouble: why steps fail at present.
    """

    def __init__(  # noqa: PLR0913 - the parts of one cycle, put together in one place
        self,
        *,
        store: Store,
        cache: SpecCache,
        engines: Mapping[str, Engine],
        keeper: PlanKeeper,
        dispatcher: Dispatcher,
        clock: Clock,
        workers: Workers,
        guard: Callable[[], str] = lambda: "",
        seed: int = 0,
    ) -> None:
        self._store = store
        self._specs = cache
        self._engines = engines
        self._observers = [Observer(store, cache, engine) for engine in engines.values()]
        self._keeper = keeper
        self._health = HealthKeeper(
            store=store, engines=engines, keeper=keeper, workers=workers, wake=self.wake
        )
        self._dispatcher = dispatcher
        self._clock = clock
        self._guard = guard
        self._closing = ""
        self.stepped_us = 0
        self.trouble = ""
        self._told: set[type[Exception]] = set()
        self._failed = 0
        self._seed = seed
        self._flag = Flag()
        self._woken = False
        self._heard_seq = 0
        """Up to which commit there is news."""
        self._next_claim_us = 0
        store.listen(self._heard)
        for engine in engines.values():
            engine.on_report(self.wake)

    def step(self) -> int | None:
        """One cycle; everything it does is safe to repeat. Returns when the next is due (µs)."""
        self._flag.clear()
        self._woken = False
        self._observe()  # 1 what happened on the engines becomes events
        self._claim()  # 2 effects that a dead controller left are taken over
        due_us = self._plan()  # 3, 4 snapshot, pure plan, applied with the same fits()
        #                          5 effects leave after each commit, by the store's listener
        check_us = self._health.step(self._clock.now_us())  # 6 nodes that take no work
        self.stepped_us = self._clock.now_us()
        self._rest()
        return min((us for us in (due_us, check_us) if us is not None), default=None)

    def run(self, stop: Flag) -> None:
        """Step whenever something happened, until `stop` is set and the controller woken."""
        while not stop.is_set():
            try:
                due_us = self.step()
            except Exception as error:  # noqa: BLE001 - told once, in `_fail`
                self._fail(error)
                self._flag.wait(AGAIN_S)
                continue
            self._succeed()
            sleep_us = self.due_us(due_us) - self._clock.now_us()
            # the clock may be set back meanwhile: never longer than the searches are apart
            self._flag.wait(min(CLAIM_S, max(0.0, sleep_us / 1e6)))

    def _fail(self, error: Exception) -> None:
        """Tell of a trouble when it begins, not each time: a full disk may last for days."""
        self._failed += 1
        is_away = isinstance(error, Unavailable)
        self.trouble = str(error) if is_away else f"{type(error).__name__}; see the daemon's log"
        if type(error) in self._told:
            return
        self._told.add(type(error))
        if is_away:
            log.warning("controller waits why=%s", error)
        else:
            log.error("controller step failed", exc_info=error)

    def _succeed(self) -> None:
        if self._failed:
            log.warning("controller goes on failed_steps=%d", self._failed)
            self.trouble, self._failed = "", 0
            self._told.clear()

    def wake(self) -> None:
        """Something happened: step again soon. From any thread."""
        self._woken = True
        self._flag.set()

    def _rest(self) -> None:
        """What this step itself has committed and then planned with is no news.

        Cleared before it is asked: who wakes it meanwhile is heard.
        """
        self._flag.clear()
        if self._woken or self._heard_seq > self._keeper.seq:
            self._flag.set()

    @property
    def awake(self) -> bool:
        """Whether something happened since the last step began."""
        return self._flag.is_set()

    def hold_starts(self, why: str) -> None:
        """Nothing starts from the next plan on; an empty text ends that. From any thread."""
        self._closing = why

    def register_nodes(self) -> None:
        """Enter every engine's inventory; called at start and when declared nodes change."""
        for observer, engine in zip(self._observers, self._engines.values(), strict=True):
            try:
                observer.enter(tuple(NodeSeen(node=node) for node in engine.inventory()))
            except EngineError as error:
                log.warning("inventory failed cluster=%s error=%s", engine.cluster, error)

    def _heard(self, committed: Committed) -> None:
        self._dispatcher.take(committed.effects)
        self._heard_seq = committed.seq
        self._flag.set()

    def _observe(self) -> None:
        for observer in self._observers:
            observer.observe()

    def _claim(self) -> None:
        now_us = self._clock.now_us()
        # a clock that was set back must not put the search off until it has caught up
        if not self._next_claim_us - int(CLAIM_S * 1e6) <= now_us < self._next_claim_us:
            self._next_claim_us = now_us + int(CLAIM_S * 1e6)
            self._dispatcher.claim()

    def _plan(self) -> int | None:
        plan = None
        for _cycle in range(MOST_CYCLES):
            self._keeper.refresh(paused=self._closing or self._guard())
            plan = self._keeper.plan(now_us=self._clock.now_us(), seed=self._seed)
            if not any(not isinstance(d, Reserve) for d in plan.decisions):
                break
            applied = apply_plan(self._store, self._specs, plan.decisions)
            if not applied:
                break  # all of it is so already: victims that are stopping, for example
            if applied.refused or not plan.more:
                self.wake()  # the commits made new facts: look again, reports first
                break
        return plan.next_us if plan else None

    def due_us(self, planned_us: int | None) -> int:
        """When to step again although nothing happens: the plan's instant, or the next claim."""
        return self._next_claim_us if planned_us is None else min(planned_us, self._next_claim_us)
