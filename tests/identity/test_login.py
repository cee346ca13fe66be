"""Signing in on a real home: invitations, locks that double and outlive a restart, roles, and who must remain."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dujiang import home
from dujiang.identity import acts as identity
from dujiang.identity import rules, store
from dujiang.identity.model import BAD_LOGIN
from dujiang.kernel.act import NOBODY, NODE, Caller
from dujiang.kernel.errors import Declined
from tests.life import Life, opened

PASSWORD = "a sentence is a good password"
OTHER = "another sentence is as good"
WRONG = Declined(BAD_LOGIN)
FROM = [Caller("", rules.stranger(f"198.51.100.{number}")) for number in range(4)]
FREE, MINUTE_MS, DAY_MS = 5, 60_000, 86_400_000


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node for the tests of this file."""
    with opened(tmp_path_factory.mktemp("login")) as made:
        yield made


def person(life: Life, name: str, password: str | None = PASSWORD) -> str:
    """A new person of the rival."""
    return life.run("identity.invite", life.rival, identity.Invite(name, ("consumer",), password)).person


def attempt(life: Life, name: str, password: str, origin: Caller = NOBODY) -> str | None:
    """The session of a sign-in; None where it was not valid."""
    reply = life.run("identity.login", origin, identity.Login("Rival Clinic", name, password))
    assert reply == WRONG or reply.session
    return None if reply == WRONG else reply.session


def fail(life: Life, name: str, times: int, origin: Caller = NOBODY) -> None:
    """Fails to sign in so often."""
    for _ in range(times):
        assert attempt(life, name, "wrong, but long enough", origin) is None


def locked_ms(life: Life, name: str) -> int:
    """How long no password of that name is looked at; as kept, so for unknown names too."""
    subject = rules.person_subject("Rival Clinic", name)
    with life.home.node.database.reading() as db:
        return max(0, store.failures(db, subject)[2] - life.clock.now_ms())


def test_an_invitation_sets_a_password_and_opens_a_session_once(life: Life) -> None:
    invited = life.run("identity.invite", life.rival, identity.Invite("请", ("consumer",)))
    assert invited.token.startswith(rules.INVITATION) and invited.until_ms == life.clock.now_ms() + 7 * DAY_MS
    assert attempt(life, "请", PASSWORD) is None
    for bad in (None, "short", "x" * 201):
        ask = identity.Enter(invited.token, bad)
        assert life.refused("identity.enter", NOBODY, ask) == "password_short", "and it is not used up"
    session = life.run("identity.enter", NOBODY, identity.Enter(invited.token, PASSWORD)).session
    caller = life.home.caller_of_session(session)
    assert caller == Caller(life.rival.org, invited.person, frozenset({"consumer"}))
    assert life.refused("identity.enter", NOBODY, identity.Enter(invited.token, OTHER)) == "bad_login"
    assert attempt(life, "请", PASSWORD) is not None


def test_an_invitation_ends_in_time_and_when_another_is_made(life: Life) -> None:
    first = life.run("identity.invite", life.rival, identity.Invite("迟", ("consumer",)))
    again = life.run("identity.link", life.rival, identity.Link(first.person, password=True))
    assert life.refused("identity.enter", NOBODY, identity.Enter(first.token, PASSWORD)) == "bad_login"
    life.clock.move(7 * DAY_MS)
    assert life.refused("identity.enter", NOBODY, identity.Enter(again.token, PASSWORD)) == "bad_login"


def test_a_forgotten_password_is_replaced_by_a_link_that_ends_every_session(life: Life) -> None:
    who = person(life, "忘")
    before = attempt(life, "忘", PASSWORD)
    fail(life, "忘", FREE)
    assert locked_ms(life, "忘") > 0
    token = life.run("identity.link", life.rival, identity.Link(who, password=True)).token
    assert life.home.caller_of_session(str(before)) is not None
    session = life.run("identity.enter", NOBODY, identity.Enter(token, OTHER)).session
    assert life.home.caller_of_session(str(before)) is None and life.home.caller_of_session(session)
    assert attempt(life, "忘", PASSWORD) is None and attempt(life, "忘", OTHER) is not None


@pytest.mark.parametrize("name", ["锁", "没有这个人"], ids=["known", "unknown"])
def test_failures_lock_a_name_whether_or_not_it_is_known(life: Life, name: str) -> None:
    """Nobody learns from a lock who is here; it doubles, and what comes during it neither counts nor gets in."""
    if name == "锁":
        person(life, name)
    fail(life, name, FREE - 1)
    assert locked_ms(life, name) == 0
    waits: list[int] = []
    for _ in range(4):
        fail(life, name, 1)
        waits.append(locked_ms(life, name))
        assert attempt(life, name, PASSWORD) is None and locked_ms(life, name) == waits[-1]
        life.clock.move(waits[-1])
    assert waits == [1000, 2000, 4000, 8000]
    assert (attempt(life, name, PASSWORD) is not None) is (name == "锁")


def test_a_good_sign_in_and_a_quiet_day_forget_failures(life: Life) -> None:
    person(life, "好")
    fail(life, "好", FREE - 1)
    assert attempt(life, "好", PASSWORD) is not None
    fail(life, "好", FREE - 1)
    assert locked_ms(life, "好") == 0
    life.clock.move(DAY_MS + 1)
    fail(life, "好", 1)
    assert locked_ms(life, "好") == 0
    with life.home.node.database.reading() as db:
        assert store.failures(db, rules.person_subject("Rival Clinic", "没有这个人"))[0] == 0


def test_an_address_is_locked_for_every_name_and_for_nobody_else(life: Life) -> None:
    who = "址"
    person(life, who)
    for number in range(20):
        fail(life, f"nobody {number}", 1, FROM[0])
    assert attempt(life, who, PASSWORD, FROM[0]) is None
    assert attempt(life, who, PASSWORD, FROM[1]) is not None
    life.clock.move(1000)
    assert attempt(life, who, PASSWORD, FROM[0]) is not None
    fail(life, "nobody again", 1, FROM[0])
    assert attempt(life, who, PASSWORD, FROM[0]) is None, "a good sign-in does not clear an address"


def test_many_at_once_get_no_more_tries_than_one_after_the_other(life: Life) -> None:
    person(life, "众")
    threads = [threading.Thread(target=fail, args=(life, "众", 2)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with life.home.node.database.reading() as db:
        count, _, _ = store.failures(db, rules.person_subject("Rival Clinic", "众"))
    assert count == FREE, "the lock is looked at again in the transaction"
    assert attempt(life, "众", PASSWORD) is None


def test_a_lock_outlives_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as life:
        person(life, "久")
        fail(life, "久", FREE + 3)
        for _ in range(3):
            life.clock.move(locked_ms(life, "久"))
            fail(life, "久", 1)
        wait = locked_ms(life, "久")
        assert wait == 8000
        clock, path = life.clock, life.home.path
    again = home.open_home(path, clock=clock)
    try:
        ask = identity.Login("Rival Clinic", "久", PASSWORD)
        assert again.run("identity.login", NOBODY, ask).reply == WRONG
        clock.move(wait)
        assert again.run("identity.login", NOBODY, ask).reply.session
    finally:
        again.close()


def test_a_locked_person_is_listed_and_unlocked_by_their_better(life: Life) -> None:
    who = person(life, "解")
    fail(life, "解", FREE)
    listed = {each.id: each for each in life.run("identity.list", life.rival, identity.List()).people}
    assert listed[who].locked_until_ms is not None and listed[who].password
    assert listed[life.rival.person].locked_until_ms is None and not listed[life.rival.person].password
    assert life.refused("identity.unlock", life.insurer, identity.Unlock(who)) == "not_found"
    weak = Caller(life.rival.org, who, frozenset())
    assert life.refused("identity.unlock", weak, identity.Unlock(who)) == "role_beyond"
    life.run("identity.unlock", life.rival, identity.Unlock(who))
    assert attempt(life, "解", PASSWORD) is not None


def test_a_password_is_changed_with_the_old_one_and_every_session_is_replaced(life: Life) -> None:
    who = person(life, "改")
    caller = Caller(life.rival.org, who, frozenset({"consumer"}))
    before = attempt(life, "改", PASSWORD)
    assert life.refused("identity.password", caller, identity.Password(PASSWORD, "short")) == "password_short"
    assert life.run("identity.password", caller, identity.Password("not the old one", OTHER)) == WRONG
    assert life.home.caller_of_session(str(before)) is not None
    fresh = life.run("identity.password", caller, identity.Password(PASSWORD, OTHER)).session
    assert life.home.caller_of_session(str(before)) is None and life.home.caller_of_session(fresh) == caller
    assert attempt(life, "改", PASSWORD) is None and attempt(life, "改", OTHER) is not None
    for _ in range(FREE):
        assert life.run("identity.password", caller, identity.Password("guess, guess, guess", OTHER)) == WRONG
    assert life.run("identity.password", caller, identity.Password(OTHER, PASSWORD)) == WRONG, "it is locked"


def test_roles_are_changed_by_who_has_them_and_at_once(life: Life) -> None:
    who = person(life, "职")
    key = life.run("identity.grant", life.rival, identity.Grant(("consumer", "provider"), who)).api_key
    session = str(attempt(life, "职", PASSWORD))
    life.run("identity.assign", life.rival, identity.Assign(who, ("provider",)))
    for caller in (life.home.caller_of_key(key), life.home.caller_of_session(session)):
        assert caller is not None and caller.roles == {"provider"}
    weak = Caller(life.rival.org, life.rival.person, frozenset({"consumer"}))
    for caller, ask, code in (
        (life.rival, identity.Assign(who, ("operator",)), "role_beyond"),
        (life.rival, identity.Assign(who, ()), "role_unknown"),
        (weak, identity.Assign(who, ("consumer",)), "role_beyond"),
        (life.insurer, identity.Assign(who, ("consumer",)), "not_found"),
    ):
        assert life.refused("identity.assign", caller, ask) == code


def test_somebody_always_remains(life: Life) -> None:
    """The last person of an organisation, and the last operator of the home, can neither go nor lose that role."""
    boss = life.hospital
    assert (
        life.refused("identity.revoke", life.insurer, identity.Revoke(life.insurer.person)) == "last_person"
    )
    assert life.refused("identity.revoke", boss, identity.Revoke(boss.person)) == "last_person"
    other = life.run("identity.invite", boss, identity.Invite("副", ("provider",))).person
    assert life.refused("identity.revoke", boss, identity.Revoke(boss.person)) == "last_operator"
    assert (
        life.refused("identity.assign", boss, identity.Assign(boss.person, ("provider",))) == "last_operator"
    )
    life.run("identity.assign", boss, identity.Assign(other, ("operator", "provider")))
    life.run("identity.assign", boss, identity.Assign(boss.person, ("provider",)))
    heir = Caller(boss.org, other, frozenset({"operator", "provider"}))
    life.run("identity.assign", heir, identity.Assign(boss.person, ("operator", "provider")))
    life.run("identity.revoke", boss, identity.Revoke(other))
    assert life.run("identity.link", NODE, identity.Link(boss.person)).token


@given(count=some.integers(0, 200), kind=some.sampled_from(["person:x", "address:x"]))
def test_a_lock_never_shrinks_with_failures_and_is_bounded(count: int, kind: str) -> None:
    assert rules.lock_ms(kind, count) <= rules.lock_ms(kind, count + 1) <= 3_600_000
    assert (rules.lock_ms(kind, count) == 0) is (count < (FREE if kind == "person:x" else 20))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True), ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True), ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True), ("testclient", "testclient", True), ("fe80::1%eth0", "fe80::2", True),
    ],
)  # fmt: skip
def test_an_address_is_a_host_or_a_network_of_ipv6(one: str, other: str, same: bool) -> None:
    first, second = (rules.address_of("", rules.stranger(host)) for host in (one, other))
    assert first is not None and second is not None and (first == second) is same
    assert rules.address_of("", "node") is None
    assert rules.address_of("org_x", "per_x") not in (None, first, second), "who is signed in is counted too"


def test_what_is_counted_by_names_does_not_depend_on_how_they_are_written() -> None:
    assert rules.person_subject("ACME", "王") == rules.person_subject("acme", "王")
    assert rules.person_subject("a", "b\0c") != rules.person_subject("a", "bc")


def test_what_was_opened_with_a_stolen_key_ends_with_the_key(life: Life) -> None:
    """Else who steals a key opens a session with it, and makes a key in the session that nobody finds below it."""
    who = person(life, "偷")
    sits = life.run("identity.link", life.rival, identity.Link(who)).token
    own = life.home.caller_of_session(life.run("identity.enter", NOBODY, identity.Enter(sits)).session)
    assert own is not None
    stolen = life.run("identity.grant", own, identity.Grant(("consumer",)))
    thief = life.home.caller_of_key(stolen.api_key)
    assert thief is not None
    first, later = (life.run("identity.link", thief, identity.Link()).token for _ in range(2))
    session = life.run("identity.enter", NOBODY, identity.Enter(first)).session
    inside = life.home.caller_of_session(session)
    assert inside is not None
    key = life.run("identity.grant", inside, identity.Grant(("consumer",)))
    again = life.run("identity.link", inside, identity.Link(password=True)).token
    revoked = life.run("identity.revoke", life.rival, identity.Revoke(stolen.key))
    assert revoked.with_it == (key.key,)
    assert life.home.caller_of_key(key.api_key) is None
    assert life.home.caller_of_session(session) is None
    for token in (later, again):
        assert life.refused("identity.enter", NOBODY, identity.Enter(token, OTHER)) == "bad_login"
    known = life.run("identity.link", life.rival, identity.Link(who)).token
    assert life.run("identity.enter", NOBODY, identity.Enter(known)).session
