"""A depot in a bucket behind S3, or behind anything that speaks it.

Made by `opening`. Credentials come from the environment (AWS_ACCESS_KEY_ID, … or the machine's
role), and are in no location, message or argument. Times are the store's, in whole seconds. S3 can
neither touch nor remove on a condition: an old object is touched by copying it away and back, and
`remove_untouched` looks just before it removes, which is as good as the caller's exclusion.
`put_new` is decided by the store where it offers conditional put; elsewhere two at once may both be
told that they were first. Cost: a request each; `now_s` two requests in CLOCK_TRUST_S.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
YOUNG_S: Final = 3600.0
"""What is younger needs no touch: collections leave alone what is younger than a day."""
GARBAGE_AGE_S: Final = 24 * 3600.0
ASIDE: Final = "touched"
CHUNK_BYTES: Final = 4 << 20
MULTIPART_BYTES: Final = 256 << 20
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}")
_REGION: Final = re.compile(r"[A-Za-z0-9-]{1,40}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9!_.*'()/=+:@ -]{0,200}")
_CODE: Final = re.compile(
    r"<Code>([A-Za-z0-9]{1,60})</Code>|status code: (\d{3})|HTTP error.{0,60}"
)
_REFUSALS: Final = (PermissionDeniedError, UnauthenticatedError)
_KEYS: Final = {"endpoint", "region"}
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
        store = self._small if name.startswith("intents/") else self._large
        # asked first: a store that knows no conditions ignores the one below
        if self.stat(name) is not None:
            return False
        try:
            with self._answers(name, writing=True, conditional=True):
                obstore.put(store, checked_name(name), memoryview(content), mode="create")
        except _Exists:
            # or an answer was lost, and it is ours
            return self.read(name) == bytes(content)
        except _NotOffered:
            self.put(name, content)
        return True

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        checked_name(name)
        if start == 0 and size is None:
            with self._answers(name):
                return bytes(obstore.get(self._large, name).bytes())
        # stores disagree about ranges that go beyond the end
        found = self.stat(name)
        if found is None:
            raise no_object(name)
        rest = max(0, found.size - start)
        length = rest if size is None else min(size, rest)
        if not length:
            return b""
        with self._answers(name):
            try:
                return bytes(obstore.get_range(self._large, name, start=start, length=length))
            except BaseError as error:
                if "NotPartial" not in str(error):
                    raise
            # a store without ranges gives all of it
            return bytes(obstore.get(self._large, name).bytes())[start : start + length]

    def fetch(self, name: str, to: Path, said: Callable[[int], None] | None = None) -> int:
        checked_name(name)
        with disk_errors(to), self._answers(name):
            answer = obstore.get(self._large, name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            target = os.open(to, flags, 0o600)
            try:
                written = 0
                for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
                    write_all(target, memoryview(chunk))
                    written += len(chunk)
                    if said is not None:
                        said(len(chunk))
            except BaseException:
                os.unlink(to)
                raise
            finally:
                os.close(target)
            return written

    def stat(self, name: str) -> Stored | None:
        try:
            with self._answers(name):
                meta = obstore.head(self._small, checked_name(name))
        except ZenkeiError as error:
            if error.code == "no-such-object":
                return None
            raise
        return _stored(name, meta)

    def touch(self, name: str) -> bool:
        found = self.stat(name)
        if found is None or self.now_s() - found.modified_s < YOUNG_S:
            return found is not None
        aside = f"{ASIDE}/{secrets.token_hex(16)}"
        try:
            with self._answers(name):
                # S3 refuses to copy an object onto itself
                obstore.copy(self._large, name, aside)
                obstore.copy(self._large, aside, name)
                obstore.delete(self._small, aside)
        except ZenkeiError as error:
            if error.code == "no-such-object":
                return False
            raise
        return True

    def names(self, prefix: str) -> Iterator[Stored]:
        for meta in self._listed(prefix):
            name = str(meta["path"])
            if is_name(name):
                yield _stored(name, meta)

    def remove(self, name: str) -> None:
        self._delete(checked_name(name))

    def remove_untouched(self, stored: Stored) -> bool:
        found = self.stat(stored.name)
        if found is not None and found.modified_s != stored.modified_s:
            return False
        self.remove(stored.name)
        return True

    def remove_garbage(self) -> int:
        oldest = self.now_s() - GARBAGE_AGE_S
        old = [m for m in self._listed(f"{ASIDE}/") if m["last_modified"].timestamp() < oldest]
        for meta in old:
            self._delete(str(meta["path"]))
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


class _NotOffered(Exception):
    """The store does not know this kind of request."""


def _stored(name: str, meta: Any) -> Stored:
    # whole seconds: some stores list parts of them and keep quiet about them elsewhere
    modified_s = float(int(meta["last_modified"].timestamp()))
    return Stored(name=name, size=int(meta["size"]), modified_s=modified_s)


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
        raise _bad("only endpoint and region may be said there; credentials never")
    if not _BUCKET.fullmatch(parts.netloc):
        raise _bad("a bucket's name has small letters, digits, `.`, `_` and `-`")
    if not _PREFIX.fullmatch(prefix) or {"", ".", ".."} & set(prefix.split("/")) - {prefix}:
        raise _bad("such a prefix is none")
    if "endpoint" in query and (endpoint.scheme not in {"http", "https"} or not endpoint.hostname):
        raise _bad("the endpoint is no http or https address")
    if "region" in query and not _REGION.fullmatch(query["region"]):
        raise _bad("such a region is none")
    store: dict[str, Any] = {"bucket": parts.netloc, **query}
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
