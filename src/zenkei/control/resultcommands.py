"""What people do with results that are kept: give them names, give their files up.

Called by the server's routes. Names belong to a project and have a history; a job whose result has
a name is never pruned, and its files are not given up.
"""

from __future__ import annotations

import re
from dataclasses import replace

from zenkei.control.queries import Queries
from zenkei.model.access import Principal, Target, Verb, can
from zenkei.model.data import Digest, Result, ResultState, ResultTag
from zenkei.model.errors import Conflict, Denied, InvalidInput, NotFound
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Job
from zenkei.ports.book import ResultBook
from zenkei.ports.store import Changes, Store, Unit, View

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class ResultCommands:
    """See the module's docstring."""

    def __init__(self, *, store: Store, queries: Queries, book: ResultBook) -> None:
        self._store = store
        self._queries = queries
        self._book = book

    def tag(self, principal: Principal, job: JobId, number: int, name: str) -> ResultTag:
        """Let `name` mean the result of an attempt (0: the last); it is taken from another one."""
        row = self._mine(principal, job)
        if not NAME.fullmatch(name):
            raise InvalidInput(
                "bad-result-tag",
                f"`{name[:100]}` cannot name a result",
                hint="letters, digits, `.`, `_` and `-`, at most 100, a letter or digit first",
            )
        result = self._queries.result(principal, job, number)
        if result.state is not ResultState.SEALED:
            raise Conflict(
                "result-not-sealed",
                f"the result of {result.attempt} is {result.state}: it cannot be named",
                hint=f"`zenkei wait {job}` waits until it is kept",
            )
        return self._book.tag(
            ResultTag(project=row.project, tag=name, attempt=result.attempt, by=principal.name)
        )

    def untag(self, principal: Principal, project: str, name: str) -> ResultTag:
        """Take a name away; its history stays."""
        found = self._named(principal, project, name)
        return self._book.tag(
            ResultTag(project=found.project, tag=name, attempt="", by=principal.name)
        )

    def tags(self, principal: Principal, project: str = "") -> tuple[ResultTag, ...]:
        """What names mean now, of results that the caller may see."""
        return tuple(tag for tag in self._book.tags(project) if self._sees(principal, tag))

    def tags_of(self, principal: Principal, job: JobId) -> tuple[ResultTag, ...]:
        row = self._queries.row(principal, job)
        return tuple(t for t in self._book.tags(row.project) if _job(t) == row.id)

    def history(self, principal: Principal, project: str, name: str) -> tuple[ResultTag, ...]:
        """All that a name has meant, oldest first."""
        found = self._named(principal, project, name)
        return self._book.history(found.project, name)

    def remove(self, principal: Principal, job: JobId, number: int) -> Result:
        """Give up the files of a result; the record stays. They are freed by the next prune."""
        row = self._mine(principal, job)
        result = self._queries.result(principal, job, number)
        if result.state is ResultState.SEALING:
            raise Conflict(
                "result-not-sealed",
                f"the result of {result.attempt} is being kept",
                hint=f"`zenkei wait {job}`, then remove it",
            )
        named = [t.tag for t in self._book.tags(row.project) if t.attempt == result.attempt]
        if named:
            raise Conflict(
                "result-tagged",
                f"the result of {result.attempt} has the name {named[0]}",
                hint=f"`zenkei result untag {named[0]}` first",
            )
        gone = replace(
            result,
            state=ResultState.REMOVED,
            reason=f"removed by {principal.name}",
            output=Digest(""),
        )

        def decide(view: View) -> tuple[Changes, Result]:
            stamped = replace(gone, at_us=view.now_us)
            return Changes(results=[stamped]), stamped

        return self._store.submit(Unit(decide=decide)).result()

    def _mine(self, principal: Principal, job: JobId) -> Job:
        row = self._queries.row(principal, job)
        if not can(principal, Verb.CONTROL, Target(owner=row.owner, project=row.project)):
            raise Denied("may-not-control", f"{principal.name} may not change job {job}")
        return row

    def _named(self, principal: Principal, project: str, name: str) -> ResultTag:
        for tag in self._book.tags(project):
            if tag.tag == name and self._sees(principal, tag):
                return tag
        raise NotFound(
            "no-such-result-tag",
            f"no result has the name {name[:100]}",
            hint="`zenkei result tags` lists them",
        )

    def _sees(self, principal: Principal, tag: ResultTag) -> bool:
        row = self._store.job(_job(tag))
        if row is None:
            return False
        return can(principal, Verb.READ, Target(owner=row.owner, project=row.project))


def _job(tag: ResultTag) -> JobId:
    return AttemptId.parse(tag.attempt).job
