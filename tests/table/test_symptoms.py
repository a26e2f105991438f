"""What programs print when they fail, and what it is taken for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from zenkei.lifecycle.symptoms import MEANINGS, follows
from zenkei.protocol import symptoms
from zenkei.protocol.symptom_table import TABLE, Symptom

CASES = yaml.safe_load((Path(__file__).parent / "symptoms.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["title"])
def test_a_program_s_last_words(case: dict[str, Any]) -> None:
    number = case.get("signal", 0)
    code = None if number else case.get("code", 1)
    found = symptoms.find(case["text"].encode(), code, number)
    assert found.name == case["symptom"]


def test_every_symptom_has_a_meaning_and_every_meaning_a_symptom() -> None:
    assert set(MEANINGS) == set(symptoms.NAMES)
    assert all(meaning.hint and follows(meaning) for meaning in MEANINGS.values())


@pytest.mark.parametrize("symptom", TABLE, ids=lambda symptom: symptom.name)
def test_each_row_of_the_table_is_reached_by_its_own_words(symptom: Symptom) -> None:
    """None is shadowed by an earlier one: it would be dead."""
    for words in (*symptom.words, *symptom.starts):
        line = words if isinstance(words, bytes) else b" ".join(words)
        found = symptoms.find(b"step 1\n" + line + b"\n", 1).name
        place = symptoms.NAMES.index
        assert found == symptom.name or place(found) < place(symptom.name), line
    reached = {
        symptoms.find(w if isinstance(w, bytes) else b" ".join(w), 1).name for w in symptom.words
    } | {symptoms.find(start, 1).name for start in symptom.starts}
    assert symptom.name in reached or not (symptom.words or symptom.starts)


def test_the_cause_stands_though_a_long_stack_follows() -> None:
    stack = b"".join(b"frame #%d: somewhere in a library\n" % n for n in range(60))
    text = b"RuntimeError: CUDA error: uncorrectable ECC error encountered\n" + stack
    assert symptoms.find(text, 1).name == "gpu_memory_error"


def test_what_was_survived_long_ago_gives_way_to_what_was_said_last() -> None:
    steps = b"".join(b"step %d\n" % n for n in range(1000))
    text = b"CUDA out of memory, trying a smaller batch\n" + steps + b"KeyError: 'x'\n"
    assert symptoms.find(text, 1).name == "python_error"


def test_any_bytes_have_an_answer_in_little_time() -> None:
    for text in (b"\n" * 65536, b"x" * 65536, b"NCCL \n" * 10000, b"a." * 32768, bytes(65536)):
        assert symptoms.find(text, 1).name in ("", *symptoms.NAMES)
