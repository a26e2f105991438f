"""`zenkei nodes`: the machines, what of them is free, and who holds the rest."""

from __future__ import annotations

import sys
from typing import Any

from zenkei.cli import render, session
from zenkei.cli.arguments import Parser

HEAD = ("NODE", "STATE", "CPUS FREE", "MEMORY FREE", "GPUS FREE", "MODEL", "JOBS")
Json = dict[str, Any]


def nodes(argv: list[str]) -> int:
    """Free and total of everything; virtual nodes are called so."""
    parser = Parser("nodes", "Nodes: free and total CPUs, memory and GPUs; who runs there.")
    parser.add_argument("--map", action="store_true", help="draw the cluster: a cell for each GPU")
    args = parser.parse_args(argv)
    client = session.open()
    answer = client.get("/v1/nodes")
    if args.json:
        session.print_json(answer)
    elif args.map:
        from zenkei.cli.nodemap import Pen, map_text

        reservations = client.get("/v1/cluster")["config"].get("reservations", ())
        print(_printable(map_text(answer["nodes"], reservations, Pen.of_terminal())))
    else:
        print(nodes_text(answer["nodes"]))
    return 0


def _printable(text: str) -> str:
    """Names that the output has no characters for are no reason to fail."""
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "replace").decode(encoding)


def nodes_text(nodes: list[Json]) -> str:
    """The table, and what must be said about single nodes. Also shown by `zenkei up`."""
    found = sorted(nodes, key=lambda node: natural(node["name"]))
    lines = [render.table(HEAD, [_row(node) for node in found], right={2, 3, 4})]
    lines += [render.clean(f"{n['name']}: {n['reason']}") for n in found if n["reason"]]
    if any(node["virtual"] for node in found):
        lines.append("virtual: sizes are declared (`zenkei up --nodes`), not measured")
    return "\n".join(lines)


def _row(node: Json) -> list[str]:
    held = node["held"]
    name = node["name"] + (" (virtual)" if node["virtual"] else "")
    cpu = node["cpu_milli"] - sum(part["cpu_milli"] for part in held)
    memory = node["memory_bytes"] - sum(part["memory_bytes"] for part in held)
    jobs = sorted({part["job"] for part in held}, key=natural)
    return [
        name,
        node["state"],
        f"{cpu / 1000:g}/{node['cpu_milli'] / 1000:g}",
        f"{render.size(memory)} of {render.size(node['memory_bytes'])}",
        _gpus(node),
        ", ".join(sorted({device["kind"] for device in node["devices"]})) or "-",
        ", ".join(jobs) or "-",
    ]


def _gpus(node: Json) -> str:
    """Free and total; what processes of others use is not free."""
    taken: dict[int, int] = {}
    for part in node["held"]:
        for share in part["devices"]:
            taken[share["index"]] = taken.get(share["index"], 0) + share["milli"]
    usable = [device["index"] for device in node["devices"] if not device["foreign"]]
    free = sum(1000 - taken.get(index, 0) for index in usable) / 1000
    foreign = len(node["devices"]) - len(usable)
    others = f" ({foreign} used by others)" if foreign else ""
    return f"{free:g}/{len(node['devices'])}{others}"


def natural(text: str) -> list[tuple[int, str]]:
    """`node-10` after `node-9`."""
    import re

    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]
