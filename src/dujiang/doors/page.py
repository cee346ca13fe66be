"""The page of a running node: what it holds for whoever looks, and how to go on; no script, no style inside.

1. A sign-in link shows a button first: a previewing mail program does not use it up.
2. A session is a cookie no script reads and no other site sends; only this node's own forms change anything.
3. The page says what the acts say to this caller, and to a stranger which organisations are here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from dujiang import acts
from dujiang.doors import forms, naming, paper, standing
from dujiang.doors.desk import SESSION, Desk, cookie
from dujiang.doors.sankey import sankey
from dujiang.identity import acts as identity
from dujiang.identity import rules as signing
from dujiang.identity.model import Role
from dujiang.kernel.act import NOBODY, Caller, bind
from dujiang.kernel.errors import Refused
from dujiang.kernel.ids import prefix_of
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.shape import build, plain
from dujiang.ledger import proof as proofs
from dujiang.observatory import acts as observatory

_OVERSEERS = frozenset({"operator", "auditor"})
_ROWS = 10
_DIRECTION = re.compile(r"[0-9]*-[0-9]*")
"""The key of a figure that is not a sum of others: from a province to a province."""
_ORGANISATIONS = 100
_MOVES = 100
_DAYS = ("since", "until")
_STEPS = (
    ("provider", "do_offer", "dujiang offer TABLE.csv --entity COLUMN"),
    ("consumer", "do_find", "dujiang find WORDS"),
    ("consumer", "do_agree", "dujiang agree PRODUCT --purpose PURPOSE"),
    ("consumer", "do_ask", 'dujiang ask CONTRACT "select count(*) from TABLE"'),
    ("operator", "do_admit", "dujiang identity register NAME"),
    ("", "do_history", "dujiang history"),
    ("", "do_verify", "dujiang verify RECEIPT"),
)
_NEWS = {
    "request": "news_request",
    "offer": "news_offer",
    "comment": "news_comment",
    "verify": "news_final",
    "finalize": "news_final",
    "terminate": "news_ended",
    "end": "news_ended",
}
"""What the messages of a negotiation are called."""


class Pages:
    """The pages of one node."""

    def __init__(self, desk: Desk, drawn: paper.Paper) -> None:
        self._desk = desk
        self._paper = drawn

    async def start(self, request: Request) -> Response:
        """The first page, for whoever looks."""
        asked = request.query_params.get("lang")
        response = await self._for_members(request, self._inside)
        if asked in ("en", "zh"):
            response.set_cookie(
                paper.LANGUAGE, asked, max_age=paper.YEAR_S, samesite="lax", httponly=True,
                secure=request.url.scheme == "https",
            )  # fmt: skip
        return response

    async def contract(self, request: Request) -> Response:
        """A negotiation or contract, with what a person may answer."""
        return await self._for_members(request, self._contract)

    async def people(self, request: Request) -> Response:
        """The people of an organisation, their roles and keys."""
        return await self._for_members(request, self._people)

    async def statement(self, request: Request) -> Response:
        """What is on an organisation's accounts and what moved in a period."""
        return await self._for_members(request, self._statement)

    async def statement_file(self, request: Request) -> Response:
        """The same as a file, in the form the path names."""
        return await self._for_members(request, self._statement_file)

    async def receipt_file(self, request: Request) -> Response:
        """A receipt in the form the path names."""
        return await self._for_members(request, self._receipt)

    async def offer_entry(self, request: Request) -> Response:
        """A page with the one button that uses a sign-in link; an invitation asks for a password."""
        token = request.path_params["token"]
        invited = token.startswith(signing.INVITATION)
        return self._paper.page(request, "enter.html", token=token, invited=invited)

    async def _for_members(
        self, request: Request, draw: Callable[[Request, Caller], Awaitable[Response]]
    ) -> Response:
        """A page for who is signed in, the first page for everybody else."""
        try:
            caller = self._desk.caller(request.scope)
            return await (self._outside(request) if caller is NOBODY else draw(request, caller))
        except Exception as error:
            return self._paper.refused(request, error)

    async def _inside(self, request: Request, caller: Caller) -> Response:
        language = paper.language(request)
        own = await self._items("catalogue.list", caller)
        contracts = await self._items("contract.list", caller)
        offered = await self._items("catalogue.search", caller)
        inbox = await self._read("contract.inbox", caller, {"limit": _ROWS})
        return self._paper.page(
            request,
            "inside.html",
            card=await self._read("identity.show", caller, {}),
            own=own,
            contracts=contracts,
            offered=offered,
            log=await self._desk.read(standing.of, self._desk.home),
            entries=_entries(await self._items("ledger.list", caller) or [], language),
            steps=_steps(caller, paper.words(language), own or [], offered or [], contracts or []),
            inbox=inbox,
            news=[_news(each, language) for each in inbox["news"]],
            form=_form(request, "/"),
            stand=await self._stand(caller),
            **await self._flows(caller, language),
        )

    async def _stand(self, caller: Caller) -> dict[str, Any] | None:
        """How the log stands with its witnesses, for who oversees it; nothing where nobody witnesses."""
        if not caller.roles & _OVERSEERS:
            return None
        found = await self._read("ledger.witnesses", caller, {})
        return found if found["witnesses"] or found["watched"] else None

    async def _flows(self, caller: Caller, language: str) -> dict[str, Any]:
        """What flows between provinces: drawn, and the same as rows; overseers see all, others their own."""
        reply = (await self._desk.run("observatory.show", caller, observatory.Show(exact=True))).reply
        cells = [each for each in reply.cells if each.key == "total" or _DIRECTION.fullmatch(each.key)]
        return {"flows": sankey(reply, language), "cells": [plain(each) for each in cells]}

    async def _contract(self, request: Request, caller: Caller) -> Response:
        one = await self._read("contract.show", caller, {"contract": request.path_params["contract"]})
        answers = one["waits_for"] == one["side"] and one["side"] in caller.roles
        ends = one["undelivered"] or one["status"] == "active" or one["waits_for"] not in (None, one["side"])
        return self._paper.page(
            request,
            "contract.html",
            one={**one, "comments": [{**each, "when": _when(each["time_ms"])} for each in one["comments"]]},
            answers=answers,
            ends=ends and one["side"] in caller.roles,
            form=_form(request, f"/contract/{one['contract']}"),
        )

    async def _people(self, request: Request, caller: Caller) -> Response:
        listed = await self._read("identity.list", caller, {})
        people = [{**each, "locked": _when(each["locked_until_ms"])} for each in listed["people"]]
        return self._paper.page(
            request,
            "people.html",
            people=people,
            keys=[each for each in listed["keys"] if not each["revoked"]],
            me=caller.person,
            my_name=next((each["name"] for each in people if each["id"] == caller.person), ""),
            roles=[role.value for role in Role if role.value in caller.roles],
            form=_form(request, "/people"),
        )

    async def _statement(self, request: Request, caller: Caller) -> Response:
        after = request.query_params.get("after", "")
        days = _days(request)
        ask = {
            **days,
            "limit": _MOVES,
            **({"after": int(after)} if after.isascii() and after.isdigit() else {}),
        }
        one = await self._read("market.statement", caller, ask)
        since, until = (days.get(name, "") for name in _DAYS)
        return self._paper.page(request, "statement.html", one=one, since=since, until=until)

    async def _statement_file(self, request: Request, caller: Caller) -> Response:
        ask = {**_days(request), "format": request.path_params["form"]}
        file = await self._read("market.export", caller, ask)
        headers = {
            "content-disposition": f'attachment; filename="{file["name"]}"',
            "cache-control": "no-store",
        }
        return Response(file["text"], headers=headers, media_type="text/plain; charset=utf-8")

    async def _receipt(self, request: Request, caller: Caller) -> Response:
        """The receipt of an entry, or the same for other programs: its proof, or the entry's public bytes."""
        index, form = request.path_params["entry"], request.path_params["form"]
        receipt = (await self._read("ledger.prove", caller, {"entry": index}))["receipt"]
        proof, entry = proofs.of_receipt(receipt)
        made = {"json": msgspec.json.encode(receipt), "tlog-proof": proof.encode(), "entry": entry}
        if form not in made:
            raise Refused(NOT_FOUND)
        headers = {
            "content-disposition": f'attachment; filename="receipt-{index}.{form}"',
            "cache-control": "no-store",
        }
        return Response(made[form], headers=headers, media_type="application/octet-stream")

    async def _outside(self, request: Request) -> Response:
        here = await self._desk.work(_organisations, self._desk.home)
        offered = await self._items("catalogue.search", NOBODY)
        return self._paper.page(request, "outside.html", organisations=here, offered=offered)

    async def _items(self, act: str, caller: Caller) -> list[dict[str, Any]] | None:
        """The first items of a list, or None if there is no such list for the caller."""
        if act not in acts.ACTS or not caller.may(acts.ACTS[act]):
            return None
        return list((await self._read(act, caller, {"limit": _ROWS}))["items"])

    async def _read(self, act: str, caller: Caller, ask: dict[str, Any]) -> dict[str, Any]:
        return plain((await self._desk.run(act, caller, build(bind(acts.ACTS[act]).ask, ask))).reply)


def _days(request: Request) -> dict[str, str]:
    """The days of a period that were given; an empty field of the form is none."""
    return {name: day for name in _DAYS if (day := request.query_params.get(name))}


def add(app: FastAPI, desk: Desk) -> None:
    """Adds the pages, their forms and what they are drawn with to an application."""
    drawn = paper.Paper(desk.home.node.origin)
    pages, sent = Pages(desk, drawn), forms.Forms(desk, drawn)
    for path, endpoint, method in (
        ("/", pages.start, "GET"),
        ("/contract/{contract}", pages.contract, "GET"),
        ("/people", pages.people, "GET"),
        ("/statement", pages.statement, "GET"),
        ("/statement/{form}", pages.statement_file, "GET"),
        ("/receipt/{entry:int}.{form}", pages.receipt_file, "GET"),
        ("/enter/{token}", pages.offer_entry, "GET"),
        ("/enter", sent.enter, "POST"),
        ("/login", sent.login, "POST"),
        ("/leave", sent.leave, "POST"),
        ("/do/{room}/{verb}", sent.run, "POST"),
        (paper.static("page.css"), _style, "GET"),
        (paper.static("icon.svg"), _icon, "GET"),
    ):
        app.add_api_route(path, endpoint, methods=[method], include_in_schema=False)


async def _style() -> Response:
    return paper.kept("page.css", "text/css")


async def _icon() -> Response:
    return paper.kept("icon.svg", "image/svg+xml")


def _form(request: Request, back: str) -> dict[str, str]:
    """What every form of a page carries: its session's token, its own key, and where to go back to."""
    session = cookie(request.scope, SESSION) or ""
    return {"csrf": forms.token_of(session), "form": forms.new_form(), "back": back}


def _organisations(home: Any) -> list[dict[str, str]]:
    with home.node.database.reading() as db:
        return [{"name": each.name, "did": each.did} for each in identity.organisations(db, _ORGANISATIONS)]


def _steps(
    caller: Caller,
    words: dict[str, str],
    own: list[dict[str, Any]],
    offered: list[dict[str, Any]],
    contracts: list[dict[str, Any]],
) -> list[tuple[str, str]]:
    """What this caller may do next, as commands that name what there is already."""
    mine = {each["product"] for each in own}
    product = next((each["product"] for each in offered if each["product"] not in mine), "PRODUCT")
    contract = next((each["contract"] for each in contracts if each["status"] == "active"), "CONTRACT")
    return [
        (words[word], line.replace("PRODUCT", product).replace("CONTRACT", contract))
        for role, word, line in _STEPS
        if not role or role in caller.roles
    ]


def _news(one: dict[str, Any], language: str) -> dict[str, Any]:
    kind = _NEWS.get(one["kind"] or "")
    title = paper.words(language)[kind] if kind else naming.title(one["act"], language)
    shown = prefix_of(one["about"] or "") in ("neg", "ctr")
    return {**one, "title": title, "when": _when(one["time_ms"]), "linked": shown}


def _entries(items: list[dict[str, Any]], language: str) -> list[dict[str, Any]]:
    return [
        {
            "index": each["index"],
            "title": naming.title(each["act"], language),
            "about": naming.about(each["facts"]),
            "when": _when(each["time_ms"]),
        }
        for each in items
    ]


def _when(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")
