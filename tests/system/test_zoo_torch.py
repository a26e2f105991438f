"""Programs of the zoo that need real PyTorch; the environment is built once per machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.frameworks import CACHE
from tests.zoo_runner import Case, Seen, cases, check, open_zoo

pytestmark = pytest.mark.timeout(300)
CASES = cases("torch")


@pytest.fixture(scope="module")
def zoo() -> Iterator[dict[str, Seen]]:
    store = CACHE / "envs"
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open_zoo(CASES, nodes=2, envs=store) as seen:
        yield seen


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_failing_program_of_pytorch_is_understood(zoo: dict[str, Seen], case: Case) -> None:
    check(case, zoo[case.name])
