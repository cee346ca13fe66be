"""Money (金额): a whole number of minor units in one currency; never a float."""

from __future__ import annotations

import re
from dataclasses import dataclass

_DIGITS = {
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0,
    "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0, "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3,
    "TND": 3,
}  # fmt: skip
"""Decimal places where they are not two (ISO 4217)."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units (分, cents) of an ISO 4217 currency."""

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        if len(self.currency) != 3 or not self.currency.isascii() or not self.currency.isupper():
            raise ValueError("a currency is three capital letters")

    def __add__(self, other: Money) -> Money:
        return Money(self.amount_minor + self._same(other), self.currency)

    def __str__(self) -> str:
        """The amount as people write it, exact: `-12.50 CNY`."""
        return f"{decimal(self.amount_minor, self.currency)} {self.currency}"

    def split(self, weights: tuple[int, ...]) -> tuple[Money, ...]:
        """Shares by weight that sum exactly, by largest remainder (ties to the earlier share)."""
        whole = sum(weights)
        if whole <= 0 or min(weights) < 0:
            raise ValueError("weights are not negative and one is positive")
        shares = [self.amount_minor * weight // whole for weight in weights]
        rests = [self.amount_minor * weight % whole for weight in weights]
        order = sorted(range(len(weights)), key=lambda place: (-rests[place], place))
        for place in order[: self.amount_minor - sum(shares)]:
            shares[place] += 1
        return tuple(Money(share, self.currency) for share in shares)

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise ValueError("two currencies do not add up")
        return other.amount_minor


def decimal(amount_minor: int, currency: str) -> str:
    """The amount in major units with all its decimal places."""
    places = _DIGITS.get(currency, 2)
    whole, rest = divmod(abs(amount_minor), 10**places)
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{whole}.{rest:0{places}d}" if places else f"{sign}{whole}"


def minor(text: str, currency: str) -> int | None:
    """The minor units of a decimal amount such as 12.5, None where it has more places than the currency."""
    places = _DIGITS.get(currency, 2)
    found = re.fullmatch(r"(0|[1-9][0-9]{0,11})(?:\.([0-9]{1,3}))?", text, re.ASCII)
    if found is None or len(found[2] or "") > places:
        return None
    return int(found[1] + (found[2] or "").ljust(places, "0"))
