"""How a conversation goes on after an answer: in token ids, none of which is tokenised twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from algorithms.views import render_chat

# Stands for the answer while a chat template is asked what it writes behind it.
PROBE = "\u2063answer\u2063"


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of text that is not ours: special tokens that it spells stay letters."""
    return tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)


class NoContinuation(ValueError):
    """The chat template writes no conversation that goes on after an answer."""


class Continuation:
    """``(answer's token ids, next user message) -> token ids`` of what stands between them.

    The chat template is asked once for each text; the answer itself stays as it was sampled. Where
    the answer already ends with the token that closes a turn, that token is not written again.

    verl's ``ContinuousTokenBuilder`` does the same for the families it knows by name. Ours asks the
    template, so that it holds for any (verl's default for Llama writes nothing between an answer
    and the next turn), closes answers that were cut, and keeps special tokens in hints letters.
    """

    def __init__(self, tokenizer: Any, chat_template_kwargs: Mapping[str, Any] | None = None):
        self.tokenizer = tokenizer
        self.chat = dict(chat_template_kwargs or {})
        self._tail = lru_cache(maxsize=4096)(self._rendered_tail)

    def __call__(self, answer_ids: Sequence[int], text: str) -> list[int]:
        """
        Raises:
            NoContinuation: the template refuses a second user message, or drops the answer.
        """
        tail = self._tail(text)
        closed = bool(answer_ids) and bool(tail) and answer_ids[-1] == tail[0]
        return list(tail[closed:])

    @property
    def closing_id(self) -> int | None:
        """The special token that ends an answer's turn; None where the template has none."""
        first = self._tail("go on")[0]
        return first if first in self.tokenizer.get_added_vocab().values() else None

    def _rendered_tail(self, text: str) -> tuple[int, ...]:
        messages = [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": PROBE},
            {"role": "user", "content": text},
        ]
        rendered = render_chat(self.tokenizer, messages, self.chat)
        _, found, tail = rendered.partition(PROBE)
        if not found or text.strip() not in tail:
            raise NoContinuation(
                "the chat template does not go on after an answer: it shows the conversation "
                f"as {rendered!r}. Use a model with a chat template for several turns, or a scheme "
                "without retries in the conversation (retry.scheme=independent)"
            )
        return tuple(self._encoded(tail, text.strip()))

    def _encoded(self, tail: str, text: str) -> list[int]:
        """``tail`` as token ids; special tokens that ``text`` spells are letters, none of them
        opens or closes a turn."""
        if not any(token in text for token in self.tokenizer.get_added_vocab()):
            return self.tokenizer.encode(tail, add_special_tokens=False)
        before, _, after = tail.partition(text)
        return [
            *self.tokenizer.encode(before, add_special_tokens=False),
            *plain_ids(self.tokenizer, text),
            *self.tokenizer.encode(after, add_special_tokens=False),
        ]
