"""A node's cache of dataset versions: packs, tables, images, fetched once and verified on arrival.

Called by `service` and `ladder`. However many processes ask, one fetches each object and the others
wait; if it dies, one of them goes on. What does not have its digest is never given out: it is
fetched once more, then refused. A kill at any instant leaves whole objects and swept-up rubbish.
Cost once everything is there: a stamp a pack, 30 µs each.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blake3 import blake3

from zenkei.data import disk
from zenkei.data.depots.depot import Depot
from zenkei.data.digests import to_raw
from zenkei.data.node import image as images
from zenkei.data.node.claims import Claims
from zenkei.data.node.layout import IMAGES, INDEXES, PACKS, VERSIONS, Layout
from zenkei.data.versions import container, jobindex
from zenkei.data.versions.table import VersionTable
from zenkei.model.errors import InvalidInput, Unavailable

FETCHERS: Final = 4
_TRIES: Final = 2
_BUFFER_BYTES: Final = 1 << 20
_ROW_BYTES: Final = 128
_SLACK_BYTES: Final = 1 << 14

Said = Callable[[str, int, int | None, int], None]
"""what, done, total, bytes: told often; whoever listens picks."""


class Stopped(BaseException):
    """The process was asked to end; raised where a fetch can be left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What a version needs, without its table. packs: name and bytes. origin: if by reference."""

    name: str
    packs: tuple[tuple[str, int], ...]
    files: int
    size_bytes: int
    origin: str = ""


class Cache:
    """depot: or what opens it, once something has to be fetched. link: take hard links into it.

    make_room: asked for bytes before they are fetched; raises if there is no room.
    """

    def __init__(
        self,
        layout: Layout,
        depot: Depot | Callable[[], Depot] | None,
        *,
        link: bool = False,
        said: Said = lambda *_: None,
        make_room: Callable[[int], None] = lambda _: None,
        claims: Claims | None = None,
    ) -> None:
        self.layout = layout
        self.claims = claims or Claims(layout)
        self.stopping = threading.Event()
        self._depot = depot
        self._links = link
        self._said = said
        self._make_room = make_room
        self._table: tuple[str, VersionTable] | None = None

    def fill(self, digest: str) -> Record:
        """Every pack of the version is here and whole when this returns."""
        record = self.record(digest)
        missing = [pack for pack in dict(record.packs).items() if not self._is_here(*pack)]
        # after its packs: of one version, packs are the first to go
        self.layout.touch(VERSIONS, record.name)
        if not missing:
            return record
        self._make_room(sum(size + _SLACK_BYTES for _, size in missing))
        self._fetch_all(missing, _Progress(self._said, len(missing)))
        self.layout.touch(VERSIONS, record.name)
        return record

    def record(self, digest: str) -> Record:
        name = to_raw(digest).hex()
        if record := self._known(name):
            return record
        with self.claims.held(f"version-{name}"):
            if record := self._known(name):
                return record
            table = self._obtain(name)
            packs = list(zip(table.packs, table.pack_sizes.tolist(), strict=True))
            extra: dict[str, object] = {
                "packs": packs,
                "files": len(table),
                "size_bytes": table.size_bytes,
                "origin": os.fsdecode(table.origin),
            }
            self.layout.set_stamp(VERSIONS, name, extra)
            self._table = (name, table)
        record = self._known(name)
        if record is None:
            raise _evicted(name)
        return record

    def table(self, digest: str) -> VersionTable:
        record = self.record(digest)
        if self._table is None or self._table[0] != record.name:
            content = self.layout.place(VERSIONS, record.name).read_bytes()
            self._table = (record.name, container.read(content))
        return self._table[1]

    def image(self, digest: str) -> Path:
        """Raises NoImage."""
        wanted: dict[str, object] = {"format": images.FORMAT}
        return self._made(
            IMAGES, digest, wanted, lambda to: images.write_image(self.table(digest), to)
        )

    def index(self, digest: str) -> Path:
        """What a job reads its rows by; readable for all."""
        return self._made(INDEXES, digest, {}, lambda to: jobindex.write(self.table(digest), to))

    def packs(self, record: Record) -> list[Path]:
        return [self.layout.place(PACKS, name) for name, _ in record.packs]

    def _known(self, name: str) -> Record | None:
        stamp = self.layout.stamp(VERSIONS, name)
        if stamp is None:
            return None
        self.layout.touch(VERSIONS, name)
        return record_of(name, stamp.extra)

    def _obtain(self, name: str) -> VersionTable:
        """The table: what lies here if it is whole, what the depot has otherwise."""
        path = self.layout.place(VERSIONS, name)
        with contextlib.suppress(OSError, InvalidInput):
            return _read(name, path.read_bytes())
        if stored := self._source().stat(f"{VERSIONS}/{name}"):
            self._make_room(stored.size + _SLACK_BYTES)
        for left in reversed(range(_TRIES)):
            with self.layout.temporary() as folder, disk.disk_errors(path):
                self._source().fetch(f"{VERSIONS}/{name}", folder / "version")
                try:
                    table = _read(name, (folder / "version").read_bytes())
                except InvalidInput as error:
                    if not left:
                        what = f"{VERSIONS}/{name}"
                        raise _damaged(what, self._source(), error.message) from None
                    continue
                (folder / "version").rename(path)
                return table
        raise AssertionError

    def _made(
        self, kind: str, digest: str, extra: dict[str, object], make: Callable[[Path], object]
    ) -> Path:
        name = to_raw(digest).hex()
        path = self.layout.place(kind, name)
        if not self._is_made(kind, name, extra):
            with self.claims.held(f"{kind}-{name}"):
                if not self._is_made(kind, name, extra):
                    self._said(kind, 0, 1, 0)
                    rows = self.record(digest).files
                    self._make_room(rows * _ROW_BYTES + _SLACK_BYTES)
                    with self.layout.temporary() as folder, disk.disk_errors(path):
                        make(folder / kind)
                        (folder / kind).rename(path)
                    self.layout.set_stamp(kind, name, extra)
        self.layout.touch(kind, name)
        return path

    def _is_made(self, kind: str, name: str, extra: dict[str, object]) -> bool:
        stamp = self.layout.stamp(kind, name)
        return stamp is not None and stamp.extra == extra

    def _is_here(self, name: str, _size: int) -> bool:
        if self.layout.stamp(PACKS, name) is None:
            return False
        self.layout.touch(PACKS, name)
        return True

    def _fetch_all(self, packs: list[tuple[str, int]], progress: _Progress) -> None:
        """Each of several askers takes what nobody else has; then it waits for the others."""

        def unclaimed(pack: tuple[str, int]) -> tuple[str, int] | None:
            claim = self.claims.attempt(f"pack-{pack[0]}")
            if claim is None:
                return pack
            with claim:
                self._pack(*pack, progress)
            return None

        with ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetch") as pool:
            try:
                later = [pack for pack in pool.map(unclaimed, packs) if pack]
            except BaseException:
                self.stopping.set()
                pool.shutdown(cancel_futures=True)
                raise
        for pack in later:
            self._wait_for(pack, progress)

    def _wait_for(self, pack: tuple[str, int], progress: _Progress) -> None:
        with self.claims.held(f"pack-{pack[0]}"):
            self._pack(*pack, progress)

    def _pack(self, name: str, size: int, progress: _Progress) -> None:
        """Under its claim."""
        path = self.layout.place(PACKS, name)
        if not self._is_here(name, size):
            if path.exists():
                if not is_pack(path, name, size):
                    self.layout.forget(PACKS, name)
                    self._fetch(name, size, progress)
            else:
                self._fetch(name, size, progress)
            self.layout.set_stamp(PACKS, name)
        progress.finished()

    def _fetch(self, name: str, size: int, progress: _Progress) -> None:
        for _ in range(_TRIES):
            if self.stopping.is_set():
                raise Stopped
            with self.layout.temporary() as folder, disk.disk_errors(self.layout.root):
                target = folder / "pack"
                if not self._link(name, size, target):
                    self._source().fetch(f"{PACKS}/{name}", target, self._listener(progress))
                    _pad(target, size)
                if is_pack(target, name, size):
                    target.rename(self.layout.place(PACKS, name))
                    return
        raise _damaged(f"{PACKS}/{name}", self._source())

    def _link(self, name: str, size: int, target: Path) -> bool:
        """The kernel reads blocks of 512 bytes to their end: a pack without it must be padded."""
        folder = _folder_of(self._source()) if self._links else None
        if folder is None or size % images.BLOCK:
            return False
        try:
            os.link(folder / PACKS / name, target, follow_symlinks=False)
        except OSError:
            return False
        return target.stat(follow_symlinks=False).st_size == size

    def _listener(self, progress: _Progress) -> Callable[[int], None]:
        def listen(count: int) -> None:
            if self.stopping.is_set():
                raise Stopped
            progress.got(count)

        return listen

    def _source(self) -> Depot:
        if self._depot is None:
            raise InvalidInput(
                "bad-request",
                "this version is not in the cache, and no depot was named to fetch it from",
                hint="name the depot in the request",
            )
        if callable(self._depot):
            self._depot = self._depot()
        return self._depot


class _Progress:
    def __init__(self, said: Said, total: int) -> None:
        self._said = said
        self._total = total
        self._done = self._bytes = 0
        self._lock = threading.Lock()

    def got(self, count: int) -> None:
        with self._lock:
            self._bytes += count
            self._said("fetch", self._done, self._total, self._bytes)

    def finished(self) -> None:
        with self._lock:
            self._done += 1
            self._said("fetch", self._done, self._total, self._bytes)


def record_of(name: str, extra: dict[str, object]) -> Record:
    """extra: of the version's stamp."""
    packs: list[tuple[str, int]] = extra["packs"]  # type: ignore[assignment]
    return Record(
        name=name,
        packs=tuple((pack, size) for pack, size in packs),
        files=int(str(extra["files"])),
        size_bytes=int(str(extra["size_bytes"])),
        origin=str(extra["origin"]),
    )


def is_pack(path: Path, name: str, size: int) -> bool:
    """Whether the first `size` bytes have the digest `name`, and only padding follows."""
    hasher = blake3()
    rest = size
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer[: min(rest, _BUFFER_BYTES)]) if rest else 0:
            hasher.update(buffer[:count])
            rest -= count
        padding = file.read(images.BLOCK + 1)
    padded = len(padding) == -size % images.BLOCK or not padding
    return not rest and padded and not any(padding) and hasher.hexdigest() == name


def _pad(path: Path, size: int) -> None:
    """Only if it has the right size: whatever else it is will be refused."""
    if path.stat().st_size == size and size % images.BLOCK:
        os.truncate(path, size + -size % images.BLOCK)


def _folder_of(depot: Depot) -> Path | None:
    """Of a depot that is a directory of this machine."""
    location = depot.location.removeprefix("file:")
    return Path(location) if location.startswith("/") else None


def _read(name: str, content: bytes) -> VersionTable:
    table = container.read(content)
    if table.digest != f"b3:{name}":
        raise InvalidInput("bad-version", f"it does not have its digest but {table.digest}")
    return table


def _damaged(name: str, depot: Depot, why: str = "it does not have its digest") -> Unavailable:
    return Unavailable(
        "content-damaged",
        f"`{name}`, fetched twice from {depot.location}, is refused: {why}",
        hint="`zenkei dataset verify` names what is damaged; if you have the files, remove it from "
        "the store and commit them again: what is missing is stored anew",
        details={"object": name, "depot": depot.location},
    )


def _evicted(name: str) -> Unavailable:
    return Unavailable(
        "changed-meanwhile",
        f"the version b3:{name} was taken out of this node's cache while it was being read",
        hint="try again",
    )


def iterate_records(layout: Layout) -> Iterator[Record]:
    """Of every version whose table is here."""
    for name in layout.names(VERSIONS):
        stamp = layout.stamp(VERSIONS, name)
        if stamp is not None:
            yield record_of(name, stamp.extra)
