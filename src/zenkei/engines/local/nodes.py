"""The nodes of this machine: itself, measured, or parts that `zenkei up --nodes` declared.

Called by `engine` at start and whenever the inventory is asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path

from zenkei.engines.local import facts, gpus
from zenkei.model.cluster import Node
from zenkei.model.errors import InvalidInput
from zenkei.model.resources import Capacity, Device
from zenkei.model.wording import count

CLUSTER = "local"
VIRTUAL_KIND = "virtual"
MAX_NODES = 250
MAX_GPUS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class NodesConfig:
    """Declared nodes `node-1`, `node-2`, … of equal size, for trying things out.

    prefixes: argv that enters a node, by its name (nsenter into a namespace); most have none.
    addresses: by name; 127.0.1.k where nothing is given. labels: by name, beside the machine's.
    """

    nodes: int
    gpus_per_node: int = 0
    cpus_per_node: float = 8.0
    memory_per_node: int = 64 << 30
    prefixes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MAX_NODES or not 0 <= self.gpus_per_node <= MAX_GPUS:
            raise InvalidInput(
                "bad-nodes",
                f"{count(self.nodes, 'node')} of {count(self.gpus_per_node, 'GPU')} "
                "cannot be declared",
                hint=f"up to {MAX_NODES} nodes and {MAX_GPUS} GPUs on each",
            )

    @classmethod
    def load(cls, path: Path) -> NodesConfig | None:
        """From nodes.json; None if there is no such file. Raises InvalidInput."""
        try:
            found = json.loads(path.read_bytes())
            return cls(
                nodes=int(found["nodes"]),
                gpus_per_node=int(found.get("gpus_per_node", 0)),
                cpus_per_node=float(found.get("cpus_per_node", 8.0)),
                memory_per_node=int(found.get("memory_per_node", 64 << 30)),
                prefixes={k: tuple(v) for k, v in found.get("prefixes", {}).items()},
                addresses=dict(found.get("addresses", {})),
                labels={k: dict(v) for k, v in found.get("labels", {}).items()},
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(
                "bad-nodes",
                f"{path} does not declare nodes: {error}",
                hint="remove it, or declare them again with `zenkei up --nodes`",
            ) from error

    def save(self, path: Path) -> None:
        document = {
            "nodes": self.nodes,
            "gpus_per_node": self.gpus_per_node,
            "cpus_per_node": self.cpus_per_node,
            "memory_per_node": self.memory_per_node,
            "prefixes": self.prefixes,
            "addresses": self.addresses,
            "labels": self.labels,
        }
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def declared(config: NodesConfig, boot_id: str, tmp: Path) -> tuple[Node, ...]:
    """Virtual nodes, labelled as such: their sizes are declared, the other labels are true."""
    devices = tuple(Device(index=i, kind=VIRTUAL_KIND) for i in range(config.gpus_per_node))
    capacity = Capacity(
        cpu_milli=round(config.cpus_per_node * 1000),
        memory_bytes=config.memory_per_node,
        tmp_bytes=shutil.disk_usage(tmp).free,
        devices=devices,
    )
    labels = {**facts.of_machine(), "virtual": "true"}
    return tuple(
        Node(
            name=f"node-{k}",
            cluster=CLUSTER,
            capacity=capacity,
            address=config.addresses.get(f"node-{k}", f"127.0.1.{k}"),
            labels={**labels, **config.labels.get(f"node-{k}", {})},
            boot_id=boot_id,
            virtual=True,
        )
        for k in range(1, config.nodes + 1)
    )


def measured(boot_id: str, tmp: Path) -> tuple[Node, ...]:
    """This machine as one node. GPUs that cannot be read are no error: there are none then."""
    found = gpus.probe()
    capacity = Capacity(
        cpu_milli=cpu_milli(),
        memory_bytes=memory_bytes(),
        tmp_bytes=shutil.disk_usage(tmp).free,
        devices=tuple(gpu.device for gpu in found),
    )
    foreign = tuple(gpu.device.index for gpu in found if gpu.foreign)
    labels = facts.of_machine()
    if found:
        labels |= facts.known({"driver": found[0].driver, "cuda": found[0].cuda})
    if foreign:
        labels["gpus-in-foreign-use"] = ",".join(map(str, foreign))
    node = Node(
        name=_host_name(),
        cluster=CLUSTER,
        capacity=capacity,
        labels=labels,
        boot_id=boot_id,
        blocked=foreign,
    )
    return (node,)


def _host_name() -> str:
    name = socket.gethostname().split(".")[0].lower()
    return name if name and name.isascii() else "localhost"


def cpu_milli() -> int:
    """CPUs that this process may use: affinity, and the quota of its control group."""
    allowed = len(os.sched_getaffinity(0)) * 1000
    quota = _v2_quota() or _v1_quota()
    return min(allowed, quota) if quota else allowed


def _v2_quota() -> int:
    for folder in _group_folders("/sys/fs/cgroup", "cpu.max"):
        quota, _, period = _text(f"{folder}/cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            return int(quota) * 1000 // int(period)
    return 0


def _v1_quota() -> int:
    quota = _number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period = _number("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return quota * 1000 // period if quota > 0 and period > 0 else 0


def memory_bytes() -> int:
    """Memory of the machine, or less where a control group allows less."""
    total = 0
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) << 10
    limits = [_number(f"{f}/memory.max") for f in _group_folders("/sys/fs/cgroup", "memory.max")]
    v1 = "/sys/fs/cgroup/memory"
    name = "memory.limit_in_bytes"
    limits += [_number(f"{f}/{name}") for f in _group_folders(v1, name)]
    return min([total, *(limit for limit in limits if limit > 0)])


def _group_folders(mount: str, file: str) -> list[str]:
    """This process's group below `mount` and those above it, where they have such a file."""
    paths = set()
    for line in _text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or mount.endswith(tuple(controllers.split(","))):
            paths.add(path)
    found = []
    for path in paths:
        parts = path.strip("/").split("/")
        found += ["/".join([mount, *parts[:n]]).rstrip("/") for n in range(len(parts), -1, -1)]
    return [folder for folder in found if os.path.exists(f"{folder}/{file}")]


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: str) -> int:
    text = _text(path)
    return int(text) if text.lstrip("-").isdigit() else 0
