"""Arithmetic with worked steps, generated: short responses in which a second attempt can differ.

A task is an expression of small numbers; its solution writes one calculation a line, by place
(`47*6` as `40*6` and `7*6`), then `Answer: 282`. Two expressions that differ in the order of their
operands alone count as equal, and never occur twice, in no split.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from data_prep.family import Family, Request, Row, make_row
from data_prep.procedural import check_split, deal, draw, with_kinds
from data_prep.schema import validate_rows

SOURCE = "worked_arithmetic"
SIZES = {"warmup": 30, "train": 30, "heldout": 15}  # of each family at each level
INSTRUCTION = "Write one calculation per line, like 4*6=24, then a last line like Answer: 24"
MARKER = "Answer:"
KINDS = ("gold_answer", "gold_solution", "wrong_answer", "gibberish", "first_step")

Numbers = Sequence[int]
Range = tuple[int, int]


@dataclass(frozen=True)
class Task:
    """An expression, and the calculations that lead to its value, each with its result."""

    expression: str
    steps: tuple[str, ...]

    @property
    def answer(self) -> str:
        return self.steps[-1].partition("=")[2]

    @property
    def solution(self) -> str:
        return "\n".join([*self.steps, f"{MARKER} {self.answer}"])


def load(split: str) -> list[Row]:
    """The rows of `warmup`, `train` or `heldout`, generated; they follow `data_prep.schema`.

    `level` is 1 to 5, by the size of the numbers; `extra_info.family` is one of FAMILIES.
    """
    check_split(SOURCE, split)
    return build()[split]


def build() -> dict[str, list[Row]]:
    """All rows by split, families and levels in turn, so that any beginning is balanced."""
    taken: set = set()
    cells = {
        (name, level): draw(
            f"{SOURCE}/{name}/{level}", _generator(name, level), _key, sum(SIZES.values()), taken
        )
        for level in range(1, 6)
        for name in FAMILIES
    }
    return {
        split: _rows(split, [(*cell, task) for cell, task in tasks])
        for split, tasks in deal(cells, SIZES).items()
    }


def unordered(expression: str) -> str:
    """The expression with the operands of every sum and product in one order.

    >>> unordered("7*40+3") == unordered("3+40*7")
    True
    """
    return _unordered(ast.parse(expression, mode="eval").body)


def _unordered(node: ast.expr) -> str:
    if not isinstance(node, ast.BinOp):
        return ast.unparse(node)
    operands, operator = [node.left, node.right], type(node.op)
    if operator in (ast.Add, ast.Mult):
        while isinstance(operands[0], ast.BinOp) and isinstance(operands[0].op, operator):
            operands[:1] = [operands[0].left, operands[0].right]
        return f"{operator.__name__}({','.join(sorted(map(_unordered, operands)))})"
    return f"{operator.__name__}({','.join(map(_unordered, operands))})"


def _key(task: Task) -> str:
    return unordered(task.expression)


def _rows(split: str, tasks: list[tuple[str, int, Task]]) -> list[Row]:
    rows = [
        make_row(
            data_source=SOURCE,
            prompt=prompt(task.expression),
            ability="arithmetic",
            verifier="exact",
            ground_truth=task.answer,
            split=split,
            index=index,
            family=family,
            structure="seen",
            level=str(level),
            role="target",
            prefix=MARKER,
            privileged={"gold_answer": task.answer, "gold_solution": task.solution},
        )
        for index, (family, level, task) in enumerate(tasks)
    ]
    return validate_rows(with_kinds(rows, KINDS[2:]), SOURCE)


def prompt(expression: str) -> list[dict[str, str]]:
    """The format as system message, in place of a chat template's own; then the expression."""
    return [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": f"Compute {expression}."},
    ]


# Families: the expression of some numbers, and its calculations.


def _calculated(left: int, operator: str, right: int) -> tuple[str, int]:
    """`47*6` as a line of a solution, and its value."""
    values = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}
    return f"{left}{operator}{right}={values[operator]}", values[operator]


def _place(number: int) -> int:
    """What the number's first digit stands for: 300 of 347."""
    size = 10 ** (len(str(number)) - 1)
    return number // size * size


def _added(numbers: Numbers) -> list[str]:
    """The lines that add them up from left to right."""
    lines, total = [], numbers[0]
    for number in numbers[1:]:
        line, total = _calculated(total, "+", number)
        lines.append(line)
    return lines


def _times(left: int, right: int) -> tuple[list[str], int]:
    """The lines of a product, the left factor by place where it has two digits or more."""
    parts = [part for part in (_place(left), left - _place(left)) if part]
    if left < 10:
        parts = [left]
    done = [_calculated(part, "*", right) for part in parts]
    return [*(line for line, _ in done), *_added([value for _, value in done])], left * right


def _sum(n: Numbers) -> Task:
    tens, ones = ([x // 10 * 10 for x in n], [x % 10 for x in n])
    groups = [group for group in (tens, ones) if all(group)]
    lines = [line for group in groups for line in _added(group)]
    parts = [sum(tens), sum(ones)]
    return Task(f"{n[0]}+{n[1]}", (*lines, *_added(parts)))


def _difference(n: Numbers) -> Task:
    lines, left, right = [], n[0], n[1]
    while right:
        line, left = _calculated(left, "-", _place(right))
        lines.append(line)
        right -= _place(right)
    return Task(f"{n[0]}-{n[1]}", tuple(lines))


def _product(n: Numbers) -> Task:
    return Task(f"{n[0]}*{n[1]}", tuple(_times(n[0], n[1])[0]))


def _quotient(n: Numbers) -> Task:
    """The quotient n[0] by place; the divisor is n[1]."""
    parts = [_place(n[0]), n[0] - _place(n[0])]
    lines = [_calculated(part * n[1], "/", n[1])[0] for part in parts if part]
    return Task(f"{n[0] * n[1]}/{n[1]}", (*lines, *_added([part for part in parts if part])))


def _sum_of_three(n: Numbers) -> Task:
    return Task(f"{n[0]}+{n[1]}+{n[2]}", tuple(_added(n)))


def _product_sum(n: Numbers) -> Task:
    lines, value = _times(n[0], n[1])
    return Task(f"{n[0]}*{n[1]}+{n[2]}", (*lines, *_added([value, n[2]])))


def _bracket(n: Numbers) -> Task:
    first, value = _calculated(n[0], "+", n[1])
    return Task(f"({n[0]}+{n[1]})*{n[2]}", (first, *_times(value, n[2])[0]))


def _products(n: Numbers) -> Task:
    """Two or three products of two digits each, added up."""
    pairs = list(zip(n[::2], n[1::2], strict=True))
    done = [_calculated(left, "*", right) for left, right in pairs]
    lines = [line for line, _ in done]
    expression = "+".join(f"{left}*{right}" for left, right in pairs)
    return Task(expression, (*lines, *_added([value for _, value in done])))


# By family, and level from 1 to 5, the range of each number.
_SMALL, _DIGIT = (2, 6), (3, 9)
FAMILIES: dict[str, tuple[Callable[[Numbers], Task], tuple[tuple[Range, ...], ...]]] = {
    "sum": (_sum, (
        ((11, 39), (2, 9)), ((11, 39), (11, 39)), ((21, 69), (21, 69)),
        ((41, 99), (41, 99)), ((101, 399), (21, 99)),
    )),
    "difference": (_difference, (
        ((11, 39), (2, 9)), ((31, 59), (11, 29)), ((51, 99), (12, 49)),
        ((101, 179), (21, 89)), ((201, 499), (21, 99)),
    )),
    "product": (_product, (
        ((11, 45), (2, 4)), ((11, 59), (2, 5)), ((12, 69), (3, 6)),
        ((21, 99), (4, 7)), ((31, 99), (6, 9)),
    )),
    "quotient": (_quotient, (
        ((11, 45), (2, 4)), ((11, 59), (2, 5)), ((12, 69), (3, 6)),
        ((21, 79), (4, 7)), ((31, 99), (6, 9)),
    )),
    "sum_of_three": (_sum_of_three, (
        ((2, 9), (2, 9), (2, 9)), ((11, 19), (2, 9), (2, 9)), ((11, 39), (2, 9), (2, 9)),
        ((11, 49), (11, 49), (2, 9)), ((21, 79), (21, 79), (21, 79)),
    )),
    "product_sum": (_product_sum, (
        (_SMALL, _SMALL, (2, 9)), ((2, 9), (2, 9), (2, 9)), ((2, 9), (2, 9), (11, 29)),
        (_DIGIT, _DIGIT, (21, 69)), ((6, 9), (6, 9), (101, 399)),
    )),
    "bracket": (_bracket, (
        ((2, 9), (2, 9), (2, 4)), ((2, 9), (2, 9), (3, 9)), ((11, 19), (2, 9), (2, 4)),
        ((11, 29), (2, 9), (2, 5)), ((11, 39), (11, 39), (3, 7)),
    )),
    "products": (_products, (
        (_SMALL,) * 4, ((2, 9), (2, 9), (2, 5), (2, 5)), ((2, 9), (2, 9), _SMALL, _SMALL),
        (_DIGIT,) * 4, (_DIGIT,) * 6,
    )),
}  # fmt: skip


def _generator(name: str, level: int) -> Callable[[random.Random], Task]:
    make, levels = FAMILIES[name]
    return lambda rng: make([_number(rng, *ends) for ends in levels[level - 1]])


def _number(rng: random.Random, low: int, high: int) -> int:
    """A number of the range that ends in no zero: it would leave a step with nothing to do."""
    while True:
        number = rng.randint(low, high)
        if number % 10:
            return number


def _all_rows(request: Request) -> Iterator[Row]:
    for rows in build().values():
        yield from rows


WORKED_ARITHMETIC = Family(
    name=SOURCE,
    description="arithmetic with worked steps, generated",
    verifier="exact",
    build=_all_rows,
    reads="nothing",
    licence="Apache-2.0, written for this package",
    size="1,200 warmup, 1,200 train, 600 heldout",
    kinds=KINDS,
)
