"""What the routes of secrets, environments, upkeep and `exec` call; made by `app`."""

from __future__ import annotations

from dataclasses import dataclass

from zenkei.control.upkeep import Upkeep
from zenkei.ports.secrets import Secrets
from zenkei.ports.upkeep import Collector, Execute


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """A part of `Services`."""

    secrets: Secrets
    upkeep: Upkeep
    collector: Collector
    execute: Execute
