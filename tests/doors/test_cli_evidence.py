"""Evidence as files: a bundle verifies without this program, in the same bytes each time, and every wound is found."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dujiang import home as homes
from dujiang.ledger import proof
from tests.doors.shell import INSURER, QUESTION, Life, Shell, dujiang, files, home, life

__all__ = ["dujiang", "files", "home", "life"]


def verified(folder: Path, *words: str) -> tuple[int, str]:
    """What the verifier in a bundle says; it is run without our packages."""
    line = [sys.executable, "-I", "-S", str(folder / "verify.py"), *words]
    done = subprocess.run(line, capture_output=True, text=True, cwd="/", env={"PATH": "/usr/bin:/bin"})
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def bundle(life: Life, dujiang: Shell, tmp_path: Path) -> Path:
    """The consumer's bundle of its contract."""
    life.ask(QUESTION)
    place = tmp_path / "bundle"
    said = dujiang.json("ledger", "export", "--contract", life.contract, "--out", str(place), "--as", INSURER)
    assert said["entries"] >= 7 and said["file"] == str(place)
    return place


def test_a_bundle_verifies_without_this_program(bundle: Path, dujiang: Shell) -> None:
    (key,) = (bundle / "vkeys").read_text().split()
    status, said = verified(bundle, "--vkey", key)
    count = len(list(bundle.glob("entries/*/*.json")))
    assert (status, said.split()[:3]) == (0, ["OK:", str(count), "entries"]), said
    sums = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=bundle, capture_output=True)
    assert sums.returncode == 0
    for receipt in bundle.glob("entries/*/*.json"):
        assert dujiang.json("verify", str(receipt), "--vkey", key)["trusted"]
        text, entry = (receipt.with_suffix(end).read_bytes() for end in (".tlog-proof", ".entry"))
        assert proof.of_receipt(json.loads(receipt.read_text())) == (text.decode(), entry)
    readme = (bundle / "README.md").read_text()
    assert key in readme and "验证" in readme and str(count) in readme


def test_a_bundle_says_no_more_than_its_reader_may_see(
    bundle: Path, life: Life, dujiang: Shell, tmp_path: Path
) -> None:
    told = [json.loads(path.read_text()) for path in bundle.glob("entries/*/*.json")]
    own = [receipt for receipt in told if "person" in receipt["opened"]]
    assert own and len(own) < len(told)
    whole = tmp_path / "period"
    dujiang("ledger", "export", "--since", "2020-01-01", "--out", str(whole), "--as", INSURER)
    every = tmp_path / "every"
    dujiang("ledger", "export", "--since", "2020-01-01", "--out", str(every))
    assert verified(whole)[0] == verified(every)[0] == 0
    names = [{path.name for path in place.glob("entries/*/*.json")} for place in (bundle, whole, every)]
    assert names[0] < names[1] < names[2]
    later = dujiang.json("ledger", "export", "--since", "2090-01-01", "--out", str(tmp_path / "none"))
    assert later["entries"] == 0 and verified(tmp_path / "none")[0] == 0
    other = dujiang.json("ledger", "export", "--contract", "ctr_none", "--out", str(tmp_path / "x"), ok=False)
    assert other["code"] == "not_found" and not (tmp_path / "x").exists()
    again = dujiang.json("ledger", "export", "--since", "2020-01-01", "--out", str(whole), ok=False)
    assert again["code"] == "dossier_exists"


def test_the_same_entries_give_the_same_bytes(
    bundle: Path, life: Life, dujiang: Shell, tmp_path: Path
) -> None:
    packed = [tmp_path / name for name in ("one.zip", "two.zip")]
    for place in packed:
        dujiang("ledger", "export", "--contract", life.contract, "--out", str(place), "--as", INSURER)
    assert packed[0].read_bytes() == packed[1].read_bytes()
    with zipfile.ZipFile(packed[0]) as files:
        for name in files.namelist():
            assert files.read(name) == (bundle / name).read_bytes()
        assert len(files.namelist()) == sum(1 for each in bundle.rglob("*") if each.is_file())


def _in_receipt(change: Callable[[dict[str, object]], None]) -> Callable[[Path], None]:
    def wound(folder: Path) -> None:
        place = sorted(folder.glob("entries/*/*.json"))[-1]
        receipt = json.loads(place.read_text())
        change(receipt)
        place.write_text(json.dumps(receipt))

    return wound


def _flip(name: str, line: int) -> Callable[[Path], None]:
    def wound(folder: Path) -> None:
        lines = (folder / name).read_text().split("\n")
        head, _, last = lines[line].rpartition(" ")
        raw = bytearray(base64.b64decode(last))
        raw[-1] ^= 1
        lines[line] = f"{head} {base64.b64encode(raw).decode()}".strip()
        (folder / name).write_text("\n".join(lines))

    return wound


WOUNDS: dict[str, Callable[[Path], None]] = {
    "a fact": _in_receipt(lambda each: each["opened"]["org"].update(value="org_other")),  # type: ignore[index]
    "a salt": _in_receipt(lambda each: each["opened"]["org"].update(salt="00" * 16)),  # type: ignore[index]
    "a fact that was not committed to": _in_receipt(lambda each: each["opened"].update(more=each["opened"]["org"])),  # type: ignore[attr-defined]
    "the entry": _in_receipt(lambda each: each.update(leaf=str(each["leaf"]).replace('"time_ms":1', '"time_ms":2'))),
    "the index": _in_receipt(lambda each: each.update(index=0)),
    "the path": _in_receipt(lambda each: each.update(path=each["path"][:-1])),  # type: ignore[index]
    "the root": _flip("checkpoint", 2),
    "the signature": _flip("checkpoint", 4),
    "the first head": _flip("checkpoint.first", 2),
    "the growth": _flip("consistency", 0),
}  # fmt: skip


@pytest.mark.parametrize("what", WOUNDS)
def test_every_wound_is_found(bundle: Path, tmp_path: Path, what: str) -> None:
    wounded = tmp_path / "wounded"
    shutil.copytree(bundle, wounded)
    WOUNDS[what](wounded)
    status, said = verified(wounded)
    assert status == 1 and "FAILED" in said, said


def test_a_bundle_of_a_contract_holds_the_receipts_kept_of_the_other_side(
    bundle: Path, life: Life, dujiang: Shell
) -> None:
    found = sorted(bundle.glob("kept/*.json"))
    told = [json.loads(path.read_text())["opened"] for path in found]
    assert [each["state"]["value"] for each in told] == ["AGREED", "FINALIZED"]
    assert {each["contract"]["value"] for each in told} == {life.contract}
    assert all("person" not in each for each in told)
    key = (bundle / "vkeys").read_text().split()[0]
    assert all(dujiang.json("verify", str(path), "--vkey", key)["trusted"] for path in found)
    shutil.rmtree(bundle / "entries")  # they prove without anything else
    status, said = verified(bundle, "--vkey", key)
    assert status == 0 and "OK: 2 receipts kept of the other side" in said, said


def _changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def wound(folder: Path) -> None:
        place = sorted(folder.glob("kept/*.json"))[0]
        receipt = json.loads(place.read_text())
        change(receipt)
        place.write_text(json.dumps(receipt))

    return wound


def _rewritten(folder: Path) -> None:
    """A true receipt of what the log of that name said of an entry of the bundle before it was written anew."""
    indexes = [int(path.stem) for path in sorted(folder.glob("entries/*/*.json"))]
    origin = (folder / "checkpoint").read_text().split("\n")[0]
    organisations = [(f"org {number}", ("operator",)) for number in range(indexes[0] + 2)]
    before, _ = homes.create(folder.parent / "before", organisations, origin)
    try:
        receipt, key = before.book.receipt(indexes[0]), before.book.vkey
    finally:
        before.close()
    (folder / "kept" / "before.json").write_text(json.dumps(receipt))
    with (folder / "vkeys").open("a") as keys:
        keys.write(f"{key}\n")


KEPT_WOUNDS: dict[str, Callable[[Path], None]] = {
    "a fact": _changed(lambda each: each["opened"]["state"].update(value="VERIFIED")),
    "the path": _changed(lambda each: each.update(path=each["path"][1:])),
    "the head": _changed(lambda each: each.update(checkpoint=each["checkpoint"].replace("\n", "\n1", 1))),
    "no signature": _changed(
        lambda each: each.update(checkpoint=each["checkpoint"].split("\n\n")[0] + "\n\n")
    ),
    "the key": _changed(lambda each: each.update(vkey="other+00000000+AQ==")),
    "what the log says now": _rewritten,
}


@pytest.mark.parametrize("what", KEPT_WOUNDS)
def test_every_wound_of_a_kept_receipt_is_found(bundle: Path, tmp_path: Path, what: str) -> None:
    wounded = tmp_path / "wounded"
    shutil.copytree(bundle, wounded)
    KEPT_WOUNDS[what](wounded)
    status, said = verified(wounded)
    assert status == 1 and "FAILED" in said and ("rewritten" in said) == (KEPT_WOUNDS[what] is _rewritten), (
        said
    )


def test_a_key_that_is_not_the_one_expected_is_refused(bundle: Path) -> None:
    status, said = verified(bundle, "--vkey", "other+00000000+AAAA")
    assert status == 1 and "FAILED" in said


@pytest.mark.parametrize(("language", "level"), [("en", 160), ("zh", 170)])
def test_a_life_is_told_as_a_story_and_its_receipts_are_kept(
    life: Life, dujiang: Shell, tmp_path: Path, language: str, level: int
) -> None:
    job = life.ask(QUESTION.replace(" group by", f" where 身高 > {level} group by"))["job"]
    told = dujiang("replay", job, "--out", str(tmp_path / "kept"), "--as", INSURER, "--lang", language).out
    asked, completed = ("提问", "完成计算") if language == "zh" else ("Ask a question", "Complete a question")
    assert told.index(asked) < told.index(completed) and told.count(job) == 3
    kept = sorted((tmp_path / "kept").glob("*.json"))
    assert len(kept) == 2
    for place in kept:
        assert dujiang.json("verify", str(place))["ok"]
    whole = dujiang.json("replay", job, "--as", INSURER)
    assert [step["act"] for step in whole["steps"]] == ["cleanroom.ask", "cleanroom.complete"]
    assert dujiang.json("replay", "job_none", ok=False)["code"] == "not_found"


def test_the_log_is_searched_on_the_command_line(life: Life, dujiang: Shell) -> None:
    life.ask(QUESTION)
    found = dujiang.json("ledger", "search", life.contract, "--act", "cleanroom.ask", "--as", INSURER)[
        "items"
    ]
    assert found and {each["act"] for each in found} == {"cleanroom.ask"}
    assert "Ask a question" in dujiang("ledger", "search", "--contract", life.contract).out
