"""Asks a node of this machine for its health: the agent's own checks, in a child inside the node.

Called by `engine` for suspects; takes a second at most, unless the node is ill. Nothing of the
answer is trusted but its words. A child that hangs is killed and not waited for: one that hangs in
the kernel (a driver, a dead file system) does not end of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

from zenkei.model.cluster import Node

TIMEOUT_S = 20.0
MOST_PROBLEMS = 20


def probe(
    node: Node,
    prefix: tuple[str, ...],
    archive: Path,
    directory: Path,
    *,
    timeout_s: float = TIMEOUT_S,
) -> tuple[str, ...]:
    """What is wrong, in words. prefix: argv that enters the node. archive: the agent's file."""
    uuids = ",".join(device.uuid for device in node.capacity.devices if device.uuid)
    # only parts of this machine have an address of their own that must be there
    address = node.address if node.virtual else ""
    argv = [*prefix, sys.executable, "-I", "-S", str(archive), "probe", str(directory)]
    try:
        said = _ask([*argv, address, uuids], timeout_s)
        found = json.loads(said)
    except subprocess.TimeoutExpired:
        return (f"its checks did not end within {timeout_s:g} s",)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return (f"its checks could not be run: {error}",)
    return tuple(str(problem) for problem in found)[:MOST_PROBLEMS]


def _ask(argv: list[str], timeout_s: float) -> bytes:
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.defpath, "LANG": "C.UTF-8"},
    )
    try:
        said, _ = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        Thread(target=child.communicate, name="probe-that-hangs", daemon=True).start()
        raise
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, argv[0])
    return said
