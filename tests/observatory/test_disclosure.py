"""Nothing that is withheld can be computed: an attacker who knows the method and every published number tries."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, product

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dujiang.observatory.disclosure import Node, Parties, joined, protect

LEAST, SHARE = 3, 80
Leaf = tuple[int, int, int, int]
"""Branch, provider, consumer, value."""


def tree(rows: list[list[Leaf]]) -> Node:
    """A table of two levels below the total; each item of `rows` is one cell's parts."""
    root = Node("total")
    for number, parts in enumerate(rows):
        branch = root.children.setdefault(f"b{parts[0][0]}", Node(f"b{parts[0][0]}"))
        leaf = branch.children[f"c{number}"] = Node(f"c{number}")
        for _, provider, consumer, value in parts:
            leaf.parties.add(Parties(value, {f"p{provider}": value}, {f"q{consumer}": value}))
        for node in (root, branch, leaf):
            node.value += leaf.parties.value
    return root


def cells(most: int, highest: int) -> st.SearchStrategy[list[list[Leaf]]]:
    """Some cells in up to three branches, each of a few organisations."""
    part = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, highest))
    cell = st.tuples(st.integers(0, 2), st.lists(part, min_size=1, max_size=6))
    return st.lists(cell, min_size=1, max_size=most).map(
        lambda found: [[(branch, *part) for part in parts] for branch, parts in found]
    )


def equations(root: Node, unknown: list[Node]) -> list[list[Fraction]]:
    """What each published number says of the unknown leaves: a row of coefficients and its right side."""
    found: list[list[Fraction]] = []
    for node in root.walk():
        if node.hidden:
            continue
        leaves = node.leaves()
        known = sum(leaf.value for leaf in leaves if not leaf.hidden)
        row = [Fraction(any(leaf is each for leaf in leaves)) for each in unknown]
        if any(row):
            found.append([*row, Fraction(node.value - known)])
    return found


def reduced(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """The rows in reduced echelon form."""
    done: list[list[Fraction]] = []
    rows = [list(row) for row in rows]
    for column in range(len(rows[0]) - 1 if rows else 0):
        pivot = next((row for row in rows if row[column]), None)
        if pivot is None:
            continue
        rows.remove(pivot)
        pivot = [value / pivot[column] for value in pivot]
        rows = [[v - row[column] * p for v, p in zip(row, pivot, strict=True)] for row in rows]
        done = [[v - row[column] * p for v, p in zip(row, pivot, strict=True)] for row in done]
        done.append(pivot)
    return done


def computable(rows: list[list[Fraction]], wanted: list[int]) -> bool:
    """Whether the sum with these coefficients follows from the rows (in reduced form)."""
    rest = [Fraction(each) for each in wanted]
    for row in rows:
        column = next(place for place, value in enumerate(row) if value)
        factor = rest[column]
        rest = [v - factor * p for v, p in zip(rest, row[:-1], strict=True)]
    return not any(rest)


@given(cells(7, 9))
@settings(max_examples=150, deadline=None)
def test_every_sum_that_can_be_computed_is_one_that_may_be_published(rows: list[list[Leaf]]) -> None:
    root = tree(rows)
    protect(root, LEAST, SHARE)
    unknown = [leaf for leaf in root.leaves() if leaf.hidden]
    assume(unknown)
    known = reduced(equations(root, unknown))
    for size in range(1, len(unknown) + 1):
        for chosen in combinations(range(len(unknown)), size):
            if computable(known, [int(place in chosen) for place in range(len(unknown))]):
                assert size >= 2
                assert not joined(unknown[place] for place in chosen).few(LEAST, SHARE)


ONES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 5), st.integers(1, 2)), min_size=2
).map(lambda found: [[part] for part in found[:6]])
"""Cells of one contract each: what is withheld sums to little more than the number of cells."""


@given(st.one_of(cells(5, 4), ONES))
@settings(max_examples=120, deadline=None)
def test_a_withheld_number_has_more_than_one_possible_value(rows: list[list[Leaf]]) -> None:
    root = tree(rows)
    protect(root, LEAST, SHARE)
    unknown = [leaf for leaf in root.leaves() if leaf.hidden]
    found = equations(root, unknown)
    most = max([1, *(int(row[-1]) for row in found)]) - len(unknown) + 1
    assume(found and max(most, 2) ** len(unknown) <= 2_000)
    seen: list[set[int]] = [set() for _ in unknown]
    for guess in product(range(1, max(most, 2) + 1), repeat=len(unknown)):
        if all(sum(c * g for c, g in zip(row[:-1], guess, strict=True)) == row[-1] for row in found):
            for place, value in enumerate(guess):
                seen[place].add(value)
    bound = {place for row in found for place, coefficient in enumerate(row[:-1]) if coefficient}
    assert all(len(seen[place]) > 1 for place in bound), seen


@given(cells(7, 9))
@settings(max_examples=150, deadline=None)
def test_what_is_published_comes_from_enough_organisations(rows: list[list[Leaf]]) -> None:
    root = tree(rows)
    protect(root, LEAST, SHARE)
    for node in root.walk():
        if not node.hidden:
            assert not joined(node.leaves()).few(LEAST, SHARE)


@given(cells(7, 9), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_a_table_without_a_small_cell_is_published_whole(rows: list[list[Leaf]], chance: object) -> None:
    del chance
    large = [[(parts[0][0], org, org, parts[0][3] + org) for org in range(LEAST + 1)] for parts in rows]
    root = tree(large)
    protect(root, LEAST, SHARE)
    assert not any(node.hidden for node in root.walk())


def test_the_case_of_the_textbook() -> None:
    """One small cell beside three large ones: withheld alone, the total would tell it."""
    large = [[(0, org, org, 5) for org in range(4)] for _ in range(3)]
    root = tree([[(0, 0, 0, 2)], *large])
    protect(root, LEAST, SHARE)
    assert not root.hidden and not root.children["b0"].hidden
    hidden = [leaf.key for leaf in root.leaves() if leaf.hidden]
    assert len(hidden) == 2 and "c0" in hidden


def test_a_small_branch_takes_one_leaf_of_another_with_it_and_no_more() -> None:
    large = [[(1, org, org, 5) for org in range(4)] for _ in range(3)]
    root = tree([[(0, 0, 0, 2)], *large])
    protect(root, LEAST, SHARE)
    assert not root.hidden and root.children["b0"].hidden and root.children["b1"].hidden
    assert len([leaf for leaf in root.leaves() if leaf.hidden]) == 2


def test_cells_of_one_contract_each_are_not_told_by_their_number() -> None:
    root = tree([[(0, org, org, 1)] for org in range(6)])
    protect(root, LEAST, SHARE)
    assert all(node.hidden for node in root.leaves()) and root.hidden and root.children["b0"].hidden


def test_few_on_either_side_are_few() -> None:
    three, two = {"a": 40, "b": 30, "c": 30}, {"x": 50, "y": 50}
    assert Parties(100, three, two).few(LEAST, SHARE) and Parties(100, two, three).few(LEAST, SHARE)
    assert not Parties(100, three, three).few(LEAST, SHARE)


def test_one_organisation_with_nearly_all_is_withheld() -> None:
    assert Parties(100, {"a": 81, "b": 10, "c": 9}, {"x": 40, "y": 30, "z": 30}).few(LEAST, SHARE)
    assert Parties(100, {"x": 40, "y": 30, "z": 30}, {"a": 81, "b": 10, "c": 9}).few(LEAST, SHARE)
    assert not Parties(100, {"a": 80, "b": 10, "c": 10}, {"x": 40, "y": 30, "z": 30}).few(LEAST, SHARE)
    assert Parties(0, {"a": 1, "b": -2, "c": 1}, {"x": 0, "y": 0, "z": 0}).few(LEAST, SHARE)
