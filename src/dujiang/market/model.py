"""Words of 价值 (market): accounts, transactions, quotes, bills.

1. A transaction is two or more postings that sum to zero in one currency; it is never changed nor removed.
2. The name of a transaction is used once for ever: a deposit by its reference, a settlement by its bill's line.
3. A balance stands beside the postings it is the sum of; none but the clearing account's is negative.
4. What is wrong is put right by the reversal of a whole transaction, linked to it, once.
5. A contract's allowance account equals what its performance says is available, held and spent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dujiang.kernel.errors import Code, Exit
from dujiang.kernel.money import Money

AMOUNT_MAX = 2**53 - 1
"""Most minor units an account can hold: what JSON carries exactly."""
REFERENCE_CHARACTERS_MAX = 100


class Kind(StrEnum):
    """What an account is for (账户类别)."""

    balance = "balance"
    """Money of an organisation, free to be put on contracts (余额)."""
    allowance = "allowance"
    """Money of a consumer on one contract (合约额度)."""
    payable = "payable"
    """What a provider has earned and may be paid out (应付)."""
    platform = "platform"
    """The operator's fees (平台服务费)."""
    clearing = "clearing"
    """The mirror of the money outside, at the operator's bank (清算): minus what is inside."""


class Purse(StrEnum):
    """The accounts that money comes to and leaves from (出入金账户)."""

    balance = "balance"
    payable = "payable"
    platform = "platform"
    """The operator's fees: money leaves from there, and comes back only to cover a refund."""


class Form(StrEnum):
    """The forms of a statement file (对账文件格式)."""

    csv = "csv"
    beancount = "beancount"
    hledger = "hledger"


@dataclass(frozen=True, slots=True)
class Account:
    """One account (账户): its organisation, its kind and, for an allowance, its contract."""

    org: str
    kind: Kind
    contract: str = ""


@dataclass(frozen=True, slots=True)
class Posting:
    """One line of a transaction (分录): positive adds to the account."""

    account: Account
    amount_minor: int


class Cause(StrEnum):
    """Why money moved (交易类别)."""

    deposit = "deposit"
    withdraw = "withdraw"
    order = "order"
    release = "release"
    settle = "settle"
    refund = "refund"


@dataclass(frozen=True, slots=True)
class Transaction:
    """Money that moved (交易): `id` is its name for ever."""

    id: str
    cause: Cause
    currency: str
    postings: tuple[Posting, ...]
    subject: str = ""
    """The bill or contract it is about."""
    reference: str = ""
    """What the world outside calls it: a bank's reference."""
    reverses: str | None = None


class Paper(StrEnum):
    """A numbered document (单据)."""

    bill = "bill"
    """账单: uses of a contract and what they cost."""
    credit = "credit"
    """贷项通知单: lines of a bill that were given back."""


class State(StrEnum):
    """Where a bill stands (账单状态)."""

    open = "open"
    settled = "settled"
    refunded = "refunded"
    """Every line was given back."""


@dataclass(frozen=True, slots=True)
class BillLine:
    """One line of a bill (账单明细): quantity x unit = amount."""

    line: int
    kind: str
    """agreement, month, question or row."""
    quantity: int
    unit_minor: int
    amount_minor: int
    credited_by: str | None = None
    """The credit note that gave it back."""


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill, or (with `of`) a credit note to one."""

    id: str
    paper: Paper
    org: str
    """The provider."""
    number: int
    """Without a gap for each provider and kind of document."""
    consumer: str
    contract: str
    product: str
    amount: Money
    fee_bp: int
    """The operator's part in 1/100 of a percent."""
    at_ms: int
    state: State
    first: int
    """The first use it covers, by its number in the contract; 0 on a credit note."""
    last: int
    of: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """A price said in advance (报价)."""

    id: str
    org: str
    product: str
    contract: str | None
    terms_sha256: str
    amount: Money
    until_ms: int


AMOUNT_UNFIT = Code(
    "amount_unfit", 400, Exit.usage,
    "An amount is a number above 0 with no more decimal places than its currency has.",
    "Write it like 12.50; smaller parts than a minor unit cannot be moved.",
    "金额应为大于 0 的数，小数位数不得超过该货币的最小单位。", "请写作 12.50 的形式；不能移动小于最小货币单位的金额。",
)  # fmt: skip
CURRENCY_UNFIT = Code(
    "currency_unfit", 400, Exit.usage,
    "A currency is three capital letters.", "Use its ISO 4217 code, such as CNY.",
    "货币应为三个大写字母。", "请使用 ISO 4217 代码，例如 CNY。",
)  # fmt: skip
CURRENCY_DIFFERS = Code(
    "currency_differs", 409, Exit.conflict,
    "This contract is paid in {currency}.", "Order in that currency; the operator credits it with a deposit.",
    "该合约以 {currency} 计价。", "请以该货币充入；由运营方入账该货币。",
)  # fmt: skip
REFERENCE_UNFIT = Code(
    "reference_unfit", 400, Exit.usage,
    "A reference or reason has 1 to {limit} printable characters.", "Shorten it.",
    "凭证号或原因应为 1 至 {limit} 个可见字符。", "请缩短。",
)  # fmt: skip
REFERENCE_USED = Code(
    "reference_used", 409, Exit.conflict,
    "This reference was booked before; nothing was booked again.",
    "Look for it in the statement; a new payment has a reference of its own.",
    "该凭证号已入账，未重复入账。", "请在对账单中查找；新的款项应使用新的凭证号。",
)  # fmt: skip
BALANCE_SHORT = Code(
    "balance_short", 402, Exit.spent,
    "This needs {needs}, and {left} are on the account.", "Have the operator credit a deposit, or move less.",
    "此操作需 {needs}，账户仅有 {left}。", "请由运营方入账充值，或减少金额。",
)  # fmt: skip
AMOUNT_BEYOND = Code(
    "amount_beyond", 409, Exit.refused,
    "The account would hold more than can be written exactly.", "Pay something out first.",
    "账户金额将超出可精确记录的范围。", "请先支付部分款项。",
)  # fmt: skip
QUOTE_EXPIRED = Code(
    "quote_expired", 409, Exit.conflict,
    "This quote is no longer valid, or was ordered by already.", "Get a new one with `dujiang market quote`.",
    "该报价已失效或已使用。", "请用 `dujiang market quote` 重新获取报价。",
)  # fmt: skip
QUOTE_DIFFERS = Code(
    "quote_differs", 409, Exit.conflict,
    "This quote is for another contract or other terms.", "Get one for this contract with `dujiang market quote`.",
    "该报价针对其他合约或其他条款。", "请用 `dujiang market quote` 获取本合约的报价。",
)  # fmt: skip
QUOTE_WHAT = Code(
    "quote_what", 400, Exit.usage,
    "A quote is for a product, or for a contract with or without a question.",
    "Give --product, or --contract and --sql.",
    "报价针对产品，或针对合约（可附查询）。", "请填写 --product，或 --contract 与 --sql。",
)  # fmt: skip
NOTHING_TO_BILL = Code(
    "nothing_to_bill", 409, Exit.conflict,
    "Nothing that costs anything ended since the last bill.", "Bill again after the next use.",
    "自上次出账后没有应计费的使用。", "请在有新的使用后再出账。",
)  # fmt: skip
BILL_SETTLED = Code(
    "bill_settled", 409, Exit.conflict,
    "This bill is settled already.", "Look at it with `dujiang show BILL`.",
    "该账单已结算。", "用 `dujiang show 账单号` 查看。",
)  # fmt: skip
BILL_OPEN = Code(
    "bill_open", 409, Exit.conflict,
    "This bill is not settled yet: there is nothing to give back.", "Settle it first.",
    "该账单尚未结算，无款可退。", "请先结算。",
)  # fmt: skip
REFUNDED = Code(
    "already_refunded", 409, Exit.conflict,
    "This was given back already.", "Look at the bill's credit notes with `dujiang show BILL`.",
    "该款项已退回。", "用 `dujiang show 账单号` 查看贷项通知单。",
)  # fmt: skip
EARNED_SHORT = Code(
    "earned_short", 409, Exit.conflict,
    "Somebody who earned from this bill has been paid out since, so it cannot be given back whole.",
    "Have the operator credit what was paid out (`dujiang market deposit --account payable`, or its own fees "
    "with `--account platform`), then refund.",
    "该账单的某一收款方已提取所得，无法全额退回。",
    "请由运营方入账已提取的款项（`dujiang market deposit --account payable`，服务费用 `platform`）后再退款。",
)  # fmt: skip
ACCOUNT_UNFIT = Code(
    "account_unfit", 400, Exit.usage,
    "That account takes no such movement.", "Use balance, payable, or (for the operator's own fees) platform.",
    "该账户不支持此操作。", "请使用 balance、payable，或（运营方自己的服务费）platform。",
)  # fmt: skip
SHARE_UNKNOWN = Code(
    "share_unknown", 409, Exit.conflict,
    "A recipient named in the price is no organisation of this node.",
    "Have the operator admit it under the name the terms use.",
    "价格中的分成方不是本节点的机构。", "请由运营方以条款中的名称接入该机构。",
)  # fmt: skip
DAYS_UNFIT = Code(
    "days_unfit", 400, Exit.usage,
    "A period is two ISO dates, the first not after the last.", "Write them like 2026-11-01.",
    "期间应为两个 ISO 日期，且起始日不晚于截止日。", "请写作 2026-11-01 的形式。",
)  # fmt: skip
EXPORT_LONG = Code(
    "export_too_long", 409, Exit.refused,
    "The period has more than {limit} postings.", "Export shorter periods.",
    "该期间的分录超过 {limit} 条。", "请缩短导出期间。",
)  # fmt: skip
CODES = (
    AMOUNT_UNFIT, CURRENCY_UNFIT, CURRENCY_DIFFERS, REFERENCE_UNFIT, REFERENCE_USED, BALANCE_SHORT, AMOUNT_BEYOND,
    QUOTE_EXPIRED, QUOTE_DIFFERS, QUOTE_WHAT, NOTHING_TO_BILL, BILL_SETTLED, BILL_OPEN, REFUNDED, EARNED_SHORT,
    ACCOUNT_UNFIT, SHARE_UNKNOWN,
    DAYS_UNFIT, EXPORT_LONG,
)  # fmt: skip
