"""The lock's text is deterministic, readable by pip, and read back as it was written."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenkei.envs import lockfile
from zenkei.envs.lockfile import Lock
from zenkei.model.errors import InvalidInput

LOCK = Lock(
    python="3.11.7",
    exact=False,
    platform="linux-x86_64-glibc",
    build=False,
    options=("--extra-index-url=https://w.example/",),
    requirements=("a==1 --hash=sha256:" + "a" * 64,),
)


def test_a_lock_is_read_back():
    assert lockfile.decode(LOCK.encode()) == LOCK


@pytest.mark.parametrize(
    "change",
    [{"python": "3.11.8"}, {"exact": True}, {"platform": "x"}, {"build": True}, {"options": ()}],
)
def test_everything_that_matters_is_in_the_text(change):
    assert replace(LOCK, **change).encode() != LOCK.encode()


def test_a_newer_format_is_refused():
    with pytest.raises(InvalidInput, match="its format is 2"):
        lockfile.decode(LOCK.encode().replace(b'"format":1', b'"format":2'))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_lock_or_an_error_for_a_person(content):
    for text in (content, b"# zenkei-lock " + content):
        with contextlib.suppress(InvalidInput):
            lock = lockfile.decode(text)
            assert lockfile.decode(lock.encode()) == lock


@given(st.text(max_size=300))
def test_any_text_is_pinned_or_refused(text):
    with contextlib.suppress(InvalidInput):
        pins = lockfile.pinned(lockfile.logical_lines(text))
        assert all("--hash=sha" in pin for pin in pins)


def test_order_and_repetition_of_pins_do_not_matter():
    one, other = "b==1 --hash=sha256:" + "b" * 64, "A_x==1 --hash=sha256:" + "a" * 64
    assert lockfile.pinned([(1, one), (2, other), (3, one)]) == (other, one)
