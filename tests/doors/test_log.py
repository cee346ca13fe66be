"""The log as everybody reads it: kept by caches for ever, the same bytes for ever, and no account."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dujiang.doors import mirror
from dujiang.doors.log import Shelf
from dujiang.identity import acts as identity
from dujiang.kernel.config import Config
from dujiang.ledger import note, published, rules, store, trust
from dujiang.ledger.tile import Place, places
from dujiang.ledger.walk import roots
from tests.doors import over_http
from tests.doors.over_http import Node
from tests.doors.shell import Shell, dujiang, home
from tests.ledger.published import entries, log_of, reader

__all__ = ["dujiang", "home"]  # fixtures

FOREVER = "public, max-age=31536000, immutable"
ENTRIES = 515


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, dict[int, dict[str, bytes]]]]:
    """A node that grew entry by entry, and what it published at some of the sizes it signed."""
    config = Config(log_requests_per_s_max=0)
    with over_http.node(tmp_path_factory.mktemp("log"), config) as made:
        seen: dict[int, dict[str, bytes]] = {}
        for size in (2, 3, 255, 256, 257, 511, 512, ENTRIES):
            grow(made, size)
            seen[size] = {place.path: got(made, place.path) for place in places(size)}
            seen[size]["checkpoint"] = got(made, "checkpoint")
        yield made, seen


def grow(node: Node, size: int) -> None:
    """Writes entries until the log has so many."""
    caller = node.home.caller_of_key(node.made[0]["api_key"])
    assert caller is not None
    for n in range(node.home.book.next_index(), size):
        node.home.run("identity.invite", caller, identity.Invite(f"人{n}", ("operator",)))


def got(node: Node, path: str) -> bytes:
    """What a stranger is given at an address of the log."""
    response = node.client.get(f"/log/{path}")
    assert response.status_code == 200, (path, response.text)
    return response.content


def test_every_size_it_signed_can_be_walked_for_ever_and_has_the_root_it_signed(
    node: tuple[Node, dict[int, dict[str, bytes]]],
) -> None:
    made, seen = node
    name, public = note.read_vkey(made.home.book.vkey)
    for size, files in seen.items():
        files = dict(files)
        head = note.read_checkpoint(files.pop("checkpoint").decode())
        assert head.size == size and note.signed_by(head, name, public)
        assert {path: got(made, path) for path in files} == files
        assert roots(size, lambda place, files=files: files.get(place.path)).root == head.root


def test_what_is_erased_of_an_entry_leaves_what_is_published_as_it_is(node: Any) -> None:
    made = node[0]
    before = got(made, "tile/entries/000")
    assert made.home.writer.submit(lambda tx: store.erase(tx.db, 5)).result()
    with made.home.node.database.reading() as db:
        assert published.file(db, "tile/entries/000", 0) == before


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/002.p/3", "tile/entries/000", "tile/1/000.p/1"])
def test_a_tile_may_be_kept_for_ever_by_anybody(node: Any, path: str) -> None:
    made = node[0]
    first = made.client.get(f"/log/{path}")
    assert (
        first.headers["cache-control"] == FOREVER
        and first.headers["content-type"] == "application/octet-stream"
    )
    assert first.headers["access-control-allow-origin"] == "*" and "set-cookie" not in first.headers
    again = made.client.get(f"/log/{path}", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    other = made.client.get(f"/log/{path}", headers={"if-none-match": '"x"'})
    assert (other.status_code, other.content) == (200, first.content)
    head = made.client.head(f"/log/{path}")
    assert (head.status_code, head.content) == (200, b"")
    assert (
        head.headers["content-length"] == str(len(first.content))
        and head.headers["etag"] == first.headers["etag"]
    )


def test_the_newest_head_is_asked_for_anew(node: Any) -> None:
    made = node[0]
    before = made.client.get("/log/checkpoint")
    assert before.headers["cache-control"] == "no-cache"
    assert (
        before.headers["content-type"] == "text/plain; charset=utf-8" and before.text == made.home.book.head
    )
    known = {"if-none-match": f'"x", W/{before.headers["etag"]}'}
    assert made.client.get("/log/checkpoint", headers=known).status_code == 304
    grow(made, made.home.book.next_index() + 1)
    after = made.client.get("/log/checkpoint", headers=known)
    assert after.status_code == 200 and after.text == made.home.book.head != before.text


def test_the_keys_are_a_line_each_and_the_first_signs_the_head(node: Any) -> None:
    made = node[0]
    first, *_ = got(made, "vkeys").decode().splitlines()
    assert first == made.home.book.vkey


def test_all_keys_are_published_with_what_vouches_for_each_and_nobodys_name(node: Any) -> None:
    made = node[0]
    answer = made.client.get("/log/keys")
    assert (
        answer.headers["content-type"] == "application/json" and answer.headers["cache-control"] == "no-cache"
    )
    assert trust.trusted(made.home.book.vkey, answer.json()) == [made.home.book.vkey]
    assert not re.search("org_|per_", answer.text)


@pytest.mark.parametrize(
    "path",
    [
        "", "x", "tile/0/009", "tile/0/002", "tile/0/002.p/255", "tile/entries/002.p/200", "tile/1/000",
        "tile/1/000.p/3",
        "tile/7/000", "tile/63/x999/x999/x999/x999/x999/999", "tile/entries/x999/x999/x999/x999/x999/999", "tile/0/0",
        "tile/0/000.p/256", "tile/0/000/", "tile/0/%2e%2e/0/000", "..%2f..%2fhome.json", "tile/entries/000.p/%00",
        "tile/0/%D9%A0%D9%A0%D9%A0", "tile/0/" + "x001/" * 3000 + "000", "Checkpoint", "checkpoint/", "vkeys%0a",
        "tile/0/000'%20or%201=1--",
    ],
)  # fmt: skip
def test_what_is_not_there_has_one_answer_that_nobody_keeps(node: Any, path: str) -> None:
    made = node[0]
    answer = made.client.get(f"/log/{path}")
    assert answer.status_code == 404 and answer.headers["cache-control"] == "no-store"
    assert answer.content == made.client.get("/log/nothing").content


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_is_written_here(node: Any, method: str) -> None:
    assert node[0].client.request(method, "/log/checkpoint").json()["code"] == "wrong_method"


def test_a_key_that_is_none_makes_no_difference(node: Any) -> None:
    made = node[0]
    assert made.client.get("/log/vkeys", headers={"authorization": "Bearer djk_none"}).status_code == 200


def test_whatever_head_is_read_while_the_log_grows_all_of_its_tree_is_there(tmp_path: Path) -> None:
    with over_http.node(tmp_path, Config(log_requests_per_s_max=0)) as made:
        stop = threading.Event()

        def growing() -> None:
            while not stop.is_set():
                grow(made, made.home.book.next_index() + 3)

        writer = threading.Thread(target=growing)
        writer.start()
        try:
            kept: dict[str, bytes] = {}
            before = 0
            for _ in range(25):
                head = note.read_checkpoint(got(made, "checkpoint").decode())

                def read(place: Place) -> bytes:
                    raw = got(made, place.path)
                    assert kept.setdefault(place.path, raw) == raw
                    return raw

                assert roots(head.size, read).root == head.root and head.size >= before
                before = head.size
        finally:
            stop.set()
            writer.join()
        assert before > 3


def test_who_reads_too_fast_is_told_so_and_may_still_sign_in(tmp_path: Path) -> None:
    with over_http.node(tmp_path, Config(log_requests_per_s_max=1)) as made:
        answers = [made.client.get("/log/checkpoint") for _ in range(4)]
        assert [answer.status_code for answer in answers][:2] == [200, 200]
        assert answers[3].json()["code"] == "requests_too_fast" and answers[3].headers["retry-after"]
        assert made.post("identity.show", {"id": "Insurer"}).status_code == 200


def test_a_shelf_keeps_what_was_asked_for_last_within_its_bytes() -> None:
    shelf = Shelf(1500)
    for name in ("a", "b", "a", "c"):
        if shelf.get(name) is None:
            shelf.put(name, name.encode() * 400)
    assert shelf.get("b") is None and shelf.get("a") == b"a" * 400 and shelf.get("c") == b"c" * 400
    shelf.put("c", b"c" * 500)
    assert shelf.bytes == 400 + 500 + 2 * 200 and shelf.get("a") and shelf.get("c") == b"c" * 500
    shelf.put("d", b"d" * 5000)
    assert shelf.get("d") is None and shelf.bytes == 0


def test_a_folder_follows_the_log_and_shows_only_whole_trees(node: Any, tmp_path: Path) -> None:
    made = node[0]

    def source(path: str) -> bytes | None:
        answer = made.client.get(f"/log/{path}")
        return answer.content if answer.status_code == 200 else None

    asked: list[str] = []

    def noted(path: str) -> bytes | None:
        asked.append(path)
        return source(path)

    before, head, count = mirror.followed(tmp_path, source)
    assert before == 0 and head.size == made.home.book.next_index() and count == len(list(places(head.size)))
    read = mirror.below(tmp_path)
    assert roots(head.size, lambda place: read(place.path)).root == head.root
    grow(made, head.size + 1)
    again, newer, fresh = mirror.followed(tmp_path, noted)
    assert (again, newer.size, fresh) == (head.size, head.size + 1, len(list(places(newer.size, head.size))))
    assert not [path for path in asked if path.startswith("tile/entries") and ".p/" not in path]
    assert (tmp_path / "tile/entries/002.p" / str(head.size % 256)).is_file(), (
        "the partial ones of old heads stay"
    )
    assert roots(newer.size, lambda place: read(place.path), head.size).earlier == head.root
    assert mirror.followed(tmp_path, source)[2] == 0
    assert not list(tmp_path.rglob(".*")), "no draft is left"


@pytest.mark.parametrize("missing", ["tile/0/000", "tile/entries/001", "checkpoint", "tile/1/000.p/2"])
def test_a_folder_shows_no_head_whose_tiles_it_could_not_get(node: Any, tmp_path: Path, missing: str) -> None:
    made = node[0]

    def source(path: str) -> bytes | None:
        answer = made.client.get(f"/log/{path}")
        return answer.content if answer.status_code == 200 and path != missing else None

    with pytest.raises(mirror.Unavailable) as refused:
        mirror.followed(tmp_path, source)
    assert refused.value.code.name == "log_incomplete" and not (tmp_path / "checkpoint").exists()


def test_a_folder_that_is_ahead_of_the_head_that_is_shown_stays_as_it_is(node: Any, tmp_path: Path) -> None:
    made, seen = node
    older = seen[257]["checkpoint"]

    def source(path: str) -> bytes | None:
        answer = made.client.get(f"/log/{path}")
        return answer.content if answer.status_code == 200 else None

    _, head, _ = mirror.followed(tmp_path, source)
    before = (tmp_path / "checkpoint").read_bytes()
    assert mirror.followed(tmp_path, lambda path: older if path == "checkpoint" else source(path)) == (
        head.size,
        head,
        0,
    )
    forged = older.replace(older.split(b"\n")[2], b"A" * 43 + b"=")
    with pytest.raises(mirror.Refused) as refused:
        mirror.followed(tmp_path, lambda path: forged if path == "checkpoint" else source(path))
    assert refused.value.code.name == "log_elsewhere" and (tmp_path / "checkpoint").read_bytes() == before


def test_a_folder_of_another_history_is_left_as_it_is(node: Any, tmp_path: Path) -> None:
    """The true key signs another root of an earlier size: what the folder has kept is the evidence."""
    made = node[0]

    def source(path: str) -> bytes | None:
        answer = made.client.get(f"/log/{path}")
        return answer.content if answer.status_code == 200 else None

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    origin = note.read_checkpoint(made.home.book.head).origin
    for size in (300, 10_000):
        text = note.checkpoint_text(origin, size, b"r" * 32)
        own = note.signed(text, origin, public, key.sign(text.encode()))
        (tmp_path / "checkpoint").write_text(own, "utf-8")
        with pytest.raises(mirror.Refused) as refused:
            mirror.followed(tmp_path, source)
        assert refused.value.code.name == "log_elsewhere"
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
        assert (tmp_path / "checkpoint").read_text("utf-8") == own


@pytest.fixture(scope="module")
def made(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Words for the command line: a log as files, its key, and a receipt of it with what lies beside it."""
    folder = tmp_path_factory.mktemp("files")
    return {"log": str(folder / "log"), "key": str(folder / "vkey"), "folder": str(folder), "home": str(home)}


def test_the_command_line_writes_a_log_and_verifies_it_by_its_key(
    dujiang: Shell, made: dict[str, str]
) -> None:
    said = dujiang.json("ledger", "tiles", made["log"])
    assert said["before"] == 0 and said["size"] == dujiang.json("history", "--limit", "1")["size"]
    assert dujiang.json("ledger", "tiles", made["log"])["files"] == 0
    own = (Path(made["log"]) / "vkeys").read_text("utf-8")
    Path(made["key"]).write_text(own, "utf-8")
    found = dujiang.json("verify", made["log"], "--vkey", own.strip())
    assert (found["ok"], found["trusted"], found["size"], found["note"]) == (True, True, said["size"], None)
    unknown = dujiang.json("verify", made["log"])
    assert (unknown["ok"], unknown["trusted"]) == (True, False) and "--vkey" in unknown["note"]
    other = note.Key(own.partition("+")[0], bytes(32)).line
    refused = dujiang("verify", made["log"], "--vkey", other, "--json", ok=False)
    assert refused.exit == 7 and refused.body["step"] == "2 signature of the checkpoint"


def test_a_kept_checkpoint_must_be_continued(dujiang: Shell, made: dict[str, str]) -> None:
    kept = Path(made["folder"]) / "kept"
    kept.write_bytes((Path(made["log"]) / "checkpoint").read_bytes())
    dujiang.json("identity", "invite", "人", "--roles", "operator")
    dujiang.json("ledger", "tiles", made["log"])
    found = dujiang.json("verify", made["log"], "--vkey", made["key"], "--old", str(kept))
    assert found["extends"] == found["size"] - 1
    newer = Path(made["folder"]) / "newer"
    newer.write_bytes((Path(made["log"]) / "checkpoint").read_bytes())
    (Path(made["log"]) / "checkpoint").write_bytes(kept.read_bytes())
    shrunk = dujiang("verify", made["log"], "--vkey", made["key"], "--old", str(newer), "--json", ok=False)
    assert shrunk.exit == 7 and shrunk.body["step"].startswith("6 growth")
    (Path(made["log"]) / "checkpoint").write_bytes(newer.read_bytes())


def test_roots_that_the_true_key_signed_falsely_are_found(dujiang: Shell, tmp_path: Path) -> None:
    """A log of another program, whose own key lies about the root of now or of before."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    files = log_of(entries(300))
    for path, raw in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(raw)

    def head(name: str, size: int, root: bytes) -> str:
        text = note.checkpoint_text("a.example", size, root)
        (tmp_path / name).write_text(note.signed(text, "a.example", public, key.sign(text.encode())), "utf-8")
        return str(tmp_path / name)

    read = reader(files)
    line, log = ["--vkey", note.Key("a.example", public).line, "--json"], str(tmp_path)
    head("checkpoint", 300, roots(300, read).root)
    true, false = head("true", 257, roots(300, read, 257).earlier or b""), head("false", 257, b"r" * 32)
    assert dujiang("verify", log, *line, "--old", true).body["extends"] == 257
    forked = dujiang("verify", log, *line, "--old", false, ok=False).body
    assert forked["step"] == "6 growth: the log does not continue the checkpoint that was kept"
    head("checkpoint", 300, b"r" * 32)
    wrong = dujiang("verify", log, *line, ok=False).body
    assert wrong["step"] == "5 root: the entries give another one than the checkpoint says"


def test_a_log_without_a_key_says_what_is_missing(dujiang: Shell, tmp_path: Path) -> None:
    refused = dujiang("verify", str(tmp_path), "--json", ok=False)
    assert refused.body["code"] == "argument_missing" and "--vkey" in refused.body["why"]
    address = dujiang("verify", "http://127.0.0.1:9/log", "--vkey", "a+b+c", "--json", ok=False)
    assert address.body["code"] == "node_unreachable"


def test_a_receipt_of_the_log_is_proved_by_its_text_proof(dujiang: Shell, made: dict[str, str]) -> None:
    receipt = Path(made["folder"]) / "one.json"
    dujiang.json("receipt", "0", "--out", str(receipt))
    kept = json.loads(receipt.read_text("utf-8"))
    assert rules.verify(kept, None).ok
    proof, entry = receipt.with_suffix(".tlog-proof"), receipt.with_suffix(".entry")
    assert entry.read_text("utf-8") == kept["leaf"]
    found = dujiang.json("verify", str(proof), "--vkey", made["key"])
    assert (found["ok"], found["index"], found["act"]) == (True, 0, rules.verify(kept, None).act)
    assert dujiang("verify", str(proof), "--json", ok=False).body["code"] == "argument_missing"
    elsewhere = Path(made["folder"]) / "other.entry"
    elsewhere.write_text(kept["leaf"] + " ", "utf-8")
    said = dujiang("verify", str(proof), "--entry", str(elsewhere), "--vkey", made["key"], "--json", ok=False)
    assert said.exit == 7 and said.body["step"] == "3 path to the root"
    proof.write_text(proof.read_text("utf-8").replace("index 0", "index 00"), "utf-8")
    said = dujiang("verify", str(proof), "--vkey", made["key"], "--json", ok=False)
    assert said.exit == 7 and said.body["step"] == "1 form of the proof"


def test_records_of_another_system_get_a_receipt_each_a_line_of_a_file(
    dujiang: Shell, made: dict[str, str], tmp_path: Path
) -> None:
    sent, kept = tmp_path / "sent.jsonl", tmp_path / "kept.jsonl"
    sent.write_text('{"m": 1}\n\n"two"\n[3]\n', "utf-8")
    said = dujiang.json("ledger", "attest", str(sent), "--out", str(kept))
    assert said["count"] == 3
    found = dujiang.json("verify", str(kept), "--vkey", made["key"])
    assert (found["trusted"], found["receipts"], found["last"]) == (True, 3, said["first"] + 2)
    lines = kept.read_text("utf-8").splitlines()
    kept.write_text("\n".join([lines[0], lines[1].replace("two", "too"), lines[2]]), "utf-8")
    refused = dujiang("verify", str(kept), "--vkey", made["key"], "--json", ok=False)
    assert refused.exit == 7 and refused.body["step"] == "2 opened facts (line 2)"
    kept.write_text("", "utf-8")
    assert dujiang("verify", str(kept), "--json", ok=False).body["code"] == "not_a_receipt"


def test_who_pinned_an_earlier_key_is_led_to_the_one_that_signs_and_not_past_a_theft(
    dujiang: Shell, made: dict[str, str], tmp_path: Path
) -> None:
    """Last: it changes the log's keys."""
    first = Path(made["key"]).read_text("utf-8").strip()
    old = Path(made["folder"]) / "kept"
    new = dujiang.json("ledger", "rotate", "--overlap-days", "1")["new"]
    dujiang.json("ledger", "tiles", made["log"])
    both = dujiang.json("verify", made["log"], "--vkey", first, "--old", str(old))
    assert both["trusted"] and both["ok"] and dujiang.json("verify", made["log"], "--vkey", new)["ok"]
    before = tmp_path / "before"
    dujiang.json("ledger", "tiles", str(before))
    stolen = dujiang.json("ledger", "disown", new, "--size", str(both["size"] - 1))
    dujiang.json("ledger", "tiles", made["log"])
    shutil.copy(Path(made["log"]) / "keys", before / "keys")
    beyond = dujiang("verify", str(before), "--vkey", new, "--json", ok=False).body["step"]
    assert beyond == f"2 key disowned beyond {both['size'] - 1} entries"
    assert dujiang.json("verify", str(before), "--vkey", first)["ok"], "the key beside it was not stolen"
    assert dujiang("verify", made["log"], "--vkey", first, "--json", ok=False).body["step"].startswith("2 ")
    pins = ["--vkey", first, "--vkey", stolen["new"], "--old", str(old)]
    assert dujiang.json("verify", made["log"], *pins)["ok"]
    keys = str(Path(made["log"]) / "keys")
    receipt = tmp_path / "r.json"
    dujiang.json("receipt", "0", "--out", str(receipt))
    assert dujiang.json("verify", str(receipt), "--vkey", first, "--keys", keys)["trusted"]
    proof = str(receipt.with_suffix(".tlog-proof"))
    assert dujiang.json("verify", proof, "--vkey", first, "--keys", keys)["ok"]
    assert (
        dujiang("verify", proof, "--vkey", first, "--keys", proof, "--json", ok=False).body["code"]
        == "argument_wrong"
    )
