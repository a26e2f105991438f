"""What may be asked of `python -m zenkei.data.versions`, and how the answers look.

Called by `__main__`. Requests come from zenkei itself; a malformed one is refused all the same.
Paths are text as `manifest.path_text` makes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zenkei.data.depots.collect import collect
from zenkei.data.depots.opening import open_depot
from zenkei.data.manifest import path_text
from zenkei.data.versions import compare, container, inspect
from zenkei.data.versions import export as exporting
from zenkei.data.versions.commit import Request, Said, commit
from zenkei.data.versions.keeper import version_name
from zenkei.data.versions.table import Kind, VersionTable
from zenkei.data.versions.workers import Workers
from zenkei.model.errors import InvalidInput, NotFound, Unavailable

KINDS: Final = {Kind.FILE: "file", Kind.LINK: "link", Kind.DIRECTORY: "directory"}
MAX_ROWS: Final = 10_000
USUAL_ROWS: Final = 100

Asked = dict[str, Any]


def answer(asked: Asked, said: Said) -> dict[str, Any]:
    verbs: dict[str, Callable[[Asked, Said], dict[str, Any]]] = {
        "commit": _commit, "export": _export, "diff": _diff, "verify": _verify, "list": _list,
        "gc": _gc,
    }  # fmt: skip
    verb = verbs.get(str(asked.get("do")))
    if verb is None:
        raise _bad(f"there is nothing to do that is called {str(asked.get('do'))[:80]!r}")
    try:
        return verb(asked, said)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, KeyError) and error.args and error.args[0] not in asked:
            raise _bad(f"`{error.args[0]}` is missing") from error
        raise


def load(depot: str, digest: str) -> VersionTable:
    """The version, in this process, which opens no depot: a worker fetches it.

    Raises NotFound if the depot does not have it, Unavailable if what it has is damaged.
    """

    def prepare() -> Callable[[str], bytes]:
        opened = open_depot(depot)
        read: Callable[[str], bytes] = opened.read
        return read

    with Workers(1, prepare) as workers:
        try:
            content = workers.ask(version_name(digest))
        except NotFound:
            raise NotFound(
                "no-such-version",
                f"the dataset store has no version {digest}",
                hint="`zenkei dataset log` shows those that there are",
            ) from None
    table = container.read(content)
    if table.digest != digest:
        raise Unavailable(
            "content-damaged",
            f"the version {digest} of a dataset does not have its digest",
            hint="`zenkei dataset verify` says what is lost",
            details={"object": version_name(digest)},
        )
    return table


def _commit(asked: Asked, said: Said) -> dict[str, Any]:
    done = commit(
        Request(
            depot=asked["depot"],
            source=Path(asked["source"]),
            state=Path(asked["state"]) if asked.get("state") else None,
            reference=bool(asked.get("reference", False)),
            exclude=tuple(asked.get("exclude") or ()),
            jobs=int(asked.get("jobs") or 0),
            against=tuple(asked.get("against") or ()),
        ),
        said,
    )
    body = asdict(done)
    body["left_out"] = [{"path": item.path, "why": item.why} for item in done.left_out]
    return body


def _export(asked: Asked, said: Said) -> dict[str, Any]:
    done = exporting.export(
        load(asked["depot"], asked["digest"]),
        asked["depot"],
        Path(asked["to"]),
        said,
        only=tuple(asked.get("only") or ()),
        overwrite=bool(asked.get("overwrite", False)),
        jobs=int(asked.get("jobs") or 0),
    )
    return asdict(done)


def _diff(asked: Asked, said: Said) -> dict[str, Any]:
    a, b = load(asked["depot"], asked["a"]), load(asked["depot"], asked["b"])
    found = compare.difference(a, b)
    limit = _limit(asked)
    body: dict[str, Any] = {}
    for name, table, rows in (("added", b, found.added), ("removed", a, found.removed)):
        files, size = compare.counted(table, rows)
        first = [row_of(table, row) for row in rows[:limit].tolist()]
        body[name] = {"count": len(rows), "files": files, "size_bytes": size, "rows": first}
    pairs = zip(found.changed_a[:limit].tolist(), found.changed_b[:limit].tolist(), strict=True)
    files, size = compare.counted(b, found.changed_b)
    body["changed"] = {
        "count": len(found.changed_b),
        "files": files,
        "size_bytes": size,
        "rows": [{"from": row_of(a, old), "to": row_of(b, new)} for old, new in pairs],
    }
    return body


def _verify(asked: Asked, said: Said) -> dict[str, Any]:
    done = inspect.verify(
        asked["depot"],
        list(asked["digests"]),
        said,
        deep=bool(asked.get("deep", False)),
        jobs=int(asked.get("jobs") or 0),
    )
    body = asdict(done)
    body["damaged"] = body.pop("faults")
    return body


def _list(asked: Asked, said: Said) -> dict[str, Any]:
    """Rows in the version's order. after: the path of the last row of the page before."""
    table = load(asked["depot"], asked["digest"])
    under = asked.get("under") or ""
    rows = np.flatnonzero(exporting.selected(table, (under,) if under else ()))
    if after := asked.get("after"):
        rows = rows[np.searchsorted(rows, exporting.row_at(table, after), side="right") :]
    page = rows[: _limit(asked)]
    more = len(rows) > len(page)
    return {
        "rows": [row_of(table, row) for row in page.tolist()],
        "files": int((table.kinds == Kind.FILE).sum()),
        "size_bytes": table.size_bytes,
        "packs": len(table.packs),
        "reference": table.mtimes_ns is not None,
        "origin": path_text(table.origin),
        "next": path_text(table.path(int(page[-1]))) if more and len(page) else None,
    }


def _gc(asked: Asked, said: Said) -> dict[str, Any]:

    done = collect(
        open_depot(asked["depot"]),
        keep=set(asked["keep"]),
        packs_of=container.pack_names,
        grace_s=float(asked["grace_s"]),
        dry_run=bool(asked.get("dry_run", False)),
    )
    return asdict(done)


def row_of(table: VersionTable, row: int) -> dict[str, Any]:
    """A row as JSON."""
    kind = Kind(int(table.kinds[row]))
    body: dict[str, Any] = {"path": path_text(table.path(row)), "kind": KINDS[kind]}
    if kind is Kind.LINK:
        body["target"] = path_text(table.targets[row])
    if kind is Kind.FILE:
        body["size_bytes"] = int(table.sizes[row])
        body["mode"] = int(table.modes[row])
        if table.mtimes_ns is None:
            body["digest"] = "b3:" + _hex(table.digests[row])
        else:
            body["mtime_ns"] = int(table.mtimes_ns[row])
    return body


def _hex(digest: NDArray[np.uint8]) -> str:
    return digest.tobytes().hex()


def _limit(asked: Asked) -> int:
    limit = asked.get("limit")
    return USUAL_ROWS if limit is None else max(0, min(int(limit), MAX_ROWS))


def _bad(why: str) -> InvalidInput:
    return InvalidInput("bad-request", f"the request cannot be: {why}", hint="see the module")
