from __future__ import annotations

import pytest

import rewards
from rewards import Verdict, noisy


def _equal(response, ground_truth, **extra):
    if response == "unreadable":
        return Verdict.failed("verifier_error", "cannot be judged", 0.25)
    if response == ground_truth:
        return Verdict.ok(0.25, "well done")
    return Verdict.failed("timeout", "took too long", 0.25)


RIGHT = [(f"answer {i}", f"answer {i}", {}) for i in range(4000)]
WRONG = [(f"answer {i}", f"other {i}", {}) for i in range(4000)]


def rate(verdicts: list[Verdict]) -> float:
    return sum(verdict.passed for verdict in verdicts) / len(verdicts)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level("ERROR", "rewards.registry")


@pytest.mark.parametrize(("positive", "negative"), [(0.0, 0.0), (0.1, 0.3), (1.0, 1.0), (0.5, 0.0)])
def test_it_errs_at_the_rates_asked_for(positive, negative):
    verifier = noisy(lambda r, g, **extra: _equal(r, g), positive, negative, seed=3)
    # four standard deviations of a share of 4000
    assert rate(verifier.verify_batch(WRONG)) == pytest.approx(positive, abs=0.032)
    assert rate(verifier.verify_batch(RIGHT)) == pytest.approx(1 - negative, abs=0.032)
    if positive in (0.0, 1.0):
        assert rate(verifier.verify_batch(WRONG)) == positive


def test_errors_depend_on_seed_response_and_truth_alone():
    verifier = noisy(_Local(), 0.5, 0.5, seed=1)
    whole = verifier.verify_batch(WRONG[:200])
    backwards = verifier.verify_batch(WRONG[:200][::-1])[::-1]
    single = [
        verifier(response, truth, note=i) for i, (response, truth, _) in enumerate(WRONG[:200])
    ]
    again = noisy(_Local(), 0.5, 0.5, seed=1).verify_batch(WRONG[:200])
    assert whole == backwards == single == again
    other = noisy(_Local(), 0.5, 0.5, seed=2).verify_batch(WRONG[:200])
    agree = sum(a.passed == b.passed for a, b in zip(whole, other, strict=True))
    assert 60 < agree < 140


class _Local:
    ISOLATION = "own"
    __call__ = staticmethod(_equal)


def test_a_changed_verdict_does_not_give_itself_away():
    verifier = noisy(_Local(), 1.0, 1.0)
    assert verifier("a", "b") == Verdict.ok(0.25)
    assert verifier("a", "a") == Verdict.failed("wrong_answer", "", 0.25)
    unchanged = noisy(_Local())
    assert unchanged("a", "a") == Verdict.ok(0.25)
    assert unchanged("a", "b") == Verdict.failed("timeout", "", 0.25)


def test_what_could_not_be_judged_stays_so():
    assert noisy(_Local(), 1.0, 1.0)("unreadable", "").reason == "verifier_error"


def test_by_name_and_under_a_name():
    rewards.register_verifier("test_honest", "hostile_verifiers:honest")
    always = noisy("test_honest", false_positive=1.0)
    rewards.register_verifier("test_always")(always)
    verdicts = rewards.verify_batch([("test_always", "a", "b", {}), ("test_honest", "a", "b", {})])
    assert [verdict.passed for verdict in verdicts] == [True, False]
    twice = noisy("test_always", false_negative=1.0)
    assert twice("a", "b").reason == "wrong_answer"


def test_the_verifier_within_keeps_its_limits():
    rewards.register_verifier("test_hostile", "hostile_verifiers:Hostile")
    within = noisy("test_hostile")
    assert within("loop", "", seconds=0.3).reason == "timeout"
    assert {"seconds", "note"} == within.OPTIONS
    with pytest.raises(rewards.UnknownVerifierError):
        noisy("no_such_verifier")("a", "b")


def test_text_that_is_no_unicode_is_judged():
    assert noisy(_Local(), 0.5, 0.5)("\ud800", "\0").reason in ("ok", "timeout")


@pytest.mark.parametrize("rates", [(-0.1, 0.0), (0.0, 1.1), (float("nan"), 0.0)])
def test_rates_are_shares(rates):
    with pytest.raises(ValueError, match="has to lie in"):
        noisy(_Local(), *rates)
