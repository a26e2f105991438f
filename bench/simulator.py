"""The simulator on the five virtual clusters of Philly: how exact, how fast, and where time goes.

`python -m bench.simulator --traces DIR --policy fifo,fifo-strict --vc 2869ce --check sampled`.
Exact: mean completion, mean and p99 wait beside `reference.csv`, which an independent simulator has
computed; within 1 % is the bar. Fast: seconds of one core for all of them, production planner and
controller, checkers sampled, one policy; 90 is the bar. Where: µs per job by room, from a profile
of the first jobs of the largest, scaled to what it takes without one; a room has what its own code
takes, what it calls of Python and NumPy stands with `library`.
"""

from __future__ import annotations

import argparse
import cProfile
import csv
import json
import pstats
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.report import Row, machine
from zenkei.sim.figures import figures
from zenkei.sim.policies import cluster_file
from zenkei.sim.running import collect_young
from zenkei.sim.tracechecks import Check
from zenkei.sim.traces import TraceJob, read_nodes, read_trace
from zenkei.sim.traceworld import Setting, TraceWorld

TRACES = Path("../shared/traces/philly")
REFERENCE = {"fifo": "fifo-skip", "fifo-strict": "fifo-strict"}
FIGURES = {
    # of the reference: ours
    "avg_jct_s": "jct_mean_s",
    "p99_jct_s": "jct_p99_s",
    "avg_queue_s": "wait_mean_s",
    "p99_queue_s": "wait_p99_s",
    "max_queue_s": "wait_max_s",
}
SLICE = 2000
"""Jobs that are profiled."""
ROOMS = ("scheduler", "control", "lifecycle", "store", "spec", "sim", "model")
BAR_S = 90


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One virtual cluster under one policy. off: largest departure from the reference, a share."""

    vc: str
    policy: str
    jobs: int
    steps: int
    cpu_s: float
    off: float
    figure: str


def world(jobs: tuple[TraceJob, ...], nodes: int, policy: str, check: Check) -> TraceWorld:
    text, name = cluster_file(policy)
    return TraceWorld(jobs, read_nodes(f"{nodes}x8"), Setting(policy=text, file=name, check=check))


def compare(traces: Path, told: dict[str, str], policy: str, check: Check) -> Ran:
    """Play one and hold it against its line of the reference."""
    jobs = read_trace(traces / "jobs.csv.gz", queue=told["vc"])
    played = world(jobs, int(told["nodes"]), policy, check)
    collect_young()
    began_s = time.process_time()
    played.run()
    cpu_s = time.process_time() - began_s
    setting = played.setting
    found = figures(played.stories, played.nodes, round_s=0.0, costs=setting.costs)._asdict()
    off = {ours: abs(found[ours] / float(told[name]) - 1) for name, ours in FIGURES.items()}
    worst = max(off, key=lambda name: off[name])
    return Ran(
        vc=told["vc"],
        policy=policy,
        jobs=len(jobs),
        steps=played.steps,
        cpu_s=cpu_s,
        off=off[worst],
        figure=worst,
    )


def by_room(traces: Path, us_per_job: float) -> dict[str, float]:
    """µs per job of each room, in the proportions of a profile."""
    jobs = read_trace(traces / "jobs.csv.gz", queue="6214e9", limit=SLICE)
    played = world(jobs, 6, "fifo", Check.SAMPLED)
    profile = cProfile.Profile()
    profile.runcall(played.run)
    own: dict[str, float] = dict.fromkeys((*ROOMS, "library"), 0.0)
    for (file, _, _), (_, _, self_s, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        room = file.rpartition("/zenkei/")[2].split("/")[0] if "/zenkei/" in file else "library"
        own[room if room in own else "library"] += self_s
    whole = sum(own.values())
    return {room: us_per_job * self_s / whole for room, self_s in own.items()}


def measure(
    traces: Path, policies: Iterable[str], only: Iterable[str] = (), check: Check = Check.SAMPLED
) -> list[Ran]:
    with (traces / "reference.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    chosen = set(only)
    return [
        compare(traces, line, policy, check)
        for policy in policies
        for line in lines
        if line["policy"] == REFERENCE[policy] and (not chosen or line["vc"] in chosen)
    ]


def rows() -> list[Row]:
    """For `python -m bench`: the two smallest, so that it does not take minutes."""
    if not TRACES.exists():
        return []
    ran = measure(TRACES, ("fifo",), ("2869ce", "7f04ca"))
    return [
        Row(
            bench="simulator",
            what=f"philly {one.vc}, {one.policy}: {one.figure} off the reference",
            value=100 * one.off,
            unit="%",
            bar="1",
            note=f"{one.jobs} jobs, {1e6 * one.cpu_s / one.jobs:.0f} us each",
        )
        for one in ran
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.simulator")
    parser.add_argument("--traces", type=Path, default=TRACES)
    parser.add_argument("--policy", default="fifo,fifo-strict", help=", ".join(REFERENCE))
    parser.add_argument("--vc", default="", help="only these virtual clusters")
    parser.add_argument("--check", default="sampled", choices=[check.value for check in Check])
    parser.add_argument("--rooms", action="store_true", help="also where the time goes")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    only = [vc for vc in told.vc.split(",") if vc]
    ran = measure(told.traces, told.policy.split(","), only, Check(told.check))
    us_per_job = 1e6 * sum(one.cpu_s for one in ran) / sum(one.jobs for one in ran)
    rooms = by_room(told.traces, us_per_job) if told.rooms else {}
    if told.json:
        print(json.dumps({"ran": [asdict(one) for one in ran], "us_per_job": rooms}))
        return 0
    print("  ".join(f"{key}={value}" for key, value in machine().items()))
    for one in ran:
        each = f"{one.cpu_s:7.1f} s {1e6 * one.cpu_s / one.jobs:6.0f} us/job"
        print(f"{one.policy:12} {one.vc} {one.jobs:6} {each} {100 * one.off:6.3f} % ({one.figure})")
    for policy in dict.fromkeys(one.policy for one in ran):
        total_s = sum(one.cpu_s for one in ran if one.policy == policy)
        print(f"{policy:12} all {total_s:.1f} s, bar {BAR_S}")
    for room, us in sorted(rooms.items(), key=lambda item: -item[1]):
        print(f"{room:12} {us:6.0f} us/job")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
