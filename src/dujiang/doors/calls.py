"""Acts called from Python: what they answer as JSON, and what is refused as an exception.

1. A call opens what holds the home at that moment, as the command line does, and lets it go: a node that
   is started or stopped meanwhile is noticed, and nobody is kept waiting. `with` keeps it open for a block.
2. Both refusals, raised and declined, are one exception: code, why and fix in the chosen language.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dujiang.acts import ACTS
from dujiang.doors import answer, flow
from dujiang.doors.local import Answer, Client, Options, codes, opened
from dujiang.kernel.act import Act
from dujiang.kernel.errors import Code, Exit, Refused, Unavailable
from dujiang.kernel.runner import UNKNOWN_ACT

LIBRARY_MISSING = Code(
    "library_missing", 501, Exit.usage,
    "This needs the library {name}, which is not installed.", "Install it with `pip install {name}`.",
    "此操作需要尚未安装的 {name} 库。", "请运行 `pip install {name}` 安装。",
)  # fmt: skip
NOT_DONE = Code(
    "not_done", 409, Exit.conflict,
    "The question still runs: there is no answer yet.", "Wait for it with `answer.wait()`.",
    "查询仍在运行，尚无答案。", "请用 `answer.wait()` 等待。",
)  # fmt: skip
NO_RECEIPT = Code(
    "no_receipt", 404, Exit.not_found,
    "This left no entry, so there is no receipt of it.", "Receipts are of acts that write; see `dujiang acts`.",
    "此操作未留下存证条目，因而没有回执。", "写入类行为才有回执；见 `dujiang acts`。",
)  # fmt: skip
CODES = (LIBRARY_MISSING, NOT_DONE, NO_RECEIPT)
_PAUSE_S, _PAUSE_S_MAX = 0.05, 1.0


class Refusal(Exception):
    """Something was refused, or is not available now (`again`); `code`, `why` and `fix` say what, why, how on."""

    def __init__(self, body: Mapping[str, Any], exit: int = 1, text: str | None = None) -> None:
        self.code = str(body.get("code", ""))
        """Stable name of the refusal; docs/REFUSALS.md lists them."""
        self.why = str(body.get("why", ""))
        self.fix = str(body.get("fix", ""))
        self.offer: str | None = body.get("offer")
        """The caller's own text as it would be allowed."""
        self.where: dict[str, int] | None = body.get("where")
        """Start and length of the place in the caller's own text."""
        self.receipt: dict[str, Any] | None = body.get("receipt")
        """The receipt of the entry the refusal itself left, if it left one."""
        self.exit = exit
        """The exit status of the command line for it."""
        self.again = exit == Exit.failure
        """Whether the same may succeed later as it is."""
        self.text = text
        self.done: Any = None
        """The receipts of what was attested before it, of a call that sent many records."""
        super().__init__(f"{self.why} {self.fix} [{self.code}]")

    def marked(self) -> str | None:
        """The caller's own text with the place that is meant underlined, or None."""
        from dujiang.doors.show import underlined

        if self.text is None or not self.where:
            return None
        return underlined(self.text, self.where["start"], self.where["length"]).plain

    def _lines(self) -> list[str]:
        from dujiang.doors.show import clean

        offer = None if self.offer is None else f"  ≈ {clean(self.offer)}"
        lines = [f"✗ {clean(self.why)}", self.marked(), offer, f"→ {clean(self.fix)}", f"  {self.code}"]
        return [line for line in lines if line is not None]

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in place of a traceback through our code."""
        return self._lines()

    def _repr_html_(self) -> str:
        from dujiang.doors.markup import refused

        return refused(self._lines())


class Calls:
    """Runs acts for one organisation, by whatever holds the home."""

    def __init__(self, options: Options, vkey: str | None = None) -> None:
        """`vkey`: the verifier key of the log that receipts are expected from, if it is known."""
        self.options = options
        self.vkey = vkey
        self._held = ExitStack()
        self._client: Client | None = None

    def run(self, name: str, ask: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """The answer of an act (its full name or its short verb); `None` in the ask: not given.

        A `Path` is a file: what the act uploads is sent, a structure (terms) is read from TOML or JSON.
        `key`: the request's idempotency key; with the same ask it is done once, however often it is sent.

        Raises: Refusal.
        """
        act = next((act for act in ACTS.values() if name in (act.name, act.verb)), None)
        with self._spoken(_own_text(act, ask)):
            if act is None:
                raise Refused(UNKNOWN_ACT)
            with self._opened() as client:
                raw = {
                    member: self._sent(client, member, value)
                    for member, value in ask.items()
                    if value is not None
                }
                return self._body(client.run(act, raw, key), _own_text(act, raw))

    def wait(self, act: Act, said: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """What an act that goes on after its reply says once it is done, or after so many seconds.

        Raises: Refusal: also the one the act ended with.
        """
        assert act.until is not None
        read = ACTS[act.until[0]]
        member = read.positional[0]
        deadline, pause = time.monotonic() + seconds, _PAUSE_S
        latest = dict(said)
        while latest.get("done") is not True and time.monotonic() < deadline:
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(2 * pause, _PAUSE_S_MAX)
            latest |= self.run(read.name, {member: latest[act.until[1]]})
        if declined := answer.declined(latest, codes()):
            code, body = answer.refusal(declined, self.options.language)
            raise Refusal(body, int(code.exit), _own_text(act, latest))
        return latest

    def refusal(self, error: Refused | Unavailable, text: str | None = None) -> Refusal:
        """The exception a Python program gets for an error of this program."""
        code, body = answer.refusal(error, self.options.language)
        return Refusal(body, int(code.exit), text)

    def __enter__(self) -> Calls:
        with self._spoken(None):
            self._client = self._held.enter_context(opened(self.options))
        return self

    def __exit__(self, *_: object) -> None:
        self._client = None
        self._held.close()

    @contextmanager
    def _opened(self) -> Iterator[Client]:
        if self._client is not None:
            yield self._client
            return
        with opened(self.options) as client:
            yield client

    @contextmanager
    def _spoken(self, text: str | None) -> Iterator[None]:
        try:
            yield
        except (Refused, Unavailable) as error:
            raise self.refusal(error, text) from None

    def _sent(self, client: Client, member: str, value: Any) -> Any:
        if not isinstance(value, Path):
            return value
        return (
            self._body(client.upload(value), None)["upload"] if member == "upload" else flow.structure(value)
        )

    def _body(self, given: Answer, text: str | None) -> dict[str, Any]:
        if given.exit:
            raise Refusal(given.body, given.exit, text)
        return dict(given.body)


def _own_text(act: Act | None, ask: Mapping[str, Any]) -> str | None:
    """The text a refusal may point into: an act's last positional member, as on the command line."""
    text = ask.get(act.positional[-1]) if act is not None and act.positional else None
    return text if isinstance(text, str) else None
