"""The page of a running node: what it holds for whoever looks, and how to go on; no script, no style inside.

1. A sign-in link shows a button first: a previewing mail program does not use it up.
2. A session is a cookie no script reads and no other site sends; only this node's own forms change anything.
3. The page says what the acts say to this caller, and to a stranger which organisations are here.
"""

from __future__ import annotations

import hashlib
import tomllib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dujiang import acts
from dujiang.doors import answer, gate, journal
from dujiang.doors.desk import CROSS_ORIGIN, SESSION, Desk, body, cookie, same_origin
from dujiang.identity import acts as identity
from dujiang.kernel.act import NOBODY, Caller, bind
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.kernel.ids import prefix_of
from dujiang.kernel.shape import build, plain

_FOLDER = Path(__file__).parent / "templates"
_LANGUAGE = "dujiang_lang"
_FORM_BYTES_MAX = 8192
_ROWS = 10
_ORGANISATIONS = 100
_YEAR_S = 31_536_000
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_STEPS = (
    ("provider", "do_offer", "dujiang offer TABLE.csv --entity COLUMN"),
    ("consumer", "do_find", "dujiang find WORDS"),
    ("consumer", "do_agree", "dujiang agree PRODUCT --purpose PURPOSE"),
    ("consumer", "do_ask", 'dujiang ask CONTRACT "select count(*) from TABLE"'),
    ("operator", "do_admit", "dujiang identity register NAME"),
    ("", "do_history", "dujiang history"),
    ("", "do_verify", "dujiang verify RECEIPT"),
)


class Pages:
    """The pages of one node."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def start(self, request: Request) -> Response:
        """The first page, for whoever looks."""
        asked = request.query_params.get("lang")
        try:
            caller = self._desk.caller(request.scope)
            inside = await self._inside(request, caller) if caller is not NOBODY else None
            response = inside or await self._outside(request)
        except Exception as error:
            return self._refused(request, error)
        if asked in ("en", "zh"):
            response.set_cookie(_LANGUAGE, asked, max_age=_YEAR_S, samesite="lax", httponly=True)
        return response

    async def offer_entry(self, request: Request) -> Response:
        """A page with the one button that uses a sign-in link."""
        return self._page(request, "enter.html", token=request.path_params["token"])

    async def enter(self, request: Request) -> Response:
        """Signs in by a single-use link."""
        return await self._open(request, "identity.enter", ("token",))

    async def login(self, request: Request) -> Response:
        """Signs in by organisation, person and password."""
        return await self._open(request, "identity.login", ("organisation", "person", "password"))

    async def leave(self, request: Request) -> Response:
        """Signs out."""
        session = cookie(request.scope, SESSION)
        try:
            if not same_origin(request.scope):
                raise Refused(CROSS_ORIGIN)
            if session is not None:
                await self._desk.run("identity.leave", NOBODY, identity.Leave(session))
        except Exception as error:
            return self._refused(request, error)
        response = RedirectResponse("/", 303)
        response.delete_cookie(SESSION)
        return response

    async def _open(self, request: Request, act: str, names: tuple[str, ...]) -> Response:
        try:
            if not same_origin(request.scope):
                raise Refused(CROSS_ORIGIN)
            raw = await body(request.scope, request.receive, _FORM_BYTES_MAX)
            sent = parse_qs(raw.decode("utf-8", "replace"))
            ask = build(bind(acts.ACTS[act]).ask, {name: sent.get(name, [""])[0] for name in names})
            opened: identity.Opened = (await self._desk.run(act, NOBODY, ask)).reply
        except Exception as error:
            return self._refused(request, error)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            SESSION, opened.session or "", max_age=self._desk.home.node.config.session_hours * 3600,
            httponly=True, samesite="strict", secure=request.url.scheme == "https",
        )  # fmt: skip
        return response

    async def _inside(self, request: Request, caller: Caller) -> Response:
        language = _language(request)
        own = await self._items("catalogue.list", caller)
        contracts = await self._items("contract.list", caller)
        offered = await self._items("catalogue.search", caller)
        return self._page(
            request,
            "inside.html",
            card=await self._read("identity.show", caller, {}),
            own=own,
            contracts=contracts,
            offered=offered,
            entries=_entries(await self._items("ledger.list", caller) or [], language),
            steps=_steps(caller, _words(language), own or [], offered or [], contracts or []),
        )

    async def _outside(self, request: Request) -> Response:
        here = await self._desk.work(_organisations, self._desk.home)
        offered = await self._items("catalogue.search", NOBODY)
        return self._page(request, "outside.html", organisations=here, offered=offered)

    async def _items(self, act: str, caller: Caller) -> list[dict[str, Any]] | None:
        """The first items of a list, or None if there is no such list for the caller."""
        if act not in acts.ACTS or not caller.may(acts.ACTS[act]):
            return None
        return list((await self._read(act, caller, {"limit": _ROWS}))["items"])

    async def _read(self, act: str, caller: Caller, ask: dict[str, Any]) -> dict[str, Any]:
        return plain((await self._desk.run(act, caller, build(bind(acts.ACTS[act]).ask, ask))).reply)

    def _page(self, request: Request, name: str, status: int = 200, **values: Any) -> Response:
        language = _language(request)
        made = _environment().get_template(name).render(
            lang=language, w=_words(language), origin=self._desk.home.node.origin,
            style=_static("page.css"), icon=_static("icon.svg"), **values,
        )  # fmt: skip
        headers = {
            "content-security-policy": _POLICY,
            # With "no-referrer" a browser hides the origin of this page's own forms from this node too.
            "referrer-policy": "same-origin",
            "content-language": language,
            "vary": "Accept-Language, Cookie",
        }
        return Response(made, status, headers, media_type="text/html")

    def _refused(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, (Refused, Unavailable)):
            journal.bug(error, path=request.scope["route"].path)
        code, said = answer.refusal(error, _language(request))
        return self._page(request, "refused.html", code.status, **said)


def add(app: FastAPI, desk: Desk) -> None:
    """Adds the pages and what they are drawn with to an application."""
    pages = Pages(desk)
    for path, endpoint, method in (
        ("/", pages.start, "GET"),
        ("/enter/{token}", pages.offer_entry, "GET"),
        ("/enter", pages.enter, "POST"),
        ("/login", pages.login, "POST"),
        ("/leave", pages.leave, "POST"),
        (_static("page.css"), _style, "GET"),
        (_static("icon.svg"), _icon, "GET"),
    ):
        app.add_api_route(path, endpoint, methods=[method], include_in_schema=False)


@cache
def _static(name: str) -> str:
    """The address of a file of the pages: it changes with its content, so it may be kept for ever."""
    kept = hashlib.sha256((_FOLDER / name).read_bytes()).hexdigest()[:12]
    return f"/static/{kept}.{name.rpartition('.')[2]}"


async def _style() -> Response:
    return _kept("page.css", "text/css")


async def _icon() -> Response:
    return _kept("icon.svg", "image/svg+xml")


def _kept(name: str, kind: str) -> Response:
    keep = {"cache-control": f"public, max-age={_YEAR_S}, immutable"}
    return Response((_FOLDER / name).read_bytes(), headers=keep, media_type=kind)


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        auto_reload=False,
    )  # fmt: skip


@cache
def _words(language: str) -> dict[str, str]:
    found = tomllib.loads((_FOLDER / "words.toml").read_text(encoding="utf-8"))
    return {name: each[language] for name, each in found.items()}


def _language(request: Request) -> str:
    for chosen in (request.query_params.get("lang"), cookie(request.scope, _LANGUAGE)):
        if chosen in ("en", "zh"):
            return chosen
    return gate.language(request.scope)


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


def _entries(items: list[dict[str, Any]], language: str) -> list[dict[str, Any]]:
    return [
        {
            "index": each["index"],
            "title": _title(each["act"], language),
            "about": next((v for v in each["facts"].values() if isinstance(v, str) and prefix_of(v)), None),
            "when": datetime.fromtimestamp(each["time_ms"] / 1000, UTC).isoformat(timespec="seconds"),
        }
        for each in items
    ]


def _title(name: str, language: str) -> str:
    act = acts.ACTS.get(name)
    return name if act is None else act.title_zh if language == "zh" else act.title
