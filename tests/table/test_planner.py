"""What the planner decides and says, case by case; the cases are the YAML files beside this."""

from __future__ import annotations

import pytest

from tests.table.planner_cases import FOLDER, Case, load_cases, said_starts, said_waits
from zenkei.scheduler import plan

CASES = [case for file in sorted(FOLDER.glob("*.yaml")) for case in load_cases(file.stem)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_the_plan_is(case: Case) -> None:
    made = plan(case.world.snapshot(), now_us=case.now_us, max_starts=case.max_starts)
    assert said_starts(case, made) == case.starts
    assert said_waits(case, made) == case.waits
    assert (made.more, made.next_us) == (case.more, case.next_us)
