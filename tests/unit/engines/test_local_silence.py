"""Signs of life: what is told of a supervisor that gives none, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zenkei.engines.local.layout import Layout
from zenkei.engines.local.silence import Patience, Silence
from zenkei.model.ids import AttemptId, JobId
from zenkei.ports.engine import Heard, Silent
from zenkei.protocol import names, records

ATTEMPT = AttemptId(JobId(1), 1)
RUNNING = [(ATTEMPT, ("node-1",))]
CLAIM = {"kind": records.CLAIMED, "pid": 7, "start": 99}


class Place:
    """One attempt on one node, and a clock."""

    def __init__(self, home: Path) -> None:
        self.layout = Layout(home)
        self.now_s = 1000.0
        self.beats = 0
        self.spool: list[records.Record] = [CLAIM]
        self.killed: list[records.Record] = []
        self.file = self.layout.node(ATTEMPT, 0) / names.HEARTBEAT_FILE
        self.file.parent.mkdir(parents=True)
        self.silence = Silence(
            self.layout,
            Patience(silent_s=20, lost_s=60, gone_s=15, most_round_s=4),
            lambda attempt, rank: self.spool,
            lambda: self.now_s,
            self.killed.append,
        )
        self.beat()

    def beat(self) -> None:
        self.file.touch()
        self.beats += 1
        import os

        os.utime(self.file, ns=(self.beats, self.beats))

    def rounds(self, seconds: float, every_s: float = 2.0, *, beating: bool = False) -> list[Any]:
        """Rounds of the watch for so long; what they tell."""
        told: list[Any] = []
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += every_s
            if beating:
                self.beat()
            told += self.silence.look(RUNNING)
        return told


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_supervisor_that_gives_signs_of_life_is_not_talked_about(place: Place) -> None:
    assert place.rounds(600, beating=True) == []
    assert place.killed == []


def test_silence_is_told_then_the_supervisor_is_ended_then_the_attempt_is_lost(
    place: Place,
) -> None:
    (told,) = place.rounds(40)
    assert (type(told), told.node, told.lost) == (Silent, "node-1", False)
    assert place.killed == []
    assert place.rounds(24) == []
    assert place.killed == [CLAIM]
    (lost,) = place.rounds(60)
    assert lost.lost
    assert place.killed == [CLAIM], "once is enough"


def test_a_sign_of_life_takes_the_word_back(place: Place) -> None:
    place.rounds(30)
    place.beat()
    (told,) = place.rounds(2)
    assert told == Heard(attempt=ATTEMPT, node="node-1")
    assert place.rounds(18) == [], "counting starts anew"


def test_a_machine_that_was_asleep_has_missed_nothing(place: Place) -> None:
    place.rounds(4)
    place.now_s += 8 * 3600
    assert place.rounds(8) == []


def test_a_daemon_that_starts_anew_counts_from_its_start(place: Place) -> None:
    place.now_s += 8 * 3600
    assert place.rounds(18) == []


def test_a_node_that_is_released_is_allowed_to_be_silent(place: Place) -> None:
    place.spool.append({"kind": records.RELEASED})
    assert place.rounds(600) == []


def test_a_silence_that_ends_with_a_release_is_taken_back(place: Place) -> None:
    place.rounds(66)
    place.spool.append({"kind": records.RELEASED})
    assert place.rounds(30) == [Heard(attempt=ATTEMPT, node="node-1")]


def test_an_attempt_that_is_over_before_the_next_round_is_silent_no_more(place: Place) -> None:
    place.rounds(30)
    assert place.silence.is_told
    place.now_s += 2
    assert place.silence.look([]) == [Heard(attempt=ATTEMPT, node="node-1")]
    assert place.silence.look([]) == []
    assert not place.silence.is_told


def test_time_in_which_nothing_ran_is_not_the_silence_of_what_runs_next(place: Place) -> None:
    place.silence.look([])
    place.now_s += 100
    place.silence.look(RUNNING)
    assert place.rounds(18) == []


def test_a_supervisor_that_never_touched_its_file_is_of_an_older_version(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.file.unlink()
    assert place.rounds(600) == []
