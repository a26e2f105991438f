"""How much the tests that try many cases try: all of it in `make test`, a fifth in `make quick`.

Used by property tests and simulations. ZENKEI_TEST_QUICK=1 is set by `tools/tests.sh quick`.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

QUICK: Final = os.environ.get("ZENKEI_TEST_QUICK") == "1"
PART: Final = 5


def tries(count: int, *, least: int = 2) -> int:
    """Of so many examples or seeds: how many are tried now; never less than `least`."""
    return min(count, max(least, count // PART)) if QUICK else count


def use() -> None:
    """The same for tests that name no number."""
    if QUICK:
        settings.register_profile("quick", max_examples=tries(settings().max_examples))
        settings.load_profile("quick")
