"""People at work while daemons die under them: singles, arrays, cancel, hold, release.

Each attempt appends its id to a ledger with O_APPEND before anything else, so that one that ran
twice is seen whatever the records say, and prints numbered lines, so that a gap is.
"""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from tests.system.faults_home import Home, insist
from zenkei.client.failure import Disconnected, Failure

LINES = 12


class Load:
    """`people` threads until `stop`; `check` afterwards."""

    def __init__(self, home: Home, seed: int, people: int = 3) -> None:
        self._home = home
        self.ledger = home.folder / "ledger"
        self.ledger.touch()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.submitted: set[str] = set()
        self.touched: set[str] = set()
        self.cancelled: set[str] = set()
        self.troubles: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._person, args=(number, Random(f"{seed}/{number}")))
            for number in range(people)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No more requests; those under way are finished first."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a request is never answered"
        if self.troubles:
            raise self.troubles[0]

    def command(self, pause_s: float) -> str:
        return (
            f'echo "$ZENKEI_ATTEMPT" >> {self.ledger}; i=0; '
            f"while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; sleep {pause_s:.3f}; done"
        )

    # -- one person --------------------------------------------------------------------------------

    def _person(self, number: int, rng: Random) -> None:
        mine: list[str] = []
        turn = 0
        try:
            while not self._stopping.is_set():
                turn += 1
                self._do_something(f"{number}-{turn}", rng, mine)
                self._stopping.wait(rng.uniform(0.0, 0.4))
        except BaseException as trouble:  # noqa: BLE001 - told by the thread that waits
            self.troubles.append(trouble)

    def _do_something(self, key: str, rng: Random, mine: list[str]) -> None:
        what = rng.random()
        if what < 0.6 or not mine:
            self._submit(key, rng, mine)
            return
        job = rng.choice(mine[-2:])
        if what < 0.75:
            with self._lock:
                self.cancelled.add(job)
            self._tell(job, "cancel")
            return
        with self._lock:
            self.touched.add(job)
        self._tell(job, "hold")
        self._stopping.wait(rng.uniform(0.0, 0.2))
        self._tell(job, "release")

    def _submit(self, key: str, rng: Random, mine: list[str]) -> None:
        keys: dict[str, Any] = {"resources": {"cpus": 0.1}, "grace": "2s"}
        if rng.random() < 0.2:
            keys["array"] = rng.randint(2, 4)
        command = self.command(rng.choice((0.0, 0.02, 0.1)))
        job = insist(lambda: self._home.submit(command, key=key, **keys), self._never)
        mine.append(job)
        with self._lock:
            self.submitted.add(job)

    def _tell(self, job: str, verb: str) -> None:
        def tell() -> Any:
            try:
                return self._home.client.post(f"/v1/jobs/{job}/{verb}")
            except Failure as failure:
                if failure.code == "job-is-stopping":
                    raise Disconnected("is to be said again") from None
                if failure.exit_code == 6:
                    return {}  # over already, held already: a person shrugs
                raise

        insist(tell, self._never)

    def _never(self) -> bool:
        return False

    # -- the end -----------------------------------------------------------------------------------

    def check(self) -> Counter[str]:
        """Nothing lost, nothing twice, no gap. How jobs ended."""
        rows = {row["id"]: row for row in self._home.rows()}
        numbers = Counter(job.partition(".")[0] for job in rows)
        assert set(numbers) == self.submitted, "acknowledged and known jobs differ"
        runs = Counter(self.ledger.read_text().split())
        assert [attempt for attempt, times in runs.items() if times > 1] == []
        tries = Counter(attempt.partition("/")[0] for attempt in runs)
        for job, row in rows.items():
            number = job.partition(".")[0]
            shown = self._home.show(job)
            if number not in self.touched | self.cancelled:
                assert (row["state"], tries[job], len(shown["attempts"])) == ("succeeded", 1, 1), (
                    shown
                )
            elif number not in self.cancelled:
                assert row["state"] == "succeeded", shown
            else:
                assert row["state"] in ("succeeded", "cancelled"), shown
            if row["state"] == "succeeded":
                lines = [f"line {i}\n" for i in range(1, LINES + 1)]
                assert self._home.log(job).decode() == "".join(lines), job
        return Counter(row["state"] for row in rows.values())


def logs_of(home: Path) -> list[Path]:
    return sorted(home.glob("attempts/*/*/node-*/log"))
