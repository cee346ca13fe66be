"""A home whose master key is lost goes on: what was sealed is lost, what was written is not.

1. Nothing of the log is lost: entries, their facts and salts, tiles and checkpoints are sealed under no key.
2. A new master key is made beside the home, or taken from the environment, and the log goes on under a new name.
3. Its first entry names the last checkpoint of the old name; then every organisation gets a new signing key.
4. Cut short at any place, it is run again and goes on there.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

from dujiang import home
from dujiang.doors.backup import BACKUP_BROKEN
from dujiang.doors.local import Answer, Options
from dujiang.doors.restore import mark_beside, named
from dujiang.doors.verbs import Deed
from dujiang.identity import acts as identity
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Code, Exit, Refused, Unavailable
from dujiang.ledger import book, fsck, note
from dujiang.plugs import folder, migrations, vault

KEY_FITS = Code(
    "key_fits", 409, Exit.conflict,
    "The master key opens the keys of this home: nothing is lost.",
    "Give the log a new key with `dujiang ledger rotate`; disown a stolen one with `dujiang ledger disown`.",
    "主密钥可以打开本节点的密钥：没有任何丢失。",
    "请用 `dujiang ledger rotate` 轮换日志密钥；被盗的密钥请用 `dujiang ledger disown` 弃用。",
)  # fmt: skip
CODES = (KEY_FITS,)


def renew() -> Deed:
    """Go on after the master key of this home was lost, under a new log name and with new keys."""

    def deed(options: Options) -> Answer:
        path = options.home
        authority, mark = home.described(path)
        with home.locked(path):
            safe = vault.SealedVault(_master(path))
            before = _renewed(path, authority, mark, safe)
        return _begun(path, before)

    return deed


def _renewed(path: Path, authority: str, mark: str, safe: vault.SealedVault) -> note.Checkpoint | None:
    """The checkpoint the old name ends with, where the new one has no entry yet."""
    place = home.place_of(path)
    if place.missing:
        raise Refused(home.HOME_BROKEN)
    with closing(place.opened()) as database:
        writing = database.writing()
        if place.version() != migrations.HEAD:
            raise Refused(home.HOME_NEWER)
        with database.reading() as db:
            if wrong := fsck.whole(db):
                raise Refused(BACKUP_BROKEN, name=f"log, {wrong}")
            signed, fits = book.head_of(db)[0], book.opens(db, safe)
            ended = book.unsigned(db)
            if fits and not ended and not identity.lost(db, safe):
                raise Refused(KEY_FITS)
        if not fits:
            book.renew(writing.begin(), safe, authority)
            writing.commit()
    mark_beside(path, mark, signed)
    return note.read_checkpoint(signed) if ended or not fits else None


def _begun(path: Path, before: note.Checkpoint | None) -> Answer:
    with home.opened(path) as held:
        with held.node.database.reading() as db:
            lost = tuple(each.id for each in identity.lost(db, held.node.vault))
        receipts: dict[str, Any] = {}
        if before is not None:
            receipts["receipt"] = named(held, before, lost_key=True)
        if lost:
            receipts["keys_receipt"] = held.run("identity.rotate", NODE, identity.Rotate(lost)).receipt
        body: dict[str, Any] = {
            "home": str(path), "entries": note.read_checkpoint(held.book.head).size, "origin": held.book.origin,
            "vkey": held.book.vkey, "organisations": len(lost),
        }  # fmt: skip
    return Answer({**body, **receipts}, human=body)


def _master(path: Path) -> bytes:
    """The master key from now on: the one that is there, or a new one; one that is there is never written over."""
    if vault.key_path(path).exists() or os.environ.get("DUJIANG_MASTER_KEY"):
        return vault.read_master(path)
    try:
        made = vault.make_master(path)
        folder.sync_folder(vault.key_path(path).parent)
    except OSError:
        raise Unavailable(folder.FILES_FAILED) from None
    return made
