"""What hostile programs are asked for, and honest answers to it."""

from __future__ import annotations

import json

MARK = "verl_pi_hostile_mark"
TASK = json.dumps(
    {
        "kind": "asserts",
        "tests": ["assert f(1) == 11", "assert f(10) == 3071", "assert f(0) == 1"],
        "entry_point": "f",
    }
)
HONEST = "def f(n):\n    return 3 * n ** 3 + 7 * n + 1"
PROGRAM = json.dumps({"kind": "stdio", "cases": [{"input": "10\n", "output": "3071\n"}]})
HONEST_IO = "n = int(input())\nprint(3 * n ** 3 + 7 * n + 1)"
PROBE = json.dumps({"kind": "stdio", "cases": [{"input": "", "output": "held"}]})


def truth_of(name: str) -> str:
    """The ground truth that a hostile program is judged by."""
    return PROGRAM if name.endswith("_io") else TASK
