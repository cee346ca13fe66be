"""Forms: any act the signed-in person may do, by a button of this node's own pages and without a script.

1. A form is accepted from this very origin, with the session's cookie and the token drawn from that session:
   another site has neither. Whoever could send one could run the act over HTTP as well; a form adds no power.
2. Fields are the ask's own. A list is words between commas or several boxes; what is left empty is not said.
3. Pressing a button twice does it once: the form's own key is the request's, where nothing of it is secret.
4. A session is opened afresh at each sign-in, and the one the browser had ends.
"""

from __future__ import annotations

import re
import secrets
import types
from collections.abc import Mapping
from dataclasses import fields
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dujiang import acts
from dujiang.doors.desk import CROSS_ORIGIN, SESSION, Desk, body, cookie, same_origin, stranger
from dujiang.doors.paper import Paper
from dujiang.identity import acts as identity
from dujiang.identity.model import NOT_SIGNED_IN
from dujiang.kernel.act import NOBODY, Act, bind
from dujiang.kernel.errors import Declined, Refused
from dujiang.kernel.runner import UNKNOWN_ACT
from dujiang.kernel.shape import SECRET, build

_BYTES_MAX = 16_384
_WAIT_S = 5.0
_OWN = frozenset({"csrf", "form", "back"})
"""Fields of every form that are none of the ask's."""
_SHOWN_ONCE = ("token", "api_key")


def token_of(session: str) -> str:
    """What a session's own forms carry: drawn from the secret that no script and no other site can read."""
    return sha256(f"form:{session}".encode()).hexdigest()


def new_form() -> str:
    """A key for the forms of one page."""
    return secrets.token_urlsafe(12)


class Forms:
    """The forms of one node."""

    def __init__(self, desk: Desk, paper: Paper) -> None:
        self._desk = desk
        self._paper = paper

    async def enter(self, request: Request) -> Response:
        """Signs in by a single-use link; an invitation sets a password."""
        return await self._open(request, "identity.enter")

    async def login(self, request: Request) -> Response:
        """Signs in by organisation, person and password."""
        return await self._open(request, "identity.login")

    async def leave(self, request: Request) -> Response:
        """Signs out."""
        session = cookie(request.scope, SESSION)
        try:
            self._desk.count_stranger(request.scope)
            if not same_origin(request.scope):
                raise Refused(CROSS_ORIGIN)
            await self._end(session)
        except Exception as error:
            return self._paper.refused(request, error)
        response = RedirectResponse("/", 303)
        response.delete_cookie(SESSION)
        return response

    async def run(self, request: Request) -> Response:
        """Runs the act a form of a signed-in person names, then goes back to the page it stood on."""
        back = "/"
        try:
            sent = await self._sent(request)
            back = _place(sent)
            act = _act(request)
            caller = self._desk.caller(request.scope)
            session = cookie(request.scope, SESSION)
            if caller is NOBODY or session is None:
                raise Refused(NOT_SIGNED_IN)
            if not compare_digest(sent.get("csrf", [""])[0].encode(), token_of(session).encode()):
                raise Refused(CROSS_ORIGIN)
            ask = build(bind(act).ask, asked(bind(act).ask, sent))
            with self._desk.limits.waiting(caller.org):
                said, _ = await self._desk.answer(act, caller, ask, _key(act, sent), _WAIT_S)
        except Exception as error:
            return self._paper.refused(request, error, back)
        if isinstance(said, Declined):
            return self._paper.refused(request, said, back)
        if isinstance(said.get("session"), str):
            await self._end(session)
            return self._opened(request, said["session"], back)
        once = next((name for name in _SHOWN_ONCE if isinstance(said.get(name), str)), None)
        if once is not None:
            secret = f"{request.base_url}enter/{said[once]}" if once == "token" else said[once]
            return self._paper.page(request, "once.html", secret=secret, kind=once, back=back)
        return RedirectResponse(back, 303)

    async def _open(self, request: Request, name: str) -> Response:
        try:
            self._desk.count_stranger(request.scope)
            if not same_origin(request.scope):
                raise Refused(CROSS_ORIGIN)
            form = bind(acts.ACTS[name]).ask
            sent = await self._sent(request)
            names = {member.name for member in fields(form)}
            known = {each: sent.get(each, [""]) for each in names if each in sent or each != "password"}
            ask = build(form, {each: texts[0] for each, texts in known.items()})
            opened = (await self._desk.run(name, stranger(request.scope), ask)).reply
            if not isinstance(opened, Declined):
                await self._end(cookie(request.scope, SESSION))
        except Exception as error:
            return self._paper.refused(request, error)
        if isinstance(opened, Declined):
            return self._paper.refused(request, opened)
        return self._opened(request, opened.session or "", "/")

    def _opened(self, request: Request, session: str, back: str) -> Response:
        response = RedirectResponse(back, 303)
        response.set_cookie(
            SESSION, session, max_age=self._desk.home.node.config.session_hours * 3600,
            httponly=True, samesite="strict", secure=request.url.scheme == "https",
        )  # fmt: skip
        return response

    async def _end(self, session: str | None) -> None:
        if session:
            await self._desk.run("identity.leave", NOBODY, identity.Leave(session))

    async def _sent(self, request: Request) -> dict[str, list[str]]:
        raw = await body(request.scope, request.receive, _BYTES_MAX)
        return parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True)


def asked(form: type, sent: Mapping[str, list[str]]) -> dict[str, Any]:
    """The members of an ask as the fields of a form say them; what is blank is not said."""
    hints = get_type_hints(form)
    return {
        name: _value(hints.get(name), texts)
        for name, texts in sent.items()
        if name not in _OWN and any(text.strip() for text in texts)
    }


def _value(hint: Any, texts: list[str]) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(each for each in get_args(hint) if each is not type(None))
    if get_origin(hint) is tuple:
        return [part.strip() for text in texts for part in re.split("[,，、]", text) if part.strip()]
    text = texts[0]
    if hint is int:
        return int(text) if text.strip().isascii() and text.strip().isdigit() else text
    return text.strip() in ("on", "true", "1") if hint is bool else text


def _key(act: Act, sent: Mapping[str, list[str]]) -> str | None:
    """The idempotency key of a form: its own and what it says; none where it says a secret."""
    form = sent.get("form", [""])[0]
    if not form or any(member.metadata.get(SECRET) for member in fields(bind(act).ask)):
        return None
    said = repr(sorted((name, texts) for name, texts in sent.items() if name not in _OWN))
    return f"form:{form[:40]}:{sha256(said.encode('utf-8', 'replace')).hexdigest()}"


def _act(request: Request) -> Act:
    name = f"{request.path_params['room']}.{request.path_params['verb']}"
    act = acts.ACTS.get(name)
    if act is None or set(act.roles) == {"node"}:
        raise Refused(UNKNOWN_ACT)
    return act


def _place(sent: Mapping[str, list[str]]) -> str:
    """The page to go back to: a path of this node, whatever the form says."""
    back = sent.get("back", ["/"])[0]
    plain = back.isascii() and back.isprintable() and "\\" not in back
    return back if plain and back.startswith("/") and not back.startswith("//") else "/"
