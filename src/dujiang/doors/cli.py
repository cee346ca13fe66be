"""The command line: a line becomes a deed, the deed an answer, the answer text or JSON and an exit status.

Commands come from the table of acts (`verbs`) and from `direct`; each is loaded when it is first needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

from dujiang import __version__
from dujiang.acts import ACTS
from dujiang.doors import usage
from dujiang.doors.local import Answer, Options
from dujiang.kernel.errors import Refused, Unavailable

if TYPE_CHECKING:
    from cyclopts import App

    from dujiang.doors.direct import Deed

_DIRECT = {
    "init": ("Make a home with its organisations", "创建节点目录与机构"),
    "up": ("Serve this home over HTTP", "启动节点服务"),
    "demo": ("Watch a table being used without being seen", "演示：数据可用不可见"),
    "verify": ("Check a receipt, a proof or a whole log", "验证回执、证明或整份日志"),
    "show": ("Show whatever an id names", "按编号查看对象"),
    "doctor": ("Check this machine and this home", "检查本机与节点目录"),
    "mcp": ("Let an agent work within a mandate (MCP)", "让智能体在授权范围内工作（MCP）"),
    "backup": ("Copy this home, also while it is served", "备份节点目录（可在服务运行时）"),
    "restore": ("Put a home back from a backup", "从备份恢复节点目录"),
    "acts": ("List every act", "列出全部行为"),
    "schema": ("Print a form as JSON Schema", "打印数据格式"),
}
_APART = ("backup", "restore", "verify")
"""Commands that have a file of their own."""
_WITHIN = {
    ("ledger", "renew"): (
        "renewal",
        "Go on after the master key was lost",
        "主密钥丢失后继续运行",
    ),
    ("ledger", "tiles"): (
        "mirror",
        "Write the log as files anybody can check",
        "将日志导出为可公开验证的文件",
    ),
    ("ledger", "meet"): ("meet", "Have another node cosign, and cosign it", "与另一节点互为见证方"),
}
"""Commands of a package that are no act, and the file that holds each."""
_FILED = {
    "ledger.replay": "dossier", "ledger.export": "dossier", "ledger.attest": "attest",
    "ledger.watch": "meet", "ledger.appoint": "meet",
}  # fmt: skip
"""Acts whose command reads or writes files, and the file that holds it."""
_ORDER = (
    "demo",
    "init",
    "offer",
    "find",
    "agree",
    "quote",
    "ask",
    "show",
    "history",
    "receipt",
    "verify",
    "up",
)
_GROUPS = {
    "en": ("Commands", "Every act of a package", "Flags", "Arguments"),
    "zh": ("命令", "各模块的全部行为", "选项", "参数"),
}
_ANYWHERE = {
    "en": """Anywhere: --json (one JSON document), --as ORG, --node URL, --home DIR, --lang zh|en, --yes.
Environment: DUJIANG_HOME, DUJIANG_AS, DUJIANG_NODE, DUJIANG_KEY.

Start with: dujiang demo""",
    "zh": """任意位置可用：--json（单个 JSON 文档）、--as 机构、--node 地址、--home 目录、
--lang zh|en、--yes。
环境变量：DUJIANG_HOME、DUJIANG_AS、DUJIANG_NODE、DUJIANG_KEY。

从这里开始：dujiang demo""",
}
_PURPOSE = {
    "en": "Dujiang lets organisations use each other's data without giving it away.",
    "zh": "都江：让机构之间使用彼此的数据，而不交出数据。",
}
_STOPPED = {
    "en": (
        "Stopped.",
        "What was acknowledged is kept and nothing is half-written; run it again if you like.",
    ),
    "zh": ("已停止。", "已确认的内容均已保存，无半途写入；可随时重新运行。"),
}
_INTERRUPTED = 130


def main(line: Sequence[str] | None = None) -> NoReturn:
    """Never returns: runs one command line and ends the process with its exit status."""
    words = list(sys.argv[1:] if line is None else line)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    options = Options(home=usage.DEFAULT_HOME, json="--json" in words, language=usage.language(os.environ))
    try:
        try:
            options, words = usage.split(words)
            answer = _ran(words, options)
        except KeyboardInterrupt:
            answer = _stopped(options)
        except Exception as error:
            answer = _refused(error, options)
        if answer is not None:
            from dujiang.doors import show

            show.answer(answer, options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away (`| head`); what Python would still flush has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(answer.exit if answer else 0)


def app(language: str = "en") -> App:
    """The commands as a cyclopts application; each gives back a deed."""
    from cyclopts import App, Group, Parameter

    everyday, packages, flags, arguments = (
        Group(name, sort_key=place) for place, name in enumerate(_GROUPS[language])
    )
    group: dict[str, Any] = {
        "group_parameters": flags, "group_arguments": arguments, "group_commands": everyday,
    }  # fmt: skip
    zh = language == "zh"
    if zh:
        from dujiang.doors.manual import Chinese

        group["help_formatter"] = Chinese()
    top = App(
        name="dujiang", version=__version__, help=_PURPOSE[language], help_epilogue=_ANYWHERE[language],
        help_format="plaintext", default_parameter=Parameter(negative=()), **group,
    )  # fmt: skip
    place = {verb: number for number, verb in enumerate(_ORDER)}
    for name, titles in _DIRECT.items():
        order = place.get(name, len(place))
        module = name if name in _APART else "direct"
        top.command(
            f"dujiang.doors.{module}:{name}", name=name, help=titles[zh], sort_key=order, group=everyday
        )
    rooms: dict[str, App] = {}
    for act in ACTS.values():
        if act.roles == ("node",):
            continue
        title, source = (act.title_zh if zh else act.title), f"dujiang.doors.verbs:{act.name}"
        if act.name in _FILED:
            source = f"dujiang.doors.{_FILED[act.name]}:{act.name.partition('.')[2]}"
        told = "\n\n".join([title, *(f"$ {example}" for example in act.examples)])
        if act.verb:
            order = place.get(act.verb, len(place))
            top.command(source, name=act.verb, help=told, sort_key=order, group=everyday)
        if act.room not in rooms:
            rooms[act.room] = App(
                name=act.room, help=_words(act.room), group=packages, help_format="plaintext", **group
            )
            top.command(rooms[act.room])
        rooms[act.room].command(source, name=act.name.partition(".")[2], help=told)
    for (room, name), (module, *titles) in _WITHIN.items():
        rooms[room].command(f"dujiang.doors.{module}:{name}", name=name, help=titles[zh])
    return top


def _words(room: str) -> str:
    named = [
        act.name.partition(".")[2] for act in ACTS.values() if act.room == room and act.roles != ("node",)
    ]
    return ", ".join([*named, *(name for package, name in _WITHIN if package == room)])


def _ran(words: list[str], options: Options) -> Answer | None:
    """The answer of a line; None where the line only asked for help or the version."""
    from cyclopts import CycloptsError

    commands = app(options.language)
    known = [name for name in commands if not name.startswith("-")]
    if words and not words[0].startswith("-") and words[0] not in known:
        raise usage.unknown(words[0], known)
    try:
        deed = commands(words, result_action="return_value", exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise usage.translated(error, known) from None
    return cast("Deed", deed)(options) if callable(deed) else None


def _refused(error: Exception, options: Options) -> Answer:
    from dujiang.doors import answer

    if not isinstance(error, (Refused, Unavailable)):
        from dujiang.doors import journal

        journal.bug(error)
    code, body = answer.refusal(error, options.language)
    return Answer(body, int(code.exit))


def _stopped(options: Options) -> Answer:
    why, fix = _STOPPED[options.language]
    return Answer({"code": "stopped", "why": why, "fix": fix}, _INTERRUPTED)
