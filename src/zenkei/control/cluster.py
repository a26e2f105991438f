"""What an operator wishes of the whole cluster: its file, older versions of it, and switches.

Called by the routes. Each command is one unit: what is refused, warned of and changed is decided on
what is in force at that moment, and kept as one record with who and when. A file changes what
starts from now on; it stops nothing that runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from zenkei.control.admission import no_queue
from zenkei.control.clusterwarnings import warnings
from zenkei.control.noderows import NodeRows
from zenkei.control.places import put_in_place
from zenkei.control.reasons import one_line
from zenkei.model.access import Principal, Target, Verb, can
from zenkei.model.clusterlog import (
    EVERYTHING,
    Change,
    ClusterRecord,
    ClusterRecordKind,
    Switch,
)
from zenkei.model.errors import Conflict, Denied, NotFound
from zenkei.model.queue import ClusterConfig
from zenkei.model.wording import count
from zenkei.ports.store import Changes, Reads, Store, Unit, View
from zenkei.spec import cluster as files
from zenkei.spec.cluster_words import diff

NOTHING = ClusterRecord(kind=ClusterRecordKind.APPLIED, version=0, at_us=0, by="")
MOST_NAMED = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What a file changed, or would change. version: in force after it. written: False if it was

    only looked at, or says nothing new. placed: nodes whose place or labels changed.
    """

    version: int
    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()
    written: bool = False
    placed: int = 0


class ClusterCommands:
    """See the module's docstring."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # -- looking -------------------------------------------------------------------------------

    def show(self, principal: Principal) -> ClusterRecord:
        """What is in force, with the text of its file. Everybody may see it."""
        record = self._store.cluster() or NOTHING
        file = self._store.cluster_file(record.version) if record.version else None
        return record if file is None else replace(record, text=file.text)

    def history(self, principal: Principal, *, limit: int = 100) -> tuple[ClusterRecord, ...]:
        """What operators did, newest last, each with what it changed."""
        return self._store.cluster_log(limit=limit)

    # -- files ---------------------------------------------------------------------------------

    def apply(
        self,
        principal: Principal,
        text: bytes,
        *,
        file: str,
        expected: int | None = None,
        dry: bool = False,
    ) -> Applied:
        """Let a file be in force. expected: the version that its author has seen (Conflict if

        another one is in force). dry: only say what would happen. Raises InvalidInput with every
        problem of the file, Conflict for a queue with jobs that would be gone.
        """
        _operate(principal)
        config = files.parse(text, file=file)
        wish = ClusterRecord(
            kind=ClusterRecordKind.APPLIED,
            version=0,
            at_us=0,
            by=principal.name,
            config=config,
            text=text.decode("utf-8-sig"),
        )
        return self._bring(wish, expected, dry=dry)

    def rollback(
        self,
        principal: Principal,
        version: int = 0,
        *,
        expected: int | None = None,
        dry: bool = False,
    ) -> Applied:
        """Bring an older file back, as a new version. version 0: the one before the newest."""
        _operate(principal)
        now = (self._store.cluster() or NOTHING).version
        wanted = version or now - 1
        found = self._store.cluster_file(wanted) if wanted > 0 else None
        if found is None:
            what = f"there is no version {wanted} of the cluster's file"
            hint = "`zenkei cluster history` lists them"
            raise NotFound("no-such-version", what if version else _NO_OTHER, hint=hint)
        wish = replace(
            found,
            kind=ClusterRecordKind.ROLLED_BACK,
            by=principal.name,
            restored=wanted,
            reason="",
            seq=0,
        )
        return self._bring(wish, expected, dry=dry)

    def _bring(self, wish: ClusterRecord, expected: int | None, *, dry: bool) -> Applied:
        names = tuple(node.name for node in self._store.nodes())
        newest = self._store.cluster() or NOTHING
        file = self._store.cluster_file(newest.version) if newest.version else None
        same = newest.version if file is not None and file.text == wish.text else 0

        def decide(view: View) -> tuple[Changes, Applied]:
            now, changes = view.cluster() or NOTHING, Changes()
            if expected is not None and expected != now.version:
                raise _moved_on(expected, now)
            _refuse_stranded(wish.config, view)
            different = diff(now.config, wish.config)
            nodes = tuple(node for node in map(view.node, names) if node is not None)
            said = warnings(wish.config, nodes)
            if dry or (same and same == now.version and not different):
                return changes, Applied(version=now.version, changes=different, warnings=said)
            record = _next(now, wish, different, view.clock_us)
            rows = NodeRows(view)
            placed = put_in_place(rows, names, record, view.clock_us)
            changes.cluster.append(record)
            rows.write(changes)
            return changes, Applied(
                version=record.version,
                changes=different,
                warnings=said,
                written=True,
                placed=placed,
            )

        reads = Reads(cluster=True, queues=True, nodes=names)
        return self._store.submit(Unit(reads=reads, decide=decide)).result()

    # -- switches ------------------------------------------------------------------------------

    def pause(
        self, principal: Principal, queue: str = EVERYTHING, *, reason: str = ""
    ) -> ClusterRecord:
        """Nothing starts from a queue any more, or nothing at all. What runs goes on."""
        why = one_line(reason)

        def turn(now: ClusterRecord, at_us: int) -> tuple[Switch, ...]:
            mine = Switch(queue=queue, by=principal.name, reason=why, since_us=at_us)
            others = tuple(switch for switch in now.switches if switch.queue != queue)
            before = next((one for one in now.switches if one.queue == queue), None)
            if before is not None and replace(mine, since_us=before.since_us) == before:
                return now.switches
            return (*others, mine)

        return self._turn(principal, ClusterRecordKind.PAUSED, queue, why, turn)

    def resume(
        self, principal: Principal, queue: str = EVERYTHING, *, reason: str = ""
    ) -> ClusterRecord:
        """Jobs start again. One that was not paused stays as it is."""

        def turn(now: ClusterRecord, at_us: int) -> tuple[Switch, ...]:
            return tuple(switch for switch in now.switches if switch.queue != queue)

        kind = ClusterRecordKind.RESUMED
        return self._turn(principal, kind, queue, one_line(reason), turn)

    def _turn(
        self,
        principal: Principal,
        kind: ClusterRecordKind,
        queue: str,
        reason: str,
        turn: Callable[[ClusterRecord, int], tuple[Switch, ...]],
    ) -> ClusterRecord:
        _operate(principal)

        def decide(view: View) -> tuple[Changes, ClusterRecord]:
            now = view.cluster() or NOTHING
            known = [one.name for one in now.config.queues]
            if queue != EVERYTHING and queue not in known:
                raise no_queue(queue, known)
            switches = turn(now, view.clock_us)
            if switches == now.switches:
                return Changes(), now
            record = replace(
                now,
                kind=kind,
                at_us=view.clock_us,
                by=principal.name,
                switches=switches,
                text="",
                diff=(),
                reason=reason,
                restored=0,
                queue=queue,
                seq=0,
            )
            return Changes(cluster=[record]), record

        unit = Unit(reads=Reads(cluster=True), decide=decide)
        return self._store.submit(unit).result()


_NO_OTHER = "there is no older version of the cluster's file"


def _next(
    now: ClusterRecord, wish: ClusterRecord, different: tuple[Change, ...], at_us: int
) -> ClusterRecord:
    """Switches stay, unless their queue is gone."""
    names = {EVERYTHING, *(queue.name for queue in wish.config.queues)}
    return replace(
        wish,
        version=now.version + 1,
        at_us=at_us,
        switches=tuple(switch for switch in now.switches if switch.queue in names),
        digest=files.digest(wish.config),
        diff=different,
        queue=EVERYTHING,
    )


def _refuse_stranded(config: ClusterConfig, view: View) -> None:
    """No job is left in a queue that is gone, or that would have others inside."""
    if not config.queues:
        return
    known = {queue.name for queue in config.queues}
    inner = {queue.parent for queue in config.queues}
    left = {q: n for q, n in sorted(view.unfinished().items()) if q not in known or q in inner}
    if not left:
        return
    told = [
        f"`{name}` has {count(number, 'unfinished job')} and would"
        f" {'have other queues inside' if name in known else 'be gone'}"
        for name, number in left.items()
    ]
    more = f", and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
    first = next(iter(left))
    raise Conflict(
        "queue-has-jobs",
        f"the queue {', the queue '.join(told[:MOST_NAMED])}{more}",
        hint=f"keep it, wait, or `zenkei cancel --queue {first}`; "
        "`zenkei edit JOB --queue NAME` moves a job that waits",
        details={"queues": dict(left)},
    )


def _moved_on(expected: int, now: ClusterRecord) -> Conflict:
    by = f", applied by {now.by}" if now.by else ""
    return Conflict(
        "cluster-moved-on",
        f"version {expected} of the cluster's file was expected, {now.version} is in force{by}",
        hint="`zenkei cluster apply FILE --diff` shows what would change now",
        details={"version": now.version},
    )


def _operate(principal: Principal) -> None:
    if not can(principal, Verb.OPERATE, Target()):
        raise Denied("may-not-operate", f"{principal.name} may not operate the cluster")
