"""The reference is made from the code, is current, and leaves nothing out."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from tests.docs.pages import REPO
from tools.docs import errors_page, record_page
from tools.docs.__main__ import main
from tools.docs.error_codes import scan
from zenkei.cli import describing
from zenkei.cli.entry import VERBS
from zenkei.model.data import ResultState
from zenkei.model.event import BODY_TYPES
from zenkei.model.job import JobState, StopReason
from zenkei.scheduler import ReasonCode
from zenkei.server.http import ROUTERS
from zenkei.settings import Settings
from zenkei.spec.cluster_keys import FILE as CLUSTER
from zenkei.spec.keys import walk

BUDGET = 40


def page(name: str) -> str:
    return (REPO / "docs" / "reference" / f"{name}.md").read_text("utf-8")


def test_every_page_is_current(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_every_error_code_has_a_section():
    headings = {line[4:] for line in page("errors").splitlines() if line.startswith("### ")}
    assert headings == errors_page.codes(REPO).codes


def test_every_setting_is_there_with_its_reason_and_the_budget_is_kept():
    settings = [f for f in fields(Settings) if f.name != "home"]
    assert len(settings) <= BUDGET
    assert all(f.metadata["why"] for f in settings)
    assert [f.name for f in settings if f"| `{f.name}` |" not in page("settings")] == []


def test_every_event_and_state_and_reason_is_there():
    events, states = page("events"), page("states")
    assert [kind for kind in BODY_TYPES if f"\n## {kind}\n" not in events] == []
    words = [*JobState, *StopReason, *ReasonCode, *ResultState]
    assert [word for word in words if f"| `{word}` |" not in states] == []


def test_every_key_of_a_job_file_is_there():
    text = page("job-file")
    names = [f"{s.name}.{key.name}" if s.name else key.name for s, key in walk()]
    assert [name for name in names if f"| `{name}` |" not in text] == []


def test_every_key_of_a_cluster_file_is_there():
    text = page("cluster-file")
    names = [f"{s.name}.{key.name}" if s.name else key.name for s, key in walk(CLUSTER)]
    assert [name for name in names if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_there_with_all_its_flags(verb):
    text = page("cli")
    for action in [*describing.actions(verb)] or [""]:
        heading = f"#### {verb} {action}" if action else f"### {verb}"
        assert f"\n{heading}\n" in text
        section = text.split(f"\n{heading}\n", 1)[1].split("\n###", 1)[0]
        for flag in describing.flags(describing.parser_of(verb, action)):
            assert all(name in section for name in flag.option_strings), (heading, flag)
            assert flag.help, f"{heading}: {flag.option_strings} has no help"


def test_every_route_is_there_with_a_sentence():
    text = page("http")
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for method in route.methods or ():
                assert f"| `{method} {route.path.replace(':path', '')}` |" in text


def test_every_key_of_a_record_is_there():
    text = page("record")
    keys = record_page.paths(record_page.sample())
    assert [key for key in keys if f"| `{key}` |" not in text] == []


# -- the tools notice ----------------------------------------------------------------------------
PLANTED = """
from zenkei.model.errors import InvalidInput, Problem
from zenkei.client.failure import Failure

class Special(InvalidInput):
    def __init__(self, message):
        super().__init__("own-code", message)

def helper(where, code):
    raise InvalidInput(code, where)

def all_of_them(flag, text):
    raise InvalidInput("plain", "message")
    raise InvalidInput("yes" if flag else "no", "message")
    raise Special("a message is no code")
    helper(1, "through-a-helper")
    Problem(code="of-a-problem", message="x")
    raise Failure(text, "cannot be read")

class Code(StrEnum):
    MEMBER = "of-the-enum"
"""


def scanned(folder: Path, text: str):
    (folder / "planted.py").write_text(text)
    base = [REPO / "src/zenkei/model/errors.py", REPO / "src/zenkei/client/failure.py"]
    here = {path.name: path for path in base}
    for name, path in here.items():
        (folder / name).write_text(path.read_text())
    found = scan(sorted(folder.glob("*.py")), folder)
    return found, {use.code for use in found.uses if use.file == "planted.py"}


def test_codes_are_found_however_they_are_given(tmp_path):
    _found, codes = scanned(tmp_path, PLANTED)
    wanted = {"plain", "yes", "no", "own-code", "through-a-helper", "of-a-problem", "of-the-enum"}
    assert codes == wanted


def test_a_code_that_cannot_be_read_is_reported(tmp_path):
    found, _codes = scanned(tmp_path, "def f():\n    raise InvalidInput(''.join(x), 'message')\n")
    assert found.unread == ["planted.py:2: ''.join(x)"]


def test_a_missing_and_a_stale_text_are_noticed():
    found = errors_page.codes(REPO)
    texts = errors_page.texts()
    left = texts.pop("no-such-job")
    texts["never-raised"] = left
    said = errors_page.differences(found, texts)
    assert len(said) == 2
    assert "`no-such-job`" in said[0]
    assert "`never-raised`" in said[1]


def test_a_record_with_another_key_is_noticed():
    texts = record_page.texts()
    texts["other"] = texts.pop("seed")
    assert len(record_page.differences(texts)) == 2


def test_help_of_verbs_is_one_line_without_a_full_stop():
    lines = [line for _module, _function, line in VERBS.values()]
    assert [line for line in lines if "\n" in line or line.endswith(".") or not line] == []


def test_every_module_of_a_verb_exists():
    for module, function, _line in VERBS.values():
        tree = ast.parse((REPO / "src/zenkei/cli" / f"{module}.py").read_text("utf-8"))
        assert function in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
