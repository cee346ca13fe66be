"""The demonstration: one life of real tables in a throw-away home, by the same acts as production.

A hospital offers three tables; an insurer finds one, agrees a contract, asks without seeing a row, is
refused what it must not see, runs out of its account, and verifies its receipt offline.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from dujiang import home as homes
from dujiang.catalogue import acts as catalogue
from dujiang.cleanroom import acts as cleanroom
from dujiang.contract import acts as contract
from dujiang.doors.data import keep_upload
from dujiang.doors.local import pieces
from dujiang.doors.loops import Loops
from dujiang.doors.profiles import write as write_profile
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller
from dujiang.kernel.errors import Declined, spoken
from dujiang.ledger import acts as ledger
from dujiang.ledger.rules import verify
from dujiang.policy.wire import terms_file

_TABLES = ("clinic", "laboratory", "household")
_QUESTION = (
    "select sex, count(*) as people, avg(systolic_1) as systolic from clinic where age >= 18 group by sex"
)
_SAME = (
    "SELECT sex, COUNT(*) AS people, AVG(systolic_1) AS systolic FROM clinic WHERE NOT (age < 18) GROUP BY 1"
)
_FORBIDDEN = "select * from clinic limit 10"
_NEXT = "select avg(bmi) as bmi, stddev(bmi) as spread from clinic where age between {low} and {high}"
_AGES = ((20, 39), (40, 59), (60, 79), (18, 29), (30, 49), (50, 69))

_TEXT = {
    "en": {
        "orgs": ("Data Exchange", "City Hospital", "Insurer"),
        "home": "A home with {0}, {1} and {2}; each with its own keys.",
        "offer": "{0} offers {1} tables; their rows stay where they are.",
        "find": "{0} searches “{1}”: {2}",
        "agree": "{0} and {1} negotiate and both sign: {2}, {3} steps by signed messages.",
        "ask": "{0} asks: {1}",
        "cost": "expected before asking: ± {0}; took {1} of {2} statistics, {3} left",
        "again": "the same question in other words: the same answer, 0 taken, {0} left",
        "refuse": "{0} asks: {1}",
        "refused": "refused: {0} {1}",
        "offered": "allowed instead: {0}",
        "budget": "{0} more questions, then: {1}",
        "verify": "receipt verified offline: entry {0} of {1}, signed by {2}",
        "total": "{0} steps in {1:.1f} s, {2:.0f} MB.",
        "open": "Open {0}\nThe link works once. Ctrl-C stops{1}.",
        "keep": "; the home is gone then, keep it with --keep DIR",
        "kept": "; the home stays in {0}",
        "word": "blood pressure",
    },
    "zh": {
        "orgs": ("数据交易所", "市立医院", "安心保险"),
        "home": "一个节点：{0}、{1}、{2}，各有自己的密钥。",
        "offer": "{0}上架 {1} 张表；数据不出原处。",
        "find": "{0}搜索“{1}”：{2}",
        "agree": "{0}与{1}协商并双方签名：{2}，共 {3} 步签名消息。",
        "ask": "{0}提问：{1}",
        "cost": "提问前预估误差 ± {0}；用去 {1} / {2} 个统计量，剩 {3} 个",
        "again": "换一种写法再问：答案相同，不消耗账户，仍剩 {0} 个",
        "refuse": "{0}提问：{1}",
        "refused": "拒绝：{0}{1}",
        "offered": "可改问：{0}",
        "budget": "再问 {0} 次之后：{1}",
        "verify": "回执离线验证通过：第 {0} 条（共 {1} 条），签名者 {2}",
        "total": "{0} 步，{1:.1f} 秒，{2:.0f} MB。",
        "open": "请打开 {0}\n链接只能用一次。按 Ctrl-C 停止{1}。",
        "keep": "；节点目录随即删除，可用 --keep 目录 保留",
        "kept": "；节点目录保留在 {0}",
        "word": "血压",
    },
}


@dataclass(slots=True)
class _Show:
    """What is told on the way, to a person or, at the end, as one JSON document."""

    words: dict[str, Any]
    quiet: bool
    started: float = field(default_factory=time.perf_counter)
    steps: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def step(self, name: str, work: Callable[[], tuple[str, list[str]]]) -> None:
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


@dataclass(slots=True)
class _Life:
    """The parties and what they have made so far."""

    home: homes.Home
    loops: Loops
    words: dict[str, Any]
    people: list[Caller]
    product: str = ""
    contract: str = ""
    receipt: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def provider(self) -> str:
        return self.words["orgs"][1]

    @property
    def consumer(self) -> str:
        return self.words["orgs"][2]

    def offer(self) -> tuple[str, list[str]]:
        lines: list[str] = []
        for name in _TABLES:
            with resources.as_file(resources.files("dujiang") / "samples" / f"{name}.parquet") as path:
                upload = keep_upload(self.home, self.people[1], path.name, pieces(path))
            terms = terms_file((resources.files("dujiang") / "samples" / f"{name}.toml").read_text("utf-8"))
            ask = catalogue.Offer(upload=upload, entity="seqn", terms=terms)
            reply = self.home.run("catalogue.offer", self.people[1], ask).reply
            self.product = self.product or reply.product
            lines.append(f"{name}: {reply.product}")
        return self.words["offer"].format(self.provider, len(_TABLES)), lines

    def find(self) -> tuple[str, list[str]]:
        found = self.home.run(
            "catalogue.search", self.people[2], catalogue.Search(self.words["word"])
        ).reply.items
        assert found and found[0].product == self.product
        title = found[0].title_zh if self.words is _TEXT["zh"] else found[0].title
        return self.words["find"].format(self.consumer, self.words["word"], title), []

    def agree(self) -> tuple[str, list[str]]:
        ask = contract.Request(self.product, "analyse")
        begun = self.home.run("contract.request", self.people[2], ask).reply
        self.loops.until_quiet()
        shown = self.home.run("contract.show", self.people[2], contract.Show(begun.contract)).reply
        assert shown.status == "active"
        self.contract = shown.contract
        steps = self.home.run(
            "ledger.list", self.people[2], ledger.List(shown.product, limit=100)
        ).reply.items
        count = sum(entry.act.startswith("contract.") for entry in steps)
        sentence = shown.terms_zh if self.words is _TEXT["zh"] else shown.terms
        return self.words["agree"].format(self.consumer, self.provider, shown.state, count), [sentence]

    def ask(self) -> tuple[str, list[str]]:
        quote = self.home.run(
            "cleanroom.check", self.people[2], cleanroom.Check((self.contract,), _QUESTION)
        ).reply
        answer = self._answer(_QUESTION)
        self.receipt = self.home.run(
            "ledger.prove", self.people[2], ledger.Show(int(answer.entry or 0))
        ).reply.receipt
        again = self._answer(_SAME)
        assert again.rows == answer.rows and again.statistics == 0
        widths = [
            max(len(str(cell)) for cell in (name, *(_cell(row[i]) for row in answer.rows)))
            for i, name in enumerate(answer.columns)
        ]
        table = [
            "  ".join(_cell(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in (answer.columns, *answer.rows)
        ]
        errors = ", ".join(f"{error:g}" for error in quote.plus_minus if error is not None)
        cost = self.words["cost"].format(
            errors, answer.statistics, quote.statistics_left, answer.statistics_left
        )
        return self.words["ask"].format(self.consumer, _QUESTION), [
            *table,
            cost,
            self.words["again"].format(again.statistics_left),
        ]

    def refuse(self) -> tuple[str, list[str]]:
        said = self._ask(_FORBIDDEN)
        assert isinstance(said, Declined)
        lines = [self._refusal(said)]
        if said.offer:
            lines.append(self.words["offered"].format(said.offer))
        return self.words["refuse"].format(self.consumer, _FORBIDDEN), lines

    def budget(self) -> tuple[str, list[str]]:
        for count, (low, high) in enumerate(_AGES):
            said = self._ask(_NEXT.format(low=low, high=high))
            if isinstance(said, Declined):
                assert said.code.name == "budget_spent"
                return self.words["budget"].format(count, self._refusal(said)), []
        raise AssertionError("the account did not run out")

    def verify(self) -> tuple[str, list[str]]:
        verdict = verify(json.loads(json.dumps(self.receipt)), self.home.book.vkey)
        assert verdict.ok and verdict.trusted
        return self.words["verify"].format(verdict.index, verdict.size, verdict.signer), []

    def _ask(self, sql: str) -> Any:
        said = self.home.run("cleanroom.ask", self.people[2], cleanroom.Ask((self.contract,), sql)).reply
        self.loops.until_quiet()
        return said

    def _answer(self, sql: str) -> cleanroom.Answer:
        answer = self.home.run("cleanroom.show", self.people[2], cleanroom.Show(self._ask(sql).job)).reply
        assert answer.state == "done"
        return answer

    def _refusal(self, said: Declined) -> str:
        language = "zh" if self.words is _TEXT["zh"] else "en"
        why, _ = spoken(said.code, said.names, language)
        return self.words["refused"].format(
            why, f"({said.code.name})" if language == "en" else f"（{said.code.name}）"
        )


def main(
    *, once: bool = False, keep: Path | None = None, port: int = 0, lang: str = "en", no_browser: bool = False,
    as_json: bool = False,
) -> int:  # fmt: skip
    """The exit status of a demonstration: all steps, then a node to look at unless `once`."""
    words = _TEXT["zh" if lang == "zh" else "en"]
    show = _Show(words, quiet=as_json)
    folder = Path(tempfile.mkdtemp(prefix="dujiang-demo-")) if keep is None else None
    path = keep or Path(folder or ".") / "home"
    try:
        home, made = homes.create(path, list(zip(words["orgs"], _ROLES, strict=True)))
        write_profile(path, made)
        try:
            _life(show, home, words, made)
            seconds, memory = time.perf_counter() - show.started, memory_mb()
            show.say(words["total"].format(len(show.steps), seconds, memory))
            if as_json:
                document = {"steps": show.steps, "seconds": round(seconds, 3), "rss_mb": round(memory, 1)}
                print(json.dumps(document, ensure_ascii=False), flush=True)
            if not once:
                _serve(home, words, made[2], port, keep, no_browser)
        finally:
            home.close()
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


_ROLES = (("operator", "auditor"), ("provider",), ("consumer",))


def _life(show: _Show, home: homes.Home, words: dict[str, Any], made: list[dict[str, Any]]) -> None:
    callers = [home.caller_of_key(one["api_key"]) for one in made]
    life = _Life(home, Loops(home), words, [caller for caller in callers if caller is not None])
    show.say(f"✓ init   {time.perf_counter() - show.started:5.2f} s  " + words["home"].format(*words["orgs"]))
    for name in ("offer", "find", "agree", "ask", "refuse", "budget", "verify"):
        show.step(name, getattr(life, name))


def _serve(
    home: homes.Home,
    words: dict[str, Any],
    consumer: dict[str, Any],
    port: int,
    keep: Path | None,
    no_browser: bool,
) -> None:
    from dujiang.doors.serve import serve
    from dujiang.kernel.act import NODE

    token = home.run("identity.link", NODE, identity.Link(consumer["person"])).reply.token

    def ready(url: str) -> None:
        link = f"{url}/enter/{token}"
        print(words["open"].format(link, words["kept"].format(keep) if keep else words["keep"]), flush=True)
        if not no_browser and sys.stdout.isatty() and (os.environ.get("DISPLAY") or sys.platform == "darwin"):
            import webbrowser

            webbrowser.open(link)

    serve(home, "127.0.0.1", port, ready)


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


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
