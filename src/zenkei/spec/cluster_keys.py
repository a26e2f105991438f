"""The table of all keys of a cluster file: the one source for parser, hints, JSON Schema and docs.

Used by `cluster`. A key is added here and in `cluster_build`; its place in a diff in
`cluster_words`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from zenkei.model.nodenames import complaint
from zenkei.spec import limits, names
from zenkei.spec.instants import ZONE, Instant
from zenkei.spec.keys import walk
from zenkei.spec.kinds import Boolean, Choice, Duration, Integer, Milli, Size, Text, hidden
from zenkei.spec.problems import Reading
from zenkei.spec.shapes import Either, Items, Key, Section, Table
from zenkei.spec.tree import Node

VERSION: Final = 1
TOTAL: Final = "total"
"""Beside GPU models: all of them together."""


def _queue_name(text: str) -> tuple[str, str] | None:
    word = Text(most=limits.PLACE_CHARS, pattern=names.PLACE_PATTERN, rule=names.place_name)
    if not word.allows(text):
        hint = "letters, digits, `.`, `_` and `-`, starting with a letter or digit"
        return "is not a queue's name", hint
    return None


def _model_name(text: str) -> tuple[str, str] | None:
    is_word = text and len(text) <= limits.PLACE_CHARS and not hidden(text)
    return None if is_word else ("is no GPU model", "as `zenkei nodes` shows them, such as A100")


def _reservation_name(text: str) -> tuple[str, str] | None:
    bad = _queue_name(text)
    return None if bad is None else ("is not a reservation's name", bad[1])


def _pattern_rule(text: str) -> str:
    wrong = complaint(text)
    return f"it {wrong}" if wrong else ""


_LABEL_VALUE: Final = Text(wants="a text", most=limits.NAME_CHARS)
_PLACE: Final = Text(wants="a name", most=limits.LABEL_CHARS, pattern=names.PLACE_PATTERN)
_PATTERN: Final = Text(wants="a node's name or a pattern such as n[01-16]", rule=_pattern_rule)
_NODES: Final = Items(of=_PATTERN, most=limits.PATTERNS_OF_NODES, single=True, least=1)
_MODEL: Final = Text(wants="a GPU model", most=limits.PLACE_CHARS)
_NAMES: Final = Items(of=Text(wants="a name"), most=limits.MEMBERS_OF_QUEUE, single=True, least=1)
_GPUS: Final = Milli(least=0, most=1000 * limits.TOTAL_GPUS, wants="a number of GPUs")


def _seconds(least: int = 0) -> Duration:
    return Duration(least_ms=1000 * least, most_ms=1000 * limits.POLICY_S)


AMOUNTS: Final = Section(
    name="quota",
    wants="a mapping such as {gpus: 8, cpus: 64, memory: 1TiB}",
    synonyms={"gpu": "gpus", "cpu": "cpus", "mem": "memory", "cores": "cpus", "ram": "memory"},
    keys=(
        Key(
            "gpus",
            Either(
                scalar=_GPUS,
                mapping=Table(
                    of=_GPUS, most=limits.GPU_TYPES, check=_model_name, wants="GPUs by model"
                ),
                says="a number of GPUs, or a mapping of models to numbers",
            ),
            "GPUs of all models, or of single ones; `total` beside models: of all together.",
            "{A100: 8, H100: 8}",
            "nothing is said",
        ),
        Key(
            "cpus",
            Milli(least=0, most=1000 * limits.TOTAL_CPUS, wants="a number of cores"),
            "Cores.",
            "128",
            "nothing is said",
        ),
        Key(
            "memory",
            Size(most=limits.TOTAL_BYTES, least=0),
            "Memory.",
            "2TiB",
            "nothing is said",
        ),
    ),
)

PREEMPTION: Final = Section(
    name="preemption",
    keys=(
        Key(
            "within",
            Choice(
                words={
                    "never": "Nobody in its own queue.",
                    "lower_priority": "Jobs of lower priority in its own queue.",
                }
            ),
            "Whom a waiting job may displace in its own queue.",
            default="that of the queue above, else lower_priority",
        ),
        Key(
            "reclaim",
            Choice(
                words={
                    "never": "Nobody: it waits until they end.",
                    "lower_priority": "Borrowers of lower priority.",
                    "any": "Any that borrow.",
                }
            ),
            "Whom a queue below its quota may displace among jobs that borrow from others.",
            default="that of the queue above, else any",
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class _Below:
    """The queues inside a queue: the same table again."""

    wants: str = "a mapping of names to queues"

    def read(self, node: Node, where: str, to: Reading) -> Any:
        return QUEUES.read(node, where, to)

    def schema(self) -> dict[str, object]:
        return {"$ref": "#/$defs/queues"}


QUEUE: Final = Section(
    name="queues.NAME",
    synonyms={
        "guarantee": "quota",
        "guaranteed": "quota",
        "min": "quota",
        "max": "cap",
        "limit": "cap",
        "limits": "cap",
        "share": "weight",
        "shares": "weight",
        "gpu_type": "gpu_types",
        "gpu_models": "gpu_types",
        "children": "queues",
        "user_limit": "user_cap",
        "lending": "lend",
        "borrowing": "borrow",
    },
    keys=(
        Key("quota", AMOUNTS, "Guaranteed to the queue and those below it."),
        Key("cap", AMOUNTS, "Never more than this, however much is free."),
        Key(
            "weight",
            Milli(least=0, most=1000 * limits.WEIGHT, wants="a number"),
            "Its part of what is borrowed, beside its neighbours'. "
            "0: it borrows only what nobody else wants.",
            "2",
            "1",
        ),
        Key(
            "borrow",
            Either(scalar=Boolean(), mapping=AMOUNTS, says="true, false, or at most so much"),
            "Whether it may use what others leave of their quota; amounts: at most so much.",
            "{gpus: 8}",
            "true",
        ),
        Key(
            "lend",
            Either(scalar=Boolean(), mapping=AMOUNTS, says="true, false, or at most so much"),
            "Whether others may use what it leaves of its quota; amounts: at most so much.",
            "{gpus: 4}",
            "true",
        ),
        Key("user_cap", AMOUNTS, "The most that the jobs of one person may hold at a time."),
        Key(
            "priority",
            Integer(least=-limits.PRIORITY, most=limits.PRIORITY),
            "Of jobs that name none.",
            "10",
            "that of the queue above, else 0",
        ),
        Key(
            "gpu_types",
            Items(of=_MODEL, most=limits.GPU_TYPES, single=True, least=1),
            "GPU models that its jobs may use.",
            "[A100, H100]",
            "those of the queue above, else any",
        ),
        Key("preemption", PREEMPTION, "Whom its jobs may displace."),
        Key(
            "order",
            Choice(
                words={
                    "fair": "The person with the smallest share, then who waits longest.",
                    "learned": "Who ends soonest for the GPUs it takes, as far as run times were"
                    " learned; it may displace jobs of the queue that are worth much less.",
                }
            ),
            "Who of its jobs is next. Not with `policy: {order: fifo}`, where all are in one line.",
            default="that of the queue above, else that of the policy",
        ),
        Key(
            "queues",
            _Below(),
            "Queues inside this one, in any depth. Jobs wait in the innermost ones.",
        ),
    ),
)
QUEUES: Final = Table(
    of=QUEUE, most=limits.QUEUES, check=_queue_name, wants="a mapping of names to queues"
)

TOPOLOGY: Final = Section(
    name="topology",
    keys=(
        Key(
            "levels",
            Items(of=_PLACE, most=limits.LEVELS, single=True, least=1),
            "Names of the levels above a node, the widest first.",
            "[rack, leaf]",
        ),
    ),
)

NODES: Final = Section(
    name="nodes[]",
    synonyms={"name": "match", "names": "match", "nodes": "match", "pattern": "match"},
    keys=(
        Key("match", _NODES, "Names of nodes, or patterns of them.", "n[01-16]"),
        Key(
            "topology",
            Either(
                sequence=Items(of=_PLACE, most=limits.LEVELS),
                mapping=Table(
                    of=_PLACE, most=limits.LEVELS, check=names.label, wants="levels and places"
                ),
                says="the place on each level: a list, the widest first, or a mapping",
            ),
            "Where these nodes stand. The first entry that matches a node decides.",
            "{rack: r1, leaf: l3}",
        ),
        Key(
            "labels",
            Table(
                of=_LABEL_VALUE, most=limits.LABELS, check=names.label, pattern=names.LABEL_PATTERN
            ),
            "What `constraints` of jobs are compared with. Labels of all entries that match a node "
            "are joined; those of `zenkei node label` stay on top.",
            "{disk: nvme}",
        ),
    ),
)

RESERVATION: Final = Section(
    name="reservations.NAME",
    synonyms={"start": "from", "begin": "from", "until": "to", "end": "to", "duration": "for"},
    keys=(
        Key("nodes", _NODES, "The nodes, by names or patterns.", "n[01-16]"),
        Key("from", Instant(), "When it begins.", "2026-12-01 09:00"),
        Key("to", Instant(), "When it ends.", "2026-12-01 18:00"),
        Key("for", _seconds(1), "How long it lasts, instead of `to`.", "8h"),
        Key(
            "queues",
            _NAMES,
            "Queues whose jobs may use the nodes meanwhile.",
            "[vision]",
            "nobody's: maintenance",
        ),
        Key("users", _NAMES, "Persons whose jobs may use them meanwhile.", "[ann]", "nobody"),
        Key(
            "reason",
            Text(wants="a text", most=limits.REASON_CHARS),
            "Why, for everybody to see.",
            "new disks",
        ),
    ),
)

POLICY: Final = Section(
    name="policy",
    synonyms={"usage_half_life": "half_life", "aging": "ageing", "backfilling": "backfill"},
    keys=(
        Key(
            "order",
            Choice(
                words={
                    "fair": "By dominant share of quota, then of what is borrowed, by weight.",
                    "fifo": "By priority, then by time of submission.",
                    "learned": "Between queues as `fair`; in each, who ends soonest for the GPUs it"
                    " takes, by the run times that were learned.",
                }
            ),
            "Who is next.",
            default="fair",
        ),
        Key(
            "placement",
            Choice(
                words={
                    "hole_value": "Where what is left over is worth most to the jobs that come.",
                    "fgd": "Where fragmentation grows least.",
                    "best_fit": "Where least is left over.",
                    "first_fit": "On the first node that fits, by name.",
                    "random": "Anywhere, for comparisons.",
                }
            ),
            "Where a job goes among the nodes that fit.",
            default="hole_value",
        ),
        Key("half_life", _seconds(60), "After which past usage counts half.", "7d", "7d"),
        Key(
            "usage_weight",
            Milli(least=0, most=1_000_000, wants="a number"),
            "Weight of past usage against what is held now; 0: the past does not count.",
            "0.5",
            "1",
        ),
        Key(
            "ageing",
            _seconds(),
            "Waiting that makes up for one step of priority; 0: never.",
            "6h",
            "6h",
        ),
        Key("preempt", Boolean(), "Whether running jobs are displaced at all.", default="true"),
        Key("protect", _seconds(), "A job that has run less is not displaced.", "10m", "2m"),
        Key(
            "most_preemptions",
            Integer(least=0, most=1000),
            "How often one job is displaced in an hour, at most.",
            "3",
            "3",
        ),
        Key("restart", _seconds(), "What a restart costs a displaced job.", "1m", "1m"),
        Key("backfill", Boolean(), "Whether later jobs may pass a blocked gang.", default="true"),
        Key(
            "reserve_gangs",
            Integer(least=0, most=10_000),
            "How many blocked gangs have their start protected from what is back-filled.",
            "16",
            "16",
        ),
        Key("tolerance", _seconds(), "How much a back-filled job may delay one.", "5m", "0s"),
        Key(
            "starvation_after",
            _seconds(),
            "After which a blocked gang without a known start collects nodes.",
            "1h",
            "30m",
        ),
        Key(
            "collect",
            Milli(least=0, most=1000, wants="a share from 0 to 1"),
            "Share of all GPUs that such gangs may keep idle at a time.",
            "0.2",
            "0.3",
        ),
    ),
)

FILE: Final = Section(
    name="",
    whole=True,
    synonyms={"queue": "queues", "node": "nodes", "reservation": "reservations", "tz": "timezone"},
    keys=(
        Key(
            "version",
            Integer(least=VERSION, most=VERSION, hint=f"this zenkei reads version {VERSION}"),
            "Version of the cluster file's format.",
            default="1",
        ),
        Key("timezone", ZONE, "Of times that name no zone.", "Asia/Tokyo", "UTC"),
        Key("topology", TOPOLOGY, "How the cluster is built."),
        Key(
            "nodes",
            Items(of=NODES, most=limits.PLACES),
            "Where nodes stand, and their labels.",
            default="as the nodes say themselves",
        ),
        Key("queues", QUEUES, "Who may use how much. Without queues every name is an open queue."),
        Key(
            "reservations",
            Table(
                of=RESERVATION,
                most=limits.RESERVATIONS,
                check=_reservation_name,
                wants="a mapping of names to reservations",
            ),
            "Nodes that are set aside for a time.",
        ),
        Key("policy", POLICY, "How the scheduler decides."),
    ),
)

_SHARED: Final = ("quota", "topology", "nodes[]", "reservations.NAME")
HOMES: Final[dict[str, str]] = {}
"""Where each key lives ('' is the file itself): for keys that were written in the wrong place."""

for _section, _key in walk(FILE):
    if _section.name not in _SHARED:
        HOMES.setdefault(_key.name, _section.name)
for _name in ("queues", "topology", "priority"):
    HOMES.pop(_name, None)
