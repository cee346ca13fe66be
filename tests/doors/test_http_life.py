"""One life over HTTP: offered, found, agreed, asked, refused; and a node as a process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dujiang import home
from dujiang.ledger import rules
from tests.doors import over_http
from tests.doors.over_http import Node
from tests.doors.test_http import refused

SERVE = """
import sys
from pathlib import Path
from dujiang import home
from dujiang.doors.serve import serve
with home.opened(Path(sys.argv[1])) as opened:
    serve(opened, port=0, ready=lambda url: print(url, flush=True))
print("closed", flush=True)
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose loops run."""
    with over_http.node(tmp_path_factory.mktemp("life"), loops=True) as made:
        yield made


@pytest.fixture(scope="module")
def contract(node: Node) -> str:
    """A contract of the insurer on the hospital's table."""
    rows = "\n".join(f"p{i},{i % 2},{20 + i % 60}" for i in range(600))
    sent = node.client.put(
        "/data/uploads",
        content=f"patient,smokes,age\n{rows}\n".encode(),
        headers={**node.key(0), "x-file-name": "visits.csv"},
    )
    offered = node.post("catalogue.offer", {"upload": sent.json()["upload"], "entity": "patient"}, 0)
    assert offered.status_code == 200, offered.text
    assert rules.verify(offered.json()["receipt"], node.home.book.vkey).ok
    found = node.post("catalogue.search", {"words": "visits"}, 1).json()["items"]
    assert [each["product"] for each in found] == [offered.json()["product"]]
    agreed = node.post("contract.request", {"product": found[0]["product"], "purpose": "pricing"}, 1)
    said = agreed.json()
    assert agreed.status_code == 200 and said["done"] is True, said
    assert rules.verify(said["receipt"], node.home.book.vkey).ok
    return str(said["contract"])


def test_a_question_is_followed_until_its_answer(node: Node, contract: str) -> None:
    ask = {"contracts": [contract], "sql": "select count(*) as n from visits"}
    response = node.post("cleanroom.ask", ask, 1)
    said = response.json()
    assert response.status_code == 200 and said["done"] is True, said
    assert len(said["rows"]) == 1 and said["columns"]
    verdict = rules.verify(said["receipt"], node.home.book.vkey)
    assert verdict.ok and said["receipt"]["index"] == said["entry"]


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0"])
def test_who_does_not_want_to_wait_is_told_where_to_look(node: Node, contract: str, prefer: str) -> None:
    ask = {
        "contracts": [contract],
        "sql": f"select avg(age) as a from visits where smokes = {len(prefer) % 2}",
    }
    response = node.post("cleanroom.ask", ask, 1, prefer=prefer)
    said = response.json()
    assert response.status_code == (200 if said["done"] else 202)
    assert said["job"].startswith("job_") and said["receipt"]
    while not node.post("cleanroom.show", {"job": said["job"]}, 1).json()["done"]:
        time.sleep(0.02)  # its entry would be counted by the next test


def test_a_forbidden_question_is_a_problem_with_its_place_and_its_receipt(node: Node, contract: str) -> None:
    size = node.entries()
    response = node.post("cleanroom.ask", {"contracts": [contract], "sql": "select patient from visits"}, 1)
    said = response.json()
    assert response.status_code == said["status"] >= 400
    assert response.headers["content-type"] == "application/problem+json"
    assert said["code"] and said["why"] and said["fix"]
    assert rules.verify(said["receipt"], node.home.book.vkey).ok
    assert node.entries() == size + 1


def test_a_purpose_the_terms_do_not_permit_is_refused_alike(node: Node, contract: str) -> None:
    del contract
    refused(node.post("contract.request", {"product": "prd_nothing", "purpose": "x"}, 1), "not_found")


def test_the_page_shows_the_contract_to_both_sides(node: Node, contract: str) -> None:
    for which in (0, 1):
        session = {"cookie": f"dujiang_session={node.signed_in(which)}"}
        page = node.client.get("/", headers=session).text
        assert "pricing" in page.partition('id="contracts"')[2].partition("</section>")[0]
        assert (f"dujiang ask {contract} " in page) is (which == 1)


def test_every_reply_is_as_described(node: Node, contract: str) -> None:
    """Each read and write of the life, against the schema the node publishes for it."""
    document = node.client.get("/openapi.json").json()
    sql = "select count(*) as n from visits"
    product = node.post("catalogue.list", {}, 0).json()["items"][0]["product"]
    resource = node.post("catalogue.publish", {"product": product, "title": "visits again"}, 0)
    asked: list[tuple[str, dict[str, Any], int]] = [
        ("identity.show", {}, 0),
        ("identity.list", {}, 0),
        ("identity.link", {}, 0),
        ("identity.grant", {"roles": ["provider"]}, 0),
        ("ledger.list", {}, 0),
        ("ledger.show", {"entry": 0}, 0),
        ("ledger.prove", {"entry": 0}, 0),
        ("ledger.consistency", {"old": 1}, 0),
        ("registry.show", {"id": resource.json()["resource"]}, 0),
        ("catalogue.show", {"id": product}, 1),
        ("catalogue.search", {"words": "visits"}, 1),
        ("contract.list", {}, 1),
        ("contract.show", {"contract": contract}, 1),
        ("contract.request", {"product": product, "purpose": "x"}, 1),
        ("cleanroom.check", {"contracts": [contract], "sql": sql}, 1),
        ("cleanroom.list", {}, 1),
        ("cleanroom.ask", {"contracts": [contract], "sql": sql}, 1),
    ]
    for act, ask, which in asked:
        response = node.post(act, ask, which)
        assert response.status_code == 200, (act, response.text)
        said = document["paths"][f"/v1/{act.replace('.', '/')}"]["post"]["responses"]["200"]
        form = said["content"]["application/json"]["schema"]
        Draft202012Validator({**form, "components": document["components"]}).validate(response.json())


def start(path: Path) -> tuple[subprocess.Popen[str], str]:
    """A node as a process, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def post(url: str, ask: dict[str, Any], key: str) -> Any:
    """The reply of an act of a node elsewhere."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(ask).encode(), headers)) as response:
        return json.loads(response.read())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_says_where_it_is_and_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """What it acknowledged is there afterwards, and its home is free."""
    opened, made = home.create(tmp_path / "home", [("医院", ("operator", "provider"))])
    opened.close()
    process, url = start(tmp_path / "home")
    try:
        assert home.holder(tmp_path / "home") == url
        granted = post(f"{url}/v1/identity/grant", {"roles": ["provider"]}, made[0]["api_key"])
        process.send_signal(number)
        out, logged = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0 and out == "closed\n"
    assert all(json.loads(line) for line in logged.splitlines())
    assert home.holder(tmp_path / "home") is None
    with home.opened(tmp_path / "home", wait_s=0) as again:
        assert again.caller_of_key(granted["api_key"]) is not None


def test_who_waits_when_the_node_ends_gets_an_answer(tmp_path: Path) -> None:
    """A node that ends does not wait for a long act to be done: it says that it is not."""
    with over_http.node(tmp_path) as made:
        sent = made.client.put(
            "/data/uploads",
            content=b"id,x\n" + b"\n".join(b"%d,1" % i for i in range(50)),
            headers=made.key(0),
        )
        offered = made.post("catalogue.offer", {"upload": sent.json()["upload"], "entity": "id"}, 0).json()
        ask = {"product": offered["product"], "purpose": "pricing"}
        waits: Any = made.client.app.state.desk.waits  # type: ignore[attr-defined]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(made.post, "contract.request", ask, 1)
            while not waits.anybody:
                assert not waiting.done()
            waits.close()
            response = waiting.result(timeout=20)
    assert response.status_code == 202 and response.json()["done"] is False


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    from dujiang.doors.serve import serve
    from dujiang.kernel.errors import Refused

    opened, _ = home.create(tmp_path / "home", [("医院", ("operator",))])
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(Refused) as error:
            serve(opened, port=other.getsockname()[1])
    opened.close()
    assert error.value.code.name == "port_taken"


def test_headers_without_end_are_cut_off_and_long_bodies_are_not(tmp_path: Path) -> None:
    opened, made = home.create(tmp_path / "home", [("医院", ("operator", "provider"))])
    opened.close()
    process, url = start(tmp_path / "home")
    try:
        host, port = url.removeprefix("http://").split(":")
        trailed = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Long: "
        for begun in (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ", trailed):
            with socket.create_connection((host, int(port)), timeout=20) as wire, pytest.raises(OSError):
                wire.sendall(begun)
                for _ in range(1000):
                    wire.sendall(b"a" * 65_536)
        ask = {"roles": ["provider"], "person": "p" * 300_000}
        with pytest.raises(urllib.error.HTTPError) as told:
            post(f"{url}/v1/identity/grant", ask, made[0]["api_key"])
        assert told.value.code == 404
    finally:
        process.kill()
        process.communicate()
