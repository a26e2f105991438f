"""One process does it, the others wait: claims on names, as directories that appear whole.

Called by `cache`, `eviction` and `ladder` around each fetch, image and mount. A claim is a
directory with its owner's name in it, made aside and renamed: it is there whole or not at all, on
NFS too. Dead owners are seen at once by pid, others by a heartbeat that stands still.
Promise: one owner at a time as long as owners are heard of; a claim that is taken from a stopped
owner lets two do the same work, which must therefore be safe to repeat (a rename of equal content).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from zenkei.data.node import owners
from zenkei.data.node.layout import CLAIMS, Layout

HEARTBEAT_S: Final = 2.0
STALE_S: Final = 10.0
_POLL_S: Final = (0.005, 0.1)
_OWNER: Final = "owner"
_counter = itertools.count()


class Claim:
    """Held until `release`; a context manager. token: tells it from every other claim."""

    def __init__(self, path: Path, token: str, heart: _Heart) -> None:
        self._path = path
        self._token = token
        self._heart = heart
        heart.add(self)

    def beat(self) -> None:
        with contextlib.suppress(OSError):
            os.utime(self._path / _OWNER)

    def release(self) -> None:
        """Leaves what somebody else took meanwhile."""
        self._heart.remove(self)
        if _token(self._path) != self._token:
            return
        # without its owner the directory counts as free: a kill between the two leaves no claim
        with contextlib.suppress(OSError):
            (self._path / _OWNER).unlink()
            self._path.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Claims:
    """Those of one cache. May be shared by threads; each process makes its own."""

    def __init__(self, layout: Layout, *, stale_s: float = STALE_S) -> None:
        self._layout = layout
        self._folder = layout.root / CLAIMS
        self._stale_s = stale_s
        self._heart = _Heart()
        self._seen: dict[str, tuple[tuple[str, int], float]] = {}

    def attempt(self, name: str) -> Claim | None:
        """None while another owner lives."""
        path = self._folder / name
        token = f"{owners.myself()} {threading.get_ident()} {next(_counter)}"
        with self._layout.temporary() as folder:
            aside = folder / "claim"
            aside.mkdir(mode=0o700)
            (aside / _OWNER).write_text(token, encoding="ascii")
            for _ in range(2):
                try:
                    aside.rename(path)
                except OSError as error:
                    if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                        raise
                    if not self._free(name, path):
                        return None
                else:
                    return Claim(path, token, self._heart)
        return None

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[Claim]:
        """Waits for it, as long as it takes."""
        with self.wait(name) as claim:
            yield claim

    def wait(self, name: str) -> Claim:
        pause_s = _POLL_S[0]
        while (claim := self.attempt(name)) is None:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _POLL_S[1])
        return claim

    def sweep(self) -> None:
        """Remove the claims of dead processes; they would be taken over, too."""
        for path in self._folder.iterdir():
            if not _token(path):
                with contextlib.suppress(OSError):
                    path.rmdir()
            else:
                self._free(path.name, path)

    def _free(self, name: str, path: Path) -> bool:
        """Take a stale claim away; True if it is worth trying again."""
        token = _token(path)
        if not token:
            return True
        if not self._is_stale(name, path, token):
            return False
        with self._layout.temporary() as folder:
            aside = folder / "stale"
            try:
                path.rename(aside)
            except OSError:
                return True
            if _token(aside) == token:
                return True
            # another asker was quicker and a new owner has it: give it back
            with contextlib.suppress(OSError):
                aside.rename(path)
        return False

    def _is_stale(self, name: str, path: Path, token: str) -> bool:
        owner = owners.parse(" ".join(token.split()[:4]))
        dead = owners.is_dead(owner) if owner is not None else None
        if dead:
            return True
        try:
            beat = (path / _OWNER).stat().st_mtime_ns
        except OSError:
            return False
        now_s = time.monotonic()
        # no clocks are compared: the heartbeat has to stand still while we watch
        state, since_s = self._seen.get(name, (("", 0), now_s))
        if state != (token, beat):
            self._seen[name] = ((token, beat), now_s)
            return False
        return now_s - since_s > self._stale_s


class _Heart:
    """One thread that touches all claims of this process, as long as there are some."""

    def __init__(self) -> None:
        self._claims: set[Claim] = set()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._beats = False

    def add(self, claim: Claim) -> None:
        with self._lock:
            self._claims.add(claim)
            if not self._beats:
                self._beats = True
                threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def remove(self, claim: Claim) -> None:
        with self._lock:
            self._claims.discard(claim)
            self._changed.notify_all()

    def _beat(self) -> None:
        while True:
            with self._lock:
                self._changed.wait_for(lambda: not self._claims, timeout=HEARTBEAT_S)
                if not self._claims:
                    self._beats = False
                    return
                claims = list(self._claims)
            for claim in claims:
                claim.beat()


def _token(path: Path) -> str:
    try:
        return (path / _OWNER).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
