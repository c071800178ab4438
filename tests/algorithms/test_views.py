"""Views: token by token, over several turns, and the chat templates that must be refused."""

from __future__ import annotations

import pickle
from functools import cache

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from algorithms.view_check import check_views
from algorithms.views import (
    PromptViews,
    TrajectoryViews,
    ViewMismatch,
    ViewOverflow,
    ViewTemplate,
    build_prompt_views,
    default_system_text,
    privileged_messages,
)
from recipes.demo_model import NAME, cache_home

DEFAULT_SYSTEM = "be kind"
CHATML = (
    "{% for m in messages %}"
    "{% if loop.first and m.role != 'system' %}<|im_start|>system\nbe kind<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAIN = CHATML.replace(
    "{% if loop.first and m.role != 'system' %}<|im_start|>system\nbe kind<|im_end|>\n{% endif %}",
    "",
)
# Opens a thinking block unless the conversation says otherwise.
THINKING = PLAIN.replace(
    "<|im_start|>assistant\n{% endif %}",
    "<|im_start|>assistant\n{% set seen = messages | map(attribute='content') | join %}"
    "{% if enable_thinking is not defined and 'no_think' in seen %}<think></think>{% endif %}"
    "{% endif %}",
)
HIDING = PLAIN.replace(
    "<|im_start|>{{ m.role }}\n{{ m.content }}",
    "<|im_start|>{{ m.role }}\n{% if m.role != 'system' %}{{ m.content }}{% endif %}",
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    + PLAIN
)
SPECIAL = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
TAGS = ("<privileged_information>", "</privileged_information>", "no_think", "{", "}", "=", "\n")
TEXT = "system user assistant tool be kind brief prove a b hint use rfl exact ok"
WORDS = (*SPECIAL, *TAGS, *TEXT.split())
BLOCK = "<privileged_information>\nuse rfl\n</privileged_information>"
QUESTION = [{"role": "user", "content": "prove a = b"}]
WITH_SYSTEM = [{"role": "system", "content": "be brief"}, *QUESTION]
TEMPLATE = ViewTemplate()


@cache
def tokenizer(chat_template: str = CHATML) -> PreTrainedTokenizerFast:
    """A word-level tokenizer: one id a word, a line break, or a special token."""
    vocabulary = {word: index for index, word in enumerate(("<unk>", *WORDS))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    pieces = Regex(r"<\|im_start\|>|<\|im_end\|>|</?think>|\n|[^\s<]+|</?privileged_information>| ")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pieces, "removed", invert=True), pre_tokenizers.Split(" ", "removed")]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    fast.chat_template = chat_template
    return fast


def ids(text: str, template: str = CHATML) -> list[int]:
    encoded = tokenizer(template).encode(text, add_special_tokens=False)
    assert tokenizer(template).unk_token_id not in encoded, text
    return encoded


def views(messages, pi, template=TEMPLATE, chat=CHATML, **kwargs) -> PromptViews:
    return build_prompt_views(
        tokenizer(chat),
        messages,
        pi,
        template,
        max_prompt_tokens=kwargs.pop("limit", 100),
        **kwargs,
    )


def chat(*turns: tuple[str, str]) -> str:
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)


HEADER = "<|im_start|>assistant\n"


def test_system_position_token_by_token():
    built = views(WITH_SYSTEM, "use rfl")
    assert built.student_ids == ids(chat(("system", "be brief"), ("user", "prove a = b")) + HEADER)
    assert built.teacher_ids == ids(
        chat(("system", f"be brief\n\n{BLOCK}"), ("user", "prove a = b")) + HEADER
    )


def test_default_system_text_is_kept_so_that_only_the_block_differs():
    built = views(QUESTION, "use rfl")
    assert built.student_ids == ids(
        chat(("system", DEFAULT_SYSTEM), ("user", "prove a = b")) + HEADER
    )
    assert built.teacher_ids == ids(
        chat(("system", f"{DEFAULT_SYSTEM}\n\n{BLOCK}"), ("user", "prove a = b")) + HEADER
    )


def test_default_system_text_can_be_replaced():
    built = views(QUESTION, "use rfl", ViewTemplate(default_system="replace"))
    assert built.teacher_ids == ids(chat(("system", BLOCK), ("user", "prove a = b")) + HEADER)


def test_without_default_system_text_the_block_is_the_system_message():
    assert default_system_text(tokenizer(PLAIN)) is None
    built = views(QUESTION, "use rfl", chat=PLAIN)
    assert built.student_ids == ids(chat(("user", "prove a = b")) + HEADER)
    assert built.teacher_ids == ids(chat(("system", BLOCK), ("user", "prove a = b")) + HEADER)


@pytest.mark.parametrize(
    ("position", "expected"),
    [("user_prefix", f"{BLOCK}\n\nprove a = b"), ("user_suffix", f"prove a = b\n\n{BLOCK}")],
)
def test_user_positions(position, expected):
    built = views(QUESTION, "use rfl", ViewTemplate(position=position), chat=PLAIN)
    assert built.teacher_ids == ids(chat(("user", expected)) + HEADER)


def test_user_position_takes_the_last_user_message_of_several_turns():
    talk = [
        *QUESTION,
        {"role": "assistant", "content": "exact"},
        {"role": "user", "content": "use b"},
    ]
    built = views(talk, "hint", ViewTemplate("user_suffix", "{pi}", separator=" "), chat=PLAIN)
    assert built.teacher_ids == ids(
        chat(("user", "prove a = b"), ("assistant", "exact"), ("user", "use b hint")) + HEADER
    )


def test_no_privileged_information_gives_equal_views_that_are_not_one_list():
    built = views(QUESTION, None)
    assert built.student_ids == built.teacher_ids
    assert built.student_ids is not built.teacher_ids


def test_braces_in_content_and_template_are_text():
    template = ViewTemplate("user_suffix", "{ {pi} } {0}")
    assert template.block("{x} {pi}") == "{ {x} {pi} } {0}"


def test_messages_are_copied():
    given = [dict(message) for message in WITH_SYSTEM]
    privileged_messages(given, "use rfl", TEMPLATE)
    assert given == WITH_SYSTEM


def test_typed_parts_get_a_part_of_their_own():
    parts = [{"type": "text", "text": "prove"}]
    (message,) = privileged_messages(
        [{"role": "user", "content": parts}], "hint", ViewTemplate("user_prefix", "{pi}")
    )
    assert message["content"] == [{"type": "text", "text": "hint\n\n"}, *parts]


def test_overflow_is_refused_and_survives_pickling():
    fits = len(views(QUESTION, "use rfl").teacher_ids)
    assert len(views(QUESTION, "use rfl", limit=fits).teacher_ids) == fits
    with pytest.raises(
        ViewOverflow, match=f"teacher's prompt of row 7 has {fits} tokens.*raise"
    ) as e:
        views(QUESTION, "use rfl", limit=fits - 1, row=7)
    copy = pickle.loads(pickle.dumps(e.value))
    assert issubclass(ViewOverflow, ValueError)
    assert (copy.view, copy.tokens, copy.limit, copy.row) == ("teacher", fits, fits - 1, 7)
    assert str(copy) == str(e.value)
    with pytest.raises(ViewOverflow, match="student's prompt"):
        views(QUESTION, None, limit=3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ViewTemplate(position="middle"),
        lambda: ViewTemplate(template="no slot"),
        lambda: ViewTemplate(template="{pi} {pi}"),
        lambda: ViewTemplate(default_system="drop"),
        lambda: privileged_messages(QUESTION, "  ", TEMPLATE),
        lambda: privileged_messages(WITH_SYSTEM[:1], "x", ViewTemplate("user_prefix")),
        lambda: TrajectoryViews([1], [1], [2], []),
        lambda: TrajectoryViews([1], [1], [2], [2]),
        lambda: TrajectoryViews([], [1]),
        lambda: TrajectoryViews([1], [1]).input_ids("judge"),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError):
        call()


def test_several_turns_share_every_response_token():
    prompts = views(QUESTION, "use rfl")
    first, tool, second = (
        ids("exact rfl<|im_end|>"),
        ids(f"\n{chat(('tool', 'ok'))}{HEADER}"),
        ids("ok<|im_end|>"),
    )
    trajectory = TrajectoryViews.start(prompts).generated(first).observed(tool).generated(second)
    assert trajectory.response_ids == first + tool + second
    assert trajectory.loss_mask == [1] * 3 + [0] * len(tool) + [1] * 2
    assert trajectory.target_ids() == first + second
    for view in ("student", "teacher"):
        full, positions = trajectory.input_ids(view), trajectory.predicting_positions(view)
        assert full[len(trajectory.prompt_ids(view)) :] == trajectory.response_ids
        assert [full[position + 1] for position in positions] == trajectory.target_ids()
    # Both views, token by token, are what the chat template writes for the finished conversation.
    later = (("assistant", "exact rfl"), ("tool", "ok"), ("assistant", "ok"))
    finished = [*QUESTION, *({"role": role, "content": text} for role, text in later)]
    whole = views(finished, None).student_ids
    assert trajectory.input_ids("student") == whole[: len(trajectory.input_ids("student"))]
    privileged = privileged_messages(finished, "use rfl", TEMPLATE, default_system=DEFAULT_SYSTEM)
    whole = views(privileged, None).student_ids
    assert trajectory.input_ids("teacher") == whole[: len(trajectory.input_ids("teacher"))]


def test_check_accepts_and_reports():
    report = check_views(tokenizer(), QUESTION, "use rfl", TEMPLATE)
    assert report.only_block_differs
    assert report.response_header == HEADER
    assert report.teacher_tokens - report.student_tokens == len(ids(f"\n\n{BLOCK}"))
    # Everything from the end of the system message on is shared.
    assert report.shared_suffix_tokens == len(
        ids("<|im_end|>\n" + chat(("user", "prove a = b")) + HEADER)
    )


def test_check_reports_a_system_turn_of_the_teachers_own():
    assert not check_views(tokenizer(PLAIN), QUESTION, "use rfl", TEMPLATE).only_block_differs


@pytest.mark.parametrize(
    ("chat_template", "pi", "named"),
    [
        (THINKING, "no_think", "enable_thinking=false"),
        (HIDING, "use rfl", "another position"),
        (NO_SYSTEM, "use rfl", "user_prefix"),
        (PLAIN.replace(HEADER, ""), "use rfl", "assistant header"),
        (
            PLAIN.replace("<|im_end|>", "{{ '<|im_end|>' if messages | length < 3 }}"),
            "use rfl",
            "finished",
        ),
    ],
)
def test_check_refuses_and_names_the_fix(chat_template, pi, named):
    with pytest.raises(ViewMismatch, match=named) as error:
        check_views(tokenizer(chat_template), QUESTION, pi, TEMPLATE)
    assert isinstance(pickle.loads(pickle.dumps(error.value)), ViewMismatch)


def test_a_template_without_header_is_fine_where_the_answer_follows_directly():
    bracketed = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ '\\n' ~ m.content ~ ' = ' }}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    report = check_views(tokenizer(bracketed), QUESTION, "use rfl", ViewTemplate("user_prefix"))
    assert report.response_header == ""


def test_the_demonstration_model_over_several_turns():
    folder = cache_home() / NAME
    if not (folder / "tokenizer_config.json").exists():
        pytest.skip("the demonstration model is not there: python -m recipes.demo_model")
    real = AutoTokenizer.from_pretrained(folder)
    report = check_views(real, QUESTION, "use rfl", TEMPLATE)
    assert report.only_block_differs
    assert report.response_header == HEADER
    prompts = build_prompt_views(real, QUESTION, "use rfl", TEMPLATE, max_prompt_tokens=200)
    default = default_system_text(real)
    assert default and default.startswith("You are a helpful AI assistant named SmolLM")

    def encode(text: str) -> list[int]:
        return real.encode(text, add_special_tokens=False)

    def written(system: str) -> list[int]:
        prompt = encode(chat(("system", system), ("user", "prove a = b")) + HEADER)
        return (
            prompt
            + encode("exact rfl<|im_end|>")
            + encode("\n" + chat(("user", "use b")) + HEADER)
            + encode("ok")
        )

    trajectory = TrajectoryViews.start(prompts).generated(encode("exact rfl<|im_end|>"))
    trajectory = trajectory.observed(encode("\n" + chat(("user", "use b")) + HEADER)).generated(
        encode("ok")
    )
    assert trajectory.input_ids("student") == written(default)
    assert trajectory.input_ids("teacher") == written(f"{default}\n\n{BLOCK}")


def test_the_named_fixes_work():
    off = {"enable_thinking": False}
    check_views(tokenizer(THINKING), QUESTION, "no_think", TEMPLATE, chat_template_kwargs=off)
    for template in (HIDING, NO_SYSTEM):
        check_views(tokenizer(template), QUESTION, "use rfl", ViewTemplate("user_prefix"))
