"""What is known at submission to be in vain: a queue that is not there, a job that no limit allows.

Called by `commands.submit` inside its unit, with the configuration in force. Pure. What only time
can tell (quota, free nodes) is the planner's. Cost: O(depth of the tree + queues for a name that is
unknown).
"""

from __future__ import annotations

from zenkei.model.errors import InvalidInput, NotFound
from zenkei.model.job import JobSpec
from zenkei.model.queue import Amounts, ClusterConfig, Queue
from zenkei.spec.cluster_build import parts, quotas, told
from zenkei.spec.problems import listing, nearest


def admit(config: ClusterConfig, spec: JobSpec) -> int:
    """The job's priority: its own, else its queue's. Raises NotFound, InvalidInput.

    Without queues every name is an open queue.
    """
    if not config.queues:
        return spec.priority or 0
    queues = {queue.name: queue for queue in config.queues}
    queue = leaf(config, spec.queue)
    _check_models(queue, spec)
    asked = demand(spec)
    promised = quotas(config.queues)
    at: Queue | None = queue
    while at is not None:
        _check_limits(at, promised[at.name], asked)
        at = queues.get(at.parent)
    return queue.priority if spec.priority is None else spec.priority


def leaf(config: ClusterConfig, name: str) -> Queue:
    """The queue in which jobs can wait under this name. Raises NotFound, InvalidInput."""
    found = next((queue for queue in config.queues if queue.name == name), None)
    inner = {queue.parent for queue in config.queues}
    if found is None:
        raise no_queue(name, [q.name for q in config.queues if q.name not in inner])
    if name in inner:
        inside = [queue.name for queue in config.queues if queue.parent == name]
        raise InvalidInput(
            "queue-has-queues",
            f"jobs wait in the innermost queues, and `{name}` has others inside",
            hint=f"one of: {listing(inside, 10)}",
        )
    return found


def no_queue(name: str, known: list[str]) -> NotFound:
    """known: names that could be meant."""
    meant = nearest(name, known)
    hint = f"did you mean `{meant}`?" if meant else f"one of: {listing(sorted(known), 10)}"
    hint = hint if known else "none is configured: `zenkei cluster init` writes a first file"
    return NotFound("no-such-queue", f"there is no queue `{name[:100]}`", hint=hint)


def demand(spec: JobSpec) -> dict[str, int]:
    """The least that the job holds while it runs, by resource, as `cluster_build.parts`.

    GPUs of one model only if it allows no other.
    """
    node, nodes = spec.resources.node, spec.resources.fewest
    gpus = nodes * node.gpu_count * node.gpu_milli
    kinds = node.gpu_kinds if len(node.gpu_kinds) == 1 else ()
    said = Amounts(
        cpu_milli=nodes * node.cpu_milli,
        memory_bytes=nodes * node.memory_bytes,
        gpu_milli=gpus,
        kinds=tuple((kind, gpus) for kind in kinds),
    )
    return parts(said)


def _check_models(queue: Queue, spec: JobSpec) -> None:
    wanted, allowed = spec.resources.node.gpu_kinds, queue.gpu_kinds
    if wanted and allowed and not set(wanted) & set(allowed):
        raise InvalidInput(
            "gpu-type-not-allowed",
            f"the queue `{queue.name}` does not allow {listing(wanted, 5)}",
            hint=f"allowed there: {listing(allowed, 10)}",
        )


def _check_limits(queue: Queue, quota: dict[str, int], asked: dict[str, int]) -> None:
    borrowed = parts(queue.borrow_limit)
    limits = [("its cap", parts(queue.cap)), ("the cap of one person", parts(queue.user_cap))]
    if not queue.borrow:
        limits.append(("its quota, and it does not borrow,", quota))
    else:
        both = {name: quota.get(name, 0) + most for name, most in borrowed.items()}
        limits.append(("its quota with what it may borrow", both))
    for what, most in limits:
        for resource, amount in asked.items():
            if resource in most and amount > most[resource]:
                raise InvalidInput(
                    "job-exceeds-limit",
                    f"the job asks for {told(resource, amount)}, more than the queue"
                    f" `{queue.name}` ever gives: {what} is {told(resource, most[resource])}",
                    hint="ask for less, or submit to another queue: `zenkei queue tree`",
                )
