"""uv's words become progress and errors that say what to do, and whether trying again helps."""

import pytest

from zenkei.envs import uvtext
from zenkei.envs.child import Outcome
from zenkei.model.errors import InvalidInput, Unavailable, ZenkeiError


def failed(text: str, **more: object) -> ZenkeiError:
    outcome = Outcome(code=1, lines=tuple(text.splitlines()), **more)  # type: ignore[arg-type]
    return uvtext.failure(outcome, "resolved", timeout_s=9, python="3.8.18")


UNSOLVABLE = """\
error: No solution found when resolving dependencies
  cause: Because torch==2.15.0 has no wheels with a matching Python implementation tag
and you require torch==2.15.0, we can conclude that your requirements are unsatisfiable.
hint: You require CPython 3.8 (`cp38`), but we only found wheels with: `cp311`"""


def test_an_impossible_wish_keeps_uvs_explanation_and_says_which_python():
    error = failed(UNSOLVABLE)
    assert isinstance(error, InvalidInput)
    assert error.message.startswith("the environment cannot be resolved: Because torch==2.15.0 has")
    assert "hint:" not in error.message
    assert "Python 3.8.18" in error.hint
    assert "cp311" in error.hint


@pytest.mark.parametrize(
    ("text", "kind", "code", "hint"),
    [
        ("error: x\n  cause: dns error", Unavailable, "index-silent", "HTTPS_PROXY"),
        ("error: tcp connect error\nConnection refused", Unavailable, "index-silent", "network"),
        ("error: HTTP status server error (503 Service", Unavailable, "index-silent", "index"),
        ("error: HTTP status client error (401 Unauth", InvalidInput, "index-denied", "netrc"),
        ("error: write: No space left on device", Unavailable, "disk-full", "prune"),
        ("error: x has no usable wheels", InvalidInput, "environment-impossible", "env.build"),
        ("error: Hash mismatch for `a`", InvalidInput, "environment-hash", "lock again"),
        (
            "error: Because nump was not found in the package registry",
            InvalidInput,
            "environment-impossible",
            "`nump`",
        ),
    ],
)
def test_each_failure_has_its_code_and_its_way_out(text, kind, code, hint):
    error = failed(text)
    assert type(error) is kind
    assert error.code == code
    assert hint in error.hint


def test_a_long_explanation_is_cut():
    error = failed("error: x\n" + "\n".join(f"line {n}" for n in range(500)))
    assert len(error.message.splitlines()) == uvtext.SHOWN_LINES


def test_a_timeout_and_a_kill_are_worth_another_try():
    assert failed("", timed_out=True).code == "environment-timeout"
    assert failed("", too_long=True).code == "environment-killed"
    killed = Outcome(code=-9, lines=())
    assert "signal 9" in uvtext.failure(killed, "built", timeout_s=1, python="3").message


def test_progress_is_short_and_leaves_out_the_rest():
    said: list[str] = []
    line = uvtext.follow(said.append)
    for text in (
        "Using Python 3.11.7 environment at: x",
        "Resolved 7 packages in 77ms",
        "Downloading torch (825.0MiB)",
        " Downloaded torch",
        "Prepared 1 package in 1s",
        "Installed 7 packages in 350ms",
        " + torch==2.15.0",
    ):
        line(text)
    assert said == [
        "resolved 7 packages",
        "downloading torch (825.0MiB)",
        "downloaded torch",
        "fetched 1 package",
        "installed 7 packages",
    ]
