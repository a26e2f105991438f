"""What the pages say is so: links lead somewhere, job files parse, commands exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import (
    REPO,
    Block,
    anchors,
    blocks,
    commands_in,
    commands_named,
    links,
    name_of,
    pages,
)
from zenkei import spec
from zenkei.cli import describing
from zenkei.cli.entry import VERBS
from zenkei.cli.helping import GROUPS, OWN
from zenkei.spec import cluster

SHELL = ("sh", "bash", "console", "shell")
WORDS = frozenset(["VERB", "…", "..."])
CLUSTER_KEYS = r"^(queues|reservations|topology|policy|timezone):"
CLUSTER_FILES = [
    block
    for block in blocks("yaml")
    if re.search(CLUSTER_KEYS, block.text, re.M) and not re.search(r"^command:", block.text, re.M)
]
JOB_FILES = [block for block in blocks("yaml") if re.search(r"^command:", block.text, re.M)]


@pytest.mark.parametrize("path", pages(), ids=name_of)
def test_links_lead_somewhere(path):
    broken = []
    for link in links(path):
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("block", JOB_FILES, ids=str)
def test_job_files_in_pages_parse(block: Block):
    spec.parse(block.text.encode(), file="job.yaml", read=lambda name: b"numpy==2.0\n")


@pytest.mark.parametrize("block", CLUSTER_FILES, ids=str)
def test_cluster_files_in_pages_parse(block: Block):
    cluster.parse(block.text.encode(), file="cluster.yaml")


def test_there_are_job_files_to_look_at():
    assert len(JOB_FILES) > 5
    assert len(CLUSTER_FILES) > 3


@pytest.mark.parametrize("path", pages(), ids=name_of)
def test_commands_in_pages_exist(path):
    name = name_of(path)
    text = path.read_text("utf-8")
    said = [words for b in blocks(*SHELL) if b.page == name for words in commands_in(b.text)]
    wrong = [fault for words in said + commands_named(text) if (fault := fault_of(words))]
    assert wrong == []


def test_commands_in_messages_and_hints_exist():
    wrong = [
        f"{name_of(path)}: {fault}"
        for path in sorted((REPO / "src" / "zenkei").rglob("*.py"))
        for words in commands_named(path.read_text("utf-8"))
        if words and (fault := fault_of(words))
    ]
    assert wrong == []


def fault_of(words: list[str]) -> str:
    """What is wrong with `zenkei words…`; empty if nothing is."""
    own = words[: words.index("--")] if "--" in words else words
    verb = own[0] if own else "help"
    if verb in WORDS or verb in OWN or verb.startswith("_") or re.match(r"[A-Z{]", verb):
        return ""
    if verb not in VERBS:
        return f"`{verb}` is no verb"
    action, fault = action_of(verb, own[1:])
    if fault or action is None:
        return fault
    known = {"-h", "--help"}
    for flag in describing.flags(describing.parser_of(verb, action)):
        known.update(flag.option_strings)
    flags = [word.partition("=")[0] for word in own[1:] if re.match(r"--?[a-z]", word)]
    unknown = [flag for flag in flags if flag not in known]
    return f"`zenkei {' '.join(words)}`: {unknown}" if unknown else ""


def action_of(verb: str, rest: list[str]) -> tuple[str | None, str]:
    """The second word of a noun (None: only the noun is named), and what is wrong with it."""
    actions = describing.actions(verb)
    if not actions:
        return "", ""
    if not rest or rest[0] == "--help":
        return None, ""
    if all(word in actions for word in rest[0].split("|")):
        return rest[0].split("|")[0], ""
    # `zenkei result JOB` is short for its `ls`
    if verb == "result" and not rest[0].startswith("--"):
        return "ls", ""
    return None, f"`{rest[0]}` is no action of `{verb}`"


@pytest.mark.parametrize(
    "planted", [["rnu", "job.yaml"], ["ps", "--al"], ["result", "--record", "-"], ["env", "--x"]]
)
def test_a_command_that_does_not_exist_is_noticed(planted):
    assert fault_of(planted) != ""


def test_the_targets_that_pages_name_exist():
    makefile = (REPO / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.M))
    for path in pages():
        text = path.read_text("utf-8")
        named = re.findall(r"(?:`|^ {4})make (\w+)", text, re.M)
        assert [name for name in named if name not in targets] == [], name_of(path)


def test_the_readme_begins_with_two_commands_that_exist():
    text = (REPO / "README.md").read_text("utf-8")
    assert re.findall(r"^ {4}(make \w+)", text, re.M)[:2] == ["make demo", "make test"]


def test_every_verb_stands_in_one_group_of_the_help():
    grouped = [verb for verbs in GROUPS.values() for verb in verbs]
    assert sorted(grouped) == sorted([*VERBS, *OWN])
