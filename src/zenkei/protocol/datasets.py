"""What a job is told about its datasets: one JSON document for each attempt on each node.

Written beside the launch document before the ranks start, read by `sdk.data`. The variable
`ZENKEI_DATASETS` holds its path as the job sees it; without datasets there is neither. Never
changed afterwards. A reader ignores keys that it does not know and fills in those it misses.

    {"version": 1, "datasets": [{
      "name": "digits", "number": 3, "digest": "b3:...",    the version that the job is pinned to
      "at": "data/digits",              as the job file says
      "path": "/.../data/digits",       absolute; read-only for the job
      "index_path": "/.../digits.index",  its rows (`protocol.dataindex`); "": there are none
                                          and the job goes by the paths that it finds
      "split": {"parts": [["train", 0.8], ["val", 0.2]], "seed": 7, "by": "file"},     or null
      "rows_path": "/.../digits.rows",    rows of each part (`protocol.dataparts`); "": the job
                                        reckons them itself from the index, with the same result
      "rows_digest": "b2:...",          the digest of that file, as in the record; "": not checked
      "shuffle": {"seed": 7, "epoch": 0}}]}                                            or null

A dataset may be there twice, as two versions or with two splits: `at` tells them apart.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from zenkei.protocol.splits import Shuffle, Split, check

VERSION = 1
MAX_DOCUMENT_BYTES = 16 << 20


class Given(NamedTuple):
    """A dataset as a job has it. Built with keywords only; all paths as the job sees them."""

    name: str
    digest: str
    path: str
    number: int = 0
    at: str = ""
    index_path: str = ""
    split: Split | None = None
    rows_path: str = ""
    rows_digest: str = ""
    shuffle: Shuffle | None = None


def dump(given: tuple[Given, ...]) -> bytes:
    """As JSON, with a newline. Raises ValueError for a split that cannot be."""
    rows: list[dict[str, Any]] = []
    for one in given:
        row = one._asdict()
        row["split"] = one.split and check(one.split)._asdict()
        row["shuffle"] = one.shuffle and one.shuffle._asdict()
        rows.append(row)
    return json.dumps({"version": VERSION, "datasets": rows}, sort_keys=True).encode() + b"\n"


def load(data: bytes) -> tuple[Given, ...]:
    """Raises ValueError if it is no such document, or from a newer, unreadable version."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"a list of datasets of {len(data)} bytes")
    try:
        document = json.loads(data)
        if document["version"] > VERSION:
            raise ValueError(f"datasets of version {document['version']}, known is {VERSION}")
        return tuple(_given(row) for row in document["datasets"])
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no list of datasets: {error!r}") from error


def _given(row: dict[str, Any]) -> Given:
    known = {key: row[key] for key in Given._fields if row.get(key) is not None}
    if "split" in known:
        split = known["split"]
        parts = tuple((str(name), float(share)) for name, share in split["parts"])
        known["split"] = check(Split(parts, int(split["seed"]), str(split["by"])))
    if "shuffle" in known:
        shuffle = known["shuffle"]
        known["shuffle"] = Shuffle(int(shuffle["seed"]), int(shuffle["epoch"]))
    for key in ("name", "digest", "path", "at", "index_path", "rows_path", "rows_digest"):
        if not isinstance(known.get(key, ""), str):
            raise ValueError(f"`{key}` of a dataset is text, not {known[key]!r}")
    return Given(**known)
