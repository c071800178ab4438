"""A small theorem as data: rendered as a statement, as a proof, and as a have-skeleton."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

VARIABLES = ("a", "b", "c", "d", "m", "n", "x", "y")
FUNCTIONS = ("f", "g", "r", "s")
PREDICATES = ("P", "Q", "R", "S")
LISTS = ("l", "s", "u", "v")
HYPOTHESES = ("h", "e", "w")


@dataclass(frozen=True)
class Have:
    """One `have` step: the intermediate statement, and the leaf that proves it."""

    name: str
    statement: str
    leaf: str
    indent: str = "  "

    def render(self, proof: str) -> str:
        return f"{self.indent}have {self.name} : {self.statement} := {proof}"


@dataclass(frozen=True)
class Theorem:
    """`theorem t BINDERS : GOAL := by`, then `have` steps and closing lines (already indented)."""

    binders: str
    goal: str
    lines: tuple[Have | str, ...]

    @property
    def header(self) -> str:
        return f"theorem t {self.binders} : {self.goal} := by".replace("  ", " ")

    @property
    def proof(self) -> str:
        """The tactic block after `:= by`, indented by two spaces, without a final newline."""
        return self._render(lambda step: step.leaf)

    @property
    def skeleton(self) -> str:
        """The same block with each leaf replaced by `by sorry`; the closing tactic is kept."""
        return self._render(lambda step: "by sorry")

    def _render(self, leaf: Callable[[Have], str]) -> str:
        lines = [x if isinstance(x, str) else x.render(leaf(x)) for x in self.lines]
        return "\n".join(lines)


class Pick:
    """Seeded choices for one row. `variant` walks through a family's forms in turn."""

    def __init__(self, seed: str, variant: int) -> None:
        self._random = random.Random(seed)
        self.variant = variant
        self._prefix = self._random.choice(HYPOTHESES)

    def h(self, number: int) -> str:
        """The name of hypothesis or step `number`; one letter within a row."""
        return f"{self._prefix}{number}"

    def numbers(self, count: int, low: int, high: int) -> list[int]:
        """`count` different numbers in [low, high]."""
        return self._random.sample(range(low, high + 1), count)

    def number(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def names(self, pool: tuple[str, ...], count: int) -> list[str]:
        """`count` different names from the pool, in any order."""
        return self._random.sample(pool, count)

    def shuffled(self, items: list[str]) -> list[str]:
        return self._random.sample(items, len(items))


Generator = Callable[[Pick], Theorem]


@dataclass(frozen=True)
class Family:
    """A family's generators: rows of the trained form, and of a form kept for evaluation."""

    name: str
    seen: Generator
    new: Generator | None = None
