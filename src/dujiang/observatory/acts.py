"""Acts of the observatory: figures, the entries of a cell, and whether the log and the packages agree."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dujiang.catalogue import acts as catalogue
from dujiang.cleanroom import acts as cleanroom
from dujiang.contract import acts as contracts
from dujiang.contract import performance
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.tables import Session
from dujiang.ledger import acts as ledger
from dujiang.ledger import fsck
from dujiang.ledger.model import Scope
from dujiang.ledger.rules import day_of
from dujiang.market import acts as market
from dujiang.observatory import disclosure, rules
from dujiang.observatory.comparison import Comparison
from dujiang.observatory.model import (
    DAYS_MAX,
    DOMINANCE_PERCENT,
    GROUP_MIN,
    METHOD,
    PERIOD_LONG,
    PUBLIC,
    By,
    Cell,
    Concentration,
    Finding,
    Measure,
)
from dujiang.registry import acts as registry


@dataclass(frozen=True, slots=True)
class Show:
    """Which figures of the log; an organisation gets those of its own flows, an overseer those of all."""

    by: By = By.province
    """What they are grouped by."""
    measure: Measure = Measure.questions
    """What is counted."""
    period: str | None = None
    """UTC year, month, day or two days: 2026, 2026-11, 2026-11-24, 2026-11-01..2026-11-24; none: everything."""
    currency: str = "CNY"
    """Of which currency, where money is counted; two currencies are never added."""
    exact: bool = False
    """For the auditor and the operator: small cells too. Not to be published."""
    own: bool = False
    """For overseers: only the flows of their own organisation."""
    top: int = 3
    """How many providers are the large ones of the concentration."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A table of figures with its total first; `form` says who may see it."""

    by: str
    measure: str
    unit: str
    form: str
    """published: small cells withheld; exact: for overseers; own: the caller's own flows."""
    cells: tuple[Cell, ...]
    first_day: str | None
    last_day: str
    suppressed: int
    """How many cells are withheld."""
    organisations: int | None
    """How many organisations these figures come from, on either side; None: withheld."""
    contracts: int | None
    """Under how many contracts."""
    products: int | None
    """Over how many products."""
    concentration: Concentration | None
    """None where there are too few providers to say it."""
    group_min: int = GROUP_MIN
    """A cell of fewer providers, consumers or contracts is not published."""
    method: str = METHOD


@dataclass(frozen=True, slots=True)
class List:
    """The cell to look into: its key, and the grouping, measure and period it was shown with."""

    cell: str = rules.TOTAL
    """A key that `dujiang figures` printed."""
    by: By = By.province
    measure: Measure = Measure.questions
    period: str | None = None
    currency: str = "CNY"
    own: bool = False
    before: int | None = None
    """Only entries below this index: the `next` of the page before."""
    limit: int = 50
    """How many at most."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the log and what it counts; `dujiang receipt ENTRY` proves it."""

    entry: int
    act: str
    time_ms: int
    value: int


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of a cell, newest first; `next` continues below."""

    items: tuple[Entry, ...]
    next: int | None = None


@dataclass(frozen=True, slots=True)
class Reconcile:
    """The whole log against what the packages keep; `limit` findings are named."""

    limit: int = 100
    """How many findings at most are named; all are counted."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was compared and what does not agree; nothing is changed."""

    agrees: bool
    entries: int
    """How many entries were read."""
    objects: dict[str, int]
    """How many objects of each kind the packages hold."""
    found: int
    findings: tuple[Finding, ...]


def show(tx: Tx, caller: Caller, ask: Show) -> Figures:
    """Figures of the log, grouped, with their growth and concentration.

    Raises: Refused period_unfit, period_long.
    """
    scope, before = _scope(tx, caller, ask)
    if ask.by is By.day and scope.last - scope.first >= DAYS_MAX:
        raise Refused(PERIOD_LONG, days=DAYS_MAX)
    form = "own" if scope.org is not None else "exact" if ask.exact or ask.measure in PUBLIC else "published"
    root = _table(tx.db, ask, scope, form)
    earlier = None if before is None else _table(tx.db, ask, before, form)
    cells = _cells(tx.db, ask.by, root, earlier)
    whole = disclosure.joined(root.leaves())
    contracts, products = ledger.active(tx.db, _quantity(ask.measure), scope)
    organisations = len({*whole.providers, *whole.consumers} - {""})
    active = (None, None, None) if root.hidden else (organisations, contracts, products)
    return Figures(
        ask.by, ask.measure, _unit(ask), form, cells, rules.day_text(scope.first) if ask.period else None,
        rules.day_text(scope.last), sum(1 for cell in cells if cell.suppressed), *active,
        # Of a total that is withheld as one has most of it, shares and indices would tell that one's.
        None if root.hidden else _concentration(whole.providers, max(1, ask.top), form),
    )  # fmt: skip


def list_(tx: Tx, caller: Caller, ask: List) -> Entries:
    """The entries a cell is the sum of, newest first, as far as the caller may see them.

    Raises: Refused period_unfit, cell_unfit.
    """
    scope, _ = _scope(tx, caller, ask)
    only, narrow = rules.sought(ask.by, ask.cell)
    if narrow is not None:
        scope = replace(scope, first=max(scope.first, narrow.first), last=min(scope.last, narrow.last))
    count = tx.node.config.rows(ask.limit)
    found = ledger.counted(tx.db, _quantity(ask.measure), scope, only, ask.before, count)
    items = tuple(Entry(each.index, each.act, each.time_ms, each.value) for each in found)
    return Entries(items, found[-1].index if len(found) == count else None)


def reconcile(tx: Tx, caller: Caller, ask: Reconcile) -> Reconciled:
    """Whether every entry has its object, every object its entry, every figure its record and every record its leaf.

    Reads the whole log: some 15 s of a reader's time for 10**6 entries; nobody waits for it.
    """
    del caller
    walked, one = fsck.Examination(sys.maxsize), Comparison()
    for entry in fsck.entries(tx.db, walked, ()):
        one.read(entry)
    bills, settled = market.papers(tx.db)
    holds, costs, fees = performance.costs(tx.db)
    held: dict[str, Mapping[str, int | None]] = {
        "organisation": dict.fromkeys(each.id for each in identity.organisations(tx.db, 2**31)),
        "version": dict.fromkeys(registry.registered(tx.db)),
        "product": dict.fromkeys(catalogue.products(tx.db)),
        "contract": contracts.performed(tx.db),
        "answer": cleanroom.answered(tx.db),
        "bill": bills,
        "settlement": settled,
        "payment": {
            f"{entry} {currency}": amount for (entry, currency), amount in market.moved(tx.db).items()
        },
        "hold": {f"{use} {contract}": amount for (use, contract), amount in holds.items()},
        "use": {f"{use} {contract}": amount for (use, contract), amount in costs.items()},
        "fee": fees,
    }
    one.end(held, walked.differences)
    named = tuple(one.findings[: max(0, ask.limit)])
    objects = {kind: len(each) for kind, each in held.items()}
    return Reconciled(not one.findings, one.entries, objects, len(one.findings), named)


def _scope(tx: Tx, caller: Caller, ask: Show | List) -> tuple[Scope, Scope | None]:
    """The caller's part of the log in a period, and in the one before."""
    org = None if ledger.oversees(caller) and not ask.own else caller.org
    money = ask.currency if ask.measure is Measure.amount else ""
    if ask.period is None:
        return Scope(0, day_of(tx.now_ms), org, money), None
    now, before = rules.period_of(ask.period)
    return Scope(now.first, now.last, org, money), Scope(before.first, before.last, org, money)


def _quantity(measure: Measure) -> str:
    return "amount_minor" if measure is Measure.amount else measure.value


def _unit(ask: Show) -> str:
    return f"{ask.currency} minor units" if ask.measure is Measure.amount else ask.measure.value


def _table(db: Session, ask: Show, scope: Scope, form: str) -> disclosure.Node:
    columns, bucket = rules.columns_of(ask.by)
    root = rules.table(ask.by, ledger.sums(db, _quantity(ask.measure), columns, bucket, scope))
    if form == "published":
        disclosure.protect(root, GROUP_MIN, DOMINANCE_PERCENT)
    return root


def _cells(db: Session, by: By, root: disclosure.Node, before: disclosure.Node | None) -> tuple[Cell, ...]:
    earlier = {} if before is None else {node.key: node for node in before.walk()}
    if by in (By.month, By.day):
        earlier |= root.children
    names = identity.names(db, root.children) if by in (By.provider, By.consumer) else {}
    found: list[Cell] = []

    def add(node: disclosure.Node, level: int) -> None:
        english, chinese = rules.label(by, node.key, names)
        growth = rules.growth_percent(node, earlier.get(rules.key_before(by, node.key)))
        value, entries = (None, None) if node.hidden else (node.value, node.entries)
        found.append(Cell(node.key, english, chinese, level, value, node.hidden, growth, entries))
        for child in rules.ordered(by, node):
            add(child, level + 1)

    add(root, 0)
    return tuple(found)


def _concentration(providers: Mapping[str, int], top: int, form: str) -> Concentration | None:
    """The concentration; as published only where both groups are large enough to hide one in."""
    found = rules.concentration(providers, top)
    if found is None or form != "published":
        return found
    return found if min(found.top, found.providers - found.top) >= GROUP_MIN else None
