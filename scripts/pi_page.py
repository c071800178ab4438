"""Writes docs/pi.md: what every builder of privileged information gives, by running it.

python scripts/pi_page.py > docs/pi.md
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from data_prep import pi
from data_prep.family import make_row
from data_prep.pi import answers, lean, steps, suites, tool_calls, written
from data_prep.pi.written import Attempt

INTRO = """\
# Privileged information by kind

Privileged information (PI) is what the teacher sees and the student does not. A row keeps it in `privileged`, one entry a kind; a run picks one by `privileged.kind=`. This page is made by running the builders (`python scripts/pi_page.py`).

```
python -m data_prep pi rows.parquet kinds=[gold_answer,wrong_answer] seed=0 out=with_pi.parquet
python -m data_prep show with_pi.parquet kind=wrong_answer model=PATH
```

Or in Python: `data_prep.pi.contents(rows, kind, seed)` gives one entry a row, `attach` puts it into the rows. The same rows and seed give the same contents. A kind that a row cannot have (no proof, no tests) is left out of that row; `show` prints the share of rows that have it. A kind that no row of the file can have is an error, which names what it is made of.

`check=true` lets Lean judge skeletons: those that do not compile are left out and counted, those that the Lean at hand cannot judge (Mathlib) stay and are counted.
"""  # noqa: E501

TABLE = """\
## Which family has which

"traces" and "attempts" say where a kind comes from that the rows alone do not hold ([below](#from-attempts)). Of mathematics and code, rows without a worked solution have no `gold_solution` and `first_step`.

"""  # noqa: E501

ATTEMPTS = """\
## From attempts

These kinds come from what a model has tried. `python -m data_prep frontier rows.parquet model=... out=kept.parquet` samples and judges n responses a row, keeps the rows with a pass rate in `band=[0.3,0.5]` (or, with `by=level`, the levels), and writes every attempt to `kept.parquet.attempts.jsonl`. After a stop the same command goes on, and ends as if there had been none. `python -m data_prep traces rows.parquet traces=traces.jsonl out=...` takes a stronger model's tool use instead: of the traces of each task that succeeded the one with the fewest calls, which gives `tool_calls_and_arguments`, `tool_calls_only`, and an attempts file for the hint.

```
python -m data_prep pi kept.parquet kinds=[hint,failure_diagnosis,type_checker] \\
  attempts=kept.parquet.attempts.jsonl model=PATH out=with_pi.parquet
```

`model=` is a folder or hub id; with `endpoint=http://HOST:8000/v1` it is a model's name there (the key comes from `OPENAI_API_KEY`). Below is what the model is asked; the first three sentences of its answer are the content.
"""  # noqa: E501

PROOF = "  have h : a + b = b + a := by\n    omega\n  rw [h]"
OTHER_PROOF = "  have step : x * y = y * x := by\n    exact Nat.mul_comm x y\n  exact step"
PROGRAM = "```python\ndef add(a, b):\n    total = a + b\n    return total\n```"
SOLUTION = "Tom has 3 boxes of 4 pens. That makes 3 * 4 = 12 pens.\nHe gives 5 away: \\boxed{7}"
EPISODE = {
    "actions": [
        {"name": "find_user", "kwargs": {"email": "ann@example.com"}},
        {"name": "cancel_order", "kwargs": {"order_id": "#W1", "reason": "no longer needed"}},
    ],
    "outputs": [],
}
FAILED = Attempt(
    "  rfl", False, "compile_error", "line 2: a + b and b + a are not equal by definition"
)
PASSED = Attempt("12 pens, less 5 given away: \\boxed{7}", True, "ok")


def _row(verifier: str, question: str, truth: Any, **privileged: str) -> dict[str, Any]:
    row = make_row(
        data_source="example", prompt=question, ability=verifier, verifier=verifier,
        ground_truth=truth, split="train", index=0, privileged=privileged, family=question[-9:],
    )  # fmt: skip
    return {**row, "uid": question}


LEAN = [
    _row(
        "lean",
        "Prove that sums commute.",
        "theorem t (a b : Nat) : a + b = b + a := by",
        gold_solution=PROOF,
    ),
    _row(
        "lean",
        "Prove that products commute.",
        "theorem u (x y : Nat) : x * y = y * x := by",
        gold_solution=OTHER_PROOF,
    ),
]
MATHS = [
    _row("math", "Tom has 3 boxes of 4 pens and gives 5 away. How many are left?", "7",
         gold_solution=SOLUTION),
    _row("math", "What is half of one half?", "\\frac{1}{4}"),
    _row("math", "What is 25 % as a decimal?", "0.25"),
    _row("math", "What is 3 squared?", "9"),
]  # fmt: skip
CODE = [
    _row("code", "Write add(a, b).", {"kind": "asserts", "tests": ["assert add(1, 2) == 3"]},
         gold_solution=PROGRAM),
    _row("code", "Double the number.", {"kind": "stdio", "cases": [{"input": "4", "output": "8"}]}),
]  # fmt: skip
TOOLS = [_row("tool_use", "You are Ann. Cancel #W1.", EPISODE)]
# Rows as each family makes them; two of each, since some kinds come from another row.
FAMILIES = {
    "mathematics": MATHS,
    "Lean": LEAN,
    "code": CODE,
    "τ-bench": [*TOOLS, _row("tool_use", "Return #W2.", EPISODE)],
    "TravelPlanner": [
        _row("travel_planner", f"Trip {n}", {"days": n}, gold_solution=f'[{{"days": {n}}}]')
        for n in (3, 5)
    ],
    "reasoning_gym": [_row("reasoning_gym", f"{n}?", {}, gold_answer=str(n)) for n in (3, 5)],
    "GEM": [_row("gem", f"Game {n}", {"seed": n}) for n in (3, 5)],
}
WITH_TOOLS = ("τ-bench", "TravelPlanner", "GEM")

# Kind, the function whose docstring tells of it, and the rows that it is shown on.
EXAMPLES: list[tuple[str, Callable[..., Any], list[dict[str, Any]]]] = [
    ("skeleton", lean.skeleton, LEAN[:1]),
    ("wrong_skeleton", lean.wrong_skeletons, LEAN),
    ("gold_answer", answers.gold_answer, MATHS[:1]),
    ("gold_solution", answers.gold_solution, MATHS[:1]),
    ("wrong_answer", answers.wrong_answers, MATHS),
    ("first_step", steps.first_step, [MATHS[0], LEAN[0], CODE[0]]),
    ("gibberish", answers.gibberish, MATHS[:1]),
    ("matched_gibberish", answers.matched_gibberish, MATHS[:1]),
    ("none", pi.none, MATHS[:1]),
    ("test_suite", suites.test_suite, CODE),
    ("shuffled_test_suite", suites.shuffled_test_suites, CODE),
    ("tool_calls_and_arguments", tool_calls.tool_calls_and_arguments, TOOLS),
    ("tool_calls_only", tool_calls.tool_calls_only, TOOLS),
]
REQUESTED = [
    ("hint", written.hint_request, MATHS[0], PASSED),
    ("cross_model_hint", written.hint_request, MATHS[0], PASSED),
    ("failure_diagnosis", written.diagnosis_request, LEAN[0], FAILED),
]


def page() -> str:
    """The whole page."""
    sections = [_section(kind, function, rows) for kind, function, rows in EXAMPLES]
    said = written.type_checker(LEAN[0], [FAILED])
    checker = f"### `type_checker`\n\n{_about(written.type_checker)}\n\n{_block(said)}"
    asked = [_requested(*example) for example in REQUESTED]
    return "\n".join(
        [INTRO, _table(), "## From the rows", "", *sections, ATTEMPTS, checker, *asked]
    )


def _table() -> str:
    """Which kinds the rows of each family have, by building them."""
    lines = ["| kind | " + " | ".join(FAMILIES) + " |", "|---" * (len(FAMILIES) + 1) + "|"]
    for kind in pi.BUILDERS:
        marks = [_mark(kind, family) for family in FAMILIES]
        lines.append(f"| `{kind}` | {' | '.join(marks)} |")
    for kind in pi.ATTEMPT_KINDS:
        lines.append(f"| `{kind}` |{' attempts |' * len(FAMILIES)}")
    return TABLE + "\n".join(lines) + "\n"


def _mark(kind: str, family: str) -> str:
    contents = pi.contents(FAMILIES[family], kind)
    if kind == "none" or any(content is not None for content in contents):
        return "yes"
    return "traces" if family in WITH_TOOLS and kind.startswith("tool_calls") else ""


def _section(kind: str, function: Callable[..., Any], rows: list[dict[str, Any]]) -> str:
    contents = pi.contents(rows, kind)
    shown = [f"{_shown(row)}\n\n{_block(c)}" for row, c in zip(rows, contents, strict=True)]
    return "\n".join([f"### `{kind}`", "", _about(function), "", *shown])


def _requested(kind: str, request: Callable[..., Any], row: dict[str, Any], seen: Attempt) -> str:
    (message,) = request(row, [seen])
    by = {"hint": " By the model that is to be trained.", "cross_model_hint": " By another model."}
    about = f"{_about(request)}{by.get(kind, '')}"
    if kind == "cross_model_hint":
        return f"### `{kind}`\n\n{about} The request is that of `hint`.\n"
    return f"### `{kind}`\n\n{about}\n\n{_block(message['content'])}"


def _shown(row: dict[str, Any]) -> str:
    style, truth = row["reward_model"]["style"], row["reward_model"]["ground_truth"]
    return f"`{truth}`" if style in ("lean", "tool_use", "code") else f"“{row['uid']}” `{truth}`"


def _about(function: Callable[..., Any]) -> str:
    """The docstring, its paragraphs on one line each."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _block(content: str | None) -> str:
    fence = "````" if "```" in (content or "") else "```"
    return "(nothing)\n" if content is None else f"{fence}text\n{content}\n{fence}\n"


if __name__ == "__main__":
    print(page(), end="")
