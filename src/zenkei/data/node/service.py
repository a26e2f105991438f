"""What the node helper does when it is asked: prefetch, mount, release, ls, evict.

Called by `__main__`, one request a process. Every request may be repeated, after a kill too. The
mount is made in the caller's mount namespace; the bind mount into the job is the agent's.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from zenkei.data.depots.opening import open_depot
from zenkei.data.digests import to_raw
from zenkei.data.node import ladder, mounting, owners, reference
from zenkei.data.node.cache import Cache, Record, Said, iterate_records
from zenkei.data.node.claims import Claims
from zenkei.data.node.dealing import deal
from zenkei.data.node.eviction import Eviction, cached
from zenkei.data.node.holders import Hold, Holders
from zenkei.data.node.image import NoImage
from zenkei.data.node.ladder import Means
from zenkei.data.node.layout import COPIES, PACKS, Layout
from zenkei.data.node.request import Request
from zenkei.data.tickets import check as check_ticket


class Node:
    """One cache, for one request."""

    def __init__(self, request: Request, said: Said) -> None:
        self.layout = Layout(request.path("cache"))
        self.layout.make()
        self.holders = Holders(self.layout)
        claims = Claims(self.layout)
        budget_bytes = request.count("budget_bytes", 0)
        self.eviction = Eviction(self.layout, self.holders, claims, budget_bytes=budget_bytes)
        location = request.text("depot", "")
        self.cache = Cache(
            self.layout,
            (lambda: open_depot(location)) if location else None,
            link=request.flag("link"),
            said=said,
            make_room=self.eviction.make_room,
            claims=claims,
        )

    def prefetch(self, request: Request) -> Mapping[str, Any]:
        """Everything a mount will need; held only while it is fetched."""
        digest = request.digest("digest")
        with self._preparing(digest, f"prefetch {owners.myself()}", ""):
            record = self.cache.record(digest)
            if record.origin:
                return _about(record)
            self.cache.fill(digest)
            self.cache.index(digest)
            if os.geteuid() == 0:
                with contextlib.suppress(NoImage):
                    self.cache.image(digest)
        # what was left by attempts that nobody released
        self.eviction.sweep()
        return _about(record)

    def mount(self, request: Request) -> Mapping[str, Any]:
        digest, holder = request.digest("digest"), request.text("holder")
        self._admit(request, digest)
        name = to_raw(digest).hex()
        copy_to = self._copy_place(request, name, holder)
        # copies appear whole: one that this holder asked for is complete if it is there
        finished = copy_to.is_dir() and any(
            hold.holder == holder and hold.path == str(copy_to) for hold in self.holders.ever(name)
        )
        with self._preparing(digest, holder, str(copy_to)) as keep:
            record = self.cache.record(digest)
            if record.origin:
                path = reference.check_unchanged(self.cache.table(digest))
                answer: dict[str, Any] = {
                    "path": str(path),
                    "kind": "reference",
                    "why": "by reference: sizes and times are those of the commit, the content "
                    "was not looked at",
                    "rungs": [],
                }
            else:
                answer = self._show(request, digest, copy_to, finished)
            index = self.cache.index(digest)
            answer["index"] = str(index)
            if (split := request.part("split")) is not None:
                answer |= deal(split, index)
            pid = request.count("pid", 0)
            keep(
                Hold(
                    version=name,
                    holder=holder,
                    kind=str(answer["kind"]),
                    path=str(answer["path"]),
                    owner=owners.of_process(pid) if pid else None,
                )
            )
        return {**answer, **_about(record)}

    def release(self, request: Request) -> Mapping[str, Any]:
        holder = request.text("holder")
        released, unmounted = [], []
        for hold in list(self.holders.all()):
            if hold.holder != holder:
                continue
            self.holders.remove(hold)
            released.append(f"b3:{hold.version}")
            copies = self.layout.root / COPIES / hold.version
            if hold.path.startswith(f"{copies}/"):
                self.layout.remove_tree(Path(hold.path))
            if self.eviction.unmount_unused(hold.version):
                unmounted.append(f"b3:{hold.version}")
        return {"released": list(dict.fromkeys(released)), "unmounted": unmounted}

    def ls(self, _request: Request) -> Mapping[str, Any]:
        self.eviction.sweep()
        everything = cached(self.layout, self.holders)
        packs = {each.name for each in everything if each.kind == PACKS and each.used_s}
        return {
            "versions": [
                {
                    **_about(record),
                    "whole": all(name in packs for name, _ in record.packs),
                    "mounted": mounting.is_mount(self.layout.mount(record.name)),
                    "holders": sorted({hold.holder for hold in self.holders.of(record.name)}),
                }
                for record in sorted(iterate_records(self.layout), key=lambda each: each.name)
            ],
            "bytes": sum(each.size for each in everything),
            "held_bytes": sum(each.size for each in everything if each.held),
        }

    def evict(self, request: Request) -> Mapping[str, Any]:
        self.eviction.sweep()
        return {"removed_bytes": self.eviction.evict(request.count("bytes"))}

    @contextlib.contextmanager
    def _preparing(self, digest: str, holder: str, path: str) -> Iterator[Any]:
        """Held by this process meanwhile; for longer if the body says so, by what it is given."""
        mine = Hold(version=to_raw(digest).hex(), holder=holder, path=path, owner=owners.myself())
        self.holders.add(mine)
        try:
            yield self.holders.add
        finally:
            self.holders.remove(mine)

    def _show(self, request: Request, digest: str, copy_to: Path, finished: bool) -> dict[str, Any]:
        started_s = time.monotonic()
        allowed = frozenset(Means(each) for each in request.choices("means", list(Means)))
        shown = ladder.show(self.cache, digest, copy_to, allowed=allowed, finished=finished)
        return {
            "path": str(shown.path),
            "kind": "copy" if shown.means is Means.COPY else "erofs",
            "why": shown.why,
            "rungs": [
                {"means": rung.means.value, "taken": rung.taken, "why": rung.why}
                for rung in shown.rungs
            ],
            "seconds": round(time.monotonic() - started_s, 4),
        }

    def _copy_place(self, request: Request, name: str, holder: str) -> Path:
        if request.text("copy_to", ""):
            return request.path("copy_to")
        folder = blake3(holder.encode("utf-8", "surrogateescape")).hexdigest(16)
        return self.layout.root / COPIES / name / folder

    def _admit(self, request: Request, digest: str) -> None:
        """Without a key nothing is checked: whoever can name the cache can read it by himself."""
        if not request.text("key", ""):
            return
        key = request.path("key").read_bytes()
        check_ticket(key, request.text("ticket"), request.text("attempt"), digest, time.time())


def _about(record: Record) -> dict[str, Any]:
    return {
        "digest": f"b3:{record.name}",
        "files": record.files,
        "size_bytes": record.size_bytes,
        "packs": len(record.packs),
    }
