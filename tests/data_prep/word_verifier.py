"""A verifier of our own. A module of its own: the processes that judge import it."""

from __future__ import annotations

from rewards import Verdict, register_verifier


@register_verifier("says_a_word")
def says_a_word(response: str, ground_truth: str) -> Verdict:
    """Passes a response with that word; breaks on the ground truth `unreadable`."""
    if ground_truth == "unreadable":
        return Verdict.failed("verifier_error", "no word")
    if ground_truth in response.split():
        return Verdict.ok()
    return Verdict.failed("wrong_answer", f"no {ground_truth} in it")


says_a_word.OPTIONS = frozenset()  # type: ignore[attr-defined]
