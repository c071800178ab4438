"""Values of a recipe's configuration: kinds as in its defaults, ranges, and choices."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from algorithms.approximations import SAMPLED
from algorithms.divergence import KINDS
from algorithms.retry.budget import ALLOCATIONS
from algorithms.retry.filter import TRAIN_ON
from algorithms.retry.settings import SCHEMES
from algorithms.views import POSITIONS

# Anything goes below: verl's keys and the arms are checked where they are read.
ELSEWHERE = ("verl", "arm_definitions", "algorithm_settings")
AT_LEAST = {
    "steps": 1,
    "batch_size": 1,
    "samples_per_prompt": 1,
    "max_prompt_tokens": 1,
    "max_response_tokens": 1,
    "max_tokens_per_micro_batch": 1,
    "checkpoint_every": 1,
    "evaluation.samples": 1,
    "evaluation.every": 0,
    "evaluation.teacher_rows": 0,
    "evaluation.temperature": 0,
    "learning_rate": 0,
    "mini_batches": 1,
    "privileged.hint_tokens": 1,
    "epochs": 1,
    "model.lora_rank": 0,
    "data.train_rows": 1,
    "data.eval_rows": 1,
    "ranks": 1,
    "warmup.phases[].steps": 1,
    "retry.k": 0,
    "retry.samples": 1,
    "retry.rounds": 1,
    "retry.probe": 1,
    "retry.per_task": 1,
    "retry.min_tokens": 1,
    "retry.turn_tokens": 1,
    "retry.context_tokens": 1,
    "retry.learning_rate_warmup_steps": 0,
}
MORE_THAN_ZERO = (
    "sampling.temperature", "sampling.top_p", "evaluation.top_p", "retry.step_factor",
    "retry.epochs", "retry.threshold",
)  # fmt: skip
ONE_OF: dict[str, tuple[Any, ...]] = {
    "teacher": ("frozen", "live", "ema", "trust_region"),
    "divergence": (*KINDS, *SAMPLED),
    "offline.sample_from": ("student", "teacher"),
    "privileged.position": POSITIONS,
    "rollout": ("transformers", "vllm", "sglang"),
    "warmup.enabled": ("auto", True, False),
    "retry.scheme": SCHEMES,
    "retry.allocation": ALLOCATIONS,
    "retry.train_on": TRAIN_ON,
    "retry.filter": ("binary", "graded"),
    "retry.start_from": ("last", "base"),
    "retry.data": ("round", "all_rounds"),
    "retry.schedule": ("constant", "cosine"),
}
# Keys whose default is null, and what else they may be.
WHOLE_OR_NULL = (
    "data.train_rows", "data.eval_rows", "ranks", "retry.context_tokens", "retry.max_tokens",
)  # fmt: skip
NUMBERS = ("retry.epochs", "retry.temperatures[]")
TEXT_OR_NULL = ("data.warmup",)
GROUP_OR_NULL = ("retry.endpoint",)
MAY_BE_EMPTY = ("arms", "data.without_gold", "retry.temperatures", "contrasts")


def problems(values: dict[str, Any], defaults: dict[str, Any]) -> Iterator[str]:
    """What is wrong with ``values``, a line each, naming the key and what it may be.

    Args:
        values: the configuration as a nested dict.
        defaults: the recipe's own, whose values say what kind each one is of.
    """
    yield from _compare(values, defaults, "")


def _compare(value: Any, default: Any, key: str) -> Iterator[str]:
    if key in ELSEWHERE:
        if not isinstance(value, dict):
            yield f"{key} is a group of settings, got {value!r}"
    elif key in GROUP_OR_NULL and isinstance(value, dict):
        return  # its keys are checked where they are read
    elif isinstance(default, dict):
        yield from _compare_group(value, default, key)
    elif isinstance(default, list):
        yield from _compare_list(value, default, key)
    else:
        wanted = _wanted(value, default, key)
        if wanted:
            yield f"{key} is {wanted}, got {value!r}"


def _compare_group(value: Any, default: dict[str, Any], key: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{key} is a group of {', '.join(default)}, got {value!r}"
        return
    within = f"{key}." if key else ""
    for name in {**default, **value}:
        if name not in value:
            yield f"{within}{name} is missing"
        elif name not in default:
            near = difflib.get_close_matches(name, default, n=1)
            hint = f"; did you mean {within}{near[0]}?" if near else ""
            yield f"{within}{name} is not a setting{hint}"
        else:
            yield from _compare(value[name], default[name], f"{within}{name}")


def _compare_list(value: Any, default: list[Any], key: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{key} is a list, got {value!r}: write {key}=[{value}]"
        return
    if not value and key not in MAY_BE_EMPTY:
        yield f"{key} is empty: give at least one"
    for element in value:
        yield from _compare(element, default[0] if default else "", f"{key}[]")


def _wanted(value: Any, default: Any, key: str) -> str | None:
    """What ``key`` may be, where ``value`` is something else."""
    if key in ONE_OF:
        choices = ONE_OF[key]
        fits = any(value is c or (isinstance(value, str) and value == c) for c in choices)
        return None if fits else f"one of {', '.join(str(c).lower() for c in choices)}"
    if value is None and (default is None or key in (*TEXT_OR_NULL, *WHOLE_OR_NULL)):
        return None
    return _wanted_kind(value, default, key) or _wanted_range(value, key)


def _wanted_kind(value: Any, default: Any, key: str) -> str | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, int) or key in WHOLE_OR_NULL:
        return None if number and isinstance(value, int) else "a whole number"
    if isinstance(default, float) or key in NUMBERS:
        return None if number else "a number"
    if isinstance(default, str):
        return None if isinstance(value, str) else "text"
    return None if isinstance(value, (str, int)) else "text"


def _wanted_range(value: Any, key: str) -> str | None:
    if key in AT_LEAST and value < AT_LEAST[key]:
        return f"{AT_LEAST[key]} or more"
    if key in MORE_THAN_ZERO and value <= 0:
        return "more than 0"
    return None
