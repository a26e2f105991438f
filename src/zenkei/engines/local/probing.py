"""Asks a node of this machine for its health: the agent's own checks, in a child inside the node.

Called by `engine` for suspects; takes a second at most, unless the node is ill. Nothing of the
answer is trusted but its words.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from zenkei.model.cluster import Node

TIMEOUT_S = 20.0
MOST_PROBLEMS = 20


def probe(node: Node, prefix: tuple[str, ...], archive: Path, directory: Path) -> tuple[str, ...]:
    """What is wrong, in words. prefix: argv that enters the node. archive: the agent's file."""
    uuids = ",".join(device.uuid for device in node.capacity.devices if device.uuid)
    # only parts of this machine have an address of their own that must be there
    address = node.address if node.virtual else ""
    argv = [*prefix, sys.executable, "-I", "-S", str(archive), "probe", str(directory)]
    try:
        done = subprocess.run(
            [*argv, address, uuids],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=True,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        )
        found = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return (f"its checks did not end within {TIMEOUT_S:g} s",)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return (f"its checks could not be run: {error}",)
    return tuple(str(problem) for problem in found)[:MOST_PROBLEMS]
