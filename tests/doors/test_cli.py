"""The command line from outside: lines in, JSON and exit statuses out, one home."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dujiang.acts import ACTS
from dujiang.doors import loops
from dujiang.kernel.errors import Exit
from tests.doors.shell import HOSPITAL, INSURER, Shell, dujiang, home, process
from tests.house.source import SRC

__all__ = ["dujiang", "home"]  # fixtures

HEAVY = (
    "sqlalchemy",
    "fastapi",
    "duckdb",
    "httpx2",
    "uvicorn",
    "sqlglot",
    "dujiang.home",
    "dujiang.identity.acts",
)


@pytest.mark.parametrize("line", [["--help"], ["verify", "--help"], ["acts", "--json"]], ids=" ".join)
def test_what_needs_no_home_loads_nothing_heavy(line: list[str]) -> None:
    """Start-up is the sum of what is imported: help reads the table of acts and nothing behind it."""
    code = (
        "import sys\nfrom dujiang.doors.cli import main\n"
        f"try: main({line!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
    )
    assert done.stderr.strip() == "[]"
    assert done.stdout


def test_help_lists_every_short_verb_in_both_languages(dujiang: Shell) -> None:
    verbs = [act.verb for act in ACTS.values() if act.verb]
    for language in ("en", "zh"):
        text = dujiang("--help", "--lang", language).out
        assert all(f" {verb} " in text for verb in [*verbs, "init", "up", "demo", "verify", "doctor"])
    assert "登记" in text


PAGED = {"ledger.replay": {"after", "limit"}, "ledger.export": {"after", "size", "limit"}}
"""What these commands say themselves: they write all pages to files."""


@pytest.mark.parametrize(
    "act", [act for act in ACTS.values() if act.roles != ("node",)], ids=lambda act: act.name
)
def test_every_act_is_a_command_with_every_field_of_its_ask(dujiang: Shell, act: Any) -> None:
    from dataclasses import fields

    from dujiang.kernel.act import bind

    text = dujiang(*act.name.split("."), "--help").out.replace("\n", "")
    for member in fields(bind(act).ask):
        if act.name in PAGED and member.name in PAGED[act.name]:
            continue
        assert f"--{member.name.replace('_', '-')}" in text or member.name.upper() in text


def test_acts_of_the_node_itself_are_no_commands(dujiang: Shell) -> None:
    hidden = [act for act in ACTS.values() if act.roles == ("node",)]
    assert hidden
    for act in hidden:
        assert dujiang(*act.name.split("."), ok=False).exit == Exit.usage


def test_init_makes_organisations_with_private_profiles(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(tmp_path / "new", capfd)
    made = shell.json("init", "甲", "乙=consumer,auditor", "--authority", "Data.Example.org")
    first, second = made["organisations"]
    assert [set(each) >= {"name", "did", "roles", "api_key"} for each in (first, second)] == [True, True]
    assert set(first["roles"]) == {"operator", "provider", "consumer"}
    assert set(second["roles"]) == {"consumer", "auditor"}
    assert first["did"].startswith("did:web:data.example.org:")
    files = list((tmp_path / "new" / "profiles").iterdir())
    assert len(files) == 2 and all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    again = shell.json("init", "丙", ok=False)
    assert again["code"] == "home_exists"


def test_a_person_is_not_shown_the_keys_of_init(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ran = Shell(tmp_path / "new", capfd)("init", "甲")
    assert "djk_" not in ran.out + ran.err


def test_a_failed_init_leaves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shell = Shell(tmp_path / "new", capfd)
    assert shell.json("init", "甲", "甲", ok=False)["code"] == "name_taken"
    assert shell.json("init", ok=False)["code"] == "argument_missing"
    assert list(tmp_path.iterdir()) == []


def test_without_a_home_the_way_out_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ran = Shell(tmp_path / "none", capfd)("history", ok=False)
    assert ran.exit == Exit.not_found and "dujiang init" in ran.err and not ran.out
    assert not (tmp_path / "none").exists()


def test_global_flags_stand_anywhere(dujiang: Shell) -> None:
    lines = (
        ["--json", "--as", INSURER, "identity", "show"],
        ["identity", "--as", INSURER, "show", "--json"],
        ["identity", "show", f"--as={INSURER}", "--json"],
    )
    seen = [dujiang(*line).body for line in lines]
    assert seen[0] == seen[1] == seen[2] and seen[0]["name"] == INSURER


def test_who_acts_is_found_by_name_did_id_or_beginning(dujiang: Shell) -> None:
    card = dujiang.json("identity", "show", "--as", INSURER)
    for wanted in (INSURER, INSURER[:1], card["did"], card["org"]):
        assert dujiang.json("identity", "show", "--as", wanted)["org"] == card["org"]
    assert dujiang.json("identity", "show")["name"] == HOSPITAL
    near = dujiang.json("identity", "show", "--as", "安心保陷", ok=False)
    assert near["code"] == "profile_unknown" and INSURER in near["why"] + near["fix"]
    assert dujiang.json("identity", "show", "--as", "org_", ok=False)["code"] == "profile_ambiguous"


def test_a_key_from_the_environment_wins(dujiang: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    granted = dujiang.json("identity", "grant", "--roles", "consumer", "--as", INSURER)
    monkeypatch.setenv("DUJIANG_KEY", granted["api_key"])
    assert dujiang.json("identity", "show")["name"] == INSURER
    monkeypatch.setenv("DUJIANG_KEY", "djk_wrong")
    assert dujiang.json("identity", "show", ok=False)["code"] == "key_unknown"


WRONG_LINES = {
    "verb": (["ofer"], "no_such_command", "offer"),
    "verb of a package": (["ledger", "shwo"], "no_such_command", "show"),
    "flag": (["history", "--limt", "3"], "no_such_flag", "--limit"),
    "value": (["history", "--limit", "many-4711"], "argument_wrong", "--limit"),
    "missing": (["agree", "--purpose", "x"], "argument_missing", "--product"),
    "missing of several": (["ask"], "argument_missing", "CONTRACTS"),
    "beyond": (["receipt", "1", "2"], "argument_beyond", ""),
    "language": (["history", "--lang", "klingon"], "argument_wrong", "--lang"),
    "id": (["show", "nonsense"], "id_unknown", "prd_"),
    "form": (["schema", "term"], "schema_unknown", "terms"),
}


@pytest.mark.parametrize("name", WRONG_LINES)
def test_a_wrong_line_names_the_right_word_and_not_the_value(dujiang: Shell, name: str) -> None:
    line, code, told = WRONG_LINES[name]
    ran = dujiang(*line, "--json", ok=False)
    assert ran.body["code"] == code
    assert told in ran.body["why"] + ran.body["fix"]
    assert ran.exit == (Exit.not_found if name == "id" else Exit.usage)
    assert "4711" not in ran.out + ran.err and "klingon" not in ran.out + ran.err
    spoken = dujiang(*line, ok=False)
    assert code in spoken.err and not spoken.out


def test_refusals_speak_the_language_asked_for(dujiang: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    english, chinese = (dujiang.json("show", "999", "--lang", each, ok=False) for each in ("en", "zh"))
    assert english["code"] == chinese["code"] == "not_found" and english["why"] != chinese["why"]
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert dujiang.json("show", "999", ok=False) == chinese


def test_a_receipt_verifies_offline_and_a_changed_one_does_not(dujiang: Shell, tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    file.write_text(dujiang("receipt", "0").out)
    elsewhere = Shell(tmp_path / "nowhere", dujiang.capture)
    seen = elsewhere.json("verify", str(file))
    assert seen["ok"] and not seen["trusted"] and seen["act"] == "identity.register"
    vkey = json.loads(file.read_text())["vkey"]
    assert seen["signer"] == vkey.partition("+")[0]
    assert elsewhere.json("verify", str(file), "--vkey", vkey)["trusted"]
    (tmp_path / "log.vkey").write_text(vkey + "\n")
    assert elsewhere.json("verify", str(file), "--vkey", str(tmp_path / "log.vkey"))["trusted"]
    changed = json.loads(file.read_text())
    changed["opened"]["did"]["value"] = "did:web:else.example"
    file.write_text(json.dumps(changed))
    ran = elsewhere("verify", str(file), "--json", ok=False)
    assert ran.exit == Exit.unverified and ran.body["ok"] is False and ran.body["code"] == "not_verified"


def test_a_certificate_verifies_offline_by_its_issuer_s_key(dujiang: Shell, tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("id,sex\n" + "".join(f"P{n},{n % 2}\n" for n in range(40)))
    made = dujiang.json(
        "registry", "register", str(tmp_path / "v.csv"), "--entity", "id", "--basis", "collected"
    )
    file, document = tmp_path / "certificate.json", tmp_path / "did.json"
    file.write_text(dujiang("registry", "export", made["version"], "--json").out)
    text = json.loads(file.read_text())["certificate"]
    document.write_text(dujiang("identity", "show", HOSPITAL, "--json").out)
    elsewhere = Shell(tmp_path / "nowhere", dujiang.capture)
    seen = elsewhere.json("verify", str(file))
    assert seen["ok"] and not seen["trusted"] and "Issuer unknown" in seen["note"]
    key = json.loads(document.read_text())["did_document"]["verificationMethod"][0]["publicKeyJwk"]["x"]
    (tmp_path / "certificate.jwt").write_text(text + "\n")
    for name, pin in ((file, str(document)), (tmp_path / "certificate.jwt", key)):
        seen = elsewhere.json("verify", str(name), "--did-key", pin)
        assert seen["trusted"] and seen["subject"]["sourceBasis"] == "collected" and not seen["expired"]
        assert "Issuer unknown" not in seen["note"] and "registry verify" in seen["note"]
    wrong = "A" * 42 + "E"
    ran = elsewhere("verify", str(file), "--did-key", wrong, "--json", ok=False)
    assert ran.exit == Exit.unverified and ran.body["code"] == "certificate_unverified"
    assert (
        elsewhere.json("verify", str(file), "--did-key", "did:web:x", ok=False)["code"]
        == "did_key_unreadable"
    )
    assert elsewhere("verify", str(file), "--did-key", "gone", ok=False).exit == Exit.not_found
    assert dujiang.json("registry", "verify", text)["stands"]


def test_what_is_logged_meanwhile_is_not_the_answer(dujiang: Shell) -> None:
    dujiang("history")
    loops._log.warning("talk")
    printed = dujiang.capture.readouterr()
    assert "talk" in printed.err and not printed.out


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"receipt": 3}', "[" * 5000, "\x00\xff"])
def test_rubbish_is_no_receipt(dujiang: Shell, tmp_path: Path, text: str) -> None:
    file = tmp_path / "rubbish.json"
    file.write_bytes(text.encode("latin-1"))
    ran = dujiang("verify", str(file), "--json", ok=False)
    assert ran.exit == Exit.unverified and ran.body["code"] == "not_a_receipt"
    assert dujiang("verify", str(tmp_path / "gone"), ok=False).exit == Exit.not_found


def test_show_finds_the_act_by_the_id(dujiang: Shell) -> None:
    own = dujiang.json("identity", "show")
    assert dujiang.json("show", own["org"])["name"] == HOSPITAL
    assert dujiang.json("show", own["did"])["name"] == HOSPITAL
    assert dujiang.json("show", "1")["index"] == 1


def test_schemas_and_the_tables_are_json(dujiang: Shell) -> None:
    assert dujiang("schema", "terms").body["properties"]["purposes"]
    assert dujiang("schema", "terms", "--json").body == dujiang("schema", "terms").body
    assert dujiang("schema", "offer").body["act"] == "catalogue.offer"
    assert dujiang("schema", "ledger.list").body["ask"]["properties"]["about"]
    told = {each["code"]: each for each in dujiang("schema", "codes").body}
    assert {"no_such_command", "home_busy", "not_found", "upload_too_large"} <= told.keys()
    assert all(each["why"] and each["fix"] and each["exit"] for each in told.values())
    rows = dujiang.json("acts")
    assert [row["name"] for row in rows] == list(ACTS)
    assert all({"name", "role", "effect", "title", "title_zh"} <= row.keys() for row in rows)


def test_doctor_finds_a_readable_key_and_a_held_home(dujiang: Shell) -> None:
    assert all(each["ok"] for each in dujiang.json("doctor", "--port", "0"))
    profile = next((dujiang.home / "profiles").iterdir())
    profile.chmod(0o644)
    try:
        found = {each["name"]: each for each in dujiang.json("doctor", "--port", "0", ok=False)}
    finally:
        profile.chmod(0o600)
    assert (
        not found["private"]["ok"] and profile.name in found["private"]["detail"] and found["private"]["fix"]
    )
    assert found["home"]["ok"]


def test_a_slow_disk_is_advice_and_fails_nothing(dujiang: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dujiang.doors.doctor._FSYNC_MS_ADVISED", -1.0)
    found = {each["name"]: each for each in dujiang.json("doctor", "--port", "0")}
    assert found["fsync"]["ok"] and found["fsync"]["fix"]
    assert "! a durable write takes" in dujiang("doctor", "--port", "0").out


def test_ctrl_c_ends_cleanly_and_says_so(home: Path, tmp_path: Path) -> None:
    """Stopped in the middle of a file: nothing of it is left."""
    fifo = tmp_path / "endless.csv"
    os.mkfifo(fifo)
    running = process("offer", str(fifo), "--json", "--home", str(home))
    writing = opened_by_reader(fifo)
    os.write(writing, b"a,b\n1,2\n")
    await_true(lambda: any((home / "files" / "uploads").rglob("*.part")))
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=30)
    os.close(writing)
    assert running.returncode == 130
    assert json.loads(out)["code"] == "stopped"
    assert [file for file in (home / "files" / "uploads").rglob("*") if file.is_file()] == []


def opened_by_reader(fifo: Path) -> int:
    """A descriptor to write to a pipe that somebody reads; waits for that reader."""
    found: list[int] = []

    def attempt() -> bool:
        try:
            found.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        return bool(found)

    await_true(attempt)
    return found[0]


def await_true(condition: Callable[[], bool]) -> None:
    """Returns once a condition holds; fails after half a minute."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not come to that")


def test_what_is_not_found_is_told_where_its_kind_is_listed(dujiang: Shell) -> None:
    told = {
        ("show", f"ctr_{'0' * 26}"): "contract list", ("agree", f"prd_{'0' * 26}", "--purpose", "analyse"): "find",
        ("quote", f"ctr_{'0' * 26}", "select 1"): "contract list", ("receipt", "99999"): "history",
        ("market", "show", f"bil_{'0' * 26}"): "market list",
    }  # fmt: skip
    for line, command in told.items():
        said = dujiang.json(*line, "--as", INSURER, ok=False)
        assert (said["code"], f"`dujiang {command}`" in said["fix"]) == ("not_found", True), (line, said)
