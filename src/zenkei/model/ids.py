"""Ids that people type: `42` a job, `42.7` a member of array 42, `42.7/2` its second attempt.

An id also has an integer key (databases index it): number << 20 | member + 1, so that keys sort
like ids and all members of one submission lie in one range.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from zenkei.model.errors import InvalidInput

WHOLE: Final = -1
"""Member of a job that is not part of an array."""
MEMBER_BITS: Final = 20
MAX_MEMBERS: Final = (1 << MEMBER_BITS) - 1
_JOB = re.compile(r"(\d{1,12})(?:\.(\d{1,7}))?", re.ASCII)
_ATTEMPT = re.compile(r"(\d{1,12}(?:\.\d{1,7})?)/(\d{1,6})", re.ASCII)


class JobId(NamedTuple):
    """One job: the submission's number, and its place in the array (WHOLE if it has none)."""

    number: int
    member: int = WHOLE

    @property
    def key(self) -> int:
        return self.number << MEMBER_BITS | self.member + 1

    @classmethod
    def from_key(cls, key: int) -> JobId:
        return cls(key >> MEMBER_BITS, (key & MAX_MEMBERS) - 1)

    @classmethod
    def parse(cls, text: str) -> JobId:
        """Raises InvalidInput unless `text` is like `42` or `42.7`."""
        match = _JOB.fullmatch(text)
        if match is None or int(match[2] or 0) >= MAX_MEMBERS:
            raise InvalidInput(
                "bad-job-id",
                f"`{text[:60]}` is not a job id",
                hint="a job id looks like 42, a member of an array like 42.7, the last job is -",
            )
        return cls(int(match[1]), WHOLE if match[2] is None else int(match[2]))

    def __str__(self) -> str:
        return str(self.number) if self.member == WHOLE else f"{self.number}.{self.member}"


class AttemptId(NamedTuple):
    """One try of a job. Numbers count from 1 and are never reused: this is the fencing token."""

    job: JobId
    number: int

    @classmethod
    def parse(cls, text: str) -> AttemptId:
        """Raises InvalidInput unless `text` is like `42/1` or `42.7/2`."""
        match = _ATTEMPT.fullmatch(text)
        if match is None:
            raise InvalidInput(
                "bad-attempt-id",
                f"`{text[:60]}` is not an attempt id",
                hint="an attempt id looks like 42/1 or 42.7/2",
            )
        return cls(JobId.parse(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.job}/{self.number}"
