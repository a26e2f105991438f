"""COMPOSITION ROOT: the daemon's process, and the only file that names adapters.

`python -m zenkei.app --ready-fd N` is what `cli.starting` forks. It takes the home, builds the
parts, serves until a signal or `POST /v1/shutdown`, and leaves running jobs alone. What it has to
say about its start goes to the descriptor as one line of JSON: {"ready"}, {"busy"}, {"error"}.
SIGKILL at any instant is safe: rows are committed before anybody is told, effects are done again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import pwd
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from zenkei import __version__
from zenkei.api.requests import VirtualNodes
from zenkei.auth.secrets import FileSecrets
from zenkei.control.commands import Commands
from zenkei.control.controller import Controller
from zenkei.control.dispatcher import Dispatcher
from zenkei.control.feed import Feed
from zenkei.control.planner import PlanKeeper
from zenkei.control.prepare import Preparer
from zenkei.control.queries import Queries
from zenkei.control.sealing import Sealer
from zenkei.control.specs import SpecCache
from zenkei.control.upkeep import Upkeep
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.collector import DirectoryCollector
from zenkei.data.scan import Limits as CodeLimits
from zenkei.data.tree import DirectoryTrees
from zenkei.engines.local import Limits as LogLimits
from zenkei.engines.local import LocalEngine, NodesConfig
from zenkei.engines.local.execute import LocalExecute
from zenkei.engines.local.folders import LocalFolders
from zenkei.envs.builder import UvBuilder
from zenkei.model.access import Principal
from zenkei.model.errors import Denied, InternalError, InvalidInput, ZenkeiError
from zenkei.ports.engine import Engine
from zenkei.ports.store import Store
from zenkei.server import home as homes
from zenkei.server import http, journal
from zenkei.server.health import Health, disk_guard
from zenkei.server.keeping import Keeping
from zenkei.server.listening import Listener
from zenkei.server.nodes import enter_nodes
from zenkei.server.progress import ProgressBoard
from zenkei.server.services import Services
from zenkei.server.system import SystemClock, ThreadWorkers
from zenkei.settings import Settings, load
from zenkei.store.sql import SqlStore

log = logging.getLogger(__name__)

STOP_WITHIN_S = 5.0


class WatchedController(Controller):
    """Tells the health page that it lives."""

    health: Health

    def step(self) -> int | None:
        due = super().step()
        self.health.stepped()
        return due


@dataclass(frozen=True, kw_only=True)
class Plant:
    """All parts of a daemon that run. `close` leaves running jobs alone."""

    settings: Settings
    store: SqlStore
    engine: LocalEngine
    builder: UvBuilder
    controller: WatchedController
    dispatcher: Dispatcher
    services: Services
    thread: threading.Thread
    stopping: threading.Event

    def start(self) -> None:
        """The controller begins; nodes are entered first, so that the first plan sees them."""
        self.engine.start()
        enter_nodes(self.store, self.engine.cluster, self.engine.inventory(), is_start=True)
        self.controller.register_nodes()
        self.thread.start()

    def close(self) -> None:
        self.stopping.set()
        self.controller.wake()
        if self.thread.is_alive():
            self.thread.join(STOP_WITHIN_S)
        self.builder.close()
        self.engine.close()
        self.store.close()


def build(settings: Settings, stop: Callable[[], None]) -> Plant:
    """Name the adapters and put everything together; nothing runs yet."""
    home = settings.home
    clock = SystemClock()
    # a new owner at each start: effects leased to the dead one are taken over when they are due
    owner = f"{platform.node()}-{os.getpid()}-{clock.now_us()}"
    store = SqlStore(settings.database_url, owner=owner, backups_dir=home / "backups")
    blobs = DirectoryBlobs(home / "blobs")
    limits = CodeLimits(files=settings.max_code_files, size_bytes=settings.max_code_bytes)
    trees = DirectoryTrees(blobs, state=home / "code", homes=(home,), limits=limits)
    builder = UvBuilder(
        root=home / "envs",
        blobs=blobs,
        environ=dict(os.environ),
        timeout_s=settings.env_build_timeout_s,
    )
    secrets = FileSecrets(home / "secrets")
    engine = LocalEngine(
        home=home,
        builder=builder,
        trees=trees,
        secrets=secrets,
        nodes=NodesConfig.load(settings.nodes_file),
        limits=LogLimits(
            log_head_bytes=settings.log_head_bytes, log_tail_bytes=settings.log_tail_bytes
        ),
    )
    engines: dict[str, Engine] = {engine.cluster: engine}
    cache = SpecCache(store)
    keeper = PlanKeeper(store, cache)
    feed, board = Feed(store), ProgressBoard()
    dispatcher = Dispatcher(
        store=store,
        cache=cache,
        engines=engines,
        preparer=Preparer(
            store=store, cache=cache, engines=engines, builder=builder, progress=board.say
        ),
        sealer=Sealer(store=store, cache=cache, trees=trees, blobs=blobs, version=__version__),
        workers=ThreadWorkers(),
        owner=owner,
    )
    guard = partial(
        disk_guard,
        home,
        min_free_bytes=settings.min_free_bytes,
        min_free_percent=settings.min_free_percent,
    )
    controller = WatchedController(
        store=store,
        cache=cache,
        engines=engines,
        keeper=keeper,
        dispatcher=dispatcher,
        clock=clock,
        guard=guard,
    )
    # followers are woken last: what they then look for has been handed on already
    store.listen(feed.heard)
    stopping = threading.Event()
    queries = Queries(store=store, cache=cache, keeper=keeper, engines=engines, blobs=blobs)
    controller.health = Health(
        home=home,
        version=__version__,
        store=store,
        in_flight=dispatcher.in_flight,
        guard=guard,
    )

    def declare(wish: VirtualNodes) -> None:
        declare_nodes(settings, store, engine, wish)
        controller.wake()

    services = Services(
        commands=Commands(store, cache),
        queries=queries,
        feed=feed,
        store=store,
        trees=trees,
        blobs=blobs,
        progress=board,
        keeping=_keeping(home, secrets, store, builder, blobs, clock),
        principal=principal_of,
        health=controller.health,
        declare=declare,
        stop=stop,
        version=__version__,
    )
    return Plant(
        settings=settings,
        store=store,
        engine=engine,
        builder=builder,
        controller=controller,
        dispatcher=dispatcher,
        services=services,
        thread=threading.Thread(target=controller.run, args=(stopping,), name="controller"),
        stopping=stopping,
    )


def _keeping(
    home: Path,
    secrets: FileSecrets,
    store: SqlStore,
    builder: UvBuilder,
    blobs: DirectoryBlobs,
    clock: SystemClock,
) -> Keeping:
    collector = DirectoryCollector(blobs, home / "code")
    upkeep = Upkeep(
        store=store,
        maintenance=store,
        environments=builder,
        collector=collector,
        folders=LocalFolders(home),
        clock=clock,
    )
    execute = LocalExecute(home)
    return Keeping(secrets=secrets, upkeep=upkeep, collector=collector, execute=execute)


def principal_of(uid: int) -> Principal:
    """The daemon's owner and root operate it; nobody else is known. Raises Denied."""
    if uid not in (os.geteuid(), 0):
        raise Denied("not-your-daemon", f"this daemon belongs to uid {os.geteuid()}")
    # root acts in the name of the owner, whose daemon it is
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = f"uid-{os.geteuid()}"
    return Principal(name=name, uid=os.geteuid(), operator=True)


def declare_nodes(
    settings: Settings, store: Store, engine: LocalEngine, wish: VirtualNodes
) -> None:
    """Virtual nodes from now on, or this machine again. Raises Conflict, InvalidInput."""
    from zenkei.spec.quantities import size_bytes

    before = NodesConfig.load(settings.nodes_file)
    config = None
    if wish.nodes:
        memory = size_bytes(wish.memory_per_node)
        if memory is None:
            raise InvalidInput(
                "bad-quantity", f"`{wish.memory_per_node}` is not a size", hint="such as 64GiB"
            )
        config = NodesConfig(
            nodes=wish.nodes,
            gpus_per_node=wish.gpus_per_node,
            cpus_per_node=wish.cpus_per_node,
            memory_per_node=memory,
        )
    engine.declare(config)
    try:
        enter_nodes(store, engine.cluster, engine.inventory(), is_start=False)
    except BaseException:
        engine.declare(before)
        raise
    if config is None:
        settings.nodes_file.unlink(missing_ok=True)
    else:
        config.save(settings.nodes_file)


def owner_record() -> dict[str, Any]:
    """Who holds the home: host, process, boot."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    try:
        host = Path("/etc/machine-id").read_text("ascii").strip()
    except OSError:
        host = ""
    return {
        "host": host or platform.node(),
        "name": platform.node(),
        "pid": os.getpid(),
        "boot_id": boot_id,
        "uid": os.geteuid(),
        "version": __version__,
    }


def serve(settings: Settings, say: Callable[[dict[str, Any]], None]) -> int:
    """Take the home, run, end cleanly. say: called once with how the start went."""
    held = homes.claim(settings.home, owner_record())
    try:
        journal.install(settings.daemon_log, settings.log_level)
        log.info("starting version=%s pid=%s home=%s", __version__, os.getpid(), settings.home)
        stops: list[Callable[[], None]] = []

        def stop() -> None:
            for one in stops:
                one()

        plant = build(settings, stop)
        try:
            plant.start()
            sock = held.bind(dict(os.environ))
            listener = Listener(
                http.create(plant.services), os.geteuid(), lambda: say({"ready": os.getpid()})
            )
            stops.append(listener.stop)
            listener.listen(sock)
        finally:
            log.info("stopping pid=%s", os.getpid())
            plant.close()
    finally:
        held.release()
    log.info("stopped pid=%s", os.getpid())
    return 0


def main(argv: list[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="zenkei.app")
    parser.add_argument("--ready-fd", type=int, default=2)
    ready_fd = parser.parse_args(argv).ready_fd
    os.set_inheritable(ready_fd, False)

    def say(what: dict[str, Any]) -> None:
        os.write(ready_fd, json.dumps(what).encode() + b"\n")
        if ready_fd > 2:
            os.close(ready_fd)

    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        return serve(load(), say)
    except homes.Busy:
        say({"busy": True})
        return 0
    except Exception as error:
        log.exception("start failed")
        say({"error": _told(error)})
        return 1


def _told(error: Exception) -> dict[str, Any]:
    from zenkei.api.errors import body_of

    if not isinstance(error, ZenkeiError):
        error = InternalError(
            "daemon-failed", f"the daemon failed: {type(error).__name__}: {error}"
        )
    body: dict[str, Any] = body_of(error)["error"]
    return body | {"exit_code": error.exit_code}


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # workers that are still busy are cut off: what they do is in the outbox
    sys.stdout.flush()
    os._exit(code)
