"""A spec from a stranger is taken if, and only if, a job file could have said it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from zenkei import spec
from zenkei.model.errors import InvalidInput
from zenkei.model.job import JobSpec

FILE: dict[str, Any] = {
    "name": "学習",
    "command": ["python", "train.py", "${{ matrix.lr }}", "${{ array.index }}"],
    "project": "vision",
    "queue": "fast",
    "priority": 3,
    "env": {
        "python": "3.11",
        "packages": ["numpy>=2", "scipy"],
        "vars": {"A": "1", "SORT_KEY": "name"},
        "public": ["SORT_KEY"],
        "build": True,
    },
    "resources": {
        "nodes": {"min": 2, "max": 4},
        "gpus": 4,
        "ranks": 2,
        "gpu_type": ["A100", "H200"],
        "cpus": 2.5,
        "memory": "16GiB",
        "tmp": "5GB",
    },
    "launcher": "torchrun",
    "code": {"include": ["data/small.csv"], "exclude": ["*.ckpt"]},
    "seed": 7,
    "deterministic": True,
    "retry": {
        "limit": 3,
        "backoff": "1.5s",
        "rules": [
            {"exit_code": [1, 2], "action": "retry"},
            {"log": "CUDA error", "action": "elsewhere"},
            {"exit_code": 137, "action": "more_memory"},
        ],
    },
    "time_limit": "90m",
    "grace": "30s",
    "after": {"ok": [41, "42.10"], "any": [40]},
    "array": 3,
    "matrix": {"lr": ["0.10", "1e-3"], "b": ["x"]},
    "labels": {"team": "vision"},
    "constraints": {"rack": ["a", "b"], "disk": "nvme"},
    "secrets": ["WANDB", {"name": "a.b", "file": "FOO"}],
    "outputs": "out/here",
    "checkpoint": {"signal": "none", "ranks": "first", "grace": "2m", "every": "1h", "keep": 5},
    "hang": {"action": "warn", "quiet": "5m", "startup": "1h", "timeout": "2h"},
    "rdma": True,
    "topology": {"required": "rack"},
    "datasets": [
        "digits:stable",
        {"name": "words", "version": 3, "at": "/data/words"},
        {
            "name": "more",
            "version": "b3:41c0a3f2",
            "split": {"train": 0.8, "val": 0.2, "seed": 7, "by": "group"},
            "shuffle": {"seed": 7, "epoch": 3},
        },
    ],
}
SPARE: list[dict[str, Any]] = [
    {},
    {"code": False, "hang": False, "checkpoint": True, "array": 2},
    {"resources": {"gpus": 0.5}, "hang": {"timeout": "1m"}, "topology": "rack"},
    {"resources": {"gpus": 8}, "launcher": "torchrun", "retry": 2},
    {"env": {"requirements": "requirements.txt"}},
    {"env": {"lock": "pylock.toml"}},
]
FILES = {
    "requirements.txt": b"numpy==2.1.0  # pinned\nscipy\n",
    "pylock.toml": b'lock-version = "1.0"\npackages = []\n',
}


def parsed(**keys: Any) -> JobSpec:
    text = yaml.safe_dump({"command": "python x.py", **keys}, allow_unicode=True)
    return spec.parse(text.encode(), file="job.yaml", read=lambda path: FILES[path])


@pytest.mark.parametrize("keys", [FILE, *SPARE], ids=lambda keys: ",".join(keys)[:40] or "plain")
def test_what_a_job_file_says_is_taken(keys: dict[str, Any]) -> None:
    asked = parsed(**keys)
    assert spec.vouched(spec.canonical(asked)) == asked


HOSTILE: list[tuple[str, Any]] = [
    ("outputs", "../../etc"),
    ("outputs", "/etc"),
    ("time_limit_s", float("nan")),
    ("time_limit_s", 1e300),
    ("grace_s", -1.0),
    ("array", 10**9),
    ("resources", {"ranks": 10**9}),
    ("resources", {"nodes": -1}),
    ("resources", {"node": {"memory_bytes": 1 << 70}}),
    ("seed", 1 << 80),
    ("name", "a\0b"),
    ("project", "../x"),
    ("command", ""),
    ("datasets", [{"name": "x", "at": "../../etc"}]),
    ("datasets", [{"name": "x", "at": "/etc"}]),
    ("secrets", [{"name": "x", "variable": "LD_PRELOAD=/evil"}]),
    ("env", {"vars": {"A=B": "c"}}),
    ("env", {"packages": ["--index-url=http://evil"]}),
    ("retry", {"rules": [{"exit_codes": [1], "action": "retry", "pattern": "("}]}),
    ("checkpoint", {"signal": "KILL"}),
    ("unknown", 1),
]


@pytest.mark.parametrize(("key", "value"), HOSTILE, ids=str)
def test_what_no_job_file_can_say_is_refused(key: str, value: Any) -> None:
    document = json.loads(spec.canonical(parsed())) | {key: value}
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    with pytest.raises(InvalidInput) as told:
        spec.vouched(text)
    assert told.value.code == "bad-canonical-spec"
    assert told.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '{"name":1}', "[" * 100_000])
def test_what_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        spec.vouched(text)


def test_another_spelling_of_the_same_is_refused() -> None:
    text = spec.canonical(parsed())
    with pytest.raises(InvalidInput, match="not as zenkei writes it"):
        spec.vouched(text.replace(":", ": ", 1))
