"""Messages on a real home: believed only when all of it fits, heard once, tried again and given up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.contract import acts as contract
from dujiang.identity import acts as identity
from dujiang.identity.rules import JWS_CHARACTERS_MAX, encode, signing_input, verified
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Refused
from dujiang.kernel.ids import new_id
from dujiang.post import acts as post
from dujiang.post import rules
from dujiang.post.model import DELIVERED, GIVEN_UP, TYPE, WAITING
from tests.life import Life, opened

END = {"@type": "https://dujiang.dev/ns/ContractEndMessage", "agreementId": "ctr_x"}


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node for the tests of this file."""
    with opened(tmp_path_factory.mktemp("post")) as made:
        yield made


def believed(life: Life, envelope: str) -> bool:
    """Whether a message is believed; otherwise it is refused with the one constant code."""
    with life.home.node.database.reading() as db:
        try:
            post.opened(db, envelope)
        except Refused as refused:
            assert (refused.code.name, refused.names) == ("message_unverified", {})
            return False
    return True


def claims(life: Life, **change: Any) -> dict[str, Any]:
    """What a true message from the insurer to the hospital signs."""
    made = rules.payload(new_id("ltr", 0), life.did(life.insurer), life.did(life.hospital), 0, END)
    return {**made, **change}


def sent(life: Life) -> str:
    """A message in the outbox, due now."""

    def send(tx: Any) -> str:
        insurer = identity.organisation(tx.db, life.insurer.org)
        return post.send(tx, insurer, life.did(life.hospital), END)

    return life.at(send)


def test_a_true_message_says_sender_receiver_and_body(life: Life) -> None:
    with life.home.node.database.reading() as db:
        heard = post.opened(db, life.envelope(life.insurer, life.hospital, END))
    assert (heard.from_did, heard.org, heard.to_did) == (
        life.did(life.insurer),
        life.hospital.org,
        life.did(life.hospital),
    )
    assert heard.message == END


@settings(max_examples=60)
@given(data=st.data())
def test_a_changed_envelope_is_not_believed(life: Life, data: st.DataObject) -> None:
    whole = life.envelope(life.insurer, life.hospital, END)
    place = data.draw(st.integers(0, len(whole) - 1))
    new = data.draw(st.sampled_from("ABCabc019-_.=").filter(lambda c: c != whole[place]))
    assert believed(life, whole)
    assert not believed(life, whole[:place] + new + whole[place + 1 :])
    assert not believed(life, whole[:place]) and not believed(life, whole + new)


def test_a_message_is_believed_of_its_signer_and_for_its_receiver_only(life: Life) -> None:
    def signed(**change: Any) -> str:
        return life.sign(life.insurer, {"typ": TYPE}, claims(life, **change))

    assert believed(life, signed())
    for change in (
        {"iss": life.did(life.rival)},
        {"aud": "did:web:elsewhere.example:org:org_1"},
        {"aud": None},
        {"body": []},
    ):
        assert not believed(life, signed(**change)), change
    assert not believed(life, life.sign(life.rival, {"typ": TYPE}, claims(life))), "signed by another"
    kid = f"{life.did(life.insurer)}#key-1"
    assert not believed(life, life.sign(life.rival, {"typ": TYPE, "kid": kid}, claims(life))), (
        "another's key id"
    )


def test_a_signature_made_for_something_else_is_no_message(life: Life) -> None:
    assert not believed(life, life.sign(life.insurer, {"typ": "agreement+jws"}, claims(life)))
    assert not believed(life, life.sign(life.insurer, {}, claims(life)))


def test_an_unknown_sender_is_not_believed(life: Life) -> None:
    first = signing_input({"kid": "did:web:elsewhere.example:org:org_1#key-1", "typ": TYPE}, claims(life))
    assert not believed(life, f"{first}.{encode(b'0' * 64)}")


@pytest.mark.parametrize(
    "rubbish", ["", "...", "é", "{}", "a" * 600_000, "e30.e30.AA", "\x00", "W10.W10.W10"], ids=lambda r: r[:9]
)
def test_rubbish_is_not_believed_and_leaves_nothing(life: Life, rubbish: str) -> None:
    assert not believed(life, rubbish)
    assert life.refused("contract.hear", NODE, contract.Hear(rubbish)) == "message_unverified"


def test_a_message_is_heard_once_for_its_receiver(life: Life) -> None:
    with life.home.node.database.reading() as db:
        heard = post.opened(db, life.envelope(life.insurer, life.hospital, END))
    assert [life.at(lambda tx: post.hear(tx, heard)) for _ in range(3)] == [True, False, False]


def test_a_message_that_is_refused_is_not_taken_as_heard(life: Life) -> None:
    envelope = life.envelope(life.insurer, life.hospital, END)
    assert life.refused("contract.hear", NODE, contract.Hear(envelope)) == "not_found"
    assert life.refused("contract.hear", NODE, contract.Hear(envelope)) == "not_found"


def test_a_message_over_the_limit_is_refused_and_not_kept(life: Life) -> None:
    large = {**END, "x": "x" * JWS_CHARACTERS_MAX}
    with pytest.raises(Refused) as refused:
        life.at(
            lambda tx: post.send(
                tx, identity.organisation(tx.db, life.insurer.org), life.did(life.hospital), large
            )
        )
    assert refused.value.code.name == "message_large" and life.letters() == []


def test_a_failed_delivery_waits_longer_each_time_and_is_given_up(life: Life) -> None:
    letter = sent(life)
    config = life.home.node.config
    waited: list[int] = []
    for attempt in range(config.delivery_attempts_max):
        assert [due.id for due in life.letters()] == [letter]
        marked = life.run("post.deliver", NODE, post.Deliver(letter, False))
        assert marked.state == (GIVEN_UP if attempt + 1 == config.delivery_attempts_max else WAITING)
        assert life.letters() == []
        next_ms = life.run("post.list", NODE, post.List()).next_ms
        if next_ms is not None:
            waited.append(next_ms - life.clock.now_ms())
            life.clock.move(waited[-1] - 1)
            assert life.letters() == []
            life.clock.move(1)
    longest = config.delivery_backoff_s_max
    assert waited == [1000 * min(2**n, longest) for n in range(config.delivery_attempts_max - 1)]
    assert life.run("post.deliver", NODE, post.Deliver(letter, True)).state == GIVEN_UP, (
        "what is over stays over"
    )


@pytest.mark.parametrize(
    ("delivered", "refused", "state"),
    [(True, False, DELIVERED), (True, True, DELIVERED), (False, True, GIVEN_UP)],
)
def test_a_delivered_or_refused_message_is_over_at_once(
    life: Life, delivered: bool, refused: bool, state: str
) -> None:
    letter = sent(life)
    assert life.run("post.deliver", NODE, post.Deliver(letter, delivered, refused)).state == state
    assert life.run("post.deliver", NODE, post.Deliver(letter, False)).state == state and life.letters() == []


def test_due_messages_come_oldest_first_and_no_more_than_asked(life: Life) -> None:
    ids = []
    for _ in range(3):
        ids.append(sent(life))
        life.clock.move(5)
    assert [due.id for due in life.letters()] == ids
    assert [due.id for due in life.run("post.list", NODE, post.List(limit=2)).items] == ids[:2]
    life.taken()


def test_a_message_goes_with_the_act_that_sends_it_or_not_at_all(life: Life) -> None:
    def failing(tx: Any) -> None:
        post.send(tx, identity.organisation(tx.db, life.insurer.org), life.did(life.hospital), END)
        raise KeyError("later")

    with pytest.raises(KeyError):
        life.at(failing)
    assert life.letters() == []


def test_the_outbox_holds_what_its_receiver_will_verify(life: Life) -> None:
    letter = sent(life)
    (due,) = life.letters()
    with life.home.node.database.reading() as db:
        said = verified(due.envelope, identity.organisation(db, life.insurer.org).public)
    assert said is not None and (said["jti"], said["body"], due.to_did) == (
        letter,
        END,
        life.did(life.hospital),
    )
    life.taken()
