"""Job files with the specs, hashes and problems that they lead to (tests/table/spec)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from zenkei import spec
from zenkei.model.errors import InvalidInput

TABLE = Path(__file__).resolve().parents[2] / "table" / "spec"
FILES = {
    "requirements.txt": (
        b"# ours\ntorch>=2 \\\n  --hash=sha256:aa\n-r more.txt\n\nnumpy  # arrays\n"
    ),
    "more.txt": b"scipy\n",
    "pyproject.toml": b'[project]\nname = "x"\ndependencies = ["rich", "numpy>=2"]\n',
    "pylock.toml": b'lock-version = "1.0"\r\n',
    "bad.toml": b"[project\n",
    "empty.toml": b"[tool.x]\n",
    "latin.txt": b"caf\xe9\n",
    "editable.txt": (
        b"numpy\n-e .\n-c c.txt\n--index-url https://me:pw@example.invalid/simple\n-r ../up.txt\n"
    ),
}


@dataclass(frozen=True)
class Case:
    title: str
    text: str
    expected: dict[str, Any]


def cases(name: str) -> list[Case]:
    rows = yaml.safe_load((TABLE / name).read_text(encoding="utf-8"))
    return [Case(row["title"], row["file"], row) for row in rows]


def read(path: str) -> bytes:
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory")
    return FILES[path]


def parse(text: str):
    return spec.parse(text.encode(), file="digits/job.yaml", read=read)


@pytest.mark.parametrize("case", cases("valid.yaml"), ids=lambda c: c.title)
def test_a_job_file_keeps_its_meaning_and_its_hash(case: Case):
    parsed = parse(case.text)
    assert spec.canonical(parsed) == case.expected["canonical"]
    assert spec.digest(parsed) == case.expected["digest"]
    assert spec.from_canonical(spec.canonical(parsed)) == parsed


@pytest.mark.parametrize("case", cases("problems.yaml"), ids=lambda c: c.title)
def test_a_problem_is_answered_with_its_place_and_a_hint(case: Case):
    with pytest.raises(InvalidInput) as caught:
        parse(case.text)
    assert caught.value.code == "invalid-job-file"
    found = [{"code": p.code, "message": str(p), "hint": p.hint} for p in caught.value.problems]
    assert found == case.expected["problems"]
    assert all(problem["hint"] for problem in found)


def test_no_answer_shows_a_credential():
    answers = "".join(json.dumps(c.expected["problems"]) for c in cases("problems.yaml"))
    for value in ("hf_abc", "hunter2", "ghp_abc", "sk-abc", "abcdef"):
        assert value not in answers


def test_every_code_has_a_golden_problem_or_a_test_of_bytes():
    told = {p["code"] for c in cases("problems.yaml") for p in c.expected["problems"]}
    of_bytes = {spec.Code.ENCODING}
    assert {str(code) for code in spec.Code} == told | of_bytes
