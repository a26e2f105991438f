"""Does what the outbox says, after the commit, and takes the rows out when it is done.

Effects reach it in memory right after their commit (`Store.listen`) and, for those of a controller
that died, through `claim`. Every effect may be done twice: keys, attempt ids and compare-and-set
make that harmless. A temporary failure goes back with a delay; what is left of an effect whose job
moved on meanwhile is simply taken out. No handler runs inside a transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from zenkei.control.checkpoints import CheckpointKeeper
from zenkei.control.dependencies import wake_dependents_of
from zenkei.control.draft import Draft
from zenkei.control.lanes import RESUMING, Lanes
from zenkei.control.orders import Orders
from zenkei.control.prepare import Preparer
from zenkei.control.sealing import Sealer
from zenkei.lifecycle import commands as c
from zenkei.lifecycle.decide import Stale
from zenkei.lifecycle.history import attempts
from zenkei.model.errors import (
    CheckpointDamaged,
    Conflict,
    NotFound,
    PermanentEngineError,
    TemporaryEngineError,
    Unavailable,
)
from zenkei.model.event import Effect, EffectKind
from zenkei.model.ids import AttemptId
from zenkei.model.job import Exit, JobState, StopReason
from zenkei.ports.engine import Engine, LaunchOrder, StopAttempt
from zenkei.ports.store import Changes, Reads, Store, Unit, View
from zenkei.ports.system import Workers

log = logging.getLogger(__name__)

MOST_TRIES = 8
"""After as many temporary failures a launch is given up, and the attempt with it."""
LEASE_S = 30.0
CLAIM = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tried:
    """What came of an effect: done, again after `later_s`, or failed (for good, or too often)."""

    effect: Effect
    later_s: float | None = None
    failed: str = ""
    for_good: bool = False


class Dispatcher:
    """One per controller. `owner` names it in leases."""

    def __init__(
        self,
        *,
        store: Store,
        orders: Orders,
        engines: Mapping[str, Engine],
        preparer: Preparer,
        sealer: Sealer,
        checkpoints: CheckpointKeeper,
        workers: Workers,
        owner: str,
    ) -> None:
        self._store = store
        self._orders = orders
        self._engines = engines
        self._preparer = preparer
        self._sealer = sealer
        self._checkpoints = checkpoints
        self._owner = owner
        self._lanes = Lanes(workers, self._work)
        self._batch_of: dict[str, Callable[[list[Effect]], None]] = {
            "build": self._prepare,
            "engine": self._engine,
            RESUMING: self._engine,
            "keep": self._keep,
            "seal": self._seal,
            "wake": self._wake,
        }

    def take(self, effects: tuple[Effect, ...]) -> None:
        """Effects of a commit of this process; called on the writer's thread, never blocks."""
        if effects:
            self._lanes.put(effects)

    def claim(self) -> int:
        """Take over due effects that nobody works on. Called at start and every few seconds."""
        claimed = self._store.claim(owner=self._owner, limit=CLAIM, lease_s=LEASE_S)
        self._lanes.put(claimed)
        return len(claimed)

    def in_flight(self) -> int:
        return self._lanes.in_flight()

    def _work(self, lane: str, effects: list[Effect]) -> None:
        try:
            self._batch_of[lane](effects)
        except Unavailable as closing:
            # The daemon ends, or the database is away: the rows are there, and are claimed again.
            log.info("effects left for later lane=%s why=%s", lane, closing)
        except Exception:
            # A defect must not lose the effects: the rows are still there, and come back later.
            log.exception("effects failed lane=%s keys=%s", lane, [e.key for e in effects[:5]])
            self._finish(later=[(effect, 2.0 ** min(effect.tries, 8)) for effect in effects])

    # -- preparation -------------------------------------------------------------------------
    def _prepare(self, effects: list[Effect]) -> None:
        for effect in effects:
            delay_s = self._preparer.prepare(effect)
            if delay_s is not None:
                self._finish(later=[(effect, delay_s)])

    # -- engine ------------------------------------------------------------------------------
    def _engine(self, effects: list[Effect]) -> None:
        """Stops go before launches: the engine then never starts what is already unwanted."""
        launches = [e for e in effects if e.kind is EffectKind.LAUNCH]
        orders = self._orders.of(_attempt(e) for e in launches)
        tried = [self._try(e, orders) for e in effects if e.kind is not EffectKind.LAUNCH]
        tried += self._launches(launches, orders)
        self._finish(
            done=[t.effect for t in tried if t.later_s is None and not t.failed],
            later=[(t.effect, t.later_s) for t in tried if t.later_s is not None],
        )
        for one in tried:
            if one.failed:
                self._launch_failed(one.effect, one.failed, for_good=one.for_good)

    def _launches(
        self, launches: list[Effect], orders: dict[AttemptId, LaunchOrder]
    ) -> list[_Tried]:
        """Side by side where the engine gains by it: a launch is mostly waiting for the disk."""
        width = max((e.capabilities.launches for e in self._engines.values()), default=1)
        if width == 1 or len(launches) < 2:
            return [self._try(effect, orders) for effect in launches]
        with ThreadPoolExecutor(min(width, len(launches)), "launch") as pool:
            return list(pool.map(lambda effect: self._try(effect, orders), launches))

    def _try(self, effect: Effect, orders: dict[AttemptId, LaunchOrder]) -> _Tried:
        """Do one effect; what went wrong is part of the answer."""
        is_launch = effect.kind is EffectKind.LAUNCH
        try:
            self._do(effect, orders)
        except TemporaryEngineError as error:
            if is_launch and effect.tries >= MOST_TRIES:
                return _Tried(effect=effect, failed=str(error))
            return _Tried(effect=effect, later_s=error.delay_s)
        except PermanentEngineError as error:
            if is_launch:
                return _Tried(effect=effect, failed=str(error), for_good=True)
            log.error("effect refused key=%s error=%s", effect.key, error)
        return _Tried(effect=effect)

    def _do(self, effect: Effect, orders: dict[AttemptId, LaunchOrder]) -> None:
        if effect.kind is EffectKind.LAUNCH:
            self._launch(effect, orders.get(_attempt(effect)))
        elif effect.kind is EffectKind.STOP:
            self._stop(effect)
        else:
            for engine in self._engines.values():
                engine.retire(_attempt(effect))

    def _launch(self, effect: Effect, order: LaunchOrder | None) -> None:
        """From the newest checkpoint that is whole; a damaged one counts no more."""
        while order is not None:
            try:
                self._engine_of(effect).launch(order)
                return
            except CheckpointDamaged as damage:
                assert order.resume is not None, "only what is resumed from is damaged"
                self._checkpoints.lose(effect.job, order.resume, str(damage))
            attempt = _attempt(effect)
            order = self._orders.of([attempt]).get(attempt)

    def _stop(self, effect: Effect) -> None:
        message = StopAttempt(
            reason=effect.reason or StopReason.USER_CANCEL,
            grace_s=effect.grace_s,
            checkpoint_s=effect.checkpoint_s,
        )
        self._engine_of(effect).tell(_attempt(effect), message)

    def _engine_of(self, effect: Effect) -> Engine:
        if len(self._engines) == 1:
            return next(iter(self._engines.values()))
        for allocation in self._store.allocations_of((_attempt(effect),)):
            return self._engines[allocation.cluster]
        for one in attempts(self._store.histories([effect.job]).get(effect.job, ())):
            if one.id == _attempt(effect) and one.cluster in self._engines:
                return self._engines[one.cluster]
        raise PermanentEngineError(f"attempt {_attempt(effect)} ran on no known cluster")

    def _launch_failed(self, effect: Effect, why: str, *, for_good: bool) -> None:
        """Nothing was started (the engine said so): the attempt is exited and released.

        for_good: trying again cannot help (a secret is gone), so the job does not come back.
        """
        exit_ = Exit(detail=why)
        number = effect.attempt

        def decide(view: View) -> tuple[Changes, None]:
            draft = Draft(view)
            try:
                policy = self._orders.specs.get(draft.job(effect.job).spec).retry
                failed = StopReason.LAUNCH_FAILED
                report = c.ReportExited(attempt=number, reason=failed, exit=exit_)
                draft.advance(effect.job, report)
                released = c.ReportReleased(attempt=number, policy=policy, proof="never launched")
                row = draft.advance(effect.job, released)
                if for_good and row.state is JobState.PENDING:
                    draft.advance(effect.job, c.Reject(message=f"it cannot be started: {why}"))
            except (Stale, Conflict, NotFound) as over:
                log.info("launch failure dropped key=%s why=%s", effect.key, over)
            changes = draft.finish()
            changes.done.append(effect.id)
            return changes, None

        log.warning("launch failed key=%s why=%s", effect.key, why)
        self._store.submit(Unit(reads=Reads(jobs=(effect.job,)), decide=decide)).result()

    # -- results and dependents --------------------------------------------------------------
    def _seal(self, effects: list[Effect]) -> None:
        self._checkpoints.settle(effects, self._engine_of)
        self._sealer.seal(effects, self._engine_of)

    def _keep(self, effects: list[Effect]) -> None:
        self._checkpoints.keep(effects, self._engine_of)

    def _wake(self, effects: list[Effect]) -> None:
        wake_dependents_of(self._store, [effect.job for effect in effects])
        self._finish(done=effects)

    def _finish(
        self,
        done: list[Effect] | None = None,
        later: list[tuple[Effect, float]] | None = None,
    ) -> None:
        """Take rows out, or put them back. Lost by a crash: they are done again."""
        if not done and not later:
            return

        def decide(_view: View) -> tuple[Changes, None]:
            changes = Changes(done=[e.id for e in done or ()])
            changes.later = [(e.id, delay_s) for e, delay_s in later or ()]
            return changes, None

        self._store.submit(Unit(decide=decide)).result()


def _attempt(effect: Effect) -> AttemptId:
    return AttemptId(effect.job, effect.attempt)
