"""Outside judges of the log: where they are, how they are built, what each of them says of a log in a folder.

Go programs are built from copies of their sources into a cache beside the interpreter (or where
DUJIANG_JUDGES_CACHE says), once for each digest of what they are made of. What is not there is skipped by name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

JUDGES = Path(os.environ.get("DUJIANG_JUDGES", Path(__file__).parents[3] / "shared"))
ORACLES = JUDGES / "log-oracles"
CACHE = Path(os.environ.get("DUJIANG_JUDGES_CACHE", Path(sys.prefix) / "judges-built"))
PYTHON = Path(os.environ.get("DUJIANG_JUDGES_PYTHON", Path(sys.prefix) / "judges")) / "bin"
FSCK = "github.com/transparency-dev/tessera/cmd/fsck@v1.0.4"
LITEWITNESS = "filippo.io/torchwood/cmd/litewitness@v0.9.0"
FSCK_SAYS = "Successfully fsck'd"
_BUILD_S = 600


def oracles() -> Path:
    """The folder of the judges' own sources and examples, or a skip."""
    if not ORACLES.is_dir():
        pytest.skip("log-oracles is not beside the clone (DUJIANG_JUDGES names the folder)")
    return ORACLES


@cache
def built(name: str) -> Path:
    """A Go program of the judges' folder (verify, mklog)."""
    source = oracles() / name
    parts = b"".join(path.read_bytes() for path in sorted(source.iterdir()))
    place = CACHE / f"{name}-{hashlib.sha256(parts).hexdigest()[:16]}"
    if not place.exists():
        with tempfile.TemporaryDirectory() as folder:
            copied = shutil.copytree(source, Path(folder) / name)
            _go(name, "build", "-o", str(place), ".", cwd=copied)
    return place


@cache
def installed(package: str) -> Path:
    """A Go program of a published module, pinned by its version."""
    name = package.partition("@")[0].rpartition("/")[2]
    place = CACHE / hashlib.sha256(package.encode()).hexdigest()[:16]
    if not (place / name).exists():
        _go(package, "install", package, GOBIN=str(place))
    return place / name


def _go(name: str, *words: str, cwd: Path | None = None, **more: str) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip(f"{name}: there is no Go here to build it with")
    CACHE.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, **more}
    ran = subprocess.run([go, *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=_BUILD_S)
    if ran.returncode:
        pytest.skip(f"{name} does not build here: {ran.stderr[-300:]}")


def packaged(name: str) -> Path:
    """A judge that is a Python package, in its own environment (python: that environment's interpreter)."""
    place = PYTHON / name
    if not place.exists():
        pytest.skip(f"{name} is not in {PYTHON}: `make conformance` installs it")
    return place


def ran(*words: str | Path, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """What a program did and said."""
    command = [str(word) for word in words]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds)


def walked(log: Path, vkey: str, *more: str | Path) -> subprocess.CompletedProcess[str]:
    """The Go verifier's word on a whole log."""
    return ran(built("verify"), "-log", log, "-vkey", vkey, *more)


def fscked(log: Path, vkey: Path) -> bool:
    """Whether Tessera's fsck accepts a log; it says so in words alone, whatever its status, and may hang."""
    command = _fsck(str(log), str(vkey))
    try:
        done = ran(*command, seconds=60)
    except subprocess.TimeoutExpired:
        return False
    return FSCK_SAYS in done.stdout + done.stderr


def _fsck(log: str, vkey: str) -> list[str]:
    return [
        str(installed(FSCK)),
        "-storage_url",
        f"file://{log}",
        "-public_key",
        vkey,
        "-ui=false",
        "-N",
        "4",
    ]


def wounded(log: Path, vkey: Path, *checker: str | Path, accepts: str = "") -> list[str]:
    """The wounds of a log that a checker did not refuse; {log}, {vkey}, {vkeyfile} stand in its words."""
    script = [sys.executable, oracles() / "refuse.py", log, vkey]
    words = [*script, *(["--accepts", accepts] if accepts else []), "--", *checker]
    done = ran(*words, seconds=600)
    lines = done.stdout.splitlines()
    assert len(lines) > 20 and (lines[-1] == "all refused") == (done.returncode == 0), done
    return [line for line in lines if line.startswith("MISS")]


def wounded_fsck(log: Path, vkey: Path) -> list[str]:
    """The same through Tessera's fsck."""
    return wounded(log, vkey, *_fsck("{log}", "{vkeyfile}"), accepts=FSCK_SAYS)
