"""Every row of the table of acts can be run, described and permitted."""

from __future__ import annotations

import inspect
import re
from dataclasses import is_dataclass

import pytest

from dujiang.kernel.act import Act, Effect, bind
from tests.house.source import PACKAGE, packages

VERBS = frozenset(
    re.findall(
        r"\w+",
        """
        register grant grade publish offer withdraw request accept refuse agree terminate ask deliver meter
        bill settle value book attest prove replay check verify revoke invite show list search export
        """,
    )
)
# A verb outside the list above needs its reason here.
REASONED: dict[str, str] = {
    "transfer": "the guideline's own case (转让登记): no grant, as the one who transfers keeps nothing",
    "consistency": "the standard's own word for the proof that a log only grew (RFC 6962, 2.1.2)",
    "login": "a session is no registration and no grant; everybody knows the word",
    "link": "makes the single-use link that `enter` takes",
    "assign": "roles of a person are set as a whole; `grant` is of a key, `invite` of a new person",
    "unlock": "forgets failed sign-ins; it grants nothing",
    "password": "what is changed is the password, as everybody calls it",
    "enter": "signs in by a single-use link, without a password",
    "leave": "the counterpart of login and enter",
    "appoint": "a witness is appointed by the operator of the log; nothing is granted to it",
    "dismiss": "the counterpart of appoint",
    "watch": "a log whose heads this node cosigns and holds against each other; the field's own word",
    "unwatch": "the counterpart of watch",
    "quorum": "how many witnesses must cosign; the word of C2SP tlog-policy",
    "witnesses": "who cosigns this log and which logs this node cosigns, in one look; `list` is of entries",
    "forks": "evidence that a watched log has two histories; the field's own word",
    "cosign": "what a witness does (C2SP tlog-cosignature); only the node itself may",
    "collect": "keeps the cosignatures that witnesses answered; only the node itself may",
    "retain": "the field's own word for how long records are kept; no term of a contract, so not `publish`",
    "prune": "the standard's own word (C2SP tlog-tiles) for what goes once it was kept long enough",
    "fsck": "the field's own word for holding what is stored against its own structure (Tessera's fsck, Unix)",
    "restore": "a log that goes on under a new name after an older copy was put back says so; only the node may",
    "keys": "everybody knows the word; `list` is of entries",
    "rotate": "the field's own word for a new key that overlaps the old one",
    "disown": "a stolen key is no grant that is revoked: what it signed before stands",
    "erase": "the word of data protection law; who is revoked is still known, who is erased is not",
    "answer": "how requests are answered is no grant and no term; nobody but the provider sees it",
    "counter": "a counter-offer is neither an offer to everybody nor an acceptance; the field's own word",
    "comment": "a remark changes nothing, so no verb of the list says it",
    "inbox": "everybody knows the word; `list` is of contracts, this is of what waits and what happened",
    "look": "marks the inbox as looked at; leaves no entry",
    "hear": "what comes from outside is heard; only the node itself may",
    "stop": "ends one question before its answer, where `terminate` ends a contract for good",
    "pending": "what the job loop has to run; only the node itself may ask",
    "quote": "a price said in advance; everybody knows the word",
    "deposit": "money that arrived at the bank, the word of banks",
    "order": "commits money to a contract before it is used, the word of trade",
    "refund": "gives a settled bill back, the word of trade",
    "statement": "the word of banks for what moved on an account",
    "describe": "says an organisation's own sector and province; no registration, as it may be said again",
    "reconcile": "the accountants' own word for holding a ledger against what it is about",
    "complete": "ends what `ask` admitted; only the node itself may",
}
ROLES = {"provider", "consumer", "operator", "auditor", "member", "node", "anyone"}
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def table() -> tuple[Act, ...]:
    """The rows of the table of acts; none while the table is not there."""
    if not (PACKAGE / "acts.py").is_file():
        return ()
    from dujiang import acts

    rows = acts.ACTS
    return tuple(rows.values() if hasattr(rows, "values") else rows)


EVERY = pytest.mark.parametrize("act", table(), ids=lambda act: act.name)


def test_names_and_short_verbs_are_unique() -> None:
    names = [act.name for act in table()]
    verbs = [act.verb for act in table() if act.verb]
    assert len(set(names)) == len(names)
    assert len(set(verbs)) == len(verbs)


@EVERY
def test_an_act_resolves_to_its_functions_and_types(act: Act) -> None:
    assert act.room in packages()
    bound = bind(act)
    for form in (bound.ask, bound.reply):
        assert is_dataclass(form), form
        assert form.__dataclass_params__.frozen, form  # pyright: ignore[reportAttributeAccessIssue]
        assert form.__doc__ and not form.__doc__.startswith(form.__name__ + "("), (
            f"{form.__name__} has no docstring"
        )
    assert len(inspect.signature(bound.run).parameters) == (4 if bound.prepare else 3)
    assert bound.run.__doc__


@EVERY
def test_an_act_speaks_both_languages(act: Act) -> None:
    assert act.title.strip() and not CHINESE.search(act.title)
    assert CHINESE.search(act.title_zh)


@EVERY
def test_an_act_uses_known_words(act: Act) -> None:
    verb = act.name.partition(".")[2]
    assert verb in VERBS or REASONED.get(verb), f"{verb} is a new verb: give its reason in REASONED"
    assert isinstance(act.effect, Effect)
    assert act.roles and set(act.roles) <= ROLES


@EVERY
def test_an_act_refers_to_acts_and_fields_that_exist(act: Act) -> None:
    known = {row.name: row for row in table()}
    ask = set(bind(act).ask.__dataclass_fields__)
    assert set(act.positional) <= ask
    if act.preview:
        assert act.preview in known
    if act.until:
        name, member = act.until
        assert known[name].effect is Effect.reads
        assert member in bind(act).reply.__dataclass_fields__
        assert "done" in bind(known[name]).reply.__dataclass_fields__
    if act.shows:
        assert act.effect is Effect.reads


def test_a_reason_is_given_only_for_verbs_in_use() -> None:
    used = {act.name.partition(".")[2] for act in table()}
    assert set(REASONED) <= used
    assert not set(REASONED) & VERBS
