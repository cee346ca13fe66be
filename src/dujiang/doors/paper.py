"""What the pages of a node are drawn on: templates, words in both languages, files that are kept, safe headers."""

from __future__ import annotations

import hashlib
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dujiang.doors import answer, gate, journal
from dujiang.doors.desk import cookie
from dujiang.kernel.errors import Declined, Refused, Unavailable

LANGUAGE = "dujiang_lang"
"""Name of the cookie that keeps the chosen language."""
YEAR_S = 31_536_000
_FOLDER = Path(__file__).parent / "templates"
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


class Paper:
    """The pages of one node, as responses."""

    def __init__(self, origin: str) -> None:
        self._origin = origin

    def page(self, request: Request, name: str, status: int = 200, **values: Any) -> Response:
        """A page drawn from a template."""
        chosen = language(request)
        made = _environment().get_template(name).render(
            lang=chosen, w=words(chosen), origin=self._origin, style=static("page.css"), icon=static("icon.svg"),
            **values,
        )  # fmt: skip
        headers = {
            "content-security-policy": _POLICY,
            # With "no-referrer" a browser hides the origin of this page's own forms from this node too.
            "referrer-policy": "same-origin",
            "content-language": chosen,
            "vary": "Accept-Language, Cookie",
        }
        return Response(made, status, headers, media_type="text/html")

    def refused(self, request: Request, error: Exception | Declined, back: str = "/") -> Response:
        """A refusal as a page; a bug is logged and says nothing."""
        if not isinstance(error, (Refused, Unavailable, Declined)):
            journal.bug(error, path=request.scope["route"].path)
        code, said = answer.refusal(error, language(request))
        return self.page(request, "refused.html", code.status, back=back, **said)


def language(request: Request) -> str:
    """The language of a page: "zh" or "en", as asked for, as kept, or as the browser prefers."""
    for chosen in (request.query_params.get("lang"), cookie(request.scope, LANGUAGE)):
        if chosen in ("en", "zh"):
            return chosen
    return gate.language(request.scope)


@cache
def words(language: str) -> dict[str, str]:
    """Every sentence of the pages in a language."""
    found = tomllib.loads((_FOLDER / "words.toml").read_text(encoding="utf-8"))
    return {name: each[language] for name, each in found.items()}


@cache
def static(name: str) -> str:
    """The address of a file of the pages: it changes with its content, so it may be kept for ever."""
    kept = hashlib.sha256((_FOLDER / name).read_bytes()).hexdigest()[:12]
    return f"/static/{kept}.{name.rpartition('.')[2]}"


def kept(name: str, kind: str) -> Response:
    """A file of the pages, to be kept for ever."""
    keep = {"cache-control": f"public, max-age={YEAR_S}, immutable"}
    return Response((_FOLDER / name).read_bytes(), headers=keep, media_type=kind)


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
