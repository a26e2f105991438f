"""`http.md`: the routes of the daemon, as its OpenAPI document has them."""

from __future__ import annotations

from typing import Any, cast

from tools.docs.markdown import code, page, sentence, table
from zenkei.api.version import PROTOCOL_HEADER
from zenkei.server import http
from zenkei.server.services import Services

INTRO = """
What the command line itself uses, over the Unix socket `zenkei.sock` in the home:
`curl --unix-socket ~/.local/state/zenkei/zenkei.sock http://zenkei/v1/nodes`. The daemon serves its
owner and root; the kernel says who connects. The whole description is at `/v1/openapi.json`.

`{job}` is `42`, a member `42.7`, or `-` for your last job. Times are whole numbers, microseconds
since the epoch in UTC, and their keys end in `_us`. Errors are `{"error": {…}}` with the status of
their [kind](errors.md). Streams are server-sent events: resume with the `Last-Event-ID` of the last
one received. Send the header """


def http_routes() -> str:
    # the services are used by requests only
    class _Described:
        version = "0"

    document = http.api(cast("Services", _Described())).openapi()
    forms = document["components"]["schemas"]
    rows = []
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            rows.append(
                [code(f"{method.upper()} {path}"), _about(route), _parameters(route, forms)]
            )
    body = table(["route", "what it does", "query and body"], rows)
    return page(
        "HTTP", f"{INTRO.strip()} `{PROTOCOL_HEADER}` to be told when versions differ.", body
    )


def _about(route: dict[str, Any]) -> str:
    return sentence(route.get("description")) or str(route["summary"]) + "."


def _parameters(route: dict[str, Any], forms: dict[str, Any]) -> str:
    found = [code(p["name"]) for p in route.get("parameters", ()) if p["in"] == "query"]
    for kind, form in route.get("requestBody", {}).get("content", {}).items():
        name = form["schema"].get("$ref", "").rpartition("/")[2]
        keys = form["schema"].get("properties") or forms.get(name, {}).get("properties", {})
        found.append(f"body {{{', '.join(map(code, keys))}}}" if keys else f"body {kind}")
    return ", ".join(found)
