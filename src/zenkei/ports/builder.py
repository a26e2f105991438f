"""Resolves and builds environments; implemented by `envs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from zenkei.model.data import Digest
from zenkei.model.job import EnvRequest


class Builder(Protocol):
    """Locks are content: the same lock text has the same digest everywhere."""

    def lock(self, request: EnvRequest, progress: Callable[[str], None]) -> Digest:
        """Resolve a request to a lock with hashes, stored in the blob store.

        Raises InvalidInput with the resolver's message if it cannot be resolved, Unavailable if the
        index does not answer.
        """

    def realise(self, lock: Digest, progress: Callable[[str], None]) -> str:
        """Directory of the environment for `lock` on this machine; built at most once.

        Raises InvalidInput if it cannot be built (with the builder's last lines), Unavailable if
        trying again may help.
        """
