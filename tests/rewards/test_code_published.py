"""HumanEval's and MBPP's own solutions pass, and each has a twin with a wrong result that fails."""

from __future__ import annotations

import ast
import gzip
import json
import os
from pathlib import Path

import pytest

import rewards

pytestmark = pytest.mark.conformance
#: On a busy machine one of MBPP's solutions takes longer than the default.
OPTIONS = {"seconds": 60}
#: Appended to a right solution: every result is changed, whatever its type.
TWIN = """

_right = {name}


def {name}(*args, **kwargs):
    found = _right(*args, **kwargs)
    if isinstance(found, bool):
        return not found
    if isinstance(found, (int, float, complex)):
        return found + 1
    if isinstance(found, str):
        return found + "x"
    if isinstance(found, list):
        return found + [None]
    if isinstance(found, tuple):
        return found + (None,)
    if isinstance(found, dict):
        return {{**found, "x": "x"}}
    if isinstance(found, (set, frozenset)):
        return found | {{"x"}}
    return 0 if found is None else None
"""


def _folder(name: str) -> Path:
    return Path(os.environ["VERL_PI_DATA"]) / name


def _humaneval() -> dict[str, tuple[str, str, str]]:
    """task → (ground truth, solution, twin)."""
    found = {}
    with gzip.open(_folder("humaneval") / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as stream:
        for row in map(json.loads, stream):
            keys = ("prompt", "test", "entry_point")
            truth = json.dumps({"kind": "humaneval", **{key: row[key] for key in keys}})
            solution = row["canonical_solution"]
            whole = row["prompt"] + solution + TWIN.format(name=row["entry_point"])
            found[row["task_id"]] = truth, solution, whole
    return found


def _mbpp() -> dict[str, tuple[str, str, str]]:
    found = {}
    for line in (_folder("mbpp") / "mbpp.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        setup = row["test_setup_code"]
        truth = json.dumps({"kind": "asserts", "tests": row["test_list"], "setup": setup})
        twin = row["code"] + TWIN.format(name=_tested(row["code"], row["test_list"][0]))
        found[f"mbpp/{row['task_id']}"] = truth, row["code"], twin
    return found


def _tested(code: str, test: str) -> str:
    """The outermost function of the solution that the test calls."""
    defined = {n.name for n in ast.parse(code).body if isinstance(n, ast.FunctionDef)}
    calls = [node.func for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Call)]
    return next(f.id for f in calls if isinstance(f, ast.Name) and f.id in defined)


@pytest.mark.parametrize(("rows", "count"), [(_humaneval, 164), (_mbpp, 974)])
def test_every_published_solution_passes_and_its_twin_fails(rows, count: int) -> None:
    tasks = rows()
    assert len(tasks) == count
    right = rewards.verify_batch([("code", s, t, OPTIONS) for t, s, _ in tasks.values()])
    failed = [(name, v.reason, v.feedback) for name, v in zip(tasks, right, strict=True)
              if not v.passed]  # fmt: skip
    assert failed == []
    wrong = rewards.verify_batch([("code", w, t, OPTIONS) for t, _, w in tasks.values()])
    odd = [(name, v.reason, v.feedback) for name, v in zip(tasks, wrong, strict=True)
           if v.passed or v.reason in ("compile_error", "verifier_error", "timeout")]  # fmt: skip
    assert odd == []
