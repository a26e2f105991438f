"""Datasets: who may do what, versions and tags; the content is worked on elsewhere.

Called by the routes of `zenkei dataset` and by the preparation of jobs. A dataset that somebody may
not read does not exist for him: the same answer, after the same reads. Every change is one
compare-and-set on the dataset's revision, with its line of history. Cost: a read of its rows each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar

from zenkei.model.access import Principal, may
from zenkei.model.data import Digest
from zenkei.model.dataset import (
    LATEST,
    Dataset,
    DatasetEvent,
    DatasetEventKind,
    DatasetPin,
    DatasetRequest,
    DatasetVersion,
    Grant,
    Permission,
    Reference,
    Storing,
    is_name,
    is_tag,
    parse_reference,
)
from zenkei.model.errors import Conflict, Denied, InvalidInput, NotFound
from zenkei.model.ids import AttemptId, JobId
from zenkei.ports.datasets import DatasetChange, DatasetRows, Registry

T = TypeVar("T")
MOST_TRIES = 20
MOST_GRANTS = 1000
MOST_TEXT = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """What a new version is besides its content. tags: beside `latest`.

    job, inputs: as in `DatasetVersion`.
    """

    message: str = ""
    tags: tuple[str, ...] = ()
    job: str = ""
    inputs: tuple[str, ...] = ()


class _Entered(NamedTuple):
    """moved: tags that somebody has moved since the commit began."""

    version: DatasetVersion
    moved: list[str]
    is_new: bool


class Datasets:
    """The use-cases on names, versions, tags and grants."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    # -- reading -----------------------------------------------------------------------------------

    def list(self, who: Principal) -> tuple[DatasetRows, ...]:
        """Those that `who` may read, by name."""
        names = [d.name for d in self._registry.datasets() if may(who, Permission.READ, d)]
        return tuple(rows for name in names if (rows := self._registry.dataset(name)) is not None)

    def show(self, who: Principal, name: str) -> DatasetRows:
        return self._readable(who, name)

    def find(self, who: Principal, text: str) -> DatasetVersion:
        """The version that a reference means. Raises NotFound, InvalidInput."""
        meant = parse_reference(text)
        return self._version(self._readable(who, meant.name), meant)

    def made_by(self, who: Principal, job: JobId) -> tuple[DatasetVersion, ...]:
        """Versions that an attempt of the job has made, of datasets that `who` may read."""
        versions = [v for rows in self.list(who) for v in rows.versions.values()]
        return tuple(v for v in versions if v.job and AttemptId.parse(v.job).job == job)

    def history(self, who: Principal, name: str, *, limit: int) -> tuple[DatasetEvent, ...]:
        self._readable(who, name)
        return self._registry.history(name, limit=limit)

    def pin(self, who: Principal, asked: Iterable[DatasetRequest]) -> tuple[DatasetPin, ...]:
        """The versions that entries of a job file mean now. Raises NotFound."""
        pins = []
        for one in asked:
            version = self.find(who, one.name + one.version)
            pins.append(
                DatasetPin(
                    name=one.name,
                    number=version.number,
                    digest=version.digest,
                    at=one.at,
                    files=version.files,
                    size_bytes=version.size_bytes,
                    split=one.split,
                    shuffle=one.shuffle,
                )
            )
        return tuple(pins)

    def check(self, who: Principal, pins: Iterable[DatasetPin]) -> None:
        """Whether these versions, pinned earlier, may be read now. Raises NotFound.

        Of a name that was removed meanwhile nobody can say who might: operators may.
        """
        for pin in pins:
            if not who.operator:
                self._readable(who, pin.name)

    # -- changing ----------------------------------------------------------------------------------

    def create(self, who: Principal, name: str, *, description: str = "") -> Dataset:
        """Raises Conflict if there is one of that name, whoever's it is."""
        if not is_name(name):
            raise InvalidInput(
                "bad-dataset-name",
                f"`{name[:100]}` cannot be a dataset's name",
                hint="at most 100 small letters, digits, `.`, `_` and `-`; not `.`, `_`, `-` first",
            )
        row = Dataset(name=name, owner=who.name, description=_text(description))
        event = _event(name, DatasetEventKind.CREATED, who)
        change = DatasetChange(name=name, read=0, dataset=row, events=(event,))
        if not self._registry.apply(change):
            raise Conflict(
                "dataset-exists",
                f"there is a dataset `{name}` already",
                hint="choose another name, or commit a new version to it if you may",
            )
        return replace(row, revision=1)

    def ensure(self, who: Principal, name: str) -> None:
        """Make it unless it is there; one that may not be seen is in the way (Conflict)."""
        rows = self._registry.dataset(name)
        if rows is None or not may(who, Permission.READ, rows.dataset):
            self.create(who, name)

    def writable(self, who: Principal, name: str) -> DatasetRows:
        """What a commit starts from. Raises NotFound, Denied."""
        return self._allowed(who, name, Permission.WRITE)

    def committed(
        self, who: Principal, base: DatasetRows, content: DatasetVersion, commit: Commit
    ) -> tuple[DatasetVersion, bool]:
        """Enter `content` (number 0) as the next version; the version, and whether it is a new one.

        base: as it was when the commit began. A tag that somebody has moved since stays where it
        is: the version is entered all the same, and Conflict tells. Content that a version has
        already is not entered twice.
        """
        name = base.dataset.name
        _check_tags(commit.tags)
        wanted = dict.fromkeys((LATEST, *commit.tags))

        def decide(rows: DatasetRows) -> tuple[DatasetChange | None, _Entered]:
            same = [v for v in rows.versions.values() if v.digest == content.digest]
            number = same[-1].number if same else rows.dataset.newest + 1
            moved = [t for t in wanted if rows.tags.get(t) not in (base.tags.get(t), number)]
            tags = {t: number for t in wanted if t not in moved and rows.tags.get(t) != number}
            parent = rows.tags.get(LATEST, 0)
            version = same[-1] if same else _next(content, rows, number, parent, who, commit)
            if same and not tags:
                return None, _Entered(version, moved, is_new=False)
            events = [] if same else [_event(name, DatasetEventKind.COMMITTED, who, number)]
            events += [_tagged(rows, tag, number, who) for tag in tags]
            change = DatasetChange(
                name=name,
                read=rows.dataset.revision,
                dataset=replace(rows.dataset, newest=max(rows.dataset.newest, number)),
                versions=() if same else (version,),
                tags=tags,
                events=tuple(events),
            )
            return change, _Entered(version, moved, is_new=not same)

        entered = self._change(who, name, Permission.WRITE, decide)
        if entered.moved:
            raise _tags_moved(entered.version, entered.moved)
        return entered.version, entered.is_new

    def tag(self, who: Principal, text: str, tag: str) -> DatasetVersion:
        """Let `tag` name this version from now on."""
        _check_tags((tag,))
        meant = parse_reference(text)

        def decide(rows: DatasetRows) -> tuple[DatasetChange | None, DatasetVersion]:
            version = self._version(rows, meant)
            if rows.tags.get(tag) == version.number:
                return None, version
            event = _tagged(rows, tag, version.number, who)
            return _edit(rows, event, tags={tag: version.number}), version

        return self._change(who, meant.name, Permission.WRITE, decide)

    def untag(self, who: Principal, name: str, tag: str) -> None:
        """Raises NotFound for a tag that is not there."""

        def decide(rows: DatasetRows) -> tuple[DatasetChange | None, None]:
            if tag not in rows.tags:
                raise _no_tag(rows, tag)
            event = _event(name, DatasetEventKind.UNTAGGED, who, rows.tags[tag], tag=tag)
            return _edit(rows, event, tags={tag: 0}), None

        self._change(who, name, Permission.WRITE, decide)

    def describe(self, who: Principal, name: str, description: str) -> None:
        text = _text(description)

        def decide(rows: DatasetRows) -> tuple[DatasetChange | None, None]:
            event = _event(name, DatasetEventKind.DESCRIBED, who)
            return _edit(rows, event, dataset=replace(rows.dataset, description=text)), None

        self._change(who, name, Permission.WRITE, decide)

    def grant(self, who: Principal, name: str, to: str, permission: Permission) -> Dataset:
        """Replaces what `to` had."""
        _check_grantee(to, permission)

        def decide(rows: DatasetRows) -> tuple[DatasetChange | None, Dataset]:
            others = tuple(g for g in rows.dataset.grants if g.to != to)
            if len(others) >= MOST_GRANTS:
                raise InvalidInput(
                    "too-many-grants",
                    f"`{name}` has {len(others)} grants, the limit is {MOST_GRANTS}",
                    hint="grant to a group instead of its members",
                )
            grants = tuple(sorted((*others, Grant(to=to, permission=permission)), key=_by_grantee))
            row = replace(rows.dataset, grants=grants)
            if grants == rows.dataset.grants:
                return None, row
            event = _event(name, DatasetEventKind.GRANTED, who, to=to, permission=permission)
            return _edit(rows, event, dataset=row), row

        return self._change(who, name, Permission.ADMIN, decide)

    def revoke(self, who: Principal, name: str, to: str) -> Dataset:
        def decide(rows: DatasetRows) -> tuple[DatasetChange | None, Dataset]:
            row = replace(rows.dataset, grants=tuple(g for g in rows.dataset.grants if g.to != to))
            if row == rows.dataset:
                raise NotFound(
                    "no-such-grant",
                    f"nothing of `{name}` is granted to `{to[:100]}`",
                    hint=f"`zenkei dataset acl {name}` lists the grants",
                )
            return _edit(rows, _event(name, DatasetEventKind.REVOKED, who, to=to), dataset=row), row

        return self._change(who, name, Permission.ADMIN, decide)

    def remove(self, who: Principal, name: str) -> None:
        """The name with all versions; what jobs have pinned is kept until they are forgotten."""

        def decide(rows: DatasetRows) -> tuple[DatasetChange | None, None]:
            event = _event(name, DatasetEventKind.REMOVED, who)
            return _edit(rows, event, gone=True), None

        self._change(who, name, Permission.ADMIN, decide)

    def remove_version(self, who: Principal, text: str, *, force: bool = False) -> DatasetVersion:
        """Raises Conflict for a version that has tags, unless forced: they go with it."""
        meant = parse_reference(text)

        def decide(rows: DatasetRows) -> tuple[DatasetChange | None, DatasetVersion]:
            version = self._version(rows, meant)
            tags = [tag for tag, number in rows.tags.items() if number == version.number]
            if tags and not force:
                raise Conflict(
                    "version-tagged",
                    f"version {version.number} of `{meant.name}` has the tag `{tags[0]}`",
                    hint="move the tag first, or add --force to take it away too",
                    details={"tags": tags},
                )
            event = _event(meant.name, DatasetEventKind.VERSION_REMOVED, who, version.number)
            change = _edit(rows, event, tags=dict.fromkeys(tags, 0))
            return replace(change, removed=(version.number,)), version

        return self._change(who, meant.name, Permission.ADMIN, decide)

    # -- its own -----------------------------------------------------------------------------------

    def _readable(self, who: Principal, name: str) -> DatasetRows:
        rows = self._registry.dataset(name)
        if rows is None or not may(who, Permission.READ, rows.dataset):
            readable = [d.name for d in self._registry.datasets() if may(who, Permission.READ, d)]
            raise no_dataset(name, readable)
        return rows

    def _allowed(self, who: Principal, name: str, permission: Permission) -> DatasetRows:
        rows = self._readable(who, name)
        if not may(who, permission, rows.dataset):
            raise Denied(
                "dataset-denied",
                f"{who.name} may not {_DOING[permission]} the dataset `{name}`",
                hint=f"its owner, {rows.dataset.owner}, can grant it: `zenkei dataset acl {name}`",
            )
        return rows

    def _version(self, rows: DatasetRows, meant: Reference) -> DatasetVersion:
        tag = meant.tag or LATEST
        number = meant.number or (0 if meant.digest else rows.tags.get(tag, 0))
        if number in rows.versions:
            return rows.versions[number]
        if meant.digest:
            found = [v for v in rows.versions.values() if v.digest.startswith(meant.digest)]
            if len(found) == 1:
                return found[0]
            if found:
                raise InvalidInput(
                    "ambiguous-version",
                    f"`{meant}` is the beginning of {len(found)} versions",
                    hint="give more digits of the digest",
                )
        if not rows.versions:
            raise NotFound(
                "no-such-version",
                f"`{meant.name}` has no version yet",
                hint=f"`zenkei dataset commit {meant.name} DIRECTORY` makes the first",
            )
        if meant.tag or not (meant.number or meant.digest):
            raise _no_tag(rows, tag)
        raise NotFound(
            "no-such-version",
            f"there is no version `{meant}`",
            hint=f"`zenkei dataset log {meant.name}` lists them",
        )

    def _change(
        self,
        who: Principal,
        name: str,
        permission: Permission,
        decide: Callable[[DatasetRows], tuple[DatasetChange | None, T]],
    ) -> T:
        """Decide on the rows as they are until nobody was faster; None: nothing is to change."""
        for _ in range(MOST_TRIES):
            change, value = decide(self._allowed(who, name, permission))
            if change is None or self._registry.apply(change):
                return value
        raise Conflict(
            "dataset-busy",
            f"`{name}` is being changed by others all the time",
            hint="try again in a moment",
        )


_DOING = {Permission.WRITE: "change", Permission.ADMIN: "administer", Permission.READ: "read"}


def no_dataset(name: str, readable: Iterable[str]) -> NotFound:
    """Of one that is not there, and of one that the asker may not know of."""
    near = get_close_matches(name, list(readable), 1)
    hint = f"did you mean `{near[0]}`?" if near else "`zenkei dataset ls` lists those you may read"
    return NotFound("no-such-dataset", f"there is no dataset `{name[:100]}`", hint=hint)


def _no_tag(rows: DatasetRows, tag: str) -> NotFound:
    name = rows.dataset.name
    near = get_close_matches(tag, list(rows.tags), 1)
    hint = f"did you mean `{near[0]}`?" if near else f"`zenkei dataset show {name}` lists the tags"
    return NotFound("no-such-tag", f"`{name}` has no tag `{tag[:100]}`", hint=hint)


def _next(
    content: DatasetVersion,
    rows: DatasetRows,
    number: int,
    parent: int,
    who: Principal,
    commit: Commit,
) -> DatasetVersion:
    return replace(
        content,
        dataset=rows.dataset.name,
        number=number,
        parent=parent,
        by=who.name,
        message=_text(commit.message),
        job=commit.job,
        inputs=commit.inputs,
    )


def _tags_moved(version: DatasetVersion, tags: list[str]) -> Conflict:
    name, number = version.dataset, version.number
    return Conflict(
        "tag-moved",
        f"version {number} of `{name}` is stored, but somebody moved the tag `{tags[0]}` meanwhile",
        hint=f"look at `zenkei dataset log {name}`, then `zenkei dataset tag {name}@{number} "
        f"{tags[0]}` if it is still right",
        details={"dataset": name, "number": number, "digest": version.digest, "tags": tags},
    )


def _edit(
    rows: DatasetRows,
    event: DatasetEvent,
    *,
    dataset: Dataset | None = None,
    tags: Mapping[str, int] | None = None,
    gone: bool = False,
) -> DatasetChange:
    return DatasetChange(
        name=rows.dataset.name,
        read=rows.dataset.revision,
        dataset=None if gone else dataset or rows.dataset,
        tags=tags or {},
        events=(event,),
    )


def _event(
    name: str, kind: DatasetEventKind, who: Principal, number: int = 0, **details: Any
) -> DatasetEvent:
    told = {key: str(value) for key, value in details.items()}
    return DatasetEvent(dataset=name, kind=kind, by=who.name, number=number, details=told)


def _tagged(rows: DatasetRows, tag: str, number: int, who: Principal) -> DatasetEvent:
    before = str(rows.tags.get(tag, ""))
    details = {"tag": tag, "from": before}
    return replace(_event(rows.dataset.name, DatasetEventKind.TAGGED, who, number), details=details)


def _check_tags(tags: Iterable[str]) -> None:
    for tag in tags:
        if not is_tag(tag):
            raise InvalidInput(
                "bad-tag",
                f"`{tag[:100]}` cannot be a tag",
                hint="letters, digits, `.`, `_` and `-`; at most 100, a letter or digit first",
            )


def _check_grantee(to: str, permission: Permission) -> None:
    kind, _, name = to.partition(":")
    if to == "public" or (
        kind in ("user", "group") and 0 < len(name) <= 100 and name.isprintable()
    ):
        if to == "public" and permission is not Permission.READ:
            raise InvalidInput(
                "bad-grantee",
                f"`public` cannot be given {permission}",
                hint="everybody may be let read; writers and administrators are named",
            )
        return
    raise InvalidInput(
        "bad-grantee",
        f"`{to[:100]}` is nobody to whom a dataset can be opened",
        hint="write user:NAME, group:NAME or public",
    )


def _by_grantee(grant: Grant) -> str:
    return grant.to


def _text(text: str) -> str:
    if len(text) > MOST_TEXT or "\0" in text:
        raise InvalidInput(
            "text-too-long",
            f"a text of {len(text)} characters is too long, or has a NUL in it",
            hint=f"at most {MOST_TEXT} characters",
        )
    return text


def content_of(
    digest: Digest, found: Mapping[str, Any], storing: Storing = Storing.PACKED
) -> DatasetVersion:
    """What a worker has stored, before it has a name and a number."""
    return DatasetVersion(
        dataset="",
        number=0,
        digest=digest,
        files=int(found["files"]),
        size_bytes=int(found["size_bytes"]),
        stored_bytes=int(found.get("stored_bytes", 0)),
        storing=storing,
    )
