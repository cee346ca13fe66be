"""A home put back from a backup, or going on after an older copy was put back by hand.

1. Everything is checked before anything is written: the seal, every hash, every record, tile and signature.
2. The file beside the home says how far its log has come. Where the copy is behind it, going on would sign a
   second history of the same log: refused. `--new-log` goes on under a new log name and key, and says so in an
   entry; receipts of the old name verify as ever, also those of entries that are lost.
3. A copy may be put back into a file or into an empty PostgreSQL database, whichever it was taken of.
4. Where nothing says how far the log has come (another machine), a person must: `--same-log` if no other copy
   of the home will ever run again, else `--new-log`.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from dujiang import home
from dujiang.doors import backup, profiles
from dujiang.doors.local import Answer, Options
from dujiang.doors.verbs import Deed
from dujiang.identity import acts as identity
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.kernel.plugs import Database
from dujiang.ledger import book, fsck, note
from dujiang.ledger.acts import Restore
from dujiang.plugs import databases, highwater, migrations, vault
from dujiang.plugs.folder import sync_file, sync_folder

_Flag = Annotated[bool, Parameter(negative=())]


@dataclass(frozen=True, slots=True)
class _Wish:
    same_log: bool
    new_log: bool


def restore(
    folder: Path | None = None, *, same_log: _Flag = False, new_log: _Flag = False, database: str = ""
) -> Deed:
    """Put a home back from a backup; without one, let this home go on after an older copy was put back.

    Parameters
    ----------
    folder
        The backup.
    same_log
        Go on with the same log: no other copy of this home will ever run again.
    new_log
        Go on under a new log name and key; receipts of the old one verify as before.
    database
        Put the state into this empty PostgreSQL database, instead of a file in the home.
    """

    def deed(options: Options) -> Answer:
        wish = _Wish(same_log, new_log)
        path = options.home.resolve()  # a home is put where a link leads to, not in the link's place
        if folder is None:
            return _begun(path, _in_place(path, wish))
        place = databases.at(path, database)
        place.claim()
        before = _from_backup(folder, place, wish)
        return _begun(path, before)

    return deed


def _from_backup(folder: Path, place: databases.Place, wish: _Wish) -> note.Checkpoint | None:
    """The checkpoint the old log ends with if a new one begins, else None; the home stands at its place then."""
    path = place.folder
    said, _ = backup.read(folder)
    beside = highwater.read(highwater.path_of(path))
    if beside is not None and beside.home != said.mark:
        raise Refused(home.HOME_EXISTS)  # of another home, whose log nothing else guards
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise Refused(home.HOME_EXISTS)
    master, kept = _master(folder, path)
    safe = vault.SealedVault(master)
    made = backup.check(folder, safe)
    if not migrations.known(said.schema):
        raise Refused(home.HOME_NEWER)
    staged, loaded = path.with_name(f".{path.name}.restoring"), False
    shutil.rmtree(staged, ignore_errors=True)
    try:
        _copy(folder, staged, made, safe)
        with closing(databases.Place(staged).opened()) as copied:
            before = _settled(copied, path, made.authority, made.mark, safe, wish)
        if place.url:
            place.load(staged / backup.DATABASE_FILE)
            loaded = True
            (staged / backup.DATABASE_FILE).unlink()
            home.describe(staged, made.authority, made.mark, place.url)
        if not kept:
            vault.keep_master(path, master)
        if path.exists():
            path.rmdir()
        os.rename(staged, path)
        sync_folder(path.parent)
        loaded = False
        return before
    except OSError:
        raise Unavailable(backup.BACKUP_FAILED) from None
    finally:
        if loaded:
            place.clear()
        shutil.rmtree(staged, ignore_errors=True)


def _in_place(path: Path, wish: _Wish) -> note.Checkpoint | None:
    authority, mark = home.described(path)
    with home.locked(path):
        safe, place = vault.SealedVault(vault.read_master(path)), home.place_of(path)
        if place.missing:
            raise Refused(home.HOME_BROKEN)
        with closing(place.opened()) as database:
            database.writing()
            found = place.version()
            if not migrations.known(found):
                raise Refused(home.HOME_NEWER)
            if found != migrations.HEAD:
                place.upgrade()
            return _settled(database, path, authority, mark, safe, wish)


def _settled(
    database: Database, path: Path, authority: str, mark: str, safe: vault.SealedVault, wish: _Wish
) -> note.Checkpoint | None:
    """Lets the log of a copy go on as it may, and says so beside the home at `path`."""
    with database.reading() as db:
        if wrong := fsck.whole(db):
            raise Refused(backup.BACKUP_BROKEN, name=f"log, {wrong}")
        signed, _ = book.head_of(db)
        beside = highwater.read(highwater.path_of(path))
        known = beside is not None and beside.home == mark
        stands = known and book.stands_on(db, beside.note if beside else "")
    if not wish.new_log:
        if known and not stands:
            raise Refused(home.LOG_WOULD_FORK)
        if not known and not wish.same_log:
            raise Refused(home.LOG_END_UNKNOWN)
    else:
        writing = database.writing()
        book.renew(writing.begin(), safe, authority)
        writing.commit()
    mark_beside(path, mark, signed)
    return note.read_checkpoint(signed) if wish.new_log else None


def _begun(path: Path, before: note.Checkpoint | None) -> Answer:
    """What the home says once it has been opened; a new log begins with an entry that names the old one."""
    with home.opened(path) as held:
        receipt = None
        if before is not None:
            receipt = named(held, before)
        head = note.read_checkpoint(held.book.head)
        body: dict[str, Any] = {
            "home": str(path), "entries": head.size, "log": "same" if before is None else "new",
            "origin": held.book.origin, "vkey": held.book.vkey,
        }  # fmt: skip
    return Answer(body if receipt is None else {**body, "receipt": receipt}, human=body)


def mark_beside(path: Path, mark: str, signed: str) -> None:
    """Says beside the home at `path` that its log goes on from this checkpoint."""
    place = highwater.path_of(path)
    before = highwater.read(place)
    highwater.write(place, highwater.Mark(mark, signed, before.turn + 1 if before else 0))


def named(held: home.Home, before: note.Checkpoint, *, lost_key: bool = False) -> Any:
    """The receipt of the entry with which a new log names the old one, for every organisation of the home."""
    with held.node.database.reading() as db:
        known = tuple(each.id for each in identity.organisations(db, 2**31))
    ask = Restore(before.origin, before.size, before.root.hex(), known, lost_key)
    return held.run("ledger.restore", NODE, ask).receipt


def _copy(folder: Path, staged: Path, made: backup.Manifest, safe: vault.SealedVault) -> None:
    staged.mkdir(parents=True, mode=0o700)
    for part in ("files", "profiles"):
        (staged / part).mkdir(mode=0o700)
    for name in made.files:
        if name in (backup.KEY_FILE, backup.PROFILES_FILE):
            continue
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, staged / name)
        os.chmod(staged / name, 0o444 if name.startswith("files/") else 0o600)
        sync_file(staged / name)
    migrations.upgrade(f"sqlite:///{staged / backup.DATABASE_FILE}")
    if known := backup.profiles_of(folder, safe):
        profiles.write(staged, known)
    home.describe(staged, made.authority, made.mark)
    for place in (each for each in staged.rglob("*") if each.is_dir()):
        place.chmod(0o700)
        sync_folder(place)
    (staged / backup.LAST).write_text(json.dumps({"made_ms": made.made_ms, "entries": made.size}), "utf-8")


def _master(folder: Path, path: Path) -> tuple[bytes, bool]:
    """The master key, and whether it lies beside the home or in the environment already."""
    if vault.key_path(path).exists() or os.environ.get("DUJIANG_MASTER_KEY"):
        return vault.read_master(path), True
    if not (folder / backup.KEY_FILE).is_file():
        raise Unavailable(vault.KEY_UNREADABLE)
    return backup.master_of(folder, os.environ.get(backup.PASSPHRASE, "")), False
