"""Secrets, environments, prune, fetch, metrics and exec over a real socket."""

import base64
from dataclasses import replace
from threading import Event
from typing import cast

import pytest

from tests.keeping import CollectorDouble, EnvironmentsDouble, FoldersDouble, Row, digest
from tests.plant import Plant, never_ends
from tests.served import Served, data_of
from zenkei.auth.secrets import FileSecrets
from zenkei.client.failure import Failure
from zenkei.control.upkeep import Upkeep
from zenkei.model.access import Principal
from zenkei.model.errors import Conflict
from zenkei.server.keeping import Keeping
from zenkei.store.memory import MemoryStore


class Said:
    """A command that says `parts` and then waits, if `stays`, until it is closed."""

    def __init__(self, *parts, stays=False, breaks=False):
        self.parts, self.stays, self.breaks = list(parts), stays, breaks
        self.closed = Event()

    def next(self):
        if self.parts:
            return self.parts.pop(0)
        if self.stays:
            self.closed.wait(20)
        if self.breaks:
            raise Conflict("command-cut-off", "the job ended before the command did")
        return None

    def close(self):
        self.closed.set()


class Place(Served):
    """A served plant with everything that keeps; `asked`: commands that were run."""

    def __init__(self, home):
        super().__init__(home, Plant(program=never_ends))
        self.environments = EnvironmentsDouble(rows=[Row(lock=digest("abcdef"))])
        self.collector = CollectorDouble()
        self.said = Said(("exit", b"0"))
        self.asked = []
        upkeep = Upkeep(
            store=self.plant.store,
            maintenance=cast(MemoryStore, self.plant.store),
            environments=self.environments,
            collector=self.collector,
            folders=FoldersDouble(),
            clock=self.plant.clock,
        )
        keeping = Keeping(
            secrets=FileSecrets(home / "secrets"),
            upkeep=upkeep,
            collector=self.collector,
            execute=self._execute,
        )
        self.services = replace(self.services, keeping=keeping)

    def _execute(self, attempt, node, local, argv, given):
        where = (node, local) if local else node
        self.asked.append((str(attempt), where, argv, given))
        return self.said

    def running(self):
        job = self.submit()
        self.plant.settle()
        return job


@pytest.fixture
def place(short_tmp):
    with Place(short_tmp) as found:
        yield found


def refused(call, *args, **kwargs):
    with pytest.raises(Failure) as caught:
        call(*args, **kwargs)
    return caught.value


def test_a_secret_is_set_named_and_removed_and_never_shown(place):
    answer = place.client.put("/v1/secrets/KEY", b"\x00value\n", project="p")
    assert answer == {"project": "p", "name": "KEY"}
    assert place.client.get("/v1/secrets", project="p") == {"project": "p", "names": ["KEY"]}
    assert place.services.keeping.secrets.get("p", "KEY") == b"\x00value\n"
    assert refused(place.client.get, "/v1/secrets/KEY", project="p").code == "bad-request"
    place.client.delete("/v1/secrets/KEY", project="p")
    assert place.client.get("/v1/secrets", project="p")["names"] == []


def test_a_job_whose_secret_is_not_set_is_refused_before_it_exists(place):
    job = b"command: echo\nsecrets: [KEY, OTHER]\n"
    place.client.put("/v1/secrets/OTHER", b"value")
    refusal = refused(place.client.post, "/v1/jobs", job)
    assert (refusal.code, refusal.exit_code) == ("no-such-secret", 4)
    assert "`KEY`" in refusal.message
    assert "OTHER" not in refusal.message
    assert place.client.get("/v1/jobs")["jobs"] == []
    place.client.put("/v1/secrets/KEY", b"value")
    assert place.client.post("/v1/jobs", job)["id"] == "1"


def test_who_is_no_operator_keeps_no_secrets(short_tmp):
    place = Place(short_tmp)
    stranger = Principal(name="bob", uid=1001)
    place.services = replace(place.services, principal=lambda uid: stranger)
    with place:
        for call, args in (
            (place.client.get, ("/v1/secrets",)),
            (place.client.put, ("/v1/secrets/KEY", b"x")),
            (place.client.delete, ("/v1/secrets/KEY",)),
            (place.client.post, ("/v1/prune", {})),
            (place.client.post, ("/v1/environments/collect", {})),
            (place.client.post, ("/v1/environments/refresh",)),
        ):
            assert refused(call, *args).exit_code == 5


@pytest.mark.parametrize("name", ["..%2F..%2Fx", "a%00b", "a%2Fb"])
def test_a_name_that_leads_elsewhere_is_refused(place, name):
    assert refused(place.client.put, f"/v1/secrets/{name}", b"x").code == "bad-secret-name"


def test_environments_are_listed_shown_removed_and_collected(place):
    found = place.client.get("/v1/environments")
    assert (found["environments"][0]["lock"], found["cache_bytes"]) == (digest("abcdef"), 77)
    assert found["environments"][0]["in_use"] is False
    shown = place.client.get("/v1/environments/abcdef")
    assert shown["environments"][0]["packages"] == ["numpy==2.0"]
    gone = place.client.delete("/v1/environments/abcdef")
    assert gone == {"lock": digest("abcdef"), "freed_bytes": 1000}
    assert place.client.post("/v1/environments/collect", {"cache": True}) == {"freed_bytes": 0}
    assert place.environments.cleared == [True]
    assert place.client.post("/v1/environments/refresh") == {"forgotten": 3}


@pytest.mark.parametrize(
    "body", [{"older_than_s": -1}, {"keep": 1.5}, {"all": True}, {"older_than_s": "soon"}]
)
def test_a_wish_to_prune_that_is_malformed_changes_nothing(place, body):
    assert refused(place.client.post, "/v1/prune", body).code == "bad-request"
    assert place.collector.roots == frozenset()


def test_a_result_is_fetched_to_an_absolute_path_only(place, short_tmp):
    job = place.running()
    place.client.post(f"/v1/jobs/{job}/cancel")
    place.plant.settle(60)
    to = str(short_tmp / "out")
    answer = place.client.post(f"/v1/jobs/{job}/result/fetch", {"to": to, "overwrite": True})
    assert [str(path) for path, overwrite in place.collector.exported if overwrite] == [to]
    assert answer["left_out"] == [{"path": "link", "why": "points out"}]
    wrong = refused(place.client.post, f"/v1/jobs/{job}/result/fetch", {"to": "out"})
    assert wrong.code == "bad-path"


def test_metrics_of_a_job_that_reported_nothing_are_an_empty_list(place):
    job = place.running()
    assert place.client.get(f"/v1/jobs/{job}/metrics")["series"] == []
    assert refused(place.client.get, "/v1/jobs/99/metrics").exit_code == 4


def execute(place, job, **body):
    return list(place.client.stream("POST", f"/v1/jobs/{job}/exec", {"command": ["x"], **body}))


def test_a_command_gets_its_input_and_its_output_and_code_come_back(place):
    place.said = Said(("out", b"\xff\x00"), ("err", b"no"), ("exit", b"-9"))
    job = place.running()
    body = {"command": ["a b", "$c"], "node": 1, "input": base64.b64encode(b"in").decode()}
    messages = execute(place, job, **body)
    assert place.asked == [(f"{job}/1", 1, ("a b", "$c"), b"in")]
    assert [m.event for m in messages] == ["begin", "out", "err", "exit"]
    assert base64.b64decode(data_of(messages[1])["data"]) == b"\xff\x00"
    assert data_of(messages[3]) == {"code": -9}
    assert place.said.closed.wait(20)


def test_a_command_ends_when_its_caller_goes_away_though_it_is_silent(place):
    place.said = Said(stays=True)
    stream = place.client.stream("POST", f"/v1/jobs/{place.running()}/exec", {"command": ["x"]})
    assert next(stream).event == "begin"
    stream.close()
    assert place.said.closed.wait(20)


def test_a_job_that_ends_before_the_command_is_told(place):
    place.said = Said(("out", b"x"), breaks=True)
    *_, last = execute(place, place.running())
    assert (last.event, data_of(last)["error"]["code"]) == ("error", "command-cut-off")


def test_no_command_runs_in_a_job_that_does_not(place):
    job = place.submit(hold=True)
    wrong = refused(execute, place, job)
    assert (wrong.code, wrong.exit_code) == ("job-not-running", 6)
    assert refused(execute, place, place.running(), input="%%%").code == "bad-request"
    assert place.asked == []


def test_a_rank_decides_the_node_and_whose_variables_a_command_gets(place):
    body = b"name: gang\ncommand: x\ncode: false\nresources: {nodes: 1, ranks: 3}\n"
    job = place.submit(body)
    place.plant.settle()
    execute(place, job, rank=2)
    assert place.asked == [(f"{job}/1", (0, 2), ("x",), b"")]
    wrong = refused(execute, place, job, rank=3)
    assert (wrong.code, wrong.exit_code, wrong.hint) == (
        "no-such-rank",
        4,
        "it has 3 ranks, counted from 0",
    )
