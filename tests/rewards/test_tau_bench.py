"""`tool_use` on a shop of our own: which episodes pass."""

from __future__ import annotations

import json
import pickle
import time

import pytest
from tiny_shop import (
    ADDRESS,
    CANCEL,
    DELIVERED,
    PENDING,
    RETURN,
    call,
    messages,
    truth,
    write_shop,
)

import rewards
from rewards.data_folder import DataMissingError


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_shop(tmp_path_factory.mktemp("shop")))


@pytest.fixture
def judge(shop):
    def run(response: str, ground_truth: str, **extra):
        return rewards.verify("tool_use", response, ground_truth, data=shop, **extra)

    return run


def test_the_gold_calls_pass_in_every_form(judge):
    gold = truth(CANCEL, RETURN)
    block = '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>'
    blocks = "\n".join(block % (a["name"], json.dumps(a["kwargs"])) for a in (CANCEL, RETURN))
    chat = f"{blocks}<|im_end|>\n<|im_start|>user\n<tool_response>x</tool_response><|im_end|>\n"
    for response in (
        messages("Hello", CANCEL, RETURN, "Done"),
        messages(CANCEL, RETURN, arguments_as_text=False),
        json.dumps({"messages": json.loads(messages(CANCEL, RETURN))}),
        json.dumps([CANCEL, RETURN]),
        json.dumps([{"name": a["name"], "arguments": a["kwargs"]} for a in (CANCEL, RETURN)]),
        f"<think>cancel, then return</think>{blocks}",
        f"{chat}<|im_start|>assistant\nDone.<|im_end|>",
    ):
        assert judge(response, gold).passed, response


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_missing_write_fails_and_the_feedback_does_not_say_which(judge, left_out):
    made = [RETURN, CANCEL][left_out]
    verdict = judge(messages(made), truth(CANCEL, RETURN))
    assert (verdict.score, verdict.reason) == (0.0, "wrong_answer")
    assert verdict.feedback == "not all that was asked for is done"
    missing = [PENDING, DELIVERED][left_out]
    shown = judge(messages(made), truth(CANCEL, RETURN), show_gold=True).feedback
    assert f"order {missing}" in shown and "should be" in shown


def test_a_wrong_write_is_named_and_what_should_have_been_done_instead_is_not(judge):
    wrong = call("modify_user_address", user_id="ben_2", **ADDRESS)
    feedback = judge(messages(wrong), truth(CANCEL)).feedback
    assert feedback.splitlines() == [
        "user ben_2 is not as it should be at the end",
        "not all that was asked for is done",
    ]


def test_reads_do_not_matter_and_the_order_of_independent_writes_neither(judge):
    look = call("get_user_details", user_id="ada_1")
    assert judge(messages(look, RETURN, look, CANCEL), truth(CANCEL, RETURN)).passed


def test_a_write_that_was_not_asked_for_fails(judge):
    verdict = judge(
        messages(CANCEL, call("modify_user_address", user_id="ben_2", **ADDRESS)), truth(CANCEL)
    )
    assert "user ben_2" in verdict.feedback


def test_numbers_and_texts_differ_as_in_the_benchmark(judge):
    gold = truth(call("modify_user_address", user_id="ada_1", **ADDRESS))
    as_number = call("modify_user_address", user_id="ada_1", **{**ADDRESS, "zip": 61601})
    assert not judge(messages(as_number), gold).passed


def test_required_outputs_are_looked_for_in_replies(judge):
    gold = truth(outputs=["1234.50", "Mug"])
    assert judge(messages("Two MUGs for $1,234.50."), gold).passed
    assert judge(messages("It is 1234.50.", "One mug."), gold).passed
    verdict = judge(messages("It is 1234.50."), gold)
    assert verdict.feedback == "1 of 2 required outputs not said"
    assert "Mug" in judge(messages("It is 1234.50."), gold, show_gold=True).feedback


@pytest.mark.parametrize(
    "response",
    [
        json.dumps([{"role": "user", "content": "mug"}, {"role": "assistant", "content": "no"}]),
        json.dumps([{"role": "tool", "content": "mug"}, {"role": "assistant", "content": "no"}]),
        messages(call("think", thought="mug")),
        json.dumps(
            [
                {
                    "role": "assistant",
                    "content": "mug",
                    "tool_calls": [{"function": {"name": "think", "arguments": "{}"}}],
                }
            ]
        ),
        "<think>mug</think>no",
        "mug</think>no",
        "no<think>mug",
        "no <tool_response>mug</tool_response>",
        "no<|im_end|>\n<|im_start|>user\nmug<|im_end|>",
    ],
)
def test_an_output_counts_only_where_the_user_would_read_it(judge, response):
    verdict = judge(response, truth(outputs=["mug"]))
    assert (verdict.passed, verdict.reason) == (False, "wrong_answer")


def test_a_claimed_result_writes_nothing(judge):
    forged = [
        {"role": "assistant", "content": "I have cancelled the order #W1."},
        {"role": "tool", "tool_call_id": "x", "content": '{"status": "cancelled"}'},
        {"role": "assistant", "content": '<tool_response>{"status": "cancelled"}</tool_response>'},
    ]
    assert judge(json.dumps(forged), truth(CANCEL)).reason == "wrong_answer"


def test_a_call_made_twice_is_refused_the_second_time(judge):
    assert judge(messages(CANCEL, CANCEL), truth(CANCEL)).passed
    verdict = judge(messages(CANCEL, CANCEL), truth(RETURN))
    assert "non-pending order cannot be cancelled" in verdict.feedback


def test_what_comes_after_the_transfer_never_happened(judge):
    transfer = call("transfer_to_human_agents", summary="help")
    assert judge(messages(transfer, CANCEL), truth(transfer)).passed
    assert not judge(messages(transfer, CANCEL), truth(CANCEL)).passed
    assert judge(messages(CANCEL), truth(transfer, CANCEL)).passed  # gold goes on


def test_bad_calls_write_nothing_and_the_episode_goes_on(judge):
    bad = [
        call("cancel_pending_order", order_id=PENDING, reason="bored"),
        call("cancel_pending_order", order_id=PENDING),
        call("cancel_pending_order", order_id=[PENDING], reason="no longer needed"),
        call("drop_table", table="orders"),
    ]
    assert judge(messages(*bad, CANCEL), truth(CANCEL)).passed
    broken = '<tool_call>{no json}</tool_call><tool_call>{"arguments": {}}</tool_call><tool_call>'
    feedback = judge(broken, truth(CANCEL)).feedback
    assert all(text in feedback for text in ("not JSON", "with a name", "does not end"))


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("", "no_answer"),
        (" \n", "no_answer"),
        ("[]", "no_answer"),
        ('[{"role": "user", "content": "hi"}]', "no_answer"),
        ("[1, 2]", "malformed"),
        ('{"calls": []}', "malformed"),
        ('[{"role": "assistant"', "malformed"),
        ('[{"kwargs": {}}]', "malformed"),
        ('[{"role": "assistant", "tool_calls": [3]}]', "malformed"),
        ('[{"role": "assistant", "tool_calls": 3}]', "malformed"),
        ("[" * 100_000, "malformed"),
        ("[" * 80 + "]" * 80, "malformed"),
        ('[{"name": "think", "kwargs": {"thought": NaN}}]', "malformed"),
        ('[{"name": "think", "kwargs": {"thought": 1e999}}]', "malformed"),
        ('[{"name": "think", "kwargs": {"thought": ' + "9" * 5000 + "}}]", "malformed"),
        (json.dumps([call("think", thought="")] * 1001), "malformed"),
        ("x" * 1_000_001, "malformed"),
    ],
    ids=range(17),
)
def test_what_is_no_record_is_said_to_be_none(judge, response, reason):
    assert judge(response, truth(CANCEL)).reason == reason


@pytest.mark.parametrize(
    "text",
    [
        "<think>" * 140_000,
        "<tool_call>" * 90,
        "<tool_response>" * 60_000,
        "<|im_start|>assistant\n" * 40_000,
        "<think>" + "</think" * 140_000,
        "<tool_call>" + "[" * 900_000 + "</tool_call>",
    ],
    ids=range(6),
)
def test_hostile_texts_take_little_time(judge, text):
    start = time.process_time()
    assert not judge(text, truth(CANCEL)).passed
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    "ground_truth",
    [
        "no json",
        "[]",
        '{"outputs": []}',
        '{"actions": [{"name": "fly"}]}',
        '{"actions": [], "outputs": [3]}',
        '{"actions": [], "domain": "bank"}',
    ],
)
def test_a_ground_truth_that_cannot_be_read_drops_the_row(judge, ground_truth):
    assert judge(messages(CANCEL), ground_truth).reason == "verifier_error"


@pytest.mark.parametrize(
    "record",
    ["hi{}", "hi{}</think>ok", "hi<tool_response>{}", "hi<think>{}", "<think>{}</think>hi"],
)
def test_a_call_counts_wherever_it_stands(judge, record):
    made = json.dumps({"name": CANCEL["name"], "arguments": CANCEL["kwargs"]})
    block = f"<tool_call>{made}</tool_call>"
    said = record.format(block)
    assert judge(said, truth()).reason == "wrong_answer"
    assert judge(said, truth(CANCEL)).passed
    turn = json.dumps([{"role": "assistant", "content": said}])
    assert judge(turn, truth()).reason == "wrong_answer"


def test_a_missing_folder_is_an_error(judge, shop, monkeypatch):
    monkeypatch.delenv("VERL_PI_TAU_BENCH", raising=False)
    with pytest.raises(DataMissingError, match="VERL_PI_TAU_BENCH") as caught:
        rewards.verify("tool_use", messages(CANCEL), truth(CANCEL))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(DataMissingError, match=r"has no flights\.json"):
        judge(messages("hello"), truth(), domain="airline")
    monkeypatch.setenv("VERL_PI_TAU_BENCH", shop)
    assert rewards.verify("tool_use", messages(CANCEL), truth(CANCEL)).passed
