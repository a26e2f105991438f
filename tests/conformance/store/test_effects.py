"""The outbox: born leased, one row per key, claimed when due, done, put back."""

from dataclasses import replace

from tests.builders import do, put, submit
from zenkei.lifecycle import commands as c
from zenkei.model.event import Effect, EffectKind
from zenkei.model.ids import JobId
from zenkei.model.job import HoldReason, StopReason
from zenkei.ports.store import Changes


def prepare_of(job):
    return Effect(kind=EffectKind.PREPARE, key=f"prepare:{job}", job=job)


def claim(store, owner="b", limit=100, lease_s=30.0):
    return store.claim(owner=owner, limit=limit, lease_s=lease_s)


def effects_of(store):
    heard = []
    store.listen(lambda committed: heard.extend(committed.effects))
    return heard


def test_effects_arrive_by_listener_with_ids_and_are_leased_to_their_writer(world, store):
    heard = effects_of(store)
    (job,) = submit(store)
    assert [effect.key for effect in heard] == [f"prepare:{job}"]
    assert heard[0].id > 0
    assert claim(world.open("b")) == ()


def test_effects_of_a_controller_that_died_are_claimed_when_their_lease_ends(world, store):
    heard = effects_of(store)
    submit(store)
    other = world.open("b")
    world.clock.forward(29)
    assert claim(other) == ()
    world.clock.forward(1)
    assert claim(other) == (heard[0],)
    assert claim(other) == ()
    world.clock.forward(31)
    assert claim(store, owner="a") == (heard[0],)


def test_all_fields_of_an_effect_are_kept(world, store):
    (job,) = submit(store)
    stop = Effect(
        kind=EffectKind.STOP,
        key="stop:1/2:user_cancel",
        job=job,
        attempt=2,
        reason=StopReason.USER_CANCEL,
        grace_s=2.5,
        checkpoint_s=60.5,
        step=120,
    )
    heard = effects_of(store)
    put(store, Changes(effects=[stop]))
    world.clock.forward(60)
    found = claim(store)[-1]
    assert found == heard[0]
    assert found == replace(stop, id=found.id)
    assert (found.kind, found.job, found.attempt) == (stop.kind, job, 2)
    assert (found.reason, found.grace_s) == (StopReason.USER_CANCEL, 2.5)


def test_an_effect_whose_key_waits_already_is_dropped(store):
    heard = effects_of(store)
    (job,) = submit(store)
    do(store, job, c.Hold(), c.Unhold(reason=HoldReason.USER))
    put(store, Changes(effects=[prepare_of(job), prepare_of(job)]))
    assert [effect.key for effect in heard] == [f"prepare:{job}"]


def test_a_done_effect_is_gone_and_its_key_may_come_back_under_a_new_id(world, store):
    heard = effects_of(store)
    (job,) = submit(store)
    put(store, Changes(done=[heard[0].id]))
    world.clock.forward(60)
    assert claim(store) == ()
    put(store, Changes(effects=[prepare_of(job)]))
    put(store, Changes(done=[heard[0].id]))
    assert heard[1].id > heard[0].id
    world.clock.forward(60)
    assert claim(store) == (heard[1],)


def test_an_effect_that_comes_back_in_the_unit_that_ends_its_namesake_is_kept(store):
    heard = effects_of(store)
    (job,) = submit(store)
    put(store, Changes(done=[heard[0].id], effects=[prepare_of(job)]))
    assert [effect.key for effect in heard] == [f"prepare:{job}"] * 2


def test_an_effect_put_back_is_found_when_it_is_due_with_one_more_try(world, store):
    heard = effects_of(store)
    submit(store)
    put(store, Changes(later=[(heard[0].id, 5.0)]))
    other = world.open("b")
    assert claim(other) == ()
    world.clock.forward(5)
    (found,) = claim(other)
    assert (found.id, found.tries) == (heard[0].id, 1)
    put(other, Changes(later=[(found.id, 0.0), (999, 0.0)]))
    assert [effect.tries for effect in claim(other)] == [2]


def test_a_claim_takes_the_oldest_up_to_its_limit(world, store):
    for _ in range(5):
        submit(store)
    world.clock.forward(60)
    first = claim(store, limit=2)
    second = claim(store, limit=10)
    assert [effect.job for effect in first] == [JobId(1), JobId(2)]
    assert [effect.job for effect in second] == [JobId(3), JobId(4), JobId(5)]


def test_the_preparation_of_an_array_is_one_effect(store):
    heard = effects_of(store)
    ids = submit(store, members=4)
    assert [effect.job for effect in heard] == [JobId(ids[0].number)]
    assert store.check() == []


def test_a_clock_that_is_set_back_does_not_put_off_what_waits(world, store):
    heard = effects_of(store)
    submit(store)
    world.clock.forward(-3 * 86400)
    put(store, Changes(later=[(heard[0].id, 5.0)]))
    other = world.open("b")
    assert claim(other) == ()
    world.clock.forward(5)
    assert [effect.id for effect in claim(other)] == [heard[0].id]


def test_what_waits_already_when_the_clock_is_set_back_by_days_does_not_wait_for_its_old_hour(
    world, store
):
    heard = effects_of(store)
    submit(store)
    submit(store)
    put(store, Changes(later=[(heard[0].id, 5.0)]))
    other = world.open("b")
    world.clock.forward(-3 * 86400)
    # one was put back for a while, one is leased to a controller that may be dead
    assert [effect.id for effect in claim(other)] == [effect.id for effect in heard]
