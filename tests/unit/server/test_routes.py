"""Routes over a real socket: jobs, lists, commands, refusals, the handshake."""

import json
import socket
import time

import pytest

from tests.plant import Plant, never_ends
from tests.served import ECHO, Served, data_of
from zenkei import __version__
from zenkei.api import version
from zenkei.client import connection
from zenkei.client.failure import Failure


@pytest.fixture
def served(short_tmp):
    with Served(short_tmp) as running:
        yield running


def raw_request(served: Served, data: bytes) -> connection.Answer:
    sock = connection.connect(str(served.socket), timeout_s=20)
    sock.sendall(data)
    return connection.Answer(sock)


def test_a_job_is_submitted_runs_and_is_shown(served):
    job = served.submit()
    served.plant.settle()
    shown = served.client.get(f"/v1/jobs/{job}")
    assert (shown["state"], shown["name"], shown["exit"]["code"]) == ("succeeded", "hello", 0)
    assert shown["spec"]["command"] == "echo hi"
    assert [a["number"] for a in shown["attempts"]] == [1]
    assert shown["result"]["state"] == "sealed"


def test_flags_and_a_command_make_a_job_too(served):
    body = {"command": ["echo", "a b"], "flags": {"resources": {"cpus": "2"}, "code": False}}
    made = served.client.post("/v1/jobs", body)
    shown = served.client.get(f"/v1/jobs/{made['id']}")
    assert shown["spec"]["command"] == ["echo", "a b"]


def test_every_problem_of_a_job_file_is_told_with_its_place(served):
    with pytest.raises(Failure) as refused:
        served.client.post("/v1/jobs", b"name: x\ngpu: 1\ncommand: [\n", file="my.yaml")
    assert refused.value.exit_code == 2
    with pytest.raises(Failure) as refused:
        served.client.post("/v1/jobs", b"nam: x\ncommand: x\nqueue: [1]\n", file="my.yaml")
    places = {(p["at"]["file"], p["at"]["line"]) for p in refused.value.problems}
    assert ("my.yaml", 1) in places
    assert ("my.yaml", 3) in places


def test_a_repeated_request_with_its_key_makes_one_job(served):
    assert served.submit(key="k1") == served.submit(key="k1")
    assert served.submit(key="k2") == "2"
    with pytest.raises(Failure) as refused:
        served.client.post("/v1/jobs", ECHO.replace(b"hi", b"ho"), key="k1")
    assert refused.value.details == {"job": "1"}
    assert refused.value.exit_code == 6


def test_the_working_tree_travels_if_it_is_a_directory(served, tmp_path):
    job = served.submit(ECHO.replace(b"code: false\n", b""), source=str(tmp_path))
    assert served.client.get(f"/v1/jobs/{job}")["digests"]["code"].startswith("b3:")
    with pytest.raises(Failure) as refused:
        served.submit(source=str(tmp_path / "absent"))
    assert refused.value.code == "bad-source"


def test_a_home_directory_stays_where_it_is(served, tmp_path):
    made = served.client.post(
        "/v1/jobs", {"command": ["ls"], "flags": {}}, source=str(tmp_path), home=True
    )
    assert "home directory" in made["warnings"][0]
    assert served.client.get(f"/v1/jobs/{made['id']}")["digests"]["code"] == ""


def test_lists_are_newest_first_filtered_and_paged(served):
    for _ in range(5):
        served.submit()
    served.plant.settle()
    held = served.submit(hold=True)
    first = served.client.get("/v1/jobs", limit=4)
    assert [row["id"] for row in first["jobs"]] == ["6", "5", "4", "3"]
    rest = served.client.get("/v1/jobs", limit=4, cursor=first["next"])
    assert [row["id"] for row in rest["jobs"]] == ["2", "1"]
    assert rest["next"] == ""
    only = served.client.get("/v1/jobs", state="held,running")
    assert [row["id"] for row in only["jobs"]] == [held]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"state": "runing"}, "bad-state"),
        ({"limit": "0"}, "bad-request"),
        ({"limit": "x"}, "bad-request"),
        ({"stat": "running"}, "bad-request"),
    ],
)
def test_a_wrong_filter_is_refused_not_ignored(served, query, code):
    with pytest.raises(Failure) as refused:
        served.client.get("/v1/jobs", **query)
    assert (refused.value.code, refused.value.exit_code) == (code, 2)


def test_a_list_counts_all_members_of_an_array_also_those_that_the_filter_leaves_out(served):
    job = served.submit(ECHO + b"array: 3\n")
    served.client.post(f"/v1/jobs/{job}.1/cancel")
    found = served.client.get("/v1/jobs", state="preparing")
    assert [row["id"] for row in found["jobs"]] == [f"{job}.2", f"{job}.0"]
    assert found["arrays"] == {job: {"preparing": 2, "cancelled": 1}}
    assert served.client.get("/v1/jobs", state="failed")["arrays"] == {}


def test_a_list_of_lines_has_one_row_for_each_array_and_pages_of_them(served):
    first, single, last = (
        served.submit(ECHO + more) for more in (b"array: 3\n", b"", b"array: 2\n")
    )
    page = served.client.get("/v1/jobs", lines=True, limit=2)
    assert [row["id"] for row in page["jobs"]] == [f"{last}.1", single]
    assert page["arrays"] == {last: {"preparing": 2}}
    rest = served.client.get("/v1/jobs", lines=True, limit=2, cursor=page["next"])
    assert ([row["id"] for row in rest["jobs"]], rest["next"]) == ([f"{first}.2"], "")
    served.client.post(f"/v1/jobs/{first}.0/cancel")
    (line,) = served.client.get("/v1/jobs", lines=True, number=first)["jobs"]
    assert line["changed_us"] == served.client.get(f"/v1/jobs/{first}.0")["changed_us"]


def test_ids_are_numbers_members_or_the_last_job(served):
    served.submit(ECHO + b"array: 3\n")
    assert served.client.get("/v1/jobs/-")["array"] is True
    assert served.client.get("/v1/jobs/1.2")["member"] == 2
    for text, exit_code in (("1.3", 4), ("99", 4), ("x", 2), ("1%2F..", 4)):
        with pytest.raises(Failure) as refused:
            served.client.get(f"/v1/jobs/{text}")
        assert refused.value.exit_code == exit_code, text


def test_jobs_are_held_released_cancelled_and_run_again(short_tmp):
    with Served(short_tmp, Plant(program=never_ends)) as served:
        ask = served.client.post
        job = served.submit(hold=True)
        assert served.client.get(f"/v1/jobs/{job}")["holds"] == ["user"]
        assert ask(f"/v1/jobs/{job}/release")["jobs"][0]["state"] == "preparing"
        served.plant.settle()
        assert served.client.get(f"/v1/jobs/{job}")["state"] == "running"
        assert ask(f"/v1/jobs/{job}/cancel", {"grace_s": 0})["jobs"][0]["state"] == "stopping"
        served.plant.settle()
        assert served.client.get(f"/v1/jobs/{job}")["exit"]["code"] == 130
        with pytest.raises(Failure) as refused:
            ask(f"/v1/jobs/{job}/hold")
        assert refused.value.exit_code == 6
        again = ask(f"/v1/jobs/{job}/rerun", {"request_key": "k"})
        assert ask(f"/v1/jobs/{job}/rerun", {"request_key": "k"}) == again
        assert served.client.get(f"/v1/jobs/{again['id']}")["rerun_of"] == job


def test_a_waiting_job_says_why_with_numbers(served):
    job = served.submit(ECHO + b"resources: {gpus: 4}\n")
    served.plant.settle()
    (row,) = served.client.get("/v1/jobs")["jobs"]
    found = served.client.get(f"/v1/jobs/{job}/explain")
    assert row["reason"] == found["reason"]["text"]
    assert found["reason"]["severity"] == "never"
    assert found["explanation"]["nodes"] == 1


def test_nodes_show_what_is_held_and_by_whom(short_tmp):
    with Served(short_tmp, Plant(program=never_ends)) as served:
        job = served.submit()
        served.plant.settle()
        (node,) = served.client.get("/v1/nodes")["nodes"]
        assert [part["job"] for part in node["held"]] == [job]


def test_health_and_metrics_tell_the_same(served):
    served.submit(hold=True)
    health = served.client.get("/v1/health")
    assert (health["ok"], health["jobs"]["held"]) == (True, 1)
    metrics = b"".join(served.client.fetch("/metrics")).decode()
    assert 'zenkei_jobs{state="held"} 1' in metrics
    assert all(line.startswith(("#", "zenkei_")) for line in metrics.splitlines())


def test_a_broken_store_is_an_answer_of_the_health_page(served, monkeypatch):
    monkeypatch.setattr(served.plant.store, "counts", lambda: 1 / 0)
    with pytest.raises(Failure) as refused:
        served.client.get("/v1/health")
    assert refused.value.exit_code == 75
    assert served.client.health()["problems"] == ["the store does not answer: ZeroDivisionError"]


def test_a_defect_has_an_incident_and_never_inner_text(served, monkeypatch, caplog):
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("inner secret")

    monkeypatch.setattr(served.plant.queries, "jobs", fail)
    with pytest.raises(Failure) as refused:
        served.client.get("/v1/jobs")
    assert refused.value.exit_code == 70
    assert "inner secret" not in str(refused.value)
    incident = refused.value.details["incident"]
    assert any(incident in record.message and record.exc_info for record in caplog.records)


def test_an_unknown_route_says_so_in_the_error_body(served):
    with pytest.raises(Failure) as refused:
        served.client.get("/v1/nothing")
    assert refused.value.code == "no-such-route"
    with pytest.raises(Failure):
        served.client.delete("/v1/jobs")


def test_every_answer_carries_the_handshake(served):
    answer = raw_request(served, b"GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer.headers["zenkei-version"] == __version__
    assert json.loads(answer.body()) == {"version": __version__, "protocol": version.PROTOCOL}
    answer.close()


def test_a_client_that_finds_a_daemon_too_old_says_what_to_do(served, monkeypatch):
    monkeypatch.setattr(version, "OLDEST_DAEMON", version.PROTOCOL + 1)
    with pytest.raises(Failure) as refused:
        served.client.get("/v1/jobs")
    assert (refused.value.code, refused.value.exit_code) == ("other-version", 6)
    assert "zenkei up" in refused.value.hint


def test_a_request_of_a_later_protocol_is_refused_by_the_daemon(served):
    head = b"GET /v1/jobs HTTP/1.1\r\nhost: x\r\nzenkei-protocol: 99\r\n\r\n"
    answer = raw_request(served, head)
    error = json.loads(answer.body())["error"]
    assert (answer.status, error["code"]) == (409, "other-version")
    assert "zenkei down" in error["hint"]
    answer.close()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"content-length: 99999999\r\n", 413),
        (b"transfer-encoding: chunked\r\n", 411),
        (b"a: " + b"x" * 70_000 + b"\r\n", 400),
    ],
)
def test_requests_are_bounded(served, head, status):
    answer = raw_request(served, b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n")
    assert answer.status == status
    assert json.loads(answer.body())["error"]["message"]
    answer.close()


def test_a_head_that_never_ends_is_cut_off(served, monkeypatch):
    monkeypatch.setattr("zenkei.server.peer.HEAD_WITHIN_S", 0.1)
    sock = connection.connect(str(served.socket), timeout_s=20)
    sock.sendall(b"GET /v1/jobs HTTP/1.1\r\nhost")
    assert b"head-too-slow" in sock.recv(65536)
    sock.close()


def test_too_many_connections_are_told_to_come_back(served, monkeypatch):
    monkeypatch.setattr("zenkei.server.peer.MOST_CONNECTIONS", 2)
    held = [connection.connect(str(served.socket), timeout_s=20) for _ in range(2)]
    for sock in held:
        sock.sendall(b"GET")
    with pytest.raises(Failure) as refused:
        served.client.get("/v1/version")
    assert refused.value.exit_code == 75
    for sock in held:
        sock.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            assert served.client.get("/v1/version")["version"] == __version__
            return
        except Failure:
            continue
    raise AssertionError("closed connections are not forgotten")


def test_a_job_file_that_is_no_form_of_a_job_is_refused(served):
    head = b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\n"
    answer = raw_request(served, head + b"content-length: 1\r\n\r\nx")
    assert answer.status == 400
    answer.close()


def test_shutdown_stops_what_runs_when_it_is_asked_to(short_tmp, monkeypatch):
    with Served(short_tmp, Plant(program=never_ends)) as served:
        monkeypatch.setattr("zenkei.server.routes_cluster.STOP_PATIENCE_S", 0.2)
        job = served.submit()
        served.plant.settle()
        told = served.client.post("/v1/shutdown", {"jobs": True})
        assert told["stopped"] == [job]
        served.plant.settle()
        assert served.client.get(f"/v1/jobs/{job}")["state"] == "cancelled"
        assert served.client.post("/v1/shutdown")["running"] == 0


def test_events_of_a_job_are_listed_with_the_states_they_led_to(served):
    job = served.submit()
    served.plant.settle()
    events = served.client.get(f"/v1/jobs/{job}/events")["events"]
    assert [e["state"] for e in events] == [
        "preparing", "pending", "starting", "running", "stopping", "succeeded",
    ]  # fmt: skip
    later = served.client.get(f"/v1/jobs/{job}/events", after=events[2]["seq"])["events"]
    assert later == events[3:]


def test_a_watcher_of_all_events_starts_where_it_wants(served):
    served.submit()
    stream = served.client.stream("GET", "/v1/events", after="0:0:")
    assert data_of(next(stream))["seq"] == 0
    first = next(stream)
    assert data_of(first)["kind"] == "submitted"
    stream.close()
    served.plant.settle()
    resumed = served.client.stream("GET", "/v1/events", after=first.id)
    next(resumed)
    assert data_of(next(resumed))["kind"] == "prepared"
    resumed.close()


def test_a_peer_has_the_uid_that_the_kernel_says():
    from zenkei.server.peer import peer_of

    ours, theirs = socket.socketpair()
    with ours, theirs:
        import os

        assert peer_of(ours) == (os.geteuid(), os.getpid())
