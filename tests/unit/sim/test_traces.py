"""Traces and nodes from files: what is read, and how what cannot be read is told."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from zenkei.model.errors import InvalidInput, NotFound
from zenkei.sim.traces import MOST_GPUS, counted, one_node, read_nodes, read_trace

HEAD = "job_id,user,queue,submit_s,duration_s,nodes,gpus_per_node,cpus,mem_gib,gpu_type,group"
GOOD = "a,ann,q1,10,60,2,4,8,16.5,A100|H100,bert"


def written(folder: Path, *lines: str, name: str = "jobs.csv") -> Path:
    path = folder / name
    text = "\n".join((HEAD, *lines)) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["jobs.csv", "jobs.csv.gz"])
def test_all_columns_of_a_job_are_read(tmp_path: Path, name: str) -> None:
    (job,) = read_trace(written(tmp_path, GOOD, name=name))
    assert (job.name, job.user, job.queue, job.group) == ("a", "ann", "q1", "bert")
    assert (job.submit_us, job.duration_us, job.nodes) == (10_000_000, 60_000_000, 2)
    assert (job.gpu_count, job.gpu_milli, job.gpus_milli) == (4, 1000, 8000)
    assert (job.cpu_milli, job.memory_bytes) == (8000, 33 << 29)
    assert job.kinds == ("A100", "H100")


def test_what_is_empty_asks_for_nothing(tmp_path: Path) -> None:
    (job,) = read_trace(written(tmp_path, ",,,0,1.5,,,,,,"))
    assert (job.queue, job.nodes, job.gpu_count, job.cpu_milli) == ("default", 1, 0, 0)
    assert job.duration_us == 1_500_000


def test_a_fraction_is_a_share_of_one_gpu(tmp_path: Path) -> None:
    (job,) = read_trace(written(tmp_path, "a,,,0,1,1,0.47,,,,"))
    assert (job.gpu_count, job.gpu_milli) == (1, 470)


def test_jobs_come_by_their_submission_and_may_be_cut(tmp_path: Path) -> None:
    lines = ("late,,x,50,1,1,1,,,,", "other,,y,1,1,1,1,,,,", "soon,,x,5,1,1,1,,,,")
    path = written(tmp_path, *lines)
    assert [job.name for job in read_trace(path)] == ["other", "soon", "late"]
    assert [job.name for job in read_trace(path, queue="x")] == ["soon", "late"]
    assert [job.name for job in read_trace(path, queue="x", limit=1)] == ["soon"]
    with pytest.raises(NotFound, match="queue `z`") as failure:
        read_trace(path, queue="z")
    assert "x, y" in failure.value.hint


@pytest.mark.parametrize(
    ("line", "column", "says"),
    [
        ("a,,,-5,1,1,1,,,,", 5, "submit_s `-5`"),
        ("a,,,0,nan,1,1,,,,", 7, "duration_s `nan`"),
        ("a,,,0,1e400,1,1,,,,", 7, "duration_s `1e400`"),
        ("a,,,0,,1,1,,,,", 7, "`duration_s` is empty"),
        ("a,,,0,1,0,1,,,,", 9, "nodes `0`"),
        ("a,,,0,1,1.5,1,,,,", 9, "nodes `1.5`"),
        ("a,,,0,1,1,2.5,,,,", 11, "gpus_per_node `2.5`"),
        ("a,,,0,1,2,0.5,,,,", 11, "for one node only"),
        ("a,,,0,1,1,1,many,,,", 13, "cpus `many`"),
        ("a,,,0,1,1", 1, "6 fields, the header has 11"),
        ("a,,,0,1,1,1,,,,,,", 1, "13 fields"),
        ("a,,,0,1,1,999999999,,,,", 11, "gpus_per_node `999999999`"),
    ],
)
def test_a_field_that_makes_no_sense_is_told_with_its_place(
    tmp_path: Path, line: str, column: int, says: str
) -> None:
    path = written(tmp_path, GOOD, line)
    with pytest.raises(InvalidInput, match=says.replace(".", r"\.")) as failure:
        read_trace(path)
    (problem,) = failure.value.problems
    assert problem.at is not None
    assert (problem.at.file, problem.at.line) == (str(path), 3)
    assert column in (1, problem.at.column)
    assert problem.hint


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "column `submit_s` is missing"),
        (b"submit_s\n1\n", "column `duration_s` is missing"),
        (b"submit_s,duration_s\n1,\xff\xfe\n", "no UTF-8"),
        (b'submit_s,duration_s\n1,"2\n', "cannot be read on"),
        (b"submit_s,duration_s\n1," + b"9" * 200_000 + b"\n", "cannot be read on"),
        (b"\x1f\x8b\x08", "column"),
    ],
)
def test_a_file_that_is_no_table_is_told(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "jobs.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as failure:
        read_trace(path)
    assert says in str(failure.value) or "no UTF-8" in str(failure.value)


@pytest.mark.parametrize("cut", [12, 40])
def test_a_file_that_was_cut_in_compression_is_told(tmp_path: Path, cut: int) -> None:
    whole = written(tmp_path, *[GOOD] * 50, name="jobs.csv.gz")
    whole.write_bytes(whole.read_bytes()[:-cut])
    with pytest.raises(InvalidInput, match="cannot be read on"):
        read_trace(whole)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no-such"):
        read_trace(tmp_path / "no-such.csv")


# -- nodes -------------------------------------------------------------------------------------


def test_nodes_in_short() -> None:
    nodes = read_nodes("2x8,1xH100x4")
    sizes = [[device.kind for device in node.capacity.devices] for node in nodes]
    assert sizes == [["gpu"] * 8, ["gpu"] * 8, ["H100"] * 4]
    assert len({node.name for node in nodes}) == 3


def test_nodes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "nodes.csv"
    path.write_text("name,gpus,gpu_type,cpus,mem_gib,switch\nn1,2,V100,64,256,s1\nn2,0,,80,,\n")
    first, second = read_nodes(str(path))
    assert (first.name, first.capacity.cpu_milli) == ("n1", 64_000)
    assert (first.capacity.memory_bytes, first.labels) == (256 << 30, {"switch": "s1"})
    assert [device.kind for device in first.capacity.devices] == ["V100", "V100"]
    assert second.capacity.devices == ()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("n1,1\nn1,1", "a second time"),
        (",1", "without a name"),
        (f"n1,{MOST_GPUS + 1}", "gpus"),
    ],
)
def test_nodes_that_make_no_sense_are_told(tmp_path: Path, lines: str, says: str) -> None:
    path = tmp_path / "nodes.csv"
    path.write_text(f"name,gpus\n{lines}\n")
    with pytest.raises(InvalidInput, match=says):
        read_nodes(str(path))


@pytest.mark.parametrize("text", ["16x", "x4", "0x8", "16 by 4"])
def test_what_names_no_nodes_is_told(text: str) -> None:
    with pytest.raises((InvalidInput, NotFound)) as failure:
        read_nodes(text)
    assert text in str(failure.value)


def test_where_gpus_are_counted_there_is_one_node_and_a_gang_is_one_part(tmp_path: Path) -> None:
    (node,) = one_node(read_nodes("3x4"))
    assert len(node.capacity.devices) == 12
    path = tmp_path / "jobs.csv"
    path.write_text("submit_s,duration_s,nodes,gpus_per_node,num_replicas\n0,1,2,4,6\n0,1,2,4,\n")
    uneven, even = map(counted, read_trace(path))
    assert (uneven.nodes, uneven.gpu_count, uneven.gpus_milli) == (1, 6, 6000)
    assert (even.nodes, even.gpu_count, even.gpus_milli) == (1, 8, 8000)
