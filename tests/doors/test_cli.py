"""The command line from outside: lines in, JSON and exit statuses out, one home."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dujiang.acts import ACTS
from dujiang.doors import cli
from dujiang.kernel.errors import Exit
from tests.house.source import SRC

HOSPITAL, INSURER = "榕城医院", "安心保险"
HEAVY = ("sqlalchemy", "fastapi", "duckdb", "httpx2", "uvicorn", "sqlglot", "dujiang.home", "dujiang.identity.acts")


@dataclass(frozen=True)
class Ran:
    """What a line printed, and its exit status."""

    exit: int
    out: str
    err: str

    @property
    def body(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Shell:
    """Runs lines in this process as `dujiang` would, on one home."""

    home: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *line: str, ok: bool = True) -> Ran:
        """What a line does; it must succeed unless said otherwise."""
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(["--home", str(self.home), *line])
        printed = self.capture.readouterr()
        ran = Ran(int(ended.value.code or 0), printed.out, printed.err)
        assert (ran.exit == 0) is ok, ran
        return ran

    def json(self, *line: str, ok: bool = True) -> Any:
        """The JSON document a line prints."""
        return self(*line, "--json", ok=ok).body


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a hospital, which operates it, and an insurer."""
    path = tmp_path_factory.mktemp("cli") / "home"
    with pytest.raises(SystemExit) as ended:
        cli.main(["init", HOSPITAL, f"{INSURER}=consumer", "--home", str(path), "--json"])
    assert not ended.value.code
    return path


@pytest.fixture
def dujiang(home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """The command line on that home, whatever this machine's own settings are."""
    for name in [name for name in os.environ if name.startswith("DUJIANG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    yield Shell(home, capfd)


def process(*line: str, stdin: int | None = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """`dujiang` as a process of its own."""
    code = "from dujiang.doors.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *line], env={**os.environ, "PYTHONPATH": str(SRC), "LANG": "C.UTF-8"},
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("line", [["--help"], ["verify", "--help"], ["acts", "--json"]], ids=" ".join)
def test_what_needs_no_home_loads_nothing_heavy(line: list[str]) -> None:
    """Start-up is the sum of what is imported: help reads the table of acts and nothing behind it."""
    code = (
        "import sys\nfrom dujiang.doors.cli import main\n"
        f"try: main({line!r})\nexcept SystemExit: print([n for n in {HEAVY!r} if n in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SRC)}, capture_output=True, text=True
    )
    assert done.stderr.strip() == "[]"
    assert done.stdout


def test_help_lists_every_short_verb_in_both_languages(dujiang: Shell) -> None:
    verbs = [act.verb for act in ACTS.values() if act.verb]
    for language in ("en", "zh"):
        text = dujiang("--help", "--lang", language).out
        assert all(f" {verb} " in text for verb in [*verbs, "init", "up", "demo", "verify", "doctor"])
    assert "登记" in text


@pytest.mark.parametrize("act", [act for act in ACTS.values() if act.roles != ("node",)], ids=lambda act: act.name)
def test_every_act_is_a_command_with_every_field_of_its_ask(dujiang: Shell, act: Any) -> None:
    from dataclasses import fields

    from dujiang.kernel.act import bind

    text = dujiang(*act.name.split("."), "--help").out.replace("\n", "")
    for member in fields(bind(act).ask):
        assert f"--{member.name.replace('_', '-')}" in text or member.name.upper() in text


def test_acts_of_the_node_itself_are_no_commands(dujiang: Shell) -> None:
    hidden = [act for act in ACTS.values() if act.roles == ("node",)]
    assert hidden
    for act in hidden:
        assert dujiang(*act.name.split("."), ok=False).exit == Exit.usage


def test_init_makes_organisations_with_private_profiles(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
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
    assert not found["private"]["ok"] and profile.name in found["private"]["detail"] and found["private"]["fix"]
    assert found["home"]["ok"]


def test_ctrl_c_ends_cleanly_and_says_so(home: Path) -> None:
    running = process("ask", "ctr_x", "-", "--json", "--home", str(home), stdin=subprocess.PIPE)
    assert running.stdin is not None
    # It reads the question from standard input: Ctrl-C while it waits there.
    for _ in range(200):
        try:
            waits = Path(f"/proc/{running.pid}/wchan").read_text() + Path(f"/proc/{running.pid}/syscall").read_text()
        except OSError:
            waits = ""
        if waits.startswith(("pipe_read", "anon_pipe_read")) or " 0x0 " in waits[:12] or "0 0x0 " in waits:
            break
        signal.sigtimedwait([], 0.05)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=20)
    assert running.returncode == 130
    assert json.loads(out)["code"] == "stopped"
