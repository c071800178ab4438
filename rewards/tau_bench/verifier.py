"""The verifier `tool_use`: did this episode leave the database as it should, and say what it must?

The reward of τ-bench (arXiv 2406.12045): the model's calls are made again on a fresh database, the
gold actions on another; both must end alike, and each required output must stand in a reply.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewards.tau_bench.database import EpisodeData, hashable
from rewards.tau_bench.episode import TOOLBOXES, Episode
from rewards.tau_bench.transcript import RESPOND, Action, TranscriptError, actions_of
from rewards.verdict import Verdict

_FEEDBACK_CHARS = 2000
_ERRORS_SHOWN = 5


@dataclass(frozen=True)
class Task:
    """A ground truth: gold actions and texts that have to be in a reply."""

    actions: tuple[Action, ...]
    outputs: tuple[str, ...]
    domain: str


@dataclass
class _Played:
    """What making the model's calls again came to."""

    data: EpisodeData
    replies: list[str]
    errors: list[str]


class ToolUseVerifier:
    """Judges records of τ-bench episodes; `score` is 1 or 0.

    Options of a call: data (folder with the tables; default VERL_PI_TAU_BENCH), domain ("retail",
    "airline"; default the ground truth's own, else retail), show_gold (False: feedback names what
    differs, not what it should be), max_calls (1,000), max_chars (1,000,000).
    """

    OPTIONS = frozenset({"data", "domain", "show_gold", "max_calls", "max_chars"})
    ISOLATION = "process"
    SECONDS = 20.0

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        """Raises ValueError for an unknown domain, DataMissingError without the tables."""
        start = time.perf_counter()
        options = _Options(extra)
        try:
            task = _read_task(ground_truth, options.domain)
        except ValueError as err:
            return Verdict.failed("verifier_error", f"the ground truth cannot be read: {err}")
        gold = _play_gold(task, options.data)
        try:
            played = _play(_read(response, options), Episode(task.domain, options.data))
        except TranscriptError as err:
            return Verdict.failed(err.reason, str(err), time.perf_counter() - start)
        return _verdict(played, gold, task, options, start)


class _Options:
    def __init__(self, extra: Mapping[str, Any]) -> None:
        self.data: str | None = extra.get("data")
        self.domain: str | None = extra.get("domain")
        self.show_gold = bool(extra.get("show_gold", False))
        self.max_calls = int(extra.get("max_calls", 1000))
        self.max_chars = int(extra.get("max_chars", 1_000_000))
        if self.domain is not None:
            _check_domain(self.domain)


def _check_domain(domain: Any) -> None:
    if domain not in TOOLBOXES:
        raise ValueError(f"unknown domain {domain!r}; known: {', '.join(TOOLBOXES)}")


def _read_task(ground_truth: str, domain: str | None) -> Task:
    """Raises ValueError with what is wrong."""
    task = json.loads(ground_truth)
    if not isinstance(task, dict) or not isinstance(task.get("actions"), list):
        raise ValueError('expected a JSON object with "actions" and "outputs"')
    domain = domain or task.get("domain", "retail")
    _check_domain(domain)
    actions = actions_of(json.dumps(task["actions"])) if task["actions"] else []
    for action in actions:
        known = action.name == RESPOND or TOOLBOXES[domain].get(action.name) is not None
        if action.fault or not known:
            raise ValueError(action.fault or f"the domain {domain} has no tool {action.name!r}")
    outputs = task.get("outputs") or []
    if not isinstance(outputs, list) or not all(isinstance(text, str) for text in outputs):
        raise ValueError('"outputs" is not a list of texts')
    return Task(tuple(actions), tuple(outputs), domain)


def _play_gold(task: Task, folder: str | None) -> EpisodeData:
    """The database as the gold actions leave it; like the benchmark, without those that only end
    an episode and whatever a gold action that fails would have done."""
    episode = Episode(task.domain, folder)
    for action in task.actions:
        tool = episode.tools.get(action.name)
        if tool is not None and not tool.ends:
            episode.play(action)
    return episode.data


def _read(response: str, options: _Options) -> list[Action]:
    if len(response) > options.max_chars:
        raise TranscriptError(f"the response has more than {options.max_chars:,} characters")
    actions = actions_of(response)
    calls = sum(action.name != RESPOND for action in actions)
    if calls > options.max_calls:
        raise TranscriptError(f"{calls:,} tool calls are more than {options.max_calls:,}")
    return actions


def _play(actions: list[Action], episode: Episode) -> _Played:
    """Up to a call that ends the episode: what comes after it never happened."""
    played = _Played(episode.data, [], [])
    for action in actions:
        if action.name == RESPOND and not action.fault:
            played.replies.append(str(action.kwargs.get("content", "")))
            continue
        seen = episode.play(action)
        if seen.text.startswith(("Error: ", "Unknown action ")):
            played.errors.append(f"{action.name}: {seen.text}")
        if seen.done:
            break
    return played


def _verdict(
    played: _Played, gold: EpisodeData, task: Task, options: _Options, start: float
) -> Verdict:
    differing = played.data.differences(gold)
    missing = [text for text in task.outputs if not _said(text, played.replies)]
    seconds = time.perf_counter() - start
    if not differing and not missing:
        return Verdict.ok(seconds)
    lines = _differences(differing, played.data, gold, options.show_gold)
    if missing:
        shown = f": {', '.join(missing)}" if options.show_gold else ""
        lines.append(f"{len(missing)} of {len(task.outputs)} required outputs not said{shown}")
    lines.extend(f"call failed: {error}" for error in played.errors[:_ERRORS_SHOWN])
    return Verdict.failed("wrong_answer", "\n".join(lines)[:_FEEDBACK_CHARS], seconds)


def _said(output: str, replies: list[str]) -> bool:
    """As the benchmark compares: lower case, commas taken out of the reply."""
    wanted = output.lower()
    return any(wanted in reply.lower().replace(",", "") for reply in replies)


def _differences(
    keys: list[tuple[str, str]], found: EpisodeData, gold: EpisodeData, show_gold: bool
) -> list[str]:
    """Without `show_gold` only records that the model changed: others would name what to do."""
    named = [key for key in keys if show_gold or found.changed(*key)]
    lines = [_difference(key, found, gold, show_gold) for key in named]
    return lines if len(named) == len(keys) else [*lines, "not all that was asked for is done"]


def _difference(
    key: tuple[str, str], found: EpisodeData, gold: EpisodeData, show_gold: bool
) -> str:
    line = f"{key[0].removesuffix('s')} {key[1]} is not as it should be at the end"
    if not show_gold:
        return line
    have, want = found.find(*key) or {}, gold.find(*key) or {}
    fields = [
        f"{name} is {json.dumps(have.get(name))}, should be {json.dumps(want.get(name))}"
        for name in sorted({*have, *want})
        if hashable(have.get(name)) != hashable(want.get(name))
    ]
    return f"{line}: {'; '.join(fields)}"
