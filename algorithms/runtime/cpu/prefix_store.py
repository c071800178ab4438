"""Keys and values of finished rows, kept for requests that go on where a row ended.

A conversation's next prompt is what was computed before, prompt and answer, plus a few new tokens.
What is kept is bounded in bytes; the least recently used goes first.

Only whole rows serve, not what other prompts have in common with them: keys and values computed
elsewhere differ in their last bits, so a fresh prompt's answer would depend on which rows happened
to be kept when it came, and a run could not be repeated.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Tokens = tuple[int, ...]


class PrefixStore:
    """Sequences of tokens with their keys and values, ``[2, layer, head, position, dim]``."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.clear()

    def __len__(self) -> int:
        return len(self._states)

    def clear(self) -> None:
        """Forget everything: other weights give other keys and values."""
        self.bytes = 0
        self._states: OrderedDict[Tokens, torch.Tensor] = OrderedDict()
        self._lengths: Counter[int] = Counter()

    def put(self, tokens: Tokens, states: torch.Tensor) -> None:
        """Keep ``states`` of ``tokens``, unless they alone are more than the limit."""
        if states.nbytes > self.limit_bytes:
            return
        if tokens in self._states:
            self._drop(tokens)
        self._states[tokens] = states
        self.bytes += states.nbytes
        self._lengths[len(tokens)] += 1
        while self.bytes > self.limit_bytes:
            self._drop(next(iter(self._states)))

    def longest(self, prompt: Tokens) -> tuple[torch.Tensor | None, int]:
        """States of the longest sequence which ``prompt`` goes on from, and its length; None and 0
        without one."""
        found = self._continued(prompt)
        if found is None:
            return None, 0
        self._states.move_to_end(found)
        return self._states[found], len(found)

    def continues(self, prompt: Tokens) -> bool:
        """Whether ``prompt`` goes on where a stored sequence ends."""
        return self._continued(prompt) is not None

    def _continued(self, prompt: Tokens) -> Tokens | None:
        lengths = sorted((n for n in self._lengths if n < len(prompt)), reverse=True)
        return next((prompt[:n] for n in lengths if prompt[:n] in self._states), None)

    def _drop(self, tokens: Tokens) -> None:
        self.bytes -= self._states.pop(tokens).nbytes
        self._lengths[len(tokens)] -= 1
        if not self._lengths[len(tokens)]:
            del self._lengths[len(tokens)]
