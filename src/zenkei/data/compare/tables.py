"""Tables as text (.csv, .tsv): cell by cell, numbers as numbers, row after row.

Rows may have any number of cells. Cells that are the same text are the same; else both must be
numbers to be close. Rows are streamed; a line or cell without end makes a file unreadable.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import IO

from zenkei.data.compare.tally import Tally, Unreadable
from zenkei.model.verdict import Finding

MOST_LINE = 1 << 20
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|inf|infinity)", re.ASCII)


def compare_csv(a: IO[bytes], b: IO[bytes], tolerance: float, *, tabs: bool = False) -> Finding:
    """Raises Unreadable."""
    tally = Tally(tolerance)
    mark = "\t" if tabs else ","
    left, right = _rows(a, mark), _rows(b, mark)
    head: list[str] = []
    number = 0
    while True:
        x, y = next(left, None), next(right, None)
        number += 1
        if x is None and y is None:
            return tally.finding()
        if x is None or y is None:
            tally.differs(f"row {number}", f"only the {'second' if x is None else 'first'} has it")
            return tally.finding()
        head = head or x
        if x == y:
            tally.compared += len(x)
            continue
        if len(x) != len(y):
            tally.differs(f"row {number}", "number of cells", str(len(x)), str(len(y)))
            continue
        _add(x, y, head, number, tally)


def _add(x: list[str], y: list[str], head: list[str], number: int, tally: Tally) -> None:
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        if a == b:
            tally.compared += 1
            continue
        # a header of numbers names no column
        named = i < len(head) and number > 1 and head[i].strip() and not is_number(head[i])
        where = f"row {number}, column {head[i].strip()[:60] if named else i + 1}"
        if is_number(a) and is_number(b):
            tally.number(_value(a), _value(b), where)
        else:
            tally.compared += 1
            tally.differs(where, "", a, b)


def is_number(cell: str) -> bool:
    return len(cell) < 400 and _NUMBER.fullmatch(cell.strip().lower()) is not None


def _value(cell: str) -> float:
    """Whole numbers stay whole: large ones are not the same because a float cannot tell."""
    try:
        return int(cell)
    except ValueError:
        return float(cell)


def _rows(file: IO[bytes], mark: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(_lines(file), delimiter=mark, strict=True)
    except csv.Error as error:
        raise Unreadable(f"no table: {error}") from error


def _lines(file: IO[bytes]) -> Iterator[str]:
    while line := file.readline(MOST_LINE + 1):
        if len(line) > MOST_LINE:
            raise Unreadable("a line longer than 1 MiB")
        yield line.decode("utf-8", "surrogateescape")
