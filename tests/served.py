"""The real server on a real socket over a plant driven by hand, and the real client against it.

`with Served(short_tmp) as served:` gives `served.client` and `served.plant`; nothing happens to
jobs until the test calls `served.plant.settle()`.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self, cast

from tests.comparing import ComparerDouble
from tests.plant import Plant
from zenkei import __version__
from zenkei.api.requests import VirtualNodes
from zenkei.client.client import Client
from zenkei.client.sse import Message
from zenkei.control.capsules import Place
from zenkei.control.datawork import DatasetWork
from zenkei.control.resultuses import assemble_results
from zenkei.model.access import Principal
from zenkei.model.errors import Conflict
from zenkei.protocol import logs
from zenkei.server import http
from zenkei.server.health import Health
from zenkei.server.keeping import Keeping
from zenkei.server.listening import Listener
from zenkei.server.progress import ProgressBoard
from zenkei.server.services import DatasetServices, Services
from zenkei.sim.doubles import TreesDouble

OWNER = Principal(name="ann", uid=1000, operator=True)
ECHO = b"name: hello\ncommand: echo hi\ncode: false\n"


def services_of(
    plant: Plant,
    home: Path,
    principal: Principal = OWNER,
    comparer: ComparerDouble | None = None,
) -> Services:
    """Services over a plant; who asks is always `principal`."""
    declared: list[VirtualNodes] = []
    return Services(
        commands=plant.commands,
        nodes=plant.nodes,
        cluster=plant.cluster,
        tree=plant.tree,
        machines=plant.machines,
        queries=plant.queries,
        feed=plant.feed,
        store=plant.store,
        trees=TreesDouble(),
        blobs=plant.blobs,
        progress=ProgressBoard(),
        principal=lambda uid: principal,
        health=Health(
            home=home,
            version="test",
            store=plant.store,
            in_flight=lambda: 0,
            # the plant lives in another time; here its controller has just stepped
            stepped_us=lambda: time.time_ns() // 1000,
            trouble=lambda: "",
            guard=lambda: "",
        ),
        declare=declared.append,
        hold_starts=lambda why: None,
        datasets=_datasets(plant),
        results=assemble_results(
            store=plant.store,
            commands=plant.commands,
            queries=plant.queries,
            blobs=plant.blobs,
            trees=TreesDouble(),
            comparer=comparer or ComparerDouble(),
            works=NoWorks(),
            place=Place(name="here", request={}, scratch="/nowhere", zenkei="test"),
        ),
        keeping=cast("Keeping", None),  # its routes have tests of their own
        stop=lambda: None,
        version=__version__,
    )


class NoWorks:
    """`ports.datasets.DataWorks` of a place without a store."""

    def run(
        self, order: Mapping[str, Any], said: Callable[[Mapping[str, Any]], None]
    ) -> Mapping[str, Any]:
        raise Conflict("no-depot", f"nothing here does `{order['do']}`", hint="try again")


def _datasets(plant: Plant) -> DatasetServices:
    work = DatasetWork(
        datasets=plant.datasets,
        registry=plant.store.datasets,
        works=NoWorks(),
        depot="/nowhere",
        state="/nowhere",
        pinned=frozenset,
    )
    return DatasetServices(names=plant.datasets, work=work)


class Served(AbstractContextManager["Served"]):
    """See the module's docstring."""

    def __init__(self, home: Path, plant: Plant | None = None) -> None:
        self.home = home
        self.plant = plant or Plant()
        self.comparer = ComparerDouble()
        self.services = services_of(self.plant, home, comparer=self.comparer)
        self.client = Client(str(home))
        self.socket = home / "zenkei.sock"

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.bind(str(self.socket))
        self._sock.listen(64)
        self._listener = Listener(http.create(self.services), os.geteuid(), ready.set)
        self._thread = threading.Thread(target=self._listener.listen, args=(self._sock,))
        self._thread.start()
        assert ready.wait(20), "the server does not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.stop()
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server does not stop"
        self._sock.close()
        self.socket.unlink(missing_ok=True)

    def submit(self, body: bytes = ECHO, **query: Any) -> str:
        """A job's id."""
        return str(self.client.post("/v1/jobs", body, **query)["id"])

    def follow(self, job: str, after: str = "", **query: Any) -> Iterator[Message]:
        return self.client.stream("GET", f"/v1/jobs/{job}/follow", after=after, **query)


def chunk(text: str | bytes, at_us: int = 1, rank: int = 0, flags: int = 0) -> bytes:
    """A log record."""
    data = text.encode() if isinstance(text, str) else text
    return logs.encode(logs.Chunk(at_us, rank, logs.STDOUT, flags, data))


def data_of(message: Message) -> Any:
    return json.loads(message.data)


def text_of(messages: list[Message]) -> str:
    """All output in `log` messages."""
    lines = [line for m in messages if m.event == "log" for line in data_of(m)["chunks"]]
    return "".join(line[4] for line in lines)
