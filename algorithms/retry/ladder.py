"""The ladder: attempt, verify, and after a failure attempt again, until a pass or a limit.

One coroutine a task. Nothing waits for another task, so that the attempts, verdicts and retries of
different tasks overlap as far as sampler and verifier allow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from algorithms.retry.attempts import Attempt, Judge, Judgement, Ladder, Request, Sampler, Task
from algorithms.retry.settings import FEEDBACK, LadderSettings

# Of a whole attempt, what the context must have left for another one.
LEAST_ROOM = 0.25
# The token ids that stand between an answer and the next one: (answer, retry text) -> ids.
Turn = Callable[[Sequence[int], str], Sequence[int]]


async def climb(
    task: Task, settings: LadderSettings, sample: Sampler, judge: Judge, turn: Turn
) -> Ladder:
    """Attempt ``task`` as ``settings`` say.

    Args:
        sample: generates one answer; never asked for more than the task's budget has left.
        judge: the verdict on an answer's text.
        turn: what the conversation holds between an answer and the next, as token ids.

    A verdict that could not tell right from wrong ends the ladder: saying "incorrect" would be a
    guess.
    """
    ladder = Ladder()
    prompt, messages = task.prompt_ids, task.messages
    while not ladder.stopped:
        number = settings.after + len(ladder.attempts) + 1
        limit, stop = _limit(task, settings, ladder, len(prompt))
        if number > settings.last() or limit < 1:
            ladder.stopped = stop if limit < 1 else "exhausted"
            break
        request = Request(number, prompt, messages, limit, settings.temperature(number))
        attempt = await _attempt(request, sample, judge, by_budget=stop == "budget")
        ladder.attempts.append(attempt)
        ladder.stopped = _stopped(settings, attempt.judgement)
        if settings.scheme == "retry" and not ladder.stopped:
            text = settings.retry_text(_told(task, settings, attempt.judgement))
            answer = attempt.generation
            prompt = (*prompt, *answer.token_ids, *turn(answer.token_ids, text))
            messages = (
                *messages,
                {"role": "assistant", "content": answer.text},
                {"role": "user", "content": text},
            )
    return ladder


async def _attempt(request: Request, sample: Sampler, judge: Judge, by_budget: bool) -> Attempt:
    generation = await sample(request)
    if generation.token_ids:
        judgement = await judge(generation.text)
    else:
        judgement = Judgement(False, 0.0, "no_answer")
    return Attempt(
        request.number,
        generation,
        judgement,
        request.temperature,
        len(request.prompt_ids),
        cut_by_budget=by_budget and not generation.complete,
    )


def _limit(
    task: Task, settings: LadderSettings, ladder: Ladder, prompt_tokens: int
) -> tuple[int, str]:
    """The tokens that the next attempt may have, and the name of what binds."""
    room = settings.context_tokens - prompt_tokens
    if ladder.attempts and room < settings.attempt_tokens * LEAST_ROOM:
        room = 0  # too little for an answer: asking would count a failure that says nothing
    limits = [(settings.attempt_tokens, "exhausted"), (room, "context_full")]
    if task.budget is not None:
        limits.append((task.budget - ladder.tokens, "budget"))
    return min(limits)


def _stopped(settings: LadderSettings, judgement: Judgement) -> str:
    if not judgement.told:
        # An independent sample says nothing of the verdict before.
        return "verifier_error" if settings.scheme == "retry" else ""
    stops = settings.scheme == "retry" or settings.early_stop
    return "passed" if judgement.passed and stops else ""


def _told(task: Task, settings: LadderSettings, judgement: Judgement) -> str | None:
    return judgement.feedback if settings.pi == FEEDBACK else task.privileged
