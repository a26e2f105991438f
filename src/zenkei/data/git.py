"""Asking git about a repository that may be hostile: nothing that its configuration names is run.

Called by `source`. What a repository's own configuration could start is closed one by one:
hooks and fsmonitor by `-c`; external diffs and textconv by flags; clean and process filters (git
runs them to compare files) by pinning every `filter.*` key found in the repository's configuration
to the user's own value or to nothing; fetching of missing objects by allowing no protocol;
submodules, which have configurations of their own, are not entered. GIT_* variables do not reach
git, its pager and prompts are off, and it is given 10 s.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

TIME_LIMIT_S: Final = 10.0
MAX_CONFIG_BYTES: Final = 1 << 20
MAX_COMPLAINT_BYTES: Final = 4096
SAFE: Final = {
    "core.fsmonitor": "",
    "core.hooksPath": "/dev/null",
    "core.untrackedCache": "false",
    "diff.mnemonicPrefix": "false",
    "diff.noprefix": "false",
    "protocol.allow": "never",
    "safe.bareRepository": "explicit",
}
KEPT_VARIABLES: Final = ("PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR")
OWN_SCOPES: Final = frozenset({"system", "global"})
"""Configuration that the person who runs zenkei (or the administrator) has written."""


class GitError(Exception):
    """git is not there, refuses, fails or takes too long; the text says which."""


class Git:
    """One repository, asked from `root`, a directory in it. config: the last value of each key."""

    def __init__(self, root: Path, top: Path) -> None:
        program = shutil.which("git")
        if program is None:
            raise GitError("git is not installed")
        self._program = program
        self._root = root
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        self._environment = kept | {
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_CEILING_DIRECTORIES": str(top.parent),
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_PAGER": "cat",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }
        self._pins: dict[str, str] = dict(SAFE)
        self.config: dict[str, str] = {}
        self._read_config()
        if "core.worktree" in self.config:
            shown, _ = self.run("rev-parse", "--show-toplevel", limit_bytes=1 << 16)
            if os.path.realpath(os.fsdecode(shown.rstrip(b"\n"))) != str(top):
                raise GitError("the repository's work tree lies elsewhere")

    def run(self, *arguments: str | bytes, limit_bytes: int) -> tuple[bytes, bool]:
        """Its standard output, and whether that was cut at `limit_bytes`. Raises GitError."""
        environment = dict(self._environment, GIT_CONFIG_COUNT=str(len(self._pins)))
        for number, (key, value) in enumerate(self._pins.items()):
            environment[f"GIT_CONFIG_KEY_{number}"] = key
            environment[f"GIT_CONFIG_VALUE_{number}"] = value
        try:
            process = subprocess.Popen(
                [self._program, "--no-optional-locks", "--no-pager", *arguments],
                cwd=self._root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise GitError(f"git cannot be started: {error.strerror}") from error
        with process:
            try:
                output, complaint, cut = _read(process, limit_bytes)
                code = 0 if cut else process.wait(TIME_LIMIT_S)
            except (TimeoutError, subprocess.TimeoutExpired) as error:
                raise GitError(f"git took more than {TIME_LIMIT_S:.0f} s") from error
            finally:
                if process.poll() is None:  # not yet reaped, so the group's number is still ours
                    os.killpg(process.pid, signal.SIGKILL)
        if code != 0:
            lines = complaint.decode("utf-8", "replace").strip().splitlines()
            raise GitError(lines[0] if lines else f"git ended with status {code}")
        return output, cut

    def _read_config(self) -> None:
        """All keys; those of filters that the repository itself sets are pinned."""
        listing, cut = self.run(
            "config", "--list", "--show-scope", "--includes", "-z", limit_bytes=MAX_CONFIG_BYTES
        )
        if cut:
            raise GitError(f"its configuration is larger than {MAX_CONFIG_BYTES} bytes")
        fields = listing.decode("utf-8", "surrogateescape").split("\0")
        own: dict[str, str] = {}
        foreign: set[str] = set()
        for scope, item in zip(fields[::2], fields[1::2], strict=False):
            key, _, value = item.partition("\n")
            if scope == "command":
                continue
            self.config[key] = value
            if scope in OWN_SCOPES:
                own[key] = value
            elif key.startswith("filter."):
                foreign.add(key)
        for key in foreign:
            self._pins[key] = own.get(key, "false" if key.endswith(".required") else "")


def _read(process: subprocess.Popen[bytes], limit_bytes: int) -> tuple[bytes, bytes, bool]:
    """Both outputs until their end, the limit or the deadline."""
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + TIME_LIMIT_S
    output, complaint = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, output)
        selector.register(process.stderr, selectors.EVENT_READ, complaint)
        while selector.get_map():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            for ready, _ in selector.select(left_s):
                chunk = os.read(ready.fd, 1 << 16)
                if not chunk:
                    selector.unregister(ready.fileobj)
                elif ready.data is output or len(complaint) < MAX_COMPLAINT_BYTES:
                    ready.data.extend(chunk)
                if len(output) > limit_bytes:
                    return bytes(output[:limit_bytes]), bytes(complaint), True
    return bytes(output), bytes(complaint), False
