"""Python functions of one line, generated: judged by assertions, with their solutions.

A task names a function `f` and says what it returns; two tasks whose solutions return the same on
PROBES count as equal, and never occur twice, in no split. Statements have at most 11 words, and
none of 8 or more is the beginning of another: `data_prep.leak` compares 8-grams.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from data_prep.family import Family, Request, Row, make_row
from data_prep.procedural import check_split, deal, draw, with_kinds
from data_prep.schema import validate_rows

SOURCE = "small_programs"
SIZES = {"warmup": 40, "train": 40, "heldout": 50}  # of each family
INSTRUCTION = "Write a short Python function f({}) that returns what is described. Code only."
KINDS = ("gold_solution", "first_step", "test_suite", "shuffled_test_suite", "gibberish")
# By parameter, what two solutions have to return alike to count as the same.
PROBES: dict[str, list[Any]] = {
    "x": list(range(-15, 35)),
    "xs": [[2], [5, 3, 8], [7, 7, 12], *([x, x + 9] for x in range(-5, 25))],
    "s": ["a", "cat", "Verifier", "x Y z", "0123456789"],
    "n": [1, 2, 3, 7, 10, 19, 46, 305],
}
EXAMPLES: dict[str, list[Any]] = {
    "x": [0, 8, -3],
    "xs": [[4], [3, 8, 1, 12, 6, 9]],
    "s": ["a", "Verifier", "0123456789"],
    "n": [1, 7, 10, 36],
}


@dataclass(frozen=True)
class Task:
    """What `f(parameter)` returns, in words and as Python.

    first: the part of the body to write first, where there are several. threshold: a number
    around which the tests look.
    """

    parameter: str
    asked: str
    body: str
    level: int
    first: str | None = None
    threshold: int | None = None

    @property
    def solution(self) -> str:
        return f"def f({self.parameter}):\n    return {self.body}"

    def values(self, arguments: list[Any]) -> list[str]:
        """What the solution returns for each of the arguments, as source text."""
        function = eval(f"lambda {self.parameter}: {self.body}")  # of our own text alone
        return [repr(function(argument)) for argument in arguments]

    def tests(self) -> list[str]:
        """Assertions: on examples, and on both sides of the threshold."""
        arguments = [*EXAMPLES[self.parameter], *self._around()]
        values = zip(arguments, self.values(arguments), strict=True)
        return [f"assert f({argument!r}) == {value}" for argument, value in values]

    def _around(self) -> list[Any]:
        if self.threshold is None:
            return []
        near = [self.threshold - 1, self.threshold, self.threshold + 1]
        return [near] if self.parameter == "xs" else list(near)


def load(split: str) -> list[Row]:
    """The rows of `warmup`, `train` or `heldout`, generated; they follow `data_prep.schema`.

    `level` is 1 to 4, by the number of parts; `extra_info.family` is one of FAMILIES.
    """
    check_split(SOURCE, split)
    return build()[split]


def build() -> dict[str, list[Row]]:
    """All rows by split, families in turn, so that any beginning is balanced."""
    taken: set = set()
    total = sum(SIZES.values())
    cells = {
        name: draw(f"{SOURCE}/{name}", generate, behaviour, total, taken)
        for name, generate in FAMILIES.items()
    }
    return {split: _rows(split, tasks) for split, tasks in deal(cells, SIZES).items()}


def behaviour(task: Task) -> tuple[str, ...]:
    """What the solution returns on PROBES: equal for solutions that differ in their text alone."""
    return (task.parameter, *task.values(PROBES[task.parameter]))


def _rows(split: str, tasks: list[tuple[str, Task]]) -> list[Row]:
    rows = [
        make_row(
            data_source=SOURCE,
            prompt=prompt(task),
            ability="code",
            verifier="code",
            ground_truth={"kind": "asserts", "tests": task.tests(), "entry_point": "f"},
            split=split,
            index=index,
            family=family,
            structure="seen",
            level=str(task.level),
            role="target",
            privileged={"gold_solution": task.solution, "first_step": task.first},
        )
        for index, (family, task) in enumerate(tasks)
    ]
    return validate_rows(with_kinds(rows, KINDS[2:]), SOURCE)


def prompt(task: Task) -> list[dict[str, str]]:
    """The format as system message, in place of a chat template's own; then the task."""
    return [
        {"role": "system", "content": INSTRUCTION.format(task.parameter)},
        {"role": "user", "content": task.asked},
    ]


# Families: a random task each. Operations are applied from left to right.

_SIGNS = {"plus": "+", "minus": "-", "times": "*"}


def _operations(rng: random.Random, code: str, count: int) -> tuple[str, str]:
    """`count` operations on the value of `code`, in words and as Python."""
    words: list[str] = []
    for _ in range(count):
        word, number = rng.choice(list(_SIGNS)), rng.randint(2, 12)
        if word == "times" and words and not words[-1].startswith("times"):
            code = f"({code})"
        code = f"{code} {_SIGNS[word]} {number}"
        words.append(f"{word} {number}")
    return " then ".join(words), code


def _condition(rng: random.Random) -> tuple[str, str, int]:
    """A condition on x, in words and as Python, and its number."""
    number = rng.randint(2, 12)
    word, code = rng.choice(
        [("above", f"x > {number}"), ("below", f"x < {number}"),
         ("divisible by", f"x % {number} == 0")]
    )  # fmt: skip
    return f"{word} {number}", code, number


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))


def _chain(rng: random.Random) -> Task:
    count = rng.randint(1, 3)
    words, code = _operations(rng, "x", count)
    first = code.rpartition(" ")[0].rpartition(" ")[0] if count > 1 else None
    return Task("x", f"x {words}", code, count, first)


def _branch(rng: random.Random) -> Task:
    condition, test, number = _condition(rng)
    (then, yes), (other, no) = _operations(rng, "x", 1), _operations(rng, "x", 1)
    asked = f"x {then} if {condition}, else {other}"
    return Task("x", asked, f"{yes} if {test} else {no}", 4, test, number)


def _sum_of_some(rng: random.Random) -> Task:
    condition, test, number = _condition(rng)
    inner = f"sum(x for x in xs if {test})"
    count = rng.randint(0, 1)
    words, code = _operations(rng, inner, count)
    asked = _joined(f"sum of xs {condition}", words)
    return Task("xs", asked, code, 2 + count, test, number)


def _count(rng: random.Random) -> Task:
    condition, test, number = _condition(rng)
    count = rng.randint(0, 1)
    words, code = _operations(rng, f"sum({test} for x in xs)", count)
    asked = _joined(f"how many xs {condition}", words)
    return Task("xs", asked, code, 2 + count, test, number)


def _each(rng: random.Random) -> Task:
    count = rng.randint(1, 3)
    words, code = _operations(rng, "x", count)
    return Task("xs", f"each x {words}", f"[{code} for x in xs]", 1 + count, code)


def _kept(rng: random.Random) -> Task:
    condition, test, number = _condition(rng)
    count = rng.randint(0, 1 if "%" in test else 2)
    words, code = _operations(rng, "x", count)
    asked = _joined(f"list xs {condition}", f"each {words}" if words else "")
    return Task("xs", asked, f"[{code} for x in xs if {test}]", 2 + count, test, number)


def _largest(rng: random.Random) -> Task:
    one, other = rng.sample(["max", "min"], 2)
    words = {"max": "largest", "min": "smallest"}
    count = rng.randint(1, 2)
    asked, code = _operations(rng, f"{one}(xs)", count)
    if rng.random() < 0.5:
        return Task("xs", f"{words[one]} x {asked}", code, count, f"{one}(xs)")
    asked = _joined(f"{words[one]} x {asked}", f"minus the {words[other]}")
    return Task("xs", asked, f"{code} - {other}(xs)", count + 2, code)


def _sum_to(rng: random.Random) -> Task:
    words, code = _operations(rng, "i", rng.randint(1, 2))
    asked = f"sum of i {words} for i below n"
    return Task("n", asked, f"sum({code} for i in range(n))", 2 + words.count("then"), code)


def _digits(rng: random.Random) -> Task:
    count = rng.randint(1, 2)
    inner, said = rng.choice(
        [("sum(int(d) for d in str(n))", "digit sum"), ("len(str(n))", "number of digits"),
         ("int(str(n)[0])", "first digit"), ("n % 10", "last digit")]
    )  # fmt: skip
    words, code = _operations(rng, inner, count)
    return Task("n", f"{said} of n {words}", code, 1 + count, inner)


def _text(rng: random.Random) -> Task:
    count = rng.randint(1, 3)
    code, words = "s", []
    for word, form in rng.sample(_TEXT_PARTS, count):
        number = rng.randint(2, 9)
        words.append(word.format(number))
        apart = " " in code and not code.endswith((")", "]"))
        code = form.format(f"({code})" if apart else code, number)
    return Task("s", f"s {', '.join(words)}", code, count)


_TEXT_PARTS = [
    ("reversed", "{0}[::-1]"),
    ("in capitals", "{0}.upper()"),
    ("without first {}", "{0}[{1}:]"),
    ("cut to {}", "{0}[:{1}]"),
    ("repeated {} times", "{0} * {1}"),
    ("followed by '{}'", "{0} + '{1}'"),
]

FAMILIES: dict[str, Callable[[random.Random], Task]] = {
    "chain": _chain,
    "branch": _branch,
    "sum": _sum_of_some,
    "count": _count,
    "each": _each,
    "kept": _kept,
    "largest": _largest,
    "sum_to": _sum_to,
    "digits": _digits,
    "text": _text,
}


def _all_rows(request: Request) -> Iterator[Row]:
    for rows in build().values():
        yield from rows


SMALL_PROGRAMS = Family(
    name=SOURCE,
    description="Python functions of one line, generated",
    verifier="code",
    build=_all_rows,
    reads="nothing",
    licence="Apache-2.0, written for this package",
    size="400 warmup, 400 train, 500 heldout",
    kinds=KINDS,
)
