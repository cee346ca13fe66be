"""The log as people read it in a terminal: who did what when, about what; what an examination found, in a sentence.

`--json` has all of it as it is. Where there is more, the command that shows it is said, to be run as it stands.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from dujiang.acts import ACTS
from dujiang.doors import show
from dujiang.doors.local import Answer, Client, Options
from dujiang.doors.naming import about, title, when
from dujiang.kernel.act import Act
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.kernel.ids import prefix_of

_HIDDEN = frozenset(
    {"org", "person", "parties", "figures", "version", "noise", "message", "charged_micro", "currency"}
)
_NAMED_MAX = 50
_VKEY = re.compile(r"[^+\s]+\+[0-9a-f]{8}\+\S+")
_NODE = {"en": "the node", "zh": "本节点"}
_UNNAMED = {"en": "somebody", "zh": "未具名"}
_MORE = {"en": "More: {command}", "zh": "更多：{command}"}
_ALL = {"en": "The whole requests as they came: --json", "zh": "请求全文：--json"}
_SOUND = {
    "en": "{entries} entries, {checkpoints} checkpoints: all of it is what was signed.",
    "zh": "{entries} 条存证、{checkpoints} 个检查点：均与签署内容一致。",
}
_BROKEN = {
    "en": "{found} differences from what was signed. Keep the home as it is; `dujiang doctor` says how to go on.",
    "zh": "与签署内容有 {found} 处不符。请原样保留节点目录；`dujiang doctor` 说明后续步骤。",
}
_AGREES = {
    "en": "{entries} entries and the packages agree in every object and every sum.",
    "zh": "{entries} 条存证与各模块的对象、金额全部一致。",
}
_DIFFERS = {"en": "{found} findings; nothing was changed.", "zh": "发现 {found} 处不一致；未作任何更改。"}
_RETAINED = {
    "en": "Published: everybody reads it at /log/policy; something may be pruned under it from {day} on.",
    "zh": "已公布：任何人可在 /log/policy 查阅；自 {day} 起方可据此清理。",
}
_QUORUM = {
    "en": "{least} of {count} within {fresh_s} s",
    "zh": "{count} 个中的 {least} 个，{fresh_s} 秒内",
}
_NO_QUORUM = {"en": "none is needed", "zh": "不要求"}
_DIFFERENCES = {
    "number": ("An entry's number is missing or stands twice.", "条目序号缺失或重复。"),
    "record": ("The record does not open its entry.", "记录与条目的承诺不符。"),
    "time": ("The time goes back.", "时间倒退。"),
    "leaf": ("The leaf is not the one in the tree.", "叶哈希与树中不同。"),
    "tile": ("A tile is not what the leaves give.", "瓦片与各叶计算结果不同。"),
    "root": ("The checkpoint's root is not that of the entries.", "检查点的根与条目计算结果不同。"),
    "signature": ("The checkpoint is not signed by the keys of its time.", "检查点未由当时的密钥签署。"),
    "checkpoint": (
        "A checkpoint is missing, unreadable or of another size.",
        "检查点缺失、无法读取或长度不符。",
    ),
    "sight": ("Who may see entries is not what they say.", "可见范围与条目所述不同。"),
    "figure": ("A figure is not what its entry says.", "统计数字与条目所述不同。"),
}
_CONFLICTS = {
    "roots": ("two roots of one size", "同一长度出现两个根"),
    "rewritten": ("it shows another past", "历史被改写"),
    "unproved": ("no proof that it goes on", "未证明是前者的延续"),
}


def told(client: Client, act: Act, raw: Mapping[str, Any], given: Answer, options: Options) -> Answer:
    """The answer with what people see of it, where it is of the log; its body stays as it is."""
    shown = _SHOWN.get(act.name)
    if shown is None or options.json or given.exit or not isinstance(given.body, dict):
        return given
    named = _names(client, given.body) if act.name in _LISTS else {}
    human, said = shown(given.body, named, options.language)
    if given.body.get("next") is not None:
        said = _MORE[options.language].format(command=_again(act, raw, given.body["next"], options))
    return replace(given, human=human, after=said)


def rows(items: list[dict[str, Any]], named: Mapping[str, str], language: str) -> list[dict[str, Any]]:
    """Entries as people read them, a row each."""
    return [
        {
            "entry": each["index"], "time_utc": when(each["time_ms"]), "act": title(each["act"], language),
            "by": _by(each["facts"], named, language), "about": about(each["facts"], named) or "–",
            "says": says(each["facts"], language, each.get("erased") or ()),
        }
        for each in items
    ]  # fmt: skip


def says(facts: Mapping[str, Any], language: str, erased: Any = ()) -> str:
    """What an entry says beside, in a line: no ids, no hashes, no parts of a sum."""
    parts = [
        f"{show.label(name, language)} {show.cell(_short(value), name, language)}"
        for name, value in show.spoken(facts, language)
        if name not in _HIDDEN
        and not name.endswith("_sha256")
        and not name.startswith("sha256_")
        and _plain(value)
    ]
    if erased:
        parts.append(f"{show.label('erased', language)} {', '.join(map(str, erased))}")
    # A line break in a record of others could pass for a row of the log.
    return " ".join("; ".join(parts).split())


def _short(value: Any) -> Any:
    """A verifier key by its name and number; the key itself is in `--json`."""
    if isinstance(value, list):
        return [_short(each) for each in value]
    # The key is base64, in which a plus may stand as well.
    return "+".join(value.split("+")[:2]) if isinstance(value, str) and _VKEY.fullmatch(value) else value


def _plain(value: Any) -> bool:
    if isinstance(value, str):
        return not prefix_of(value) and not value.startswith("did:")
    if isinstance(value, list):
        return all(isinstance(each, str) and not prefix_of(each) for each in value)
    return True


def _by(facts: Mapping[str, Any], named: Mapping[str, str], language: str) -> str:
    org = facts.get("org")
    if org == "":
        return _NODE[language]
    return named.get(org, org) if isinstance(org, str) else _UNNAMED[language]


def _names(client: Client, body: Mapping[str, Any]) -> dict[str, str]:
    """The names of the organisations that acted or were acted on, as this node knows them."""
    facts = [each.get("facts") or {} for each in body.get("items") or body.get("steps") or ()]
    found = {each[name] for each in facts for name in ("org", "organisation", "subject") if name in each}
    named: dict[str, str] = {}
    for org in sorted(each for each in found if isinstance(each, str) and prefix_of(each) == "org")[
        :_NAMED_MAX
    ]:
        try:
            card = client.run(ACTS["identity.show"], {"id": org})
        except (Refused, Unavailable):
            continue  # the id says it as well
        if not card.exit and isinstance(card.body.get("name"), str):
            named[org] = card.body["name"]
    return named


def _again(act: Act, raw: Mapping[str, Any], before: Any, options: Options) -> str:
    """The command that shows what comes next, as it may be run."""
    words = ["dujiang", *([act.verb] if act.verb else act.name.split("."))]
    for name, value in raw.items():
        if name == "before":
            continue
        values = [str(each) for each in (value if isinstance(value, list) else [value])]
        words += values if name in act.positional else [f"--{name.replace('_', '-')}", *values]
    words += ["--before", str(before)]
    for flag, given, variable in (
        ("--as", options.org, "DUJIANG_AS"),
        ("--node", options.node, "DUJIANG_NODE"),
        ("--home", str(options.home), "DUJIANG_HOME"),
    ):
        if (
            given
            and given != os.environ.get(variable)
            and not (flag == "--home" and options.home == _default())
        ):
            words += [flag, given]
    return shlex.join(words)


def _default() -> Any:
    from dujiang.doors.usage import DEFAULT_HOME

    return DEFAULT_HOME


Shown = tuple[Any, str]
"""What people see, and what is said of it beside."""


def _listed(body: Mapping[str, Any], named: Mapping[str, str], language: str) -> Shown:
    return rows(body["items"], named, language) or {"items": []}, ""


def replayed(client: Client, body: Mapping[str, Any], language: str) -> dict[str, Any]:
    """A replay as people read it."""
    named = _names(client, body)
    return {
        "id": body["id"], "proved_under": body["size"], "steps": rows(body["steps"], named, language),
    }  # fmt: skip


def _keys(body: Mapping[str, Any], named: Mapping[str, str], language: str) -> Shown:
    del named
    keys = [
        {**each, "until_ms": None, "until_utc": None if each["until_ms"] is None else when(each["until_ms"])}
        for each in body["keys"]
    ]
    changes = list(_changes(body["changes"], language))
    return {"keys": keys, "changes": changes}, ""


def _changes(receipts: list[dict[str, Any]], language: str) -> Iterator[dict[str, Any]]:
    for receipt in receipts:
        try:
            leaf = json.loads(receipt["leaf"])
            facts = {name: each.get("value") for name, each in receipt["opened"].items()}
        except (KeyError, AttributeError, TypeError, ValueError):
            continue
        facts.pop("origin", None)  # it stands in the keys
        if isinstance(facts.get("until_ms"), int):
            facts["until"] = when(facts.pop("until_ms"))
        yield {
            "entry": receipt["index"], "time_utc": when(leaf["time_ms"]), "act": title(leaf["act"], language),
            "says": says(facts, language),
        }  # fmt: skip


def _witnesses(body: Mapping[str, Any], named: Mapping[str, str], language: str) -> Shown:
    del named
    quorum = _QUORUM if body["least"] else _NO_QUORUM
    top = {
        "entries": body["size"],
        "cosigned": body["cosigned"] if body["least"] else None,
        "fresh": body["fresh"] if body["least"] else None,
        "quorum": quorum[language].format(count=len(body["witnesses"]), **body),
        "forks": body["forks"], "unproved": body["unproved"], "vkey": body.get("vkey"),
    }  # fmt: skip
    asked = [{name: value for name, value in each.items() if name != "failure"} for each in body["witnesses"]]
    return {**top, "witnesses": asked, "watched": body["watched"]}, ""


def _forks(body: Mapping[str, Any], named: Mapping[str, str], language: str) -> Shown:
    del named
    items = [
        {
            "origin": each["origin"], "time_utc": when(each["time_ms"]), "size": each["size"],
            "known": each["known"], "proves": each["proves"], "conflict": _word(_CONFLICTS, each["conflict"], language),
        }
        for each in body["items"]
    ]  # fmt: skip
    return items or {"items": []}, _ALL[language] if items else ""


def _examined(body: Mapping[str, Any], named: Mapping[str, str], language: str) -> Shown:
    del named
    found = [
        {"at": each["at"] if each["at"] >= 0 else None, "difference": _word(_DIFFERENCES, each["what"], language),
         "detail": each.get("detail")}
        for each in body["differences"]
    ]  # fmt: skip
    said = (_SOUND if body["agrees"] else _BROKEN)[language].format(**body)
    return found or {"agrees": body["agrees"]}, said


def _reconciled(body: Mapping[str, Any], named: Mapping[str, str], language: str) -> Shown:
    del named
    objects = [
        {"kind": show.label(name, language), "count": count} for name, count in body["objects"].items()
    ]
    said = (_AGREES if body["agrees"] else _DIFFERS)[language].format(**body)
    return {"agrees": body["agrees"], "objects": objects, "findings": body["findings"]}, said


def _retained(body: Mapping[str, Any], named: Mapping[str, str], language: str) -> Shown:
    del named
    day = when(body["applies_ms"])[:10]
    human = {"days": body["days"], "applies_utc": when(body["applies_ms"])}
    return human, _RETAINED[language].format(day=day)


def _word(words: Mapping[str, tuple[str, str]], word: str, language: str) -> str:
    return words[word][language == "zh"] if word in words else word


_LISTS = ("ledger.list", "ledger.search")
_SHOWN: dict[str, Callable[[Mapping[str, Any], Mapping[str, str], str], Shown]] = {
    **dict.fromkeys(_LISTS, _listed),
    "ledger.keys": _keys,
    "ledger.witnesses": _witnesses,
    "ledger.forks": _forks,
    "ledger.fsck": _examined,
    "ledger.retain": _retained,
    "observatory.reconcile": _reconciled,
}
