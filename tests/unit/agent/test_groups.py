"""Control groups, as far as a folder can stand for one: names, members, what is swept."""

from __future__ import annotations

import os
import signal

import pytest

from zenkei.agent import groups
from zenkei.agent.groups import Group, Places


def test_without_any_place_a_group_is_nothing_and_says_so():
    group = Group(Places(), "t")
    group.create(1 << 30, 1000)
    with group.entered():
        assert group.members() == set()
    group.kill()
    group.remove()
    assert (group.proof, group.limits_memory, group.out_of_memory()) == ("subreaper", False, False)


def test_only_old_and_empty_groups_of_ours_are_swept(tmp_path):
    names = ("zenkei-old", "zenkei-young", "zenkei-busy", "somebody-elses")
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "zenkei-busy" / "member").touch()
    for name in ("zenkei-old", "zenkei-busy", "somebody-elses"):
        os.utime(tmp_path / name, (1, 1))
    groups.sweep(Places(unified=str(tmp_path)))
    assert sorted(os.listdir(tmp_path)) == ["somebody-elses", "zenkei-busy", "zenkei-young"]


@pytest.mark.root
@pytest.mark.skipif(not groups.find_places().unified, reason="no writable v2 control group")
def test_what_is_started_inside_is_a_member_and_dies_with_the_group():
    group = Group(groups.find_places(), f"test-{os.getpid()}")
    group.create(0, 0)
    with group.entered():
        pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    assert group.members() == {pid}
    assert group.proof == "cgroup"
    group.kill()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert group.members() == set()
    group.remove()
    assert group.proof == "subreaper"


@pytest.mark.root
@pytest.mark.skipif(not groups.find_places().cpu, reason="no writable v1 CPU control group")
def test_a_living_tree_is_weighed_as_it_grows_and_what_comes_later_is_born_so():
    places = Places(cpu=groups.find_places().cpu)
    group = Group(places, f"test-{os.getpid()}")
    group.create(0, 500)
    assert (group.shares_cpu, group.cpu_is_due) == ("cgroup-v1", True)
    pids = [os.posix_spawn("/bin/sleep", ["sleep", "1000"], {}) for _ in range(2)]
    looks = iter((pids[:1], pids, pids))
    group.share_cpu(lambda: next(looks))
    with group.entered():
        pids.append(os.posix_spawn("/bin/sleep", ["sleep", "1000"], {}))
    folder = f"{places.cpu}/zenkei-test-{os.getpid()}"
    with open(f"{folder}/cgroup.procs") as file:
        assert sorted(map(int, file)) == sorted(pids)
    with open(f"{folder}/cpu.shares") as file:
        assert int(file.read()) == 512
    # a weight is no proof that somebody belongs to the tree: nobody is killed by it
    assert group.members() == set()
    group.kill()
    for pid in pids:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    group.remove()
    assert not os.path.exists(folder)
