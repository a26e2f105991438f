"""What this machine is, in a few short words: kernel, system, processor, Python.

Called by `nodes`, which makes labels of them: so they reach `zenkei nodes`, constraints, and the
record of every attempt. What cannot be told is left out. Cost: three small reads.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Final

MAX_CHARS: Final = 80
DEVICES: Final = Path("/sys/class/infiniband")
CPU_INFO: Final = Path("/proc/cpuinfo")
OS_RELEASE: Final = Path("/etc/os-release")


def of_machine() -> dict[str, str]:
    """cpu_model, kernel, os, python (the daemon's, not any job's), and what RDMA there is."""
    system = os.uname()
    return known(
        {
            **rdma(DEVICES),
            "cpu_model": _field(CPU_INFO, "model name", ":") or system.machine,
            "kernel": system.release,
            "os": _field(OS_RELEASE, "PRETTY_NAME", "=").strip("\"'") or system.sysname,
            "python": platform.python_version(),
        }
    )


def rdma(devices: Path) -> dict[str, str]:
    """`rdma: true` if a port of an InfiniBand or RoCE device is up; its devices and their links."""
    names, links = set(), set()
    for port in sorted(devices.glob("*/ports/*")):
        if "ACTIVE" in _text(port / "state"):
            names.add(port.parent.parent.name)
            links.add("RoCE" if _text(port / "link_layer") == "Ethernet" else "InfiniBand")
    if not names:
        return {}
    return {
        "rdma": "true",
        "rdma_devices": ",".join(sorted(names)),
        "rdma_link": "+".join(sorted(links)),
    }


def known(facts: Mapping[str, str]) -> dict[str, str]:
    """Without those that are empty; each on one line, printable ASCII, and short."""
    short = {key: _harmless(value) for key, value in facts.items()}
    return {key: value for key, value in short.items() if value}


def _harmless(text: str) -> str:
    plain = "".join(c if c.isascii() and c.isprintable() else " " for c in text)
    return " ".join(plain.split())[:MAX_CHARS].rstrip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _field(path: Path, name: str, separator: str) -> str:
    """The first value of `name`; later ones are not read, a large machine has hundreds."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(separator)
                if key.strip() == name:
                    return value.strip()
    except OSError:
        return ""
    return ""
