"""Where a Python program begins: `dujiang.connect()` gives the space an organisation works in.

d = dujiang.connect()
contract = d.find("blood pressure")[0].agree(purpose="analyse")
answer = contract.ask("select sex, count(*) as people from clinic group by sex")
answer.df(); answer.receipt.verify()
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dujiang.doors import frames, usage
from dujiang.doors.answers import WAIT_S, Answer, Quote, asked, quoted
from dujiang.doors.calls import Calls, Refusal
from dujiang.doors.local import Options
from dujiang.doors.objects import Entry, Listed, Receipt, Reply
from dujiang.doors.products import Contract, Product
from dujiang.doors.records import WAIT_S as ATTEST_S
from dujiang.doors.records import Attested, attested
from dujiang.kernel.errors import Refused, Unavailable

__all__ = ["Refusal", "Space", "connect", "verify"]


def connect(
    url: str | None = None,
    *,
    key: str | None = None,
    home: str | Path | None = None,
    as_: str | None = None,
    language: str | None = None,
    vkey: str | None = None,
) -> Space:
    """The space of one organisation: over HTTP where a node is named or serves the home, else in this process.

    What is not given is read as the command line reads it: DUJIANG_NODE, DUJIANG_KEY, DUJIANG_HOME,
    DUJIANG_AS, DUJIANG_LANG, and the profiles of the home. `as_`: name of the organisation; `language`: "en"
    or "zh"; `vkey`: verifier key of the log (a line, or a file that holds it), which receipts must be signed by.

    Raises: Refusal.
    """
    known = Options(home=usage.DEFAULT_HOME)
    try:
        known, _ = usage.split([], os.environ)
        given = {"node": url, "key": key, "org": as_, "language": language}
        options = replace(known, **{name: value for name, value in given.items() if value is not None})
        if home is not None:
            # A home that is named is meant, whatever the environment says of nodes.
            options = replace(options, home=Path(home).expanduser(), node=url)
        if as_ is not None and key is None:
            options = replace(options, key=None)  # so is an organisation, whatever it says of keys
        if options.language not in ("en", "zh"):
            raise Refused(usage.ARGUMENT_WRONG, name="language")
        return Space(Calls(options, None if vkey is None else usage.key_line(vkey)))
    except (Refused, Unavailable) as error:
        raise Calls(known).refusal(error) from None


def verify(
    what: str | Path,
    *,
    vkey: str | Sequence[str] | None = None,
    entry: str | Path | None = None,
    old: str | Path | None = None,
    keys: str | Path | None = None,
    policy: str | Path | None = None,
    language: str | None = None,
) -> Reply:
    """What the check of a receipt, a proof, a certificate or a whole log found (`ok`, and `step` where it failed).

    It needs no home and no account. `what`: a file, or a log's folder or address; `vkey`: the verifier key you
    expect (a line, or a file that holds it), or several; `entry`: of a `.tlog-proof`, if its entry does not lie
    beside it; `old`: a checkpoint you kept, which the log must continue; `keys`: the document of the log's keys,
    by which those that follow from yours are trusted; `policy`: a file that says which witnesses must have cosigned.

    Raises: Refusal where there is nothing to check.
    """
    from dujiang.doors.verify import verify as command

    known = Options(home=usage.DEFAULT_HOME)
    try:
        known, _ = usage.split([], os.environ)
        options = replace(known, language=language or known.language)
        pinned = [vkey] if isinstance(vkey, str) else None if vkey is None else list(vkey)
        files = {"entry": entry, "old": old, "keys": keys, "policy": policy}
        given: dict[str, Any] = {name: path and Path(path) for name, path in files.items()}
        deed = command(str(what), vkey=pinned, **given)
        return Reply(deed(options).body, options.language)
    except (Refused, Unavailable) as error:
        raise Calls(known).refusal(error) from None


class Space:
    """What one organisation may do: find, agree, ask, offer, and see what was done.

    Used as a context (`with dujiang.connect() as d:`) it stays open for the block: faster where this
    process holds the home itself, and nobody else can use that home meanwhile.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def find(self, words: str = "", limit: int = 20) -> Listed[Product]:
        """Products that have all the words; none: the newest.

        Raises: Refusal.
        """
        return self._products("catalogue.search", words=words, limit=limit)

    def products(self, limit: int = 20) -> Listed[Product]:
        """The products your own organisation offers.

        Raises: Refusal.
        """
        return self._products("catalogue.list", limit=limit)

    def product(self, id: str) -> Product:
        """A product by its id.

        Raises: Refusal.
        """
        return Product(self._calls, self._calls.run("catalogue.show", {"id": id}))

    def offer(
        self,
        table: Any,
        *,
        entity: str | None = None,
        terms: str | Path | dict[str, Any] | None = None,
        name: str | None = None,
        title: str | None = None,
    ) -> Product:
        """The product a table became: the path of a file, or a table of pandas, polars or Arrow.

        `terms`: a TOML or JSON file, or the same as a dict; `entity`: the column that says whom a row is about.

        Raises: Refusal.
        """
        ask = {"entity": entity, "name": name, "title": title}
        ask["terms"] = Path(terms) if isinstance(terms, str) else terms  # type: ignore[assignment]
        if isinstance(table, (str, Path)):
            return Product(self._calls, self._calls.run("catalogue.offer", {"upload": Path(table), **ask}))
        try:
            with frames.as_file(table, name or "table") as path:
                return Product(self._calls, self._calls.run("catalogue.offer", {"upload": path, **ask}))
        except Refused as error:
            raise self._calls.refusal(error) from None

    def contracts(self, limit: int = 50) -> Listed[Contract]:
        """Your organisation's contracts, newest first.

        Raises: Refusal.
        """
        found = self._calls.run("contract.list", {"limit": limit})["items"]
        return Listed([Contract(self._calls, item) for item in found], self._language)

    def contract(self, id: str) -> Contract:
        """A contract (or a negotiation) by its id.

        Raises: Refusal.
        """
        return Contract(self._calls, self._calls.run("contract.show", {"contract": id}))

    def quote(self, contracts: Sequence[Contract | str], sql: str) -> Quote:
        """What a question over the tables of several contracts would take.

        Raises: Refusal.
        """
        return quoted(self._calls, _ids(contracts), sql)

    def ask(self, contracts: Sequence[Contract | str], sql: str, wait: float = WAIT_S) -> Answer:
        """The answer of a question over the tables of several contracts, joined on the keys they share.

        Raises: Refusal.
        """
        return asked(self._calls, _ids(contracts), sql, wait)

    def answer(self, job: str) -> Answer:
        """The answer of a question asked before, by the question's id.

        Raises: Refusal.
        """
        return Answer(self._calls, self._calls.run("cleanroom.show", {"job": job}))

    def answers(self, limit: int = 50) -> Listed[Answer]:
        """The questions you asked, and those asked of your tables, newest first.

        Raises: Refusal.
        """
        found = self._calls.run("cleanroom.list", {"limit": limit})["items"]
        return Listed([Answer(self._calls, item) for item in found], self._language)

    def history(self, about: str | None = None, limit: int = 20) -> Listed[Entry]:
        """The log entries that concern you, newest first; `about`: only those that name an id.

        Raises: Refusal.
        """
        found = self._calls.run("ledger.list", {"about": about, "limit": limit})["items"]
        return Listed([Entry(self._calls, item) for item in found], self._language)

    def receipt(self, entry: int) -> Receipt:
        """The receipt of a log entry by its number.

        Raises: Refusal.
        """
        return Receipt(self._calls, self._calls.run("ledger.prove", {"entry": entry})["receipt"])

    def attest(
        self,
        records: Any,
        *,
        kind: str | None = None,
        contract: Contract | str | None = None,
        key: str | None = None,
        wait: float = ATTEST_S,
    ) -> Attested:
        """The receipts of records of another system, once each is an entry of the log.

        `records`: JSON values (dicts), any number, or a table of pandas, polars or Arrow: a row is a record.
        `kind`: what they are, in your words; `contract`: whose parties may see them; `key`: a name of this
        sending, with which it can be begun again after a crash and nothing is attested twice; `wait`: seconds
        a call that is not answered is sent again.

        Raises: Refusal: its `done` has the receipts of what was attested before it.
        """
        under = contract.id if isinstance(contract, Contract) else contract
        more = {"kind": kind, "contract": under}
        try:
            return attested(self._calls, frames.records(records), more, key, wait)
        except Refused as error:
            raise self._calls.refusal(error) from None

    def call(self, act: str, /, **ask: Any) -> Reply:
        """What any act answers, by its name (`contract.show`) or short verb (`quote`); see `dujiang acts`.

        A `Path` is a file to send (`upload`) or to read (terms); `None` is left out.

        Raises: Refusal.
        """
        return Reply(self._calls.run(act, ask), self._language)

    def __enter__(self) -> Space:
        self._calls.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.__exit__()

    def __repr__(self) -> str:
        options = self._calls.options
        return f"<Space of {options.org or 'the default organisation'} at {options.node or options.home}>"

    @property
    def _language(self) -> str:
        return self._calls.options.language

    def _products(self, act: str, **ask: Any) -> Listed[Product]:
        found = self._calls.run(act, ask)["items"]
        return Listed([Product(self._calls, item) for item in found], self._language)


def _ids(contracts: Sequence[Contract | str]) -> list[str]:
    return [each.id if isinstance(each, Contract) else each for each in contracts]
