"""Secrets sealed under the master key: AES-256-GCM, the purpose bound as associated data.

The master key is 32 bytes in a 0600 file beside the home, or in DUJIANG_MASTER_KEY (base64). It
protects a stolen copy of the home (a backup, a disk without the file beside it); it does not protect
against somebody who can read this process's memory or both files.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dujiang.kernel.errors import Code, Exit, Unavailable

KEY_UNREADABLE = Code(
    "key_unreadable", 503, Exit.failure,
    "The master key of this home is missing or does not fit.",
    "Put the key file back beside the home (0600) or set DUJIANG_MASTER_KEY.",
    "本节点的主密钥缺失或不匹配。", "请将密钥文件放回节点目录旁（权限 0600），或设置 DUJIANG_MASTER_KEY。",
)  # fmt: skip
CODES = (KEY_UNREADABLE,)


class SealedVault:
    """A vault with its master key in memory."""

    def __init__(self, master: bytes) -> None:
        if len(master) != 32:
            raise Unavailable(KEY_UNREADABLE)
        self._box = AESGCM(master)
        self._signer = lru_cache(maxsize=4096)(self._load)

    def seal(self, secret: bytes, purpose: str) -> bytes:
        """12 bytes of nonce and the ciphertext."""
        nonce = os.urandom(12)
        return nonce + self._box.encrypt(nonce, secret, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """The secret back; Unavailable(key_unreadable) if anything was changed."""
        try:
            return self._box.decrypt(sealed[:12], sealed[12:], purpose.encode())
        except (InvalidTag, ValueError):
            raise Unavailable(KEY_UNREADABLE) from None

    def sign(self, sealed: bytes, purpose: str, message: bytes) -> bytes:
        """An Ed25519 signature; the opened key is kept in memory."""
        return self._signer(sealed, purpose).sign(message)

    def _load(self, sealed: bytes, purpose: str) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.open(sealed, purpose))


def key_path(home: Path) -> Path:
    """Where the master key of a home lies: beside it, so that a copy of the home lacks it.

    Of a home that is reached through a link it may lie beside the link, as it always did before.
    """
    real = home.resolve()
    place, named = real.parent / f"{real.name}.key", home.parent / f"{home.name}.key"
    return named if named.exists() and not place.exists() else place


def make_master(home: Path, environment: Mapping[str, str] = os.environ) -> bytes:
    """A new master key, written beside the home unless the environment gives one."""
    if given := environment.get("DUJIANG_MASTER_KEY"):
        return _decode(given)
    master = os.urandom(32)
    keep_master(home, master)
    return master


def keep_master(home: Path, master: bytes) -> None:
    """Writes the master key beside the home, durably, where there is none yet.

    Raises: OSError.
    """
    path = key_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(base64.b64encode(master) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_master(home: Path, environment: Mapping[str, str] = os.environ) -> bytes:
    """The master key of a home.

    Raises: Unavailable key_unreadable when it is missing, malformed or readable by others.
    """
    if given := environment.get("DUJIANG_MASTER_KEY"):
        return _decode(given)
    path = key_path(home)
    try:
        if path.stat().st_mode & 0o077:
            raise Unavailable(KEY_UNREADABLE)
        return _decode(path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError):
        raise Unavailable(KEY_UNREADABLE) from None


def _decode(text: str) -> bytes:
    try:
        master = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Unavailable(KEY_UNREADABLE) from None
    if len(master) != 32:
        raise Unavailable(KEY_UNREADABLE)
    return master
