"""Programs that hang, or only seem to: each is found, or left alone (`tests/zoo`, kind `hang`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.zoo_runner import Case, Seen, cases, check, open_zoo

HANGS = cases("hang")


@pytest.fixture(scope="module")
def zoo() -> Iterator[dict[str, Seen]]:
    with open_zoo(HANGS, nodes=2) as seen:
        yield seen


@pytest.mark.parametrize("case", HANGS, ids=lambda case: case.name)
def test_hang_zoo(case: Case, zoo: dict[str, Seen]) -> None:
    check(case, zoo[case.name])
