"""Tickets: short-lived, signed leave for one attempt to read one version on a node.

Issued where a job is launched, by who has asked the access list; checked by the node helper before
it shows anything. Form: `1.<until>.<signature>`, until in seconds since 1970; the signature is
HMAC-SHA256 over version of the form, attempt, digest and time, each with its length, so that no two
tickets sign the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from zenkei.model.errors import Denied

FORM: Final = "1"
KEY_BYTES: Final = 32
_TICKET: Final = re.compile(r"1\.(0|[1-9][0-9]{0,11})\.([0-9a-f]{64})")


def issue(key: bytes, attempt: str, digest: str, until_s: float) -> str:
    """key: at least KEY_BYTES, known to the control plane and the node helpers only."""
    until = max(0, int(until_s))
    return f"{FORM}.{until}.{_signature(key, attempt, digest, until)}"


def check(key: bytes, ticket: str, attempt: str, digest: str, now_s: float) -> None:
    """Raises Denied, with the same words for every ticket that is none, unless it is expired."""
    match = _TICKET.fullmatch(ticket)
    until = int(match[1]) if match else 0
    wanted = _signature(key, attempt, digest, until)
    given = match[2] if match else "0" * 64
    if len(key) < KEY_BYTES or not hmac.compare_digest(wanted, given) or match is None:
        raise Denied(
            "ticket-refused",
            f"attempt {attempt[:60]} has no valid ticket for this version",
            hint="tickets are made when a job is launched; this one is for something else",
        )
    if now_s >= until:
        raise Denied(
            "ticket-expired",
            f"the ticket of attempt {attempt[:60]} has expired",
            hint="look at the clocks of node and server; the next attempt gets a new one",
        )


def _signature(key: bytes, attempt: str, digest: str, until: int) -> str:
    words = (FORM, attempt, digest, str(until))
    parts = [word.encode("utf-8", "surrogateescape") for word in words]
    text = b"".join(b"%d:%s" % (len(part), part) for part in parts)
    return hmac.new(key, text, hashlib.sha256).hexdigest()
