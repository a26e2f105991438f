"""Datasets on this machine: fetched before devices are held, then supervisors are told of them.

Called by the engine. The node helper is a process of zenkei's own Python; supervisors start it
again to mount what was fetched, with a ticket that is good for their attempt only.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol

from zenkei.model.data import Digest
from zenkei.model.dataset import DatasetPin
from zenkei.model.errors import PermanentEngineError, TemporaryEngineError, Unavailable, ZenkeiError
from zenkei.model.ids import AttemptId
from zenkei.ports.datasets import DataWorks
from zenkei.ports.engine import LaunchOrder
from zenkei.protocol import launch, names

log = logging.getLogger(__name__)

HELPER: Final = (sys.executable, "-P", "-m", "zenkei.data.node")
TICKET_S: Final = 3600.0
"""For a start; what is mounted stays."""
Ticket = Callable[[bytes, str, str, float], str]


class Datasets(Protocol):
    """What the engine asks for."""

    def prefetch(self, digest: Digest, progress: Callable[[str], None]) -> None: ...

    def prefetch_all(self, order: LaunchOrder) -> None: ...

    def into(
        self, documents: tuple[launch.Launch, ...], order: LaunchOrder
    ) -> tuple[launch.Launch, ...]: ...

    def release(self, attempt: AttemptId, folder: Path) -> None: ...

    def close(self) -> None: ...


class NoDatasets:
    """Of an engine that was given no place for them."""

    def prefetch(self, digest: Digest, progress: Callable[[str], None]) -> None:
        raise PermanentEngineError("this engine was given no place for datasets")

    def prefetch_all(self, order: LaunchOrder) -> None:
        for pin in order.data:
            self.prefetch(pin.digest, lambda _line: None)

    def into(
        self, documents: tuple[launch.Launch, ...], order: LaunchOrder
    ) -> tuple[launch.Launch, ...]:
        return documents

    def release(self, attempt: AttemptId, folder: Path) -> None:
        return

    def close(self) -> None:
        return


class NodeDatasets:
    """works: orders to the node helper. ticket: (key, attempt, digest, until) to its text.

    request: what the helper is told in any case: cache, budget_bytes, depot, link. key: file of the
    key that tickets are signed with; made if it is not there.
    """

    def __init__(
        self, works: DataWorks, ticket: Ticket, *, request: Mapping[str, Any], key: Path
    ) -> None:
        self._works = works
        self._ticket = ticket
        self._request = dict(request)
        self._key = key
        self._later = ThreadPoolExecutor(1, thread_name_prefix="datasets")

    def prefetch(self, digest: Digest, progress: Callable[[str], None]) -> None:
        """Have a version in the cache. Raises engine errors."""

        def said(told: Mapping[str, Any]) -> None:
            total = told.get("total")
            of = f" of {total}" if total else ""
            progress(f"data {digest[:11]}: {told.get('what', 'at work')} {told.get('done', 0)}{of}")

        order = {"do": "prefetch", **self._request, "digest": digest}
        try:
            self._works.run(order, said)
        except Unavailable as error:
            raise TemporaryEngineError(f"{error}") from error
        except ZenkeiError as error:
            raise PermanentEngineError(f"{error}") from error

    def prefetch_all(self, order: LaunchOrder) -> None:
        """Quick for what is there already."""
        for pin in order.data:
            self.prefetch(pin.digest, lambda _line: None)

    def into(
        self, documents: tuple[launch.Launch, ...], order: LaunchOrder
    ) -> tuple[launch.Launch, ...]:
        """Tell the supervisors of the attempt."""
        if not order.data:
            return documents
        plan = self._plan(order)
        return tuple(document._replace(data=plan) for document in documents)

    def release(self, attempt: AttemptId, folder: Path) -> None:
        """Nobody of the attempt in `folder` reads any more; what is mounted for it alone goes.

        Returns at once. Undone, the next use of the cache does it: the holders are dead.
        """
        if any(folder.glob(f"node-*/{names.DATASETS_FOUND}")):
            self._later.submit(self._release, attempt)

    def close(self) -> None:
        """After what was released meanwhile."""
        self._later.shutdown()

    def _release(self, attempt: AttemptId) -> None:
        order = {"do": "release", "cache": self._request["cache"], "holder": str(attempt)}
        try:
            self._works.run(order, lambda _told: None)
        except ZenkeiError as error:
            log.warning("datasets not released attempt=%s why=%s", attempt, error)

    def _plan(self, order: LaunchOrder) -> launch.DataPlan:
        key = self._own_key()
        until_s = time.time() + TICKET_S
        mounts = tuple(
            _mount(pin, self._ticket(key, str(order.attempt), pin.digest, until_s))
            for pin in order.data
        )
        depot = str(self._request["depot"])
        local = (depot,) if depot.startswith("/") else ()
        return launch.DataPlan(
            helper=HELPER,
            request={**self._request, "key": str(self._key)},
            mounts=mounts,
            hide=(str(self._request["cache"]), *local),
        )

    def _own_key(self) -> bytes:
        """Made once; readable by the daemon's owner only."""
        try:
            descriptor = os.open(self._key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return self._key.read_bytes()
        with os.fdopen(descriptor, "wb") as file:
            made = secrets.token_bytes(32)
            file.write(made)
        return made


def _mount(pin: DatasetPin, ticket: str) -> launch.DataMount:
    split = asdict(pin.split) if pin.split else None
    return launch.DataMount(
        name=pin.name,
        digest=pin.digest,
        at=pin.at,
        number=pin.number,
        ticket=ticket,
        split=split,
        shuffle=asdict(pin.shuffle) if pin.shuffle else None,
    )
