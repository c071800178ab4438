"""A sampler, a judge and a conversation: every request is noted, every answer is given."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from algorithms.retry.attempts import Generation, Judgement, Ladder, Request, Task
from algorithms.retry.ladder import climb
from algorithms.retry.settings import LadderSettings

PROMPT = (1, 2, 3)
END = 0  # the token that ends an answer


@dataclass
class Script:
    """``answers`` by attempt number: the token ids that the model would give if nothing cut them.

    ``right`` names the texts that pass; a text is the token ids, blank between them.
    """

    answers: Mapping[int, Sequence[int]] | Sequence[int]
    right: Sequence[str] = ()
    unjudged: Sequence[str] = ()
    feedback: str = ""
    requests: list[Request] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)
    turns: list[tuple[tuple[int, ...], str]] = field(default_factory=list)

    async def sample(self, request: Request) -> Generation:
        await asyncio.sleep(0)
        self.requests.append(request)
        full = self.answers[request.number] if isinstance(self.answers, Mapping) else self.answers
        ids = tuple(full)[: request.max_tokens]
        return Generation(ids, " ".join(map(str, ids)), bool(ids) and ids[-1] == END)

    async def judge(self, text: str) -> Judgement:
        await asyncio.sleep(0)
        self.judged.append(text)
        if text in self.unjudged:
            return Judgement(False, 0.0, "verifier_error")
        passed = text in self.right
        return Judgement(passed, float(passed), "ok" if passed else "wrong_answer", self.feedback)

    def turn(self, answer: Sequence[int], text: str) -> list[int]:
        self.turns.append((tuple(answer), text))
        return [90, 91]


def run(
    script: Script, *, budget: int | None = None, told: str | None = None, **settings
) -> Ladder:
    """One ladder on the script."""
    given = LadderSettings(**{"attempt_tokens": 10, "context_tokens": 1000, **settings})
    task = Task(PROMPT, ({"role": "user", "content": "?"},), told, budget)
    return asyncio.run(climb(task, given, script.sample, script.judge, script.turn))
