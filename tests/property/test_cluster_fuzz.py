"""Whatever the bytes: a configuration or InvalidInput with places; and all of them read back."""

from hypothesis import example, given
from hypothesis import strategies as st

from zenkei.model.errors import InvalidInput
from zenkei.model.queue import (
    Amounts,
    ClusterConfig,
    NodePlace,
    Order,
    Placement,
    Policy,
    Queue,
    Reclaim,
    Reservation,
    Within,
)
from zenkei.spec import cluster, limits
from zenkei.spec.cluster_keys import FILE
from zenkei.spec.cluster_words import diff
from zenkei.spec.keys import walk

PAGE = b"""
version: 1
timezone: Asia/Tokyo
topology: {levels: [rack, leaf]}
nodes:
  - match: node-[1-4]
    topology: {rack: r1, leaf: l1}
    labels: &l {disk: nvme}
  - {match: [a, gpu-*], labels: {<<: *l}}
queues:
  vision:
    quota: {gpus: 16, cpus: 128, memory: 2TiB}
    queues:
      train: {quota: {gpus: {A100: 8, H100: 4}}, borrow: {gpus: 8}, lend: false}
      debug: {weight: 0, user_cap: {gpus: 1}, preemption: {within: never}}
reservations:
  upgrade: {nodes: a, from: 2026-12-01 09:00, to: 2026-12-01T18:00+09:00, queues: [vision]}
policy: {half_life: 3d, collect: 0.2, order: fifo}
"""
TOKENS = [
    *(key.name for _, key in walk(FILE)),
    *("*l", "&l ", "<<", "- ", ": ", "[", "]", "{", "}", "!!x ", "---\n", "'", '"', "#", "\t", "~"),
    *("\n  ", "\x00", "\ufeff", "\u202e", ".nan", "-1", ".inf", "9" * 5000, "1e9", "2026-12-01"),
    *("24:00", "+99:99", "n[1-", "[01-9]", "0001-01-01 00:00Z", "Etc/../x", "9" * 18 + "TiB"),
]


def attempt(text: bytes) -> ClusterConfig | InvalidInput:
    try:
        return cluster.parse(text, file="cluster.yaml")
    except InvalidInput as error:
        return error


def check(text: bytes) -> None:
    made = attempt(text)
    if isinstance(made, ClusterConfig):
        assert cluster.from_canonical(cluster.canonical(made)) == made
        assert diff(made, made) == ()
        return
    assert made.code == "invalid-cluster-file"
    assert 1 <= len(made.problems) <= limits.PROBLEMS
    assert all(problem.at is not None for problem in made.problems)


@given(st.binary(max_size=200))
@example(PAGE)
def test_any_bytes_are_read_or_refused(text):
    check(text)


@given(
    st.lists(
        st.tuples(st.integers(0, len(PAGE)), st.integers(0, 6), st.sampled_from(TOKENS)),
        min_size=1,
        max_size=4,
    )
)
def test_a_file_with_slips_is_read_or_refused(slips):
    text = PAGE
    for at, gone, token in slips:
        text = text[:at] + token.encode() + text[at + gone :]
    check(text)


WORD = st.text("abcxyz-é", min_size=1, max_size=6)
MILLI = st.integers(0, 10**12)
SOME = st.none() | MILLI
TABLE = st.dictionaries(WORD, MILLI, max_size=2).map(lambda found: tuple(sorted(found.items())))
AMOUNTS = st.builds(Amounts, cpu_milli=SOME, memory_bytes=SOME, gpu_milli=SOME, kinds=TABLE)
WORDS = st.lists(WORD, max_size=3).map(tuple)
SPAN = st.integers(0, 10**9).map(lambda ms: ms / 1000)
QUEUE = st.builds(
    Queue,
    name=WORD,
    parent=WORD | st.just(""),
    quota=AMOUNTS,
    cap=AMOUNTS,
    borrow=st.booleans(),
    borrow_limit=AMOUNTS,
    lend_limit=AMOUNTS,
    user_cap=AMOUNTS,
    weight_milli=MILLI,
    priority=st.integers(-9, 9),
    gpu_kinds=WORDS,
    within=st.sampled_from(Within),
    reclaim=st.sampled_from(Reclaim),
)
CONFIG = st.builds(
    ClusterConfig,
    levels=WORDS,
    places=st.lists(
        st.builds(
            NodePlace, nodes=WORDS, topology=WORDS, labels=st.dictionaries(WORD, WORD, max_size=2)
        ),
        max_size=2,
    ).map(tuple),
    queues=st.lists(QUEUE, max_size=3).map(tuple),
    reservations=st.lists(
        st.builds(
            Reservation,
            name=WORD,
            nodes=WORDS,
            from_us=MILLI,
            to_us=MILLI,
            queues=WORDS,
            users=WORDS,
            reason=WORD,
        ),
        max_size=2,
    ).map(tuple),
    policy=st.builds(
        Policy,
        order=st.sampled_from(Order),
        placement=st.sampled_from(Placement),
        half_life_s=SPAN,
        preempt=st.booleans(),
        tolerance_s=SPAN,
        reserve_gangs=st.integers(0, 99),
    ),
)


@given(CONFIG, CONFIG)
def test_canonical_text_is_read_back_and_tells_configurations_apart(one, two):
    assert cluster.from_canonical(cluster.canonical(one)) == one
    assert (cluster.canonical(one) == cluster.canonical(two)) is (one == two)
