"""What operators have wished of the whole cluster, one record each: files applied, switches turned.

Kept by the store for good, newest last. The newest record holds all that is in force: the
configuration of the last file, and the switches, which no file says and no file takes back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from zenkei.model.queue import ClusterConfig

EVERYTHING: Final = ""
"""The queue of a switch that stops all starts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One value that differs between two configurations, in the words of the file.

    path: `queues.vision.quota.gpus`. before: empty if it is new; after: empty if it is gone.
    """

    path: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """Nothing starts from a queue (or at all) until an operator takes it back."""

    queue: str
    by: str
    reason: str
    since_us: int

    @property
    def text(self) -> str:
        """Why nothing starts, for those who wait."""
        return f"{self.reason} (by {self.by})" if self.reason else f"paused by {self.by}"


class ClusterRecordKind(StrEnum):
    """What an operator did."""

    APPLIED = "applied"
    ROLLED_BACK = "rolled_back"
    PAUSED = "paused"
    RESUMED = "resumed"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterRecord:
    """One thing that an operator did, and what is in force after it.

    seq: in commit order, given by the store; 0 before. version: of the file in force, from 1 on; it
    rises with each file and not with switches; 0: no file was ever applied. text: the file as it
    was written, only where this record brought one. restored: the version that a roll back brought
    back. queue: whose switch was turned.
    """

    kind: ClusterRecordKind
    version: int
    at_us: int
    by: str
    config: ClusterConfig = ClusterConfig()
    switches: tuple[Switch, ...] = ()
    text: str = ""
    digest: str = ""
    diff: tuple[Change, ...] = ()
    reason: str = ""
    restored: int = 0
    queue: str = EVERYTHING
    seq: int = 0

    @property
    def in_force(self) -> ClusterConfig:
        """The configuration with the switches in it. O(queues)."""
        return in_force(self.config, self.switches)


def in_force(config: ClusterConfig, switches: tuple[Switch, ...]) -> ClusterConfig:
    """`config` with its paused queues, and everything paused if that is so."""
    if not switches:
        return config
    why = {switch.queue: switch.text for switch in switches}
    queues = tuple(
        replace(queue, paused=why[queue.name]) if queue.name in why else queue
        for queue in config.queues
    )
    return replace(config, queues=queues, paused=why.get(EVERYTHING, config.paused))
