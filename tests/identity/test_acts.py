"""Identity on a real home: who is admitted, what a key is worth, and when it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dujiang.identity import acts as identity
from dujiang.identity.model import BAD_LOGIN
from dujiang.identity.rules import did_document, verified
from dujiang.kernel.act import NOBODY, NODE, Caller
from dujiang.kernel.errors import Declined, Refused
from dujiang.policy.rules import fold
from tests.life import Life, opened

PASSWORD = "a sentence is a good password"


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node for the tests of this file."""
    with opened(tmp_path_factory.mktemp("identity")) as made:
        yield made


def person(life: Life, name: str, roles: tuple[str, ...] = ("consumer",), password: str | None = None) -> str:
    """A new person of the rival."""
    return life.run("identity.invite", life.rival, identity.Invite(name, roles, password)).person


def session_of(life: Life, token: str) -> Caller | None:
    """Who a session that a link opens speaks for."""
    return life.home.caller_of_session(life.run("identity.enter", NOBODY, identity.Enter(token)).session)


def test_an_organisation_is_admitted_with_a_key_that_speaks_for_it(life: Life) -> None:
    made = life.run(
        "identity.register", life.hospital, identity.Register(" 新成员 ", ("consumer", "provider"))
    )
    caller = life.home.caller_of_key(made.api_key)
    assert caller == Caller(made.org, made.person, frozenset({"provider", "consumer"}))
    assert made.name == "新成员" and made.did == f"did:web:data.example.org:org:{made.org}"
    card = life.run("identity.show", NOBODY, identity.Show(made.did))
    assert (card.org, card.roles) == (made.org, ())
    assert life.run("identity.show", caller, identity.Show()).roles == ("consumer", "provider")


@pytest.mark.parametrize("name", ["保险公司", " 保险公司 ", "RIVAL clinic"])
def test_a_name_is_taken_whatever_its_case(life: Life, name: str) -> None:
    assert life.refused("identity.register", life.hospital, identity.Register(name)) == "name_taken"


def test_the_first_organisation_operates_the_home(life: Life) -> None:
    with life.home.node.database.reading() as db:
        assert identity.operator(db).id == life.hospital.org
        assert len([org for org in identity.organisations(db) if org.operator]) == 1


def test_a_name_of_a_person_is_taken_within_an_organisation_only(life: Life) -> None:
    assert (
        person(life, "王")
        and life.run("identity.invite", life.insurer, identity.Invite("王", ("consumer",))).person
    )
    assert life.refused("identity.invite", life.rival, identity.Invite("王", ("consumer",))) == "name_taken"


@pytest.mark.parametrize(
    "ask",
    [
        identity.Invite("越", ("operator",)),
        identity.Grant(("operator",)),
        identity.Grant(("auditor", "consumer")),
    ],
)
def test_nobody_grants_a_role_they_do_not_have(life: Life, ask: Any) -> None:
    act = "identity.invite" if isinstance(ask, identity.Invite) else "identity.grant"
    assert life.refused(act, life.rival, ask) == "role_beyond"


def test_a_key_is_worth_no_more_than_its_person(life: Life) -> None:
    weak = person(life, "弱", ("consumer",))
    granted = life.run("identity.grant", life.rival, identity.Grant(("provider", "consumer"), weak))
    caller = life.home.caller_of_key(granted.api_key)
    assert caller is not None and caller.roles == {"consumer"}


def test_a_link_is_worth_all_roles_of_its_person_so_only_they_or_their_better_make_it(life: Life) -> None:
    strong = person(life, "强", ("provider", "consumer"))
    weaker = Caller(life.rival.org, life.rival.person, frozenset({"consumer"}))
    assert life.refused("identity.link", weaker, identity.Link(strong)) == "role_beyond"
    assert life.refused("identity.link", weaker, identity.Link()) == "role_beyond"
    caller = session_of(life, life.run("identity.link", life.rival, identity.Link(strong)).token)
    assert caller == Caller(life.rival.org, strong, frozenset({"provider", "consumer"}))


def test_nobody_makes_links_keys_or_ends_for_another_organisation(life: Life) -> None:
    theirs = life.insurer.person
    assert life.refused("identity.link", life.rival, identity.Link(theirs)) == "not_found"
    assert life.refused("identity.grant", life.rival, identity.Grant(("consumer",), theirs)) == "not_found"
    assert life.refused("identity.revoke", life.rival, identity.Revoke(theirs)) == "not_found"
    keys = life.run("identity.list", life.insurer, identity.List()).keys
    assert life.refused("identity.revoke", life.rival, identity.Revoke(keys[0].id)) == "not_found"
    assert session_of(life, life.run("identity.link", NODE, identity.Link(theirs)).token) is not None


def test_a_weak_key_speaks_for_no_better_and_locks_no_better_out(life: Life) -> None:
    strong = person(life, "主管", ("provider", "consumer"))
    key = life.run("identity.grant", life.rival, identity.Grant(("provider", "consumer"), strong)).key
    weaker = Caller(life.rival.org, person(life, "新人"), frozenset({"consumer"}))
    assert life.refused("identity.grant", weaker, identity.Grant(("consumer",), strong)) == "role_beyond"
    for better in (strong, key, life.rival.person):
        assert life.refused("identity.revoke", weaker, identity.Revoke(better)) == "role_beyond"
    own = life.run("identity.grant", weaker, identity.Grant(("consumer",))).key
    assert life.run("identity.revoke", weaker, identity.Revoke(own)).id == own
    assert life.run("identity.revoke", life.rival, identity.Revoke(key)).id == key


def test_a_revoked_key_ends_at_once_and_once(life: Life) -> None:
    granted = life.run("identity.grant", life.rival, identity.Grant(("consumer",)))
    assert life.home.caller_of_key(granted.api_key) is not None
    life.run("identity.revoke", life.rival, identity.Revoke(granted.key))
    assert life.home.caller_of_key(granted.api_key) is None
    assert life.refused("identity.revoke", life.rival, identity.Revoke(granted.key)) == "not_found"
    listed = life.run("identity.list", life.rival, identity.List()).keys
    assert [key.revoked for key in listed if key.id == granted.key] == [True]


def test_a_key_ends_with_the_key_that_made_it(life: Life) -> None:
    """However long the chain; keys that another key or a person without one made go on."""
    first = life.run("identity.grant", life.rival, identity.Grant(("provider", "consumer")))
    chain = [first]
    for _ in range(3):
        maker = life.home.caller_of_key(chain[-1].api_key)
        assert maker is not None and maker.via == chain[-1].key
        chain.append(life.run("identity.grant", maker, identity.Grant(("consumer",))))
        if len(chain) == 2:
            chain[-1] = life.run("identity.grant", maker, identity.Grant(("provider", "consumer")))
    other = life.run("identity.grant", life.rival, identity.Grant(("consumer",)))
    gone = life.run("identity.revoke", life.rival, identity.Revoke(chain[1].key)).with_it
    assert set(gone) == {each.key for each in chain[2:]}
    assert [life.home.caller_of_key(each.api_key) is None for each in chain] == [False, True, True, True]
    assert life.home.caller_of_key(other.api_key) is not None


def test_many_organisations_are_named_at_once(life: Life) -> None:
    made = [
        life.run("identity.register", life.hospital, identity.Register(f"机构 {number}", ("consumer",)))
        for number in range(19)
    ]
    wanted = {each.did for each in made[:10]} | {each.org for each in made[10:]}
    with life.home.node.database.reading() as db:
        assert identity.names(db, {*wanted, "nobody"}) == {
            **{each.did: each.name for each in made[:10]}, **{each.org: each.name for each in made[10:]},
        }  # fmt: skip
        assert identity.names(db, set()) == {}


def test_a_revoked_person_loses_keys_sessions_links_and_password_at_once(life: Life) -> None:
    gone = person(life, "离", ("consumer",), PASSWORD)
    key = life.run("identity.grant", life.rival, identity.Grant(("consumer",), gone)).api_key
    link = life.run("identity.link", life.rival, identity.Link(gone)).token
    session = life.run("identity.login", NOBODY, identity.Login("Rival Clinic", "离", PASSWORD)).session
    assert life.home.caller_of_key(key) and life.home.caller_of_session(session)
    life.run("identity.revoke", life.rival, identity.Revoke(gone))
    assert life.home.caller_of_key(key) is None and life.home.caller_of_session(session) is None
    assert life.refused("identity.enter", NOBODY, identity.Enter(link)) == "bad_login"
    reply = life.run("identity.login", NOBODY, identity.Login("Rival Clinic", "离", PASSWORD))
    assert isinstance(reply, Declined) and reply.code.name == "bad_login"


@pytest.mark.parametrize(
    "ask",
    [
        identity.Login("Rival Clinic", "登", "another sentence, wrong"),
        identity.Login("Rival Clinic", "无此人", PASSWORD),
        identity.Login("无此机构", "登", PASSWORD),
        identity.Login("Rival Clinic", "无密码", PASSWORD),
        identity.Login("Rival Clinic", "登", ""),
        identity.Login("保险公司", "登", PASSWORD),
    ],
    ids=["password", "person", "organisation", "no password", "empty", "other organisation"],
)
def test_a_wrong_sign_in_says_the_same_whatever_is_wrong(life: Life, ask: identity.Login) -> None:
    if not any(
        member.name == "登" for member in life.run("identity.list", life.rival, identity.List()).people
    ):
        person(life, "登", password=PASSWORD)
        person(life, "无密码")
    assert life.run("identity.login", NOBODY, ask) == Declined(BAD_LOGIN)


@pytest.mark.parametrize(("length", "good"), [(11, False), (12, True), (200, True), (201, False), (0, False)])
def test_a_password_has_bounds(life: Life, length: int, good: bool) -> None:
    ask = identity.Invite(f"长{length}", ("consumer",), "密" * length)
    if not good:
        assert life.refused("identity.invite", life.rival, ask) == "password_short"
        return
    life.run("identity.invite", life.rival, ask)
    assert life.run(
        "identity.login", NOBODY, identity.Login("rival clinic", f"长{length}", "密" * length)
    ).session


def test_a_link_is_good_once_even_for_two_at_once(life: Life) -> None:
    token = life.run("identity.link", life.rival, identity.Link()).token
    found: list[str] = []

    def enter() -> None:
        try:
            found.append(life.run("identity.enter", NOBODY, identity.Enter(token)).session)
        except Refused as refused:
            found.append(refused.code.name)

    threads = [threading.Thread(target=enter) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found.count("bad_login") == 5 and len(found) == 6


def test_links_and_sessions_end_in_time_and_when_left(life: Life) -> None:
    config = life.home.node.config
    late = life.run("identity.link", life.rival, identity.Link()).token
    early = life.run("identity.link", life.rival, identity.Link()).token
    session = life.run("identity.enter", NOBODY, identity.Enter(early)).session
    left = life.run(
        "identity.enter", NOBODY, identity.Enter(life.run("identity.link", life.rival, identity.Link()).token)
    )
    life.run("identity.leave", NOBODY, identity.Leave(left.session))
    assert (
        life.home.caller_of_session(left.session) is None and life.home.caller_of_session(session) is not None
    )
    life.clock.move(config.link_minutes * 60_000)
    assert life.refused("identity.enter", NOBODY, identity.Enter(late)) == "bad_login"
    assert life.home.caller_of_session(session) is not None
    life.clock.move(config.session_hours * 3_600_000)
    assert life.home.caller_of_session(session) is None


@pytest.mark.parametrize("secret", ["", "djk_", "djk_" + "A" * 43, "x" * 10_000])
def test_an_unknown_secret_is_nobody(life: Life, secret: str) -> None:
    assert life.home.caller_of_key(secret) is None and life.home.caller_of_session(secret) is None


def test_a_link_is_no_session_and_a_session_no_link(life: Life) -> None:
    token = life.run("identity.link", life.rival, identity.Link()).token
    assert life.home.caller_of_session(token) is None
    session = life.run("identity.enter", NOBODY, identity.Enter(token)).session
    assert life.refused("identity.enter", NOBODY, identity.Enter(session)) == "bad_login"


def test_what_an_organisation_signs_is_verified_by_its_card(life: Life) -> None:
    text = life.sign(life.rival, {"typ": "x"}, {"a": "甲"})
    with life.home.node.database.reading() as db:
        rival, insurer = (
            identity.organisation(db, life.rival.org),
            identity.organisation(db, life.insurer.org),
        )
    assert verified(text, rival.public) == {"a": "甲"} and verified(text, insurer.public) is None
    card = life.run("identity.show", NOBODY, identity.Show("Rival Clinic"))
    assert card.did_document == did_document(rival.did, rival.public)


@pytest.mark.parametrize("name", ["Ｒival Clinic", "rival　clinic", "RIVAL CLINIC", "保险公司 "])
def test_no_name_is_admitted_that_terms_would_take_for_another(life: Life, name: str) -> None:
    """Recipients and partners are compared in one width and case; so are names."""
    assert fold(name) in (fold("Rival Clinic"), fold("保险公司"))
    assert life.refused("identity.register", life.hospital, identity.Register(name)) in (
        "name_taken",
        "name_unfit",
    )


@pytest.mark.parametrize("wide", [False, True])
def test_no_name_is_the_did_or_the_id_of_an_organisation(life: Life, wide: bool) -> None:
    for text in (life.did(life.rival), life.rival.org):
        name = text.replace("d", "Ｄ", 1).replace("o", "Ｏ", 1) if wide else text
        assert life.refused("identity.register", life.hospital, identity.Register(name)) == "name_unfit"
