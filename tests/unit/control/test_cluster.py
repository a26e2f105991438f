"""The cluster's file in force: what it refuses, what it changes, what outlives it."""

import pytest

from tests.plant import ALICE, ROOT, Plant, never_ends, node
from zenkei.model.cluster import NodeEventKind
from zenkei.model.clusterlog import ClusterRecordKind
from zenkei.model.errors import Conflict, Denied, InvalidInput, NotFound
from zenkei.model.job import JobSpec, JobState, ResourceRequest
from zenkei.model.resources import Request
from zenkei.server.nodes import enter_nodes

TWO = "queues: {a: {priority: 7}, b: {}}"


@pytest.fixture
def plant() -> Plant:
    return Plant(node("n1", gpus=8), node("n2", gpus=8, disk="ssd"), program=never_ends)


def apply(plant, text, **options):
    return plant.cluster.apply(ROOT, text.encode(), file="cluster.yaml", **options)


def spec(queue="default", *, gpus=0, nodes=1, kinds=(), priority=None, cpus=1):
    request = Request(
        cpu_milli=1000 * cpus, gpu_count=gpus, gpu_milli=1000 if gpus else 0, gpu_kinds=kinds
    )
    resources = ResourceRequest(nodes=nodes, node=request)
    return JobSpec(name="j", command="true", queue=queue, resources=resources, priority=priority)


def submit(plant, *args, **wishes):
    (job,) = plant.commands.submit(ALICE, spec(*args, **wishes))
    return plant.row(job)


# -- files -----------------------------------------------------------------------------------------


def test_a_file_is_in_force_with_its_text_and_one_record_of_what_it_changed(plant):
    applied = apply(plant, TWO)
    assert (applied.version, applied.written) == (1, True)
    assert plant.cluster.show(ALICE).text == TWO
    (record,) = plant.cluster.history(ALICE)
    assert (record.by, record.kind) == ("root", ClusterRecordKind.APPLIED)
    assert [change.path for change in record.diff] == [
        "queues.a",
        "queues.a.priority",
        "queues.b",
    ]


def test_looking_changes_nothing(plant):
    seen = apply(plant, TWO, dry=True)
    assert (seen.version, seen.written, len(seen.changes)) == (0, False, 3)
    assert plant.cluster.history(ALICE) == ()


def test_the_same_file_again_is_no_news_but_another_comment_is(plant):
    apply(plant, TWO)
    assert not apply(plant, TWO).written
    again = apply(plant, f"# why\n{TWO}")
    assert (again.version, again.changes) == (2, ())
    assert plant.cluster.show(ALICE).text.startswith("# why")


def test_a_file_for_another_version_than_the_one_in_force_is_refused(plant):
    apply(plant, TWO)
    with pytest.raises(Conflict, match="version 0 of the cluster's file was expected, 1 is"):
        apply(plant, "queues: {c: {}}", expected=0)
    assert apply(plant, "queues: {c: {}}", expected=1).version == 2


def test_only_an_operator_changes_the_cluster(plant):
    with pytest.raises(Denied):
        plant.cluster.apply(ALICE, TWO.encode(), file="x")
    for call in (plant.cluster.pause, plant.cluster.resume, plant.cluster.rollback):
        with pytest.raises(Denied):
            call(ALICE)
    assert plant.cluster.history(ALICE) == ()


def test_a_broken_file_changes_nothing(plant):
    apply(plant, TWO)
    with pytest.raises(InvalidInput) as raised:
        apply(plant, "queues: {a: {wieght: 1}, b: {quota: 3}}")
    assert len(raised.value.problems) == 2
    assert plant.cluster.show(ALICE).version == 1


def test_rolling_back_brings_an_older_file_as_a_new_version(plant):
    apply(plant, TWO)
    apply(plant, "queues: {c: {}}")
    back = plant.cluster.rollback(ROOT)
    assert back.version == 3
    record = plant.cluster.show(ALICE)
    assert (record.text, record.restored, record.kind) == (TWO, 1, ClusterRecordKind.ROLLED_BACK)
    assert plant.cluster.rollback(ROOT, 2).version == 4
    assert plant.cluster.show(ALICE).text == "queues: {c: {}}"


@pytest.mark.parametrize("version", [0, 1, 9])
def test_a_version_that_never_was_cannot_come_back(plant, version):
    with pytest.raises(NotFound):
        plant.cluster.rollback(ROOT, version)


# -- queues with jobs ------------------------------------------------------------------------------


def test_a_queue_with_unfinished_jobs_is_not_removed(plant):
    apply(plant, TWO)
    job = submit(plant, "a")
    submit(plant, "b")
    with pytest.raises(Conflict) as raised:
        apply(plant, "queues: {c: {}}")
    assert raised.value.details == {"queues": {"a": 1, "b": 1}}
    assert "`a` has 1 unfinished job and would be gone" in str(raised.value)
    plant.commands.cancel(ALICE, job.id)
    with pytest.raises(Conflict, match="`b` has 1 unfinished job"):
        apply(plant, "queues: {c: {}}")


def test_a_queue_with_jobs_does_not_get_others_inside(plant):
    apply(plant, TWO)
    submit(plant, "a")
    with pytest.raises(Conflict, match="would have other queues inside"):
        apply(plant, "queues: {a: {queues: {c: {}}}, b: {}}")
    assert apply(plant, "queues: {a: {}, b: {queues: {c: {}}}}").written


def test_jobs_of_before_the_first_file_keep_their_queue(plant):
    submit(plant, "default")
    with pytest.raises(Conflict, match="`default` has 1 unfinished job"):
        apply(plant, TWO)
    assert apply(plant, "queues: {default: {}}").written


def test_a_lower_quota_stops_nothing(plant):
    apply(plant, "queues: {a: {quota: {gpus: 8}}}")
    job = submit(plant, "a", gpus=8)
    plant.settle()
    apply(plant, "queues: {a: {quota: {gpus: 0}, cap: {gpus: 1}}}")
    plant.settle()
    assert plant.state(job.id) is JobState.RUNNING


# -- switches --------------------------------------------------------------------------------------


def test_a_switch_outlives_restarts_and_later_files(plant):
    apply(plant, TWO)
    plant.cluster.pause(ROOT, "a", reason="disks")
    plant.cluster.pause(ROOT, reason="")
    plant.restart()
    apply(plant, "queues: {a: {weight: 3}}")
    record = plant.cluster.show(ALICE)
    assert {one.queue: one.text for one in record.switches} == {
        "a": "disks (by root)",
        "": "paused by root",
    }
    assert plant.store.planning(0).config.queues[0].paused == "disks (by root)"
    plant.cluster.resume(ROOT, "a")
    assert [one.queue for one in plant.cluster.show(ALICE).switches] == [""]


def test_a_switch_goes_with_its_queue_and_is_no_version(plant):
    apply(plant, TWO)
    paused = plant.cluster.pause(ROOT, "a")
    assert paused.version == 1
    apply(plant, "queues: {b: {}}", expected=1)
    assert plant.cluster.show(ALICE).switches == ()


def test_turning_a_switch_twice_is_told_once(plant):
    apply(plant, TWO)
    for _ in range(2):
        plant.cluster.pause(ROOT, "a", reason="x")
    for _ in range(2):
        plant.cluster.resume(ROOT, "a")
    kinds = [record.kind for record in plant.cluster.history(ALICE)]
    assert kinds == [
        ClusterRecordKind.APPLIED,
        ClusterRecordKind.PAUSED,
        ClusterRecordKind.RESUMED,
    ]


def test_a_queue_that_is_not_there_cannot_be_paused(plant):
    with pytest.raises(NotFound) as raised:
        plant.cluster.pause(ROOT, "a")
    assert "cluster init" in raised.value.hint
    apply(plant, "queues: {vision: {}}")
    with pytest.raises(NotFound) as raised:
        plant.cluster.pause(ROOT, "vison")
    assert raised.value.hint == "did you mean `vision`?"


# -- nodes -----------------------------------------------------------------------------------------

PLACED = """
topology: {levels: [rack]}
nodes:
  - {match: "n[1-9]", topology: [r1], labels: {disk: hdd, zone: a}}
  - {match: n2, topology: [r2], labels: {zone: b, os: deb}}
"""


def at(plant, name):
    found = next(one for one in plant.store.nodes() if one.name == name)
    return found.topology, found.labels


def test_nodes_stand_where_the_file_says_and_own_labels_stay_on_top(plant):
    plant.nodes.label(ROOT, "n1", labels={"zone": "mine"})
    assert apply(plant, PLACED).placed == 2
    assert at(plant, "n1") == (("r1",), {"disk": "hdd", "zone": "mine"})
    assert at(plant, "n2") == (("r1",), {"disk": "hdd", "zone": "a", "os": "deb"})
    apply(plant, "queues: {a: {}}")
    assert at(plant, "n1") == ((), {"zone": "mine"})
    assert at(plant, "n2") == ((), {"disk": "ssd"})
    log = plant.nodes.events(ROOT, "n1")
    assert [event.kind for event in log][-2:] == [NodeEventKind.PLACED] * 2


def test_a_node_that_enters_later_stands_there_too(plant):
    apply(plant, PLACED)
    nodes = (*plant.engine.inventory(), node("n3"))
    enter_nodes(plant.store, "inline", nodes, is_start=False)
    assert at(plant, "n3") == (("r1",), {"disk": "hdd", "zone": "a"})
    plant.restart()
    plant.settle()
    assert at(plant, "n2")[0] == ("r1",)


RESERVED = """
reservations:
  x: {{nodes: "{}", from: 2030-01-01 00:00, for: {}}}
  y: {{nodes: "{}", from: 2030-01-01 01:00, for: 1h}}
"""

# -- warnings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("queues: {a: {quota: {gpus: 10}}, b: {quota: {gpus: 7}}}", "promise 17 GPUs together"),
        ("queues: {a: {queues: {c: {quota: {gpus: {H100: 1}}}}}}", "promise 1 H100 together"),
        ("queues: {a: {gpu_types: [H100]}}", "no node has a GPU of the model H100"),
        ("nodes: [{match: x*, labels: {a: b}}]", "no node is called `x*` now"),
        (RESERVED.format("n*", "2h", "n2"), "the reservations `x` and `y` overlap on n2"),
    ],
)
def test_what_is_probably_not_meant_is_told_and_applied(plant, text, said):
    applied = apply(plant, text)
    assert applied.written
    assert any(said in one for one in applied.warnings), applied.warnings


@pytest.mark.parametrize(
    "text",
    [
        "queues: {a: {quota: {gpus: 16}, queues: {c: {quota: {gpus: {A100: 16}}}}}}",
        RESERVED.format("n1", "1h", "n*"),
        RESERVED.format("n1", "9h", "n2"),
        "queues: {a: {gpu_types: [A100]}}\nnodes: [{match: 'n[1-2]', labels: {a: b}}]",
    ],
)
def test_what_can_be_meant_is_not_warned_of(plant, text):
    assert apply(plant, text).warnings == ()


# -- submission ------------------------------------------------------------------------------------


def test_without_queues_every_name_is_open(plant):
    assert submit(plant, "anything").priority == 0


def test_an_unknown_queue_is_told_with_the_nearest_name(plant):
    apply(plant, "queues: {vision: {queues: {train: {}, debug: {}}}}")
    with pytest.raises(NotFound) as raised:
        submit(plant, "trian")
    assert (raised.value.code, raised.value.hint) == ("no-such-queue", "did you mean `train`?")
    with pytest.raises(InvalidInput) as inner:
        submit(plant, "vision")
    assert (inner.value.code, inner.value.hint) == ("queue-has-queues", "one of: debug, train")


def test_a_job_that_names_no_priority_has_that_of_its_queue(plant):
    apply(plant, TWO)
    assert submit(plant, "a").priority == 7
    assert submit(plant, "a", priority=0).priority == 0
    assert submit(plant, "b").priority == 0


def test_a_model_that_the_queue_does_not_allow_is_refused(plant):
    apply(plant, "queues: {a: {gpu_types: [A100]}}")
    with pytest.raises(InvalidInput, match="does not allow H100"):
        submit(plant, "a", gpus=1, kinds=("H100",))
    submit(plant, "a", gpus=1, kinds=("A100", "H100"))


@pytest.mark.parametrize(
    ("limits", "wish", "said"),
    [
        ("cap: {gpus: 8}", {"gpus": 8, "nodes": 2}, "its cap is 8 GPUs"),
        ("cap: {cpus: 2}", {"cpus": 3}, "its cap is 2 cores"),
        ("user_cap: {gpus: 1}", {"gpus": 2}, "the cap of one person is 1 GPUs"),
        ("quota: {gpus: 1}, borrow: false", {"gpus": 2}, "it does not borrow, is 1 GPUs"),
        ("quota: {gpus: 1}, borrow: {gpus: 2}", {"gpus": 4}, "it may borrow is 3 GPUs"),
        (
            "cap: {gpus: {A100: 2}}",
            {"gpus": 3, "kinds": ("A100",)},
            "its cap is 2 A100",
        ),
    ],
)
def test_a_job_that_a_queue_never_gives_is_refused_with_the_limit(plant, limits, wish, said):
    for text in (
        f"queues: {{a: {{{limits}}}}}",
        f"queues: {{o: {{{limits}, queues: {{a: {{}}}}}}}}",
    ):
        apply(plant, text)
        with pytest.raises(InvalidInput) as raised:
            submit(plant, "a", **wish)
        assert raised.value.code == "job-exceeds-limit"
        assert said in str(raised.value)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"gpus": 8, "nodes": 2}, ""),
        ({"gpus": 8, "nodes": 3}, "the largest block is 2 such nodes"),
        ({"gpus": 16}, "no node can hold 16 GPUs: the most on one node is 8 GPUs"),
        ({"gpus": 1, "kinds": ("H100",)}, "the most of those models on one node is 0 GPUs"),
        ({"cpus": 5}, "no node can hold 5 cores: the most on one node is 4 cores"),
    ],
)
def test_a_job_larger_than_the_cluster_is_told_the_largest_block(plant, wish, said):
    told = plant.machines.larger(spec(**wish))
    assert said in told
    assert bool(told) is bool(said)


def test_the_largest_block_is_that_of_now(plant):
    three = spec(gpus=8, nodes=3)
    assert plant.machines.larger(three)
    nodes = (*plant.engine.inventory(), node("n3", gpus=8))
    enter_nodes(plant.store, "inline", nodes, is_start=False)
    assert plant.machines.larger(three) == ""


# -- the tree --------------------------------------------------------------------------------------


def test_the_tree_sums_up_what_is_inside_and_tells_what_is_borrowed(plant):
    apply(plant, "queues: {o: {queues: {a: {quota: {gpus: 2}}, b: {quota: {gpus: 1}}}}, c: {}}")
    submit(plant, "a", gpus=4)
    submit(plant, "c", gpus=1)
    plant.settle()
    plant.cluster.pause(ROOT, "o", reason="x")
    submit(plant, "b", gpus=8, nodes=2)
    tree = plant.tree.show(ALICE)
    seen = {view.queue.name: view for view in tree.queues}
    assert [view.queue.name for view in tree.queues] == ["c", "o", "a", "b"]
    assert (seen["o"].quota["gpus"], seen["o"].held["gpus"]) == (3000, 4000)
    assert (seen["o"].borrowed["gpus"], seen["a"].borrowed["gpus"]) == (1000, 2000)
    assert (seen["o"].running, seen["o"].waiting, seen["b"].waiting) == (1, 1, 1)
    assert seen["o"].share_milli == 250
    assert (seen["a"].closed, seen["o"].queue.paused, seen["a"].depth) == ("o", "x (by root)", 1)
    assert seen["c"].held["gpus.A100"] == 1000


def test_without_queues_the_tree_shows_those_that_have_jobs(plant):
    submit(plant, "wild")
    plant.settle()
    tree = plant.tree.show(ALICE)
    assert [view.queue.name for view in tree.queues] == ["wild"]
    assert not tree.configured


def test_a_cap_of_one_model_says_nothing_about_others(plant):
    apply(plant, "queues: {a: {cap: {gpus: {H100: 0}}}}")
    assert submit(plant, "a", gpus=8)


def test_a_quota_of_one_model_does_not_keep_a_queue_from_others(plant):
    apply(plant, "queues: {a: {quota: {gpus: {A100: 2}}, borrow: false}}")
    assert submit(plant, "a", gpus=4, kinds=("H100",))
    with pytest.raises(InvalidInput, match="is 2 A100"):
        submit(plant, "a", gpus=4, kinds=("A100",))


def test_what_a_queue_without_quota_may_borrow_begins_after_the_quotas_inside(plant):
    apply(plant, "queues: {o: {borrow: {gpus: 1}, queues: {a: {quota: {gpus: 4}}, b: {}}}}")
    assert submit(plant, "b", gpus=5)
    with pytest.raises(InvalidInput, match="is 5 GPUs"):
        submit(plant, "b", gpus=6)
