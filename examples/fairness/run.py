#!/usr/bin/env python3
"""Three teams share 32 nodes: `python examples/fairness/run.py`, half a minute.

Shows borrowing, reclaim with checkpoints asked for first, a promised start with back-filling, caps,
and what `zenkei explain` says of each. What stands below a `$`, and every number in the sentences,
is what the daemon answers. The nodes are virtual (declared sizes); the jobs are real processes that
mostly sleep. Everything lives in a home of its own, unless ZENKEI_HOME says otherwise; what it
starts, it stops.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FILES = ("cluster.yaml", "work.py", "train.yaml", "speech.yaml", "thesis.yaml", "exercise.yaml")
RESERVED_IN = timedelta(minutes=11)
PATIENCE_S, EVERY_S = 90, 0.1
WORK_S = 3  # what is lost by stopping a training counts in whole seconds
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Cluster:
    """A daemon with a folder of job files. `until.txt` there says where trainings look."""

    def __init__(self, folder: Path) -> None:
        self._zenkei = program()
        self._folder = folder
        self._mine: list[str] = []
        self._board = folder.parent / "good-enough"
        self._board.mkdir()
        folder.mkdir()
        for name in FILES:
            shutil.copy(HERE / name, folder)
        (folder / "until.txt").write_text(str(self._board))

    def show(self, *argv: str) -> None:
        """A command and what it says, as a person would see them."""
        print(f"\n$ zenkei {' '.join(argv)}", flush=True)
        subprocess.run([self._zenkei, *argv], cwd=self._folder, check=True)

    def ask(self, *argv: str) -> Any:
        """What a command says as JSON."""
        return json.loads(self._output(*argv, "--json"))

    def events(self, job: str) -> list[Any]:
        """What happened to a job, in order."""
        return [json.loads(line) for line in self._output("events", job, "--json").splitlines()]

    def submit(self, *argv: str) -> str:
        """The job's id."""
        print(f"$ zenkei submit {' '.join(argv)}", flush=True)
        job = self._output("submit", *argv).strip()
        print(job, flush=True)
        self._mine.append(job)
        return job

    def _output(self, *argv: str) -> str:
        command = [self._zenkei, *argv]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"zenkei {' '.join(argv)}: {done.stderr}")
        return done.stdout

    def until(self, job: str, state: str) -> None:
        self.until_true(job, f"be {state}", lambda: self.ask("show", job)["state"] == state)

    def until_explained(self, job: str) -> None:
        """Until the planner has looked at a job that waits."""
        self.until_true(job, "wait", lambda: self.ask("explain", job)["reason"] is not None)

    def until_true(self, job: str, what: str, look: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not look():
            if time.monotonic() > deadline:
                self.show("explain", job)
                sys.exit(f"job {job} was expected to {what}")
            time.sleep(EVERY_S)

    def good_enough(self, job: str) -> None:
        """The training ends after its next step."""
        (self._board / job).touch()

    def plan_reservation(self, ahead: timedelta) -> None:
        """The reservation of the file begins so long from now; times in the file are UTC."""
        begins = (datetime.now(UTC) + ahead).strftime("%Y-%m-%d %H:%M")
        path = self._folder / "cluster.yaml"
        text = path.read_text("utf-8")
        path.write_text(re.sub(r"from: \S+ \S+", f"from: {begins}", text, count=1), "utf-8")

    def end(self) -> None:
        """Whatever of it waits or runs ends, and the daemon."""
        for argv in (["cancel", *self._mine], ["down", "--jobs", "--yes"]):
            command = [self._zenkei, *argv]
            subprocess.run(command, capture_output=True, check=False)


def program() -> str:
    """zenkei beside this Python, where `make setup` put it, or on the PATH."""
    beside = Path(sys.executable).parent / "zenkei"
    own = HERE.parent.parent / ".venv" / "bin" / "zenkei"
    found = next((str(path) for path in (beside, own) if path.exists()), shutil.which("zenkei"))
    if not found:
        sys.exit("there is no zenkei: `make setup` first, or put it on the PATH")
    return found


def head(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m", flush=True)


def say(*sentences: str) -> None:
    print(f"\n{textwrap.fill(' '.join(sentences), 96)}", flush=True)


# -- the story -------------------------------------------------------------------------------------
def borrowing(cluster: Cluster) -> list[str]:
    head("1. Borrowing: vision takes what the others leave of their quota")
    trainings = [cluster.submit("-f", "train.yaml") for _ in range(6)]
    for job in trainings:
        cluster.until(job, "running")
    more = cluster.submit("-f", "train.yaml")
    cluster.until_explained(more)
    cluster.show("queue", "tree")
    say(
        f"Its trainings hold {gpus(cluster, 'vision', 'held')} GPUs,",
        f"{gpus(cluster, 'vision', 'borrowed')} of them borrowed (+).",
        f"Job {more} would go beyond what the file lets vision borrow:",
    )
    cluster.show("explain", more)
    cluster.show("nodes", "--map")
    say("No training stands on the last nodes: they are reserved before its time limit is over.")
    return trainings


def reclaim(cluster: Cluster, trainings: list[str]) -> tuple[str, list[str]]:
    head("2. Reclaim: speech asks for all that it is guaranteed, 12 nodes of 8 GPUs")
    time.sleep(WORK_S)
    say("Two trainings save a checkpoint just now, so that it costs least to stop these.")
    for job in trainings[2:4]:
        cluster.show("checkpoint", "ask", job)
    for job in trainings[2:4]:
        cluster.until_true(job, "save", lambda job=job: has(cluster, job, "checkpoint_kept"))
    speech = cluster.submit("-f", "speech.yaml")
    cluster.until(speech, "running")
    victims = [job for job in trainings if displaced_for(cluster, job) == speech]
    say(
        f"For job {speech}, jobs {' and '.join(victims)} were asked for a checkpoint and stopped.",
        "Their owner sees for whom, and on what right:",
    )
    for job in victims:
        cluster.show("events", job)
    cluster.show("queue", "tree")
    say("They wait in their old place in the line:")
    cluster.show("explain", victims[0])
    return speech, victims


def going_on(cluster: Cluster, speech: str, victims: list[str]) -> None:
    head("3. Going on: speech is ready, and the displaced trainings continue where they were")
    cluster.good_enough(speech)
    cluster.until(speech, "succeeded")
    for job in victims:
        cluster.until_true(job, "go on", lambda job=job: has(cluster, job, "resumed"))
    for job in victims:
        cluster.show("show", job)
    cluster.show("queue", "tree")


def backfilling(cluster: Cluster) -> str:
    head("4. A large gang waits; short jobs are back-filled without delaying it")
    say("The students ask for all that is theirs. Their queue stops nobody (`reclaim: never`):")
    thesis = cluster.submit("-f", "thesis.yaml")
    cluster.until_explained(thesis)
    cluster.show("explain", thesis)
    say("Behind it in the same queue: a job without a time limit, and short ones that have one.")
    endless = cluster.submit("--queue", "students", "--gpus", "2", "--", "sleep", "600")
    exercises = cluster.submit("-f", "exercise.yaml")
    cluster.show("wait", exercises)
    cluster.show("explain", endless)
    cluster.show("ps", "--all")
    say(
        "The short ones have come and gone on nodes that are kept for the gang or reserved for",
        "later. The one without a limit waits, because it could still be there then.",
    )
    cluster.show("cancel", endless)
    return thesis


def ending(cluster: Cluster, training: str, thesis: str) -> None:
    head("5. A training ends, the gang starts before it was promised, and a cap stops the next job")
    cluster.good_enough(training)
    cluster.until(thesis, "running")
    cluster.show("events", thesis)
    more = cluster.submit("--queue", "students", "--nodes", "2", "--gpus", "8", "--", "true")
    cluster.until_explained(more)
    cluster.show("explain", more)
    cluster.show("queue", "tree")


# -- what the daemon knows -------------------------------------------------------------------------
def gpus(cluster: Cluster, queue: str, what: str) -> int:
    """What a queue holds, or borrows of it."""
    found = cluster.ask("queue", "tree")["queues"]
    return next(int(one[what]["gpu_milli"]) // 1000 for one in found if one["name"] == queue)


def has(cluster: Cluster, job: str, kind: str) -> bool:
    """Whether that has happened to a job."""
    return any(event["kind"] == kind for event in cluster.events(job))


def displaced_for(cluster: Cluster, job: str) -> str:
    attempts = cluster.ask("show", job)["attempts"]
    return next((one["favoured"] for one in attempts if one["favoured"]), "")


@contextmanager
def running_daemon() -> Iterator[Cluster]:
    """A home and a folder for the job files; at the end nothing of it is left."""
    work = Path(tempfile.mkdtemp(prefix="zenkei-fairness."))
    os.environ.setdefault("ZENKEI_HOME", str(work / "home"))
    cluster = Cluster(work / "jobs")
    try:
        yield cluster
    finally:
        for name in ENDS:
            signal.signal(name, signal.SIG_IGN)
        cluster.end()
        shutil.rmtree(work, ignore_errors=True)


def main() -> None:
    for name in ENDS:
        signal.signal(name, lambda number, _: sys.exit(128 + number))
    with running_daemon() as cluster:
        cluster.ask("up", "--nodes", "32", "--gpus-per-node", "8")
        cluster.plan_reservation(RESERVED_IN)
        cluster.show("cluster", "apply", "cluster.yaml", "--yes")
        trainings = borrowing(cluster)
        speech, victims = reclaim(cluster, trainings)
        going_on(cluster, speech, victims)
        thesis = backfilling(cluster)
        ending(cluster, trainings[0], thesis)


if __name__ == "__main__":
    main()
