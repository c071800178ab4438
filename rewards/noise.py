"""Verifiers that err at a known rate, to study what a verifier's quality does to training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rewards.dispatch import judge_with
from rewards.registry import Verifier, describe, describe_verifier
from rewards.verdict import Verdict


def noisy(
    verifier: str | Callable[..., Any],
    false_positive: float = 0.0,
    false_negative: float = 0.0,
    seed: int = 0,
) -> NoisyVerifier:
    """A verifier that errs: passes this share of wrong answers, fails this share of right ones.

    verifier: a registered name, a callable or a class. false_positive, false_negative: in [0, 1].
    Whether an answer is misjudged depends on `seed`, response and ground truth alone, so it is the
    same in any order, batch and process. Register the result to use it by name::

        rewards.register_verifier("math_10")(noisy("math", false_positive=0.1))

    Raises ValueError for a rate outside [0, 1].
    """
    return NoisyVerifier(verifier, false_positive, false_negative, seed)


class NoisyVerifier:
    """See `noisy`. A verdict `verifier_error` is never changed.

    A changed verdict does not say so: no verdict has feedback, and a changed one that fails is a
    plain wrong answer. Where the verifier gives partial credit its score of 0 may show.
    """

    ISOLATION = "own"  # the verifier within is isolated in its own way
    CACHEABLE = False  # it is cached within

    def __init__(
        self,
        verifier: str | Callable[..., Any],
        false_positive: float,
        false_negative: float,
        seed: int,
    ) -> None:
        for name, rate in (("false_positive", false_positive), ("false_negative", false_negative)):
            if not 0.0 <= rate <= 1.0:
                raise ValueError(f"{name}={rate} is a rate and has to lie in [0, 1]")
        # A name is looked up when it is used: it may be registered later.
        self._named = verifier if isinstance(verifier, str) else None
        self._given = None if isinstance(verifier, str) else describe(_name(verifier), verifier)
        self._rates = {False: float(false_positive), True: float(false_negative)}
        self._seed = int(seed)

    @property
    def OPTIONS(self) -> frozenset[str] | None:  # as those of any verifier are called
        """Those of the verifier within."""
        return self._within().options

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        return self.verify_batch([(response, ground_truth, extra)])[0]

    def verify_batch(self, items: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[Verdict]:
        """Judge many (response, ground truth, options), then err."""
        verdicts = judge_with(self._within(), items)
        return [
            self._flipped(verdict)
            if self._errs(verdict, response, truth)
            else _without_words(verdict)
            for verdict, (response, truth, _) in zip(verdicts, items, strict=True)
        ]

    def _within(self) -> Verifier:
        return self._given or describe_verifier(str(self._named))

    def _errs(self, verdict: Verdict, response: str, ground_truth: str) -> bool:
        if verdict.reason == "verifier_error":
            return False
        return _uniform(self._seed, response, ground_truth) < self._rates[verdict.passed]

    @staticmethod
    def _flipped(verdict: Verdict) -> Verdict:
        if verdict.passed:
            return Verdict.failed("wrong_answer", seconds=verdict.seconds)
        return Verdict.ok(verdict.seconds)


def _without_words(verdict: Verdict) -> Verdict:
    return verdict if verdict.reason == "verifier_error" else replace(verdict, feedback="")


def _name(verifier: Callable[..., Any]) -> str:
    return getattr(verifier, "__qualname__", type(verifier).__qualname__)


def _uniform(seed: int, response: str, ground_truth: str) -> float:
    """In [0, 1), a function of its arguments alone."""
    digest = hashlib.blake2b(str(seed).encode(), digest_size=8)
    for text in (response, ground_truth):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return (int.from_bytes(digest.digest(), "big") >> 11) / 2**53
