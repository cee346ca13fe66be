"""Another node as a witness: its log is watched, and it is asked to cosign; in one command, or each by itself.

1. Keys are given as lines, by a file or by an address; of all that a node publishes, those of its log or of it as a
   witness are taken. What came from an address is shown first: nobody need be who he says.
2. `meet` does both; the other node has to do the same, and until then it answers that it does not watch this log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from cyclopts import Parameter

from dujiang.acts import ACTS
from dujiang.doors import mirror, show
from dujiang.doors.flow import NOT_CONFIRMED, Wish, perform
from dujiang.doors.local import Answer, Options, opened
from dujiang.doors.usage import ARGUMENT_MISSING, key_lines, parts
from dujiang.kernel.errors import Refused
from dujiang.ledger.model import NOT_A_VKEY
from dujiang.ledger.note import COSIGNATURE, ED25519, Key, NotANote, read_key

Deed = Callable[[Options], Answer]
_ASK = {
    "en": "Compare these with what the other operator tells you. Watch that log, and appoint that witness?",
    "zh": "请与对方运营方提供的公钥核对。是否监看该日志并任命其为见证方？",
}
_ASK_ONE = {
    "en": "Compare this with what its operator tells you. Take this key?",
    "zh": "请与对方运营方提供的公钥核对。是否采用此公钥？",
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
            _confirm([log[0], witness[0]], options, _ASK)
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


def watch(*vkeys: Annotated[str, Parameter(name="VKEYS")]) -> Deed:
    """Watch and cosign another log.

    Parameters
    ----------
    vkeys
        The log's verifier keys, a file that holds them, or an address that does (…/log/vkeys).
    """

    def deed(options: Options) -> Answer:
        keys = _given(vkeys, ED25519, options)
        return perform(Wish(ACTS["ledger.watch"], {"vkeys": keys}, {}, {}), options)

    return deed


def appoint(url: str, *, vkeys: list[str]) -> Deed:
    """Appoint a witness of this log.

    Parameters
    ----------
    url
        Its address: checkpoints go to URL/add-checkpoint; of a Dujiang node http://HOST:PORT/log.
    vkeys
        Its verifier keys, a file that holds them, or an address that does (…/log/vkeys).
    """

    def deed(options: Options) -> Answer:
        keys = _given(parts(vkeys), COSIGNATURE, options)
        return perform(Wish(ACTS["ledger.appoint"], {"url": url, "vkeys": keys}, {}, {}), options)

    return deed


def _given(vkeys: Iterable[str], kind: int, options: Options) -> list[str]:
    """The lines of the keys of one name, which has a key of that kind; confirmed where an address gave any.

    Raises: Refused argument_missing, file_missing, file_odd, not_a_vkey, not_confirmed; Unavailable.
    """
    lines: list[str] = []
    fetched = False
    for each in vkeys:
        if each.startswith(("http://", "https://")):
            fetched = True
            with mirror.at(each.rstrip("/").removesuffix("/vkeys")) as source:
                lines += mirror.vkeys_of(source)
        else:
            lines += key_lines([each])
    if not vkeys:
        raise Refused(ARGUMENT_MISSING, name="VKEYS")
    keys = _read(lines)
    names = {key.name for key in keys}
    if len(names) > 1:  # all that a node publishes
        names = {key.name for key in keys if key.kind == kind}
    if len(names) != 1:
        raise Refused(NOT_A_VKEY)
    chosen = [key for key in keys if key.name in names]
    if fetched and not options.yes:
        _confirm([key for key in chosen if key.kind == kind], options, _ASK_ONE)
    return [key.line for key in chosen]


def _read(lines: list[str]) -> list[Key]:
    """The keys of lines, the Ed25519 ones first.

    Raises: Refused not_a_vkey.
    """
    try:
        return sorted((read_key(line) for line in lines), key=lambda key: key.kind)
    except NotANote:
        raise Refused(NOT_A_VKEY) from None


def _keys(place: str) -> tuple[list[Key], list[Key]]:
    """The keys of a node's log, and of it as a witness, the Ed25519 ones first.

    Raises: Refused not_a_vkey; Unavailable node_unreachable.
    """
    with mirror.at(place) as source:
        keys = _read(mirror.vkeys_of(source))
    logs = {key.name for key in keys if key.kind == ED25519}
    witnesses = {key.name for key in keys if key.kind == COSIGNATURE}
    if len(logs) != 1 or len(witnesses) != 1 or logs == witnesses:
        raise Refused(NOT_A_VKEY)
    return [key for key in keys if key.name in logs], [key for key in keys if key.name in witnesses]


def _confirm(keys: list[Key], options: Options, question: Mapping[str, str]) -> None:
    """Shows keys and asks; a program is not asked.

    Raises: Refused not_confirmed.
    """
    if not show.interactive(options):
        raise Refused(NOT_CONFIRMED)
    for key in keys:
        show.say(key.line)
    if not show.confirmed(question[options.language]):
        raise Refused(NOT_CONFIRMED)
