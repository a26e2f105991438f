"""What people see: tables, times in the reader's zone, sizes, and text made harmless.

Used by every verb; standard library only. Everything that came from a job, a file or another person
goes through `clean` (one line) or `harmless` (output of a job) before it reaches a terminal.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

# C0 without \n and \t, DEL, C1; and what re-orders text invisibly
_CONTROL = [*range(9), *range(11, 32), *range(127, 160)]
_BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_HARMLESS = {code: f"\\x{code:02x}" for code in _CONTROL} | {
    code: f"\\u{code:04x}" for code in _BIDI
}
_ONE_LINE = _HARMLESS | {9: " ", 10: "\\n"}

LEAST_WIDTH = 12

STATE_COLOUR = {
    "running": "32",
    "starting": "36",
    "stopping": "36",
    "succeeded": "32",
    "failed": "31",
    "cancelled": "33",
    "held": "33",
}


def clean(text: str) -> str:
    """Text of one line: no control character survives, a long dash stays a long dash."""
    return text.translate(_ONE_LINE)


def harmless(text: str, *, progress: bool = False) -> str:
    """Output of a job for a terminal: lines and tabs stay, escapes are shown, not obeyed.

    progress: keep carriage returns, so that a progress bar moves.
    """
    text = text.replace("\r\n", "\n")
    if not progress:
        return text.replace("\r", "\n").translate(_HARMLESS)
    return "\r".join(part.translate(_HARMLESS) for part in text.split("\r"))


def has_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """`text` in an SGR colour such as "31", if the stream is a terminal that wants it."""
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and has_colour(stream or sys.stdout) else text


def state(name: str, width: int = 0) -> str:
    return paint(f"{name:{width}}", STATE_COLOUR.get(name, ""))


def width_of(text: str) -> int:
    """Columns on a terminal; wide characters count two."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def columns(stream: TextIO) -> int:
    """Width of the terminal behind a stream; 0 if it is none or has no width."""
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except OSError:
        return 0


def fit(text: str, width: int) -> str:
    """`text` cut to so many columns, with an ellipsis where something is missing."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) > max(0, width - 1):
        text = text[:-1]
    return text + "…"


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[int] = (),
    cut: bool = False,
) -> str:
    """Aligned columns, two spaces between them. right: columns of numbers. Cells are cleaned.

    cut: the last column is made of words, and gives way to the width of a terminal.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(width_of(c) for c in column) for column in zip(head, *cells, strict=True)]
    room = columns(sys.stdout) if cut else 0
    if room and sum(widths) + 2 * len(widths) - 2 > room:
        widths[-1] = max(LEAST_WIDTH, room - sum(widths[:-1]) - 2 * len(widths) + 2)
        over = sum(widths) + 2 * len(widths) - 2 - room
        widest = widths.index(max(widths))
        if over > 0:
            # one long name would push everything else into the next line
            widths[widest] = max(LEAST_WIDTH, widths[widest] - over)
        cells = [[fit(cell, widths[i]) for i, cell in enumerate(row)] for row in cells]
    to_right = set(right)
    lines = [_line(head, widths, to_right, is_head=True)]
    lines += [_line(row, widths, to_right) for row in cells]
    return "\n".join(lines)


def _line(
    row: Sequence[str], widths: Sequence[int], right: set[int], *, is_head: bool = False
) -> str:
    out = []
    for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
        space = " " * max(0, width - width_of(cell))
        shown = cell if is_head else paint(cell, STATE_COLOUR.get(cell, ""))
        out.append(space + shown if i in right else shown + space)
    return "  ".join(out).rstrip()


def clock(at_us: int) -> str:
    """A moment in the reader's zone; `-` if it has not come."""
    if not at_us:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_us // 1_000_000))


def now_us() -> int:
    return time.time_ns() // 1000


def span(us: int) -> str:
    """A duration in its two largest units."""
    seconds = max(0, us) // 1_000_000
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02}s"
    if seconds < 86400:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02}m"
    return f"{seconds // 86400}d{seconds % 86400 // 3600:02}h"


def count(number: int | str, thing: str, things: str = "") -> str:
    """`1 file`, `3 files`; things: a plural of its own. As `model.wording`, which costs 15 ms."""
    return f"{number} {thing if str(number) == '1' else things or thing + 's'}"


RIGHTS = {
    "reclaim": "whose queue takes back what is its own",
    "priority": "which has a higher priority",
}


def displaced_for(body: Mapping[str, str]) -> str:
    """The job that got the place, and on what right: of an event or an attempt."""
    right = RIGHTS.get(body["why"], body["why"])
    return f"job {body['favoured']}" + (f", {right}" if right else "")


STATES = ("running", "stopping", "starting", "pending", "preparing", "held")
OVER = ("succeeded", "failed", "cancelled")


def members(counts: Mapping[str, int]) -> str:
    """Members of an array by state: `3/9 done (1 failed), 2 running, 4 pending`."""
    bad = [f"{counts[name]} {name}" for name in OVER[1:] if counts.get(name)]
    done = sum(counts.get(name, 0) for name in OVER)
    text = f"{done}/{sum(counts.values())} done" + (f" ({', '.join(bad)})" if bad else "")
    going = [f"{counts[name]} {name}" for name in STATES if counts.get(name)]
    return ", ".join([text, *going])


def size(octets: float) -> str:
    """Bytes in the largest unit that keeps a digit before the point."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if octets < 1024:
            return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1024
    return f"{octets:.1f} TiB"
