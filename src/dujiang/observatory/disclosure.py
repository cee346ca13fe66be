"""Statistical disclosure control (统计披露控制) of a table with subtotals, pure.

A table is a tree: the total, its parts, their parts; an inner node is the sum of its children.
1. A node is small where it has too few providers or consumers, or one of them has most of it.
2. Small nodes are withheld with all below them.
3. Of a node that stays visible, what its withheld leaves sum to can be computed (the node less what is shown
   of it), and nothing finer: each withheld leaf is in exactly one such sum, that of its lowest visible
   ancestor. So that sum has to be publishable itself, of two leaves at least, and larger than their
   number, as a reader knows that none of them is 0. More leaves are withheld until that holds; where it
   can not, the node is withheld too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Parties:
    """Whom a value comes from, with each one's part of it."""

    value: int = 0
    providers: dict[str, int] = field(default_factory=dict[str, int])
    consumers: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, other: Parties) -> None:
        """Adds whom another value comes from."""
        self.value += other.value
        for mine, theirs in ((self.providers, other.providers), (self.consumers, other.consumers)):
            for org, value in theirs.items():
                mine[org] = mine.get(org, 0) + value

    def few(self, least: int, share_percent: int) -> bool:
        """Whether these are too few, or one of them has more than a share of the value.

        A contract has one provider and one consumer: where neither are few, contracts are not.
        """
        if min(len(self.providers), len(self.consumers)) < least or self.value <= 0:
            return True
        largest = max(*self.providers.values(), *self.consumers.values())
        return largest * 100 > share_percent * self.value


@dataclass(slots=True)
class Node:
    """A total or a cell of a table; `parties` of a leaf are its own, of another node those below it."""

    key: str
    value: int = 0
    entries: int = 0
    children: dict[str, Node] = field(default_factory=dict[str, "Node"])
    parties: Parties = field(default_factory=Parties)
    hidden: bool = False
    open_leaves: list[Node] = field(default_factory=list["Node"])
    """Withheld leaves below it that are in no lower visible node's sum."""

    def walk(self) -> Iterator[Node]:
        """The node and all below it."""
        yield self
        for child in self.children.values():
            yield from child.walk()

    def leaves(self) -> list[Node]:
        """The cells below it that have no parts, itself if it has none."""
        return [each for each in self.walk() if not each.children]


def protect(root: Node, least: int, share_percent: int) -> None:
    """Withholds what has to be; see the head of this module."""
    _Guard(least, share_percent).protect(root)


def joined(leaves: Iterable[Node]) -> Parties:
    """The parties of several leaves together."""
    whole = Parties()
    for leaf in leaves:
        whole.add(leaf.parties)
    return whole


@dataclass(frozen=True, slots=True)
class _Guard:
    least: int
    share_percent: int

    def protect(self, node: Node) -> None:
        leaves = node.leaves()
        if joined(leaves).few(self.least, self.share_percent):
            for each in node.walk():
                each.hidden = True
            node.open_leaves = leaves
            return
        for child in node.children.values():
            self.protect(child)
        node.open_leaves = [
            leaf for child in node.children.values() if child.hidden for leaf in child.open_leaves
        ]
        rest = sorted(
            (child for child in node.children.values() if not child.hidden), key=lambda each: each.value, reverse=True
        )  # fmt: skip
        while node.open_leaves and not self._publishable(node.open_leaves):
            if not rest:
                node.hidden = True
                return
            node.open_leaves += _withheld(rest.pop())

    def _publishable(self, leaves: list[Node]) -> bool:
        whole = joined(leaves)
        return (
            len(leaves) >= 2 and whole.value > len(leaves) and not whole.few(self.least, self.share_percent)
        )


def _withheld(node: Node) -> list[Node]:
    """The leaves that a node's withholding adds to the sum above it; one is withheld where none was."""
    node.hidden = True
    if not node.children:
        node.open_leaves = [node]
    elif not node.open_leaves:
        node.open_leaves = list(_withheld(min(node.children.values(), key=lambda each: each.value)))
    return node.open_leaves
