"""COMPOSITION ROOT: the daemon's process, and the only file that names adapters.

`python -m zenkei.app --ready-fd N` is what `cli.starting` forks. It takes the home, builds the
parts, serves until a signal or `POST /v1/shutdown`, and leaves running jobs alone. What it has to
say about its start goes to the descriptor as one line of JSON: {"ready"}, {"busy"}, {"error"}.
SIGKILL at any instant is safe: rows are committed before anybody is told, effects are done again.
"""

from __future__ import annotations

import argparse
import errno
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
from zenkei.control.capsules import Place as CapsulePlace
from zenkei.control.controller import Controller
from zenkei.control.datapins import PinCache
from zenkei.control.datasets import Datasets
from zenkei.control.datawork import DatasetWork, Node
from zenkei.control.plane import ControlPlane, Ports, assemble
from zenkei.control.resultuses import ResultUses, assemble_results
from zenkei.control.upkeep import Upkeep
from zenkei.data import tickets
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.collector import DirectoryCollector
from zenkei.data.compare.child import ChildComparer
from zenkei.data.job_checkpoints import JobCheckpoints
from zenkei.data.scan import Limits as CodeLimits
from zenkei.data.tree import DirectoryTrees
from zenkei.data.works import ProcessWorks
from zenkei.engines.local import Limits as LogLimits
from zenkei.engines.local import LocalEngine, NodesConfig
from zenkei.engines.local.datasets import NodeDatasets
from zenkei.engines.local.execute import LocalExecute
from zenkei.engines.local.folders import LocalFolders
from zenkei.envs.builder import UvBuilder
from zenkei.model.access import Principal
from zenkei.model.data import Digest
from zenkei.model.errors import Denied, InternalError, InvalidInput, Unavailable, ZenkeiError
from zenkei.ports.store import Store
from zenkei.server import home as homes
from zenkei.server import http, journal
from zenkei.server.caretaking import DailyCopies, refuse_lost_history
from zenkei.server.health import Health, disk_guard
from zenkei.server.keeping import Keeping
from zenkei.server.listening import Listener
from zenkei.server.nodes import enter_nodes
from zenkei.server.progress import ProgressBoard
from zenkei.server.services import DatasetServices, Services
from zenkei.server.system import SystemClock, ThreadWorkers, collect_rarely
from zenkei.settings import Settings, load
from zenkei.store.sql import SqlStore

log = logging.getLogger(__name__)

NODE_HELPER = "zenkei.data.node"
CAPSULES = "zenkei.data.capsules"
STOP_WITHIN_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Plant:
    """All parts of a daemon that run. `close` leaves running jobs alone."""

    settings: Settings
    store: SqlStore
    engine: LocalEngine
    builder: UvBuilder
    controller: Controller
    services: Services
    thread: threading.Thread
    stopping: threading.Event
    copies: DailyCopies | None

    def start(self) -> None:
        """The controller begins; nodes are entered first, so that the first plan sees them."""
        self.engine.start()
        enter_nodes(self.store, self.engine.cluster, self.engine.inventory(), is_start=True)
        self.controller.register_nodes()
        self.thread.start()
        if self.copies is not None:
            self.copies.start()

    def close(self) -> None:
        if self.copies is not None:
            self.copies.stop()
        self.stopping.set()
        self.controller.wake()
        if self.thread.is_alive():
            self.thread.join(STOP_WITHIN_S)
        self.builder.close()
        self.engine.close()
        self.store.close()


def build(settings: Settings, stop: Callable[[], None]) -> Plant:
    """Put everything together; nothing runs yet."""
    home, parts, guard = settings.home, _adapters(settings), _guard(settings)
    board, stopping = ProgressBoard(), threading.Event()
    plane = assemble(
        parts.ports(),
        owner=parts.owner,
        version=__version__,
        progress=board.say,
        guard=guard,
        whose=_whose,
    )
    keeping = _keeping(home, parts)
    health = Health(
        home=home,
        version=__version__,
        store=parts.store,
        in_flight=plane.dispatcher.in_flight,
        stepped_us=lambda: plane.controller.stepped_us,
        trouble=lambda: plane.controller.trouble,
        guard=guard,
    )

    def declare(wish: VirtualNodes) -> None:
        declare_nodes(settings, parts.store, parts.engine, wish)
        plane.controller.wake()

    services = Services(
        commands=plane.commands,
        nodes=plane.nodes,
        cluster=plane.cluster,
        tree=plane.tree,
        machines=plane.machines,
        queries=plane.queries,
        feed=plane.feed,
        store=parts.store,
        trees=parts.trees,
        blobs=parts.blobs,
        progress=board,
        keeping=keeping,
        datasets=_datasets(settings, parts, plane.datasets, keeping.upkeep),
        results=_results(settings, parts, plane),
        principal=principal_of,
        health=health,
        declare=declare,
        hold_starts=plane.controller.hold_starts,
        stop=stop,
        version=__version__,
    )
    return Plant(
        settings=settings,
        store=parts.store,
        engine=parts.engine,
        builder=parts.builder,
        controller=plane.controller,
        services=services,
        thread=threading.Thread(target=plane.controller.run, args=(stopping,), name="controller"),
        stopping=stopping,
        copies=None if settings.database else DailyCopies(parts.store, home / "backups"),
    )


@dataclass(frozen=True, kw_only=True)
class Adapters:
    """The adapters of one daemon. owner: names it in leases, new at each start."""

    owner: str
    clock: SystemClock
    store: SqlStore
    blobs: DirectoryBlobs
    trees: DirectoryTrees
    checkpoints: JobCheckpoints
    builder: UvBuilder
    secrets: FileSecrets
    engine: LocalEngine

    def ports(self) -> Ports:
        """What the control plane stands on."""
        return Ports(
            store=self.store,
            engines={self.engine.cluster: self.engine},
            builder=self.builder,
            trees=self.trees,
            checkpoints=self.checkpoints,
            blobs=self.blobs,
            clock=self.clock,
            workers=ThreadWorkers(),
        )


def _adapters(settings: Settings) -> Adapters:
    home = settings.home
    clock = SystemClock()
    family = f"{owner_record()['host']}:{home}:"
    owner = f"{family}{os.getpid()}-{clock.now_us()}"
    ran = LocalFolders(home).jobs()
    if not settings.database:
        refuse_lost_history(home / "db.sqlite3", ran)
    store = SqlStore(settings.database_url, owner=owner, backups_dir=home / "backups")
    # after a copy was put back: what ran since then has its place in the home, and keeps it
    store.continue_after(max((job.number for job in ran), default=0))
    # this home is ours now, so earlier owners are dead: what they left is not waited for
    store.inherit(family)
    blobs = DirectoryBlobs(home / "blobs")
    limits = CodeLimits(files=settings.max_code_files, size_bytes=settings.max_code_bytes)
    trees = DirectoryTrees(blobs, state=home / "code", homes=(home,), limits=limits)
    checkpoints = JobCheckpoints(LocalFolders(home).kept)
    secrets = FileSecrets(home / "secrets")
    builder = UvBuilder(
        root=home / "envs",
        blobs=blobs,
        environ=dict(os.environ),
        timeout_s=settings.env_build_timeout_s,
    )
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
    engine.resume_from(checkpoints)
    engine.read_from(
        NodeDatasets(
            ProcessWorks(NODE_HELPER),
            tickets.issue,
            request=_node_request(settings),
            key=home / "data.key",
        )
    )
    return Adapters(
        owner=owner,
        clock=clock,
        store=store,
        blobs=blobs,
        trees=trees,
        checkpoints=checkpoints,
        builder=builder,
        secrets=secrets,
        engine=engine,
    )


def _guard(settings: Settings) -> Callable[[], str]:
    return partial(
        disk_guard,
        settings.home,
        min_free_bytes=settings.min_free_bytes,
        min_free_percent=settings.min_free_percent,
    )


def _keeping(home: Path, parts: Adapters) -> Keeping:
    collector = DirectoryCollector(parts.blobs, home / "code")
    upkeep = Upkeep(
        store=parts.store,
        maintenance=parts.store,
        environments=parts.builder,
        collector=collector,
        folders=LocalFolders(home),
        clock=parts.clock,
    )
    return Keeping(
        secrets=parts.secrets, upkeep=upkeep, collector=collector, execute=LocalExecute(home)
    )


def _datasets(
    settings: Settings, parts: Adapters, names: Datasets, upkeep: Upkeep
) -> DatasetServices:
    pins = PinCache(parts.blobs)
    scans = settings.home / "scans"
    scans.mkdir(mode=0o700, exist_ok=True)

    def pinned() -> frozenset[Digest]:
        lists = upkeep.pinned_data()
        return frozenset(pin.digest for digest in lists for pin in pins.get(digest))

    work = DatasetWork(
        datasets=names,
        registry=parts.store.datasets,
        works=ProcessWorks(),
        depot=settings.dataset_store,
        state=str(scans),
        pinned=pinned,
        node=Node(works=ProcessWorks(NODE_HELPER), request=_node_request(settings)),
    )
    return DatasetServices(names=names, work=work)


def _results(settings: Settings, parts: Adapters, plane: ControlPlane) -> ResultUses:
    home = settings.home
    request = {"blobs": str(home / "blobs"), "depot": settings.dataset_store}
    place = CapsulePlace(
        name=homes.name_of(home), request=request, scratch=str(home / "scans"), zenkei=__version__
    )
    return assemble_results(
        store=parts.store,
        commands=plane.commands,
        queries=plane.queries,
        blobs=parts.blobs,
        trees=parts.trees,
        comparer=ChildComparer(parts.blobs, home / "tmp"),
        works=ProcessWorks(CAPSULES),
        place=place,
    )


def _node_request(settings: Settings) -> dict[str, Any]:
    """What this machine's node helper is told in any case."""
    return {
        "cache": str(settings.home / "data-cache"),
        "budget_bytes": settings.data_cache_bytes,
        "depot": settings.dataset_store,
        "link": True,
    }


def _whose(name: str) -> Principal:
    """The person in whose name a job is prepared."""
    owner = principal_of(os.geteuid())
    return owner if name == owner.name else Principal(name=name)


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
            collect_rarely()
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

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = "the daemon cannot start: no space left on the disk of its home"
        error = Unavailable("disk-full", text, hint="free some space there, then try again")
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
