"""HumanEval: complete a function from its signature and docstring; judged by its test suite.

All of it is evaluation. To train on a part, `split=train:0.5,test:0.5` divides it by problem.
"""

from __future__ import annotations

from collections.abc import Iterator

from data_prep.family import Family, Hub, Record, Request, Row, make_row

SOURCE = "openai/openai_humaneval"
INSTRUCTION = "Complete the function. Answer with the whole function in one Python code block."


def build(request: Request) -> Iterator[Row]:
    """Rows of records with `prompt`, `test`, `entry_point`, `canonical_solution`."""
    return request.convert(_row)


def _row(record: Record, request: Request) -> Row:
    prompt, test = record.text("prompt"), record.text("test")
    truth = {
        "kind": "humaneval",
        "prompt": prompt,
        "test": test,
        "entry_point": record.text("entry_point"),
    }
    solution = record.text("canonical_solution", default="")
    return make_row(
        data_source=SOURCE,
        prompt=f"{INSTRUCTION}\n\n```python\n{prompt.strip()}\n```",
        ability="code",
        verifier="code",
        ground_truth=truth,
        split=record.split or "test",
        index=record.number,
        family="humaneval",
        name=record.text("task_id", default=""),
        privileged={
            "gold_solution": f"```python\n{prompt}{solution.rstrip()}\n```" if solution else "",
            "test_suite": test.strip(),
        },
    )


HUMANEVAL = Family(
    name="humaneval",
    description="HumanEval: Python functions, evaluation only unless split= divides it",
    verifier="code",
    build=build,
    hub=Hub(SOURCE, splits=("test",)),
    licence="MIT",
    size="164 test",
    kinds=("gold_solution", "test_suite"),
    id_column="task_id",
)
