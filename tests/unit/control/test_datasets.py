"""Datasets as their users see them: versions, tags, who may do what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zenkei.control.datasets import Commit, Datasets
from zenkei.model.access import Principal
from zenkei.model.data import Digest
from zenkei.model.dataset import DatasetEventKind, DatasetRequest, DatasetVersion, Permission
from zenkei.model.errors import Conflict, Denied, InvalidInput, NotFound, ZenkeiError
from zenkei.ports.datasets import DatasetChange
from zenkei.store.datasets import MemoryDatasets

ADA, BOB = Principal(name="ada"), Principal(name="bob")
EVE = Principal(name="eve", groups=("vision",))
ROOT = Principal(name="root", operator=True)


def digest(letter: str) -> Digest:
    return Digest("b3:" + letter * 64)


def content(letter: str) -> DatasetVersion:
    return DatasetVersion(
        dataset="", number=0, digest=digest(letter), files=2, size_bytes=20, stored_bytes=5
    )


@pytest.fixture
def registry() -> MemoryDatasets:
    return MemoryDatasets(lambda: 1_700_000_000_000_000)


@pytest.fixture
def datasets(registry: MemoryDatasets) -> Datasets:
    found = Datasets(registry)
    found.create(ADA, "digits", description="scanned")
    return found


def commit(datasets: Datasets, letter: str, who: Principal = ADA, **more) -> DatasetVersion:
    base = datasets.writable(who, "digits")
    return datasets.committed(who, base, content(letter), Commit(**more))[0]


def test_versions_count_from_one_and_latest_follows(datasets):
    assert [commit(datasets, letter).number for letter in "ab"] == [1, 2]
    assert datasets.find(ADA, "digits").digest == digest("b")
    assert datasets.find(ADA, "digits@1").digest == digest("a")
    assert datasets.find(ADA, "digits:latest").parent == 1


def test_a_version_is_found_by_the_beginning_of_its_digest(datasets):
    commit(datasets, "a")
    assert datasets.find(ADA, "digits@b3:aaaaaaaa").number == 1
    with pytest.raises(NotFound, match="no version `digits@b3:bbbbbbbb`"):
        datasets.find(ADA, "digits@b3:bbbbbbbb")


def test_the_same_content_again_is_the_same_version_and_takes_the_new_tags(datasets):
    commit(datasets, "a")
    base = datasets.writable(ADA, "digits")
    again, is_new = datasets.committed(ADA, base, content("a"), Commit(tags=("v1",)))
    assert (again.number, is_new) == (1, False)
    assert datasets.show(ADA, "digits").tags == {"latest": 1, "v1": 1}


def test_going_back_to_older_content_moves_latest_to_the_older_version(datasets):
    commit(datasets, "a")
    commit(datasets, "b")
    assert commit(datasets, "a").number == 1
    assert datasets.show(ADA, "digits").tags == {"latest": 1}


def test_of_two_commits_at_once_one_has_the_tag_and_the_other_is_told(datasets):
    base = datasets.writable(ADA, "digits")
    datasets.committed(ADA, base, content("a"), Commit())
    with pytest.raises(Conflict, match="version 2 of `digits` is stored") as caught:
        datasets.committed(ADA, base, content("b"), Commit())
    assert caught.value.details["tags"] == ["latest"]
    assert datasets.find(ADA, "digits").number == 1
    assert datasets.find(ADA, "digits@2").digest == digest("b")


def test_numbers_are_never_used_again(datasets):
    commit(datasets, "a")
    commit(datasets, "b")
    datasets.remove_version(ADA, "digits@2", force=True)
    assert commit(datasets, "c").number == 3


def test_a_version_with_a_tag_is_not_removed_by_mistake(datasets):
    commit(datasets, "a", tags=("paper",))
    commit(datasets, "b")
    with pytest.raises(Conflict, match="has the tag `paper`"):
        datasets.remove_version(ADA, "digits@1")
    datasets.remove_version(ADA, "digits@1", force=True)
    assert datasets.show(ADA, "digits").tags == {"latest": 2}


def test_what_may_not_be_read_looks_like_what_is_not_there(datasets):
    commit(datasets, "a")
    answers = []
    for name in ("digits", "nothing"):
        for ask in (
            lambda n: datasets.show(BOB, n),
            lambda n: datasets.find(BOB, n),
            lambda n: datasets.history(BOB, n, limit=5),
            lambda n: datasets.writable(BOB, n),
            lambda n: datasets.tag(BOB, n, "x"),
            lambda n: datasets.remove(BOB, n),
            lambda n: datasets.grant(BOB, n, "user:bob", Permission.ADMIN),
            lambda n: datasets.pin(BOB, [DatasetRequest(name=n, at="d")]),
        ):
            with pytest.raises(NotFound) as caught:
                ask(name)
            error = caught.value
            answers.append((error.code, error.message.replace(name, "X"), error.hint))
    assert len(set(answers)) == 1
    assert datasets.list(BOB) == ()


def test_a_hint_names_only_what_the_asker_may_read(datasets):
    with pytest.raises(NotFound) as mine:
        datasets.show(ADA, "digit")
    assert mine.value.hint == "did you mean `digits`?"
    with pytest.raises(NotFound) as others:
        datasets.show(BOB, "digit")
    assert "digits" not in others.value.hint


@pytest.mark.parametrize(
    ("permission", "can_write", "can_administer"),
    [
        (Permission.READ, False, False),
        (Permission.WRITE, True, False),
        (Permission.ADMIN, True, True),
    ],
)
def test_each_grant_includes_the_smaller_ones(datasets, permission, can_write, can_administer):
    commit(datasets, "a")
    datasets.grant(ADA, "digits", "group:vision", permission)
    assert datasets.find(EVE, "digits").number == 1

    def allowed(ask) -> bool:
        try:
            ask()
        except Denied:
            return False
        return True

    assert allowed(lambda: datasets.tag(EVE, "digits", "v1")) == can_write
    assert (
        allowed(lambda: datasets.grant(EVE, "digits", "user:bob", Permission.READ))
        == can_administer
    )
    with pytest.raises(NotFound):
        datasets.find(Principal(name="mallory", groups=("visio", "vision2")), "digits")


def test_a_grant_taken_back_no_longer_opens_anything(datasets):
    commit(datasets, "a")
    datasets.grant(ADA, "digits", "public", Permission.READ)
    assert datasets.find(BOB, "digits").number == 1
    datasets.revoke(ADA, "digits", "public")
    with pytest.raises(NotFound):
        datasets.find(BOB, "digits")
    with pytest.raises(NotFound, match="nothing of `digits` is granted"):
        datasets.revoke(ADA, "digits", "public")


def test_everybody_may_only_be_let_read(datasets):
    with pytest.raises(InvalidInput, match="`public` cannot be given write"):
        datasets.grant(ADA, "digits", "public", Permission.WRITE)
    for nobody in ("bob", "user:", "role:x", "user:a\nb"):
        with pytest.raises(InvalidInput, match="nobody to whom"):
            datasets.grant(ADA, "digits", nobody, Permission.READ)


def test_an_operator_may_do_everything(datasets):
    commit(datasets, "a")
    datasets.tag(ROOT, "digits", "checked")
    assert [rows.dataset.name for rows in datasets.list(ROOT)] == ["digits"]
    datasets.remove(ROOT, "digits")
    assert datasets.list(ADA) == ()


def test_every_change_is_in_the_history_with_who_did_it(datasets, registry):
    commit(datasets, "a")
    datasets.tag(ADA, "digits@1", "v1")
    datasets.grant(ADA, "digits", "user:bob", Permission.WRITE)
    commit(datasets, "b", BOB)
    datasets.tag(BOB, "digits", "v1")
    datasets.untag(BOB, "digits", "v1")
    datasets.remove(ADA, "digits")
    told = [(e.kind, e.by, e.number, e.details) for e in registry.history("digits")]
    kinds = DatasetEventKind
    assert told == [
        (kinds.CREATED, "ada", 0, {}),
        (kinds.COMMITTED, "ada", 1, {}),
        (kinds.TAGGED, "ada", 1, {"tag": "latest", "from": ""}),
        (kinds.TAGGED, "ada", 1, {"tag": "v1", "from": ""}),
        (kinds.GRANTED, "ada", 0, {"to": "user:bob", "permission": "write"}),
        (kinds.COMMITTED, "bob", 2, {}),
        (kinds.TAGGED, "bob", 2, {"tag": "latest", "from": "1"}),
        (kinds.TAGGED, "bob", 2, {"tag": "v1", "from": "1"}),
        (kinds.UNTAGGED, "bob", 2, {"tag": "v1"}),
        (kinds.REMOVED, "ada", 0, {}),
    ]


def test_a_pin_stays_when_the_tag_moves(datasets):
    commit(datasets, "a", tags=("stable",))
    asked = [DatasetRequest(name="digits", at="data/digits", version=":stable")]
    (pin,) = datasets.pin(ADA, asked)
    commit(datasets, "b", tags=("stable",))
    assert (pin.number, pin.digest, pin.at) == (1, digest("a"), "data/digits")
    assert datasets.pin(ADA, asked)[0].number == 2


def test_a_dataset_without_versions_says_how_to_make_one(datasets):
    with pytest.raises(NotFound, match="has no version yet") as caught:
        datasets.find(ADA, "digits")
    assert "zenkei dataset commit digits" in caught.value.hint


@pytest.mark.parametrize("name", ["", "Digits", "../x", "a b", "-a", "a" * 101, "a/b", "é", "a\n"])
def test_a_name_that_is_no_name_is_refused(datasets, name):
    with pytest.raises(InvalidInput, match="cannot be a dataset's name"):
        datasets.create(ADA, name)


@pytest.mark.parametrize("text", ["digits@0", "digits@-1", "digits@", "digits:", "digits@b3:xyz"])
def test_a_reference_that_means_nothing_is_refused(datasets, text):
    with pytest.raises(InvalidInput, match="does not name a dataset"):
        datasets.find(ADA, text)


def test_a_name_is_taken_once(datasets):
    with pytest.raises(Conflict, match="there is a dataset `digits` already"):
        datasets.create(BOB, "digits")


def test_who_is_always_slower_is_told_so(datasets, registry, monkeypatch):
    commit(datasets, "a")

    def lose(change: DatasetChange) -> bool:
        return False

    monkeypatch.setattr(registry, "apply", lose)
    with pytest.raises(ZenkeiError, match="being changed by others all the time"):
        datasets.tag(ADA, "digits", "v1")


def test_one_that_lost_a_race_decides_anew(datasets, registry, monkeypatch):
    commit(datasets, "a")
    apply = registry.apply
    raced: list[str] = []

    def overtaken(change: DatasetChange) -> bool:
        done: bool
        if not raced:
            raced.append(change.name)
            row = registry.dataset("digits").dataset
            faster = DatasetChange(
                name="digits", read=row.revision, dataset=replace(row, description="other")
            )
            assert apply(faster)
        done = apply(change)
        return done

    monkeypatch.setattr(registry, "apply", overtaken)
    datasets.tag(ADA, "digits", "v1")
    rows = datasets.show(ADA, "digits")
    assert (rows.tags["v1"], rows.dataset.description) == (1, "other")
