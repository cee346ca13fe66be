"""Money (金额): a whole number of minor units in one currency; never a float."""

from __future__ import annotations

from dataclasses import dataclass


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

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount_minor - self._same(other), self.currency)

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
