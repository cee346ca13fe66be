"""`make test` runs in two processes: neither loses a failure, and both outputs can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import lanes
from tests.house.source import ROOT


def test_every_test_is_in_one_lane() -> None:
    first, (whole, *ignored) = lanes.LANES
    assert whole == "tests"
    assert ignored == [f"--ignore={each}" for each in (*lanes.BY_HAND, *first)]
    assert all((ROOT / each).is_dir() for each in (*lanes.BY_HAND, *first))


def test_the_last_lines_name_what_failed_in_either_lane(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside failed tests: a process that dies, of which pytest itself can say nothing."""
    (tmp_path / "test_a.py").write_text(
        "def test_one():\n    print('FAILED no')\n    assert 0\ndef test_two(): pass\n"
    )
    (tmp_path / "test_b.py").write_text(
        "import os, pytest\n@pytest.fixture\ndef bad(): 1 / 0\ndef test_three(bad): pass\n"
    )
    (tmp_path / "test_c.py").write_text("import os\ndef test_four(): os.kill(os.getpid(), 9)\n")
    (tmp_path / "test_d.py").write_text("def test_five(): pass\n")
    # What pytest is made of is compiled already.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    all_of_them = (
        ("test_a.py",),
        ("test_b.py",),
        ("test_c.py",),
        ("test_d.py",),
        ("test_d.py", "-k", "none"),
    )
    assert lanes.main(tmp_path, all_of_them) == 1
    told = capsys.readouterr().out
    assert "test_a.py F." in told and "test_d.py ." in told and "1 failed, 1 passed" in told
    assert [each.split(" - ")[0] for each in told.splitlines()[-5:]] == [
        "4 failed in all:",
        "FAILED test_a.py::test_one",
        "ERROR test_b.py::test_three",
        "ERROR pytest test_c.py ended with signal 9",
        "ERROR pytest test_d.py -k none ended with status 5",
    ]
    assert lanes.main(tmp_path, (("test_d.py",),)) == 0
