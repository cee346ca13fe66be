"""What every vault holds to, and where the master key lies."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from dujiang.kernel.errors import Unavailable
from dujiang.kernel.plugs import Vault
from dujiang.plugs import vault
from dujiang.plugs.vault import SealedVault


class VaultContract(ABC):
    """The obligations of the Vault plug."""

    @abstractmethod
    def vault(self, seed: int = 1) -> Vault:
        """A vault under the seed's master key."""

    @given(st.binary(max_size=100), st.text(max_size=10))
    def test_what_is_sealed_opens_for_its_purpose_alone(self, secret: bytes, purpose: str) -> None:
        sealed = self.vault().seal(secret, purpose)
        assert self.vault().open(sealed, purpose) == secret
        for other, why in ((self.vault(), purpose + "x"), (self.vault(2), purpose)):
            with pytest.raises(Unavailable) as failed:
                other.open(sealed, why)
            assert failed.value.code.name == "key_unreadable"

    @given(st.data())
    def test_a_changed_or_cut_secret_does_not_open(self, data: st.DataObject) -> None:
        sealed = self.vault().seal(b"a secret", "p")
        place = data.draw(st.integers(0, len(sealed) - 1))
        flipped = bytes([sealed[place] ^ data.draw(st.integers(1, 255))])
        for wrong in (sealed[:place] + flipped + sealed[place + 1 :], sealed[:place], sealed + b"x"):
            with pytest.raises(Unavailable):
                self.vault().open(wrong, "p")

    def test_equal_secrets_are_sealed_differently_and_do_not_show(self) -> None:
        one, other = (self.vault().seal(b"a secret of some length", "p") for _ in range(2))
        assert one != other and b"secret" not in one

    def test_it_signs_with_a_sealed_key(self) -> None:
        private = Ed25519PrivateKey.generate()
        made = self.vault()
        sealed = made.seal(private.private_bytes_raw(), "org:1")
        for _ in range(2):
            private.public_key().verify(made.sign(sealed, "org:1", b"message"), b"message")
        with pytest.raises(InvalidSignature):
            private.public_key().verify(made.sign(sealed, "org:1", b"message"), b"other")
        with pytest.raises(Unavailable):
            made.sign(sealed, "org:2", b"message")


class TestSealedVault(VaultContract):
    """AES-256-GCM under a master key in memory."""

    def vault(self, seed: int = 1) -> Vault:
        """A vault under the seed's master key."""
        return SealedVault(bytes([seed]) * 32)

    @pytest.mark.parametrize("length", [0, 16, 31, 33])
    def test_a_master_key_has_32_bytes(self, length: int) -> None:
        with pytest.raises(Unavailable):
            SealedVault(b"x" * length)


def test_a_master_key_is_written_once_beside_the_home_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = vault.make_master(home, {})
    path = vault.key_path(home)
    assert path.parent == home.parent and path.stat().st_mode & 0o777 == 0o600
    assert vault.read_master(home, {}) == made and len(made) == 32
    with pytest.raises(FileExistsError):
        vault.make_master(home, {})


def test_the_environment_comes_before_the_file_and_leaves_none(tmp_path: Path) -> None:
    given_key = {"DUJIANG_MASTER_KEY": base64.b64encode(b"m" * 32).decode()}
    assert (
        vault.make_master(tmp_path / "home", given_key)
        == b"m" * 32
        == vault.read_master(tmp_path / "home", given_key)
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "x", "é", base64.b64encode(b"m" * 31).decode(), base64.b64encode(b"m" * 32).decode() + "!"]
)
def test_a_malformed_key_is_unreadable_wherever_it_stands(tmp_path: Path, text: str) -> None:
    vault.key_path(tmp_path / "home").touch(0o600)
    vault.key_path(tmp_path / "home").write_text(text, encoding="utf-8")
    for environment in [{}, *([{"DUJIANG_MASTER_KEY": text}] if text else [])]:
        with pytest.raises(Unavailable) as failed:
            vault.read_master(tmp_path / "home", environment)
        assert failed.value.code.name == "key_unreadable"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_not_used(tmp_path: Path, mode: int) -> None:
    vault.make_master(tmp_path / "home", {})
    vault.key_path(tmp_path / "home").chmod(mode)
    with pytest.raises(Unavailable) as failed:
        vault.read_master(tmp_path / "home", {})
    assert failed.value.code.name == "key_unreadable"
