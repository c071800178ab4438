"""Which verifier judges the rows of a data set, by verl's `data_source`.

Names may end in `*`. An exact name goes before a pattern, a longer pattern before a shorter one.
"""

from __future__ import annotations

import threading

from rewards.errors import UnknownDataSourceError, VerifierClashError
from rewards.registry import nearest

_BUILT_IN = {
    "openai/gsm8k": "math",
    "gsm8k": "math",
    "lighteval/MATH": "math",
    "DigitalLearningGmbH/MATH-lighteval": "math",
    "hendrycks": "math",
    "hendrycks/*": "math",
    "math": "math",
    "HuggingFaceH4/MATH-500": "math",
    "AI-MO/NuminaMath-CoT": "math",
    "numina_*": "math",
    "math_dapo*": "math",
    "aime*": "math",
    "openai/openai_humaneval": "code",
    "openai_humaneval": "code",
    "google-research-datasets/mbpp": "code",
    "mbpp": "code",
    "core_lean": "lean",
    "minif2f": "lean",
    "proofnet": "lean",
    "tau_bench_*": "tool_use",
    "travelplanner": "travel_planner",
    "reasoning_gym*": "reasoning_gym",
    "gem*": "gem",
    "small_programs": "code",
    "worked_arithmetic": "exact",
}
#: What verl's own data sets write where we write a verifier's name.
NO_NAME = frozenset({"", "rule", "model"})

_table: dict[str, str] = dict(_BUILT_IN)
_lock = threading.Lock()


def register_data_source(source: str, verifier: str) -> None:
    """Rows whose `data_source` is `source` are judged by the verifier of that name.

    Raises VerifierClashError if the source has another verifier already.
    """
    if not source or not verifier:
        raise ValueError(f"a data source and a verifier are needed: {source!r}, {verifier!r}")
    with _lock:
        held = _table.setdefault(source, verifier)
    if held != verifier:
        raise VerifierClashError(f"data source {source!r} is already judged by {held!r}")


def verifier_for(data_source: str) -> str:
    """The name of the verifier for rows of that source.

    Raises UnknownDataSourceError with the known and nearest sources.
    """
    with _lock:
        if data_source in _table:
            return _table[data_source]
        patterns = [name for name in _table if name.endswith("*")]
        fitting = [name for name in patterns if data_source.startswith(name[:-1])]
        if fitting:
            return _table[max(fitting, key=len)]
        known = sorted(_table)
    raise UnknownDataSourceError(
        f"no verifier is known for data source {data_source!r}.{nearest(data_source, known)} "
        f"Name one in the row's reward_model.style or call rewards.register_data_source. "
        f"Known: {', '.join(known)}"
    )


def row_verifier(style: str | None, data_source: str) -> str:
    """The verifier of a row: the one its `reward_model.style` names, or its data source's."""
    return verifier_for(data_source) if style is None or style in NO_NAME else style
