"""Keys and values of finished rows, kept for requests that begin with the same tokens.

A conversation that goes on is the case in point: its prompt is what was computed before, prompt and
answer, plus a few new tokens. What is kept is bounded in bytes; the least recently used goes first.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from itertools import chain

import torch

Tokens = tuple[int, ...]

# Besides their whole length, stored sequences are found by their first 16, 32, ... tokens, so that
# prompts with a common beginning share it.
GRAIN = 16


class PrefixStore:
    """Sequences of tokens with their keys and values, ``[2, layer, head, position, dim]``."""

    def __init__(self, limit_bytes: int, grain: int = GRAIN) -> None:
        self.limit_bytes, self.grain = limit_bytes, grain
        self.clear()

    def __len__(self) -> int:
        return len(self._states)

    def clear(self) -> None:
        """Forget everything: other weights give other keys and values."""
        self.bytes = 0
        self._states: OrderedDict[Tokens, torch.Tensor] = OrderedDict()
        # Of each beginning the sequences that have it; the last one serves.
        self._owners: dict[Tokens, list[Tokens]] = {}
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
        for beginning in self._beginnings(tokens):
            self._owners.setdefault(beginning, []).append(tokens)
        while self.bytes > self.limit_bytes:
            self._drop(next(iter(self._states)))

    def longest(self, prompt: Tokens) -> tuple[torch.Tensor | None, int]:
        """States of the longest known beginning of ``prompt`` that leaves a token to compute, and
        how many positions of them to use; None and 0 without one."""
        known = {length for length in self._lengths if length < len(prompt)}
        grains = range(self.grain, len(prompt), self.grain)
        for length in sorted(known.union(grains), reverse=True):
            owners = self._owners.get(prompt[:length])
            if owners:
                self._states.move_to_end(owners[-1])
                return self._states[owners[-1]], length
        return None, 0

    def continues(self, prompt: Tokens) -> bool:
        """Whether ``prompt`` goes on where a stored sequence ends."""
        lengths = (length for length in self._lengths if length < len(prompt))
        return any(prompt[:length] in self._states for length in lengths)

    def _beginnings(self, tokens: Tokens) -> list[Tokens]:
        lengths = chain(range(self.grain, len(tokens), self.grain), (len(tokens),))
        return [tokens[:length] for length in lengths]

    def _drop(self, tokens: Tokens) -> None:
        self.bytes -= self._states.pop(tokens).nbytes
        self._lengths[len(tokens)] -= 1
        if not self._lengths[len(tokens)]:
            del self._lengths[len(tokens)]
        for beginning in self._beginnings(tokens):
            owners = self._owners[beginning]
            owners.remove(tokens)
            if not owners:
                del self._owners[beginning]
