"""What a dead controller of the same home had leased is free at once; others' leases stay."""

from tests.builders import submit
from zenkei.model.ids import JobId
from zenkei.store.sql import SqlStore


def claimed(store):
    return [effect.job for effect in store.claim(owner="me", limit=10, lease_s=30.0)]


def test_leases_of_the_family_end_and_no_others(tmp_path):
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    for owner in ("host:/a_b:1", "host:/axb:1", "host:/a_b/c:1"):
        store = SqlStore(url, owner=owner)
        submit(store)
        store.close()
    store = SqlStore(url, owner="host:/a_b:2")
    assert claimed(store) == []
    assert store.inherit("host:/a_b:") == 1
    assert claimed(store) == [JobId(1)]
    assert claimed(store) == []
    store.close()
