"""The ladder with a scripted server: who is asked what, when it stops, what it may spend."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_ladder import PROMPT, Script, run

from algorithms.retry.attempts import STOPS, Task
from algorithms.retry.ladder import climb
from algorithms.retry.settings import InvalidLadder, LadderSettings

WRONG, RIGHT = (5, 6, 0), (7, 0)


def test_a_first_pass_asks_nothing_more():
    script = Script({1: RIGHT}, right=["7 0"])
    ladder = run(script)
    assert [r.prompt_ids for r in script.requests] == [PROMPT]
    assert (ladder.stopped, len(ladder.attempts), ladder.tokens) == ("passed", 1, 2)


def test_a_failure_is_told_in_the_same_conversation_whose_past_is_a_prefix():
    script = Script({1: WRONG, 2: WRONG, 3: RIGHT}, right=["7 0"])
    ladder = run(script, prompt="Wrong. Again.")
    first, second, third = (r.prompt_ids for r in script.requests)
    assert second == (*first, *WRONG, 90, 91)
    assert third == (*second, *WRONG, 90, 91)
    assert script.turns == [(WRONG, "Wrong. Again.")] * 2
    assert [m["role"] for m in script.requests[2].messages] == ["user", *["assistant", "user"] * 2]
    assert script.requests[2].messages[2]["content"] == "Wrong. Again."
    assert [a.judgement.passed for a in ladder.attempts] == [False, False, True]
    assert ladder.stopped == "passed"


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_after_k_retries_the_task_is_given_up(retries):
    script = Script(WRONG)
    ladder = run(script, retries=retries)
    assert (len(ladder.attempts), ladder.stopped) == (retries + 1, "exhausted")


def test_the_hint_is_told_after_a_failure_and_never_before():
    script = Script({1: WRONG, 2: RIGHT}, right=["7 0"])
    run(script, told="42", pi_prompt="No. Hint: {pi}!")
    assert script.requests[0].prompt_ids == PROMPT
    assert script.turns == [(WRONG, "No. Hint: 42!")]


def test_a_task_without_its_hint_gets_the_bare_retry_prompt():
    script = Script({1: WRONG, 2: RIGHT}, right=["7 0"])
    run(script, told=None, prompt="Again.")
    assert script.turns == [(WRONG, "Again.")]


def test_what_the_verifier_said_of_the_attempt_is_told_where_that_is_asked_for():
    script = Script({1: WRONG, 2: RIGHT}, right=["7 0"], feedback="line 1: no")
    run(script, pi="environment_feedback", pi_prompt="Hint: {pi}")
    assert script.turns == [(WRONG, "Hint: line 1: no")]


def test_a_verdict_that_cannot_tell_ends_a_conversation_but_not_independent_samples():
    script = Script(WRONG, unjudged=["5 6 0"])
    assert run(script).stopped == "verifier_error" and len(script.requests) == 1
    script = Script(WRONG, unjudged=["5 6 0"])
    assert run(script, scheme="independent", samples=3).stopped == "exhausted"
    assert len(script.requests) == 3


def test_an_empty_answer_is_a_failure_that_nobody_has_to_judge():
    script = Script({1: (), 2: RIGHT}, right=["7 0"])
    ladder = run(script)
    assert script.judged == ["7 0"]
    assert ladder.attempts[0].judgement.reason == "no_answer" and ladder.stopped == "passed"


def test_independent_samples_ask_the_bare_prompt_each_time():
    script = Script(WRONG)
    ladder = run(script, scheme="independent", samples=4, told="42")
    assert [r.prompt_ids for r in script.requests] == [PROMPT] * 4
    assert script.turns == [] and ladder.stopped == "exhausted"


def test_independent_samples_go_on_after_a_pass_unless_told_to_stop():
    script = Script(RIGHT, right=["7 0"])
    assert len(run(script, scheme="independent", samples=4, early_stop=False).attempts) == 4
    assert len(run(script, scheme="independent", samples=4).attempts) == 1


def test_a_temperature_of_each_attempt():
    script = Script(WRONG)
    run(script, scheme="independent", samples=4, temperatures=(0.5, 0.9))
    assert [r.temperature for r in script.requests] == [0.5, 0.9, 0.9, 0.9]
    script = Script(WRONG)
    run(script, retries=1)
    assert [r.temperature for r in script.requests] == [None, None]


def test_numbers_count_on_after_a_probe():
    script = Script(WRONG)
    run(script, scheme="independent", samples=2, after=4)
    assert [r.number for r in script.requests] == [5, 6]


def test_a_conversation_ends_where_the_context_is_full():
    # 3 of the prompt, 3 and 2 for a failure and the turn after it: the third attempt would have 1
    # left, of the 10 that an attempt may take.
    script = Script(WRONG)
    ladder = run(script, retries=9, context_tokens=14)
    assert [r.max_tokens for r in script.requests] == [10, 6]
    assert ladder.stopped == "context_full"


@given(
    budget=st.integers(0, 60),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    attempt_tokens=st.integers(1, 12),
)
def test_a_budget_is_spent_to_the_token(budget, lengths, attempt_tokens):
    answers = {n: (*[9] * (lengths[n % len(lengths)] - 1), 0) for n in range(1, 100)}
    script = Script(answers)
    ladder = run(
        script, budget=budget, scheme="independent", samples=99, early_stop=False,
        attempt_tokens=attempt_tokens,
    )  # fmt: skip
    assert ladder.tokens == budget and ladder.stopped == "budget"
    requested = [r.max_tokens for r in script.requests]
    assert all(n <= attempt_tokens for n in requested)


def test_what_the_budget_cuts_is_no_complete_answer():
    ladder = run(Script(WRONG), budget=4, scheme="independent", early_stop=False)
    assert [a.generation.complete for a in ladder.attempts] == [True, False]
    assert [a.cut_by_budget for a in ladder.attempts] == [False, True]


def test_what_ends_with_the_budget_is_not_cut_by_it():
    ladder = run(Script(WRONG), budget=6, scheme="independent", early_stop=False)
    assert [a.cut_by_budget for a in ladder.attempts] == [False, False]


def test_what_a_ladder_came_to_is_its_first_pass_or_its_last_attempt():
    script = Script({1: WRONG, 2: RIGHT, 3: WRONG}, right=["7 0"])
    ladder = run(script, scheme="independent", samples=3, early_stop=False)
    assert ladder.answer is not None and ladder.answer.number == 2
    failed = run(Script(WRONG), retries=2).answer
    assert failed is not None and failed.number == 3
    assert run(Script(WRONG), budget=0).answer is None


def test_ladders_overlap_no_task_waits_for_another():
    """The second task is through while the first still waits for its verdict."""
    order: list[str] = []

    async def go() -> None:
        slow, fast = Script(RIGHT, right=["7 0"]), Script({1: WRONG, 2: RIGHT}, right=["7 0"])
        released = asyncio.Event()

        async def judge_slowly(text: str):
            await released.wait()
            order.append("slow")
            return await slow.judge(text)

        async def climb_fast() -> None:
            await climb(Task(PROMPT), settings, fast.sample, fast.judge, fast.turn)
            order.append("fast")
            released.set()

        settings = LadderSettings()
        await asyncio.gather(
            climb(Task(PROMPT), settings, slow.sample, judge_slowly, slow.turn), climb_fast()
        )

    asyncio.run(asyncio.wait_for(go(), 10))
    assert order == ["fast", "slow"]


@given(
    st.lists(st.sampled_from(["right", "wrong", "empty", "unjudged"]), min_size=1, max_size=6),
    st.integers(0, 5),
)
def test_any_course_of_verdicts_ends_for_a_named_reason(course, retries):
    answers = {"right": (7, 0), "wrong": (5, 0), "empty": (), "unjudged": (8, 0)}
    script = Script(
        {n: answers[course[(n - 1) % len(course)]] for n in range(1, 10)},
        right=["7 0"], unjudged=["8 0"],
    )  # fmt: skip
    ladder = run(script, retries=retries)
    assert ladder.stopped in STOPS and 1 <= len(ladder.attempts) <= retries + 1
    assert [a.number for a in ladder.attempts] == list(range(1, len(ladder.attempts) + 1))
    passes = [a.judgement.passed for a in ladder.attempts]
    assert not any(passes[:-1]) and passes[-1] == (ladder.stopped == "passed")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "again"}, "scheme is one of retry, independent"),
        ({"retries": -1}, "retries"),
        ({"samples": 0}, "samples"),
        ({"temperatures": [-0.1]}, "not negative"),
        ({"pi_prompt": "no slot"}, "{pi} exactly once"),
        ({"prompt": " "}, "blank"),
        ({"attempt_tokens": 0}, "attempt_tokens"),
        ({"rungs": 3}, "no setting rungs"),
    ],
)
def test_settings_that_no_ladder_can_follow_are_refused(settings, message):
    with pytest.raises(InvalidLadder, match=message):
        LadderSettings.of(settings)


def test_braces_in_a_hint_are_text():
    assert LadderSettings(pi_prompt="{x} {pi}").retry_text("{pi} {0}") == "{x} {pi} {0}"
