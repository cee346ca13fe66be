"""Statements in foreign bytes: CSV (RFC 4180) for spreadsheets, and journals of beancount and hledger.

1. A journal opens with what was there and ends with what each account must then hold, so that the accounting
   program itself finds any difference.
2. An organisation's own journal keeps its money as assets, against a bank, expenses and income; the node's
   whole journal keeps other people's money as liabilities, against the clearing account.
3. Text of people is data: no spreadsheet formula, no line and no quote of theirs becomes syntax.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from dujiang.kernel.money import decimal
from dujiang.market.model import Cause, Kind


@dataclass(frozen=True, slots=True)
class Holding:
    """An account before and after a period."""

    org: str
    account: str
    contract: str
    currency: str
    opening_minor: int
    closing_minor: int
    opening: str
    closing: str


@dataclass(frozen=True, slots=True)
class Move:
    """One posting of a period."""

    no: int
    """The transaction's number: postings of one transaction share it."""
    day: str
    at_ms: int
    transaction: str
    cause: str
    """deposit, withdraw, order, release, settle or refund."""
    org: str
    account: str
    contract: str
    amount: str
    amount_minor: int
    currency: str
    subject: str
    """The bill, credit note or contract it is about."""
    reference: str
    entry: int
    """The log entry of the act that moved it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One transaction of a journal: legs of account, amount, currency that sum to zero."""

    day: str
    text: str
    legs: tuple[tuple[str, int, str], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Journal:
    """Transactions in order, and what each account holds after them."""

    since: str
    until: str
    entries: tuple[Entry, ...]
    closing: tuple[tuple[str, int, str], ...]


_COLUMNS = (
    "day", "transaction", "cause", "org", "account", "contract", "amount", "currency", "subject", "reference", "entry",
)  # fmt: skip


def csv_text(lines: Iterable[Move]) -> str:
    """A statement as CSV with a byte-order mark, which spreadsheets need to read Chinese."""
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for line in lines:
        amount = decimal(line.amount_minor, line.currency)
        texts = {name: inert(str(getattr(line, name))) for name in _COLUMNS}
        writer.writerow([amount if name == "amount" else texts[name] for name in _COLUMNS])
    return "\ufeff" + made.getvalue()


def inert(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    # Spreadsheets set up for Chinese or Japanese take the wide signs for the narrow ones.
    first = unicodedata.normalize("NFKC", text).lstrip()[:1]
    return "'" + text if first in ("=", "+", "-", "@", "\t", "\r", "|", "%") else text


def whole_books(holdings: Sequence[Holding], lines: Sequence[Move], days: tuple[str, str]) -> Journal:
    """The journal of the whole node, as its operator keeps it."""
    return _journal(holdings, lines, days, _books_account, -1, None)


def own_books(holdings: Sequence[Holding], lines: Sequence[Move], days: tuple[str, str]) -> Journal:
    """The journal of one organisation, as it keeps it itself; clearing is the operator's trust, not its money."""
    mine = [one for one in holdings if one.account != Kind.clearing]
    moved = [line for line in lines if line.account != Kind.clearing]
    return _journal(mine, moved, days, _own_account, 1, _other_side)


def _journal(
    holdings: Sequence[Holding], lines: Sequence[Move], days: tuple[str, str],
    named: Callable[[str, str, str], str], sign: int, other: Callable[[Sequence[Move]], str] | None,
) -> Journal:  # fmt: skip
    opening = tuple(
        (named(one.org, one.account, one.contract), sign * one.opening_minor, one.currency)
        for one in holdings
        if one.opening_minor
    )
    entries: list[Entry] = []
    for currency in sorted({leg[2] for leg in opening}):
        legs = tuple(leg for leg in opening if leg[2] == currency)
        rest = -sum(leg[1] for leg in legs)
        further = (("Equity:Opening", rest, currency),) if rest else ()
        entries.append(Entry(days[0], "opening", (*legs, *further)))
    for group in _grouped(lines):
        legs = [
            (named(line.org, line.account, line.contract), sign * line.amount_minor, line.currency)
            for line in group
        ]
        rest = -sum(leg[1] for leg in legs)
        if rest and other is not None:
            legs.append((other(group), rest, group[0].currency))
        text = " ".join(part for part in (group[0].cause, group[0].subject) if part)
        note = f"{group[0].transaction} entry {group[0].entry}"
        entries.append(Entry(group[0].day, text, tuple(legs), note))
    closing = tuple(
        (named(one.org, one.account, one.contract), sign * one.closing_minor, one.currency)
        for one in holdings
    )
    return Journal(*days, tuple(entries), closing)


def _grouped(lines: Sequence[Move]) -> list[list[Move]]:
    found: dict[int, list[Move]] = {}
    for line in lines:
        found.setdefault(line.no, []).append(line)
    return list(found.values())


def _books_account(org: str, account: str, contract: str) -> str:
    if account == Kind.clearing:
        return "Assets:Clearing"
    if account == Kind.platform:
        return "Income:Platform"
    parts = ("Liabilities", account.capitalize(), _word(org), *((_word(contract),) if contract else ()))
    return ":".join(parts)


def _own_account(org: str, account: str, contract: str) -> str:
    del org
    word = {Kind.payable: "Earnings", Kind.platform: "Platform"}.get(Kind(account), account.capitalize())
    return ":".join(("Assets", word, *((_word(contract),) if contract else ())))


def _other_side(group: Sequence[Move]) -> str:
    """What an organisation's own postings stand against."""
    cause = Cause(group[0].cause)
    if cause in (Cause.deposit, Cause.withdraw):
        return "Assets:Bank"
    paid = any(line.account == Kind.allowance for line in group)
    return "Expenses:Data" if paid else "Income:Data"


def _word(identifier: str) -> str:
    """An id as a part of an account's name: the programs want a capital first and no underscore."""
    return identifier.capitalize().replace("_", "-")


def beancount(journal: Journal) -> str:
    """The journal for beancount, with an assertion of each account's balance at its end."""
    accounts = sorted(
        {leg[0] for entry in journal.entries for leg in entry.legs} | {leg[0] for leg in journal.closing}
    )
    lines = [f"{journal.since} open {account}" for account in accounts]
    for entry in journal.entries:
        lines.append(f'\n{entry.day} * "{_quoted(entry.text)}"')
        if entry.note:
            lines.append(f'  transaction: "{_quoted(entry.note)}"')
        lines += [
            f"  {account}  {decimal(amount, currency)} {currency}" for account, amount, currency in entry.legs
        ]
    # Beancount asserts at the beginning of a day, here the one after the last, and by itself lets a minor unit pass.
    after = (date.fromisoformat(journal.until) + timedelta(days=1)).isoformat()
    lines.append("")
    lines += [
        f"{after} balance {account}  {decimal(amount, currency)} ~ 0 {currency}"
        for account, amount, currency in journal.closing
    ]
    return "\n".join(lines) + "\n"


def hledger(journal: Journal) -> str:
    """The journal for hledger (ledger reads it, too), ending in assertions of each account's balance."""
    lines: list[str] = []
    for entry in journal.entries:
        lines.append(
            f"\n{entry.day} * {_line(entry.text)}" + (f"  ; {_line(entry.note)}" if entry.note else "")
        )
        lines += [
            f"    {account}  {decimal(amount, currency)} {currency}"
            for account, amount, currency in entry.legs
        ]
    lines.append(f"\n{journal.until} * closing")
    lines += [
        f"    {account}  {decimal(0, currency)} {currency} = {decimal(amount, currency)} {currency}"
        for account, amount, currency in journal.closing
    ]
    return "\n".join(lines).lstrip("\n") + "\n"


def _quoted(text: str) -> str:
    return _line(text).replace("\\", "\\\\").replace('"', '\\"')


def _line(text: str) -> str:
    return " ".join(text.split()).replace(";", ",")
