"""The job file's `datasets`: its keys, and what an entry means. Used by `keys` and `build`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from zenkei.model.dataset import (
    NAME_PATTERN,
    TAG_PATTERN,
    DatasetRequest,
    Shuffle,
    Split,
    parse_reference,
)
from zenkei.model.errors import InvalidInput
from zenkei.spec import limits, names
from zenkei.spec.kinds import Choice, Integer, Milli, Text
from zenkei.spec.problems import Code, Reading, describe, show
from zenkei.spec.shapes import Either, Fields, Items, Key, Section
from zenkei.spec.tree import Mapping, Node

MOST: Final = 100
_VERSION: Final = r"@(?:[1-9][0-9]{0,8}|b3:[0-9a-f]{8,64})"
_REFERENCE: Final = rf"{NAME_PATTERN}(?:{_VERSION}|:{TAG_PATTERN})?"
_NAME_HINT: Final = "a name has small letters, digits, `.`, `_` and `-`"
_REFERENCE_HINT: Final = f"{_NAME_HINT}; versions count from 1"
_SYSTEM: Final = frozenset(
    [
        "bin",
        "boot",
        "dev",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "proc",
        "root",
        "run",
        "sbin",
        "sys",
        "tmp",
        "usr",
        "var",
    ]
)


def _place(text: str) -> str:
    """Where a dataset may appear: inside the job's directory, or at a path of its own."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        return "`..` would leave it"
    if not parts:
        return "name a directory, such as `data/digits` or `/data/digits`"
    if not text.startswith("/"):
        return names.inner_path(text)
    if parts[0] in _SYSTEM:
        return f"`/{parts[0]}` belongs to the system; use a directory such as `/data/{parts[-1]}`"
    return ""


SPLIT: Final = Section(
    name="datasets.split",
    keys=(
        Key("seed", Integer(least=0, most=limits.SEED), "Another seed deals anew.", "7", "0"),
        Key(
            "by",
            Choice(
                words={
                    "file": "Files are dealt out; those with the same content stay together.",
                    "group": "All files below one directory of the top level stay together.",
                }
            ),
            "What is dealt out.",
            "group",
            "file",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Parts:
    """Fractions by name, beside the keys of `fixed`."""

    wants: str = "fractions by name, such as {train: 0.8, val: 0.2}"
    fixed: Section = SPLIT
    of: Milli = Milli(least=1, most=1000, wants="a fraction such as 0.8")

    def read(self, node: Node, where: str, to: Reading) -> Split | None:
        if not isinstance(node, Mapping):
            message = f"`{where}` must be {self.wants}, not {describe(node)}"
            to.add(node, Code.WRONG_TYPE, message)
            return None
        fixed = {key.name: key.kind for key in self.fixed.keys}
        own: dict[str, Any] = {}
        parts: list[tuple[str, int]] = []
        for name, inner in node.pairs:
            path = f"{where}.{show(name.text)}"
            if name.text in fixed:
                own[name.text] = fixed[name.text].read(inner, path, to)
            elif bad := names.parameter(name.text):
                message = f"`{show(name.text)}` in `{where}` {bad[0]}"
                to.add(name, Code.BAD_VALUE, message, bad[1])
            elif (fraction := self.of.read(inner, path, to)) is not None:
                parts.append((name.text, fraction))
        total = sum(fraction for _, fraction in parts)
        if total > 1000:
            message = f"the fractions of `{where}` sum to {total / 1000:g}, which is more than 1"
            to.add(node, Code.CONFLICT, message, "make them smaller; what is left over is not used")
        return Split(
            parts=tuple((name, part / 1000) for name, part in parts),
            seed=own.get("seed") or 0,
            by=own.get("by") or "file",
        )

    def schema(self) -> dict[str, object]:
        return {
            "type": "object",
            "properties": self.fixed.schema()["properties"],
            "propertyNames": {"pattern": f"^(?:{names.PARAMETER_PATTERN})$"},
            "additionalProperties": self.of.schema(),
        }


SHUFFLE: Final = Section(
    name="datasets.shuffle",
    keys=(
        Key("seed", Integer(least=0, most=limits.SEED), "Another seed is another order.", "7", "0"),
        Key("epoch", Integer(least=0, most=1_000_000), "Epoch of the order.", "3", "0"),
    ),
)
DATASET: Final = Section(
    name="datasets",
    synonyms={"path": "at", "mount": "at", "to": "at", "dataset": "name", "splits": "split"},
    keys=(
        Key(
            "name",
            Text(wants="a dataset's name", most=100, pattern=NAME_PATTERN, hint=_NAME_HINT),
            "The dataset; `zenkei dataset ls` lists them.",
            "digits",
        ),
        Key(
            "version",
            Text(
                wants="a number such as 3, or a digest such as b3:41c0a3f2",
                most=80,
                pattern=r"[1-9][0-9]{0,8}|b3:[0-9a-f]{8,64}",
                hint="`zenkei dataset log NAME` lists the versions",
            ),
            "This version of it.",
            "3",
        ),
        Key(
            "tag",
            Text(wants="a tag", most=100, pattern=TAG_PATTERN),
            "The version that has this tag when the job is prepared.",
            "stable",
            "latest",
        ),
        Key(
            "at",
            Text(wants="a directory", most=limits.PATH_CHARS, rule=_place),
            "Where the job finds it, read-only: relative to its directory, or absolute.",
            "/data/digits",
            "data/ and the name",
        ),
        Key("split", Parts(), "Named parts of its files, the same on every machine.",
            "{train: 0.8, val: 0.2, seed: 7}"),
        Key("shuffle", SHUFFLE, "Order in which `zenkei.sdk.data` gives its files.", "{seed: 7}"),
    ),
)  # fmt: skip
DATASETS: Final = Items(
    of=Either(
        scalar=Text(
            wants="a dataset such as digits, digits@3 or digits:stable",
            most=200,
            pattern=_REFERENCE,
            hint=_REFERENCE_HINT,
        ),
        mapping=DATASET,
        says="a dataset such as digits, digits@3 or digits:stable, or {name: digits, at: /data}",
    ),
    most=MOST,
)


def build_datasets(fields: Fields, outputs: str, to: Reading) -> tuple[DatasetRequest, ...]:
    """Entries in the file's order; no two of them in one place."""
    found: list[DatasetRequest] = []
    for entry, node in fields.get("datasets", ()):
        request = _entry(entry, node, to)
        if request is None:
            continue
        found.append(request)
        taken = {f"`{other.name}` at `{other.at}`": other.at for other in found[:-1]}
        taken[f"the job's outputs, `{outputs}`"] = outputs
        for what, place in taken.items():
            if _overlap(request.at, place):
                message = f"dataset `{request.name}` at `{request.at}` is in the way of {what}"
                to.add(node, Code.CONFLICT, message, "give it another place with `at`")
                break
    return tuple(found)


def _entry(entry: str | Fields, node: Node, to: Reading) -> DatasetRequest | None:
    if isinstance(entry, str):
        try:
            meant = parse_reference(entry)
        except InvalidInput as error:
            to.add(node, Code.BAD_VALUE, error.message, error.hint)
            return None
        return DatasetRequest(
            name=meant.name, at=f"data/{meant.name}", version=str(meant)[len(meant.name) :]
        )
    name = entry.get("name")
    if name is None:
        if not entry.wrote("name"):
            message = "an entry of `datasets` has no `name`"
            to.add(node, Code.MISSING_KEY, message, "write `{name: digits, at: data/digits}`")
        return None
    if entry.wrote("at") and "at" not in entry:
        return None
    if "version" in entry and "tag" in entry:
        message = f"dataset `{name}` is given a `version` and a `tag`"
        to.add(node, Code.CONFLICT, message, "keep one of them; a version never changes")
    version = f"@{entry.get('version')}" if "version" in entry else ""
    return DatasetRequest(
        name=name,
        at=_clean(entry.get("at", f"data/{name}")),
        version=version or (f":{entry.get('tag')}" if "tag" in entry else ""),
        split=entry.get("split"),
        shuffle=_shuffle(entry.get("shuffle")),
    )


def _shuffle(found: Any) -> Shuffle | None:
    if found is None:
        return None
    return Shuffle(seed=found.get("seed", 0), epoch=found.get("epoch", 0))


def _clean(path: str) -> str:
    return ("/" if path.startswith("/") else "") + names.clean_path(path)


def _overlap(a: str, b: str) -> bool:
    """One of them is the other, or lies below it."""
    return f"{a}/".startswith(f"{b}/") or f"{b}/".startswith(f"{a}/")
