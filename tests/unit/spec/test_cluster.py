"""cluster.yaml: what is read, what is refused, what differs between two of them."""

import json
from typing import Any

import pytest

from zenkei.model.errors import InvalidInput
from zenkei.model.queue import Amounts, ClusterConfig, NodePlace, Reclaim, Reservation, Within
from zenkei.spec import cluster
from zenkei.spec.cluster_starter import Machine, starter
from zenkei.spec.cluster_words import diff, words

HOUR_US = 3_600_000_000
NESTED = "queues: {{a: {{quota: {{gpus: 4}}, queues: {{b: {{{}}}}}}}}}"


def read(text: str) -> ClusterConfig:
    return cluster.parse(text.encode(), file="cluster.yaml")


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as raised:
        read(text)
    assert raised.value.code == "invalid-cluster-file"
    return [str(problem) for problem in raised.value.problems]


def queue(text: str, name: str = "a"):
    return next(q for q in read(text).queues if q.name == name)


def test_quantities_have_units_and_gpus_may_be_told_by_model():
    found = queue("queues: {a: {quota: {gpus: {H100: 8, A100: 0.5, total: 12}, memory: 2TiB}}}")
    kinds = (("A100", 500), ("H100", 8000))
    assert found.quota == Amounts(gpu_milli=12_000, kinds=kinds, memory_bytes=2 << 40)


def test_queues_are_nested_in_any_depth():
    text, last = "{}", 25
    for number in range(last, 0, -1):
        text = f"{{queues: {{q{number}: {text}}}}}"
    found = read(text).queues
    assert [q.name for q in found] == [f"q{n}" for n in range(1, last + 1)]
    assert [q.parent for q in found] == ["", *(f"q{n}" for n in range(1, last))]


def test_a_queue_has_priority_models_and_preemption_of_the_one_around_it():
    text = """
queues:
  a:
    priority: 7
    gpu_types: [B, A]
    preemption: {within: never, reclaim: lower_priority}
    queues: {b: {}, c: {priority: 1, gpu_types: A, preemption: {reclaim: any}}}
"""
    b, c = queue(text, "b"), queue(text, "c")
    assert (b.priority, b.gpu_kinds, b.within) == (7, ("A", "B"), Within.NEVER)
    assert b.reclaim is Reclaim.LOWER_PRIORITY
    assert (c.priority, c.gpu_kinds, c.within) == (1, ("A",), Within.NEVER)
    assert c.reclaim is Reclaim.ANY


def test_borrowing_and_lending_are_yes_no_or_so_much():
    text = "queues: {a: {borrow: false, lend: false}, b: {borrow: {gpus: 2}, lend: {cpus: 4}}}"
    a, b = queue(text, "a"), queue(text, "b")
    assert (a.borrow, a.lend_limit) == (
        False,
        Amounts(cpu_milli=0, memory_bytes=0, gpu_milli=0),
    )
    assert (b.borrow, b.borrow_limit) == (True, Amounts(gpu_milli=2000))
    assert b.lend_limit == Amounts(cpu_milli=4000)


def test_a_weight_of_nothing_is_allowed():
    assert queue("queues: {a: {weight: 0}}").weight_milli == 0


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("queues: {a: {quota: {gpus: -1}}}", "must be a number of GPUs, not `-1`"),
        ("queues: {a: {quota: {gpus: .nan}}}", "must be a number of GPUs, not `.nan`"),
        ("queues: {a: {weight: NaN}}", "must be a number, not `NaN`"),
        ("queues: {a: {quota: {memory: 16}}}", "must be a size with a unit"),
        ("queues: {a: {qouta: {gpus: 1}}}", "`qouta` is not a key of `queues.a`"),
        ("queues: {a: {}, b: {queues: {a: {}}}}", "the queue `a` is given twice"),
        ("queues: {a: {}, a: {}}", "`a` is given twice"),
        ("queues: &x {a: {queues: *x}}", "alias `*x` contains itself"),
        ("queues: {a/b: {}}", "`a/b` in `queues` is not a queue's name"),
        ("queues: {a: {quota: {gpus: 4}, cap: {gpus: 2}}}", "the quota of `a` is 4 gpus, its cap"),
        (
            NESTED.format("quota: {gpus: 3}}, c: {quota: {gpus: 2}"),
            "the queues inside `a` have quotas of 5 gpus together, it has 4",
        ),
        (
            NESTED.format("queues: {c: {quota: {gpus: {X: 3, Y: 2}}}}"),
            "have quotas of 5 gpus together, it has 4",
        ),
        (
            "queues: {a: {gpu_types: [X], queues: {b: {gpu_types: [Y]}}}}",
            "`Y` is not allowed in the queue `a`",
        ),
        ("queues: {a: {gpu_types: X, quota: {gpus: {Y: 1}}}}", "a quota of `Y`"),
        ("topology: {levels: [rack, rack]}", "the level `rack` is given twice"),
        ("topology: {levels: [node]}", "`node` is no level"),
        ("nodes: [{match: n1, topology: [x]}]", "a place is given, but no levels"),
        (
            "topology: {levels: [rack, leaf]}\nnodes: [{match: n1, topology: [x]}]",
            "1 places are given, there are 2 levels",
        ),
        (
            "topology: {levels: [rack, leaf]}\nnodes: [{match: n1, topology: {leaf: x}}]",
            "the place on the level `rack` is missing",
        ),
        ("nodes: [{labels: {a: b}}]", "needs `match`"),
        ("nodes: [{match: 'n[2-1]'}]", "cannot be `n[2-1]`"),
        ("timezone: Mars", "`timezone` cannot be `Mars`"),
        ("policy: {half_life: 0s}", "`policy.half_life` cannot be 0s"),
        ("policy: {collect: 1.5}", "`policy.collect` cannot be 1.5"),
        ("half_life: 3d", "`half_life` is not a key of the cluster file"),
        ("a: 1\n---\nb: 1", "a second document starts"),
        ("", "the file is empty"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text, wrong):
    found = problems(text)
    assert any(wrong in one for one in found), found
    assert all("cluster.yaml:" in one for one in found)


def test_all_that_is_wrong_is_told_at_once():
    assert len(problems("queues: {a: {x: 1, weight: -1}}\npolcy: 1\npolicy: {order: lifo}")) == 4


# -- reservations ----------------------------------------------------------------------------------


def reservation(rest: str, head: str = "") -> Reservation:
    text = f"{head}\nqueues: {{a: {{}}}}\nreservations: {{r: {{nodes: n1, {rest}}}}}"
    return read(text).reservations[0]


def test_times_are_in_their_own_zone_or_in_that_of_the_file():
    zoned = reservation("from: 2026-12-01T09:00+09:00, to: 2026-12-01 01:00Z")
    assert zoned.to_us - zoned.from_us == HOUR_US
    here = reservation("from: 2026-12-01 09:00, for: 1h", "timezone: Asia/Tokyo")
    assert (here.from_us, here.to_us) == (zoned.from_us, zoned.to_us)


@pytest.mark.parametrize(
    ("rest", "wrong"),
    [
        ("from: 2026-12-01 09:00", "the reservation `r` needs `to`"),
        ("from: 2026-12-02 09:00, to: 2026-12-01 09:00", "ends before it begins"),
        ("from: 2026-12-01 09:00, to: 2026-12-02 09:00, for: 1h", "an end and a length"),
        ("from: 2026-13-01 09:00, for: 1h", "must be a time such as"),
        ("from: 2026-03-29 02:30, for: 1h", "does not exist in Europe/Berlin"),
        ("from: 2026-10-25 02:30, for: 1h", "exists twice in Europe/Berlin"),
        ("from: 2026-12-01 09:00, for: 1h, queues: [b]", "for the queue `b`, which is not here"),
    ],
)
def test_a_reservation_that_cannot_be_is_refused(rest, wrong):
    head = "timezone: Europe/Berlin\nqueues: {a: {}}"
    found = problems(f"{head}\nreservations: {{r: {{nodes: n1, {rest}}}}}")
    assert any(wrong in one for one in found), found


def test_an_hour_that_comes_twice_is_meant_once_with_its_zone():
    found = reservation("from: 2026-10-25 02:30+02:00, for: 1h", "timezone: Europe/Berlin")
    other = reservation("from: 2026-10-25 02:30+01:00, for: 1h", "timezone: Europe/Berlin")
    assert other.from_us - found.from_us == HOUR_US


# -- nodes -----------------------------------------------------------------------------------------


def test_a_place_is_a_list_or_a_mapping_of_levels():
    text = """
topology: {levels: [rack, leaf]}
nodes:
  - match: n1
    topology: [r1, l1]
  - match: [n2, "m[1-4]"]
    topology: {leaf: l2, rack: r2}
    labels: {disk: nvme}
"""
    assert read(text).places == (
        NodePlace(nodes=("n1",), topology=("r1", "l1")),
        NodePlace(nodes=("n2", "m[1-4]"), topology=("r2", "l2"), labels={"disk": "nvme"}),
    )


# -- canonical form, schema, words, starter --------------------------------------------------------


def test_the_order_of_what_has_none_does_not_change_the_hash():
    one = read("queues: {a: {gpu_types: [X, Y]}, b: {weight: 1}}")
    two = read("version: 1\nqueues: {b: {}, a: {gpu_types: [Y, X]}}")
    assert cluster.digest(one) == cluster.digest(two)


def test_a_part_that_is_not_known_is_refused_when_it_is_read_back():
    with pytest.raises(InvalidInput, match="unknown part 'later'"):
        cluster.from_canonical('{"later":1}')


def test_the_schema_knows_every_key_and_queues_in_queues():
    found: Any = cluster.schema()
    json.dumps(found)
    inner = found["$defs"]["queues"]["additionalProperties"]["properties"]
    assert inner["queues"]["$ref"] == "#/$defs/queues"
    assert {"quota", "cap", "weight", "borrow", "lend"} <= set(inner)


def test_a_diff_names_each_value_in_the_words_of_the_file():
    before = read("queues: {a: {quota: {gpus: 16}, weight: 2}, b: {}}\npolicy: {half_life: 1d}")
    after = read("queues: {a: {quota: {gpus: 24}, queues: {c: {priority: 3}}}}")
    found = {change.path: (change.before, change.after) for change in diff(before, after)}
    assert found == {
        "policy.half_life": ("1d", ""),
        "queues.a.queues.c": ("", "a queue"),
        "queues.a.queues.c.priority": ("", "3"),
        "queues.a.quota.gpus": ("16", "24"),
        "queues.a.weight": ("2", ""),
        "queues.b": ("a queue", ""),
    }
    assert diff(after, after) == ()


def test_the_first_file_is_accepted_and_wishes_nothing_but_one_queue():
    text = starter([Machine("node-1", 8, 16 << 30, {"A100": 4}), Machine("node-2", 8, 1 << 34, {})])
    assert "2 nodes: 4 x A100, 16 cores, 32GiB of memory" in text
    assert list(words(read(text))) == ["queues.default"]
    uncommented = "\n".join(
        line.replace("# ", "", 1) if line.startswith(("# ", "  # ")) else line
        for line in text.splitlines()[3:]
        if not line.startswith(("# Jobs", "# borrows", "# Where", "# Nodes"))
    )
    found = read(uncommented)
    assert {q.name for q in found.queues} == {"default", "vision", "train", "debug"}
    assert found.reservations[0].name == "maintenance"
    assert found.places[0].topology == ("r1",)
