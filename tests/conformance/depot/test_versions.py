"""Versions of datasets in every kind of depot: committed, exported, verified, collected."""

from __future__ import annotations

from pathlib import Path

from tests.dataset_trees import Place, ended, in_process, read_tree, write_tree
from zenkei.data.depots.depot import Depot

TREE = {b"a": b"1", b"d/\xff": b"22" * 5000, b"d/l": ("link", b"\xff"), b"e": None}


def test_what_is_committed_is_exported_and_what_nobody_needs_is_collected(
    location: str, tmp_path: Path
):
    """By the process, as forks and the clients of stores must get along."""
    source, state = write_tree(tmp_path / "source", TREE), str(tmp_path / "state")

    def ask(do: str, **more: object) -> dict[str, object]:
        code, said, err = ended(in_process({"do": do, "depot": location, **more}))
        assert (code, err) == (0, "")
        return dict(said[-1]["ok"])

    first = ask("commit", source=str(source), state=state)
    (source / "a").write_bytes(b"other")
    second = ask("commit", source=str(source), state=state)
    assert first["digest"] != second["digest"]
    ask("export", digest=first["digest"], to=str(tmp_path / "out"))
    assert read_tree(tmp_path / "out") == TREE
    swept = ask("gc", keep=[second["digest"]], grace_s=-10)
    assert swept["versions"] == 1
    assert ask("verify", digests=[second["digest"]], deep=True)["damaged"] == []
    ask("export", digest=second["digest"], to=str(tmp_path / "out2"))
    assert read_tree(tmp_path / "out2") == {**TREE, b"a": b"other"}


def test_a_flipped_bit_in_any_store_is_found_and_not_exported(
    location: str, depot: Depot, tmp_path: Path
):
    place = Place(folder=tmp_path)
    write_tree(place.source, TREE)
    asked = {"do": "commit", "depot": location, "source": str(place.source)}
    digest = ended(in_process(asked))[1][-1]["ok"]["digest"]
    (pack,) = [stored.name for stored in depot.names("packs/")]
    content = bytearray(depot.read(pack))
    content[0] ^= 1
    depot.remove(pack)
    depot.put(pack, content)
    check = {"do": "verify", "depot": location, "digests": [digest], "deep": True}
    (fault,) = ended(in_process(check))[1][-1]["ok"]["damaged"]
    assert (fault["object"], fault["files"]) == (pack, ["a"])
    export = {"do": "export", "depot": location, "digest": digest, "to": str(tmp_path / "out")}
    assert ended(in_process(export))[1][-1]["error"]["code"] == "content-damaged"
    assert not (tmp_path / "out").exists()
