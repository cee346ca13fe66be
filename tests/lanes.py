"""All tests that need only this clone, in two processes of pytest side by side; the last lines name what failed.

What the one waits for (processes that start, disks, a back-off) leaves a core idle, which the other uses. Every
test is in exactly one lane: the second is all that the first is not.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
BY_HAND = ("tests/conformance", "tests/soak")
# Half of the time: these start processes of the program, kill them and wait for them.
FIRST = "tests/e2e"
LANES = ((FIRST,), ("tests", *(f"--ignore={each}" for each in (*BY_HAND, FIRST))))
_RULE = re.compile(r"=+ .* =+")
_NAMED = re.compile(r"(FAILED|ERROR) ")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PRINTING = threading.Lock()


@dataclass
class Lane:
    """A process of pytest and the end of what it said, from its first report on."""

    words: tuple[str, ...]
    process: subprocess.Popen[str]
    end: list[str] = field(default_factory=list)

    def follow(self) -> None:
        """Prints its progress line by line as it comes; keeps the rest, so that two reports do not mix."""
        assert self.process.stdout is not None
        rules = 0
        for line in self.process.stdout:
            rules += bool(_RULE.fullmatch(_plain(line)))
            # The first rule is the head; what stands under the second is the report.
            if rules > 1:
                self.end.append(line)
            elif rules == 0 or not _RULE.fullmatch(_plain(line)):
                _say(line)

    @property
    def failed(self) -> list[str]:
        """The lines that name what failed, and how the process ended where they do not say it."""
        last = max((place for place, line in enumerate(self.end) if "short test summary" in line), default=0)
        found = [line for line in self.end[last:] if _NAMED.match(_plain(line))]
        status = self.process.returncode
        if status < 0 or (status and not found):
            how = f"signal {-status}" if status < 0 else f"status {status}"
            found.append(f"ERROR pytest {' '.join(self.words)} ended with {how}\n")
        return found


def main(root: Path = ROOT, of: tuple[tuple[str, ...], ...] = LANES) -> int:
    """The exit status: 0 if each lane's is; `of`: the words each has for pytest."""
    with TemporaryDirectory(prefix="dujiang-bytecode-") as folder:
        lanes = [Lane(words, _begin(root, words, folder)) for words in of]
        following = [threading.Thread(target=lane.follow) for lane in lanes]
        for each in following:
            each.start()
        try:
            _join(following)
        except KeyboardInterrupt:
            _join(following)  # the same key interrupted the children, which end in order
        except SystemExit:
            for lane in lanes:
                lane.process.terminate()
            raise
        for lane in lanes:
            lane.process.wait()
    for lane in lanes:
        _say("".join(lane.end))
    failed = [line for lane in lanes for line in lane.failed]
    if failed:
        _say(f"\n{len(failed)} failed in all:\n" + "".join(failed))
    return int(bool(failed))


def _begin(root: Path, words: tuple[str, ...], bytecode: str) -> subprocess.Popen[str]:
    env = {**os.environ, "COLUMNS": str(shutil.get_terminal_size().columns)}
    if env.pop("PYTHONDONTWRITEBYTECODE", None):
        # Hundreds of programs are started, and each would compile all it imports: a third of its start.
        env["PYTHONPYCACHEPREFIX"] = bytecode
    colour = f"--color={'yes' if sys.stdout.isatty() else 'no'}"
    return subprocess.Popen(
        # No cache of what failed: each would write over the other's.
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", colour, *words],
        cwd=root, env=env, text=True, encoding="utf-8", errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _join(threads: list[threading.Thread]) -> None:
    for each in threads:
        each.join()


def _plain(line: str) -> str:
    return _COLOUR.sub("", line).rstrip()


def _say(text: str) -> None:
    with _PRINTING:
        sys.stdout.write(text)
        sys.stdout.flush()


if __name__ == "__main__":
    # Who ends this process ends its children, which else would go on unseen.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
