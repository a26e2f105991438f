"""Seeded faults at the ports: a crash before or after any call, and calls that fail for a while.

`Crash` is a BaseException: production code that catches Exception cannot swallow it, as it could
not swallow a SIGKILL. Whatever the controller held in memory is gone with it; the world builds a
new controller on the same store and engines.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Final


class Crash(BaseException):
    """The controller's process dies here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultRates:
    """Chances per port call, and per simulated event of the engine. All zero: a perfect world."""

    crash: float = 0.0
    engine_error: float = 0.0
    report_doubled: float = 0.0
    reboot: float = 0.0
    failed_exit: float = 0.0
    build_error: float = 0.0
    torn: float = 0.0


PEACE = FaultRates()
PROFILES: Final = {
    "none": PEACE,
    "nodes": FaultRates(reboot=0.05, failed_exit=0.01),
    "harsh": FaultRates(
        crash=0.002,
        engine_error=0.02,
        report_doubled=0.1,
        reboot=0.2,
        failed_exit=0.05,
        torn=0.05,
    ),
}
"""By name. In a world of traces `reboot` is of one node in a day; of the others see above."""


class Faults:
    """Decides by its own dice; `active` can be switched off so that a run can come to its end."""

    def __init__(self, rng: Random, rates: FaultRates) -> None:
        self._rng = rng
        self.rates = rates
        self.active = True
        self.crashes = 0
        self.log: list[str] = []

    def chance(self, rate: float) -> bool:
        return self.active and rate > 0 and self._rng.random() < rate

    def maybe_crash(self, where: str) -> None:
        """Raises Crash with the configured chance."""
        if self.chance(self.rates.crash):
            self.crashes += 1
            self.log.append(where)
            raise Crash(where)


class Crashing:
    """A port whose every call may be the controller's last: before it, or after it has acted.

    `listen` and the like register callbacks and are left alone: registering cannot half happen.
    """

    _CALM = frozenset({"listen", "on_report", "cluster", "capabilities"})

    def __init__(self, port: Any, faults: Faults, name: str) -> None:
        self._port = port
        self._faults = faults
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        member = getattr(self._port, attribute)
        if attribute in self._CALM or not callable(member):
            return member
        faults, where = self._faults, f"{self._name}.{attribute}"

        def call(*args: Any, **kwargs: Any) -> Any:
            faults.maybe_crash(f"before {where}")
            value = member(*args, **kwargs)
            faults.maybe_crash(f"after {where}")
            return value

        return call
