"""Who asks, for what, and may they: `can` is called by every command and every query.

On one machine there is one person: the owner of the daemon, proven by the socket's peer uid. Team
roles and access lists extend `can`, not its callers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verb(StrEnum):
    """What can be done to an object."""

    READ = "read"
    SUBMIT = "submit"
    CONTROL = "control"
    OPERATE = "operate"


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """An authenticated person or program."""

    name: str
    uid: int = -1
    operator: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The object of a verb: a job's owner and project, or the cluster (both empty)."""

    owner: str = ""
    project: str = ""


def can(principal: Principal, verb: Verb, target: Target) -> bool:
    """True if `principal` may do `verb` to `target`. Total: refused until named here."""
    if principal.operator:
        return True
    if verb is Verb.OPERATE:
        return False
    if verb is Verb.SUBMIT:
        return True
    return target.owner == principal.name
