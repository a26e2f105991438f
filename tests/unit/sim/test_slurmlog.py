"""Jobs from what sacct prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from zenkei.model.errors import InvalidInput, NotFound
from zenkei.sim.running import read_jobs

HEAD = (
    "JobID|User|Account|Partition|Submit|Start|End|Elapsed|State|ReqTRES|AllocTRES|NNodes|Timelimit"
)
GANG = (
    "42|ann|lab|gpu|2026-01-31T12:00:10|2026-01-31T12:05:00|2026-02-01T13:05:00|1-01:00:00|COMPLETED|"
    "cpu=16,mem=128G,node=2,billing=16|cpu=16,mem=128G,node=2,billing=16,gres/gpu=8|2|2-00:00:00"
)
NOON = "2026-01-31T12:00:00"
STEP = f"42.batch||lab||{NOON}|{NOON}|2026-02-01T13:05:00|1-01:00:00|COMPLETED||cpu=8|1|"
SMALL = (
    f"41|bob|lab|cpu|{NOON}|{NOON}|2026-01-31T12:01:30|00:01:30|FAILED||cpu=1,mem=512M|1|UNLIMITED"
)
WAITS = f"43|bob|lab|cpu|{NOON}|Unknown|Unknown|00:00:00|PENDING|cpu=1||1|01:00"
GONE = f"44|bob|lab|cpu|{NOON}|None|2026-01-31T12:10:00|00:00:00|CANCELLED|cpu=1||1|01:00"


def log(folder: Path, *lines: str) -> Path:
    path = folder / "sacct.txt"
    path.write_text("\n".join((HEAD, *lines)) + "\n")
    return path


def test_a_gang_is_read_as_equal_parts_of_what_it_was_given(tmp_path: Path) -> None:
    small, gang = read_jobs(log(tmp_path, GANG, STEP, SMALL))
    assert (gang.name, gang.user, gang.queue, gang.nodes) == ("42", "ann", "gpu", 2)
    assert (gang.submit_us, gang.duration_us) == (10_000_000, 90_000_000_000)
    assert (gang.gpu_count, gang.cpu_milli, gang.memory_bytes) == (4, 8000, 64 << 30)
    assert gang.limit_us == 2 * 86_400_000_000
    assert (small.submit_us, small.duration_us, small.limit_us) == (0, 90_000_000, 0)
    assert (small.gpu_count, small.memory_bytes) == (0, 512 << 20)


def test_steps_and_what_never_ran_are_left_out(tmp_path: Path) -> None:
    jobs = read_jobs(log(tmp_path, STEP, WAITS, GONE, SMALL))
    assert [job.name for job in jobs] == ["41"]
    with pytest.raises(NotFound, match="has run"):
        read_jobs(log(tmp_path, WAITS))


def test_gpus_by_model_are_counted_where_no_sum_stands(tmp_path: Path) -> None:
    line = SMALL.replace("cpu=1,mem=512M", "cpu=4,gres/gpu:a100=2,gres/gpu:h100=1")
    (job,) = read_jobs(log(tmp_path, line))
    assert job.gpu_count == 3


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("00:01:30", "soon", "Elapsed `soon`"),
        ("2026-01-31T12:00:00|2026-01-31T12:00:00", "yesterday|x", "Submit `yesterday`"),
        ("mem=512M", "mem=lots", "`mem=lots` is no amount"),
        ("|1|UNLIMITED", "|-1|UNLIMITED", "NNodes `-1`"),
        ("UNLIMITED", "a day", "Timelimit `a day`"),
    ],
)
def test_a_field_that_makes_no_sense_is_told_with_its_place(
    tmp_path: Path, before: str, after: str, says: str
) -> None:
    with pytest.raises(InvalidInput) as failure:
        read_jobs(log(tmp_path, GANG, SMALL.replace(before, after)))
    assert says in str(failure.value)
    (problem,) = failure.value.problems
    assert problem.at is not None
    assert problem.at.line == 3
