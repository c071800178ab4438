"""verl's scorers as verifiers: the same scores, without verl's packages or processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rewards
from rewards.verl_scorers import (
    VerlGsm8k,
    VerlMath,
    VerlMathDapo,
    VerlMathVerify,
    VerlPrimeMath,
    score_of,
)

SCORERS = ("verl_math", "verl_gsm8k", "verl_math_dapo", "verl_prime_math", "verl_math_verify")
RIGHT = "2 + 2 is\nAnswer: 4\n#### 4 \\boxed{4}"


def test_in_the_pool_each_accepts_the_right_and_refuses_the_wrong() -> None:
    # DAPO's reads its line to the end, GSM8K's wants the number last.
    responses = {"verl_math_dapo": "2 + 2 is \\boxed{4}"}
    items = [(name, responses.get(name, RIGHT), truth, {}) for name in SCORERS for truth in "45"]
    verdicts = rewards.verify_batch(items)
    assert [v.passed for v in verdicts] == [True, False] * len(SCORERS), verdicts
    assert {v.reason for v in verdicts} == {"ok", "wrong_answer"}


@pytest.mark.parametrize(
    ("scorer", "response", "truth", "right"),
    [
        (VerlMath, r"\boxed{\dfrac{1}{2}}", r"\frac{1}{2}", True),
        (VerlMath, r"\boxed{2/4}", r"\frac{1}{2}", False),
        (VerlGsm8k, "#### 1,200", "1200", True),
        (VerlGsm8k, "it is 1200", "1200", False),
        (VerlMathDapo, r"so \boxed{42}", "42", True),
        (VerlMathDapo, "Answer: 41", "42", False),
        (VerlPrimeMath, r"The answer is \boxed{\frac{2}{4}}", "0.5", True),
        (VerlPrimeMath, r"The answer is \boxed{x+x}", "3x", False),
        (VerlMathVerify, r"\boxed{2/4}", r"\frac{1}{2}", True),
        (VerlMathVerify, r"\boxed{3/4}", r"\frac{1}{2}", False),
    ],
)
def test_each_scores_as_verl_does(scorer, response: str, truth: str, right: bool) -> None:
    assert scorer()(response, truth).passed is right


def test_gsm8ks_flexible_method_is_an_option() -> None:
    assert VerlGsm8k()("it is 1200", "1200", method="flexible").passed
    with pytest.raises(ValueError, match="fuzzy"):
        VerlGsm8k()("it is 1200", "1200", method="fuzzy")


@pytest.mark.parametrize(
    ("result", "score"),
    [(1, 1.0), (True, 1.0), (-1, 0.0), ({"score": -1.0, "acc": False}, 0.0), ((True, False), 1.0)],
)
def test_what_a_scorer_returns_becomes_a_score(result, score: float) -> None:
    assert score_of(result) == score


@pytest.mark.parametrize(
    "answer",
    [
        "__import__('os').system('touch pwned1')",
        "().__class__.__bases__[0].__subclasses__()",
        "(lambda:1)()",
        "ｅｖａｌ('1')",
        "＿＿import＿＿('os')",
        "open('pwned1','w')",
        "[0 for x in [1]][0]",
        "math.pi",
    ],
)
def test_python_is_not_handed_to_eval(answer: str) -> None:
    verdict = VerlPrimeMath()(f"The answer: \\boxed{{{answer}}}", "1")
    assert verdict.reason == "forbidden"


@pytest.mark.parametrize("answer", [r"x \in R", "12 in", r"12 \text{ in}", "3.5", r"2\pi+1"])
def test_formulas_and_inches_are_no_python(answer: str) -> None:
    verdict = VerlPrimeMath()(f"The answer: \\boxed{{{answer}}}", answer)
    assert verdict.passed, verdict


def test_an_answer_changes_nothing_in_the_worker() -> None:
    from rewards.math import compare

    name = "re.enum.sys.modules[chr(114)].Fraction"
    before = compare.Fraction
    for answer in (
        r"[0 for re.enum.sys.modules['rewards.math.compare'].Fraction in [bool]][0]+\pi",
        rf"[{name}]+\pi",
        r"N(simplify)+\pi",
        r"[\text{[0 for re in [1]]}][0]+\pi",
    ):
        assert not VerlPrimeMath()(rf"\boxed{{{answer}}}", "42").passed
    assert compare.Fraction is before


@pytest.mark.parametrize(("response", "right"), [(r"\boxed{1*\pi+1}", True), (r"\boxed{4}", False)])
def test_arithmetic_with_pi_is_still_evaluated(response: str, right: bool) -> None:
    assert VerlPrimeMath()(response, "4.14159265358979").passed is right


def test_neither_torch_nor_ray_nor_verl_is_imported() -> None:
    code = (
        "import sys\nfrom rewards.verl_scorers import VerlPrimeMath, VerlMath\n"
        "assert VerlPrimeMath()('is 4', '4').passed and VerlMath()(r'\\boxed{4}', '4').passed\n"
        "found = {'verl', 'torch', 'ray'} & set(sys.modules)\nassert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
