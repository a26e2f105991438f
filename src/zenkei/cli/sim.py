"""`zenkei sim run|make|replay`: a trace through the production scheduler, in a virtual world.

Needs no daemon and touches no job. The room that simulates is imported when something is run.
"""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.cli.nouns import Action, act
from zenkei.client.failure import usage

if TYPE_CHECKING:
    from zenkei.sim.running import Asked, Played
    from zenkei.sim.scripts import Script

Json = dict[str, Any]
SCRIPT = "simulation.json"
PLACES = ("nodes", "count")
CHECKS = ("every", "sampled", "off")
FAULTS = ("none", "nodes", "harsh")
HEAD = ("", "JOBS", "WAIT", "WAIT P99", "COMPLETION", "GPU HOURS")


def sim(argv: list[str]) -> int:
    return act("sim", ACTIONS["sim"], argv)


def run(argv: list[str]) -> int:
    """Reads the trace, lets the production scheduler decide, prints what became of it."""
    parser = Parser("sim run", "Run a trace through the production scheduler, in virtual time.")
    parser.add_argument("trace", metavar="TRACE", help="jobs as CSV or .csv.gz, or sacct's output")
    parser.add_argument(
        "--nodes", default="", metavar="NODES", help="16x4, 2xA100x8,4x8, or a file nodes.csv"
    )
    parser.add_argument(
        "--policy",
        default="fifo",
        metavar="POLICY",
        help="fifo, fifo-strict, fairshare, learned, or a cluster file; default fifo",
    )
    parser.add_argument("--queue", default="", metavar="NAME", help="only jobs of this queue")
    parser.whole("--limit", least=0, most=5_000_000, default=0, help="only the first N jobs")
    parser.add_argument("--round", default="0", metavar="TIME", help="plan at multiples of it only")
    parser.add_argument("--start", default="0", metavar="TIME", help="what every start takes")
    parser.add_argument(
        "--restart",
        default="0",
        metavar="TIME",
        help="what a start takes more that is not the first",
    )
    parser.add_argument(
        "--checkpoint", default="", metavar="TIME", help="what a displaced job takes; as --restart"
    )
    parser.add_argument("--place", choices=PLACES, default="nodes", help="count: GPUs, not nodes")
    parser.whole("--seed", least=0, most=2**31, default=0, help="of the faults")
    parser.add_argument("--faults", choices=FAULTS, default="none", help="what goes wrong")
    parser.add_argument("--check", choices=CHECKS, default="sampled", help="how often to check")
    parser.add_argument("--report", default="", metavar="FILE", help="write a page with plots")
    parser.add_argument(
        "--script", default=SCRIPT, metavar="FILE", help="where a run that fails is kept"
    )
    args = parser.parse_args(argv)
    if not args.nodes:
        raise usage("--nodes is missing", "such as --nodes 16x4, or a file with name and gpus")
    from zenkei.sim.running import prepare

    return _play(prepare(_asked(args)), args)


def replay(argv: list[str]) -> int:
    """A run that failed, again."""
    parser = Parser("sim replay", "Run a simulation again that has failed a check.")
    parser.add_argument("script", metavar="FILE", help=f"such as {SCRIPT}")
    parser.add_argument("--report", default="", metavar="FILE", help="write a page with plots")
    args = parser.parse_args(argv)
    from zenkei.model.errors import NotFound
    from zenkei.sim.scripts import load

    try:
        text = Path(args.script).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "`zenkei sim run` writes one when a check fails"
        why = f"`{args.script}` cannot be read: {error}"
        raise NotFound("no-such-simulation", why, hint=hint) from error
    return _play(load(text, args.script), args)


def make(argv: list[str]) -> int:
    """A made-up trace."""
    parser = Parser("sim make", "Make a trace that looks like one of a real cluster.")
    parser.add_argument("file", metavar="FILE", help="where it is written, as CSV")
    parser.add_argument("--nodes", default="", metavar="NODES", help="as for `zenkei sim run`")
    parser.whole("--jobs", least=1, most=1_000_000, default=1000, help="how many; default 1000")
    parser.amount("--load", least=0.01, most=10, help="GPUs asked for of those there are; 0.8")
    parser.whole("--seed", least=0, most=2**31, default=0, help="another one, another trace")
    args = parser.parse_args(argv)
    if not args.nodes:
        raise usage("--nodes is missing", "such as --nodes 16x4, or a file with name and gpus")
    from zenkei.sim.generating import Mix, generate, table
    from zenkei.sim.traces import read_nodes

    gpus = sum(len(node.capacity.devices) for node in read_nodes(args.nodes))
    if not gpus:
        raise usage(f"--nodes {args.nodes[:60]} has no GPU", "such as --nodes 16x4")
    jobs = generate(args.jobs, gpus, Mix(load=args.load or 0.8), args.seed)
    _write(args.file, table(jobs))
    if args.json:
        session.print_json({"path": args.file, "jobs": len(jobs), "gpus": gpus})
    else:
        print(render.clean(f"{args.file} has {len(jobs)} jobs for {gpus} GPUs"))
    return 0


# -- inside ------------------------------------------------------------------------------------


def _asked(args: Any) -> Asked:
    from zenkei.sim.replaying import Costs
    from zenkei.sim.running import Asked, Place
    from zenkei.sim.tracechecks import Check

    restart_s = _seconds(args.restart, "--restart")
    return Asked(
        trace=Path(args.trace),
        nodes=args.nodes,
        policy=args.policy,
        queue=args.queue,
        limit=args.limit,
        place=Place(args.place),
        round_s=_seconds(args.round, "--round"),
        costs=Costs(
            start_s=_seconds(args.start, "--start"),
            restart_s=restart_s,
            checkpoint_s=_seconds(args.checkpoint, "--checkpoint")
            if args.checkpoint
            else restart_s,
        ),
        faults=args.faults,
        seed=args.seed,
        check=Check(args.check),
    )


def _seconds(text: str, flag: str) -> float:
    from zenkei.spec.quantities import duration_ms

    found = duration_ms(text)
    if found is None:
        raise usage(f"{flag} {text[:60]}: not a time", "such as 60s, 5m or 1h30m")
    return found / 1000


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        why = f"`{path[:200]}` cannot be written: {error.strerror}"
        raise usage(why, "name a file in a directory that is there") from error


def _play(script: Script, args: Any) -> int:
    from zenkei.sim.running import collect_young, play_or_tell

    collect_young()
    began_s = time.process_time()
    played = play_or_tell(script, Path(getattr(args, "script", SCRIPT)))
    cpu_s = time.process_time() - began_s
    found = _document(played, cpu_s)
    if args.report:
        from zenkei.sim.report import page

        _write(args.report, page(played, script, cpu_s))
        found["report"] = args.report
    if args.json:
        session.print_json(found)
    else:
        _print(found)
    return 0


def _document(played: Played, cpu_s: float) -> Json:
    found: Json = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in played.figures._asdict().items()
    }
    found["cpu_s"] = round(cpu_s, 3)
    found["queues"] = [part._asdict() for part in played.by_queue()]
    found["sizes"] = [part._asdict() for part in played.by_size()]
    return found


def _print(found: Json) -> None:
    names = [name for name in found if not isinstance(found[name], (list, str))]
    rows = [[name, _figure(found[name])] for name in names]
    print(render.table(("FIGURE", "VALUE"), rows, right={1}))
    for title, parts in (("QUEUE", found["queues"]), ("SIZE", found["sizes"])):
        lines = [_line(part) for part in parts[:40]]
        print()
        print(render.table((title, *HEAD[1:]), lines, right={1, 2, 3, 4, 5}))
    if "report" in found:
        print(render.clean(f"{found['report']} shows it as a page"))


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, int) else f"{value:.4f}".rstrip("0").rstrip(".")


def _line(part: Json) -> list[str]:
    times = [part["wait_mean_s"], part["wait_p99_s"], part["jct_mean_s"]]
    told = ["-" if s is None else f"{s:.0f}s" for s in times]
    return [part["name"], str(part["jobs"]), *told, f"{part['gpu_hours']:.1f}"]


ACTIONS: dict[str, dict[str, Action]] = {
    "sim": {
        "run": (run, "run a trace through the production scheduler, in virtual time"),
        "make": (make, "make a trace that looks like one of a real cluster"),
        "replay": (replay, "run a simulation again that has failed a check"),
    }
}
