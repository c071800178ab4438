"""No answer made to deceive passes, none hangs, and the next honest answer is judged."""

from __future__ import annotations

import os
import time

from hostile_answers import CASES

import rewards


def test_none_passes_none_hangs_and_honest_answers_are_judged(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    bounded = ("math", "regex", "verl_prime_math", "verl_math_verify")
    options = {kind: {"seconds": 0.3} for kind in bounded}
    items = [(kind, text, truth, options.get(kind, {})) for _, kind, text, truth in CASES]
    begun = time.monotonic()
    verdicts = rewards.verify_batch(items)
    seconds = time.monotonic() - begun
    passed = [case[0] for case, v in zip(CASES, verdicts, strict=True) if v.passed]
    assert not passed
    assert seconds < 120
    assert os.listdir(tmp_path) == []
    assert rewards.verify("math", r"\boxed{72}", "72").passed
