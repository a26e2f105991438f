"""A ticket opens one version to one attempt for a while, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenkei.data.tickets import check, issue
from zenkei.model.errors import Denied

KEY, OTHER = b"k" * 32, b"o" * 32
DIGEST, ANOTHER = "b3:" + "a" * 64, "b3:" + "b" * 64
UNTIL = 2_000_000_000


def refused(*given, key=KEY, ticket=None, now_s=UNTIL - 1) -> str:
    attempt, digest = given or ("42/1", DIGEST)
    with pytest.raises(Denied) as caught:
        check(
            key,
            issue(KEY, "42/1", DIGEST, UNTIL) if ticket is None else ticket,
            attempt,
            digest,
            now_s,
        )
    return caught.value.code


def test_a_ticket_opens_what_it_was_issued_for():
    check(KEY, issue(KEY, "42/1", DIGEST, UNTIL), "42/1", DIGEST, UNTIL - 1)


def test_a_ticket_opens_nothing_else():
    assert refused("42/2", DIGEST) == "ticket-refused"
    assert refused("42/1", ANOTHER) == "ticket-refused"
    assert refused(key=OTHER) == "ticket-refused"


def test_a_ticket_expires():
    assert refused(now_s=UNTIL) == "ticket-expired"
    assert refused(now_s=UNTIL + 1e9) == "ticket-expired"


def test_a_longer_time_cannot_be_written_into_it():
    form, _, signature = issue(KEY, "42/1", DIGEST, UNTIL).split(".")
    assert refused(ticket=f"{form}.{UNTIL + 1}.{signature}") == "ticket-refused"


@pytest.mark.parametrize(
    "ticket", ["", ".", "1..", "2.9.x", "1.9." + "0" * 64, "1.-1.aa", "é" * 70]
)
def test_what_is_no_ticket_is_refused_in_the_same_words(ticket):
    assert refused(ticket=ticket) == "ticket-refused"


def test_a_short_key_signs_nothing():
    ticket = issue(b"", "42/1", DIGEST, UNTIL)
    assert refused(key=b"", ticket=ticket) == "ticket-refused"


WORDS = st.tuples(st.text(max_size=6), st.text(max_size=6))


@given(WORDS, WORDS)
def test_words_cannot_be_shifted_from_one_field_into_the_next(one, other):
    tickets = [issue(KEY, attempt, digest, UNTIL) for attempt, digest in (one, other)]
    assert (tickets[0] == tickets[1]) == (one == other)


TICKET = issue(KEY, "42/1", DIGEST, UNTIL)


@given(st.integers(0, len(TICKET) - 1), st.characters(codec="utf-8"))
def test_no_character_of_a_ticket_can_be_changed(at, character):
    forged = TICKET[:at] + character + TICKET[at + 1 :]
    if forged != TICKET:
        assert refused(ticket=forged) == "ticket-refused"


@pytest.mark.parametrize(
    "forged",
    [
        TICKET + "\n",
        " " + TICKET,
        TICKET.upper(),
        TICKET + "0",
        TICKET[:-1],
        TICKET.replace("1.2", "1.02", 1),
        TICKET.replace("2000000000", "２000000000"),
        TICKET + TICKET,
    ],
)
def test_other_spellings_of_a_ticket_are_refused(forged: str):
    assert refused(ticket=forged) == "ticket-refused"


def test_a_refusal_holds_nothing_that_helps_to_forge():
    with pytest.raises(Denied) as caught:
        check(KEY, f"1.{UNTIL}.{'0' * 64}", "42/1", DIGEST, UNTIL - 1)
    told = f"{caught.value}{caught.value.message}{caught.value.hint}{caught.value.details}"
    assert TICKET.rpartition(".")[2] not in told
    assert KEY.decode() not in told
