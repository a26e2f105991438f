"""The published JSON Schema: valid, equal to the parser in its keys, true to the examples."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from zenkei import spec
from zenkei.spec.keys import FILE, HOMES, walk
from zenkei.spec.shapes import Section

REPO = Path(__file__).resolve().parents[3]
TABLE = REPO / "tests" / "table" / "spec"
EXAMPLES = sorted(p for p in (REPO / "examples").rglob("*.yaml") if p.name != "cluster.yaml")
VALIDATOR = jsonschema_rs.validator_for(spec.schema())


def rows(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((TABLE / name).read_text(encoding="utf-8"))
    return found


def test_the_schema_is_a_schema():
    jsonschema_rs.meta.validate(spec.schema())
    assert spec.schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    json.dumps(spec.schema())


def test_the_schema_offers_the_keys_that_the_parser_knows():
    def keys_in(node: object, name: str) -> set[tuple[str, str]]:
        found = set()
        if isinstance(node, dict):
            for key, inner in (node.get("properties") or {}).items():
                found |= {(name, key)} | keys_in(inner, key)
            for part in ("anyOf", "items", "additionalProperties"):
                found |= keys_in(node.get(part), name)
        elif isinstance(node, list):
            for item in node:
                found |= keys_in(item, name)
        return found

    parsed = {(section.name.rpartition(".")[2], key.name) for section, key in walk()}
    assert keys_in(spec.schema(), "") == parsed


def test_every_key_of_the_plan_exists_and_says_what_it_is():
    planned = [
        *("version", "name", "project", "queue", "priority", "command", "env", "resources"),
        *("launcher", "code", "datasets", "seed", "deterministic", "retry", "time_limit", "after"),
        *("matrix", "array", "labels", "constraints", "topology", "rdma", "checkpoint", "hang"),
        *("secrets", "outputs"),
    ]
    inner = {
        "env": ["python", "packages", "requirements", "lock", "system", "vars", "build"],
        "resources": ["nodes", "gpus", "gpu_type", "cpus", "memory", "tmp"],
        "code": ["include", "exclude"],
        "after": ["ok", "any", "failed"],
    }
    assert set(planned) <= {key.name for key in FILE.keys}
    for home, keys in inner.items():
        known = {key.name for section, key in walk() if section.name == home}
        assert set(keys) <= known
    assert all(key.doc.endswith(".") for _, key in walk())


@pytest.mark.parametrize("row", rows("valid.yaml"), ids=lambda row: row["title"])
def test_what_the_parser_takes_the_schema_takes(row: dict[str, Any]):
    VALIDATOR.validate(yaml.safe_load(row["file"]))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_an_example_is_a_job_file_for_parser_and_schema(path: Path):
    VALIDATOR.validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    spec.parse(
        path.read_bytes(), file=str(path), read=lambda name: (path.parent / name).read_bytes()
    )


def test_there_are_examples():
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize(
    "page",
    [
        {},
        {"command": "x", "resources": {"gpu": 1}},
        {"command": "x", "resources": {"memory": 16}},
        {"command": "x", "time_limit": "1:30"},
        {"command": "x", "launcher": "ssh"},
        {"command": [], "name": "x"},
        {"command": "x", "deterministic": "yes"},
        {"command": "x", "env": {"vars": {"A-B": "1"}}},
        {"command": "x", "matrix": {"lr": 0.1}},
        {"command": "x", "seed": -1},
    ],
)
def test_what_an_editor_can_know_is_wrong_is_refused_by_the_schema(page: dict[str, Any]):
    assert not VALIDATOR.is_valid(page)


def test_a_section_for_misplaced_keys_is_where_the_key_is():
    sections = {key.name for key in FILE.keys} | {"", "retry.rules"}
    assert set(HOMES.values()) <= sections
    assert HOMES["gpus"] == "resources"
    assert HOMES["command"] == ""
    assert all(isinstance(section, Section) for section, _ in walk())
