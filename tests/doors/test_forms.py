"""Forms: what a person does by a button is the act, once, from this node's own pages and while they are a member."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.doors import over_http
from tests.doors.over_http import Node

HERE = {"sec-fetch-site": "same-origin"}
PASSWORD, OTHER = "a long sentence is good", "another long sentence is"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose hospital answers requests itself."""
    with over_http.node(tmp_path_factory.mktemp("forms"), loops=True) as made:
        yield made


@pytest.fixture(scope="module")
def product(node: Node) -> str:
    """A product whose requests a person answers."""
    rows = "\n".join(f"p{i},{i % 7}" for i in range(100))
    sent = node.client.put("/data/uploads", content=f"id,visits\n{rows}".encode(), headers=node.key(0))
    offer = {"upload": sent.json()["upload"], "entity": "id", "strategy": "ask"}
    return str(node.post("catalogue.offer", offer, 0).json()["product"])


@pytest.fixture(autouse=True)
def no_cookies(node: Node) -> None:
    """A test's browser knows only the cookies the test gives it."""
    node.client.cookies.clear()


class Browser:
    """A browser without scripts that is signed in: it sends the forms of the pages it was given."""

    def __init__(self, node: Node, session: str) -> None:
        self.node, self.session = node, session

    def get(self, path: str) -> str:
        """The text of a page."""
        response = self.node.client.get(path, headers=self._cookie())
        self.node.client.cookies.clear()
        return response.text

    def press(self, page: str, act: str, **fields: str | list[str]) -> Any:
        """The response to the first form of an act on a page, with these fields filled in."""
        form = re.search(rf'<form method="post" action="/do/{act}".*?</form>', page, re.S)
        assert form is not None, page
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form[0]))
        return self.send(act, {**hidden, **fields})

    def send(self, act: str, fields: dict[str, Any], **headers: str) -> Any:
        """The response to a form, sent as a browser on this node's page does."""
        response = self.node.client.post(
            f"/do/{act}", data=fields, headers={**HERE, **self._cookie(), **headers}
        )
        set_cookie = response.headers.get("set-cookie", "")
        if set_cookie.startswith("dujiang_session="):
            self.session = set_cookie.partition("=")[2].partition(";")[0]
        self.node.client.cookies.clear()
        return response

    def _cookie(self) -> dict[str, str]:
        return {"cookie": f"dujiang_session={self.session}"}


def browser(node: Node, which: int) -> Browser:
    """The browser of an organisation's first person."""
    return Browser(node, node.signed_in(which))


def member(node: Node, name: str) -> tuple[str, Browser]:
    """A new person of the insurer, signed in by their invitation, and their id."""
    boss = browser(node, 1)
    shown = boss.press(boss.get("/people"), "identity/invite", name=name, roles=["consumer"])
    assert shown.status_code == 200
    token = re.search(r"/enter/(inv_[\w-]+)", shown.text)
    assert token is not None and token[1] not in boss.get("/people"), "it is shown once"
    page = node.client.get(f"/enter/{token[1]}").text
    assert 'type="password"' in page and 'autocomplete="new-password"' in page
    entered = node.client.post("/enter", data={"token": token[1], "password": PASSWORD}, headers=HERE)
    node.client.cookies.clear()
    assert entered.status_code == 303
    session = entered.headers["set-cookie"].partition("=")[2].partition(";")[0]
    people = node.post("identity.list", {}, 1).json()["people"]
    return next(each["id"] for each in people if each["name"] == name), Browser(node, session)


def requested(node: Node, product: str) -> str:
    """The insurer's negotiation once it waits for the hospital."""
    asked = node.post("contract.request", {"product": product, "purpose": "analyse"}, 1).json()
    assert asked["waits_for"] == "provider", asked
    return str(asked["contract"])


def until(node: Node, contract: str, which: int, state: str) -> None:
    """Returns once that side's negotiation is in a state: messages take a moment."""
    for _ in range(1000):
        if node.post("contract.show", {"contract": contract}, which).json()["state"] == state:
            return
        time.sleep(0.01)
    raise AssertionError(state)


def test_a_request_is_accepted_by_a_button_on_the_first_page(node: Node, product: str) -> None:
    own = requested(node, product)
    hospital = browser(node, 0)
    page = hospital.get("/")
    assert "asks to use your product" in page and "Insurer" in page
    before = node.entries()
    pressed = hospital.press(page, "contract/accept")
    assert pressed.status_code == 303 and pressed.headers["location"] == "/"
    assert hospital.press(page, "contract/accept").status_code == 303, "twice is once"
    until(node, own, 1, "FINALIZED")
    accepted = [e for e in node.post("ledger.list", {"limit": 50}, 0).json()["items"] if e["index"] >= before]
    assert [e["act"] for e in accepted].count("contract.accept") == 1
    assert "Nothing waits for you" in hospital.get("/")


def test_people_talk_on_the_page_of_a_negotiation(node: Node, product: str) -> None:
    own = requested(node, product)
    hospital, insurer = browser(node, 0), browser(node, 1)
    waiting = node.post("contract.inbox", {}, 0).json()["waiting"][0]["contract"]
    place = f"/contract/{waiting}"
    said = hospital.press(hospital.get(place), "contract/comment", text="<b>why so long?</b>")
    assert said.status_code == 303 and said.headers["location"] == place
    countered = hospital.press(
        hospital.get(place), "contract/counter", days="30", questions="", comment="30 days"
    )
    assert countered.status_code == 303, countered.text
    assert 'action="/do/contract/accept"' not in hospital.get(place), "it waits for the other side"
    until(node, own, 1, "OFFERED")
    page = insurer.get(f"/contract/{own}")
    assert "&lt;b&gt;why so long?&lt;/b&gt;" in page and "30 days" in page and "<b>" not in page
    assert re.search(r"<code>days</code></th><td>365</td><td>30</td>", page)
    refused = insurer.press(page, "contract/counter", days="60")
    assert refused.status_code == 303, "60 days are within what the catalogue offers"
    refused = insurer.press(page, "contract/counter", days="60 days")
    assert refused.status_code == 400 and f'href="/contract/{own}"' in refused.text
    until(node, waiting, 0, "REQUESTED")
    ended = hospital.press(hospital.get(place), "contract/refuse", comment="too long")
    assert ended.status_code == 303
    until(node, own, 1, "TERMINATED")
    assert "too long" in insurer.get(f"/contract/{own}") and "ended it" in insurer.get("/")


def test_a_form_counts_with_the_token_of_its_own_session_alone(node: Node, product: str) -> None:
    requested(node, product)
    hospital, insurer = browser(node, 0), browser(node, 1)
    page = hospital.get("/")
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
    other = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', insurer.get("/people")))
    before = node.entries()
    for wrong in ("", "x", other["csrf"], fields["csrf"][:-1]):
        refused = hospital.send("contract/accept", {**fields, "csrf": wrong})
        assert refused.status_code == 403 and "cross_origin" in refused.text
    no_token = {name: value for name, value in fields.items() if name != "csrf"}
    assert hospital.send("contract/accept", no_token).status_code == 403
    for headers in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}):
        assert hospital.send("contract/accept", fields, **headers).status_code == 403
    stranger = node.client.post("/do/contract/accept", data=fields, headers=HERE)
    assert stranger.status_code == 401 and "not_signed_in" in stranger.text
    assert node.entries() == before
    assert fields["csrf"] not in page.replace(f'name="csrf" value="{fields["csrf"]}"', "")
    assert hospital.session not in page


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\r\nset-cookie: x",
    ],
)
def test_a_form_leads_back_to_this_node_only(node: Node, back: str) -> None:
    hospital = browser(node, 0)
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', hospital.get("/people")))
    gone = hospital.send("contract/look", {"csrf": fields["csrf"], "upto": "0", "back": back})
    assert gone.status_code == 303 and gone.headers["location"] == "/"


@pytest.mark.parametrize("act", ["contract/hear", "cleanroom/complete", "no/such", "post/list"])
def test_a_form_runs_no_act_of_the_node(node: Node, act: str) -> None:
    hospital = browser(node, 0)
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', hospital.get("/people")))
    assert hospital.send(act, fields).status_code == 404


def test_what_a_form_says_wrongly_is_refused_without_its_value(node: Node) -> None:
    hospital = browser(node, 0)
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', hospital.get("/people")))
    for sent in ({"upto": "SECRETVALUE"}, {"upto": "1", "SECRETVALUE": "1"}, {}):
        refused = hospital.send("contract/look", {"csrf": fields["csrf"], **sent})
        assert refused.status_code == 400 and "SECRETVALUE</p>" not in refused.text


def test_a_member_removed_during_a_session_is_not_signed_in_any_more(node: Node) -> None:
    who, gone = member(node, "走")
    key = node.post("identity.grant", {"roles": ["consumer"], "person": who}, 1).json()["api_key"]
    page = gone.get("/people")
    assert 'id="inbox"' in gone.get("/")
    boss = browser(node, 1)
    removed = boss.send(
        "identity/revoke",
        {**dict(re.findall(r'name="(csrf)" value="([^"]*)"', boss.get("/people"))), "id": who},
    )
    assert removed.status_code == 303
    pressed = gone.press(page, "identity/password", old=PASSWORD, new=OTHER)
    assert pressed.status_code == 401 and "not_signed_in" in pressed.text
    assert 'id="inbox"' not in gone.get("/") and 'action="/login"' in gone.get("/people")
    cookie = {"cookie": f"dujiang_session={gone.session}", **HERE}
    over_api = node.client.post("/v1/contract/list", json={}, headers=cookie)
    assert over_api.status_code == 401 and over_api.json()["code"] == "not_signed_in"
    by_key = node.client.post("/v1/contract/list", json={}, headers={"authorization": f"Bearer {key}"})
    assert by_key.status_code == 401
    form = {"organisation": "Insurer", "person": "走", "password": PASSWORD}
    assert node.client.post("/login", data=form, headers=HERE).status_code == 401


def test_a_session_is_new_at_each_sign_in_and_after_a_new_password(node: Node) -> None:
    _, one = member(node, "新")
    first = one.session
    form = {"organisation": "Insurer", "person": "新", "password": PASSWORD}
    again = node.client.post("/login", data=form, headers={**HERE, "cookie": f"dujiang_session={first}"})
    node.client.cookies.clear()
    second = again.headers["set-cookie"].partition("=")[2].partition(";")[0]
    assert again.status_code == 303 and second != first
    assert 'id="inbox"' not in one.get("/"), "the one the browser had has ended"
    one.session = second
    wrong = one.press(one.get("/people"), "identity/password", old="not the old password", new=OTHER)
    assert wrong.status_code == 401 and "bad_login" in wrong.text and OTHER not in wrong.text
    changed = one.press(one.get("/people"), "identity/password", old=PASSWORD, new=OTHER)
    assert changed.status_code == 303 and one.session not in (first, second)
    assert 'id="inbox"' in one.get("/") and 'id="inbox"' not in Browser(node, second).get("/")


def test_roles_are_changed_on_the_page_and_hold_at_the_next_request(node: Node) -> None:
    who, one = member(node, "役")
    boss = browser(node, 0)
    fields = dict(re.findall(r'name="(csrf)" value="([^"]*)"', boss.get("/people")))
    stolen = boss.send("identity/assign", {**fields, "person": who, "roles": "consumer"})
    assert stolen.status_code == 403 or stolen.status_code == 404, "another organisation's"
    theirs = one.get("/people")
    beyond = one.press(theirs, "identity/invite", name="越", roles=["operator"])
    assert beyond.status_code == 403 and "role_beyond" in beyond.text


def test_failed_sign_ins_lock_over_http_and_the_page_says_so_to_colleagues(node: Node) -> None:
    who, _ = member(node, "错")
    form = {"organisation": "Insurer", "person": "错", "password": "wrong, wrong, wrong"}
    said = {node.client.post("/login", data=form, headers=HERE).text for _ in range(5)}
    ask = {**form, "password": PASSWORD}
    locked = node.client.post("/login", data=ask, headers=HERE)
    assert locked.status_code == 401 and locked.text in said and len(said) == 1
    over_api = node.client.post("/v1/identity/login", json=ask)
    assert over_api.status_code == 401 and over_api.json()["code"] == "bad_login"
    boss = browser(node, 1)
    page = boss.get("/people")
    assert "locked after failed sign-ins" in page
    unlocked = boss.send(
        "identity/unlock", {**dict(re.findall(r'name="(csrf)" value="([^"]*)"', page)), "person": who}
    )
    assert unlocked.status_code == 303
    opened = node.client.post("/login", data=ask, headers=HERE)
    node.client.cookies.clear()
    assert opened.status_code == 303
