"""The verifier `math`: what is read as the answer, what equals what, and what is said."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rewards
from rewards.math import MathVerifier, find_answer
from rewards.math.compare import _parse, answers_equal


@pytest.fixture(scope="module")
def judge():
    """In this process: the same instance that a worker of the pool has."""
    return MathVerifier()


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"so \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{1}, no, \boxed{2}", "2"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"<think>\boxed{1}</think> \boxed{2}", "2"),
        (r"<think>\boxed{1}</think> I do not know", None),
        (r"\boxed{3} and then \boxed{4", None),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed 7 is it", "7"),
        (r"\fbox{7}", "7"),
        (r"\boxed{}", None),
        (r"\boxed{$5$}", "5"),
        ("She has 3 + 4 = <<3+4=7>>7 apples.\n#### 7", "7"),
        ("The final answer is $\\frac{3}{4}$. I hope it is correct.", r"\frac{3}{4}"),
        ("Answer: 12.5", "12.5"),
        ("**The answer is: 42.**", "42"),
        ("first 3, then 1,234", "1,234"),
        ("", None),
        ("no digits", None),
        ("The answer is\n\\[\n5\n\\]", "5"),
        ("The answer is\n$$\n5\n$$\nso it is.", "5"),
        ("#### 18.", "18"),
        ("The answer is 5. Or maybe 6.", "5, 6"),
        ("The answer is 5.\nOr maybe 6.", "5, 6"),
        ("The answer is 5. Hmm, or it could be 6.", "5, 6"),
        ("The answer is 5. It could also be $6$.", "5, 6"),
        ("The answer is 5. Actually, it might be 6.", "5, 6"),
        ("The answer is $5$. On second thought, 6.", "5, 6"),
        ("The answer is 5. It is not 6.", "5"),
        ("The answer is 5.\n\nBut 6 is not.", "5"),
        ("#### 18 dollars", "18"),
        ("#### **18**", "18"),
        ("#### 18 eggs", "18"),
        ("#### Final Answer\n18", "18"),
        ("#### 3/4", "3/4"),
        ("#### 10:30", "10:30"),
        ("The answer is 18 dollars per day.", "18"),
        ("The answer is 5, which is prime.", "5"),
        ("The answer is 5 (five).", "5"),
        ("The answer is 5x + 3.", "5x + 3"),
        ("The answer is 5 million.", "5 million"),
        ("The answer is 2**3.", "2**3"),
        ("The answer is 5!", "5!"),
        ("Answer: €18", "18"),
        (r"\boxed{18°}", "18"),
        (r"\boxed{£18}", "18"),
        (r"\boxed{\boldsymbol{18}}", "18"),
        (r"The final answer is $\$180$.", "180"),
        (r"Answer: \(50\%\)", r"50\%"),
        ("So x = 5. I hope this answer is correct.", "5"),
        (r"Therefore $x=\frac{1}{2}$.", r"x=\frac{1}{2}"),
        (r"Therefore x = \frac{1}{2}.", r"\frac{1}{2}"),
        (r"so it is $\sqrt{2}$", r"\sqrt{2}"),
        ("so it is $3x^2$", "3x^2"),
        ("so there are 5 values of $x$.", "5"),
        ("She has $5 and then $6.", "6"),
        ("the area is 9 m^2", "9"),
        ("x = −5", "-5"),
        ("so .5", ".5"),
        ("it is 5-3", "3"),
    ],
)
def test_where_the_answer_is(response: str, answer: str | None) -> None:
    assert find_answer(response) == answer


@pytest.mark.parametrize(
    ("response", "gold", "right"),
    [
        ("Answer: $5$, $6$, $7$ (one of these)", "5", False),
        ("The answer is $5$ or $6$.", "5", False),
        ("The answer is $5$ (or maybe $6$).", "5", False),
        ("The answer is $5$, but it could be $6$.", "5", False),
        ("The answer is 5. Or 6. Or 7.", "5", False),
        ("The answer is 5\nor 6", "5", False),
        ("#### 5 or 6", "5", False),
        ("The answer is $5$ $6$ $7$.", "5", False),
        ("The answer is $5$ / $6$.", "5", False),
        ("Answer: 5 | 6 | 7", "5", False),
        ("The answer is $1$ and $2$.", "1,2", True),
        ("The answer is 1 and 2.", "1,2", True),
    ],
)
def test_several_answers_are_a_list(judge, response: str, gold: str, right: bool) -> None:
    assert judge(response, gold).passed is right


def test_boxed_alone_counts_if_asked() -> None:
    assert find_answer("the answer is 5", "boxed") is None
    assert find_answer(r"the answer is 6 \boxed{5}", "boxed") == "5"


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("5", "5", True),
        ("5", "x=5", True),
        ("1234", "1,234", True),
        (r"\frac{1}{2}", "0.5", True),
        (r"\frac12", r"\dfrac{2}{4}", True),
        (r"\frac{1}{3}", "0.333333", True),
        (r"\frac{1}{3}", "0.33", False),
        (r"\sqrt{2}", "1.41421356", True),
        (r"\sqrt{2}", "1.414", False),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        ("(x+1)^2", "x^2+2x+1", True),
        ("(x+1)^2", "x^2+2x+2", False),
        (r"\sin^2 x + \cos^2 x", "1", True),
        ("1,2", "2,1", True),
        ("(1,2)", "(2,1)", False),
        ("[1,2)", "[1,2]", False),
        (r"1 \le x < 2", "[1,2)", True),
        ("[1,2)", r"1 \le x < 2", False),
        ("0.000000001", "0.000000002", False),
        (r"1.6\times 10^{-19}", r"3.2\times 10^{-19}", False),
        (r"1.6\times 10^{-19}", r"16\times 10^{-20}", True),
        (r"\frac{1}{10^9}", "0.000000001", True),
        (r"\frac{1}{30000000}", "0.00000003333", True),
        (r"\frac{1}{30}", "0.033333", True),
        ("0.000000001x", "0.000000002x", False),
        ("0", r"(\sqrt{3}-\sqrt{2})(\sqrt{3}+\sqrt{2})-1", True),
        ("0", "0.000000001", False),
        ("5 cm", "5 m", False),
        (r"5\text{ cm}", r"5\mathrm{~m}", False),
        (r"5\text{ cm}", "5 centimetres", True),
        (r"5\text{ cm}", "5", True),
        ("5", "5 cm", True),
        (r"9\text{ cm}^2", "9 square centimeters", True),
        (r"9\text{ cm}^2", r"9\text{ cm}", False),
        (r"3\text{ p.m.}", r"3\text{ a.m.}", False),
        (r"5\%", "5 cm", False),
        (r"5\%", "5 percent", True),
        ("5", "5 million", False),
        ("5", r"5\text{ million}", False),
        ("5000000", r"5\text{ million}", True),
        ("5 million", "5 billion", False),
        (r"\text{Monday}", "Monday", True),
        (r"\text{(C)}", "C", True),
        ("10101_2", "10101", True),
        ("10101_2", "10101_3", False),
        (r"50\%", "50", True),
        (r"50\%", "0.5", True),
        ("50", r"50\%", True),
        (r"50\%", "5", False),
        ("5", "5 or 6", False),
        ("5", r"5, 6, 7", False),
        ("5", r"5 \text{ or } 6", False),
        ("5", "-5", False),
        ("ABCD", "BDAC", False),
        ("ABCD", "abcd", False),
        ("HHT", "HTH", False),
        (r"\text{HHT}", r"\mathrm{HHT}", True),
        ("on", "No", False),
        ("Evelyn", "Evelny", False),
        ("Evelyn", r"\text{evelyn}.", True),
        (r"\text{east-by north}", r"\text{north-by east}", False),
        (r"\text{even}", r"x = \text{Even}", True),
    ],
)
def test_what_equals_what(judge, gold: str, answer: str, right: bool) -> None:
    verdict = judge(f"\\boxed{{{answer}}}", gold)
    assert verdict.passed is right, verdict
    assert verdict.reason == ("ok" if right else "wrong_answer")


def test_a_relation_may_stand_for_an_interval_if_asked(judge) -> None:
    assert judge(r"\boxed{1 \le x < 2}", "[1,2)", relations_as_sets=True).passed


def test_fewer_decimals_accept_a_coarser_number(judge) -> None:
    assert judge(r"\boxed{0.33}", r"\frac{1}{3}", decimals=2).passed
    assert not judge(r"\boxed{0.34}", r"\frac{1}{3}", decimals=2).passed


def test_several_boxes_do_not_try_several_answers(judge) -> None:
    many = " ".join(f"\\boxed{{{n}}}" for n in range(100))
    assert not judge(many, "5").passed
    assert judge(many, "99").passed


def test_feedback_says_the_right_answer_only_if_asked(judge) -> None:
    assert "12345" not in judge(r"\boxed{1}", "12345").feedback
    assert "12345" in judge(r"\boxed{1}", "12345", show_answer=True).feedback


def test_through_the_registry_with_its_reasons() -> None:
    items = [
        ("math", r"\boxed{4}", "4", {}),
        ("math", "I pass", "4", {}),
        ("math", r"\boxed{4}", "  ", {}),
        ("math", r"\boxed{4}", r"\boxed{", {}),
        ("math", r"\boxed{4}", "???", {}),
        ("math", r"\boxed{4}", "\x00", {}),
        ("math", "4" * 1_000_001, "4", {}),
        ("math", rf"\boxed{{{'4' * 3000}}}", "4", {}),
        ("math", r"\boxed{4}", r"so it is \boxed{4}", {}),
    ]
    reasons = [verdict.reason for verdict in rewards.verify_batch(items)]
    expected = ["ok", "no_answer", *["verifier_error"] * 4, "malformed", "malformed"]
    assert reasons == [*expected, "ok"]


def test_a_value_that_an_option_has_not_is_an_error(judge) -> None:
    with pytest.raises(ValueError, match="extract='first'"):
        judge(r"\boxed{4}", "4", extract="first")


def _plain(gold: str, answer: str) -> bool:
    """math-verify alone, without any of the short cuts."""
    from math_verify import verify

    return verify(_parse(gold), _parse(answer), timeout_seconds=None)  # pyright: ignore


_NUMBERS = st.one_of(
    st.integers(-2000, 2000).map(str),
    st.integers(-(10**7), 10**7).map("{:,}".format),
    st.tuples(st.integers(-30, 30), st.integers(1, 30)).map(
        lambda pair: rf"\frac{{{pair[0]}}}{{{pair[1]}}}"
    ),
    st.integers(1, 12).map(lambda n: rf"-\frac{{{n}}}{{6}}"),
    st.integers(-8, 8).map(lambda n: rf"\sqrt{{2}} + {Fraction(n, 4)}".replace("+ -", "- ")),
    st.integers(-8, 8).map(lambda n: f"{n / 4}"),
    st.sampled_from(["x+1", "2x", "x^2-1", "(x-1)(x+1)", r"\frac{x^2-1}{x-1}", r"3\pi", "5!"]),
    st.sampled_from([r"50\%", "i+1", r"\infty", "120", r"\text{even}", "even", r"2^{10}"]),
)


@settings(max_examples=150, deadline=None)
@given(_NUMBERS, _NUMBERS)
def test_the_short_cuts_change_no_verdict(gold: str, answer: str) -> None:
    assert answers_equal(gold, answer) == _plain(gold, answer)
