"""A job of the same uid cannot leave a changed environment or cache to the next job."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.envs.world import World, fresh_world, package_file


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One world for all attacks: each begins with the environment that the one before left."""
    return fresh_world(tmp_path_factory.mktemp("attacked"))


def attack_module(tree: Path) -> None:
    """Same size, mode and mtime as before: only the inode's own time tells."""
    file = package_file(tree, "apple")
    before = file.stat()
    content = file.read_bytes()
    file.write_bytes(content.replace(b"1.0", b"6.6"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def attack_by_replacing(tree: Path) -> None:
    file = package_file(tree, "apple")
    other = file.with_name("other")
    other.write_bytes(file.read_bytes().replace(b"1.0", b"6.6"))
    os.rename(other, file)


def attack_through_a_hard_link(tree: Path) -> None:
    outside = tree.parent.parent / "outside"
    os.link(package_file(tree, "apple"), outside)
    outside.write_bytes(outside.read_bytes().replace(b"1.0", b"6.6"))
    outside.unlink()


def attack_bytecode(tree: Path) -> None:
    (compiled,) = package_file(tree, "apple").parent.glob("__pycache__/__init__.*.pyc")
    compiled.write_bytes(compiled.read_bytes().replace(b"1.0", b"6.6"))


def attack_python_link(tree: Path) -> None:
    python = tree / "bin" / "python"
    python.unlink()
    python.write_text("#!/bin/sh\necho 6.6\n")
    python.chmod(0o755)


def attack_with_pth_file(tree: Path) -> None:
    packages = package_file(tree, "apple").parent.parent
    (packages / "zz.pth").write_text("import apple; apple.VERSION = '6.6'\n")


def attack_by_shadowing(tree: Path) -> None:
    packages = package_file(tree, "apple").parent.parent
    (packages / "apple.py").write_text("VERSION = '6.6'\n")
    os.rename(packages / "apple", packages / "apple_")


def attack_configuration(tree: Path) -> None:
    config = tree / "pyvenv.cfg"
    config.write_text(config.read_text() + "include-system-site-packages = true\n")


def attack_by_emptying(tree: Path) -> None:
    package_file(tree, "apple").unlink()


def attack_by_removing_all(tree: Path) -> None:
    subprocess.run(["rm", "-rf", str(tree)], check=True)


@pytest.mark.parametrize(
    "attack",
    [
        attack_module,
        attack_by_replacing,
        attack_through_a_hard_link,
        attack_bytecode,
        attack_python_link,
        attack_with_pth_file,
        attack_by_shadowing,
        attack_configuration,
        attack_by_emptying,
        attack_by_removing_all,
    ],
)
def test_the_next_job_gets_a_clean_environment(attacked: World, attack):
    builder = attacked.builder()
    digest, tree = attacked.realised(builder, "apple")
    attack(tree)
    again = Path(builder.realise(digest, attacked.said.append))
    assert again != tree
    code = "import apple; print(apple.VERSION, apple.__file__)"
    argv = [str(again / "bin" / "python"), "-c", code]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said == f"1.0 {package_file(again, 'apple')}\n"
    assert builder.realise(digest, attacked.said.append) == str(again)


def test_what_is_not_changed_is_not_built_again(world: World):
    builder = world.builder()
    digest, tree = world.realised(builder, "apple")
    code = "import apple, json, unittest; print(apple.VERSION)"
    subprocess.run([str(tree / "bin" / "python"), "-c", code], check=True, capture_output=True)
    assert builder.realise(digest, world.said.append) == str(tree)
    assert world.built() == 1


def test_a_changed_directory_stays_while_its_jobs_run_and_goes_when_none_does(world: World):
    builder = world.builder()
    digest, tree = world.realised(builder, "apple")
    attack_module(tree)
    again = Path(builder.realise(digest, world.said.append))
    builder.gc({digest}, older_than_s=0)
    assert tree.is_dir()
    assert again.is_dir()
    builder.gc(set(), older_than_s=0)
    assert world.trees() == []


def test_two_environments_share_no_file(world: World):
    world.wheel("pear")
    builder = world.builder()
    _, one = world.realised(builder, "apple")
    _, other = world.realised(builder, "apple", "pear")
    files = [package_file(one, "apple"), package_file(other, "apple")]
    cached = [*(world.home / "envs" / "cache").rglob("apple/__init__.py")]
    assert cached
    assert len({file.stat().st_ino for file in [*files, *cached]}) == 2 + len(cached)
    assert {file.stat().st_nlink for file in files} == {1}


def test_a_changed_cache_does_not_reach_the_next_environment(world: World):
    world.wheel("pear")
    builder = world.builder()
    world.realised(builder, "apple")
    for file in (world.home / "envs" / "cache").rglob("apple/__init__.py"):
        file.write_text("VERSION = '6.6'\n")
    _, tree = world.realised(builder, "apple", "pear")
    assert "6.6" not in package_file(tree, "apple").read_text()
    assert any("cache was changed" in line for line in world.said)


def test_an_entry_smuggled_into_the_cache_is_removed(world: World):
    world.wheel("pear")
    builder = world.builder()
    world.realised(builder, "apple")
    (archives,) = (world.home / "envs" / "cache" / "uv").glob("archive-v*")
    (archives / "evil").mkdir()
    (archives / "evil" / "x.py").write_text("")
    world.realised(builder, "pear")
    assert not (archives / "evil").exists()


def test_an_unchanged_cache_is_used(world: World):
    wheel = world.wheel("pear")
    builder = world.builder()
    world.realised(builder, "apple")
    digest, _ = world.realised(builder, "pear")
    builder.gc(set(), older_than_s=0)
    time_of_wheel = wheel.stat().st_mtime_ns
    wheel.write_bytes(b"not a wheel any more")
    os.utime(wheel, ns=(time_of_wheel, time_of_wheel))
    assert Path(builder.realise(digest, world.said.append)).is_dir()
    assert not any("cache was changed" in line for line in world.said)
