"""MBPP: short Python tasks, each with three assertions.

The publishers' split goes by `task_id`: 1-10 prompt, 11-510 test, 511-600 validation, 601-974
train.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from data_prep.family import Drop, Family, Hub, Option, Record, Request, Row, make_row

SOURCE = "mbpp"
HUB = "google-research-datasets/mbpp"
SPLITS = (("prompt", 1, 10), ("test", 11, 510), ("validation", 511, 600), ("train", 601, 974))
INSTRUCTION = "Answer with the whole program in one Python code block."
_CALL = re.compile(r"\b([A-Za-z_]\w*)\s*\(")
_NOT_THE_FUNCTION = {"abs", "all", "any", "isclose", "len", "list", "round", "set", "sorted",
                     "str", "sum", "tuple"}  # fmt: skip


def build(request: Request) -> Iterator[Row]:
    """Rows of records with `task_id`, `text` (or `prompt`), `code`, `test_list`."""
    return request.convert(_row)


def _row(record: Record, request: Request) -> Row:
    tests, number = record.texts("test_list"), record.fields.get("task_id")
    if not tests:
        raise Drop("no test")
    code = _lines(record.text("code", default=""))
    setup = _lines(record.text("test_setup_code", default=""))
    setup = "\n".join(filter(None, [setup, *record.texts("test_imports", [])]))
    return make_row(
        data_source=SOURCE,
        prompt=_prompt(record.text("text", "prompt"), tests[: request["show_tests"]]),
        ability="code",
        verifier="code",
        ground_truth={
            "kind": "asserts",
            "tests": tests,
            "setup": setup,
            "entry_point": entry_point(code, tests),
        },
        split=_split(number),
        index=record.number,
        family="mbpp",
        name=str(number),
        privileged={
            "gold_solution": f"```python\n{code}\n```" if code else "",
            "test_suite": "\n".join(tests),
        },
    )


def entry_point(code: str, tests: list[str]) -> str:
    """The function that the tests call: one that the code defines, where there is code."""
    called = _CALL.findall(tests[0].partition("assert")[2])
    defined = set(re.findall(r"^\s*(?:def|class)\s+(\w+)", code, re.MULTILINE))
    names = [n for n in called if n in defined] or [n for n in called if n not in _NOT_THE_FUNCTION]
    if not names:
        raise Drop("no function is called in the first test")
    return names[0]


def _prompt(text: str, tests: list[str]) -> str:
    shown = "\n".join(tests)
    seen = f"\n\nIt has to pass these tests:\n```python\n{shown}\n```" if tests else ""
    return f"{text.strip()}{seen}\n\n{INSTRUCTION}"


def _split(number: object) -> str:
    whole = isinstance(number, (int, str)) and str(number).isdigit()
    found = [s for s, first, last in SPLITS if whole and first <= int(str(number)) <= last]
    if not found:
        raise Drop("`task_id` is no number from 1 to 974", repr(number)[:40])
    return found[0]


def _lines(code: str) -> str:
    return code.replace("\r\n", "\n").replace("\r", "\n").strip()


MBPP = Family(
    name="mbpp",
    description="MBPP: short Python tasks with three assertions each",
    verifier="code",
    build=build,
    hub=Hub(HUB, splits=("prompt", "test", "validation", "train"), configs=("full",)),
    licence="CC-BY-4.0",
    size="974: 374 train, 90 validation, 500 test, 10 prompt",
    kinds=("gold_solution", "test_suite"),
    options=(Option("show_tests", int, 3, "assertions in the prompt (1 names the function)"),),
    id_column="task_id",
)
