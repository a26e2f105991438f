"""What every content store must do, whatever it is made of. A new one adds itself to `stores`."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.model.data import Digest
from zenkei.model.errors import InvalidInput, NotFound
from zenkei.ports.blobs import Blobs

Open = Callable[[], Blobs]
LARGE = bytes(range(256)) * 4096 * 3


def digest_of(content: bytes) -> Digest:
    return Digest("b3:" + blake3(content).hexdigest())


@pytest.fixture(params=["directory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Another client of the same store: what it sees is what was kept."""
    stores: dict[str, Open] = {"directory": lambda: DirectoryBlobs(tmp_path / "store")}
    return stores[request.param]


@pytest.fixture
def blobs(reopen: Open) -> Blobs:
    return reopen()


CONTENTS = [b"", b"a", b"line\n" * 1000, bytes(300_000), LARGE]


@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_a_content_comes_back_by_its_digest(blobs: Blobs, reopen: Open, content: bytes):
    assert blobs.put(content) == digest_of(content)
    for reader in (blobs, reopen()):
        assert reader.get(digest_of(content)) == content
        with reader.open(digest_of(content)) as stream:
            assert stream.read() == content


@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_a_stream_is_stored_like_its_bytes(blobs: Blobs, reopen: Open, content: bytes):
    assert blobs.put_file(io.BytesIO(content)) == (digest_of(content), len(content))
    assert reopen().get(digest_of(content)) == content


def test_a_stream_that_breaks_leaves_nothing(blobs: Blobs):
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 2 << 20:
                raise OSError("the line is dead")
            return super().read(size)

    with pytest.raises(OSError, match="the line is dead"):
        blobs.put_file(Breaking(bytes(8 << 20)))
    assert list(blobs.digests()) == []


def test_putting_twice_keeps_one(blobs: Blobs):
    for _ in range(3):
        blobs.put(b"same")
        blobs.put_file(io.BytesIO(b"same"))
    assert list(blobs.digests()) == [(digest_of(b"same"), 4)]


def test_what_was_never_put_is_not_found(blobs: Blobs):
    absent = digest_of(b"absent")
    assert not blobs.has(absent)
    with pytest.raises(NotFound):
        blobs.get(absent)
    with pytest.raises(NotFound):
        blobs.open(absent)


def test_missing_names_what_is_not_there(blobs: Blobs, reopen: Open):
    here, absent = blobs.put(b"here"), digest_of(b"absent")
    for client in (blobs, reopen()):
        assert client.missing([here, absent]) == {absent}
        assert client.has(here)
        assert not client.has(absent)
    assert blobs.missing([]) == frozenset()


@pytest.mark.parametrize("content", [b"small", LARGE], ids=len)
def test_deleting_forgets_for_every_client_and_can_be_repeated(
    blobs: Blobs, reopen: Open, content: bytes
):
    other = reopen()
    digest = blobs.put(content)
    kept = blobs.put(b"kept")
    assert other.has(digest)
    for _ in range(2):
        blobs.delete(digest)
    for client in (blobs, other, reopen()):
        assert not client.has(digest)
        with pytest.raises(NotFound):
            client.get(digest)
        assert client.get(kept) == b"kept"
    assert blobs.put(content) == digest
    assert other.get(digest) == content


def test_digests_lists_each_content_once_with_its_size(blobs: Blobs):
    contents = [b"x" * size for size in (0, 1, 1000, 400_000)]
    for content in contents * 2:
        blobs.put(content)
    assert sorted(blobs.digests()) == sorted((digest_of(c), len(c)) for c in contents)


@pytest.mark.parametrize(
    "text",
    ["", "b3:", "../../etc/passwd", "b3:" + "A" * 64, "b3:" + "0" * 63, "b3:../" + "0" * 61, "\0"],
)
def test_what_is_no_digest_is_refused_everywhere(blobs: Blobs, text: str):
    for ask in (blobs.get, blobs.open, blobs.has, blobs.delete, lambda d: blobs.missing([d])):
        with pytest.raises(InvalidInput, match="is not a digest"):
            ask(Digest(text))


def test_many_threads_may_put_the_same_and_different_contents(blobs: Blobs, reopen: Open):
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            mine = reopen()
            for i in range(40):
                mine.put(b"shared %d" % i)
                mine.put(b"own %d %d" % (number, i))
        except Exception as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    expected = {digest_of(b"shared %d" % i) for i in range(40)}
    expected |= {digest_of(b"own %d %d" % (n, i)) for n in range(6) for i in range(40)}
    assert {digest for digest, _ in blobs.digests()} == expected
