"""How fast a gang recovers: real processes, a real daemon, two nodes of two ranks (network
namespaces where this user may make them).

`rank`: one rank is killed; until all others of the gang are gone, and until all ranks of the next
attempt run their first line of Python. `preempt`: from the operator's order until the devices are
free, of which the ranks need some time to save; what remains is zenkei's. The job needs no
environment, as one whose environment is warm.
"""

from __future__ import annotations

import os
import select
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.report import Row
from tests.system import exact_training
from tests.system.faults_home import Home, a_home
from tests.testbeds.hosts import Hosts
from tests.testbeds.local_place import until
from zenkei.engines.local import NodesConfig

RUNS = 7
NODES, RANKS = 2, 2
PATIENCE_S = 60.0


class Gang:
    """A job that trains until it is cancelled. ledger: what its ranks note."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.ledger = home.folder / "ledger"
        self.ledger.mkdir()
        program = Path(exact_training.__file__)
        self.job = home.submit(
            f"exec python {program} {self.ledger} 1000000 0.005 3600",
            resources={"nodes": NODES, "ranks": RANKS, "cpus": 1, "gpus": 2},
            checkpoint={"signal": "none", "grace": "20s"},
            retry={"limit": 100, "backoff": "0s"},
        )

    def lines(self, attempt: int, kind: str, least: int = 1) -> list[list[str]]:
        """Lines of a kind that all ranks of an attempt have written, at least so many each."""

        def found() -> list[list[str]]:
            files = list(self.ledger.glob(f"{self.job}_{attempt}_*"))
            words = [
                [line.split() for line in path.read_text().splitlines() if line.startswith(kind)]
                for path in files
            ]
            ready = len(words) == NODES * RANKS and all(len(lines) >= least for lines in words)
            return [lines[-1] for lines in words] if ready else []

        return until(found, f"{kind} of attempt {attempt}", PATIENCE_S)  # type: ignore[no-any-return]

    def released_us(self, attempt: int) -> int:
        def found() -> int:
            events = self.home.client.get(f"/v1/jobs/{self.job}/events")["events"]
            ends = [e for e in events if e["kind"] == "released"]
            return int(ends[attempt - 1]["at_us"]) if len(ends) >= attempt else 0

        return int(until(found, f"the release of attempt {attempt}", PATIENCE_S))


@contextmanager
def gang() -> Iterator[Gang]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zkb-")))
        root = os.geteuid() == 0
        hosts = stack.enter_context(Hosts(NODES)) if root else None
        home = stack.enter_context(a_home(folder))
        nodes = hosts.nodes(gpus_per_node=2) if hosts else NodesConfig(nodes=2, gpus_per_node=2)
        nodes.save(home.path / "nodes.json")
        home.start()
        made = Gang(home)
        yield made
        home.client.post(f"/v1/jobs/{made.job}/cancel", {"grace_s": 0})
        home.until_over(made.job)


def killed(made: Gang, attempt: int) -> tuple[float, float]:
    """Seconds from one rank's death until the gang is gone, and until the next one has begun."""
    made.lines(attempt, "step", 20)
    pids = [int(words[3]) for words in made.lines(attempt, "begin")]
    handles = [os.pidfd_open(pid) for pid in pids]
    begin = time.monotonic()
    signal.pidfd_send_signal(handles[-1], signal.SIGKILL)
    for handle in handles:
        select.select([handle], [], [], PATIENCE_S)
    gone = time.monotonic() - begin
    for handle in handles:
        os.close(handle)
    following = max(float(words[2]) for words in made.lines(attempt + 1, "begin"))
    return gone, following - begin


def preempted(made: Gang, attempt: int) -> tuple[float, float]:
    """Seconds from the order until the devices are free, and the part after the last rank saved."""
    made.lines(attempt, "step", 20)
    begin_us = time.time_ns() // 1000
    offset_s = time.time() - time.monotonic()
    made.home.client.post(f"/v1/jobs/{made.job}/preempt", {})
    released_us = made.released_us(attempt)
    saved_s = max(float(words[2]) for words in made.lines(attempt, "saved")) + offset_s
    return (released_us - begin_us) / 1e6, released_us / 1e6 - saved_s


def rows() -> list[Row]:
    with gang() as made:
        kills = [killed(made, attempt) for attempt in range(1, RUNS + 1)]
        orders = [preempted(made, attempt) for attempt in range(RUNS + 1, 2 * RUNS + 1)]
    gone, following = (list(values) for values in zip(*kills, strict=True))
    total, after = (list(values) for values in zip(*orders, strict=True))
    named = (
        ("rank killed → all ranks of the gang gone", gone, "≤ 1"),
        ("rank killed → all ranks of the next attempt run", following, "≤ 5"),
        ("preempt → devices free", total, ""),
        ("preempt → devices free, without the ranks' own saving", after, "≤ 1"),
    )
    return [
        Row(
            bench="recovery",
            what=what,
            value=statistics.median(values),
            unit="s",
            bar=bar,
            note=f"worst of {RUNS}: {max(values):.3g}",
        )
        for what, values, bar in named
    ]
