"""Who means harm at a door: a stranger, a tenant, a page of another site, an agent, a node far away, a file."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.testclient import TestClient

from dujiang import home
from dujiang.doors import backup, certificate, local, markup, restore, show
from dujiang.doors.agent import Agent
from dujiang.doors.calls import Calls, Refusal
from dujiang.doors.local import Answer, Options
from dujiang.doors.mandate import ANY, Mandate, counts_of
from dujiang.identity import rules
from dujiang.kernel.config import Config
from dujiang.kernel.errors import Refused
from dujiang.plugs import vault
from dujiang.registry import wire
from tests.doors import over_http

HERE = {"sec-fetch-site": "same-origin"}
DEEP: Any = json.loads("[" * 400 + "]" * 400)


# A stranger and a tenant.


@pytest.mark.parametrize("path", ["/login", "/enter", "/leave"])
def test_signing_in_by_a_form_counts_as_a_request_like_any_other(tmp_path: Path, path: str) -> None:
    with over_http.node(tmp_path, Config(stranger_requests_per_s_max=2)) as node:
        form = {"organisation": "x", "person": "x", "password": "x", "token": "x"}
        headers = {**HERE, "cookie": "dujiang_session=x"}
        sent = [node.client.post(path, data=form, headers=headers) for _ in range(12)]
        assert 429 in {each.status_code for each in sent}


def test_a_did_document_counts_as_a_request_like_any_other(tmp_path: Path) -> None:
    with over_http.node(tmp_path, Config(stranger_requests_per_s_max=2)) as node:
        found = [node.client.get("/org/org_x/did.json").status_code for _ in range(12)]
        assert 429 in found


def test_one_host_with_many_ipv6_addresses_is_one_stranger(tmp_path: Path) -> None:
    with over_http.node(tmp_path, Config(stranger_requests_per_s_max=2)) as node:
        found = []
        for number in range(12):
            client = TestClient(node.client.app, client=(f"2001:db8::{number:x}", 5000))
            found.append(client.post("/v1/identity/show", json={"id": "x"}).status_code)
        assert 429 in found


def test_forms_take_places_among_the_requests_an_organisation_has_waiting(tmp_path: Path) -> None:
    with over_http.node(tmp_path, Config(org_requests_at_once_max=1)) as node:
        session = node.signed_in(1)
        page = node.client.get("/people", headers={"cookie": f"dujiang_session={session}"}).text
        csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
        org = node.made[1]["org"]
        with node.client.app.state.desk.limits.waiting(org):  # type: ignore[attr-defined]
            sent = node.client.post(
                "/do/identity/describe",
                data={"csrf": csrf, "sector": "Q"},
                headers={**HERE, "cookie": f"dujiang_session={session}"},
            )
        assert sent.status_code == 429 and "requests_at_once" in sent.text


def test_another_name_for_this_machine_does_not_read_the_metrics(tmp_path: Path) -> None:
    """A page whose name is turned to 127.0.0.1 while it is open reads this machine through its browser."""
    with over_http.node(tmp_path) as node:
        here = TestClient(node.client.app, client=("127.0.0.1", 5000), base_url="http://127.0.0.1:8000")
        assert here.get("/metrics").status_code == 200
        for host in ("localhost", "localhost:8000", "[::1]:8000", "127.0.0.1"):
            assert here.get("/metrics", headers={"host": host}).status_code == 200
        for host in ("evil.example", "127.0.0.1.evil.example:8000", "localhost.evil.example", ""):
            assert here.get("/metrics", headers={"host": host}).status_code == 401, host
        assert here.get("/metrics", headers={"x-forwarded-host": "a"}).status_code == 401


def test_guessing_passwords_is_not_spread_over_the_people_of_one_organisation() -> None:
    """A tenant invites as many people as it likes."""
    assert rules.address_of("org_a", "per_1") == rules.address_of("org_a", "per_2")
    assert rules.address_of("org_a", "per_1") != rules.address_of("org_b", "per_1")


def test_what_a_stranger_sends_is_not_kept_by_the_key_it_names(tmp_path: Path) -> None:
    """All strangers are one nobody: what one of them was answered is nothing to another."""
    with over_http.node(tmp_path) as node:
        token = node.post("identity.link", {}, 1).json()["token"]
        assert node.post("identity.enter", {"token": token}, idempotency_key="k").status_code == 200
        again = node.post("identity.enter", {"token": token}, idempotency_key="k")
        assert again.status_code == 401 and again.json()["code"] == "bad_login"


# An agent.


def test_an_agent_without_a_mandate_does_not_see_the_accounts(tmp_path: Path) -> None:
    with over_http.node(tmp_path) as node:
        deposit = {"org": "Insurer", "amount": "1234.56", "currency": "CNY", "reference": "B-1"}
        assert node.post("market.deposit", deposit, 0).status_code == 200

        class Here(Calls):
            """Calls that go to this node."""

            def run(self, name: str, ask: Any) -> dict[str, Any]:
                """The answer."""
                return node.post(name, dict(ask), 1).json()

            def __enter__(self) -> Calls:
                return self

        calls = Here(Options(Path("/nowhere")))
        bare = Agent(calls, Mandate(("prd_1",), ("analyse",)), counts_of(tmp_path, "", "", "a"))
        assert "1234.56" not in json.dumps(bare.run("market.list", {}))
        for name in ("market.statement", "contract.inbox"):
            with pytest.raises(Refusal):
                bare.run(name, {})
        every = Agent(calls, Mandate((ANY,), (ANY,)), counts_of(tmp_path, "", "", "b"))
        assert "1234.56" in json.dumps(every.run("market.list", {}))


@pytest.mark.parametrize(
    "charge",
    [
        {"currency": "../../../stolen/x", "amount_minor": 0},
        {"currency": "/tmp/dujiang-hostile/x", "amount_minor": 1},
        {"currency": "statistics", "amount_minor": -5},
        {"currency": "CNY", "amount_minor": -5},
    ],
)
def test_what_a_node_names_is_no_path_and_fills_no_mandate(tmp_path: Path, charge: dict[str, Any]) -> None:
    class Far(Calls):
        """A node that lies."""

        def run(self, name: str, ask: Any) -> dict[str, Any]:
            """What it says."""
            known = {
                "contract.show": {"product": "prd_1", "purpose": "analyse"},
                "cleanroom.check": {"statistics": 4, "charges": [{**charge, "parts": []}]},
                "cleanroom.ask": {"statistics": 4},
            }
            return known[name]

        def __enter__(self) -> Calls:
            return self

    folder = tmp_path / "a" / "b"
    mandate = Mandate(("prd_1",), ("analyse",), 10, {"CNY": 100})
    counts = counts_of(folder, "", "", "agent")
    agent = Agent(Far(Options(Path("/nowhere"))), mandate, counts)
    with pytest.raises(Refusal) as refused:
        agent.run("cleanroom.ask", {"contracts": ["ctr_1"], "sql": "x"})
    assert refused.value.code == "node_odd"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not Path("/tmp/dujiang-hostile").exists()


# A node far away.


@contextmanager
def answering(body: bytes, status: int = 200, **headers: str) -> Iterator[str]:
    """The address of a server that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answers."""
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                return

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def code_from(url: str) -> str:
    """The code a search at a node is refused with."""
    with pytest.raises(Refusal) as refused:
        Calls(Options(Path("/nowhere"), node=url, key="djk_x")).run("catalogue.search", {})
    return refused.value.code


def test_an_answer_of_a_node_far_away_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    monkeypatch.setattr(local, "_REPLY_BYTES_MAX", 1 << 20)
    with answering(b'{"items":[]}') as url:
        assert Calls(Options(Path("/nowhere"), node=url, key="djk_x")).run("catalogue.search", {})
    with answering(b'{"x":"' + b"a" * (2 << 20) + b'"}') as url:
        assert code_from(url) == "node_odd"
    with answering(gzip.compress(b'{"x":"' + b"a" * (64 << 20) + b'"}'), content_encoding="gzip") as url:
        assert code_from(url) == "node_odd"


@pytest.mark.parametrize(
    ("told", "status", "exit"),
    [("", 409, 4), ("", 503, 1), (',"exit":6', 409, 6), (',"exit":0', 409, 4), (',"exit":99', 500, 1),
     (',"exit":"5"', 409, 4), (',"exit":[]', 409, 4)],
)  # fmt: skip
def test_a_node_cannot_make_a_refusal_pass_for_an_answer(told: str, status: int, exit: int) -> None:
    """By the exit status it names with it; a node of another version names none."""
    said = f'{{"code":"unheard_of","why":"w","fix":"f"{told}}}'.encode()
    with answering(said, status) as url, pytest.raises(Refusal) as refused:
        Calls(Options(Path("/nowhere"), node=url, key="djk_x")).run("catalogue.search", {})
    assert (refused.value.code, refused.value.exit) == ("unheard_of", exit)


def test_an_answer_nested_without_end_is_no_answer() -> None:
    with answering(b"[" * 200_000) as url:
        assert code_from(url) == "node_odd"


# A file.


def made(claims: dict[str, Any]) -> str:
    """A certificate somebody signed with a key of their own."""
    key = Ed25519PrivateKey.generate()
    own = {"x": rules.encode(key.public_key().public_bytes_raw())}
    head = {"typ": wire.HEADER["typ"], "jwk": own, "kid": rules.key_of("did:web:x")}
    whole = {
        "issuer": "did:web:x", "type": ["VerifiableCredential", wire.GRANT], "credentialSubject": {},
        "@context": [wire.CREDENTIALS], **claims,
    }  # fmt: skip
    signed = rules.signing_input(head, whole)
    return f"{signed}.{rules.encode(key.sign(signed.encode()))}"


def test_a_certificate_of_any_form_is_answered(tmp_path: Path) -> None:
    odd = [made({"@context": context}) for context in ([], {}, 5, "x", None)]
    for text in odd:
        assert wire.examine(text, None).step == "3 credential of a register"
    with over_http.node(tmp_path) as node:
        for text in odd:
            assert node.post("registry.verify", {"certificate": text}).status_code < 500


def test_what_is_nested_without_end_is_shown_up_to_a_depth(capsys: pytest.CaptureFixture[str]) -> None:
    found = certificate.checked(made({"credentialSubject": {"a": DEEP}}), None, "en")
    assert found.body["ok"]
    nested: Any = {"end": "\x1b[31m"}
    for _ in range(400):
        nested = {"a": nested}
    for body in (found.body, {"a": nested}, [{"a": DEEP}], {"items": [{"a": [{"b": nested}]}]}):
        show.answer(Answer(body), Options(Path("/nowhere")))
        assert "…" in capsys.readouterr().out
        assert "…" in markup.value(body, "en")


def test_a_manifest_nested_without_end_is_no_backup(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 200_000, encoding="utf-8")
    with pytest.raises(Refused) as refused:
        backup.read(tmp_path)
    assert refused.value.code is backup.BACKUP_BROKEN


def test_a_backup_writes_nothing_outside_the_home_it_is_restored_to(tmp_path: Path) -> None:
    """`../usb/x` leads back into a folder usb, and out of the one it is copied to; who knows the key can seal it."""
    path = tmp_path / "homes" / "home"
    opened, _ = home.create(path, [("医院", ("operator",))])
    opened.close()
    folder = tmp_path / "usb"
    backup.make(path, folder)
    (folder / "x").write_bytes(b"x")
    made, _ = backup.read(folder)
    safe = vault.SealedVault(vault.read_master(path))
    for name in ("../usb/x", "files/../../usb/x"):
        evil = replace(made, files={**made.files, name: (1, sha256(b"x").hexdigest())})
        seal = safe.seal(sha256(backup._canonical(evil)).digest(), "backup")
        said = {**asdict(evil), "seal": base64.b64encode(seal).decode()}
        (folder / "manifest.json").write_text(json.dumps(said), encoding="utf-8")
        shutil.rmtree(path, ignore_errors=True)
        (tmp_path / "homes" / "usb").mkdir(exist_ok=True)
        with pytest.raises(Refused) as refused:
            restore.restore(folder)(Options(path))
        assert refused.value.code is backup.BACKUP_BROKEN
        assert not (tmp_path / "homes" / "usb" / "x").exists() and not path.exists()
