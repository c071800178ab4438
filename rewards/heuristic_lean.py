"""The verifier `heuristic_lean`: whether a text looks like a Lean proof.

It is weak on purpose. It never runs Lean: a false proof passes if it looks like one. It is here
to study what training on such a verifier does; `lean` is the verifier to train with.
"""

from __future__ import annotations

import re
import time
from typing import Any

from rewards.answers import after_thinking
from rewards.verdict import Verdict

_UNFINISHED = ("sorry", "admit", "native_decide", "axiom")
_TACTICS = {
    "aesop", "apply", "assumption", "by_contra", "cases", "constructor", "contradiction", "decide",
    "exact",
    "exfalso", "field_simp", "grind", "have", "induction", "intro", "intros", "left", "linarith",
    "nlinarith", "norm_num", "obtain", "omega", "positivity", "rcases", "refine", "rfl", "right",
    "ring", "ring_nf", "rintro", "rw", "simp", "simp_all", "simpa", "split", "subst",
    "trivial", "unfold", "use", "calc", "show",
}  # fmt: skip
_WORD = re.compile(r"[A-Za-z_][\w']*")
_BRACKETS = {")": "(", "]": "[", "}": "{", "⟩": "⟨"}
_NOTE = "text only, not checked by Lean"


class HeuristicLean:
    """Looks at the text alone: a weak verifier, whose ok is no proof.

    A response passes when it has no `sorry`, `admit`, `native_decide` or `axiom` outside of
    comments, closes its brackets, uses a tactic that exists, and, where it states a theorem,
    states the one asked for (white space aside). Options of a call: max_chars (100,000).
    """

    OPTIONS = frozenset({"max_chars"})
    ISOLATION = "process"
    SECONDS = 10.0
    MEMORY_MB = 1024
    CACHEABLE = True

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        begun = time.perf_counter()
        statement = _statement(ground_truth)
        if not statement:
            return Verdict.failed("verifier_error", "the ground truth states no theorem")
        if len(response) > int(extra.get("max_chars", 100_000)):
            return Verdict.failed("malformed", "the response is too long")
        text = after_thinking(response)
        code = _without_comments(_fenced(text)).strip()
        if not code:
            return Verdict.failed("no_answer", "there is no proof in the response")
        reason, said = _look(code, statement)
        seconds = time.perf_counter() - begun
        if reason == "ok":
            return Verdict.ok(seconds, f"it looks like a proof ({_NOTE})")
        return Verdict.failed(reason, f"{said} ({_NOTE})", seconds)


def _look(code: str, statement: str) -> tuple[str, str]:
    words = _WORD.findall(code)
    for word in _UNFINISHED:
        if word in words:
            return "forbidden", f"the proof uses {word}"
    if not _balanced(code):
        return "compile_error", "its brackets do not match"
    if "theorem" in words or "lemma" in words:
        if " ".join(statement.split()) not in " ".join(code.split()):
            return "wrong_answer", "it states another theorem"
        code = code.partition(":=")[2]
    if not any(word in _TACTICS for word in _WORD.findall(code)):
        return "wrong_answer", "it uses no tactic"
    return "ok", ""


def _statement(ground_truth: str) -> str:
    """From `theorem` or `lemma` up to `:=`."""
    found = re.search(r"\b(?:theorem|lemma)\b.*", ground_truth, re.DOTALL)
    return found.group().partition(":=")[0].strip() if found else ""


def _fenced(text: str) -> str:
    """What is in the last fence that is closed, without the line that opens it; else all."""
    parts = text.split("```")
    inside = parts[1 : len(parts) - 1 : 2]
    return inside[-1].partition("\n")[2] if inside else text


def _without_comments(code: str) -> str:
    # Up to the last end of a comment: beyond it every `/-` would search to the end of the text.
    end = code.rfind("-/") + 2 if "-/" in code else 0
    code = re.sub(r"/-.*?-/", " ", code[:end], flags=re.DOTALL) + code[end:]
    return re.sub(r"--[^\n]*", " ", code)


def _balanced(code: str) -> bool:
    stack: list[str] = []
    for char in code:
        if char in _BRACKETS.values():
            stack.append(char)
        elif char in _BRACKETS and (not stack or stack.pop() != _BRACKETS[char]):
            return False
    return not stack
