"""The witness over HTTP, clause by clause (C2SP tlog-witness), and what it keeps of a log that forks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dujiang.doors.doctor import examine
from dujiang.kernel.act import NODE
from dujiang.ledger import cosigning, note
from dujiang.ledger import witness as rules
from dujiang.ledger.acts import Cosign
from tests.doors import over_http
from tests.doors.test_metrics import parsed
from tests.ledger.foreign import ForeignLog


@pytest.fixture
def node(tmp_path: Path) -> Iterator[over_http.Node]:
    """A node of a hospital (operates it) and an insurer."""
    with over_http.node(tmp_path) as made:
        yield made


@pytest.fixture
def log(node: over_http.Node) -> ForeignLog:
    """A log of 20 entries that the node watches."""
    made = ForeignLog().grow(20)
    assert node.post("ledger.watch", {"vkeys": list(made.vkeys)}, 0).status_code == 200
    return made


def sent(node: over_http.Node, request: bytes) -> Any:
    """The response to a request."""
    return node.client.post("/log/add-checkpoint", content=request)


def own(node: over_http.Node) -> tuple[note.Key, ...]:
    """The node's keys as a witness."""
    with node.home.node.database.reading() as db:
        keys = [note.read_key(line) for line in cosigning.vkeys(db)]
        return tuple(key for key in keys if key.name == cosigning.witness_name(db))


def kept(node: over_http.Node) -> Any:
    """The evidence, as the operator sees it."""
    return node.post("ledger.forks", {}, 0).json()["items"]


def test_a_first_head_is_cosigned_under_both_keys_and_served(node: over_http.Node, log: ForeignLog) -> None:
    before = node.entries()
    answer = sent(node, log.request(0, second=True))
    assert answer.status_code == 200 and answer.text.startswith("\u2014 ") and answer.text.endswith("\n")
    head = note.read_checkpoint(note.with_lines(log.head(), answer.text.splitlines(keepends=True)))
    found = note.signatures(head, own(node))
    assert [each.key.kind for each in found] == [note.COSIGNATURE, note.MLDSA44]
    served = node.client.get(f"/log/{rules.address_of(log.origin)}/checkpoint")
    assert note.signatures(note.read_checkpoint(served.text), [*log.keys, *own(node)])[2:] == found
    assert node.entries() == before, "cosigning leaves no entry"


def test_the_empty_tree_comes_first_where_a_log_sends_it(node: over_http.Node, log: ForeignLog) -> None:
    assert sent(node, log.request(0, 0)).status_code == 200
    assert sent(node, log.request(0, 0)).status_code == 200
    assert sent(node, log.request(0, 7)).status_code == 200
    assert sent(node, log.request(7, 7)).status_code == 200, "the same head is cosigned again"
    assert sent(node, log.request(7)).status_code == 200


@pytest.mark.parametrize(
    "wrong", [b"", b"old 0\n\n", b"old 21\n\n", b"\xff", b"old 0\n" + b"A" * 43 + b"=\n"]
)
def test_400_what_is_no_request_or_goes_back(node: over_http.Node, log: ForeignLog, wrong: bytes) -> None:
    assert (
        sent(node, wrong + (log.head().encode() if wrong.startswith(b"old 21") else b"")).status_code == 400
    )


def test_413_more_than_any_request_has(node: over_http.Node) -> None:
    assert sent(node, b"x" * (rules.REQUEST_BYTES_MAX + 1)).status_code == 413


def test_404_a_log_nobody_watches_and_one_that_is_watched_no_more(
    node: over_http.Node, log: ForeignLog
) -> None:
    assert sent(node, ForeignLog("third.example.org", 3).grow(2).request(0)).status_code == 404
    assert node.client.get(f"/log/{'0' * 64}/checkpoint").status_code == 404
    assert node.client.get("/log/x/checkpoint").status_code == 404
    sent(node, log.request(0, 11))
    assert node.post("ledger.unwatch", {"origin": log.origin}, 0).status_code == 200
    assert sent(node, log.request(11)).status_code == 404
    again = node.post("ledger.watch", {"vkeys": list(log.vkeys)}, 0).json()
    assert again["size"] == 11 and sent(node, log.request(0)).status_code == 409


def test_403_a_head_that_no_known_key_has_truly_signed(node: over_http.Node, log: ForeignLog) -> None:
    stranger = ForeignLog(log.origin, 8).grow(20)
    assert sent(node, stranger.request(0)).status_code == 403
    changed = log.request(0).replace(b"\n20\n", b"\n21\n")
    assert sent(node, changed).status_code == 403
    # The second line alone is not enough, and a false second line spoils the first.
    whole = log.request(0, second=True).decode()
    first, second = whole.rpartition("\n\n")[2].splitlines(keepends=True)
    assert sent(node, whole.replace(first, "").encode()).status_code == 403
    assert (
        sent(
            node,
            whole.replace(second, second[:99] + ("A" if second[99] != "A" else "B") + second[100:]).encode(),
        ).status_code
        == 403
    )
    assert sent(node, whole.encode()).status_code == 200
    assert kept(node) == []


def test_409_another_old_size_is_told_the_known_one(node: over_http.Node, log: ForeignLog) -> None:
    sent(node, log.request(0, 11))
    for old in (0, 10, 12):
        answer = sent(node, log.request(old))
        assert (answer.status_code, answer.text) == (409, "11\n")
        assert answer.headers["content-type"] == "text/x.tlog.size"
    assert kept(node) == []


def test_422_another_past_is_refused_kept_and_told(node: over_http.Node, log: ForeignLog) -> None:
    sent(node, log.request(0, 11))
    forked = ForeignLog().grow(11)
    forked.leaves[4] = bytes(32)
    request = forked.grow(25).request(11)
    assert sent(node, request).status_code == 422
    assert sent(node, request).status_code == 422
    assert sent(node, forked.request(11, 11)).status_code == 422
    found = kept(node)
    assert [each["conflict"] for each in found] == ["rewritten", "roots"] and all(
        each["proves"] for each in found
    )
    assert found[0]["request"].encode() == request and found[0]["known"] == 11
    assert node.post("ledger.forks", {}, 1).status_code == 403
    seen = node.post("ledger.witnesses", {}, 1).json()
    assert seen["forks"] == 2 and seen["watched"][0]["size"] == 11
    samples = parsed(node.client.get("/metrics", headers=node.key(0)).text)
    assert samples["dujiang_log_forks", ()] == 2
    node.home.serving("http://127.0.0.1:1")
    (line,) = [each for each in examine(node.home.path, 0, "en") if each["name"] == "forks"]
    assert not line["ok"] and "2 forks proved" in line["detail"] and line["fix"]
    assert sent(node, log.request(11)).status_code == 200, "the true history goes on"
    assert sent(node, forked.request(20)).status_code == 422


def test_a_true_head_with_a_broken_proof_is_no_proof_of_a_fork(node: over_http.Node, log: ForeignLog) -> None:
    """Anybody can send that: it is kept as unproved, and forgotten once the same head is shown to go on."""
    sent(node, log.request(0, 11))
    broken = rules.write_request(11, log.proof(11, 20)[::-1], log.head())
    assert sent(node, broken).status_code == 422
    assert [(each["conflict"], each["proves"]) for each in kept(node)] == [("unproved", False)]
    (line,) = [each for each in examine(node.home.path, 0, "en") if each["name"] == "forks"]
    assert line["ok"] and line["fix"]
    assert sent(node, log.request(11)).status_code == 200 and kept(node) == []


def test_an_unproved_head_becomes_a_proof_when_its_size_is_cosigned_with_another_root(
    node: over_http.Node, log: ForeignLog
) -> None:
    sent(node, log.request(0, 16))
    forked = ForeignLog().grow(16)
    forked.leaves[4] = bytes(32)
    assert sent(node, forked.grow(20).request(16)).status_code == 422
    assert [each["conflict"] for each in kept(node)] == ["unproved"], (
        "of a power of two no proof tells the root"
    )
    assert sent(node, log.request(16)).status_code == 200
    assert [each["conflict"] for each in kept(node)] == ["roots"]


def test_evidence_is_bounded_and_the_first_is_never_lost(node: over_http.Node, log: ForeignLog) -> None:
    sent(node, log.request(0, 11))
    forked = ForeignLog().grow(11)
    forked.leaves[4] = bytes(32)
    forked.grow(60)
    for new in range(12, 40):
        assert sent(node, forked.request(11, new)).status_code == 422
    found = kept(node)
    assert len(found) == 16 and found[0]["size"] == 12


def test_a_stranger_with_true_heads_does_not_take_the_place_of_later_evidence(
    node: over_http.Node, log: ForeignLog
) -> None:
    """Heads are public: anybody can send as many as the log has published, each with a proof that leads nowhere."""
    log.grow(60)
    sent(node, log.request(0, 11))
    for new in range(12, 40):
        assert sent(node, rules.write_request(11, log.proof(11, new)[::-1], log.head(new))).status_code == 422
    assert len(kept(node)) == 16
    assert sent(node, log.request(11, 48)).status_code == 200
    forked = ForeignLog().grow(48)
    forked.leaves[4] = bytes(32)
    forked.grow(60)
    broken = rules.write_request(48, forked.proof(48, 50)[::-1], forked.head(50))
    assert sent(node, broken).status_code == 422
    found = kept(node)
    assert len(found) == 16 and found[-1]["size"] == 50
    assert sent(node, log.request(48, 50)).status_code == 200
    assert [each["size"] for each in kept(node) if each["proves"]] == [50]


def test_two_unproved_heads_of_one_size_prove_the_fork_together(
    node: over_http.Node, log: ForeignLog
) -> None:
    sent(node, log.request(0, 11))
    forked = ForeignLog().grow(20)
    forked.leaves[4] = bytes(32)
    for each in (log, forked):
        assert sent(node, rules.write_request(11, each.proof(11, 20)[:1], each.head())).status_code == 422
    assert [(each["size"], each["conflict"]) for each in kept(node)] == [(20, "roots")] * 2


def test_of_many_requests_at_once_no_two_roots_of_one_size_are_cosigned(
    node: over_http.Node, log: ForeignLog
) -> None:
    """The check and the write are one: of all that start at the same size one goes through."""
    sent(node, log.request(0, 11))
    forked = ForeignLog().grow(11)
    forked.grow(40, "another")
    log.grow(40)
    asks = [each.request(11, new) for new in range(12, 40) for each in (log, forked)]

    def ask(request: bytes) -> tuple[int, bytes]:
        return node.home.run("ledger.cosign", NODE, Cosign(request.decode())).reply.status, request

    with ThreadPoolExecutor(16) as pool:
        said = list(pool.map(ask, asks))
    assert [status for status, _ in said].count(200) == 1 and {status for status, _ in said} <= {200, 409}


def test_who_may_and_what_is_no_key(node: over_http.Node, log: ForeignLog) -> None:
    for act, ask in (("ledger.watch", {"vkeys": list(log.vkeys)}), ("ledger.quorum", {"least": 0}),
                     ("ledger.appoint", {"url": "http://w", "vkeys": [""]})):  # fmt: skip
        assert node.post(act, ask, 1).status_code == 403 and node.post(act, ask).status_code == 401
    third = ForeignLog("third.example.org", 3)
    for vkeys in ([], ["x"], [log.vkeys[1]], [log.vkeys[0], third.vkeys[0]], [node.home.book.vkey]):
        assert node.post("ledger.watch", {"vkeys": vkeys}, 0).json()["code"] == "not_a_vkey"
    key = note.Key("w", log.keys[0].public, note.COSIGNATURE).line
    for url in (
        "",
        "ftp://w",
        "http://a b",
        "http://w/#x",
        "https://user@w",
        "http://w/?q",
        "http://w" + "a" * 300,
    ):
        assert node.post("ledger.appoint", {"url": url, "vkeys": [key]}, 0).json()["code"] == "not_a_url"
    assert (
        node.post("ledger.appoint", {"url": "http://w", "vkeys": [log.vkeys[0]]}, 0).json()["code"]
        == "not_a_vkey"
    )
    assert node.post("ledger.quorum", {"least": 1}, 0).json()["code"] == "quorum_too_large"
    assert node.post("ledger.appoint", {"url": "http://w/", "vkeys": [key]}, 0).json()["url"] == "http://w"
    assert node.post("ledger.quorum", {"least": 1}, 0).status_code == 200
    policy = rules.read_policy(node.client.get("/log/witness-policy").text)
    assert [each.line for each in policy.witnesses.values()] == [key] and policy.logs[
        0
    ].line == node.home.book.vkey
    assert node.post("ledger.dismiss", {"name": "w"}, 0).json()["code"] == "quorum_too_large"
    assert node.post("ledger.dismiss", {"name": "v"}, 0).json()["code"] == "not_found"
    node.post("ledger.quorum", {"least": 0}, 0)
    assert node.post("ledger.dismiss", {"name": "w"}, 0).status_code == 200


def test_the_page_of_who_oversees_says_how_the_log_stands_with_its_witnesses(
    node: over_http.Node, log: ForeignLog
) -> None:
    def page(which: int) -> str:
        cookie = f"dujiang_session={node.signed_in(which)}"
        return node.client.get("/", headers={"cookie": cookie, "accept-language": "en"}).text

    sent(node, log.request(0, 11))
    assert log.origin in page(0) and log.origin not in page(1) and "has forked" not in page(0)
    forked = ForeignLog().grow(11)
    forked.leaves[4] = bytes(32)
    assert sent(node, forked.grow(25).request(11)).status_code == 422
    key = note.Key("w.example.org", log.keys[0].public, note.COSIGNATURE).line
    node.post("ledger.appoint", {"url": "http://127.0.0.1:1", "vkeys": [key]}, 0)
    assert "has forked" in page(0) and "w.example.org" in page(0) and "has forked" not in page(1)
