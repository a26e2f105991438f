"""Requests become environments: once, exactly, and only complete ones."""

import os
import subprocess
from pathlib import Path
from threading import Thread

import pytest

from tests.unit.envs.world import World, package_file
from zenkei.envs.builder import UvBuilder
from zenkei.envs.records import EnvironmentState
from zenkei.model.data import Digest, is_digest
from zenkei.model.errors import Conflict, InvalidInput, NotFound, Unavailable
from zenkei.model.job import EnvRequest


def run(tree: Path, *argv: str) -> str:
    return subprocess.run(
        [str(tree / "bin" / argv[0]), *argv[1:]], capture_output=True, text=True, check=True
    ).stdout


def test_a_bare_request_needs_no_lock_and_no_directory(world: World):
    builder = world.builder()
    assert builder.lock(EnvRequest(vars={"A": "1"}), world.said.append) == ""
    assert builder.realise(Digest(""), world.said.append) == ""
    assert world.trees() == []


def test_a_package_with_its_dependency_is_locked_by_hash_and_can_be_imported(world: World):
    world.wheel("pie", requires=("apple>=1",))
    builder = world.builder()
    digest, tree = world.realised(builder, "pie")
    assert is_digest(digest)
    assert run(tree, "python", "-c", "import pie, apple; print(apple.VERSION)") == "1.0\n"
    text = (world.home / "envs" / "locks").iterdir().__next__().read_text()
    assert text.startswith("# zenkei-lock {")
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["apple==1.0", "pie==1.0"]
    assert text.count("--hash=sha256:") == 2


def test_console_scripts_work_from_the_final_place(world: World):
    _, tree = world.realised(world.builder(), "apple")
    assert run(tree, "apple") == "1.0\n"


def test_the_environment_is_zenkeis_own_base_python_without_other_packages(world: World):
    _, tree = world.realised(world.builder(), "apple")
    code = "import sys, importlib.util as u; print(sys.prefix, u.find_spec('zenkei'))"
    assert run(tree, "python", "-I", "-c", code) == f"{tree} None\n"


def test_the_same_wish_in_another_order_has_the_same_lock(world: World):
    world.wheel("pear")
    builder = world.builder()
    one = builder.lock(EnvRequest(packages=("pear", "apple")), world.said.append)
    other = EnvRequest(requirements="apple\n# a comment\npear\n")
    assert builder.lock(other, world.said.append) == one


def test_a_known_answer_is_given_without_asking_the_index_until_it_is_refreshed(world: World):
    request = EnvRequest(packages=("apple",))
    old = world.builder().lock(request, world.said.append)
    world.wheel("apple", "2.0")
    builder = world.builder()
    assert builder.lock(request, world.said.append) == old
    new = builder.lock(request, world.said.append, upgrade=True)
    assert new != old
    assert builder.lock(request, world.said.append) == new
    world.wheel("apple", "3.0")
    assert builder.refresh() == 1
    assert builder.lock(request, world.said.append) not in {old, new}


def test_a_given_lock_is_used_as_it_is(world: World):
    builder = world.builder()
    first = builder.lock(EnvRequest(packages=("apple",)), world.said.append)
    text = next((world.home / "envs" / "locks").iterdir()).read_text()
    world.wheel("apple", "2.0")
    assert builder.lock(EnvRequest(lock=text), world.said.append) == first


def test_a_package_that_is_not_what_the_lock_names_is_refused(world: World):
    lock = f"apple==1.0 --hash=sha256:{'0' * 64}\n"
    builder = world.builder()
    digest = builder.lock(EnvRequest(lock=lock), world.said.append)
    with pytest.raises(InvalidInput, match="Hash mismatch") as caught:
        builder.realise(digest, world.said.append)
    assert caught.value.code == "environment-hash"
    assert world.trees() == []


def test_what_cannot_be_resolved_says_why_in_uvs_words(world: World):
    with pytest.raises(InvalidInput) as caught:
        world.builder().lock(EnvRequest(packages=("apple>=7",)), world.said.append)
    assert caught.value.message.startswith("the environment cannot be resolved: ")
    assert "apple>=7" in caught.value.message
    assert caught.value.hint


def test_a_package_without_wheel_needs_a_permission(world: World):
    (world.index / "plum-1.0.tar.gz").write_bytes(b"")
    with pytest.raises(InvalidInput) as caught:
        world.builder().lock(EnvRequest(packages=("plum",)), world.said.append)
    assert "env.build: true" in caught.value.hint


def test_a_failed_build_leaves_nothing_behind_and_does_not_spoil_the_next(world: World):
    wheel = world.wheel("pear")
    builder = world.builder()
    digest = builder.lock(EnvRequest(packages=("pear",)), world.said.append)
    content = wheel.read_bytes()
    wheel.unlink()
    builder.gc(set(), older_than_s=0, cache=True)
    with pytest.raises((InvalidInput, Unavailable)):
        builder.realise(digest, world.said.append)
    assert world.trees() == []
    assert os.listdir(world.home / "envs" / "work") == []
    wheel.write_bytes(content)
    assert Path(builder.realise(digest, world.said.append)).is_dir()


def test_twenty_who_ask_at_once_get_one_build(world: World):
    builders = [world.builder(), world.builder()]
    digest = builders[0].lock(EnvRequest(packages=("apple",)), world.said.append)
    paths: list[str] = []

    def ask(builder: UvBuilder) -> None:
        paths.append(builder.realise(digest, lambda _line: None))

    threads = [Thread(target=ask, args=(builders[n % 2],)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 20
    assert len(set(paths)) == 1
    assert world.trees() == [Path(paths[0]).name]


def test_a_second_process_finds_what_the_first_has_built(world: World):
    digest, tree = world.realised(world.builder(), "apple")
    assert world.builder().realise(digest, world.said.append) == str(tree)
    assert world.built() == 1


def test_progress_names_the_steps(world: World):
    world.realised(world.builder(), "apple")
    for words in ("resolved 1 package", "installed 1 package", "environment ready in"):
        assert any(line.startswith(words) for line in world.said), words


def test_environments_of_unfinished_jobs_stay_and_collected_ones_come_back(world: World):
    world.wheel("pear")
    builder = world.builder()
    kept, kept_tree = world.realised(builder, "apple")
    other, other_tree = world.realised(builder, "pear")
    assert builder.gc({kept}) == 0  # recently used
    assert builder.gc({kept}, older_than_s=0) > 0
    assert kept_tree.is_dir()
    assert not other_tree.exists()
    assert [row.lock for row in builder.list()] == [kept]
    again = Path(builder.realise(other, world.said.append))
    assert run(again, "python", "-c", "import pear; print(pear.VERSION)") == "1.0\n"


def test_list_and_show_tell_what_is_there(world: World):
    builder = world.builder()
    digest, tree = world.realised(builder, "apple")
    (row,) = builder.list()
    assert (row.lock, row.packages, row.path) == (digest, ("apple==1.0",), str(tree))
    assert row.state is EnvironmentState.READY
    assert row.size_bytes > 0
    package_file(tree, "apple").write_text("evil = 1\n")
    assert builder.show(digest)[0].state is EnvironmentState.CHANGED
    with pytest.raises(NotFound):
        builder.show(Digest("b3:" + "0" * 64))


def test_remove_refuses_what_an_unfinished_job_uses(world: World):
    builder = world.builder()
    digest, tree = world.realised(builder, "apple")
    with pytest.raises(Conflict):
        builder.remove(digest, {digest})
    assert builder.remove(digest, set()) > 0
    assert not tree.exists()
    with pytest.raises(NotFound):
        builder.remove(digest, set())


def test_a_builder_that_stops_says_that_trying_again_may_help(world: World):
    builder = world.builder()
    builder.close()
    with pytest.raises(Unavailable):
        builder.lock(EnvRequest(packages=("apple",)), world.said.append)


def test_a_lock_of_another_platform_is_refused(world: World):
    builder = world.builder()
    builder.lock(EnvRequest(packages=("apple",)), world.said.append)
    text = next((world.home / "envs" / "locks").iterdir()).read_bytes()
    from zenkei.data.blobs_dir import DirectoryBlobs

    other = text.replace(b"linux-", b"plan9-", 1)
    digest = DirectoryBlobs(world.home / "blobs").put(other)
    with pytest.raises(InvalidInput, match="plan9"):
        builder.realise(digest, world.said.append)
