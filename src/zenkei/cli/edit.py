"""`zenkei edit JOB --queue fast …`: what a waiting job asks for, changed before it starts."""

from __future__ import annotations

from typing import Any

from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.cli.render import count
from zenkei.client.client import segment
from zenkei.client.failure import usage

FLAGS = {
    # flag: (key of a job file, metavar, help)
    "queue": ("queue", "NAME", "queue it waits in"),
    "priority": ("priority", "N", "higher goes first"),
    "time-limit": ("time_limit", "TIME", "such as 1.5h; none: no limit"),
    "nodes": ("resources.nodes", "N", "nodes that start together, or a range such as 2-8"),
    "ranks": ("resources.ranks", "N", "processes on each node"),
    "gpus": ("resources.gpus", "N", "GPUs per node; 0.5 is half of one"),
    "gpu-type": ("resources.gpu_type", "MODEL", "models of the GPUs, joined by commas; none: any"),
    "cpus": ("resources.cpus", "N", "CPU cores per node"),
    "memory": ("resources.memory", "SIZE", "memory per node, such as 16GiB; none: no limit"),
    "tmp": ("resources.tmp", "SIZE", "temporary space per node"),
    "topology": ("topology", "LEVEL", "nodes in one rack, for example; rack! requires it"),
}
NONE = "none"


def edit(argv: list[str]) -> int:
    """Prints where each job stands then; --json: the rows of the jobs."""
    parser = Parser("edit", "Change what jobs ask for while they wait.")
    for flag, (_key, metavar, text) in FLAGS.items():
        parser.add_argument(f"--{flag}", metavar=metavar, help=text)
    parser.jobs()
    args = parser.parse_args(argv)
    changes = _changes(args)
    if not changes:
        raise usage("nothing is to be changed", "for example `zenkei edit 42 --priority 10`")
    client = session.open()
    answers = []
    for job in args.jobs:
        answers.append(client.post(f"/v1/jobs/{segment(job)}/edit", {"changes": changes}))
        if not args.json:
            _tell(job, answers[-1])
    if args.json:
        session.print_json(answers[0] if len(answers) == 1 else answers)
    return 0


def _changes(args: Any) -> dict[str, Any]:
    """The flags given, nested as in a job file."""
    changes: dict[str, Any] = {}
    for flag, (key, _metavar, _help) in FLAGS.items():
        text = getattr(args, flag.replace("-", "_"))
        if text is None:
            continue
        section, _, name = key.rpartition(".")
        (changes.setdefault(section, {}) if section else changes)[name] = _value(flag, text)
    return changes


def _value(flag: str, text: str) -> Any:
    if text == NONE and flag not in ("queue", "priority"):
        return None
    if flag == "gpu-type":
        return text.split(",")
    if flag == "topology":
        return {"required": text[:-1]} if text.endswith("!") else text
    low, dash, high = text.partition("-")
    if flag == "nodes" and dash and low and high:
        return {"min": low, "max": high}
    return text


def _tell(job: str, answer: dict[str, Any]) -> None:
    rows = answer["jobs"]
    waiting = [row for row in rows if row["state"] in ("held", "preparing", "pending")]
    first = waiting[0]
    left = len(rows) - len(waiting)
    passed = f"; {count(left, 'member')} left alone: running or over" if left else ""
    name = first["id"] if len(rows) == 1 else f"{first['number']} ({count(len(waiting), 'member')})"
    print(f"{name} {first['state']}, queue {first['queue']}, priority {first['priority']}{passed}")
