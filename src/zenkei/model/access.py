"""Who asks, for what, and may they: `can` is called by every command and every query.

On one machine there is one person: the owner of the daemon, proven by the socket's peer uid. Team
roles and access lists extend `can`, not its callers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from zenkei.model.dataset import Dataset, Permission


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
    groups: tuple[str, ...] = ()


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


_RANKS = {permission: rank for rank, permission in enumerate(Permission)}


def may(principal: Principal, permission: Permission, dataset: Dataset) -> bool:
    """Whether owner, grants or the office of `principal` allow it. Total: refused until named."""
    if principal.operator or dataset.owner == principal.name:
        return True
    mine = {f"user:{principal.name}", *(f"group:{name}" for name in principal.groups), "public"}
    held = [_RANKS[grant.permission] for grant in dataset.grants if grant.to in mine]
    return max(held, default=-1) >= _RANKS[permission]
