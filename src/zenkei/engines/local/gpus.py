"""GPUs through NVML, asked in a child process with a time-out: a broken driver may hang or crash.

Called by `nodes.measured`. Absent libraries, drivers and devices all mean: no GPUs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from zenkei.model.resources import Device

TIMEOUT_S = 10.0
_PROBE = """
import json, sys
import pynvml as nvml
def text(value):
    return value.decode() if isinstance(value, bytes) else value
def version(ask):
    try:
        return text(ask())
    except nvml.NVMLError:
        return ""
def cuda():
    number = nvml.nvmlSystemGetCudaDriverVersion_v2()
    return "%d.%d" % (number // 1000, number % 1000 // 10)
nvml.nvmlInit()
versions = {"driver": version(nvml.nvmlSystemGetDriverVersion), "cuda": version(cuda)}
found = []
for index in range(nvml.nvmlDeviceGetCount()):
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    try:
        pids = [p.pid for p in nvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    except nvml.NVMLError:
        pids = []
    found.append({"index": index, "kind": text(nvml.nvmlDeviceGetName(handle)),
        "uuid": text(nvml.nvmlDeviceGetUUID(handle)),
        "memory": nvml.nvmlDeviceGetMemoryInfo(handle).total, "pids": pids, **versions})
json.dump(found, sys.stdout)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """foreign: processes that are no job of ours use it.

    driver, cuda: versions of the driver and of the newest CUDA that it runs; empty if not known.
    """

    device: Device
    foreign: bool
    driver: str = ""
    cuda: str = ""


def probe() -> tuple[Gpu, ...]:
    """All GPUs that the driver shows; none if anything goes wrong."""
    if not any(Path(path).exists() for path in ("/proc/driver/nvidia", "/dev/nvidiactl")):
        return ()
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=True,
        )
        return tuple(_gpu(row) for row in json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return ()


def _gpu(row: dict[str, object]) -> Gpu:
    pids = row["pids"]
    assert isinstance(pids, list)
    device = Device(
        index=int(str(row["index"])),
        kind=kind_of(str(row["kind"])),
        uuid=str(row["uuid"]),
        memory_bytes=int(str(row["memory"])),
    )
    return Gpu(
        device=device,
        foreign=any(not _is_ours(int(pid)) for pid in pids),
        driver=str(row.get("driver", "")),
        cuda=str(row.get("cuda", "")),
    )


def kind_of(name: str) -> str:
    """A model as people write it in a job file: "NVIDIA A100-SXM4-80GB" is `a100-sxm4-80gb`."""
    return name.lower().removeprefix("nvidia ").replace(" ", "-")


def _is_ours(pid: int) -> bool:
    """True for a rank of any job of this user's: it carries a tree's mark."""
    try:
        return b"ZENKEI_TREE=" in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return not os.path.exists(f"/proc/{pid}")
