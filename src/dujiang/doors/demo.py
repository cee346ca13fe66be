"""The demonstration: a story told in a throw-away home, then the home to look at; `story` says what happens."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dujiang.doors.flow import write_receipt
from dujiang.doors.profiles import write as write_profile
from dujiang.doors.story import PARTIES, Story, Told
from dujiang.identity import acts as identity
from dujiang.kernel.act import NODE

_LOOKING = ("insurer", "hospital", "auditor")
"""Whose eyes the home can be looked at with afterwards."""


@dataclass(slots=True)
class _Show:
    """What is told on the way, to a person or, at the end, as one JSON document."""

    quiet: bool
    started: float = field(default_factory=time.perf_counter)
    steps: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def step(self, name: str, work: Callable[[], Told]) -> None:
        """Runs a step and tells it with its seconds."""
        begun = time.perf_counter()
        line, more = work()
        seconds = time.perf_counter() - begun
        self.steps.append({"name": name, "ok": True, "seconds": round(seconds, 3)})
        self.say(f"✓ {name:<7}{seconds:5.2f} s  {line}")
        for text in more:
            self.say(f"                  {text}")

    def say(self, text: str) -> None:
        """One line to a person."""
        if not self.quiet:
            print(text, flush=True)


def main(
    *, once: bool = False, keep: Path | None = None, port: int = 0, lang: str = "en", no_browser: bool = False,
    as_json: bool = False, database: str = "",
) -> int:  # fmt: skip
    """The exit status of a demonstration: all steps, then a node to look at unless `once`."""
    show = _Show(quiet=as_json)
    folder = Path(tempfile.mkdtemp(prefix="dujiang-demo-")) if keep is None else None
    path = keep or Path(folder or ".") / "home"
    try:
        story = Story.begun(path, "zh" if lang == "zh" else "en", database)
        try:
            write_profile(path, story.made)
            init = story.say("init", story.parties(), story.say("operator"), story.say("auditor"))
            show.say(f"✓ init   {time.perf_counter() - show.started:5.2f} s  {init}")
            for name, work in story.steps():
                show.step(name, work)
            seconds, memory = time.perf_counter() - show.started, memory_mb()
            show.say(story.say("total", len(show.steps), seconds, memory))
            left = _left(story, keep) if keep else {}
            if keep:
                show.say(story.say("keeps", keep, left["receipts"], left["receipt"], left["vkey"]))
            if as_json:
                document = {
                    "steps": show.steps, "seconds": round(seconds, 3), "rss_mb": round(memory, 1), **left,
                }  # fmt: skip
                print(json.dumps(document, ensure_ascii=False), flush=True)
            if not once:
                _serve(story, port, keep, no_browser)
        finally:
            story.home.close()
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _left(story: Story, home: Path) -> dict[str, str]:
    """Where the kept home has its receipts, one of them, and the key of its log, each a file."""
    folder = home / "receipts"
    folder.mkdir(mode=0o700, exist_ok=True)
    for receipt in [*story.receipts, story.receipt]:
        write_receipt(receipt, folder / f"receipt-{receipt['index']}.json")
    key = folder / "log.vkey"
    key.write_text(f"{story.home.book.vkey}\n", "utf-8")
    shown = folder / f"receipt-{story.receipt['index']}.json"
    return {"home": str(home), "receipts": str(folder), "receipt": str(shown), "vkey": str(key)}


def _serve(story: Story, port: int, keep: Path | None, no_browser: bool) -> None:
    from dujiang.doors.serve import serve

    persons = {name: one["person"] for name, one in zip(PARTIES, story.made, strict=True)}
    tokens = {
        name: story.home.run("identity.link", NODE, identity.Link(persons[name])).reply.token
        for name in _LOOKING
    }

    def ready(url: str) -> None:
        links = {name: f"{url}/enter/{token}" for name, token in tokens.items()}
        for name, link in links.items():
            print(story.say("open", story.say(name), link), flush=True)
        print(story.say("stop", story.say("kept", keep) if keep else story.say("gone")), flush=True)
        if not no_browser and sys.stdout.isatty() and (os.environ.get("DISPLAY") or sys.platform == "darwin"):
            import webbrowser

            webbrowser.open(links[_LOOKING[0]])

    serve(story.home, "127.0.0.1", port, ready)


def memory_mb() -> float:
    """The proportional memory (PSS) of this process and its children, in MB; 0 where the system does not tell."""
    total = 0
    for process in [os.getpid(), *_children(os.getpid())]:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text("ascii").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def _children(process: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            own = [int(word) for word in task.read_text("ascii").split()]
        except OSError:
            continue
        for child in own:
            found += [child, *_children(child)]
    return found
