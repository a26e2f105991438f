"""The hang watch: notices that an attempt makes no progress, keeps its stacks, and ends it.

One per attempt and node, called by the supervisor's loop every few seconds. Progress is output, a
metric, a changed file of the output or the checkpoints. How much silence is unusual is learned
(`rhythm`); silence alone is never enough (but for `hang.timeout`): what the processes do decides
(`suspects`), and which call their stacks are in (`stacks`). On one node this watch decides; with
several, each node writes what it sees (`stuck` records) and the engine decides. The table of cases
is in docs/concepts/hangs.md.

Cost: while there are signs of progress a few system calls per look; in silence 0.2 ms a process.
Looks are spaced so that they take at most 0.17 % of a processor.
"""

from __future__ import annotations

import os
import time
from typing import Callable, NamedTuple

from zenkei.agent import processes, stacks, suspects
from zenkei.agent.attempt import Attempt, Cause
from zenkei.agent.pacing import Pacing
from zenkei.agent.ranks import Ranks
from zenkei.agent.rhythm import Rhythm
from zenkei.agent.signs import Signs
from zenkei.agent.stillness import Stillness
from zenkei.agent.suspects import LIVES, OTHERS, Suspects
from zenkei.agent.watching import INFINITE, Watch
from zenkei.protocol import hangs, launch, records

MOST_NOTICES = 10
COST_FACTOR = 600
MOST_RECORDS = 40
GRACE_S = 5.0
"""What hangs does not use a longer grace, but a rank that waits in Python can save its work."""
STEPS = 4
"""Steps reported by the program after which its rhythm is surely that of the work."""
DEFAULT = launch.HangWatch()
BESIDE_OUTPUT = "; its output comes from other threads"


class _Case(NamedTuple):
    """What the silence means now.

    look_s: after so long stacks are taken, and people are told if `tells`. limit_s: after so long
    it is a hang. strong: that is seen, not guessed from the silence.
    """

    evidence: tuple[hangs.Evidence, ...]
    look_s: float
    limit_s: float
    strong: bool = True
    tells: bool = True


class HangWatch(Watch):
    """end: stop the attempt with a cause and a grace."""

    def __init__(
        self,
        attempt: Attempt,
        ranks: Ranks,
        end: Callable[[Cause, float], None],
    ) -> None:
        document = attempt.document
        self._attempt = attempt
        policy = document.hang or DEFAULT
        self._policy = policy
        self._ranks = ranks
        self._end = end
        self._node_alone = document.nodes == 1
        now = time.monotonic()
        self._rhythm = Rhythm(policy.quiet_s, policy.startup_s)
        self._rhythm.begin(now)
        self._signs = Signs()
        self._stillness = Stillness()
        alone = self._alone = document.nodes * document.ranks == 1
        self._suspects = Suspects(self._groups, document.addresses, alone=alone)
        self._pacing = Pacing(attempt, alone=alone)
        self.dumper = stacks.Dumper(attempt, self._groups)
        self._every_s = min(5.0, max(0.5, policy.quiet_s / 6))
        # without a policy there are dumps for who asks for one, and nothing else
        self._next_at = now + self._every_s if document.hang else INFINITE
        # time in which nobody looked (the machine was suspended, the supervisor stopped) is taken
        # off: in it the ranks could not be seen either
        self._lost_s = 0.0
        self._stopped: set[int] = set()
        self._heard = False
        self._dumped_at = 0.0
        self._seen: dict[int, stacks.Seen] = {}
        self._is_told = self._is_last = False
        self._is_over = False
        self._told = ""
        self._notices = 0
        self._records = 0

    # -- called by the supervisor ------------------------------------------------------------------

    def heard(self, _rank: int) -> None:
        """A rank has written something."""
        self._heard = True
        self._rhythm.sign(time.monotonic() - self._lost_s)

    def due_at(self, now: float) -> float:
        return (
            INFINITE
            if self._is_over or self._attempt.cause
            else min(self._next_at, self.dumper.due_at())
        )

    def finish(self) -> None:
        self._is_over = True

    def ask_dump(self) -> None:
        """Somebody wants to see the stacks."""
        self.dumper.begin("asked for", time.monotonic())

    def reaped(self, pid: int) -> bool:
        """True if it was the process that took a dump."""
        if not self.dumper.reaped(pid):
            return False
        now = time.monotonic()
        self._stillness.rebase()
        seen = self.dumper.result()
        if self._dumped_at:
            self._seen = seen if not self._alone else _without_others(seen)
            self._suspects.rebase(now)
        self.dumper.next(now)
        return True

    def work(self, now: float) -> None:
        self.dumper.work(now)
        if now < self._next_at or self._is_over or self._attempt.cause is not None:
            return
        self._lost_s += max(0.0, now - self._next_at - self._every_s - 1.0)
        cost_s = -time.thread_time()
        self._look(now)
        cost_s += time.thread_time()
        # by chance: an even rhythm, or one that wavers evenly, stays in step with that of the job
        jitter = 0.5 + os.urandom(1)[0] / 255
        self._next_at = now + max(self._every_s * jitter, min(30.0, COST_FACTOR * cost_s))

    # -- one look ----------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        clock = now - self._lost_s
        grew = self._signs.of_metrics(self._ranks.pids())
        if grew or (not self._heard and self._signs.of_files()):
            self._rhythm.sign(clock)
        moved, self._heard = self._heard or grew, False
        silent_s = self._rhythm.silence_s(clock)
        # ranks that leave the talking to another node are seen by what they do, once they train
        mute = not self._node_alone and not self._rhythm.signs
        trains = mute and silent_s >= min(60.0, self._policy.startup_s)
        # what ranks do before the first sign (look for each other) tells nothing about their pace
        moves = trains or (self._rhythm.signs > 0 and (moved or silent_s < self._every_s))
        self._pacing.look(self._ranks.pids(), now, moves=moves)
        is_noisy = silent_s < 2 * self._every_s
        if is_noisy and self.dumper.is_running:
            return  # it makes threads run
        if is_noisy:
            self._end_stopped(now)
            silent_s = self._stillness.look(self._ranks.pids(), now)
        if is_noisy and silent_s < self._rhythm.blocked_limit_s():
            self._progress()
            return
        self._suspects.look(now)
        self._judge(now, silent_s, is_noisy=is_noisy)

    def _end_stopped(self, now: float) -> None:
        """A rank that is stopped never comes back by itself, whatever the others do."""
        limit_s = self._rhythm.blocked_limit_s()
        for rank, since in self._pacing.stopped.items():
            if now - since < limit_s or self.dumper.is_running:
                continue
            text = f"rank {rank} is stopped (SIGSTOP) for {hangs.seconds(now - since)}"
            text += ", the others go on"
            if rank not in self._stopped:
                self._stopped.add(rank)
                self.dumper.begin(text, now)
                self._attempt.remark(text)
                self._notice("quiet", rank, text)
            elif self._policy.action != "warn":
                self._is_over = True
                self._end(Cause("hung", rank=rank, detail=text), self.grace_s)
            return

    def _progress(self) -> None:
        """All is well: nothing of the last silence counts any more."""
        if self._told:
            self._record(ready=False, evidence=(), silent_s=0.0)
            self._told = ""
        self._suspects.forget()
        self._dumped_at = 0.0
        self._seen = {}
        self._is_told = self._is_last = False

    def _judge(self, now: float, silent_s: float, *, is_noisy: bool) -> None:
        """is_noisy: there is output, but no main thread has run for `silent_s`."""
        policy = self._policy
        if policy.timeout_s and silent_s >= policy.timeout_s and not is_noisy:
            case = _Case(self._evidence(now), policy.timeout_s, policy.timeout_s)
        else:
            found = self._case(now, silent_s)
            if found is None:
                self._moves()
                return
            case = found
        if is_noisy and not self._is_sure(case):
            if self._dumped_at and not self.dumper.is_running:
                self._moves()
                return
            case = case._replace(limit_s=INFINITE, tells=False)
        if not self._node_alone and case.evidence and _all_wait(case.evidence):
            # the node where the cause is may need to know where these wait
            case = case._replace(look_s=min(case.look_s, policy.quiet_s))
        # a guess is looked at once more before it counts
        last = not case.strong and silent_s >= case.limit_s and not self._is_last
        if last or (silent_s >= case.look_s and not self._dumped_at):
            self._is_last = last
            self._dumped_at = now
            self.dumper.begin(f"silent for {hangs.seconds(silent_s)}", now)
            return
        if self.dumper.is_running or not self._dumped_at:
            self._waits(case, silent_s)
            return
        verdict = hangs.judge(case.evidence, silent_s, self._rhythm.usual_s)
        if is_noisy:
            verdict = verdict._replace(text=f"{verdict.text}{BESIDE_OUTPUT}")
        if not self._is_told and case.tells:
            self._is_told = True
            self._tell(case, verdict)
        confirmed = now - self._dumped_at >= self._confirm_s
        if silent_s >= case.limit_s and confirmed:
            self._hung(case, verdict, silent_s)
        else:
            self._waits(case, silent_s)

    def _is_sure(self, case: _Case) -> bool:
        """True if helper threads may say what they like: the steps, or the other ranks, tell."""
        if not case.strong or not self._seen:
            return False
        return self._signs.steps >= STEPS or any(one.collective for one in case.evidence)

    @property
    def _confirm_s(self) -> float:
        return min(20.0, max(1.5, self._policy.quiet_s / 3))

    def _case(self, now: float, silent_s: float) -> _Case | None:
        """None: somebody lives."""
        rhythm = self._rhythm
        collective = frozenset(rank for rank, seen in self._seen.items() if seen.collective)
        joins = frozenset(rank for rank, seen in self._seen.items() if seen.joins)
        # so long nothing may have been seen of a rank that is said to wait
        window_s = min(60.0, max(2.0, min(silent_s, rhythm.blocked_limit_s()) / 2))
        states = self._suspects.states(now, window_s, collective, joins)
        stopped = self._suspects.stopped_s(now)
        quiet_s = self._policy.quiet_s
        if any(for_s >= quiet_s for for_s in stopped.values()):
            return _Case(self._evidence(now), quiet_s, quiet_s)
        lives = [state for state in states.values() if state.kind == LIVES]
        if not states or any(not state.timed for state in lives):
            return None
        evidence = self._evidence(now, states)
        if lives:
            # worth a look: a library's own time limit is no sign of life in a collective
            return _Case(evidence, rhythm.blocked_limit_s(), INFINITE, tells=False)
        if any(state.kind == hangs.STOPPED for state in states.values()):
            return None  # not long enough yet
        return self._case_of(states, evidence)

    def _case_of(
        self, states: dict[int, suspects.State], evidence: tuple[hangs.Evidence, ...]
    ) -> _Case:
        """Nobody lives, nobody is stopped."""
        rhythm = self._rhythm
        ranks = [rank for rank in states if rank != OTHERS]
        in_collective = bool(ranks) and all(
            rank in self._seen and self._seen[rank].collective for rank in ranks
        )
        gpus_work = not in_collective and any(seen.gpu_busy for seen in self._seen.values())
        blocked = all(state.kind == hangs.WAITS for state in states.values()) and not gpus_work
        if blocked and (in_collective or not any(map(self._works_below, states.items()))):
            return _Case(evidence, rhythm.blocked_limit_s(), rhythm.blocked_limit_s())
        if in_collective and rhythm.is_known:
            return _Case(evidence, rhythm.collective_limit_s(), rhythm.collective_limit_s())
        look_s = rhythm.busy_limit_s() / 2
        if blocked:
            look_s = rhythm.blocked_limit_s()
        elif len(ranks) > 1 or not self._node_alone:
            look_s = min(look_s, rhythm.collective_limit_s())
        limit_s = rhythm.busy_limit_s() if self._may_guess else INFINITE
        return _Case(evidence, look_s, limit_s, strong=False)

    def _works_below(self, item: tuple[int, suspects.State]) -> bool:
        """True if a rank may be waiting for threads of its own that were seen to run."""
        rank, state = item
        return state.woke and (rank not in self._seen or self._seen[rank].joins)

    @property
    def _may_guess(self) -> bool:
        """True if long silence alone means something: the job file or the program says a rhythm."""
        policy = self._policy
        declared = (policy.quiet_s, policy.startup_s) != (DEFAULT.quiet_s, DEFAULT.startup_s)
        return declared or self._signs.steps >= STEPS

    def _evidence(
        self, now: float, states: dict[int, suspects.State] | None = None
    ) -> tuple[hangs.Evidence, ...]:
        if states is None:
            states = self._suspects.states(now, 2.0)
        found = []
        for rank, state in states.items():
            if rank == OTHERS:
                continue
            seen = self._seen.get(rank)
            kind = hangs.WAITS if state.kind == LIVES else state.kind
            place = seen.place if seen and kind != hangs.STOPPED else ""
            in_collective = bool(seen and seen.collective)
            spins = kind == hangs.COMPUTES and in_collective
            how = "waits busily" if spins else state.how
            found.append(hangs.Evidence(rank, kind, how, place, in_collective))
        for rank, end in self._ranks.ends.items():
            if rank < 0:
                continue
            how = "has ended" if end.code == 0 else "has failed"
            found.append(hangs.Evidence(rank, hangs.ENDED, how))
        return tuple(found)

    # -- what follows ------------------------------------------------------------------------------

    def _hung(self, case: _Case, verdict: hangs.Verdict, silent_s: float) -> None:
        warns = self._policy.action == "warn"
        if self._node_alone and warns:
            return
        if (self._node_alone or _stopped(case.evidence)) and not warns:
            self._is_over = True
            self._end(Cause("hung", rank=verdict.rank, detail=verdict.text), self.grace_s)
        else:
            self._record(ready=True, evidence=case.evidence, silent_s=silent_s)

    @property
    def grace_s(self) -> float:
        return min(self._attempt.document.grace_s, GRACE_S)

    def _waits(self, case: _Case, silent_s: float) -> None:
        """For the other nodes: nothing moves here, whoever is to blame."""
        if _all_wait(case.evidence) and silent_s >= self._policy.quiet_s:
            self._record(ready=False, evidence=case.evidence, silent_s=silent_s)

    def _moves(self) -> None:
        if self._told:
            self._record(ready=False, evidence=(), silent_s=0.0)
            self._told = ""

    def _record(
        self, *, ready: bool, evidence: tuple[hangs.Evidence, ...], silent_s: float
    ) -> None:
        """ready: by what is known here it is a hang. No evidence: it moves again."""
        told = f"{ready}{[(one.rank, one.state) for one in evidence]}"
        if self._node_alone or told == self._told:
            return
        # that they move again is told in any case
        if evidence and self._records >= MOST_RECORDS:
            return
        self._told = told
        self._records += 1
        self._attempt.report(
            records.STUCK,
            sync=False,
            ready=ready,
            ranks=hangs.dump(evidence),
            silent_s=round(silent_s, 1),
            usual_s=round(self._rhythm.usual_s, 1),
            grace_s=self.grace_s,
            ends=self._policy.action != "warn",
        )

    def _tell(self, case: _Case, verdict: hangs.Verdict) -> None:
        if self._notices >= MOST_NOTICES:
            return
        self._notices += 1
        if not self._node_alone and not _stopped(case.evidence):
            return  # all may be well on another node: the engine tells what all know together
        self._attempt.remark(verdict.text)
        self._notice("quiet", verdict.rank, verdict.text[:500])
        if self._seen:
            places = (f"rank {rank} at {seen.place}" for rank, seen in sorted(self._seen.items()))
            self._notice("stacks", -1, f"dump {self.dumper.count}: {', '.join(places)}"[:500])

    def _notice(self, notice: str, rank: int, detail: str) -> None:
        self._attempt.report(records.NOTICE, sync=False, notice=notice, rank=rank, detail=detail)

    def _groups(self) -> suspects.Groups:
        """Pids by rank; those of no rank apart, without what takes a dump."""
        own = os.getpid()
        found: suspects.Groups = {}
        known = {own}
        if self.dumper.pid:
            known.update((self.dumper.pid, *processes.below(self.dumper.pid)))
        for rank, pid in self._ranks.pids().items():
            found[rank] = [pid, *processes.below(pid)]
            known.update(found[rank])
        others = [pid for pid in processes.below(own) if pid not in known]
        if others:
            found[OTHERS] = others
        return found


def _without_others(found: dict[int, stacks.Seen]) -> dict[int, stacks.Seen]:
    """Who is alone waits for no other rank, whatever its functions are called."""
    return {rank: seen._replace(collective=False) for rank, seen in found.items()}


def _all_wait(evidence: tuple[hangs.Evidence, ...]) -> bool:
    """Spinning in a collective is waiting too."""
    return all(one.state in (hangs.WAITS, hangs.ENDED) or one.collective for one in evidence)


def _stopped(evidence: tuple[hangs.Evidence, ...]) -> bool:
    return any(one.state == hangs.STOPPED for one in evidence)
