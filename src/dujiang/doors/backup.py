"""A backup: the whole of a home as it was at one moment, taken while it works, and checked before it is believed.

1. The database is copied as of one moment into a SQLite file, also where it is PostgreSQL; then every file a version
   in that copy stands on, by its registered hash: files never change, and are on the disk before the entry that
   names them.
2. `manifest.json` is written last: a folder without one is no backup. It is sealed under the master key, so that
   what was put together by somebody else is not restored.
3. The master key is not in it, unless asked for, and then under a passphrase; keys of the command line are sealed.
   Rows are as readable in a backup as they are in the home.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cyclopts import Parameter

from dujiang import __version__, home
from dujiang.doors import profiles
from dujiang.doors.local import Answer, Options
from dujiang.doors.verbs import Deed
from dujiang.kernel.errors import Code, Exit, Refused, Unavailable
from dujiang.ledger import note
from dujiang.ledger.book import head_of
from dujiang.plugs import migrations, sqlite, vault
from dujiang.plugs.folder import sync_folder
from dujiang.registry import acts as registry

BACKUP_EXISTS = Code(
    "backup_exists", 409, Exit.conflict,
    "There is something in this place already.", "Name a folder that is empty or not there yet.",
    "该位置已有内容。", "请指定一个空的或尚不存在的目录。",
)  # fmt: skip
BACKUP_INSIDE = Code(
    "backup_inside", 400, Exit.usage,
    "A backup inside its own home would be lost with it.", "Name a folder elsewhere, best on another disk.",
    "备份若放在节点目录内，会随之一同丢失。", "请指定别处的目录，最好在另一磁盘上。",
)  # fmt: skip
BACKUP_BROKEN = Code(
    "backup_broken", 422, Exit.unverified,
    "This is not a whole and unchanged backup: {name}.", "Use another backup; nothing was restored from this one.",
    "这不是完整且未被改动的备份：{name}。", "请改用其他备份；未从中恢复任何内容。",
)  # fmt: skip
FILE_DAMAGED = Code(
    "file_damaged", 500, Exit.failure,
    "A registered file is not what was registered: {name}.", "Restore it from an earlier backup; its hash is known.",
    "某已登记文件与登记时不符：{name}。", "请从较早的备份恢复该文件；其哈希值已知。",
)  # fmt: skip
BACKUP_FAILED = Code(
    "backup_failed", 503, Exit.failure,
    "The backup cannot be written or read there.", "Check the disk, its free space and its permissions.",
    "无法在该处写入或读取备份。", "请检查磁盘、剩余空间与权限。",
)  # fmt: skip
PASSPHRASE_UNFIT = Code(
    "passphrase_unfit", 400, Exit.refused,
    "The passphrase has fewer than 12 characters, or it is not that of this backup.",
    "Give it in DUJIANG_BACKUP_PASSPHRASE.",
    "口令不足 12 个字符，或与该备份不符。", "请用 DUJIANG_BACKUP_PASSPHRASE 提供口令。",
)  # fmt: skip
CODES = (BACKUP_EXISTS, BACKUP_INSIDE, BACKUP_BROKEN, FILE_DAMAGED, BACKUP_FAILED, PASSPHRASE_UNFIT)
PASSPHRASE = "DUJIANG_BACKUP_PASSPHRASE"
KEY_FILE, PROFILES_FILE, DATABASE_FILE = "master.key", "profiles.sealed", "state.sqlite"
LAST = "backup.json"
"""In a home: when it was last backed up, and how long its log was then."""
_PURPOSE, _PROFILES = "backup", "backup profiles"
_PIECE_BYTES = 1 << 20
_PASSPHRASE_CHARACTERS_MIN = 12
_SCRYPT = {"length": 32, "n": 2**17, "r": 8, "p": 1}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself."""

    v: int
    program: str
    schema: str
    authority: str
    mark: str
    made_ms: int
    checkpoint: str
    vkey: str
    files: dict[str, tuple[int, str]]
    """Bytes and SHA-256 of every file, by its path in the backup."""

    @property
    def size(self) -> int:
        """Entries in the log."""
        return note.read_checkpoint(self.checkpoint).size


def backup(folder: Path, *, with_key: Annotated[bool, Parameter(negative=())] = False) -> Deed:
    """Copy this home as it is now, also while a node serves it.

    Parameters
    ----------
    folder
        Where to: a folder that is empty or not there yet, best on another disk.
    with_key
        Keep the master key in it, too, under the passphrase in DUJIANG_BACKUP_PASSPHRASE.
    """

    def deed(options: Options) -> Answer:
        made = make(options.home, folder, os.environ.get(PASSPHRASE, "") if with_key else None)
        return Answer({
            "backup": str(folder), "files": len(made.files), "bytes": sum(size for size, _ in made.files.values()),
            "entries": made.size, "vkey": made.vkey, "with_key": with_key,
        })  # fmt: skip

    return deed


def make(path: Path, target: Path, passphrase: str | None = None) -> Manifest:
    """The manifest of a new backup; when this returns, all of it is on the disk.

    Raises: Refused home_missing, backup_exists, backup_inside, file_damaged, passphrase_unfit; Unavailable.
    """
    authority, mark = home.described(path)
    if not mark:
        home.open_home(path).close()  # a home of a version without marks gets its own
        authority, mark = home.described(path)
    place = home.place_of(path)
    if place.missing:
        raise Refused(home.HOME_BROKEN)
    if passphrase is not None and len(passphrase) < _PASSPHRASE_CHARACTERS_MIN:
        raise Refused(PASSPHRASE_UNFIT)
    if target.resolve().is_relative_to(path.resolve()):
        raise Refused(BACKUP_INSIDE)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Refused(BACKUP_EXISTS)
    safe = vault.SealedVault(master := vault.read_master(path))
    with _written(target):
        place.copy(target / DATABASE_FILE)
        schema = migrations.version_of(target / DATABASE_FILE)
        if schema != migrations.HEAD:
            migrations.upgrade(f"sqlite:///{target / DATABASE_FILE}")
        checkpoint, vkey, held = _log(target / DATABASE_FILE)
        files = {}
        for key, expected in held.items():
            files[f"files/{key}"] = _copied(path / "files" / key, target / "files" / key, key, expected)
        if (path / "config.toml").is_file():
            files["config.toml"] = _put(target / "config.toml", (path / "config.toml").read_bytes())
        known = json.dumps([asdict(each) for each in profiles.read(path)]).encode()
        files[PROFILES_FILE] = _put(target / PROFILES_FILE, safe.seal(known, _PROFILES))
        if passphrase is not None:
            files[KEY_FILE] = _put(target / KEY_FILE, _locked(master, passphrase))
        files[DATABASE_FILE] = _hashed(target / DATABASE_FILE)
        made = Manifest(
            1,
            __version__,
            migrations.HEAD,
            authority,
            mark,
            time.time_ns() // 1_000_000,
            checkpoint,
            vkey,
            files,
        )
        sealed = safe.seal(hashlib.sha256(_canonical(made)).digest(), _PURPOSE)
        said = {**asdict(made), "seal": base64.b64encode(sealed).decode()}
        _put(target / "manifest.json", json.dumps(said, indent=1).encode())
        for each in (each for each in target.rglob("*") if each.is_dir()):
            each.chmod(0o700)
            sync_folder(each)
        for each in (target, target.parent):
            sync_folder(each)
    _noted(path, made)
    return made


def check(folder: Path, safe: vault.SealedVault) -> Manifest:
    """The manifest of a backup that is whole, unchanged and of the holder of this master key.

    Raises: Refused backup_broken; Unavailable key_unreadable.
    """
    made, sealed = read(folder)
    if safe.open(sealed, _PURPOSE) != hashlib.sha256(_canonical(made)).digest():
        raise Refused(BACKUP_BROKEN, name="manifest.json")
    for name, expected in made.files.items():
        place = folder / name
        if not place.resolve().is_relative_to(folder.resolve()) or not place.is_file():
            raise Refused(BACKUP_BROKEN, name=name)
        if _hashed(place) != tuple(expected):
            raise Refused(BACKUP_BROKEN, name=name)
    return made


def read(folder: Path) -> tuple[Manifest, bytes]:
    """What a backup says of itself, and the seal over it; nothing is checked yet.

    Raises: Refused backup_broken.
    """
    try:
        said: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
        sealed = base64.b64decode(said.pop("seal"))
        made = msgspec.convert(said, Manifest)
        note.read_checkpoint(made.checkpoint)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        msgspec.ValidationError,
    ):
        raise Refused(BACKUP_BROKEN, name="manifest.json") from None
    # A name may lead back into this folder and yet out of the one it is copied to.
    if any(os.path.isabs(name) or set(name.split("/")) & {"", ".", ".."} for name in made.files):
        raise Refused(BACKUP_BROKEN, name="manifest.json")
    return made, sealed


def master_of(folder: Path, passphrase: str) -> bytes:
    """The master key a backup holds under a passphrase.

    Raises: Refused passphrase_unfit, backup_broken.
    """
    try:
        raw = base64.b64decode((folder / KEY_FILE).read_bytes())
        key = Scrypt(salt=raw[:16], **_SCRYPT).derive(passphrase.encode())
        return AESGCM(key).decrypt(raw[16:28], raw[28:], KEY_FILE.encode())
    except (OSError, ValueError):
        raise Refused(BACKUP_BROKEN, name=KEY_FILE) from None
    except InvalidTag:
        raise Refused(PASSPHRASE_UNFIT) from None


def profiles_of(folder: Path, safe: vault.SealedVault) -> list[dict[str, Any]]:
    """The profiles of the command line a backup holds."""
    return json.loads(safe.open((folder / PROFILES_FILE).read_bytes(), _PROFILES))


def _locked(master: bytes, passphrase: str) -> bytes:
    salt, nonce = os.urandom(16), os.urandom(12)
    key = Scrypt(salt=salt, **_SCRYPT).derive(passphrase.encode())
    return base64.b64encode(salt + nonce + AESGCM(key).encrypt(nonce, master, KEY_FILE.encode())) + b"\n"


def _log(database: Path) -> tuple[str, str, dict[str, str]]:
    """The newest checkpoint and key of a copied database, and the files it stands on."""
    copied = sqlite.SqliteDatabase(database)
    try:
        with copied.reading() as db:
            checkpoint, vkey = head_of(db)
            return checkpoint, vkey, registry.files(db)
    finally:
        copied.close()


def _copied(source: Path, target: Path, key: str, expected: str) -> tuple[int, str]:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest, size = hashlib.sha256(), 0
    try:
        with open(source, "rb") as file, open(target, "xb") as copy:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                copy.write(piece)
                size += len(piece)
            copy.flush()
            os.fsync(copy.fileno())
    except FileNotFoundError:
        raise Refused(FILE_DAMAGED, name=key) from None
    os.chmod(target, 0o400)
    if digest.hexdigest() != expected:
        raise Refused(FILE_DAMAGED, name=key)
    return size, expected


def _put(place: Path, raw: bytes) -> tuple[int, str]:
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    return len(raw), hashlib.sha256(raw).hexdigest()


def _hashed(place: Path) -> tuple[int, str]:
    with place.open("rb") as file:
        return place.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _canonical(made: Manifest) -> bytes:
    return json.dumps(asdict(made), sort_keys=True, separators=(",", ":")).encode()


def _noted(path: Path, made: Manifest) -> None:
    try:
        fresh = path / f"{LAST}.new"
        fresh.write_text(json.dumps({"made_ms": made.made_ms, "entries": made.size}), encoding="utf-8")
        os.replace(fresh, path / LAST)
    except OSError:
        raise Unavailable(BACKUP_FAILED) from None


@contextmanager
def _written(target: Path) -> Iterator[None]:
    """A new folder, readable by its owner alone; what was written is removed if the making fails."""
    was_there = target.is_dir()
    try:
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.chmod(0o700)
        yield
    except BaseException as error:
        for made in [*target.iterdir()] if target.is_dir() else []:
            shutil.rmtree(made, ignore_errors=True) if made.is_dir() else made.unlink(missing_ok=True)
        if not was_there:
            shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, OSError):
            raise Unavailable(BACKUP_FAILED) from None
        raise
