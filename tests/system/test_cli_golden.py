"""Every command once against a real daemon, compared with tests/golden/cli.

Texts are compared with what differs from run to run masked; `--json` by its keys and types. One
daemon serves all cases, so none of them changes what another one sees: those that do have a job of
their own. Regenerate with ZENKEI_UPDATE_GOLDEN=1 and read the difference.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.system.cli_runs import GOLDEN, UPDATE, Place, a_place, compare, keys, masked, shown
from tests.testbeds.local_place import is_alive, until
from zenkei.cli.entry import VERBS

HELLO, TRAINED, FAILED, RUNNING, WAITING, HELD, ARRAY = "1", "2", "3", "4", "5", "6", "7"
SCRIPT = """\
import os
from zenkei import sdk
for step in range(3):
    sdk.report(step=step, loss=1.0 / (step + 1), bad=float("nan"))
print("損失", 0.5, flush=True)
folder = os.environ["ZENKEI_OUTPUT_DIR"]
open(os.path.join(folder, "結果.txt"), "w", encoding="utf-8").write("done")
os.makedirs(os.path.join(folder, "empty"))
os.symlink("結果.txt", os.path.join(folder, "link"))
"""
TRACE = """\
job_id,user,queue,group,submit_s,duration_s,nodes,gpus_per_node,cpus,mem_gib,gpu_type
a,ann,q,bert,0,600,1,4,4,16,
b,bob,q,bert,60,600,2,4,4,16,
"""
JOB = """\
name: 学習
command: python 学習.py
resources: {nodes: 2}
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Seven jobs, one in every situation that the commands show."""
    with a_place() as found:
        found.ok("up", "--nodes", "2", "--gpus-per-node", "2", "--cpus-per-node", "4")
        found.write("学習.py", SCRIPT)
        found.write("job.yaml", JOB)
        found.write("trace.csv", TRACE)
        found.write("bad-trace.csv", TRACE.replace("60,600", "60,minutes"))
        found.write("bad.yaml", "command: x\nresources: {gpu: 1}\nsed: 3\n")
        found.ok("run", "--name", "hello", "--", "echo", "hello world")
        found.ok("run", "job.yaml")
        assert (
            found.run("run", "--name", "fails", "--", "sh", "-c", "echo no >&2; exit 3").code == 3
        )
        found.ok("submit", "--name", "long", "--nodes", "2", "--gpus", "2", "--", "sleep", "1000")
        found.until(RUNNING, "running")
        found.ok("submit", "--name", "waits", "--gpus", "1", "--", "true")
        found.until_explained(WAITING)
        found.ok("submit", "--name", "held", "--hold", "--", "true")
        found.ok("run", "--name", "many", "--array", "2", "--", "echo", "hi")
        found.ok("secret", "set", "TOKEN", given="s3cr3t\n")
        yield found


TEXTS = {
    # golden: argv
    "help": ("help",),
    "version": ("version",),
    "unknown-verb": ("pss",),
    "unknown-verb-far": ("xyzzy",),
    "ps": ("ps",),
    "ps-all": ("ps", "--all"),
    "sim-run-bad": ("sim", "run", "bad-trace.csv", "--nodes", "2x4"),
    "sim-run-policy": ("sim", "run", "trace.csv", "--nodes", "2x4", "--policy", "lerned"),
    "ps-none": ("ps", "--name", "nobody"),
    "show-done": ("show", TRAINED),
    "show-failed": ("show", FAILED),
    "show-running": ("show", RUNNING),
    "show-array": ("show", ARRAY),
    "logs": ("logs", TRAINED),
    "logs-stderr": ("logs", FAILED),
    "logs-array": ("logs", ARRAY),
    "logs-array-follow": ("logs", "-f", ARRAY),
    "wait": ("wait", HELLO),
    "wait-failed": ("wait", FAILED),
    "events": ("events", FAILED),
    "events-array": ("events", ARRAY),
    "events-follow": ("events", "--follow", HELLO),
    "metrics": ("metrics", TRAINED),
    "metrics-name": ("metrics", TRAINED, "--name", "loss", "--rank", "0"),
    "metrics-none": ("metrics", HELLO),
    "explain-waiting": ("explain", WAITING),
    "explain-held": ("explain", HELD),
    "explain-running": ("explain", RUNNING),
    "explain-done": ("explain", HELLO),
    "result": ("result", TRAINED),
    "result-none": ("result", "ls", HELLO),
    "result-show": ("result", "show", TRAINED),
    "result-diff": ("result", "diff", HELLO, TRAINED),
    "result-lineage": ("result", "lineage", TRAINED),
    "result-tags": ("result", "tags"),
    "result-capsule": ("result", "capsule", TRAINED, "-o", "text.zip", "--force"),
    "verify": ("verify", HELLO, "--against", f"{ARRAY}.0"),
    "diff": ("diff", HELLO, FAILED),
    "dataset-ls": ("dataset", "ls"),
    "dataset-unknown": ("dataset", "show", "nowhere"),
    "nodes": ("nodes",),
    "nodes-map": ("nodes", "--map"),
    "node-ls": ("node", "ls"),
    "queue-tree": ("queue", "tree"),
    "cluster-show": ("cluster", "show"),
    "unpause": ("unpause",),
    "up": ("up",),
    "secret-ls": ("secret", "ls"),
    "env-list": ("env", "list"),
    "env-refresh": ("env", "refresh"),
    "env-gc": ("env", "gc", "--cache"),
    "exec": ("exec", RUNNING, "--", "sh", "-c", "echo $ZENKEI_JOB; echo no >&2; exit 3"),
    "prune-dry": ("prune", "--dry-run", "--older-than", "0", "--keep", "2"),
    "schema": ("schema",),
    "init-print": ("init", "--print"),
    "run-check": ("run", "--check", "job.yaml"),
    "completion-bash": ("completion", "bash"),
    "completion-zsh": ("completion", "zsh"),
    "completion-fish": ("completion", "fish"),
    "run-hello": ("run", "--name", "hello", "--", "echo", "hello again"),
    "run-array": ("run", "--name", "many", "--array", "2", "--", "echo", "hi"),
    "run-array-counts": ("run", "-q", "--name", "many", "--array", "2", "--", "echo", "hi"),
    "run-no-mpi": ("run", "--launcher", "mpi", "-e", "PATH=/nowhere", "--", "true"),
    # errors
    "bad-flag": ("ps", "--al"),
    "pause-bad-flag": ("pause", "--raeson", "x"),
    "queue-unknown": ("queue", "pause", "nope"),
    "bad-id": ("show", "x1"),
    "no-such-job": ("show", "99999"),
    "no-such-member": ("cancel", "7.55"),
    "logs-array-raw": ("logs", "--raw", ARRAY),
    "logs-no-job": ("logs", "99999"),
    "events-no-job": ("events", "99999"),
    "metrics-not-started": ("metrics", HELD),
    "explain-no-job": ("explain", "99999"),
    "explain-array": ("explain", ARRAY),
    "exec-array": ("exec", ARRAY, "--", "true"),
    "stacks-array": ("stacks", ARRAY),
    "result-not-started": ("result", WAITING),
    "result-bad-action": ("env", "lst"),
    "cancel-over": ("cancel", HELLO),
    "cancel-none": ("cancel", "--user", "nobody"),
    "cancel-no-terminal": ("cancel", "--queue", "default"),
    "cancel-nothing": ("cancel",),
    "edit-nothing": ("edit", WAITING),
    "edit-running": ("edit", RUNNING, "--priority", "3"),
    "edit-bad": ("edit", WAITING, "--gpus", "1.5"),
    "hold-over": ("hold", HELLO),
    "preempt-over": ("preempt", HELLO),
    "checkpoint-none": ("checkpoint", "ls", HELLO),
    "checkpoint-deaf": ("checkpoint", "ask", RUNNING),
    "release-over": ("release", HELLO),
    "rerun-no-job": ("rerun", "99999"),
    "verify-no-job": ("verify", "99999"),
    "verify-array": ("verify", ARRAY, "--against", ARRAY),
    "verify-array-other": ("verify", ARRAY, "--against", HELLO),
    "verify-not-over": ("verify", HELLO, "--against", RUNNING),
    "verify-failed": ("verify", HELLO, "--against", FAILED),
    "verify-bad-tolerance": ("verify", HELLO, "--tolerance", "loss=few"),
    "diff-one": ("diff", HELLO),
    "result-get-none": ("result", "get", TRAINED, "nothing"),
    "result-rm-no-terminal": ("result", "rm", TRAINED),
    "result-capsule-running": ("result", "capsule", RUNNING),
    "result-import-bad": ("result", "import", "bad.yaml"),
    "result-import-none": ("result", "import", "nowhere.zip"),
    "result-tag-bad": ("result", "tag", TRAINED, "a b"),
    "wait-no-job": ("wait", "99999"),
    "exec-over": ("exec", HELLO, "--", "true"),
    "exec-no-command": ("exec", RUNNING),
    "exec-no-node": ("exec", RUNNING, "--node", "7", "--", "true"),
    "node-unknown": ("node", "show", "nodo-1"),
    "node-no-reason": ("node", "drain", "node-1"),
    "exec-no-rank": ("exec", RUNNING, "--rank", "7", "--", "true"),
    "env-unknown": ("env", "show", "0123456789"),
    "env-short": ("env", "rm", "01"),
    "secret-unknown": ("secret", "rm", "NOPE"),
    "secret-bad-name": ("secret", "set", "../x"),
    "secret-empty": ("secret", "set", "EMPTY"),
    "prune-no-terminal": ("prune",),
    "prune-bad-time": ("prune", "--older-than", "soon", "--yes"),
    "run-bad-file": ("run", "bad.yaml"),
    "run-no-file": ("run", "nowhere.yaml"),
    "run-never": ("run", "--gpus", "64", "--nodes", "300000", "--", "true"),
    "completion-bad-shell": ("completion", "tcsh"),
    "init-exists": ("init",),
    "init-no-directory": ("init", "nowhere"),
    "up-sizes": ("up", "--gpus-per-node", "2"),
    "up-in-use": ("up", "--nodes", "1"),
    "down-jobs": ("down", "--jobs"),
}
UNORDERED = ("logs", "logs-array-follow", "run-array", "run-array-counts", "events-array")
"""What ranks and members do at the same time comes in any order."""
NOW_AND_THEN = ("progress", "reason", "members")
"""Messages of a stream that depend on how fast things go."""
KEYS = {
    "sim-run": ("sim", "run", "trace.csv", "--nodes", "2x4"),
    "stacks": ("stacks", RUNNING),
    "version": ("version",),
    "ps": ("ps", "--all"),
    "show": ("show", TRAINED),
    "show-array": ("show", ARRAY),
    "logs": ("logs", TRAINED),
    "logs-array": ("logs", ARRAY),
    "events": ("events", RUNNING),
    "wait": ("wait", FAILED),
    "metrics": ("metrics", TRAINED, "--points", "3"),
    "explain": ("explain", WAITING),
    "explain-held": ("explain", HELD),
    "result": ("result", "ls", TRAINED),
    "record": ("result", "record", TRAINED),
    "result-show": ("result", "show", TRAINED),
    "result-diff": ("result", "diff", HELLO, TRAINED),
    "result-lineage": ("result", "lineage", TRAINED),
    "result-tags": ("result", "tags"),
    "result-capsule": ("result", "capsule", TRAINED, "-o", "keys.zip", "--force"),
    "verify": ("verify", HELLO, "--against", f"{ARRAY}.0"),
    "diff": ("diff", HELLO, FAILED),
    "dataset-ls": ("dataset", "ls"),
    "nodes": ("nodes",),
    "node": ("node", "show", "node-1"),
    "queue-tree": ("queue", "tree"),
    "cluster-show": ("cluster", "show"),
    "cluster-history": ("cluster", "history"),
    "unpause": ("unpause",),
    "pause-error": ("pause", "--raeson", "x"),
    "events-nodes": ("events", "--nodes", "node-1"),
    "up": ("up",),
    "secret-ls": ("secret", "ls"),
    "env-list": ("env", "list"),
    "env-refresh": ("env", "refresh"),
    "env-gc": ("env", "gc"),
    "exec": ("exec", RUNNING, "--", "sh", "-c", "echo a; echo b >&2"),
    "prune-dry": ("prune", "--dry-run", "--older-than", "0", "--keep", "2"),
    "init": ("init", "--print"),
    "completion": ("completion", "zsh"),
    "run-check": ("run", "--check", "job.yaml"),
    "run": ("run", "--name", "hello", "--", "echo", "hello again"),
    "run-array": ("run", "--name", "many", "--array", "2", "--", "echo", "hi"),
    "submit": ("submit", "--name", "hello", "--", "true"),
    "hold": ("hold", HELD),
    "edit": ("edit", HELD, "--priority", "0"),
    "cancel-none": ("cancel", "--user", "nobody"),
    "preempt-over": ("preempt", HELLO),
    "checkpoint": ("checkpoint", "ls", HELLO),
    "error": ("show", "99999"),
    "error-problems": ("run", "bad.yaml"),
    "error-usage": ("ps", "--al"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_run_shows_what_its_golden_shows(place, name):
    done = place.run(*TEXTS[name])
    assert "\x1b" not in done.stdout + done.stderr
    text = shown(done, place)
    compare(name, "".join(sorted(text.splitlines(True))) if name in UNORDERED else text)


@pytest.mark.parametrize("name", KEYS)
def test_json_has_the_keys_of_its_golden(place, name):
    done = place.run(*_with_json(KEYS[name]))
    lines = [line for line in done.lines() if line.get("event") not in NOW_AND_THEN]
    found = set().union(*map(keys, lines))
    # a machine's own Python may import more by itself
    found = {key for key in found if not key.startswith("imported.")}
    # how far members have come when they are counted first depends on how fast things go
    found = {
        re.sub(r"^members\.(preparing|pending|starting|running)", "members.…", key) for key in found
    }
    compare(f"json/{name}", f"exit {done.code}\n" + "".join(f"{key}\n" for key in sorted(found)))
    assert done.stderr == "" or not name.startswith("error"), done.stderr


def _with_json(argv: tuple[str, ...]) -> tuple[str, ...]:
    """`--json` goes before the `--` of a command."""
    at = argv.index("--") if "--" in argv else len(argv)
    return (*argv[:at], "--json", *argv[at:])


def test_every_verb_has_a_golden_of_its_text_and_one_of_its_keys():
    # these two have tests of their own below or measure the machine
    texts = {argv[0] for argv in TEXTS.values()} | {"doctor", "du", "submit"}
    as_json = {argv[0] for argv in KEYS.values()} | {"schema", "doctor", "du", "down", "cancel"}
    as_json |= {"release", "rerun"}
    assert set(VERBS) - texts == set()
    assert set(VERBS) - as_json == set()


def test_there_is_no_golden_without_its_case():
    wanted = {f"{name}.txt" for name in TEXTS} | {f"json/{name}.txt" for name in KEYS}
    wanted |= {f"{name}.txt" for name in CHANGING} | {"doctor.txt", "du.txt"}
    wanted |= {f"json/{name}.txt" for name in ("doctor", "du", "down", *CHANGING_JSON)}
    there = {str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*.txt")}
    assert there - wanted == set()


IMPORTS = ("result-import", "result-import-again", "show-imported")
JOB_STEPS = ("hold", "edit", "release", "cancel", "rerun", "init")
CHANGING = (*JOB_STEPS, "result-fetch", "result-fetch-again", *IMPORTS)
CHANGING_JSON = (
    *("cancel", "release", "rerun", "result-fetch", "result-import"),
    *("secret-set", "secret-rm", "prune"),
)


def test_a_job_is_held_released_cancelled_and_run_again(place):
    job = place.ok("submit", "--json", "--hold", "--name", "steered", "--", "true").json()["id"]

    def case(name: str, *argv: str) -> None:
        text = shown(place.run(*argv, job), place).replace(job, "<job>")
        compare(name, text)

    case("hold", "hold")
    case("edit", "edit", "--priority", "5", "--time-limit", "1h")
    case("release", "release")
    place.run("wait", job)
    again = place.ok("rerun", "--json", job)
    compare("json/rerun", _keys_of(again.stdout))
    new = again.json()["id"]
    text = shown(place.run("rerun", new), place).replace(new, "<job>")
    compare("rerun", _without_ids(text))
    held = place.ok("submit", "--json", "--hold", "--name", "steered", "--", "true").json()["id"]
    compare("json/release", _keys_of(place.ok("release", "--json", held).stdout))
    place.run("wait", held)
    job = place.ok("submit", "--json", "--hold", "--name", "steered", "--", "true").json()["id"]
    case("cancel", "cancel")
    held = place.ok("submit", "--json", "--hold", "--name", "steered", "--", "true").json()["id"]
    compare("json/cancel", _keys_of(place.ok("cancel", "--json", held).stdout))


def test_a_result_is_fetched_once_and_not_over_what_is_there(place):
    compare("result-fetch", shown(place.run("result", "fetch", TRAINED, "out"), place))
    assert (place.work / "out" / "結果.txt").read_text() == "done"
    assert (place.work / "out" / "link").readlink().name == "結果.txt"
    assert (place.work / "out" / "empty").is_dir()
    compare("result-fetch-again", shown(place.run("result", "fetch", TRAINED, "out"), place))
    done = place.ok("result", "fetch", TRAINED, "out", "--force", "--json")
    compare("json/result-fetch", _keys_of(done.stdout))


def test_a_result_comes_back_as_another_job(place):
    place.ok("result", "capsule", TRAINED, "-o", "back.zip")
    told = [place.run("result", "import", "back.zip") for _ in range(2)]
    found = place.run("result", "import", "back.zip", "--json")
    compare("json/result-import", _keys_of(found.stdout))
    told.append(place.run("show", found.json()["job"]))
    for name, done in zip(IMPORTS, told, strict=True):
        text = shown(done, place).replace(found.json()["came_from"], f"<installation>/{TRAINED}")
        job = found.json()["job"]
        compare(name, text.replace(f"job {job}", "job <job>").replace(f"show {job}", "show <job>"))


def test_a_first_job_file_is_written_and_accepted(place):
    place.write("fresh/train.py", "print('x')\n")
    compare("init", shown(place.run("init", "fresh"), place))
    place.ok("run", "--check", "fresh/job.yaml")


def test_a_secret_is_set_used_masked_and_removed(place):
    place.write("keyed.yaml", "command: echo got $KEY\nsecrets: [{name: KEYED, env: KEY}]\n")
    done = place.ok("secret", "set", "KEYED", "--json", given="topsecretvalue\n")
    compare("json/secret-set", _keys_of(done.stdout))
    run = place.ok("run", "keyed.yaml")
    assert run.stdout == "got ***\n"
    done = place.ok("secret", "rm", "KEYED", "--json")
    compare("json/secret-rm", _keys_of(done.stdout))
    files = [p for p in place.home.rglob("*") if p.is_file() and not p.is_symlink()]
    assert [p for p in files if b"topsecretvalue" in p.read_bytes()] == []


def test_old_jobs_are_pruned_with_all_that_they_left(place):
    job = place.ok("submit", "--json", "--name", "old", "--", "true").json()["id"]
    place.run("wait", job)
    before = {p.name for p in (place.home / "attempts").iterdir()}
    assert job in before
    done = place.ok("prune", "--yes", "--older-than", "0", "--keep", "0", "--json")
    compare("json/prune", _keys_of(done.stdout))
    assert place.run("show", job).code == 4
    assert job not in {p.name for p in (place.home / "attempts").iterdir()}
    assert place.run("show", RUNNING).code == 0


def test_the_reports_of_this_machine_have_stable_lines(place):
    doctor = place.run("doctor")
    assert doctor.code == 0, doctor.stdout
    names = [line[6:].split(":")[0] for line in doctor.stdout.splitlines() if line[:2].strip()]
    compare("doctor", "".join(f"{name}\n" for name in names))
    checks = place.ok("doctor", "--json").json()
    assert {one["verdict"] for one in checks["checks"]} <= {"ok", "note", "warn"}
    known = {key for key in keys(checks) if ".facts" not in key}
    compare("json/doctor", "".join(f"{key}\n" for key in sorted(known)))
    du = place.ok("du", "--top", "0")
    lines = [line.split()[0] for line in masked(du.stdout, place).splitlines() if line.strip()]
    compare("du", "".join(f"{line}\n" for line in lines[:-1]))
    compare("json/du", _keys_of(place.ok("du", "--json").stdout))


def test_a_daemon_that_is_stopped_twice_says_so_and_keeps_its_jobs():
    with a_place() as own:
        own.ok("run", "--", "true")
        compare("json/down", _keys_of(own.ok("down", "--json").stdout))
        own.ok("down")
        assert own.ok("ps", "--all", "--json").json()["jobs"][0]["id"] == "1"


def _keys_of(text: str) -> str:
    return "".join(f"{key}\n" for key in sorted(keys(json.loads(text))))


def _without_ids(text: str) -> str:
    return re.sub(r"\bjob \d+\b", "job <new>", re.sub(r"^\d+$", "<new>", text, flags=re.M))


def test_commands_in_a_job_leave_it_running_however_short_they_are(place):
    """A command that ends at once must not take the supervisor with it."""
    for _ in range(5):
        assert place.run("exec", RUNNING, "--", "true").code == 0
    assert place.run("exec", RUNNING, "--node", "1", "--", "cat", given="x" * 60_000).code == 0
    assert place.run("exec", RUNNING, "--", "sh", "-c", "kill -9 $$").code == 137
    kinds = [line["kind"] for line in place.ok("events", "--json", RUNNING).lines()]
    assert kinds == ["submitted", "prepared", "allocated", "started"]


def test_a_command_in_a_job_ends_when_its_caller_goes_away(place):
    argv = ["exec", RUNNING, "--", "sh", "-c", "echo $$; exec sleep 1000"]
    caller = subprocess.Popen(
        [sys.executable, "-m", "zenkei.cli.entry", *argv],
        cwd=place.work,
        env=place.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        caller.kill()
    until(lambda: not is_alive(pid), "the end of the command")


def test_goldens_are_not_written_by_accident():
    assert os.environ.get(UPDATE, "") in ("", "1")
