"""`python -m zenkei.data.capsules`: one request, told of as in `zenkei.data.versions.__main__`.

Requests: `{"do": "write" | "look" | "take", …}`, see `writing` and `taking`.
"""

from __future__ import annotations

from typing import Any

from zenkei.data.capsules import taking, writing
from zenkei.data.versions.__main__ import main
from zenkei.model.errors import InvalidInput


def answer(asked: dict[str, Any], said: writing.Said) -> dict[str, Any]:
    verb = {"write": writing.write, "look": taking.look, "take": taking.take}.get(
        str(asked.get("do"))
    )
    if verb is None:
        raise InvalidInput("bad-request", "the request cannot be", hint="see the module")
    return verb(asked, said)


if __name__ == "__main__":
    raise SystemExit(main(answer))
