"""Amounts with units, read exactly: sizes in bytes, durations in milliseconds, thousandths.

Pure functions on text, called by `kinds`. Each returns None for a text that is not such an amount.
No floats: `0.1GiB` is the same number of bytes on every machine.
"""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "pb": 10**15,
    "ki": 1 << 10,
    "mi": 1 << 20,
    "gi": 1 << 30,
    "ti": 1 << 40,
    "pi": 1 << 50,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
    "pib": 1 << 50,
}
_STEPS_MS: Final = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000}
_AMOUNT: Final = r"(\d{1,18})(?:\.(\d{1,9}))?"
_SIZE: Final = re.compile(rf"{_AMOUNT}\s?([A-Za-z]{{1,3}})", re.ASCII)
_PART: Final = re.compile(rf"{_AMOUNT}\s?(ms|w|d|h|m|s)\s?", re.ASCII)
_PLAIN: Final = re.compile(_AMOUNT, re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?(?:0|[1-9]\d{0,18})", re.ASCII)
MAX_PARTS: Final = 6


def _times(whole: str, fraction: str | None, unit: int) -> int:
    """whole.fraction × unit, rounded up."""
    digits = fraction or ""
    scale: int = 10 ** len(digits)
    return -(-int(whole + digits) * unit // scale)


def size_bytes(text: str) -> int | None:
    """`16GiB`, `512MiB`, `1.5GB`, `100kB`, `64Gi`; case does not matter, a unit is required."""
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get(match[3].lower()) if match else None
    return _times(match[1], match[2], unit) if match and unit else None


def duration_ms(text: str) -> int | None:
    """`1.5h`, `90m`, `1h30m`, `45s`, `500ms`, `2d`; a plain number is seconds."""
    plain = _PLAIN.fullmatch(text)
    if plain:
        return _times(plain[1], plain[2], 1000)
    total, at, last = 0, 0, float("inf")
    for _ in range(MAX_PARTS):
        part = _PART.match(text, at)
        if part is None:
            return None
        step = _STEPS_MS.get(part[3], 1)
        if step >= last:  # `1h2h` and `5m1h` are slips, not sums
            return None
        total, at, last = total + _times(part[1], part[2], step), part.end(), step
        if at == len(text):
            return total
    return None


def thousandths(text: str) -> int | None:
    """`0.5` is 500, `4` is 4000; None for what is not a whole number of thousandths."""
    match = _PLAIN.fullmatch(text)
    if match is None:
        return None
    digits = (match[2] or "").rstrip("0")
    return int(match[1]) * 1000 + int(digits.ljust(3, "0") or 0) if len(digits) <= 3 else None


def integer(text: str) -> int | None:
    """Decimal digits without leading zeros (YAML 1.1 would read `012` as ten)."""
    return int(text) if _INTEGER.fullmatch(text) else None


def show_ms(amount: int) -> str:
    """The shortest exact text for a duration in one unit."""
    for unit in ("d", "h", "m", "s"):
        if amount and amount % _STEPS_MS[unit] == 0:
            return f"{amount // _STEPS_MS[unit]}{unit}"
    return f"{amount}ms" if amount else "0s"


def show_bytes(amount: int) -> str:
    """The shortest exact text for an amount, for messages and files that are written."""
    for unit in ("PiB", "TiB", "GiB", "MiB", "KiB"):
        if amount and amount % _UNITS[unit.lower()] == 0:
            return f"{amount // _UNITS[unit.lower()]}{unit}"
    return f"{amount}B"
