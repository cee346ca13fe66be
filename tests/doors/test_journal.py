"""The log of a node: JSON lines that name requests and refusals, and never a value of anybody's data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.node import HOSPITAL, INSURER, Node, make

SECRETS = {
    "row": "zqrow7731", "column": "zqcolumn7731", "sql": "zqsql7731", "password": "zqpassword7731 is long",
    "purpose": "zqpurpose7731", "name": "zqname7731", "path": "zqpath7731", "key": "djk_zqkey7731",
}  # fmt: skip


def lived(tmp_path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The lines of a node's log after a life full of secrets, and the keys that were used in it."""
    home = tmp_path / "home"
    keys = [each["api_key"] for each in make(home)["organisations"]]
    hospital, insurer = keys
    rows = "".join(f"p{n},{n % 9},{SECRETS['row']}\n" for n in range(300))
    with Node(home) as node:
        sent = node.upload(f"{SECRETS['name']}.csv", f"id,n,{SECRETS['column']}\n{rows}".encode(), hospital)
        offer = {"upload": sent.json()["upload"], "entity": "id", "title": SECRETS["name"]}
        product = node.said("catalogue.offer", offer, hospital)["product"]
        node.said(
            "identity.invite",
            {"name": SECRETS["name"], "roles": ["provider"], "password": SECRETS["password"]},
            hospital,
        )
        node.post(
            "identity.login",
            {"organisation": HOSPITAL, "name": "x", "password": SECRETS["password"]},
            insurer,
        )
        agreed = node.said("contract.request", {"product": product, "purpose": "analyse"}, insurer)
        node.post("contract.request", {"product": product, "purpose": SECRETS["purpose"]}, insurer)
        for sql in (
            "select count(*) as n from {}",
            "select {} from t",
            "drop table {}",
            f"select '{SECRETS['sql']}",
        ):
            ask = {"contracts": [agreed["contract"]], "sql": sql.format(SECRETS["sql"])}
            node.post("cleanroom.ask", ask, insurer)
        node.post("ledger.list", {SECRETS["sql"]: 1}, insurer)
        node.post("identity.list", {}, SECRETS["key"])
        node.post(SECRETS["path"], {}, hospital)
        node.upload("x", SECRETS["row"].encode(), hospital)
        node.stop()
        return [json.loads(line) for line in node.log.read_text(encoding="utf-8").splitlines()], keys


def test_a_life_full_of_secrets_leaves_none_in_the_log(tmp_path: Path) -> None:
    lines, keys = lived(tmp_path)
    text = json.dumps(lines, ensure_ascii=False)
    for what, secret in (
        *SECRETS.items(),
        *(("key", key) for key in keys),
        ("org", HOSPITAL),
        ("org", INSURER),
    ):
        assert secret not in text, what
    assert "select" not in text.lower().replace("selector", "")
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) >= 14
    for line in requests:
        assert set(line) <= {
            "event",
            "level",
            "timestamp",
            "request",
            "method",
            "path",
            "status",
            "ms",
            "org",
            "code",
        }
        assert {"event", "timestamp", "request", "method", "path", "status", "ms"} <= set(line)
        assert line.get("org", "org_").startswith("org_")
        assert (line["status"] >= 400) == ("code" in line), line
    assert len({line["request"] for line in requests}) == len(requests)
    codes = {line["code"] for line in requests if "code" in line}
    assert {"not_signed_in", "no_such_address", "unknown_field"} <= codes


def test_a_request_is_found_in_the_log_by_the_id_of_its_answer(tmp_path: Path) -> None:
    home = tmp_path / "home"
    key = make(home)["organisations"][0]["api_key"]
    with Node(home) as node:
        answers = [node.post("ledger.show", {"entry": entry}, key) for entry in (0, 99)]
        node.stop()
        lines = [json.loads(line) for line in node.log.read_text(encoding="utf-8").splitlines()]
    known = {line["request"]: line for line in lines if line["event"] == "request"}
    found = [known[each.headers["x-request-id"]] for each in answers]
    assert [line["status"] for line in found] == [200, 404] and found[1]["code"] == "not_found"
    assert found[0]["path"] == "/v1/ledger/show" and found[0]["org"] == found[1]["org"]
