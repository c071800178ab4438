"""Backends that take whole Lean commands and answer with messages: local toolchains and Kimina.

Lean is asked for the axioms beneath the proof in the same text, so that a proof which hides `sorry`
or compiled code is found there as it is in the embedded Lean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rewards.lean.backend import Check, Outcome

_AXIOMS = re.compile(r"^'(?P<name>.+)' depends on axioms: \[(?P<axioms>[^\]]*)\]", re.DOTALL)
_NO_AXIOMS = re.compile(r"^'(?P<name>.+)' does not depend on any axioms")
_PARSE_ERRORS = (
    "unexpected token",
    "unexpected end of input",
    "unexpected identifier",
    "expected ",
)


def text_of(check: Check) -> str:
    """The theorem for such a backend: limit, theorem, question about its axioms.

    Imports have to come first in a Lean file, the rest of the preamble may follow the limit.
    """
    lines = check.preamble.splitlines()
    imports = [line for line in lines if line.startswith("import ")]
    others = [
        line for line in lines if not line.startswith(("import ", "set_option maxHeartbeats"))
    ]
    parts = [*imports, f"set_option maxHeartbeats {check.heartbeats}", *others]
    return "\n".join([*parts, check.source, f"#print axioms {check.name}", ""])


def outcome_of(
    check: Check, messages: Iterable[Mapping[str, Any]], sorries: int, seconds: float
) -> Outcome:
    """Read Lean's messages ({"severity", "data", "pos": {"line", "column"}}).

    No word about the axioms, without an error, counts as a refusal: the text was then not read to
    its end.
    """
    offset = text_of(check)[: text_of(check).index(check.source)].count("\n")
    errors: list[str] = []
    axioms: list[str] | None = None
    for message in messages:
        data = str(message["data"])
        if message["severity"] == "error":
            place = message["pos"]
            errors.append(f"{place['line'] - offset}:{place['column']}: {data}")
        elif found := _AXIOMS.match(data):
            if found["name"] == check.name:
                axioms = [name.strip() for name in found["axioms"].split(",")]
        elif (clean := _NO_AXIOMS.match(data)) and clean["name"] == check.name:
            axioms = []
    known = list(axioms or [])
    if sorries and "sorryAx" not in known:
        known.append("sorryAx")
    parsed = not any(error.split(": ", 1)[1].startswith(_PARSE_ERRORS) for error in errors)
    unread = axioms is None and not errors
    return Outcome(
        "checked",
        errors=tuple(errors),
        axioms=tuple(known),
        parsed=parsed,
        refused="Lean did not name the axioms of the theorem" if unread else "",
        seconds=seconds,
    )
