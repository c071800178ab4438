"""The tool `calculate`: arithmetic from a model's text, without `eval` and bounded."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

_CHARACTERS = frozenset("0123456789+-*/(). ")
_MAX_CHARS = 1000
_MAX_BITS = 1024  # the range of a float, which the result becomes
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_UNARY: dict[type, Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def evaluate(expression: str) -> str:
    """The value rounded to two decimals, as text.

    Raises ValueError, ArithmeticError or SyntaxError with a message for the model.
    """
    if not set(expression) <= _CHARACTERS:
        raise ValueError("invalid characters in expression")
    if len(expression) > _MAX_CHARS:
        raise ValueError(f"the expression has more than {_MAX_CHARS} characters")
    try:
        tree = ast.parse(expression.strip(), "<string>", "eval")
        return str(round(float(_value(tree.body)), 2))
    except (RecursionError, MemoryError):
        raise ValueError("the expression is nested too deep") from None


def _value(node: ast.expr) -> int | float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _bounded(node.value)
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _UNARY[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            return _bounded(_power(left, right))
        if type(node.op) in _BINARY:
            return _bounded(_BINARY[type(node.op)](left, right))
    raise ValueError("only numbers, + - * / and parentheses are understood")


def _power(base: int | float, exponent: int | float) -> int | float:
    if isinstance(base, int) and isinstance(exponent, int):
        if base.bit_length() * abs(exponent) > _MAX_BITS:
            raise OverflowError("the result is too large")
        return base**exponent
    power = float(base) ** float(exponent)
    if isinstance(power, complex):
        raise ValueError("the result is not a real number")
    return power


def _bounded(value: Any) -> int | float:
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise OverflowError("the result is too large")
    return value
