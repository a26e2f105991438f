"""Bodies of requests, validated by pydantic. A submit's body is the job file itself.

Extra keys are refused: a misspelled option is never ignored.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from zenkei.api import limits

Text = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00]*$")]


class Body(BaseModel):
    """Common rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Cancel(Body):
    """grace_s: seconds between SIGTERM and SIGKILL; the job's own if absent."""

    grace_s: float | None = Field(default=None, ge=0, le=limits.GRACE_S, allow_inf_nan=False)


class Edit(Body):
    """changes: keys of a job file, nested as there; null takes one away."""

    changes: dict[str, Any] = Field(min_length=1, max_length=50)


class CancelMany(Cancel):
    """All jobs that fit every condition given. state: names joined by commas.

    newest: jobs with higher numbers are left alone (0: none is). dry_run: only say which.
    """

    user: Annotated[str, Field(max_length=200)] = ""
    project: Annotated[str, Field(max_length=200)] = ""
    queue: Annotated[str, Field(max_length=200)] = ""
    name: Annotated[str, Field(max_length=200)] = ""
    state: Annotated[str, Field(max_length=200)] = ""
    newest: Annotated[int, Field(ge=0, lt=10**12)] = 0
    dry_run: bool = False


class Rerun(Body):
    """request_key: makes a repeated request harmless."""

    request_key: str = Field(default="", max_length=200, pattern=r"^[\x21-\x7e]*$")


class Flags(Body):
    """`zenkei run [flags] -- COMMAND`: keys of a job file, given by hand."""

    command: list[str] = Field(min_length=1, max_length=100_000)
    flags: dict[str, Any] = Field(default_factory=dict)


class VirtualNodes(Body):
    """Declared sizes of virtual nodes. 0 nodes: back to this machine as it is."""

    nodes: int = Field(ge=0, le=limits.NODES)
    gpus_per_node: int = Field(default=0, ge=0, le=limits.GPUS_PER_NODE)
    cpus_per_node: float = Field(default=1, gt=0, le=limits.CPUS_PER_NODE, allow_inf_nan=False)
    memory_per_node: Text = "1GiB"


class Shutdown(Body):
    """jobs: also stop everything that runs."""

    jobs: bool = False


Path = Annotated[str, Field(max_length=4096)]
Key = Annotated[str, Field(max_length=200, pattern=r"^[\x21-\x7e]*$")]
Word = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
Count = Annotated[int, Field(ge=0, le=1 << 53)]


class OutputQuery(Body):
    """most_members: of a larger array only the counts are followed, not the output (0: of any)."""

    most_members: Count = 0

    def shows(self, members: int) -> bool:
        return not self.most_members or members <= self.most_members


class SubmitQuery(OutputQuery):
    """source: absolute path of the working tree; file: name of the job file in it.

    key: a repeated request under the same key makes no second job. home: the tree is a home
    directory and stays where it is. follow: answer with the event stream;
    quiet: without the output in it.
    """

    source: Path = ""
    file: Path = ""
    key: Key = ""
    hold: bool = False
    home: bool = False
    follow: bool = False
    quiet: bool = False


class ListQuery(Body):
    """state: names joined by commas. Newest first; `cursor` is `next` of the page before.

    lines: one row for each array.
    """

    state: Word = ""
    owner: Word = ""
    project: Word = ""
    queue: Word = ""
    name: Word = ""
    number: Annotated[int, Field(ge=0, lt=10**12)] = 0
    cursor: Word = ""
    limit: int = Field(default=100, ge=1, le=limits.ROWS)
    lines: bool = False


class LogQuery(OutputQuery):
    """attempt 0: all. rank: numbers joined by commas. tail -1: everything.

    follow: stay until the job is over. logs: with output (`/follow`). raw: exact bytes of one
    attempt, without ranks and times (`/logs`).
    """

    attempt: Annotated[int, Field(ge=0, le=limits.ATTEMPT)] = 0
    rank: Annotated[str, Field(max_length=4096, pattern=r"^(\d{1,9}(,\d{1,9})*)?$")] = ""
    since_us: Count = 0
    tail: int = Field(default=-1, ge=-1, le=limits.LINES)
    follow: bool = False
    logs: bool = False
    raw: bool = False

    @property
    def ranks(self) -> frozenset[int]:
        return frozenset(int(text) for text in self.rank.split(",") if text)
