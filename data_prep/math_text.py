"""What the families of mathematics share: the prompt, and the answer in a box."""

from __future__ import annotations

import re

from data_prep.family import Drop, Record, Row, make_row

INSTRUCTION = "Reason step by step and put the final answer in \\boxed{}."
_BOXES = ("\\boxed", "\\fbox")


def math_prompt(problem: str) -> str:
    """The problem, then what form the answer is to have."""
    return f"{problem.strip()}\n\n{INSTRUCTION}"


def math_row(
    record: Record, source: str, answer: str, solution: str, split: str, family: str
) -> Row:
    """The row of a record with a `problem`; `split` is that of a record which names none."""
    return make_row(
        data_source=source,
        prompt=math_prompt(record.text("problem")),
        ability="math",
        verifier="math",
        ground_truth=answer,
        split=record.split or split,
        index=record.number,
        family=family,
        level=level_of(record),
        privileged={"gold_answer": answer, "gold_solution": solution},
    )


def boxed_answer(solution: str) -> str:
    """The answer in the solution's last box. Drops the row where there is none."""
    answer = last_boxed(solution)
    if answer is None:
        raise Drop("no boxed answer")
    return answer


def level_of(record: Record) -> str:
    """`level` as a bare number (`Level 5`, `5` and 5 are "5"); empty where it is none."""
    match = re.search(r"\d+", str(record.fields.get("level") or ""))
    return match.group() if match else ""


def last_boxed(solution: str) -> str | None:
    r"""The content of the last `\boxed{...}` (or `\fbox`, or `\boxed 7`), or None."""
    start = max(solution.rfind(box) for box in _BOXES)
    if start < 0:
        return None
    after = solution[start:].removeprefix("\\boxed").removeprefix("\\fbox").lstrip()
    if not after.startswith("{"):
        # TeX takes a single token as the argument: `\boxed 7`.
        return after.split("$")[0].strip() or None
    return _braced(after)


def _braced(text: str) -> str | None:
    """The inside of the group that `text` begins with; None where it is never closed."""
    depth, escaped = 0, False
    for place, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return text[1:place].strip() or None
    return None
