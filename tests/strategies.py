"""Hypothesis strategies for the words that many rooms take: job specs and what they are made of.

`job_specs` draws specs as `spec.parse` could make them: within the limits, normalised, and with
every field of JobSpec set now and then (a test holds that).
"""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st

from zenkei.model.dataset import DatasetRequest, Shuffle, Split
from zenkei.model.ids import WHOLE, JobId
from zenkei.model.job import (
    After,
    CheckpointPolicy,
    CheckpointRanks,
    CodeRequest,
    Dependency,
    EnvRequest,
    HangAction,
    HangPolicy,
    JobSpec,
    Launcher,
    ResourceRequest,
    RetryAction,
    RetryPolicy,
    RetryRule,
    SecretUse,
    Topology,
)
from zenkei.model.resources import Request

T = TypeVar("T")

VISIBLE = st.characters(exclude_categories=("C", "Zl", "Zp", "Zs"), exclude_characters="/\\$")
NAMES = st.text(VISIBLE, min_size=1, max_size=12).filter(lambda t: t not in (".", ".."))
WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,7}", fullmatch=True)
VARIABLES = st.from_regex(r"[A-Z][A-Z0-9_]{0,7}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), max_size=20)
PATHS = st.lists(WORDS, min_size=1, max_size=3).map("/".join)
SECONDS = st.integers(min_value=0, max_value=10_000_000).map(lambda ms: ms / 1000)
JOB_IDS = st.builds(
    JobId,
    st.integers(min_value=1, max_value=10**6),
    st.one_of(st.just(WHOLE), st.integers(min_value=0, max_value=99_999)),
)


def tuples(each: st.SearchStrategy[T], most: int = 4) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(each, max_size=most).map(tuple)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """What one node must give: no GPU, a share of one, or whole ones."""
    count, milli = draw(
        st.one_of(
            st.just((0, 0)),
            st.integers(min_value=1, max_value=999).map(lambda share: (1, share)),
            st.integers(min_value=1, max_value=16).map(lambda whole: (whole, 1000)),
        )
    )
    kinds = draw(tuples(st.sampled_from(["A100", "H200", "P100"]))) if count else ()
    return Request(
        cpu_milli=draw(st.integers(min_value=1, max_value=256_000)),
        memory_bytes=draw(st.integers(min_value=0, max_value=1 << 50)),
        tmp_bytes=draw(st.integers(min_value=0, max_value=1 << 50)),
        gpu_count=count,
        gpu_milli=milli,
        gpu_kinds=tuple(sorted(set(kinds))),
    )


ENVS = st.builds(
    EnvRequest,
    python=st.sampled_from(["", "3.10", "3.11.7"]),
    packages=tuples(WORDS),
    requirements=TEXTS,
    lock=TEXTS,
    vars=st.dictionaries(VARIABLES, TEXTS, max_size=4),
    build=st.booleans(),
)
RULES = st.builds(
    RetryRule,
    exit_codes=st.lists(st.integers(min_value=1, max_value=255), max_size=4, unique=True).map(
        lambda codes: tuple(sorted(codes))
    ),
    pattern=TEXTS,
    action=st.sampled_from(RetryAction),
)
RETRIES = st.builds(
    RetryPolicy,
    limit=st.integers(min_value=0, max_value=100),
    backoff_s=SECONDS,
    rules=tuples(RULES, 3),
)
CHECKPOINTS = st.builds(
    CheckpointPolicy,
    signal=st.sampled_from(["", "TERM", "USR1", "USR2"]),
    ranks=st.sampled_from(CheckpointRanks),
    grace_s=SECONDS,
    every_s=SECONDS,
    keep=st.integers(min_value=1, max_value=100),
)
HANGS = st.builds(
    HangPolicy,
    action=st.sampled_from(HangAction),
    quiet_s=SECONDS,
    startup_s=SECONDS,
    timeout_s=SECONDS,
    enabled=st.booleans(),
)
SECRETS = st.builds(SecretUse, name=WORDS, variable=VARIABLES, as_file=st.booleans())
MATRICES = st.dictionaries(
    WORDS, st.lists(TEXTS, min_size=1, max_size=4, unique=True).map(tuple), max_size=3
)


@st.composite
def resources(draw: st.DrawFn) -> ResourceRequest:
    """A gang of a fixed size, or one that may be smaller."""
    nodes = draw(st.integers(min_value=1, max_value=100_000))
    return ResourceRequest(
        nodes=nodes,
        least=draw(st.one_of(st.just(0), st.integers(min_value=0, max_value=nodes - 1))),
        node=draw(requests()),
        ranks=draw(st.integers(min_value=1, max_value=1_024)),
    )


def dataset_requests() -> st.SearchStrategy[DatasetRequest]:
    parts = st.lists(st.tuples(WORDS, st.sampled_from([0.1, 0.25, 0.5])), max_size=2).map(tuple)
    split = st.builds(
        Split, parts=parts, seed=st.integers(0, 9), by=st.sampled_from(["file", "group"])
    )
    shuffle = st.builds(Shuffle, seed=st.integers(0, 9), epoch=st.integers(0, 9))
    return st.builds(
        DatasetRequest,
        name=WORDS,
        at=WORDS,
        version=st.sampled_from(["", "@3", ":stable"]),
        split=st.none() | split,
        shuffle=st.none() | shuffle,
    )


def job_specs() -> st.SearchStrategy[JobSpec]:
    return st.builds(
        JobSpec,
        name=NAMES,
        command=st.one_of(
            TEXTS.filter(str.strip), st.lists(TEXTS, min_size=1, max_size=4).map(tuple)
        ),
        project=WORDS,
        queue=WORDS,
        priority=st.integers(min_value=-1_000_000, max_value=1_000_000),
        env=ENVS,
        resources=resources(),
        launcher=st.sampled_from(Launcher),
        code=st.builds(
            CodeRequest, enabled=st.booleans(), include=tuples(PATHS), exclude=tuples(PATHS)
        ),
        seed=st.one_of(st.none(), st.integers(min_value=0, max_value=(1 << 32) - 1)),
        deterministic=st.booleans(),
        retry=RETRIES,
        time_limit_s=st.one_of(st.none(), SECONDS),
        grace_s=SECONDS,
        after=tuples(st.builds(Dependency, job=JOB_IDS, after=st.sampled_from(After))),
        array=st.integers(min_value=0, max_value=50),
        matrix=MATRICES,
        labels=st.dictionaries(WORDS, NAMES, max_size=3),
        constraints=st.dictionaries(WORDS, st.lists(NAMES, min_size=1).map(tuple), max_size=3),
        secrets=tuples(SECRETS),
        outputs=PATHS,
        checkpoint=st.one_of(st.none(), CHECKPOINTS),
        hang=HANGS,
        rdma=st.booleans(),
        datasets=st.lists(dataset_requests(), max_size=2).map(tuple),
        topology=st.one_of(
            st.just(Topology()), st.builds(Topology, level=WORDS, required=st.booleans())
        ),
    )
