"""What uv prints, in a person's words: progress lines, and failures as errors with a hint.

Called by `locking` and `realising`. Pure. uv's explanation of an impossible resolution is kept, cut
to 40 lines. Temporary or permanent is decided here and nowhere above.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from zenkei.envs.child import Outcome
from zenkei.model.errors import InvalidInput, Unavailable, ZenkeiError

SHOWN_LINES: Final = 40
_PROGRESS: Final = (
    (re.compile(r"Resolved (\d+ packages?) in .*"), r"resolved \1"),
    (re.compile(r"Prepared (\d+ packages?) in .*"), r"fetched \1"),
    (re.compile(r"Installed (\d+ packages?) in .*"), r"installed \1"),
    (re.compile(r"\s*(Downloading|Downloaded|Building|Built) (\S.*)"), None),
)
_FULL: Final = re.compile(r"No space left on device|Disk quota exceeded|os error (28|122)\b")
_DENIED: Final = re.compile(r"\b(401 Unauthorized|403 Forbidden|407 Proxy)|\((?:401|403|407) ")
_HASH: Final = re.compile(r"Hash mismatch for `([^`]+)`")
_NETWORK: Final = re.compile(
    r"error sending request|tcp connect error|dns error|Connection refused|Connection reset"
    r"|[Nn]etwork is unreachable|timed out|Request failed after|server error \(5\d\d"
    r"|\b(?:429 Too Many|500 Internal|502 Bad|503 Service|504 Gateway)|connection closed"
    r"|error decoding response body|error reading a body|Network connectivity is disabled"
    r"|because the network was disabled"
)
_NO_WHEEL: Final = re.compile(r"no usable wheels|building from source is disabled|--no-build")
_WRONG_PYTHON: Final = re.compile(
    r"Python (?:implementation|ABI) tag|Python[<>=~!]|Requires-Python"
)
_UNKNOWN: Final = re.compile(r"(\S+) was not found in the package registry")
_SYNTAX: Final = re.compile(
    r"Couldn't parse requirement|Failed to parse|Expected (?:package|one of)"
)


def follow(say: Callable[[str], None]) -> Callable[[str], None]:
    """Of uv's lines, those that tell a person how far it is."""

    def line(text: str) -> None:
        for pattern, words in _PROGRESS:
            match = pattern.fullmatch(text)
            if match:
                say(match.expand(words) if words else f"{match[1].lower()} {match[2]}")
                return

    return line


def failure(outcome: Outcome, verb: str, *, timeout_s: float, python: str) -> ZenkeiError:
    """verb: "resolved" or "built"; python: the version in use. Never returns None: it failed."""
    text = "\n".join(outcome.lines)
    about = f"the environment cannot be {verb}"
    explanation = _explanation(outcome.lines)
    if outcome.timed_out:
        return Unavailable(
            "environment-timeout",
            f"{about}: it was not done after {timeout_s:g} s",
            hint="raise `env_build_timeout_s` in the settings, or look whether the index is slow",
            details={"last_lines": list(outcome.lines[-10:])},
        )
    if outcome.too_long or outcome.code < 0:
        why = "it printed too much" if outcome.too_long else f"signal {-outcome.code} ended it"
        return Unavailable(
            "environment-killed",
            f"{about}: {why}\n{explanation}".rstrip(),
            hint="a package's set-up may need more memory than is free; trying again may help",
        )
    if _FULL.search(text):
        return Unavailable(
            "disk-full",
            f"{about}: no space left on the disk",
            hint="`zenkei du` shows what zenkei keeps, `zenkei prune` removes what nothing needs",
        )
    if _DENIED.search(text):
        return InvalidInput(
            "index-denied",
            f"{about}: the package index refuses access\n{explanation}",
            hint="check the credentials in uv's settings, UV_INDEX_*_PASSWORD or ~/.netrc, then "
            "restart the daemon (`zenkei down`) so that it sees them",
        )
    if _NETWORK.search(text):
        return Unavailable(
            "index-silent",
            f"{about}: the package index does not answer\n{explanation}",
            hint="check the network, and the proxy and index settings (UV_DEFAULT_INDEX, "
            "HTTPS_PROXY, pip.conf) that the daemon was started with",
        )
    return InvalidInput(
        "environment-hash" if _HASH.search(text) else "environment-impossible",
        f"{about}: {explanation}",
        hint=_hint(text, outcome.lines, python),
    )


def _explanation(lines: Sequence[str]) -> str:
    """uv's error without its progress and its labels."""
    start = next((i for i, line in enumerate(lines) if line.startswith("error:")), None)
    if start is None:
        return "\n".join(lines[-SHOWN_LINES:])
    kept = [line for line in lines[start:] if not line.startswith("hint:")]
    plain = [re.sub(r"^(error: |\s+cause: )", "", line) for line in kept]
    if len(plain) > 1 and plain[0].startswith("No solution found"):
        plain = plain[1:]
    return "\n".join(plain[:SHOWN_LINES])


def _hint(text: str, lines: Sequence[str], python: str) -> str:
    own = " ".join(line.removeprefix("hint:").strip() for line in lines if line.startswith("hint:"))
    if _HASH.search(text):
        return "the index serves another file than the lock names: find out why, then lock again"
    if _NO_WHEEL.search(text):
        return (
            "set `env.build: true` to allow packages without a wheel (their set-up code is run "
            "then), or choose a version that has one"
        )
    if _WRONG_PYTHON.search(text):
        said = re.sub(r"\s*\(e\.g\..*?\)", "", own)[:500]
        return f"the job uses Python {python}: set another `env.python` or version. {said}".strip()
    unknown = _UNKNOWN.search(text)
    if unknown:
        return f"check the spelling of `{unknown[1]}`, or name the index that has it"
    if _SYNTAX.search(text):
        return "write a package as pip takes it: numpy>=2"
    return own[:500] or "loosen the versions that exclude each other"
