"""The verifier `judge`: does this answer mean what the reference answer means?"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from rewards.judge import prompt
from rewards.judge.cache import Cache, key_of
from rewards.judge.endpoint import AskError, Endpoint, require_openai
from rewards.judge.prompt import Case, NoRulingError, Ruling
from rewards.judge.settings import Settings
from rewards.verdict import Verdict

_MAX_CHARS = 20_000
_SECONDS = 60.0
_Job = tuple[Case, str, float]


class JudgeVerifier:
    """Asks a language model for a verdict. One instance serves a process; it is safe for threads.

    Options of a call: question (the task as the candidate saw it), rubric (what else counts),
    judge_model (instead of the one set), show_answer (False: no feedback, since what a judge says
    quotes the reference as a rule), seconds (60, for one request), max_chars (20,000). Address,
    key and budget are in `Settings`, by default from the environment. JudgeError is
    raised where the judge is not set up.
    """

    OPTIONS = frozenset(
        {"question", "rubric", "judge_model", "show_answer", "seconds", "max_chars"}
    )
    ISOLATION = "own"
    CACHEABLE = False  # it keeps its own, on disk

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._parts: tuple[Settings, Endpoint, Cache] | None = None

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        return self.verify_batch([(response, ground_truth, extra)])[0]

    def verify_batch(self, items: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[Verdict]:
        """Judge many (response, ground_truth, options); a case met twice is asked about once."""
        prepared = [_prepare(*item) for item in items]
        jobs = list(dict.fromkeys(job for job in prepared if not isinstance(job, Verdict)))
        found: dict[_Job, Verdict] = {}
        if jobs:
            parts = self._set_up()
            with ThreadPoolExecutor(min(len(jobs), parts[0].workers)) as threads:
                verdicts = threads.map(lambda job: _judge(parts, *job), jobs)
                found = dict(zip(jobs, verdicts, strict=True))
        return [
            job if isinstance(job, Verdict) else _shown(found[job], options)
            for job, (_, _, options) in zip(prepared, items, strict=True)
        ]

    def describe(self) -> str:
        """Which model judges, in words."""
        settings = self._set_up()[0]
        return f"judge: {settings.model} at {settings.url}"

    def spent(self) -> dict[str, int]:
        """Calls and tokens that this process has paid for so far."""
        budget = self._set_up()[1].budget
        return {"calls": budget.calls, "tokens": budget.tokens}

    def _set_up(self) -> tuple[Settings, Endpoint, Cache]:
        with self._lock:
            if self._parts is None:
                require_openai()
                settings = self._settings or Settings.from_environment()
                self._parts = (settings, Endpoint(settings), Cache(settings.cache_file()))
            return self._parts


def _prepare(response: str, ground_truth: str, options: Mapping[str, Any]) -> _Job | Verdict:
    seconds = float(options.get("seconds", _SECONDS))
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds={seconds}: a positive number is needed")
    limit = int(options.get("max_chars", _MAX_CHARS))
    candidate = _clean(response).rpartition("</think>")[2].strip()
    if not ground_truth.strip():
        return Verdict.failed("verifier_error", "the ground truth, a reference answer, is empty")
    if not candidate:
        return Verdict.failed("no_answer", "the response is empty")
    if len(candidate) > limit:
        return Verdict.failed("malformed", f"the answer has more than {limit} characters")
    case = Case(
        question=_clean(str(options.get("question") or "")),
        reference=_clean(ground_truth),
        candidate=candidate,
        rubric=_clean(str(options.get("rubric") or "")),
    )
    return case, str(options.get("judge_model") or ""), seconds


def _shown(verdict: Verdict, options: Mapping[str, Any]) -> Verdict:
    """What a judge says of an answer quotes the reference as a rule."""
    if verdict.reason == "verifier_error" or options.get("show_answer"):
        return verdict
    return replace(verdict, feedback="")


def _clean(text: str) -> str:
    """Lone surrogates cannot be sent."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _judge(
    parts: tuple[Settings, Endpoint, Cache], case: Case, model: str, seconds: float
) -> Verdict:
    started = time.monotonic()
    settings, endpoint, cache = parts
    model = model or settings.model
    texts = (case.question, case.reference, case.rubric, case.candidate)
    key = key_of([prompt.VERSION, settings.url, model, *texts])
    ruling = cache.get(key)
    if ruling is None:
        try:
            ruling = _ask(endpoint, model, case, seconds)
        except (AskError, NoRulingError) as err:
            return Verdict.failed("verifier_error", str(err), time.monotonic() - started)
        cache.put(key, ruling)
    spent = time.monotonic() - started
    if ruling.correct:
        return Verdict.ok(spent, ruling.reason)
    return Verdict.failed("wrong_answer", ruling.reason, spent)


def _ask(endpoint: Endpoint, model: str, case: Case, seconds: float) -> Ruling:
    """Ask, and once more where the reply is no verdict; each time with a token of its own."""
    complaint = ""
    for _ in range(2):
        token = prompt.new_token()
        reply = endpoint.ask(model, prompt.messages(case, token, complaint), seconds)
        try:
            return prompt.ruling_of(reply, token)
        except NoRulingError as err:
            complaint = str(err)
    raise NoRulingError(f"the judge gave no verdict twice: {complaint}")
