"""A protocol as a table: (state, message, sender) -> state.

1. Everything that decides the next state stands in the table; there is no other guard.
2. The machine does not know which side we are: a sender is a word, the same for both sides.
3. A cell that is not in the table is out of turn; nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


class OutOfTurn(Exception):
    """The message may not be sent by this sender in this state; the caller refuses in its own words."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A transition table with its name, start state and terminal states."""

    name: str
    start: str
    table: Mapping[tuple[str, str, str], str]

    def step(self, state: str, message: str, sender: str) -> str:
        """The state after `message` from `sender`.

        Raises: OutOfTurn where the table has no such cell.
        """
        after = self.table.get((state, message, sender))
        if after is None:
            raise OutOfTurn(self.name)
        return after

    def states(self) -> tuple[str, ...]:
        """Every state, the start first, in the order of the table."""
        seen = {self.start: None}
        for (state, _, _), after in self.table.items():
            seen.setdefault(state)
            seen.setdefault(after)
        return tuple(seen)

    def messages(self) -> tuple[str, ...]:
        """Every message of the table, in order of first use."""
        return tuple(dict.fromkeys(message for _, message, _ in self.table))

    def terminal(self, state: str) -> bool:
        """Whether nothing can follow `state`."""
        return all(before != state for before, _, _ in self.table)

    def diagram(self) -> str:
        """The table drawn as a Mermaid state diagram, for the docs."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.start}"]
        lines += [
            f"    {before} --> {after}: {message} ({sender})"
            for (before, message, sender), after in self.table.items()
        ]
        lines += [f"    {state} --> [*]" for state in self.states() if self.terminal(state)]
        return "\n".join(lines)
