"""The same tests once more as an ordinary user; see `tests/testbeds/as_user.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.testbeds.as_user import pytest_as_user

SUITES = (
    "supervisor_orders",
    "supervisor_trees",
    "supervisor_limits",
    "supervisor_output",
    "clean_end",
    "hang_stacks",
)
# of each suite, what an ordinary user sees differently; the rest costs time and shows nothing new
CHOSEN = """
    test_escapees test_what_a_rank_leaves test_a_leftover test_a_fork_bomb test_killing
    test_no_report_is_lost test_a_stop_order_that_overtakes test_after_a_reboot
    test_the_time_limit test_a_tree_beyond test_an_unfinished_line test_secrets test_code_is
    test_shared_memory test_what_another test_a_stopped_rank_holds test_the_stack_of test_a_deadlock
"""


@pytest.mark.root
@pytest.mark.parametrize("suite", SUITES)
def test_an_ordinary_user_gets_the_same(suite, repo: Path, short_tmp: Path):
    words = ["-k", " or ".join(CHOSEN.split()), f"tests/system/test_{suite}.py"]
    pytest_as_user(repo, short_tmp, words, least=2, timeout_s=118)
