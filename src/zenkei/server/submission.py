"""A request to run something becomes jobs: parse, take the working tree, commit.

Called by the submit route on a worker thread; the same uid and machine as the person, so the
daemon reads the tree itself. Repeating a request with its key is harmless.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from zenkei import spec as specs
from zenkei.api.requests import Flags
from zenkei.model.access import Principal
from zenkei.model.data import Digest
from zenkei.model.errors import InvalidInput, NotFound, Problem
from zenkei.model.ids import WHOLE, JobId
from zenkei.model.job import JobSpec
from zenkei.model.wording import count
from zenkei.ports.trees import Snapshot
from zenkei.server.services import Services
from zenkei.server.sources import reader, source_folder

LARGE_BYTES = 200 << 20
MOST_NAMED = 10
HOME_WARNING = "code: the working tree is your home directory, so it does not travel"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """source: absolute path of the working tree (empty: none). file: name of the job file in it.

    flags: True if the body is JSON of flags and a command. is_home: the tree does not travel.
    """

    body: bytes
    flags: bool
    source: str
    file: str
    hold: bool = False
    key: str = ""
    is_home: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What a submit made. warnings: about the code that travelled, for people."""

    jobs: tuple[JobId, ...]
    name: str
    warnings: tuple[str, ...] = ()

    @property
    def id(self) -> JobId:
        """The job, or the number of the array."""
        return self.jobs[0] if len(self.jobs) == 1 and not self.is_array else JobId(self.number)

    @property
    def number(self) -> int:
        return self.jobs[0].number

    @property
    def is_array(self) -> bool:
        return self.jobs[0].member != WHOLE

    def view(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "name": self.name,
            "jobs": [str(job) for job in self.jobs],
            "members": len(self.jobs) if self.is_array else 0,
            "warnings": self.warnings,
        }


def submit(services: Services, who: Principal, ask: Ask, say: Callable[[str], None]) -> Made:
    """Blocks until the jobs are durable. say: what takes long. Raises ZenkeiError."""
    folder = source_folder(ask.source) if ask.source else ""
    parsed = _parse(ask, folder)
    _find_secrets(services, parsed)
    code, source, warnings = Digest(""), Digest(""), []
    if folder and parsed.code.enabled and ask.is_home:
        warnings.append(HOME_WARNING)
    elif folder and parsed.code.enabled:
        say(f"reading the working tree {folder}")
        snapshot = services.trees.snapshot(Path(folder), parsed.code)
        code, source, warnings = snapshot.tree, snapshot.source, _warnings(snapshot)
    jobs = services.commands.submit(
        who, parsed, code=code, source=source, request_key=ask.key, hold=ask.hold
    )
    larger = services.machines.larger(parsed)
    warnings += [larger] if larger else []
    return Made(jobs=jobs, name=parsed.name, warnings=tuple(warnings))


def _parse(ask: Ask, folder: str) -> JobSpec:
    read = reader(folder) if folder else None
    if not ask.flags:
        return specs.parse(ask.body, file=ask.file or "job.yaml", folder=folder, read=read)
    try:
        wish = Flags.model_validate_json(ask.body)
    except ValidationError as error:
        problems = tuple(
            Problem(code="bad-request", message=f"`{'.'.join(map(str, p['loc']))}`: {p['msg']}")
            for p in error.errors()[:100]
        )
        raise InvalidInput("bad-request", problems[0].message, problems=problems) from None
    return specs.from_flags({**wish.flags, "command": wish.command}, read=read)


def _find_secrets(services: Services, parsed: JobSpec) -> None:
    """Raises NotFound. A launch would find it too, and try again for minutes for nothing."""
    if not parsed.secrets:
        return
    kept = services.keeping.secrets.names(parsed.project)
    missing = sorted({use.name for use in parsed.secrets} - set(kept))
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise NotFound(
            "no-such-secret",
            f"project `{parsed.project}` has no secret {names}",
            hint=f"`zenkei secret set {missing[0]} --project {parsed.project}` reads it from "
            "standard input",
        )


def _warnings(snapshot: Snapshot) -> list[str]:
    unusual = [out for out in snapshot.left_out if not out.usual]
    told = [f"{out.path} does not travel: {out.why}" for out in unusual[:MOST_NAMED]]
    if len(unusual) > MOST_NAMED:
        told.append(f"{count(len(unusual) - MOST_NAMED, 'more does', 'more do')} not travel")
    if snapshot.size_bytes > LARGE_BYTES:
        largest = ", ".join(f"{path} ({size >> 20} MiB)" for path, size in snapshot.largest[:5])
        told.append(f"the working tree has {snapshot.size_bytes >> 20} MiB; largest: {largest}")
    return told
