"""Moments in a cluster file: ISO 8601, with a zone of their own or in that of the file.

`2026-12-01 09:00`, `2026-12-01T09:00:30+09:00`, `2026-12-01 00:00Z`. What is read has no zone yet
where the text had none: `resolved` puts it into the file's. Reads the system's table of zones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from zenkei.spec.kinds import Text, scalar
from zenkei.spec.problems import Code, Reading, show
from zenkei.spec.tree import Node

_INSTANT: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d))?\s?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2200


@dataclass(frozen=True, kw_only=True, slots=True)
class Instant:
    """A key's kind: a datetime, naive where the text names no zone."""

    wants: str = "a time such as 2026-12-01 09:00 or 2026-12-01T09:00+09:00"

    def read(self, node: Node, where: str, to: Reading) -> datetime | None:
        text = scalar(node, where, to, self)
        if text is None:
            return None
        found = instant(text)
        if found is None:
            message = f"`{where}` must be {self.wants}, not `{show(text)}`"
            to.add(node, Code.BAD_VALUE, message, "year-month-day hour:minute, by 24 hours")
        return found

    def schema(self) -> dict[str, object]:
        pattern = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?\s?(Z|[+-]\d\d:?\d\d)?$"
        return {"type": "string", "pattern": pattern}


def instant(text: str) -> datetime | None:
    """None for what is no moment between 1970 and 2200."""
    match = _INSTANT.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute = (int(match[i]) for i in range(1, 6))
    if not FIRST_YEAR <= year < LAST_YEAR:
        return None
    try:
        return datetime(
            year, month, day, hour, minute, int(match[6] or 0), tzinfo=_offset(match[7])
        )
    except ValueError:
        return None


def _offset(text: str | None) -> tzinfo | None:
    """Raises ValueError for one of a day or more."""
    if text is None or text == "Z":
        return None if text is None else UTC
    hours, minutes = int(text[1:3]), int(text[-2:])
    if minutes > 59:
        raise ValueError(text)
    ahead = timedelta(hours=hours, minutes=minutes)
    return timezone(-ahead if text[0] == "-" else ahead)


def resolved(found: datetime, zone: tzinfo) -> int | str:
    """Microseconds UTC; or what is wrong with the time in that zone, in words."""
    if found.tzinfo is None:
        placed = found.replace(tzinfo=zone)
        other = placed.replace(fold=1)
        back = placed.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
        if back != found:
            return f"does not exist in {zone}: clocks are put forward there"
        if other.utcoffset() != placed.utcoffset():
            return f"exists twice in {zone}: clocks are put back there"
        found = placed
    since = found - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000


def zone_of(name: str) -> tzinfo | None:
    """A zone of the IANA table, such as Asia/Tokyo; None if this machine knows no such zone."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        return None


def zone_rule(text: str) -> str:
    return "" if zone_of(text) is not None else "name a zone such as Asia/Tokyo or UTC"


ZONE: Final = Text(wants="a time zone such as Asia/Tokyo", most=100, rule=zone_rule)
