"""ARCHITECTURE.md shows the walls that are enforced, and every room that stands."""

import re

from tests.architecture.contracts import layers, rooms_present
from tests.architecture.source_tree import REPO

PAGE = REPO / "ARCHITECTURE.md"
# two printed pages of about 65 lines of 100 characters
MAX_LINES = 130


def drawn_layers(text: str) -> list[set[str]]:
    """The first fenced `text` block: one line for each layer, neighbours divided by `|`."""
    block = re.search(r"```text\n(.*?)```", text, re.S)
    assert block, "ARCHITECTURE.md has no picture"
    return [set(re.findall(r"\w+", line)) for line in block.group(1).splitlines() if line.strip()]


def described_rooms(text: str) -> set[str]:
    """Rooms that have a line of their own in the list of rooms."""
    return set(re.findall(r"^\| `(\w+)(?:\.py)?` \|", text, re.M))


def test_the_picture_is_the_contract():
    assert drawn_layers(PAGE.read_text(encoding="utf-8")) == layers()


def test_every_room_that_stands_is_described():
    missing = rooms_present() - described_rooms(PAGE.read_text(encoding="utf-8"))
    assert missing == set()


def test_nothing_is_described_that_no_layer_knows():
    described = described_rooms(PAGE.read_text(encoding="utf-8"))
    assert described - set().union(*layers()) <= {"settings"}


def test_the_page_is_short_enough_to_be_read():
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_a_wrong_picture_is_noticed():
    text = PAGE.read_text(encoding="utf-8")
    assert drawn_layers(text.replace("scheduler |", "sched |")) != layers()
