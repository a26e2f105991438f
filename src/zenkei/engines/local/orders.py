"""From a launch order to one launch document per node: argv, variables, limits, names of secrets.

Pure: the machine's facts come in as `Place`. The ranks' environment is built here from nothing; of
the daemon's own variables only ALLOWED pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from zenkei import spec as specs
from zenkei.model.cluster import Node, NodePart
from zenkei.model.errors import PermanentEngineError
from zenkei.model.job import CheckpointRanks, HangPolicy, JobSpec, Launcher
from zenkei.ports.engine import LaunchOrder
from zenkei.protocol import launch, names

ALLOWED = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM")
ALLOWED_PREFIX = "LC_"
BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """This machine and this engine. own_env: the daemon's environment, of which little passes.

    bin_dir: interpreter for jobs without an environment. prefixes: by node, argv that enters it.
    """

    home: str
    boot_id: str
    own_env: Mapping[str, str]
    bin_dir: str
    sdk: str
    python: str
    wake: str
    head_bytes: int
    tail_bytes: int
    prefixes: Mapping[str, tuple[str, ...]]
    port: int
    heartbeat_s: float = 5.0


def documents(
    order: LaunchOrder, place: Place, *, env_dir: str, code_dir: str, resume_dir: str = ""
) -> tuple[launch.Launch, ...]:
    """One per node, in rank order. Raises PermanentEngineError for what this engine cannot do."""
    if order.run_as.uid != -1:
        raise PermanentEngineError("the local engine runs jobs as its own user only")
    common = _common(order, place, env_dir)
    made = (
        _document(order, place, rank, {**common, **_of_node(node, part)}, env_dir, code_dir)
        for rank, (node, part) in enumerate(order.nodes)
    )
    checkpoint = checkpointing(order, resume_dir)
    return tuple(document._replace(checkpoint=checkpoint) for document in made)


def _document(
    order: LaunchOrder,
    place: Place,
    rank: int,
    env: dict[str, str],
    env_dir: str,
    code_dir: str,
) -> launch.Launch:
    node, part = order.nodes[rank]
    spec = order.spec
    env[names.NODE_RANK] = str(rank)
    env.setdefault("OMP_NUM_THREADS", str(max(1, part.request.cpu_milli // 1000 // _ranks(order))))
    return launch.Launch(
        attempt=str(order.attempt),
        node=node.name,
        node_rank=rank,
        nodes=len(order.nodes),
        tree=tree_mark(place, order, rank),
        argv=tuple(specs.command(spec, order.params)),
        boot_id=place.boot_id,
        launcher=str(spec.launcher),
        virtual=node.virtual,
        ranks=_ranks(order),
        addresses=tuple(n.address for n, _ in order.nodes),
        prefix=place.prefixes.get(node.name, ()),
        env=env,
        code_dir=code_dir,
        env_dir=env_dir,
        python=place.python,
        outputs=spec.outputs,
        time_limit_s=spec.time_limit_s or 0.0,
        grace_s=spec.grace_s,
        memory_bytes=part.request.memory_bytes,
        cpu_milli=part.request.cpu_milli,
        log_head_bytes=place.head_bytes,
        log_tail_bytes=place.tail_bytes,
        wake=place.wake,
        secrets=tuple(launch.SecretSlot(s.variable, s.as_file) for s in spec.secrets),
        patterns=tuple(rule.pattern for rule in spec.retry.rules),
        hang=hang_watch(spec.hang),
        rdma=spec.rdma,
        port=place.port,
        heartbeat_s=place.heartbeat_s,
    )


def search_path(env_dir: str, bin_dir: str) -> str:
    """PATH of ranks that set none: the environment's programs first, or else bin_dir's."""
    return f"{env_dir}/bin:{BASE_PATH}" if env_dir else f"{bin_dir}:{BASE_PATH}"


def checkpointing(order: LaunchOrder, resume_dir: str) -> launch.Checkpointing | None:
    """What supervisors and ranks must know of them. resume_dir: where `order.resume` lies."""
    policy, resume = order.spec.checkpoint, order.resume
    if policy is None:
        return None
    return launch.Checkpointing(
        signal=policy.signal,
        all_ranks=policy.ranks is CheckpointRanks.ALL,
        every_s=policy.every_s,
        failures_per_day=order.failures_per_day,
        resume_dir=resume_dir,
        resume_step=resume.step if resume is not None else -1,
        resume_path=resume.path if resume is not None else "",
    )


def hang_watch(policy: HangPolicy) -> launch.HangWatch | None:
    """What supervisors watch for; None: nothing."""
    if not policy.enabled:
        return None
    return launch.HangWatch(
        action=str(policy.action),
        quiet_s=policy.quiet_s,
        startup_s=policy.startup_s,
        timeout_s=policy.timeout_s,
    )


def tree_mark(place: Place, order: LaunchOrder, rank: int) -> str:
    """Unique on this machine: two homes may have the same job numbers."""
    text = f"{place.home}\0{order.attempt}\0{rank}\0{place.boot_id}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def meets(order: LaunchOrder) -> bool:
    """True if its ranks need a port to find each other, or a launcher that asks for one."""
    asks = order.spec.launcher in (Launcher.TORCHRUN, Launcher.JAX)
    return asks or len(order.nodes) * _ranks(order) > 1


def _ranks(order: LaunchOrder) -> int:
    return max(1, order.spec.resources.ranks)


def _common(order: LaunchOrder, place: Place, env_dir: str) -> dict[str, str]:
    """Variables that all ranks of the attempt share; the job's own come last and win."""
    own = place.own_env
    env = {k: v for k, v in own.items() if k in ALLOWED or k.startswith(ALLOWED_PREFIX)}
    env.setdefault("LANG", "C.UTF-8")
    env["PATH"] = search_path(env_dir, place.bin_dir)
    if env_dir:
        env["VIRTUAL_ENV"] = env_dir
        # bytecode is compiled when it is built; a program that adds some would change it
        env["PYTHONDONTWRITEBYTECODE"] = "1"
    env["PYTHONUNBUFFERED"] = "1"
    if order.spec.seed is not None or order.spec.deterministic:
        env["PYTHONHASHSEED"] = str(order.seed % (1 << 32))
    env[names.START] = _start(order.spec)
    addresses = [node.address for node, _ in order.nodes]
    env.update(
        {
            names.JOB: str(order.attempt.job),
            names.ATTEMPT: str(order.attempt),
            names.NODES: str(len(order.nodes)),
            names.NODE_ADDRESSES: ",".join(addresses),
            names.SEED: str(order.seed),
            names.DETERMINISTIC: "1" if order.spec.deterministic else "0",
        }
    )
    if meets(order):
        env.update({names.MASTER_ADDR: addresses[0], names.MASTER_PORT: str(place.port)})
        env.update({"MASTER_ADDR": addresses[0], "MASTER_PORT": str(place.port)})
    variables = dict(specs.variables(order.spec, order.params))
    search = [place.sdk, variables.pop("PYTHONPATH", "")]
    env.update(variables)
    env["PYTHONPATH"] = ":".join(filter(None, search))
    return env


def _start(spec: JobSpec) -> str:
    """What each Python of the job does when it starts; the job's own variables may say `off`."""
    if spec.deterministic:
        return "seed,deterministic"
    return "report" if spec.seed is None else "seed"


def _of_node(node: Node, part: NodePart) -> dict[str, str]:
    """The node's name and devices. A declared device is never shown to CUDA as a real one."""
    devices = {device.index: device for device in node.capacity.devices}
    given = [devices[share.index] for share in part.devices]
    real = [device.uuid for device in given if device.uuid]
    virtual = [str(device.index) for device in given if not device.uuid]
    env = {
        names.NODE: node.name,
        "CUDA_VISIBLE_DEVICES": ",".join(real),
        names.GPUS: str(len(given)),
    }
    if virtual:
        env[names.VIRTUAL_GPUS] = ",".join(virtual)
    return env
