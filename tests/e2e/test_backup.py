"""A backup of a node at work: it is of one moment, holds everything acknowledged before it began, and comes back."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from tests.e2e import log
from tests.e2e.node import HOSPITAL, Node, cli, make, said

ROWS = b"id,n\n" + b"".join(b"p%d,%d\n" % (n, n % 7) for n in range(300))


def test_a_backup_of_a_node_at_work_is_a_whole_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = make(home)
    key, vkey = made["organisations"][0]["api_key"], made["vkey"]
    heard: list[int] = []
    ending = threading.Event()
    with Node(home) as node:

        def grants() -> None:
            while not ending.is_set():
                heard.append(node.said("identity.grant", {"roles": ["provider"]}, key)["receipt"]["index"])

        callers = [threading.Thread(target=grants, daemon=True) for _ in range(4)]
        upload = node.upload("t.csv", ROWS, key).json()["upload"]
        node.said("catalogue.offer", {"upload": upload, "entity": "id"}, key)
        for caller in callers:
            caller.start()
        backups = []
        for number in range(3):
            known = set(heard)
            folder = tmp_path / f"backup{number}"
            backups.append((folder, known, said(home, "backup", str(folder))["entries"]))
        ending.set()
        for caller in callers:
            caller.join()
        node.kill()
    for place, (folder, known, entries) in enumerate(backups):
        assert all(index < entries for index in known)
        with log.snapshot(folder) as db:
            assert len(log.verify(db, vkey)) == entries
            log.balance(db)
        other = tmp_path / f"other{place}"
        shutil.copy(tmp_path / "home.key", tmp_path / f"other{place}.key")
        assert cli(other, "restore", str(folder), "--json").exit == 5
        back = said(other, "restore", str(folder), "--same-log")
        assert back["entries"] == entries and back["vkey"] == vkey
        assert said(other, "identity", "invite", "王五", "--roles", "provider", "--as", HOSPITAL)["person"]
    # The home itself goes on after its kill; a backup of it does not go on in its place.
    assert said(home, "identity", "invite", "赵六", "--roles", "provider", "--as", HOSPITAL)["person"]
    shutil.rmtree(home)
    assert said(home, "restore", str(backups[0][0]), exit=5)["code"] == "log_would_fork"
    begun = said(home, "restore", str(backups[0][0]), "--new-log")
    assert begun["log"] == "new" and begun["receipt"]["index"] == backups[0][2]
    saved = tmp_path / "receipt.json"
    saved.write_text(cli(home, "receipt", str(backups[0][2]), "--as", HOSPITAL, "--json").out)
    assert said(home, "verify", str(saved), "--vkey", begun["vkey"])["trusted"]
