"""Makes .venv for `make`: `install.py base` for running, `test` for testing as well, `conformance` for judges.

Standard library only: it runs before anything is installed. Every step says what it does. A stamp in .venv
holds a digest of what was asked for, so the second run does nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
VENV = ROOT / ".venv"
PIP = ["-m", "pip", "--disable-pip-version-check"]
TOOLS = {
    "chromium": "the page is read in it, with and without scripts",
    "hledger": "a second accountant reads the books",
    "postgres": "a home may keep its state in PostgreSQL",
    "strace": "the durability test traces system calls with it",
}
PACKAGES = {"chromium": "chromium fonts-noto-cjk", "postgres": "postgresql"}
"""Where a program needs a companion (without the fonts Chinese pages are boxes), or has another name."""
ASIDE = {"postgres": "/usr/lib/postgresql/*/bin"}
"""Programs Debian keeps beside the path."""


def say(text: str) -> None:
    """Nothing; prints one plain line, at once."""
    print(f"[dujiang] {text}", flush=True)


def digest(kind: str) -> str:
    """The SHA-256 of everything an installation of `kind` depends on, this interpreter included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    parts = [sys.version, str(ROOT), json.dumps([project["build-system"], project["project"]])]
    parts += [(HERE / "base.txt").read_text("utf-8")]
    if kind != "base":
        parts += [(HERE / f"{kind}.txt").read_text("utf-8"), json.dumps(project["dependency-groups"])]
    if kind == "conformance":
        parts += [(HERE / "judges.txt").read_text("utf-8")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def pip(*words: str, venv: Path = VENV) -> bool:
    """Whether pip did what was asked; its own errors stay on the screen."""
    command = [str(venv / "bin" / "python"), *PIP, "install", "--quiet", *words]
    return subprocess.run(command).returncode == 0


def covered() -> bool:
    """Whether `make lock` wrote hashes for wheels of this interpreter and platform."""
    machine = platform.machine().lower()
    linux = sys.platform == "linux" and platform.libc_ver()[0] == "glibc" and machine in ("x86_64", "aarch64")
    mac = sys.platform == "darwin" and machine == "arm64"
    return (
        sys.implementation.name == "cpython" and (3, 11) <= sys.version_info[:2] <= (3, 14) and (linux or mac)
    )


def locked(file: str, otherwise: list[str]) -> None:
    """Nothing; installs the pinned `file` with hashes, or `otherwise` where it covers no wheels.

    A failure of the pinned installation ends here: going on without hashes would make them worthless.
    """
    lock = HERE / file
    here = f"Python {sys.version.split()[0]} on {sys.platform} {platform.machine()}"
    if os.environ.get("LOCKED", "1" if covered() else "0") == "1":
        count = lock.read_text("utf-8").count("==")
        say(f"Installing {count} packages from requirements/{file}, each checked against its SHA-256 …")
        if not pip("--require-hashes", "--only-binary=:all:", "-r", str(lock)):
            sys.exit(
                "[dujiang] That did not work, and pip says why above: is the package index reachable?\n"
                f"[dujiang] If it has other wheels for {here}: LOCKED=0 goes without pins and hashes."
            )
        return
    say(f"There are no hashes for {here}, or LOCKED=0: installing what pyproject.toml asks for, unpinned …")
    if not pip(*otherwise):
        sys.exit("[dujiang] That did not work, and pip says why above: is the package index reachable?")


def base() -> None:
    """Nothing; makes .venv anew with what running needs and Dujiang itself, from this folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    say(f"Making .venv with Python {sys.version.split()[0]} …")
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)]).returncode == 0
    if not made:
        sys.exit("[dujiang] Python could not make a venv. On Debian or Ubuntu: apt-get install python3-venv")
    locked("base.txt", [*project["project"]["dependencies"], *project["dependency-groups"]["build"]])
    say("Installing Dujiang itself from this folder …")
    if not pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT)):
        sys.exit("[dujiang] Dujiang itself did not install; see pip's message above.")


def judges() -> None:
    """Nothing; makes .venv/judges with the judges whose packages must not mix with ours, if that is possible here.

    One of them names a newer Python than it needs. A judge that is missing is named and skipped by its tests.
    """
    own, lock = VENV / "judges", HERE / "judges.txt"
    say(f"Installing {lock.read_text('utf-8').count('==')} packages of judges into .venv/judges …")
    made = covered() and subprocess.run([sys.executable, "-m", "venv", "--clear", str(own)]).returncode == 0
    exact = ("--require-hashes", "--only-binary=:all:", "--ignore-requires-python")
    if not made or not pip(*exact, "-r", str(lock), venv=own):
        shutil.rmtree(own, ignore_errors=True)
        say("That did not work: these judges are skipped.")


def aside(tool: str) -> bool:
    """Whether a program lies in a folder of its own."""
    return tool in ASIDE and any(Path("/").glob(f"{ASIDE[tool].lstrip('/')}/{tool}"))


def tools() -> None:
    """Nothing; installs by apt what tests call as programs, if missing and if that is possible here."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None and not aside(tool)]
    if not missing:
        return
    for tool in missing:
        say(f"{tool} is missing: {TOOLS[tool]}.")
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get") is None or (sudo and shutil.which("sudo") is None):
        say("No apt or no rights to use it: install the above by hand, or those tests are skipped.")
        return
    packages = [name for tool in missing for name in PACKAGES.get(tool, tool).split()]
    say(f"Installing by apt: {' '.join(packages)} …")
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    update = [*sudo, "apt-get", "update", "-qq"]
    install = [*sudo, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    if any(subprocess.run(command, env=env, **quiet).returncode for command in (update, install)):
        say("apt did not succeed; those tests are skipped.")


def main(kind: str) -> None:
    """Nothing; brings .venv to what `kind` asks for and stamps it."""
    stamp = VENV / f"{kind}.stamp"
    wanted = digest(kind)
    if not stamp.is_file() or stamp.read_text("utf-8") != wanted:
        if kind == "base":
            base()
        else:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
            locked(f"{kind}.txt", project["dependency-groups"][kind])
            if kind == "test":
                tools()
            if kind == "conformance":
                judges()
        say("Ready.")
    stamp.write_text(wanted, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
