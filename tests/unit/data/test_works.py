"""Work in a process of its own: what goes wrong there is told as if it had gone wrong here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zenkei.data.works import ProcessWorks
from zenkei.model.errors import Conflict, InternalError, InvalidInput, Unavailable


def quiet(_told: Any) -> None:
    return


def commit(tmp_path: Path) -> dict[str, Any]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("a")
    order = {"do": "commit", "depot": str(tmp_path / "depot"), "source": str(source)}
    return dict(ProcessWorks().run(order, quiet))


def test_an_error_keeps_its_class(tmp_path: Path) -> None:
    digest, there = commit(tmp_path)["digest"], tmp_path / "source"
    order = {"do": "export", "depot": str(tmp_path / "depot"), "digest": digest, "to": str(there)}
    with pytest.raises(Conflict, match="is there already"):
        ProcessWorks().run(order, quiet)
    with pytest.raises(InvalidInput):
        ProcessWorks().run({**order, "depot": "nowhere"}, quiet)


def test_what_may_be_better_later_is_told_as_such(tmp_path: Path) -> None:
    digest = commit(tmp_path)["digest"]
    (pack,) = (tmp_path / "depot" / "packs").iterdir()
    pack.write_bytes(b"b" + pack.read_bytes()[1:])
    order = {"do": "export", "depot": str(tmp_path / "depot"), "digest": digest}
    with pytest.raises(Unavailable):
        ProcessWorks().run({**order, "to": str(tmp_path / "to")}, quiet)
    assert not (tmp_path / "to").exists()


def test_a_worker_that_never_begins_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No module named"):
        ProcessWorks("zenkei.nothing").run({"do": "commit"}, quiet)


def test_of_a_defect_there_the_story_is_in_the_log_here(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    digest = commit(tmp_path)["digest"]
    order = {"do": "export", "depot": str(tmp_path / "depot"), "digest": digest}
    with pytest.raises(InternalError):
        ProcessWorks().run({**order, "to": str(tmp_path / "a\0b")}, quiet)
    assert "null byte" in caplog.text
