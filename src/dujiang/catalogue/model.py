"""Words of 目录 (catalogue): a product, its immutable versions, and what everybody may see of it.

1. A version of a product never changes; new terms or a new table make a new version.
2. A product keeps its resource, so that the resource's privacy account goes on whatever is published.
3. A card says what its provider declared, never a row count, a smallest or largest value, a distinct count.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dujiang.kernel.errors import Code, Exit
from dujiang.policy.model import Terms
from dujiang.registry.model import Column, Kind, Use

SEARCH_CHARACTERS_MAX = 200
SEARCH_TERMS_MAX = 16
RANKED_MAX = 2000
"""Products up to which hits are ranked; beyond it they come newest first."""


class State(StrEnum):
    """Whether a product can be agreed on (产品状态)."""

    published = "published"
    withdrawn = "withdrawn"


class Strategy(StrEnum):
    """How requests for a product are answered (应答策略); its provider's own affair, never published."""

    agree = "agree"
    """At once, where the terms permit the request."""
    ask = "ask"
    """By a person: the request waits in the provider's inbox."""
    hold = "hold"
    """Not yet: the request is kept, and waits for a person from a day on."""


@dataclass(frozen=True, slots=True)
class Answering:
    """How requests for a product are answered, and from which day (ISO date) held ones wait for a person."""

    strategy: Strategy = Strategy.agree
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """A product with one of its versions (数据产品)."""

    id: str
    org: str
    resource: str
    state: State
    number: int
    """The version of the product, from 1."""
    registered: str
    """Id of the registered version its questions run on."""
    offer: str
    """Id of the offer under which the version's terms stand."""
    title: str
    title_zh: str
    description: str
    terms: Terms
    terms_sha256: str
    created_ms: int
    """When this version was published."""
    answering: Answering = Answering()


@dataclass(frozen=True, slots=True)
class Offered:
    """What a contract is agreed on (要约): a version of a product, its terms and its table."""

    product: str
    version: int
    offer: str
    resource: str
    registered: str
    provider_org: str
    terms: Terms
    terms_sha256: str
    title: str
    answering: Answering = Answering()


@dataclass(frozen=True, slots=True)
class ColumnCard:
    """A column as everybody may see it; bounds and keys are the provider's declarations."""

    name: str
    kind: Kind
    uses: tuple[Use, ...]
    lo: str | None = None
    hi: str | None = None
    scale: int = 0
    keys: tuple[str, ...] | None = None

    @classmethod
    def of(cls, column: Column) -> ColumnCard:
        """The card of a registered column: its bounds only where a question could use them."""
        if not column.uses:
            return cls(column.name, column.kind, ())
        return cls(column.name, column.kind, column.uses, column.lo, column.hi, column.scale, column.keys)


PRODUCT_WITHDRAWN = Code(
    "product_withdrawn", 410, Exit.conflict,
    "The product is withdrawn; contracts that exist go on.",
    "Find another with `dujiang find`, or ask its provider.",
    "该产品已下架；已有合约继续有效。", "请用 `dujiang find` 另寻产品，或联系提供方。",
)  # fmt: skip
RIGHT_ENDED = Code(
    "right_ended", 410, Exit.refused,
    "Its provider has no right, or none any more, to offer this resource on these terms; what was answered stays.",
    "Find another product with `dujiang find`.",
    "提供方没有（或已不再拥有）按此条款经营该资源的权利；已给出的答案不受影响。", "请用 `dujiang find` 另寻产品。",
)  # fmt: skip
TERMS_BEYOND_RIGHT = Code(
    "terms_beyond_right", 403, Exit.refused,
    "The terms promise more than the right to operate allows: {fields}.",
    "Narrow these fields; `dujiang registry list` shows the grant and its limits.",
    "条款超出了经营权的范围：{fields}。", "请收窄这些项；`dujiang registry list` 可查看授权及其限制。",
)  # fmt: skip
SEARCH_LONG = Code(
    "search_long", 400, Exit.usage,
    "A search has at most {limit} characters.", "Search for fewer words.",
    "搜索内容不得超过 {limit} 个字符。", "请减少搜索词。",
)  # fmt: skip
PAGE_WRONG = Code(
    "page_wrong", 400, Exit.usage,
    "A page has 1 to {limit} items.", "Ask for a smaller page and go on with `after`.",
    "每页为 1 至 {limit} 项。", "请减小每页数量，并用 after 继续。",
)  # fmt: skip
EXACT_AND_NOISED = Code(
    "exact_and_noised", 409, Exit.conflict,
    "Exact answers and noised answers cannot be offered over the same resource.",
    "Keep the noise of the versions already published over this resource.",
    "同一资源不能既提供精确答案又提供加噪答案。", "请沿用该资源已发布版本的加噪方式。",
)  # fmt: skip
DECLARATION_NEEDS_FILE = Code(
    "declaration_needs_file", 400, Exit.usage,
    "Columns can be declared anew only with the file.", "Upload the file again and name it in the request.",
    "重新声明字段时必须附上文件。", "请重新上传文件并在请求中注明。",
)  # fmt: skip
HOLD_NEEDS_DAY = Code(
    "hold_needs_day", 400, Exit.usage,
    "Requests are held until a day, and only held ones have one.", "Give the day as YYYY-MM-DD with `hold`.",
    "暂缓（hold）须给出日期，其他方式不带日期。", "请在选择 hold 时以 YYYY-MM-DD 给出日期。",
)  # fmt: skip
CODES = (
    PRODUCT_WITHDRAWN,
    RIGHT_ENDED,
    TERMS_BEYOND_RIGHT,
    SEARCH_LONG,
    PAGE_WRONG,
    EXACT_AND_NOISED,
    DECLARATION_NEEDS_FILE,
    HOLD_NEEDS_DAY,
)
