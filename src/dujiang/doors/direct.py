"""Commands that are no act: make a home, serve it, watch it work, read the table of acts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from dujiang.acts import ACTS
from dujiang.doors.local import Answer, Options
from dujiang.kernel.act import Act, bind
from dujiang.kernel.errors import Code, Exit, Refused
from dujiang.kernel.ids import prefix_of

Deed = Callable[[Options], Answer]
ID_UNKNOWN = Code(
    "id_unknown", 404, Exit.not_found,
    "This is not an id that can be shown.",
    "Give an id that begins with one of: {known}; or the number of a log entry.",
    "这不是可查看的编号。", "请填写以下列之一开头的编号：{known}；或存证条目的序号。",
)  # fmt: skip
SCHEMA_UNKNOWN = Code(
    "schema_unknown", 404, Exit.usage,
    "There is no form of that name.{hint}",
    "Use terms, codes, a command or an act (list them with `dujiang acts`).",
    "没有该名称的格式。{hint}", "请使用 terms、codes、命令名或行为名（用 `dujiang acts` 列出）。",
)  # fmt: skip
CODES = (ID_UNKNOWN, SCHEMA_UNKNOWN)
_SERVING = {
    "en": "Sign in: `dujiang identity link`, then open /enter/TOKEN here. Ctrl-C stops.",
    "zh": "登录：运行 `dujiang identity link`，再打开此地址下的 /enter/TOKEN。按 Ctrl-C 停止。",
}
_KEYS_KEPT = {
    "en": "API keys are kept in {path} (readable by you alone). Next: dujiang offer FILE --entity COLUMN",
    "zh": "API 密钥保存在 {path}（仅您可读）。下一步：dujiang offer 文件 --entity 字段名",
}


def init(
    *orgs: Annotated[str, Parameter(name="ORG")],
    authority: Annotated[str | None, Parameter()] = None,
    database: Annotated[str, Parameter()] = "",
) -> Deed:
    """Make a home with its organisations, the first of which operates it.

    Parameters
    ----------
    orgs
        Names of the organisations; NAME=role,role chooses roles (default: provider,consumer).
    authority
        Host name under which the organisations' identifiers stand, chosen once.
    database
        An empty PostgreSQL database (postgresql://USER@HOST/NAME); without it a file in the home.
    """

    def deed(options: Options) -> Answer:
        from dujiang import home
        from dujiang.doors import profiles, show
        from dujiang.doors.usage import ARGUMENT_MISSING

        if not orgs:
            raise Refused(ARGUMENT_MISSING, name="ORG")
        wanted = [_organisation(text, first=place == 0) for place, text in enumerate(orgs)]
        held, made = home.create(options.home, wanted, authority, database=database)
        try:
            profiles.write(options.home, made)
            vkey = held.book.vkey
        finally:
            held.close()
        shown = [{"name": each["name"], "did": each["did"], "roles": each["roles"]} for each in made]
        if not options.json:
            show.say(_KEYS_KEPT[options.language].format(path=options.home / "profiles"))
        body = {"home": str(options.home), "vkey": vkey, "organisations": made}
        return Answer(body, human={**body, "organisations": shown})

    return deed


def up(*, port: int = 8000, host: str = "127.0.0.1") -> Deed:
    """Serve this home over HTTP until it is stopped.

    Parameters
    ----------
    port
        0 chooses a free one.
    host
        Address to listen on; only this machine by default.
    """

    def deed(options: Options) -> Answer:
        from dujiang import home
        from dujiang.doors import show
        from dujiang.doors.serve import serve
        from dujiang.doors.tools import Tools

        def ready(url: str) -> None:
            if options.json:
                show.document({"url": url})
                return
            print(url, flush=True)
            show.say(_SERVING[options.language])

        # A node that serves holds the home for as long as it likes: not worth waiting for.
        waits = {"wait_s": 0.0} if home.holder(options.home) else {}
        with home.opened(options.home, **waits) as held:
            quiet = serve(held, host, port, ready, {"/mcp": Tools})
        if not quiet:
            # The home is closed and nothing more is acknowledged: a question that runs is not waited for.
            sys.stdout.flush()
            os._exit(0)
        return Answer(None)

    return deed


def demo(
    *,
    once: bool = False,
    keep: Path | None = None,
    port: int | None = None,
    no_browser: bool = False,
    database: str = "",
) -> Deed:
    """Watch one organisation ask another's real table without seeing a row.

    Parameters
    ----------
    once
        Do everything, verify it and end.
    keep
        Keep the home in this folder.
    port
        Port to serve the home on afterwards.
    no_browser
        Print the address only.
    database
        An empty PostgreSQL database to keep the state in, instead of a file in the home.
    """

    def deed(options: Options) -> Answer:
        from dujiang.doors import demo as tour

        flags = {} if port is None else {"port": port}
        done = tour.main(
            once=once, keep=keep, lang=options.language, no_browser=no_browser, as_json=options.json,
            database=database, **flags,
        )  # fmt: skip
        return Answer(None, done)

    return deed


def doctor(*, port: int = 8000) -> Deed:
    """Check this machine and this home, line by line, each with its way out.

    Parameters
    ----------
    port
        The port a node would listen on.
    """

    def deed(options: Options) -> Answer:
        from dujiang.doors.doctor import examine

        findings = examine(options.home, port, options.language)
        marks = {(True, False): "✓", (True, True): "!", (False, True): "✗"}
        lines = [f"{marks[each['ok'], bool(each['fix'])]} {each['detail']}" for each in findings]
        human = [
            line + (f"\n  → {each['fix']}" if each["fix"] else "")
            for line, each in zip(lines, findings, strict=True)
        ]
        return Answer(
            findings, int(Exit.ok if all(each["ok"] for each in findings) else Exit.failure), human=human
        )

    return deed


def mcp(
    *,
    products: list[str] | None = None,
    purposes: list[str] | None = None,
    statistics_max: int = 0,
    price_max: list[str] | None = None,
    allow: list[str] | None = None,
    mandate: str = "agent",
    vkey: str | None = None,
) -> Deed:
    """Let an agent find, agree and ask over the Model Context Protocol, within a mandate.

    Parameters
    ----------
    products
        Ids of the products it may agree on and ask about, or any; none: it only finds and looks.
    purposes
        Purposes it may state, or any.
    statistics_max
        Most statistics it may take, over all its questions and however often it is started.
    price_max
        Most money it may use, such as "200.00 CNY"; once for each currency. Left out: nothing with a price.
    allow
        Further acts it may run, such as contract.terminate.
    mandate
        Name of the mandate whose count goes on.
    vkey
        The verifier key of the log you expect, one line, or a file that holds it.
    """

    def deed(options: Options) -> Answer:
        from dujiang.doors import agent as agents
        from dujiang.doors.calls import Refusal
        from dujiang.doors.mandate import MCP_MISSING, Mandate, amounts
        from dujiang.doors.usage import key_line, parts

        given = Mandate(
            parts(products), parts(purposes), max(0, statistics_max), amounts(parts(price_max)),
            acts=agents.known(parts(allow)), name=mandate,
        )  # fmt: skip
        try:
            agent = agents.open_agent(options, given, None if vkey is None else key_line(vkey))
        except Refusal as no:
            return Answer({"code": no.code, "why": no.why, "fix": no.fix}, no.exit)
        try:
            from dujiang.doors.mcp import serve
        except ImportError:
            raise Refused(MCP_MISSING) from None
        serve(agent)
        return Answer(None)

    return deed


def acts() -> Deed:
    """List every act: what it does, who may, and what it leaves behind."""

    def deed(options: Options) -> Answer:
        del options
        rows = [
            {
                "name": act.name, "verb": act.verb, "role": ", ".join(act.roles), "effect": act.effect.value,
                "title": act.title, "title_zh": act.title_zh,
            }
            for act in ACTS.values()
        ]  # fmt: skip
        return Answer(rows)

    return deed


def schema(name: str) -> Deed:
    """Print the JSON Schema of the terms file, of an act's ask and reply, or the table of refusals.

    Parameters
    ----------
    name
        terms, codes, a command such as offer, or an act such as catalogue.offer.
    """

    def deed(options: Options) -> Answer:
        del options
        from dujiang.doors import show
        from dujiang.doors.usage import hint

        found = next((act for act in ACTS.values() if name in (act.name, act.verb)), None)
        if name == "terms":
            from dujiang.kernel.shape import schema as form
            from dujiang.policy.model import TermsFile

            show.document(form(TermsFile))
        elif name == "codes":
            show.document(_codes())
        elif found is not None:
            show.document(_forms(found))
        else:
            verbs = [act.verb for act in ACTS.values() if act.verb]
            raise Refused(SCHEMA_UNKNOWN, hint=hint(name, ["terms", "codes", *verbs, *ACTS]))
        return Answer(None)

    return deed


def show(id: str) -> Deed:
    """Show whatever an id names: a product, a contract, a job, an organisation, a log entry by its number.

    Parameters
    ----------
    id
        The id, or the number of a log entry.
    """

    def deed(options: Options) -> Answer:
        from dujiang.doors.flow import Wish, perform
        from dujiang.doors.verbs import flags_of

        act = _shown_by(id)
        flag = next(iter(flags_of(bind(act).ask)))
        value = int(id) if flag.form is int else id
        return perform(Wish(act, {flag.name: value}, {}, {}), options)

    return deed


def _shown_by(text: str) -> Act:
    if text.isascii() and text.isdigit() and len(text) < 16:
        prefix = "entry"
    elif text.startswith("did:"):
        prefix = "org"
    else:
        prefix = prefix_of(text) or ""
    for act in ACTS.values():
        if prefix in act.shows:
            return act
    known = dict.fromkeys(f"{each}_" for act in ACTS.values() for each in act.shows if each != "entry")
    raise Refused(ID_UNKNOWN, known=", ".join(known))


def _organisation(text: str, *, first: bool) -> tuple[str, tuple[str, ...]]:
    name, equals, roles = text.rpartition("=")
    if equals:
        return name, tuple(role.strip() for role in roles.split(",") if role.strip())
    return text, ("operator", "provider", "consumer") if first else ("provider", "consumer")


def _forms(act: Act) -> dict[str, Any]:
    from dujiang.kernel.shape import schema as form

    bound = bind(act)
    return {"act": act.name, "ask": form(bound.ask), "reply": form(bound.reply)}


def _codes() -> list[dict[str, Any]]:
    from dujiang.doors import (
        attest,
        backup,
        calls,
        certificate,
        dossier,
        flow,
        frames,
        mandate,
        mirror,
        renewal,
        tools,
        usage,
        verify,
    )
    from dujiang.doors.local import codes

    table = codes()
    own = sys.modules[__name__]
    for door in (
        attest,
        backup,
        calls,
        certificate,
        dossier,
        flow,
        frames,
        mandate,
        mirror,
        renewal,
        tools,
        usage,
        verify,
        own,
    ):
        table.update({code.name: code for code in door.CODES})
    return [
        {
            "code": code.name, "status": code.status, "exit": int(code.exit),
            "why": code.why, "fix": code.fix, "why_zh": code.why_zh, "fix_zh": code.fix_zh,
        }
        for code in sorted(table.values(), key=lambda code: code.name)
    ]  # fmt: skip
