"""The failure zoo: every failing program is classified, and its root cause is the first line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.zoo_runner import Case, Seen, cases, check, open_zoo

CASES = cases("failure")


@pytest.fixture(scope="module")
def zoo() -> Iterator[dict[str, Seen]]:
    with open_zoo(CASES, nodes=max(int(case.expect.get("nodes", 1)) for case in CASES)) as seen:
        yield seen


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_failing_program_is_understood(zoo: dict[str, Seen], case: Case) -> None:
    check(case, zoo[case.name])
