"""Undo and redo: what was visited, in order, and where one stands. Kept in the session, so it outlasts a page switch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Thing = TypeVar("Thing")
LIMIT = 100


@dataclass(frozen=True, eq=False)
class History(Generic[Thing]):
    """Things in the order they were visited, never empty, `LIMIT` at most. Nothing is changed in place."""

    things: tuple[Thing, ...]
    index: int = 0

    @property
    def current(self) -> Thing:
        """Where one stands."""
        return self.things[self.index]

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier one."""
        return self.index > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is a later one."""
        return self.index + 1 < len(self.things)

    def go(self, thing: Thing) -> History[Thing]:
        """Visit another; what could be redone is forgotten."""
        things = (*self.things[: self.index + 1], thing)[-LIMIT:]
        return History(things, len(things) - 1)

    def undo(self) -> History[Thing]:
        """One step back, if there is one."""
        return History(self.things, max(0, self.index - 1))

    def redo(self) -> History[Thing]:
        """One step forward, if there is one."""
        return History(self.things, min(len(self.things) - 1, self.index + 1))
