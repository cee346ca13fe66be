"""What every store of files holds to."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from dujiang.kernel.errors import Unavailable
from dujiang.kernel.plugs import Blobs
from dujiang.plugs.folder import Folder


class BlobsContract(ABC):
    """The obligations of the Blobs plug."""

    @abstractmethod
    def blobs(self, folder: Path) -> Blobs:
        """An empty store."""

    def test_a_key_has_one_place_and_a_room_exists(self, tmp_path: Path) -> None:
        blobs = self.blobs(tmp_path)
        assert not blobs.path("tables/a.parquet").exists()
        place = blobs.room("tables/a.parquet")
        place.write_bytes(b"x")
        assert place == blobs.path("tables/a.parquet") and place.read_bytes() == b"x"
        assert blobs.path("tables/b.parquet") != place

    def test_dropping_removes_and_what_is_not_there_stays_so(self, tmp_path: Path) -> None:
        blobs = self.blobs(tmp_path)
        blobs.room("a/b").write_bytes(b"x")
        blobs.drop("a/b")
        blobs.drop("a/b")
        assert not blobs.path("a/b").exists()

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "/",
            "..",
            "../x",
            "a/../x",
            "/etc/passwd",
            "a//b",
            "A/b",
            "a/.b",
            "a/b.",
            "a b",
            "a\n",
            "a/b\x00",
            "机构/a",
            "a/..b",
        ],
    )
    def test_no_key_leads_out_of_the_store(self, tmp_path: Path, key: str) -> None:
        with pytest.raises(ValueError):
            self.blobs(tmp_path).path(key)

    def test_it_says_how_much_is_free(self, tmp_path: Path) -> None:
        assert self.blobs(tmp_path).free_bytes() > 0


class TestFolder(BlobsContract):
    """Files in a local folder."""

    def blobs(self, folder: Path) -> Blobs:
        """An empty store."""
        return Folder(folder)

    def test_folders_are_for_the_owner_alone(self, tmp_path: Path) -> None:
        place = Folder(tmp_path).room("uploads/org_1/upl_1")
        assert place.parent.stat().st_mode & 0o077 == 0

    def test_a_failing_disk_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        broken = Folder(tmp_path / "file")
        for call in (
            lambda: broken.room("a/b"),
            lambda: broken.drop("a/b"),
            lambda: Folder(tmp_path / "missing").free_bytes(),
        ):
            with pytest.raises(Unavailable) as failed:
                call()
            assert failed.value.code.name == "files_failed" and str(tmp_path) not in str(failed.value.names)
        assert os.listdir(tmp_path) == ["file"]
