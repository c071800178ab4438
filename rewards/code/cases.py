"""Programs that read standard input: case by case, line by line."""

from __future__ import annotations

from collections.abc import Callable

from rewards.code.examination import Result
from rewards.code.truth import Stdio

#: (input, expected bytes of output, seconds left) → (how it ended, its output, seconds it took)
Run = Callable[[str, int, float], tuple[Result, "bytes | bytearray", float]]
_SHOWN = 300


def judge(truth: Stdio, run: Run, seconds: float) -> Result:
    """Every case in turn until one fails; the feedback names it. seconds: on the clock, of all."""
    left = seconds
    for number, (text, expected) in enumerate(truth.cases, start=1):
        case = f"case {number} of {len(truth.cases)}, input {_short(text)}"
        result, output, took = run(text, len(expected.encode("utf-8", "surrogatepass")), left)
        left -= took
        if left <= 0:
            return Result("timeout", f"{case}: all cases together took more than {seconds:g} s")
        if result.reason == "compile_error":
            return result
        if result.reason != "ok":
            return Result(result.reason, f"{case}: {result.feedback}")
        said = difference(expected, output.decode("utf-8", "replace"))
        if said:
            return Result("wrong_answer", f"{case}: {said}")
    return Result("ok")


def difference(expected: str, got: str) -> str:
    """Where the outputs first differ, white space at the ends of lines and text aside; or empty."""
    wanted, found = _lines(expected), _lines(got)
    for number, (want, have) in enumerate(zip(wanted, found, strict=False), start=1):
        if want != have:
            return f"line {number}: expected {_short(want)}, got {_short(have)}"
    if len(wanted) != len(found):
        return f"expected {len(wanted)} lines, got {len(found)}"
    return ""


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + " …")
