"""HTTP derived from the acts: one form in, one form out, nobody's value in between."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dujiang import acts
from dujiang.doors import journal
from dujiang.identity import acts as identity
from dujiang.kernel.act import Effect
from dujiang.kernel.config import Config
from dujiang.ledger import rules
from tests.doors import over_http
from tests.doors.over_http import JSON, Node

OUTSIDE = [act for act in acts.ACTS.values() if set(act.roles) != {"node"}]
INSIDE = [act for act in acts.ACTS.values() if set(act.roles) == {"node"}]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for the tests that leave it as it is."""
    with over_http.node(tmp_path_factory.mktemp("http"), Config(ask_bytes_max=20_000)) as made:
        yield made


def refused(response: Any, code: str) -> dict[str, Any]:
    """The body of a problem document with that code, its form checked."""
    said = response.json()
    assert said["code"] == code, said
    assert response.headers["content-type"] == "application/problem+json"
    assert said["status"] == response.status_code >= 400
    assert said["type"] == f"https://dujiang.dev/errors/{code}"
    assert said["title"] == said["why"] and said["fix"]
    return said


def test_a_write_answers_its_fields_and_a_receipt_that_verifies(node: Node) -> None:
    said = node.post("identity.grant", {"roles": ["provider"]}, 0).json()
    assert said["api_key"].startswith("djk_") and said["roles"] == ["provider"]
    assert rules.verify(said["receipt"], node.home.book.vkey).ok


def test_a_read_answers_its_fields_alone(node: Node) -> None:
    said = node.post("identity.show", {"id": "Insurer"}, 0).json()
    assert said["did"] == node.made[1]["did"] and "receipt" not in said


def test_a_repeat_with_the_same_key_gets_the_first_reply_less_its_secrets(node: Node) -> None:
    first = node.post("identity.grant", {"roles": ["provider"]}, 0, idempotency_key="one").json()
    size = node.entries()
    again = node.post("identity.grant", {"roles": ["provider"]}, 0, idempotency_key="one").json()
    assert again["key"] == first["key"] and again["api_key"] is None
    assert again["receipt"]["index"] == first["receipt"]["index"] and node.entries() == size
    refused(node.post("identity.grant", {"roles": ["operator"]}, 0, idempotency_key="one"), "key_reused")


@pytest.mark.parametrize("act", OUTSIDE, ids=lambda act: act.name)
def test_who_has_no_key_is_told_so_before_anything_else(node: Node, act: Any) -> None:
    """A broken body too: nobody learns what an act would have said."""
    response = node.client.post(f"/v1/{act.name.replace('.', '/')}", content=b"{", headers=JSON)
    if "anyone" in act.roles:
        refused(response, "not_json")
    else:
        refused(response, "not_signed_in")
        assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("act", INSIDE, ids=lambda act: act.name)
def test_what_is_for_the_node_alone_has_no_address(node: Node, act: Any) -> None:
    refused(node.post(act.name, {}, 0), "no_such_address")


def test_a_key_that_is_none_is_refused_even_where_nobody_may_ask(node: Node) -> None:
    for given_key in ("Bearer djk_nothing", "Basic eDp5", "djk_bare", "Bearer "):
        response = node.client.post("/v1/identity/show", json={}, headers={"authorization": given_key})
        refused(response, "not_signed_in")


def test_a_role_one_does_not_have_is_named(node: Node) -> None:
    said = refused(node.post("identity.register", {"name": "x"}, 1), "forbidden")
    assert "operator" in said["why"] and "node" in said["why"]


def test_a_revoked_key_ends_with_the_answer(node: Node) -> None:
    made = node.post("identity.grant", {"roles": ["provider"]}, 0).json()
    headers = {"authorization": f"Bearer {made['api_key']}"}
    assert node.client.post("/v1/identity/list", json={}, headers=headers).status_code == 200
    node.post("identity.revoke", {"id": made["key"]}, 0)
    refused(node.client.post("/v1/identity/list", json={}, headers=headers), "not_signed_in")


def test_a_key_revoked_beside_this_door_ends_too(node: Node) -> None:
    """Not only by an answer of this door: whatever was committed, keys are looked up again."""
    made = node.post("identity.grant", {"roles": ["provider"]}, 0).json()
    headers = {"authorization": f"Bearer {made['api_key']}"}
    assert node.client.post("/v1/identity/list", json={}, headers=headers).status_code == 200
    seen = node.home.bell.count
    caller = node.home.caller_of_key(node.made[0]["api_key"])
    assert caller is not None
    node.home.run("identity.revoke", caller, identity.Revoke(made["key"]))
    node.home.bell.wait(seen, 10)
    refused(node.client.post("/v1/identity/list", json={}, headers=headers), "not_signed_in")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[]", "not_json"),
        (b"null", "not_json"),
        (b'{"id"', "not_json"),
        (b'{"id":"\xff"}', "not_json"),
        (b"[" * 15_000, "not_json"),
        (b'{"id":' * 100 + b"1" + b"}" * 100, "malformed"),
        (b'{"id":7}', "malformed"),
        (b'{"id":' + b"9" * 400 + b"}", "malformed"),
        (b'{"idd":"SECRETVALUE"}', "unknown_field"),
        (b'{"id":["SECRETVALUE"]}', "malformed"),
        (b'{"id":"SECRETVALUE"}', "not_found"),
        (b" " * 20_001, "ask_too_large"),
    ],
)
def test_a_bad_body_is_refused_without_its_values(node: Node, body: bytes, code: str) -> None:
    response = node.client.post("/v1/identity/show", content=body, headers=JSON)
    refused(response, code)
    assert "SECRETVALUE" not in response.text


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_no_body_makes_a_bug(node: Node, body: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps({"limit": body, "before": body}).encode()
    response = node.client.post("/v1/ledger/list", content=content, headers={**JSON, **node.key(1)})
    assert response.status_code < 500 and response.status_code != 404


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_only_json_is_read(node: Node, kind: str) -> None:
    response = node.client.post("/v1/identity/show", content=b"{}", headers={"content-type": kind})
    refused(response, "not_json")


def test_an_empty_body_is_an_empty_ask(node: Node) -> None:
    assert node.client.post("/v1/identity/list", headers=node.key(0)).status_code == 200


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("zh-CN,zh;q=0.9", "zh"),
        ("en;q=0.4, zh;q=0.5", "zh"),
        ("fr", "en"),
        ("zh;q=0", "en"),
        ("zh;q=x", "en"),
    ],
)
def test_the_language_asked_for_is_spoken(node: Node, asked: str, language: str) -> None:
    response = node.post("identity.list", {}, accept_language=asked)
    said = refused(response, "not_signed_in")
    assert response.headers["content-language"] == language
    assert (said["why"] == "此操作需要有效的密钥或会话。") is (language == "zh")


def test_addresses_and_methods_that_are_not_there(node: Node) -> None:
    refused(node.client.post("/v1/identity/nothing", json={}), "no_such_address")
    refused(node.client.get("/nothing"), "no_such_address")
    refused(node.client.get("/v1/identity/show"), "wrong_method")


def test_every_answer_carries_the_safe_headers(node: Node) -> None:
    for response in (
        node.client.get("/healthz"), node.post("identity.show", {}), node.client.get("/nothing"),
        node.client.get("/"), node.client.get("/openapi.json"),
    ):  # fmt: skip
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-security-policy"].startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert response.headers["referrer-policy"] in ("no-referrer", "same-origin")
        assert response.headers["cache-control"] == "no-store"
        assert "server" not in response.headers


@pytest.mark.parametrize(
    ("headers", "good"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"origin": "http://testserver"}, True),
        ({"sec-fetch-site": "same-site", "origin": "http://testserver"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://testserver.evil"}, False),
        ({"origin": "null"}, False),
        ({}, False),
    ],
)
def test_a_session_is_good_for_this_origin_only(node: Node, headers: dict[str, str], good: bool) -> None:
    cookie = {"cookie": f"other=1; dujiang_session={node.signed_in(0)}"}
    response = node.client.post("/v1/identity/list", json={}, headers={**cookie, **headers})
    if good:
        assert response.status_code == 200
    else:
        refused(response, "cross_origin")


def test_a_bug_says_nothing_and_its_log_has_no_value(
    node: Node, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("SECRETVALUE")

    monkeypatch.setattr(type(node.home), "start", broken)
    response = node.post("identity.show", {"id": "SECRETVALUE"})
    refused(response, "internal")
    assert "SECRETVALUE" not in response.text and "ZeroDivision" not in response.text
    logged = capfd.readouterr().err
    assert "builtins.ZeroDivisionError" in logged and "SECRETVALUE" not in logged


def test_the_log_has_a_line_for_each_request_and_no_path_query_or_token(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    journal.flush()
    capfd.readouterr()
    node.client.get("/enter/SECRETTOKEN?lang=SECRETQUERY")
    node.client.get("/SECRETPATH")
    node.client.post("/v1/identity/show", json={"id": "SECRETBODY"}, headers=node.key(0))
    journal.flush()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    seen = [(line["method"], line["path"], line["status"]) for line in lines if line["event"] == "request"]
    assert seen == [("GET", "/enter/{token}", 200), ("GET", "-", 404), ("POST", "/v1/identity/show", 404)]
    assert "SECRET" not in json.dumps(lines) and "djk_" not in json.dumps(lines)


def test_a_library_is_noted_without_its_words(capfd: pytest.CaptureFixture[str]) -> None:
    journal.configure()
    try:
        raise ValueError("SECRETVALUE")
    except ValueError:
        logging.getLogger("asyncio").exception("SECRETVALUE %s", "SECRETVALUE")
    logged = capfd.readouterr().err
    assert json.loads(logged)["library"] == "asyncio" and "builtins.ValueError" in logged
    assert "SECRETVALUE" not in logged


def test_the_document_describes_every_act_by_schemas_that_resolve(node: Node) -> None:
    found = node.client.get("/openapi.json").json()
    assert found["openapi"].startswith("3.1")
    operations = {path: item["post"] for path, item in found["paths"].items() if path.startswith("/v1/")}
    assert {each["operationId"] for each in operations.values()} == {act.name for act in OUTSIDE}
    parts = found["components"]["schemas"]
    for reference in references(found):
        assert reference.startswith("#/components/")
        section, name = reference.removeprefix("#/components/").split("/")
        assert name in found["components"][section], reference
    for name, part in parts.items():
        Draft202012Validator.check_schema(part)
        if name.endswith(".ask"):
            assert part["additionalProperties"] is False
    for act in OUTSIDE:
        said = operations[f"/v1/{act.name.replace('.', '/')}"]
        assert said["summary"] == act.title and act.title_zh in said["description"]
        assert "default" in said["responses"]
        keyed = any(parameter["name"] == "Idempotency-Key" for parameter in said["parameters"])
        assert keyed is (act.effect is not Effect.reads)


def references(part: Any) -> Iterator[str]:
    """Every `$ref` of a document."""
    if isinstance(part, dict):
        for key, each in part.items():
            if key == "$ref":
                yield each
            else:
                yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


def test_a_did_document_is_where_its_did_says(node: Node) -> None:
    did = node.made[1]["did"]
    assert did.endswith(f":org:{node.made[1]['org']}")
    response = node.client.get(f"/org/{node.made[1]['org']}/did.json")
    assert response.json()["id"] == did
    assert response.headers["content-type"].startswith("application/did")
    refused(node.client.get("/org/Insurer/did.json"), "not_found")
    refused(node.client.get("/org/org_00000000000000000000000000/did.json"), "not_found")


def test_a_full_queue_is_told_to_come_back(tmp_path: Path) -> None:
    with over_http.node(tmp_path, Config(queue_acts_max=1)) as made:
        made.home.writer.close()
        response = made.post("identity.grant", {"roles": ["provider"]}, 0)
        refused(response, "closed")
        assert response.headers["retry-after"] == "1"
