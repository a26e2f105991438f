"""`zenkei up` and `down`: the daemon, and the virtual nodes it plays with."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from typing import Any

from zenkei.api import limits
from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.cli.nodes import nodes_text
from zenkei.cli.render import clean, count
from zenkei.client import connection, places
from zenkei.client.failure import Disconnected, Failure, NotRunning, usage

SIZES = "zenkei up --nodes 4 --gpus-per-node 8"
GONE_WITHIN_S = 30.0
LOOK_EVERY_S = 0.02


def up(argv: list[str]) -> int:
    """Start the daemon if none runs; with --nodes declare virtual nodes (0: this machine again)."""
    parser = Parser("up", "Start the daemon; declare virtual nodes for trying things out.")
    parser.whole("--nodes", least=0, most=limits.NODES, help="0: none", hint=SIZES)
    parser.whole(
        "--gpus-per-node", least=0, most=limits.GPUS_PER_NODE, help="default 0", hint=SIZES
    )
    parser.amount(
        "--cpus-per-node", least=0.001, most=limits.CPUS_PER_NODE, help="default 8", hint=SIZES
    )
    parser.add_argument("--memory-per-node", type=_size, metavar="SIZE", help="such as 64GiB")
    args = parser.parse_args(argv)
    sizes = {
        "gpus_per_node": args.gpus_per_node,
        "cpus_per_node": args.cpus_per_node,
        "memory_per_node": args.memory_per_node,
    }
    given = {key: value for key, value in sizes.items() if value is not None}
    if args.nodes is None and given:
        raise usage("sizes without --nodes", SIZES)
    if args.nodes == 0 and given:
        raise usage("sizes with --nodes 0, which ends virtual nodes", SIZES)
    client = session.open()
    if args.nodes is None:
        found = client.get("/v1/nodes")
    else:
        body = {"cpus_per_node": 8, "memory_per_node": "64GiB", **given, "nodes": args.nodes}
        found = client.put("/v1/nodes", body)
    if args.json:
        session.print_json(found | {"health": client.health()})
        return 0
    print(f"daemon of {clean(client.home)} runs")
    print(nodes_text(found["nodes"]))
    return 0


def _size(text: str) -> str:
    if re.fullmatch(r"\d{1,12}(\.\d{1,6})?\s?([KMGT]i?B|kB|B)", text.strip()) is None:
        raise usage(f"--memory-per-node {text[:60]}: not a size", "such as 64GiB")
    return text


def down(argv: list[str]) -> int:
    """Stop the daemon; running jobs go on, unless --jobs."""
    parser = Parser("down", "Stop the daemon. Running jobs go on, unless --jobs stops them.")
    parser.add_argument("--jobs", action="store_true", help="stop everything that runs first")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    args = parser.parse_args(argv)
    client = session.running()
    try:
        if args.jobs and not args.yes:
            _ask(client)
        pid = client.health()["pid"]
        told = client.post("/v1/shutdown", {"jobs": args.jobs})
    except NotRunning:
        told = {"stopped": [], "running": 0}
    except Failure as failure:
        # of another version it does not take requests, but it is what `down` is for then
        if failure.code != "other-version" or args.jobs:
            raise
        _wait_gone(_terminate(client.home))
        told = {"stopped": [], "running": 0}
    else:
        _wait_gone(int(pid))
    if args.json:
        session.print_json(told)
        return 0
    left = f"; {count(told['running'], 'job goes', 'jobs go')} on" if told["running"] else ""
    print(f"the daemon of {clean(client.home)} is down{left}")
    return 0


def _terminate(home: str) -> int:
    """SIGTERM to whoever listens, as the kernel names it: its clean end, in every version."""
    sock = connection.connect(places.socket_path(home), timeout_s=5)
    try:
        pid = connection.peer_pid(sock)
        os.kill(pid, signal.SIGTERM)
    finally:
        sock.close()
    return pid


def _ask(client: Any) -> None:
    held = sum(len(node["held"]) for node in client.get("/v1/nodes")["nodes"])
    if not held:
        return
    if not sys.stdin.isatty():
        raise usage(f"--jobs would stop what runs ({_parts(held)})", "confirm with --yes")
    print(f"stop what runs ({_parts(held)})? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure("not-confirmed", "nothing was stopped", exit_code=1)


def _parts(held: int) -> str:
    return count(held, "part of a job", "parts of jobs")


def _wait_gone(pid: int) -> None:
    """Until the process has ended: whoever starts the next daemon then finds the home free."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(LOOK_EVERY_S)
    raise Disconnected(f"the daemon (pid {pid}) has not ended within {GONE_WITHIN_S:.0f} s")
