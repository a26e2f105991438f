"""Traces of clusters: jobs with their arrival and duration, and the nodes they ran on.

Called by `zenkei sim run` and by benches. The form is a CSV file with a header (guide "What if"):
submit_s and duration_s are needed, everything else may be missing or empty. What cannot be read
raises InvalidInput with file, line, column, value and hint. Cost: about 10 µs a job.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple, NoReturn

from zenkei.model.cluster import Node
from zenkei.model.errors import InvalidInput, Location, NotFound, Problem
from zenkei.model.resources import WHOLE_GPU_MILLI, Capacity, Device

CLUSTER: Final = "sim"
ANY_MODEL: Final = "gpu"
"""Model of GPUs of which nothing is said."""
PLENTY_CPU_MILLI: Final = 1_000_000
PLENTY_BYTES: Final = 1 << 44
"""Of a node of which nothing is said: jobs that say nothing ask for none."""
GIB: Final = 1 << 30
MOST_JOBS: Final = 5_000_000
MOST_NODES: Final = 50_000
MOST_GPUS: Final = 4096
MOST_S: Final = 1e10
_SHORT: Final = re.compile(r"(\d{1,5})x(?:([A-Za-z][\w.-]{0,40})x)?(\d{1,4})", re.ASCII)


class TraceJob(NamedTuple):
    """One job. nodes: equal parts that start together; gpu_count, …: of one part.

    gpus: of the whole gang, where the source knows them better than nodes x gpu_count. limit_us: as
    its user had set it, 0: not. group: application or model, "" if nobody knows.
    """

    name: str
    user: str
    queue: str
    group: str
    submit_us: int
    duration_us: int
    nodes: int = 1
    gpu_count: int = 0
    gpu_milli: int = 0
    cpu_milli: int = 0
    memory_bytes: int = 0
    kinds: tuple[str, ...] = ()
    limit_us: int = 0
    gpus: int = 0

    @property
    def gpus_milli(self) -> int:
        """Thousandths of GPUs that it holds while it runs."""
        whole = self.nodes * self.gpu_count * self.gpu_milli
        return self.gpus * WHOLE_GPU_MILLI if self.gpus else whole


class Row:
    """One line of a table: values by column, and errors with their place."""

    __slots__ = ("file", "line", "places", "values")

    def __init__(self, file: str, places: dict[str, int], line: int, values: list[str]) -> None:
        self.file, self.places, self.line, self.values = file, places, line, values

    def text(self, column: str) -> str:
        place = self.places.get(column)
        if place is None or place >= len(self.values):
            return ""
        return self.values[place].strip()

    def number(self, column: str, most: float, default: float | None = None) -> float:
        """From 0 to `most`; default: of an empty field, None: there must be one."""
        text = self.text(column)
        if not text:
            if default is None:
                self.refuse(column, f"`{column}` is empty", "every job needs one")
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= most:  # a comparison with nan is false
            self.refuse(column, f"{column} `{_short(text)}` is not a number from 0 to {most:g}")
        return value

    def whole(self, column: str, least: int, most: int, default: int) -> int:
        value = self.number(column, most, default)
        if value < least or value != int(value):
            text = _short(self.text(column))
            self.refuse(column, f"{column} `{text}` is not a whole number from {least} to {most}")
        return int(value)

    def refuse(self, column: str, message: str, hint: str = "") -> NoReturn:
        place = self.places.get(column, 0)
        before = self.values[: min(place, len(self.values))]
        at = Location(
            file=self.file, line=self.line, column=1 + sum(len(one) + 1 for one in before)
        )
        raise bad_table(at, message, hint or "the form is in the guide `What if`")


def bad_table(at: Location, message: str, hint: str) -> InvalidInput:
    """What is wrong with a file that somebody brought."""
    problem = Problem(code="bad-trace", message=message, hint=hint, at=at)
    return InvalidInput("bad-trace", str(problem), hint=hint, problems=(problem,))


def read_trace(path: Path, *, queue: str = "", limit: int = 0) -> tuple[TraceJob, ...]:
    """Jobs by arrival. queue: only of this one; limit: only the first so many. 0: all.

    Raises NotFound for a queue that no job is in.
    """
    jobs: list[TraceJob] = []
    queues: set[str] = set()
    for row in rows_of(path, needed=("submit_s", "duration_s")):
        job = _job(row)
        queues.add(job.queue)
        if not queue or job.queue == queue:
            jobs.append(job)
            if len(jobs) > MOST_JOBS:
                row.refuse("submit_s", f"there are more than {MOST_JOBS} jobs", "cut the file")
    if not jobs:
        known = ", ".join(sorted(_short(one) for one in queues)[:20]) or "none"
        raise NotFound(
            "nothing-to-simulate",
            f"no job of `{path}` is in queue `{queue}`" if queue else f"`{path}` has no job",
            hint=f"its queues: {known}",
        )
    jobs.sort(key=lambda job: job.submit_us)
    return tuple(jobs[:limit] if limit else jobs)


def _job(row: Row) -> TraceJob:
    count, milli = _gpus(row)
    nodes = row.whole("nodes", 1, MOST_NODES, 1)
    if 0 < milli < WHOLE_GPU_MILLI and nodes > 1:
        row.refuse("gpus_per_node", "a share of one GPU is for one node only")
    kinds = tuple(kind.strip() for kind in row.text("gpu_type").split("|") if kind.strip())
    return TraceJob(
        name=row.text("job_id"),
        user=row.text("user"),
        queue=row.text("queue") or "default",
        group=row.text("group"),
        submit_us=round(row.number("submit_s", MOST_S) * 1e6),
        duration_us=round(row.number("duration_s", MOST_S) * 1e6),
        nodes=nodes,
        gpu_count=count,
        gpu_milli=milli,
        cpu_milli=round(row.number("cpus", 1e6, 0) * 1000),
        memory_bytes=round(row.number("mem_gib", 1e6, 0) * GIB),
        kinds=kinds if count else (),
        limit_us=round(row.number("requested_s", MOST_S, 0) * 1e6),
        gpus=row.whole("num_replicas", 0, MOST_GPUS, 0),
    )


def _gpus(row: Row) -> tuple[int, int]:
    """Count and thousandths of each: 0.47 is a share of one."""
    value = row.number("gpus_per_node", MOST_GPUS, 0)
    if value == int(value):
        return int(value), WHOLE_GPU_MILLI if value else 0
    if value > 1:
        text = _short(row.text("gpus_per_node"))
        row.refuse("gpus_per_node", f"gpus_per_node `{text}` is neither whole nor a share of one")
    return 1, max(1, round(value * WHOLE_GPU_MILLI))


# -- nodes -----------------------------------------------------------------------------------------
def read_nodes(text: str) -> tuple[Node, ...]:
    """`16x4` (16 nodes of 4 GPUs), `2xA100x8,4x8`, or a table: name, gpus, gpu_type, cpus, …"""
    shapes = [_SHORT.fullmatch(part.strip()) for part in text.split(",")]
    if not all(shapes):
        return _from_file(Path(text))
    nodes: list[Node] = []
    for shape in shapes:
        assert shape is not None, "all of them match"
        count, kind, gpus = int(shape[1]), shape[2] or ANY_MODEL, int(shape[3])
        for _ in range(count):
            nodes.append(make_node(f"node-{len(nodes) + 1:04}", gpus, kind))
    if not nodes:
        raise InvalidInput("bad-nodes", f"`{text[:60]}` has no node", hint="such as 16x4")
    return tuple(nodes)


def make_node(
    name: str,
    gpus: int,
    kind: str,
    cpu_milli: int = PLENTY_CPU_MILLI,
    memory_bytes: int = PLENTY_BYTES,
    labels: dict[str, str] | None = None,
) -> Node:
    return Node(
        name=name,
        cluster=CLUSTER,
        capacity=Capacity(
            cpu_milli=cpu_milli,
            memory_bytes=memory_bytes,
            tmp_bytes=PLENTY_BYTES,
            devices=tuple(Device(index=i, kind=kind) for i in range(gpus)),
        ),
        labels=labels or {},
        boot_id=f"boot-{name}",
        virtual=True,
    )


def one_node(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """All of them as one, where GPUs are counted and not placed."""
    capacities = [node.capacity for node in nodes]
    kinds = [device.kind for capacity in capacities for device in capacity.devices]
    whole = make_node(
        "all",
        0,
        ANY_MODEL,
        sum(capacity.cpu_milli for capacity in capacities),
        sum(capacity.memory_bytes for capacity in capacities),
    )
    devices = tuple(Device(index=i, kind=kind) for i, kind in enumerate(kinds))
    capacity = whole.capacity
    counted = Capacity(
        cpu_milli=capacity.cpu_milli,
        memory_bytes=capacity.memory_bytes,
        tmp_bytes=capacity.tmp_bytes,
        devices=devices,
    )
    return (Node(name="all", cluster=CLUSTER, capacity=counted, boot_id="boot", virtual=True),)


def counted(job: TraceJob) -> TraceJob:
    """The same job where GPUs are counted: one part that has all of them."""
    gpus = job.gpus or job.nodes * job.gpu_count
    is_share = 0 < job.gpu_milli < WHOLE_GPU_MILLI
    return job._replace(
        nodes=1,
        gpu_count=job.gpu_count if is_share else gpus,
        cpu_milli=job.nodes * job.cpu_milli,
        memory_bytes=job.nodes * job.memory_bytes,
        gpus=0 if is_share else gpus,
    )


def _from_file(path: Path) -> tuple[Node, ...]:
    nodes: dict[str, Node] = {}
    for row in rows_of(path, needed=("name", "gpus")):
        name = row.text("name")
        if not name or name in nodes:
            why = "a second time" if name else "without a name"
            row.refuse("name", f"node `{_short(name)}` stands there {why}")
        if len(nodes) >= MOST_NODES:
            row.refuse("name", f"there are more than {MOST_NODES} nodes")
        cpus, mem_gib = row.number("cpus", 1e6, 0), row.number("mem_gib", 1e7, 0)
        switch = row.text("switch")
        nodes[name] = make_node(
            name,
            row.whole("gpus", 0, MOST_GPUS, 0),
            row.text("gpu_type") or ANY_MODEL,
            round(cpus * 1000) or PLENTY_CPU_MILLI,
            round(mem_gib * GIB) or PLENTY_BYTES,
            {"switch": switch} if switch else None,
        )
    if not nodes:
        raise InvalidInput("bad-nodes", f"`{path}` has no node", hint="name and gpus of each")
    return tuple(nodes.values())


# -- tables ----------------------------------------------------------------------------------------
def rows_of(path: Path, *, needed: tuple[str, ...], delimiter: str = ",") -> Iterator[Row]:
    """Lines of a table with a header, also compressed. needed: columns without which it is none."""
    file = str(path)
    line = 1
    try:
        with _opened(path) as text:
            reader = csv.reader(text, delimiter=delimiter, strict=delimiter == ",")
            names = [name.strip().lstrip("\ufeff") for name in next(reader, [])]
            places = {name: place for place, name in enumerate(names)}
            missing = [name for name in needed if name not in places]
            if missing:
                told = ", ".join(_short(name) for name in names[:20]) or "nothing"
                at = Location(file=file, line=1, column=1)
                raise bad_table(at, f"column `{missing[0]}` is missing", f"there are: {told}")
            for values in reader:
                line = reader.line_num
                if not values:
                    continue
                row = Row(file, places, line, values)
                if len(values) != len(names):
                    much = f"{len(values)} fields, the header has {len(names)}"
                    row.refuse(names[-1], f"the line has {much}", "quote fields that have commas")
                yield row
    except UnicodeDecodeError as error:
        raise _unreadable(file, line + 1, "it is no UTF-8 text") from error
    except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _unreadable(file, line + 1, str(error)) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise NotFound(
            "no-such-trace", f"`{file}` cannot be read: {why}", hint="a CSV file, or .csv.gz"
        ) from error


def _unreadable(file: str, line: int, why: str) -> InvalidInput:
    at = Location(file=file, line=line, column=1)
    return bad_table(at, f"the file cannot be read on from here: {why[:200]}", "CSV, or .csv.gz")


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return io.open(path, encoding="utf-8", newline="")  # noqa: UP020 - beside gzip's


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
