"""Words and pure rules of 数据产权 (data property rights): three rights, granted with a date, in a chain.

1. Nothing is exclusive: any number of grants of one right in one resource stand side by side.
2. A chain begins with a registration. Each grant lies within the one above it: the same right, no other days,
   no other purposes, no wider limits; and only where the one above may be granted on.
3. What ends, ends with everything below it, and nothing that ended comes back.
4. A right lives on a day if every grant of its chain does.

Source: 数据产权登记工作指引（试行） 国数综政策〔2026〕35号.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum

from dujiang.kernel.errors import Code, Exit

SCOPE_CHARACTERS_MAX = 400
PURPOSES_MAX = 100
PURPOSE_CHARACTERS_MAX = 200
CHAIN_MAX = 16
"""Most grants one below the other."""
GRANTS_MAX = 1000
"""Most grants of one resource that stand at a time."""


class Right(StrEnum):
    """One of the three rights (三权)."""

    hold = "hold"
    """数据持有权: to keep the data and manage it."""
    use = "use"
    """数据使用权: to process it and derive from it."""
    operate = "operate"
    """数据经营权: to offer it to others, as products."""


RIGHTS_ZH = {Right.hold: "数据持有权", Right.use: "数据使用权", Right.operate: "数据经营权"}


class Basis(StrEnum):
    """Where a resource's data come from (来源), as its registrant declares."""

    unstated = "unstated"
    """未声明."""
    collected = "collected"
    """采集生成: by its own work."""
    licensed = "licensed"
    """协议取得: by agreement with its holder."""
    crawled = "crawled"
    """自动化程序收集公开数据: gathered from public sources by a program; gives no right to operate."""
    derived = "derived"
    """衍生创造: made from other data by real transformation."""
    authorised = "authorised"
    """授权运营: public data operated under an authorisation."""


class DataClass(StrEnum):
    """How much depends on the data (分类分级, GB/T 43697), as their registrant declares."""

    unstated = "unstated"
    general = "general"
    """一般数据."""
    important = "important"
    """重要数据."""
    core = "core"
    """核心数据: never registered."""


class End(StrEnum):
    """Why a grant stands no longer."""

    revoked = "revoked"
    renounced = "renounced"
    withdrawn = "withdrawn"


class CaseKind(StrEnum):
    """What a registration case is (登记类型)."""

    first = "first"
    """初次登记."""
    change = "change"
    """变更登记: a new version of the same holder's."""
    transfer = "transfer"
    """转让登记."""
    cancellation = "cancellation"
    """注销登记."""


class Standing(StrEnum):
    """What a grant is worth on a day."""

    live = "live"
    early = "early"
    """Its days have not begun."""
    over = "over"
    """Its days, or those of a grant above it, have passed."""
    ended = "ended"
    """It, or a grant above it, was ended."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What products may at most promise of a resource that another holds (经营限制)."""

    group_min: int = 10
    """Fewest distinct entities of a group that is shown."""
    statistics: int = 50
    """Largest allotment of one organisation, in statistics."""
    ceiling_statistics: int = 200
    """Most statistics over all organisations."""
    rho_micro: int = 5000
    """Largest privacy cost (zCDP) of one statistic, in 10**-6."""
    dominance_percent: int = 50
    """A sum is withheld where one entity could hold more than this share of it, or less."""
    exact: bool = False
    """Whether answers may be without noise."""
    columns: tuple[str, ...] | None = None
    """Columns that may be opened; None: all that have a use."""
    recipients: tuple[str, ...] | None = None
    """Who may agree, spelt as products spell it; None: any."""
    join_keys: tuple[str, ...] | None = None
    """Columns it may be joined on with other tables; None: it is asked alone."""
    partners: tuple[str, ...] | None = None
    """Whose tables it may be joined with, spelt as products spell it; None: any."""

    def beyond(self, other: Limits) -> tuple[str, ...]:
        """The fields in which these limits are wider than others."""
        found = [name for name in _AT_MOST if getattr(self, name) > getattr(other, name)]
        if self.group_min < other.group_min:
            found.append("group_min")
        found += [
            name
            for name in ("columns", "recipients")
            if not _within(getattr(self, name), getattr(other, name))
        ]
        if not _within(self.join_keys or (), other.join_keys or ()):
            found.append("join_keys")
        if self.join_keys and not _within(self.partners, other.partners):
            found.append("partners")
        return tuple(found)


_AT_MOST = ("statistics", "ceiling_statistics", "rho_micro", "dominance_percent", "exact")


@dataclass(frozen=True, slots=True)
class Source:
    """What a registrant declares of a resource's origin."""

    basis: Basis = Basis.unstated
    data_class: DataClass = DataClass.unstated


@dataclass(frozen=True, slots=True)
class Grant:
    """One right in one resource, given to one organisation (产权授予)."""

    id: str
    resource: str
    right: Right
    org: str
    """Whose right it is."""
    granter: str
    """Who gave it, or the one who stepped into their place; the same organisation: by registration."""
    parent: str | None
    """The grant it was given under; None: registration."""
    start: str
    """First day, ISO date, UTC."""
    until: str | None
    """Last day; None: as long as the one above."""
    onward: bool
    """Whether it may be granted on."""
    purposes: tuple[str, ...] | None
    """None: any."""
    scope: str
    """What else was agreed, in words that no program judges."""
    limits: Limits | None
    """None: the registrant's own terms are the only limit."""
    created_ms: int
    ended_ms: int | None = None
    end: End | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One registration case (登记事项)."""

    number: str
    kind: CaseKind
    resource: str
    org: str
    """The holder after it."""
    created_ms: int
    version: str | None = None
    from_org: str | None = None
    """The holder before a transfer."""


@dataclass(frozen=True, slots=True)
class Estate:
    """A resource as its register has it: holder, origin, and whether its registration stands."""

    id: str
    org: str
    basis: Basis
    data_class: DataClass
    registered: bool
    """False: withdrawn (注销)."""
    created_ms: int


def rights_of(basis: Basis) -> tuple[Right, ...]:
    """The rights a registration on this basis gives: what a program gathered in public may not be operated."""
    return (Right.hold, Right.use) if basis is Basis.crawled else tuple(Right)


def day_of(text: str) -> str | None:
    """An ISO day in its one form, or None."""
    try:
        return text if date.fromisoformat(text).isoformat() == text else None
    except ValueError:
        return None


def misstated(grant: Grant, today: str) -> tuple[str, ...]:
    """What is wrong with a grant by itself, as rules without values; none where it may be looked at further."""
    found: list[str] = []
    if day_of(grant.start) is None or (grant.until is not None and day_of(grant.until) is None):
        return ("start, until: YYYY-MM-DD",)
    if grant.start < today:
        found.append("start: not before today")
    if grant.until is not None and grant.until < grant.start:
        found.append("until: not before start")
    if len(grant.scope) > SCOPE_CHARACTERS_MAX or not all(s.isprintable() or s == "\n" for s in grant.scope):
        found.append(f"scope: at most {SCOPE_CHARACTERS_MAX} printable characters")
    if grant.purposes is not None and not 1 <= len(grant.purposes) <= PURPOSES_MAX:
        found.append(f"purposes: 1..{PURPOSES_MAX}")
    if any(
        not 1 <= len(p.strip()) <= PURPOSE_CHARACTERS_MAX or not p.isprintable() for p in grant.purposes or ()
    ):
        found.append(f"purposes: 1..{PURPOSE_CHARACTERS_MAX} printable characters each")
    if grant.limits is not None:
        found += [f"limits.{name}: at least 1" for name in _NUMBERS if getattr(grant.limits, name) < 1]
    return tuple(found)


_NUMBERS = tuple(part.name for part in fields(Limits) if part.type == "int")


def beyond(child: Grant, parent: Grant) -> tuple[str, ...]:
    """The fields in which a grant goes beyond the one it is given under; none where it lies within."""
    found: list[str] = []
    if (child.resource, child.right) != (parent.resource, parent.right):
        found.append("right")
    if not parent.onward:
        found.append("onward")
    if child.start < parent.start:
        found.append("start")
    if parent.until is not None and (child.until is None or child.until > parent.until):
        found.append("until")
    if not _within(child.purposes, parent.purposes):
        found.append("purposes")
    if parent.limits is not None:
        wider = ("all",) if child.limits is None else child.limits.beyond(parent.limits)
        found += [f"limits.{name}" for name in wider]
    return tuple(found)


def standing(chain: Sequence[Grant], today: str) -> Standing:
    """What the first grant of a chain is worth on a day; `chain` leads up to its registration."""
    if not chain or chain[-1].parent is not None or any(each.ended_ms is not None for each in chain):
        return Standing.ended
    if any(each.until is not None and each.until < today for each in chain):
        return Standing.over
    return Standing.early if any(today < each.start for each in chain) else Standing.live


def withdrawn(registration: str, cases: Iterable[Case]) -> bool:
    """Whether a registration was withdrawn after it was made; registering again does not bring it back.

    `cases`: of its resource; numbers of one home grow with time.
    """
    return any(each.kind is CaseKind.cancellation and each.number > registration for each in cases)


def chain_of(grants: Mapping[str, Grant], leaf: str) -> tuple[Grant, ...]:
    """A grant and those above it, up to its registration; shorter where one is not known."""
    found: list[Grant] = []
    at: str | None = leaf
    while at is not None and at in grants and len(found) < CHAIN_MAX:
        found.append(grants[at])
        at = grants[at].parent
    return tuple(found)


def with_below(grants: Iterable[Grant], top: str) -> tuple[Grant, ...]:
    """The grants that stand at or below one, the upper before the lower."""
    standing_ = [each for each in grants if each.ended_ms is None]
    found = [each for each in standing_ if each.id == top]
    for each in found:  # grows while it is walked: the grants below one come after it
        found.extend(lower for lower in standing_ if lower.parent == each.id)
    return tuple(found)


def _within(inner: Iterable[str] | None, outer: Iterable[str] | None) -> bool:
    if outer is None:
        return True
    return inner is not None and {each.strip() for each in inner} <= {each.strip() for each in outer}


RIGHT_MISSING = Code(
    "right_missing", 403, Exit.refused,
    "Your organisation has no such right in this resource now.",
    "Ask its holder for a grant; `dujiang registry list` shows the rights you have.",
    "贵机构目前没有该资源的此项权利。", "请向其持有方申请授权；`dujiang registry list` 列出贵机构的权利。",
)  # fmt: skip
RIGHT_BEYOND = Code(
    "right_beyond", 409, Exit.refused,
    "The grant would go beyond the right it is given under: {fields}.",
    "Narrow these fields; `dujiang registry list` shows the right you have.",
    "授权超出了其所依据的权利：{fields}。", "请缩小这些项；`dujiang registry list` 可查看贵机构的权利。",
)  # fmt: skip
GRANT_WRONG = Code(
    "grant_wrong", 400, Exit.usage,
    "The grant is not valid: {problems}.", "Correct these fields.",
    "授权内容无效：{problems}。", "请更正这些项。",
)  # fmt: skip
GRANT_SELF = Code(
    "grant_self", 400, Exit.usage,
    "An organisation grants or transfers nothing to itself.", "Name another organisation.",
    "机构不能向自己授权或转让。", "请填写另一机构。",
)  # fmt: skip
GRANTS_MANY = Code(
    "grants_many", 409, Exit.conflict,
    "No more than {limit} grants of a resource stand at a time, or {depth} below each other.",
    "Revoke some that are not needed.",
    "一项资源同时有效的授权不得超过 {limit} 项，层级不得超过 {depth} 层。", "请撤销不需要的授权。",
)  # fmt: skip
RESOURCE_WITHDRAWN = Code(
    "resource_withdrawn", 410, Exit.conflict,
    "The registration of this resource is withdrawn.", "Register its content again.",
    "该资源的登记已注销。", "请重新登记其内容。",
)  # fmt: skip
CONTENT_TRANSFERRED = Code(
    "content_transferred", 409, Exit.refused,
    "Your organisation has transferred this content to another.", "Ask its holder for a grant.",
    "贵机构已将该内容转让给其他机构。", "请向其持有方申请授权。",
)  # fmt: skip
BASIS_FIXED = Code(
    "basis_fixed", 409, Exit.conflict,
    "The source and class of a resource are declared once, at its first registration.",
    "Leave them out for a new version.",
    "资源的来源和分级只在初次登记时声明。", "新版本请不要再填写。",
)  # fmt: skip
CORE_DATA = Code(
    "core_data", 403, Exit.refused,
    "Core data are not registered here.", "Keep them out of circulation.",
    "核心数据不予登记。", "请勿使其进入流通。",
)  # fmt: skip
CERTIFICATE_UNVERIFIED = Code(
    "certificate_unverified", 422, Exit.unverified,
    "The certificate does not verify: {step}.", "Ask its holder for the certificate as it was exported.",
    "证书验证失败：{step}。", "请向持有方索取导出的原始证书。",
)  # fmt: skip
CODES = (
    RIGHT_MISSING, RIGHT_BEYOND, GRANT_WRONG, GRANT_SELF, GRANTS_MANY, RESOURCE_WITHDRAWN,
    CONTENT_TRANSFERRED, BASIS_FIXED, CORE_DATA, CERTIFICATE_UNVERIFIED,
)  # fmt: skip
