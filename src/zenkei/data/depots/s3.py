"""A depot in a bucket behind S3, or behind anything that speaks it.

Made by `opening`. Credentials come from the environment (AWS_ACCESS_KEY_ID, … or the machine's
role), and are in no location, message or argument. Times are the store's, in whole seconds. S3 can
neither touch nor remove on a condition: the touch of an object is an empty mark of its own below
`touched/`, whose time counts where it is the later one, so that nothing is copied; and
`remove_untouched` looks just before it removes, which is as good as the caller's exclusion. A store
without conditional put is found out once, and asked by `_put_first` instead. Cost: a request each,
but `stat` of packs and versions two, `touch` three; a large object is fetched in parts at once;
`now_s` two requests in CLOCK_TRUST_S.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from zenkei.data.depots.depot import Buffer, Stored, checked_name, is_name, no_object
from zenkei.data.disk import disk_errors, write_all
from zenkei.model.errors import InvalidInput, Unavailable, ZenkeiError

ANSWER_S: Final = 15
"""Small requests are answered, repeated or given up within twice that."""
TRANSFER_S: Final = 600
STALL_S: Final = 60
CLOCK_TRUST_S: Final = 600.0
GARBAGE_AGE_S: Final = 24 * 3600.0
TOUCHED: Final = "touched/"
CLAIMS: Final = "claims/"
CLAIM_S: Final = 60.0
_MARKED: Final = ("packs/", "versions/")
CHUNK_BYTES: Final = 4 << 20
PART_BYTES: Final = 16 << 20
PARTS_AT_ONCE: Final = 4
MULTIPART_BYTES: Final = 256 << 20
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}")
_REGION: Final = re.compile(r"[A-Za-z0-9-]{1,40}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9!_.*'()/=+:@ -]{0,200}")
_CODE: Final = re.compile(
    r"<Code>([A-Za-z0-9]{1,60})</Code>|status code: (\d{3})|HTTP error.{0,60}"
)
_REFUSALS: Final = (PermissionDeniedError, UnauthenticatedError)
_KEYS: Final = {"endpoint", "region", "path_style"}
_NO_SUCH: Final = re.compile(r"\b501\b|NotImplemented")
_FULL: Final = re.compile(r"\b507\b|StorageFull|QuotaExceeded|No space left", re.IGNORECASE)


class S3Depot:
    """Implements `depot.Depot`. location: `s3://bucket/prefix?endpoint=…&region=…`."""

    def __init__(self, location: str) -> None:
        self.location, where, options = _parsed(location)
        self._where = where
        self._small: Any = _store(options, answer_s=ANSWER_S, retry_s=ANSWER_S)
        self._large: Any = _store(options, answer_s=TRANSFER_S, retry_s=STALL_S)
        self._clock: tuple[float, float] | None = None
        self._conditions: bool | None = None
        self._has_ranges = True

    def put(self, name: str, content: Buffer) -> None:
        store = self._small if name.startswith("intents/") else self._large
        with self._answers(name, writing=True):
            obstore.put(
                store,
                checked_name(name),
                memoryview(content),
                use_multipart=len(content) > MULTIPART_BYTES,
                chunk_size=MULTIPART_BYTES // 8,
            )

    def put_new(self, name: str, content: Buffer) -> bool:
        if self._head(name) is not None:
            return False
        if not self._knows_conditions():
            return self._put_first(name, content)
        try:
            with self._answers(name, writing=True, conditional=True):
                self._create(name, content)
        except _Exists:
            # or an answer was lost, and it is ours
            return self.read(name) == bytes(content)
        return True

    def _create(self, name: str, content: Buffer) -> None:
        store = self._small if name.startswith("intents/") else self._large
        obstore.put(store, name, memoryview(content), mode="create")

    def _knows_conditions(self) -> bool:
        """Asked once: some stores refuse a condition, others take no notice of it."""
        if self._conditions is None:
            probe = CLAIMS + secrets.token_hex(8)
            with self._answers(probe, writing=True):
                obstore.put(self._small, probe, b"")
            try:
                with self._answers(probe, writing=True, conditional=True):
                    self._create(probe, b"again")
                self._conditions = False
            except (_Exists, _NotOffered) as error:
                self._conditions = isinstance(error, _Exists)
            self._delete(probe)
        return self._conditions

    def _put_first(self, name: str, content: Buffer) -> bool:
        """Without conditions: claim, then look for claims of others, then for the object.

        As each writes first and reads second, no two see themselves alone; who sees another one
        steps back for a time of its own. A claim older than CLAIM_S is of somebody who died.
        """
        folder = f"{CLAIMS}{name}/"
        mine = folder + secrets.token_hex(8)
        deadline = time.monotonic() + 2 * CLAIM_S
        while time.monotonic() < deadline:
            with self._answers(mine, writing=True):
                obstore.put(self._small, mine, b"")
            try:
                others = {str(meta["path"]) for meta in self._listed(folder) if self._is_new(meta)}
                if self._head(name) is not None:
                    return False
                if others <= {mine}:
                    self.put(name, content)
                    return True
            finally:
                self._delete(mine)
            time.sleep(secrets.randbelow(1000) / 1000)
        raise self._silent(f"others have been at `{name}` for too long")

    def _is_new(self, meta: Any) -> bool:
        return self.now_s() - float(meta["last_modified"].timestamp()) < CLAIM_S

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        checked_name(name)
        if start == 0 and size is None:
            with self._answers(name):
                return bytes(obstore.get(self._large, name).bytes())
        # stores disagree about ranges that go beyond the end
        found = self._head(name)
        if found is None:
            raise no_object(name)
        rest = max(0, found.size - start)
        length = rest if size is None else min(size, rest)
        if not length:
            return b""
        with self._answers(name):
            try:
                if self._has_ranges:
                    return bytes(self._range(name, start, length))
            except _NoRanges:
                pass
            return bytes(obstore.get(self._large, name).bytes())[start : start + length]

    def _range(self, name: str, start: int, length: int) -> Any:
        """Some servers answer with the whole object instead; that is found out once."""
        try:
            return obstore.get_range(self._large, name, start=start, length=length)
        except BaseError as error:
            if "NotPartial" not in str(error):
                raise
            self._has_ranges = False
            raise _NoRanges from None

    def fetch(self, name: str, to: Path, said: Callable[[int], None] | None = None) -> int:
        checked_name(name)
        with disk_errors(to), self._answers(name):
            answer: Any = obstore.get(self._large, name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            target = os.open(to, flags, 0o600)
            try:
                size = int(answer.meta["size"])
                if size > PART_BYTES and self._has_ranges:
                    answer = None  # its connection is not needed
                    return self._parts(name, size, target, said or _nobody)
                return _streamed(answer, target, said or _nobody)
            except BaseException:
                os.unlink(to)
                raise
            finally:
                os.close(target)

    def _parts(self, name: str, size: int, target: int, said: Callable[[int], None]) -> int:
        """Several at once, as stores give each connection only so much."""

        def part(start: int) -> int:
            length = min(PART_BYTES, size - start)
            _write_at(target, memoryview(self._range(name, start, length)), start)
            said(length)
            return length

        with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="part") as pool:
            try:
                return sum(pool.map(part, range(0, size, PART_BYTES)))
            except BaseException as error:
                pool.shutdown(cancel_futures=True)
                if not isinstance(error, _NoRanges):
                    raise
        return _streamed(obstore.get(self._large, name), target, said)

    def stat(self, name: str) -> Stored | None:
        found = self._head(name)
        if found is None or not name.startswith(_MARKED):
            return found
        mark = self._head(TOUCHED + name)
        return _younger(found, mark.modified_s if mark else 0.0)

    def _head(self, name: str) -> Stored | None:
        """Of an object, or of the mark of one: without the mark's time."""
        checked_name(name.removeprefix(TOUCHED))
        try:
            with self._answers(name):
                meta = obstore.head(self._small, name)
        except ZenkeiError as error:
            if error.code == "no-such-object":
                return None
            raise
        return _stored(name, meta)

    def touch(self, name: str) -> bool:
        found = self._head(name)
        if found is None:
            return False
        if name.startswith(_MARKED):
            with self._answers(name, writing=True):
                obstore.put(self._small, TOUCHED + name, b"")
            # in this order: who removes looks for the mark first
            return self._head(name) is not None
        self.put(name, self.read(name))
        return True

    def names(self, prefix: str) -> Iterator[Stored]:
        marks = self._marks(prefix) if prefix in _MARKED else {}
        for meta in self._listed(prefix):
            name = str(meta["path"])
            if is_name(name):
                yield _younger(_stored(name, meta), marks.get(name, 0.0))

    def _marks(self, prefix: str) -> dict[str, float]:
        """When objects were touched last, by name."""
        found = (_stored(str(meta["path"]), meta) for meta in self._listed(TOUCHED + prefix))
        return {mark.name.removeprefix(TOUCHED): mark.modified_s for mark in found}

    def remove(self, name: str) -> None:
        self._delete(checked_name(name))
        if name.startswith(_MARKED):
            self._delete(TOUCHED + name)

    def remove_untouched(self, stored: Stored) -> bool:
        found = self.stat(stored.name)
        if found is not None and found.modified_s != stored.modified_s:
            return False
        self.remove(stored.name)
        return True

    def remove_garbage(self) -> int:
        """Claims, and marks of what is no more; young ones may be of what is just being put."""
        oldest = self.now_s() - GARBAGE_AGE_S
        old = {
            str(meta["path"])
            for meta in self._listed(CLAIMS)
            if meta["last_modified"].timestamp() < oldest
        }
        for prefix in _MARKED:
            marks = {name for name, when in self._marks(prefix).items() if when < oldest}
            if marks:
                marks -= {str(meta["path"]) for meta in self._listed(prefix)}
            old |= {TOUCHED + name for name in marks}
        for name in old:
            self._delete(name)
        return len(old)

    def now_s(self) -> float:
        here = time.clock_gettime(time.CLOCK_BOOTTIME)
        if self._clock is None or here - self._clock[0] > CLOCK_TRUST_S:
            self.put("epoch", secrets.token_hex(8).encode())
            found = self.stat("epoch")
            if found is None:
                raise self._silent("what was just stored is not there")
            here = time.clock_gettime(time.CLOCK_BOOTTIME)
            self._clock = (here, found.modified_s)
        return self._clock[1] + here - self._clock[0]

    def _listed(self, prefix: str) -> Iterator[Any]:
        with self._answers(prefix):
            for page in obstore.list(self._small, prefix=prefix.rstrip("/")):
                yield from page

    def _delete(self, name: str) -> None:
        try:
            with self._answers(name):
                obstore.delete(self._small, name)
        except ZenkeiError as error:
            if error.code != "no-such-object":
                raise

    @contextmanager
    def _answers(
        self, name: str, *, writing: bool = False, conditional: bool = False
    ) -> Iterator[None]:
        """What the client raises becomes what a depot raises; its long texts stay inside."""
        try:
            yield
        except (NotFoundError, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError) and error.errno is not None:
                raise  # the client's have no number; this is one of this machine's files
            if writing or "NoSuchBucket" in str(error):
                raise self._silent("there is no such bucket") from None
            raise no_object(name) from None
        except BaseError as error:
            text = str(error)
            if conditional and isinstance(error, (AlreadyExistsError, PreconditionError)):
                raise _Exists from None
            if conditional and (isinstance(error, NotSupportedError) or _NO_SUCH.search(text)):
                raise _NotOffered from None
            if isinstance(error, _REFUSALS) or "403 Forbidden" in text:
                raise Unavailable(
                    "depot-refused",
                    f"the store of datasets at {self._where} refuses these credentials",
                    hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the machine's role) "
                    "where zenkei runs, and let them read, write, list and delete there",
                ) from None
            if _FULL.search(text):
                raise Unavailable(
                    "depot-full",
                    f"the store of datasets at {self._where} is full",
                    hint="free some space (`zenkei dataset gc`) or raise its quota",
                ) from None
            raise self._silent(_short(text)) from None

    def _silent(self, why: str) -> Unavailable:
        return Unavailable(
            "depot-unavailable",
            f"the store of datasets at {self._where} does not answer: {why}",
            hint="look at its address, the network and the store itself, then try again",
        )


class _Exists(Exception):
    """There is one already."""


class _NoRanges(Exception):
    """The store gives whole objects only."""


class _NotOffered(Exception):
    """The store does not know this kind of request."""


def _stored(name: str, meta: Any) -> Stored:
    # whole seconds: some stores list parts of them and keep quiet about them elsewhere
    modified_s = float(int(meta["last_modified"].timestamp()))
    return Stored(name=name, size=int(meta["size"]), modified_s=modified_s)


def _younger(stored: Stored, touched_s: float) -> Stored:
    return replace(stored, modified_s=touched_s) if touched_s > stored.modified_s else stored


def _nobody(count: int) -> None:
    """Is told."""


def _streamed(answer: Any, target: int, said: Callable[[int], None]) -> int:
    written = 0
    for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
        write_all(target, memoryview(chunk))
        written += len(chunk)
        said(len(chunk))
    return written


def _write_at(target: int, rest: memoryview, start: int) -> None:
    while rest:
        count = os.pwrite(target, rest, start)
        start, rest = start + count, rest[count:]


def _short(text: str) -> str:
    """The part of an error that says something, without addresses of requests."""
    match = _CODE.search(text)
    if match is None:
        return "it gave no reason"
    return match[1] or match[2] or "no connection"


def _store(options: dict[str, Any], *, answer_s: int, retry_s: int) -> S3Store:
    client = {
        "allow_http": options["allow_http"],
        "connect_timeout": timedelta(seconds=10),
        "read_timeout": timedelta(seconds=min(answer_s, STALL_S)),
        "timeout": timedelta(seconds=answer_s),
    }
    retry = {"max_retries": 6, "retry_timeout": timedelta(seconds=retry_s)}
    # not every store can remove many at once
    more: Any = {"config": {"disable_bulk_delete": True}, "client_options": client}
    return S3Store(retry_config=retry, **options["store"], **more)  # type: ignore[arg-type]


def _parsed(location: str) -> tuple[str, str, dict[str, Any]]:
    """The location as it is always written, what to call it in messages, what to open it with."""
    try:
        parts = urlsplit(location)
        query = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
        endpoint = urlsplit(query.get("endpoint", ""))
        _ = endpoint.port
    except ValueError:
        raise _bad("it cannot be read") from None
    prefix = unquote(parts.path).strip("/")
    if "@" in parts.netloc or endpoint.username or endpoint.password or query.keys() - _KEYS:
        # never repeated in the message: there may be a secret in it
        raise _bad("only endpoint, region and path_style may be said there; credentials never")
    if not _BUCKET.fullmatch(parts.netloc):
        raise _bad("a bucket's name has small letters, digits, `.`, `_` and `-`")
    if not _PREFIX.fullmatch(prefix) or (prefix and {"", ".", ".."} & set(prefix.split("/"))):
        raise _bad("such a prefix is none")
    is_address = endpoint.scheme in {"http", "https"} and endpoint.hostname
    if "endpoint" in query and (not is_address or endpoint.query or endpoint.fragment):
        raise _bad("the endpoint is no http or https address")
    if "region" in query and not _REGION.fullmatch(query["region"]):
        raise _bad("such a region is none")
    if query.get("path_style", "1") not in {"0", "1"}:
        raise _bad("path_style is 1, or 0 where the bucket is part of the host's name")
    by_host = query.pop("path_style", "1") == "0"
    store: dict[str, Any] = {"bucket": parts.netloc, **query}
    if by_host:
        store["virtual_hosted_style_request"] = True
        query["path_style"] = "0"
    if prefix:
        store["prefix"] = prefix
    where = f"s3://{parts.netloc}" + (f"/{quote(prefix)}" if prefix else "")
    ordered = urlencode({key: query[key] for key in sorted(query)})
    written = where + (f"?{ordered}" if ordered else "")
    return written, where, {"store": store, "allow_http": endpoint.scheme == "http"}


def _bad(why: str) -> InvalidInput:
    return InvalidInput(
        "bad-depot-location",
        f"this location of a store of datasets means nothing: {why}",
        hint="write s3://bucket/prefix?endpoint=https://host&region=name; credentials come from "
        "the environment",
    )
