"""Another node as a witness, in one command: its keys are shown, then its log is watched and it is asked to cosign.

It has to do the same with this node; until then it answers that it does not watch this log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dujiang.acts import ACTS
from dujiang.doors import mirror, show
from dujiang.doors.flow import NOT_CONFIRMED
from dujiang.doors.local import Answer, Options, opened
from dujiang.doors.usage import key_lines
from dujiang.kernel.errors import Refused
from dujiang.ledger.model import NOT_A_VKEY
from dujiang.ledger.note import COSIGNATURE, ED25519, Key, NotANote, read_key

Deed = Callable[[Options], Answer]
_ASK = {
    "en": "Compare these with what the other operator tells you. Watch that log, and appoint that witness?",
    "zh": "请与对方运营方提供的公钥核对。是否监看该日志并任命其为见证方？",
}
_NEXT = {
    "en": "Now the other node does the same with this one: dujiang ledger meet URL",
    "zh": "对方节点也需对本节点执行：dujiang ledger meet 地址",
}


def meet(url: str, *, vkey: list[str] | None = None) -> Deed:
    """Cosign another node's log and have it cosign this one's, its keys shown first.

    Parameters
    ----------
    url
        The other node, such as http://other:8000.
    vkey
        A key it must have, as its operator told you: one line, or a file that holds it. Without: you are asked.
    """

    def deed(options: Options) -> Answer:
        place = f"{url.rstrip('/').removesuffix('/log')}/log"
        log, witness = _keys(place)
        pinned = set(key_lines(vkey))
        if not pinned <= {key.line for key in (*log, *witness)}:
            raise Refused(NOT_A_VKEY)
        if not pinned and not options.yes:
            _confirm(log, witness, options)
        with opened(options) as client:
            for act, ask in (
                ("ledger.watch", {"vkeys": [key.line for key in log]}),
                ("ledger.appoint", {"url": place, "vkeys": [key.line for key in witness]}),
            ):
                done = client.run(ACTS[act], ask)
                if done.exit:
                    return done
        body: dict[str, Any] = {"log": log[0].name, "witness": witness[0].name, "url": place}
        return Answer(body, human={**body, "note": _NEXT[options.language]})

    return deed


def _keys(place: str) -> tuple[list[Key], list[Key]]:
    """The keys of a node's log, and of it as a witness, the Ed25519 ones first.

    Raises: Refused not_a_vkey; Unavailable node_unreachable.
    """
    with mirror.at(place) as source:
        lines = mirror.vkeys_of(source)
    try:
        keys = [read_key(line) for line in lines]
    except NotANote:
        raise Refused(NOT_A_VKEY) from None
    logs = {key.name for key in keys if key.kind == ED25519}
    witnesses = {key.name for key in keys if key.kind == COSIGNATURE}
    if len(logs) != 1 or len(witnesses) != 1 or logs == witnesses:
        raise Refused(NOT_A_VKEY)
    keys.sort(key=lambda key: key.kind)
    return [key for key in keys if key.name in logs], [key for key in keys if key.name in witnesses]


def _confirm(log: list[Key], witness: list[Key], options: Options) -> None:
    """Shows the Ed25519 keys and asks; a program is not asked.

    Raises: Refused not_confirmed.
    """
    if not show.interactive(options):
        raise Refused(NOT_CONFIRMED)
    for key in (log[0], witness[0]):
        show.say(key.line)
    if not show.confirmed(_ASK[options.language]):
        raise Refused(NOT_CONFIRMED)
