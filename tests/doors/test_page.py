"""The page: whose it is, how one signs in, and that it is small, plain and safe."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import dujiang.doors.page
from dujiang.catalogue.model import RIGHT_ENDED
from dujiang.catalogue.model import State as Offered
from dujiang.contract.model import ACTIVE, ENDED, PENDING
from dujiang.contract.model import State as Negotiated
from dujiang.identity.model import Role
from dujiang.ledger import note, proof, rules
from dujiang.market.model import Cause, Kind
from dujiang.policy.model import PURPOSES
from tests.doors import over_http
from tests.doors.over_http import Node

HERE = {"sec-fetch-site": "same-origin"}
TEMPLATES = Path(dujiang.doors.page.__file__).parent / "templates"
VOID = {"meta", "link", "br", "input"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with one product whose title is hostile."""
    with over_http.node(tmp_path_factory.mktemp("page"), loops=True) as made:
        rows = "\n".join(f"p{i},{i % 7}" for i in range(100))
        sent = made.client.put("/data/uploads", content=f"id,visits\n{rows}".encode(), headers=made.key(0))
        offer = {"upload": sent.json()["upload"], "entity": "id", "title": "<script>alert(1)</script>"}
        assert made.post("catalogue.offer", offer, 0).status_code == 200
        yield made


@pytest.fixture(autouse=True)
def no_cookies(node: Node) -> None:
    """A test's browser knows only the cookies the test gives it."""
    node.client.cookies.clear()


class Page(HTMLParser):
    """What a test looks at in a page; fails on a tag that is not closed."""

    def __init__(self, response: Any) -> None:
        super().__init__()
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(response.text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a name."""
        return [attributes for name, attributes in self.seen if name == tag]


def look(node: Node, path: str = "/", session: str | None = None, **headers: str) -> Any:
    """A page, as a browser with these cookies gets it."""
    cookies = {"cookie": f"dujiang_session={session}"} if session else {}
    response = node.client.get(
        path, headers={**cookies, **{k.replace("_", "-"): v for k, v in headers.items()}}
    )
    node.client.cookies.clear()
    return response


def every(node: Node) -> list[Any]:
    """Every kind of page, in both languages."""
    session = node.signed_in(0)
    return [
        look(node, f"{path}?lang={language}", whose)
        for language in ("en", "zh")
        for path, whose in (
            ("/", None),
            ("/", session),
            ("/people", session),
            ("/people", None),
            ("/statement", session),
            ("/statement", None),
            ("/contract/neg_x", session),
            ("/enter/abc", None),
            ("/enter/inv_abc", None),
        )
    ] + [node.client.post("/enter", data={"token": "no"}, headers=HERE)]


def test_every_page_is_plain_small_and_loads_only_its_own(node: Node) -> None:
    for response in every(node):
        page = Page(response)
        assert len(response.content) <= 40_000
        assert not page.all("script") and not page.all("style")
        for tag, attributes in page.seen:
            assert "style" not in attributes and not any(name.startswith("on") for name in attributes), tag
            for name in ("src", "href", "action"):
                assert (attributes.get(name) or "/").startswith(("/", "?", "#")), attributes
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self';") and "unsafe" not in policy
        for link in page.all("link"):
            kept = node.client.get(str(link["href"]))
            assert kept.status_code == 200 and "immutable" in kept.headers["cache-control"]


def test_every_page_can_be_read_by_everybody(node: Node) -> None:
    """A language, one first heading, no level left out, a name for every field, heads for every table."""
    for response in every(node):
        page = Page(response)
        assert page.all("html")[0]["lang"] == (
            "zh-CN" if response.headers["content-language"] == "zh" else "en"
        )
        levels = [int(tag[1]) for tag, _ in page.seen if re.fullmatch(r"h[1-6]", tag)]
        assert levels.count(1) == 1 and levels[0] == 1
        assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
        named = {label["for"] for label in page.all("label")}
        for field in page.all("input"):
            assert field.get("type") == "hidden" or field["id"] in named
        assert all(head.get("scope") for head in page.all("th"))
        ids = [attributes["id"] for _, attributes in page.seen if "id" in attributes]
        assert len(ids) == len(set(ids))
        for section in page.all("section"):
            assert section["aria-labelledby"] in ids


def test_who_is_not_signed_in_sees_the_node_and_how_to_sign_in(node: Node) -> None:
    response = look(node)
    assert node.made[0]["did"] in response.text and "Insurer" in response.text
    assert node.home.node.origin in response.text and "dujiang identity link" in response.text
    assert "alert(1)" not in response.text and "identity.register" not in response.text


def test_who_is_signed_in_sees_their_own_and_nobody_elses(node: Node) -> None:
    hospital, insurer = (look(node, "/", node.signed_in(which)).text for which in (0, 1))
    assert '<h2 id="own">' in hospital and "dujiang offer" in hospital and "dujiang ask" not in hospital
    assert "dujiang ask" in insurer and "dujiang offer" not in insurer
    for text in (hospital, insurer):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "<script" not in text
    own = hospital.partition('id="own"')[2].partition("</section>")[0]
    assert "alert(1)" in own
    assert "alert(1)" not in insurer.partition('id="own"')[2].partition("</section>")[0]
    assert "Register and publish a table" in hospital and "Register and publish a table" not in insurer


def test_a_statement_is_a_page_and_files_of_ones_own(node: Node) -> None:
    paid = {"org": node.made[1]["name"], "amount": "12.50", "currency": "CNY", "reference": "<b>BANK"}
    assert node.post("market.deposit", paid, 0).status_code == 200
    hospital, insurer = (node.signed_in(which) for which in (0, 1))
    page = look(node, "/statement?lang=en&since=&until=", insurer)
    assert "12.50 CNY" in page.text and "&lt;b&gt;BANK" in page.text and "money in" in page.text
    assert "入账" in look(node, "/statement?lang=zh", insurer).text
    assert "12.50 CNY" not in look(node, "/statement?since=2020-01-01&until=2020-12-31", insurer).text
    own = look(node, "/statement?lang=en", hospital).text
    assert node.made[1]["org"] not in own and "at the bank" in own
    for form, mark in (("csv", ","), ("beancount", "open"), ("hledger", "Assets:Balance")):
        file = look(node, f"/statement/{form}?since=&until=", insurer)
        assert mark in file.text and file.headers["content-disposition"].startswith("attachment"), form
        assert file.headers["cache-control"] == "no-store"
    for path in ("/statement?since=x", "/statement?after=99999999999999999999", "/statement/exe"):
        assert 400 <= look(node, path, insurer).status_code < 500, path
    assert "BANK" not in look(node, "/statement/csv").text, "a stranger gets the first page"


def test_a_receipt_is_a_file_in_three_forms_and_of_who_may_see_it(node: Node) -> None:
    hospital, insurer = (node.signed_in(which) for which in (0, 1))
    index = node.post("ledger.list", {"limit": 1}, 0).json()["items"][0]["index"]
    assert f'href="/receipt/{index}.tlog-proof"' in look(node, "/?lang=en", hospital).text
    files = {
        form: look(node, f"/receipt/{index}.{form}", hospital) for form in ("json", "tlog-proof", "entry")
    }
    for form, file in files.items():
        assert file.headers["content-disposition"] == f'attachment; filename="receipt-{index}.{form}"'
        assert file.headers["cache-control"] == "no-store"
    assert rules.verify(files["json"].json(), node.home.book.vkey).trusted
    read, key = proof.read(files["tlog-proof"].text), note.read_vkey(node.home.book.vkey)
    assert proof.holds(read, files["entry"].content)
    assert note.signed_by(note.read_checkpoint(read.checkpoint), *key)
    for path in (f"/receipt/{index}.exe", "/receipt/999999.json", "/receipt/-1.json", "/receipt/x.json"):
        assert look(node, path, hospital).status_code == 404, path
    before = node.post("identity.invite", {"name": "x", "roles": ["provider"]}, 0).json()["receipt"]["index"]
    assert look(node, f"/receipt/{before}.json", insurer).status_code == 404, "another's entry"
    assert look(node, f"/receipt/{index}.json").headers["content-type"].startswith("text/html"), "a stranger"


def test_states_and_roles_are_said_in_the_language_of_the_page(node: Node) -> None:
    session = node.signed_in(0)
    for language, state, role in (("en", "published", "provider"), ("zh", "已上架", "提供方")):
        assert f"<td>{state}</td>" in look(node, f"/?lang={language}", session).text
        assert re.search(f"<label[^>]*>{role}</label>", look(node, f"/people?lang={language}", session).text)


@pytest.mark.parametrize(
    ("path", "headers", "language"),
    [
        ("/", {}, "en"),
        ("/", {"accept_language": "zh-CN"}, "zh"),
        ("/?lang=en", {"accept_language": "zh-CN"}, "en"),
        ("/?lang=de", {"accept_language": "zh-CN"}, "zh"),
        ("/", {"cookie": "dujiang_lang=zh"}, "zh"),
        ("/", {"cookie": "dujiang_lang=<b>"}, "en"),
    ],
)
def test_the_language_is_the_one_chosen(
    node: Node, path: str, headers: dict[str, str], language: str
) -> None:
    response = look(node, path, **headers)
    assert response.headers["content-language"] == language
    assert ("本节点的机构" in response.text) is (language == "zh")
    assert ("dujiang_lang=" in response.headers.get("set-cookie", "")) is (path in ("/?lang=en", "/?lang=zh"))


def test_a_link_is_used_by_its_button_and_once(node: Node) -> None:
    """Looking at it, as often as a mail program likes, does not use it up."""
    token = node.post("identity.link", {}, 1).json()["token"]
    for _ in range(3):
        page = Page(look(node, f"/enter/{token}"))
        form = page.all("form")[-1]
        assert (form["method"], form["action"]) == ("post", "/enter")
        assert {"type": "hidden", "name": "token", "value": token} in page.all("input")
    opened = node.client.post("/enter", data={"token": token}, headers=HERE)
    assert opened.status_code == 303 and opened.headers["location"] == "/"
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
    session = cookie.partition("=")[2].partition(";")[0]
    assert "Insurer" in look(node, "/", session).text
    again = node.client.post("/enter", data={"token": token}, headers=HERE)
    assert again.status_code == 401 and "bad_login" in again.text and "set-cookie" not in again.headers


def test_a_cookie_over_tls_stays_on_tls(node: Node) -> None:
    token = node.post("identity.link", {}, 1).json()["token"]
    opened = node.client.post("https://testserver/enter", data={"token": token}, headers=HERE)
    node.client.cookies.clear()
    assert "Secure" in opened.headers["set-cookie"]


def test_a_password_opens_a_session_and_a_wrong_one_does_not(node: Node) -> None:
    person = {"name": "王 梅", "roles": ["consumer"], "password": "a long sentence is good"}
    assert node.post("identity.invite", person, 1).status_code == 200
    form = {"organisation": "Insurer", "person": "王 梅", "password": "a long sentence is good"}
    good = node.client.post("/login", data=form, headers=HERE)
    node.client.cookies.clear()
    assert good.status_code == 303 and "dujiang_session=" in good.headers["set-cookie"]
    bad = node.client.post("/login", data={**form, "password": "SECRETVALUE"}, headers=HERE)
    assert bad.status_code == 401 and "SECRETVALUE" not in bad.text


@pytest.mark.parametrize("path", ["/enter", "/login", "/leave"])
@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "cross-site"}, {"origin": "http://evil"}])
def test_another_site_sends_no_form_here(node: Node, path: str, headers: dict[str, str]) -> None:
    response = node.client.post(path, data={"token": "x"}, headers=headers)
    assert response.status_code == 403 and "cross_origin" in response.text


def test_signing_out_ends_the_session_itself(node: Node) -> None:
    session = node.signed_in(0)
    left = node.client.post("/leave", headers={**HERE, "cookie": f"dujiang_session={session}"})
    assert left.status_code == 303 and 'dujiang_session="";' in left.headers["set-cookie"]
    assert 'id="own"' not in look(node, "/", session).text


def test_rubbish_in_a_form_is_refused_not_a_bug(node: Node) -> None:
    for content in (b"\xff\x00", b"token=%ff", b"a" * 9000, b""):
        response = node.client.post("/enter", content=content, headers=HERE)
        assert response.status_code in (401, 413)
        Page(response)


def test_every_sentence_is_in_both_languages_and_used() -> None:
    words = tomllib.loads((TEMPLATES / "words.toml").read_text("utf-8"))
    source = "".join(file.read_text("utf-8") for file in TEMPLATES.glob("*.html"))
    source += Path(dujiang.doors.page.__file__).read_text("utf-8")
    told = {
        *(f"state_{each}" for each in (*Negotiated, *Offered, PENDING, ACTIVE, ENDED, RIGHT_ENDED.name)),
        *(f"role_{each}" for each in Role),
        *(f"purpose_{each}" for each, _ in PURPOSES),
        *(f"account_{each}" for each in Kind),
        *(f"cause_{each}" for each in Cause),
    }
    assert told <= words.keys()
    for name, each in words.items():
        assert set(each) == {"en", "zh"} and all(text.strip() for text in each.values())
        assert name not in dir({}) or f"w['{name}']" in source, (
            f"{name}: w.{name} is a method, not a sentence"
        )
        if name.startswith(("state_", "role_", "purpose_", "account_", "cause_")):
            assert name in told
            continue
        assert re.search(rf"\bw(\.{name}\b|\['{name}'\])", source) or f'"{name}"' in source, name


def test_where_the_log_is_shown_it_is_said_who_signs_it_how_long_it_is_kept_and_who_cosigns(
    tmp_path: Path,
) -> None:
    with over_http.node(tmp_path) as node:

        def page(which: int, language: str) -> str:
            cookie = f"dujiang_session={node.signed_in(which)}"
            return node.client.get("/", headers={"cookie": cookie, "accept-language": language}).text

        old = node.home.book.vkey
        before = page(1, "en")
        assert old in before and "for ever" in before and "nobody cosigns this log" in before
        assert "being rotated" not in before and 'href="/log/policy"' in before
        new = node.post("ledger.rotate", {"overlap_days": 30}, 0).json()["new"]
        node.post("ledger.retain", {"days": 365}, 0)
        key = note.Key("w.example.org", bytes(range(32)), note.COSIGNATURE).line
        node.post("ledger.appoint", {"url": "http://127.0.0.1:1", "vkeys": [key]}, 0)
        node.post("ledger.quorum", {"least": 1}, 0)
        for which in (0, 1):
            english, chinese = page(which, "en"), page(which, "zh")
            assert escape(old) in english and escape(new) in english and "being rotated" in english
            assert "published, from" in english and "365 days" in english and "must cosign: 1" in english
            assert "轮换中" in chinese and "365 天" in chinese and "须联署： 1" in chinese
        node.post("ledger.disown", {"vkey": new}, 0)
        assert "Disowned, not to be trusted" in page(1, "en") and "已弃用" in page(1, "zh")
