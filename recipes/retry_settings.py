"""The group ``retry`` of a configuration and what an arm changes of it: read, checked, and turned
into settings of the ladder, the filter and the optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from algorithms.retry.filter import FilterSettings, InvalidFilter
from algorithms.retry.settings import InvalidLadder, LadderSettings
from recipes.check import problems
from recipes.config import ConfigError

# Attempts of a control that only its budget ends.
UNTIL_THE_BUDGET = 4096
ROUNDS_WITHOUT_FORCE = 2


def of_arm(config: Any, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The group ``retry`` of the recipe with the arm's own settings over it, checked.

    Raises:
        ConfigError: the recipe has no such group, or a setting is unknown or out of range.
    """
    if OmegaConf.select(config, "retry") is None:
        raise ConfigError(
            f"arm {name!r} retries, and this recipe has no group retry: use recipes.retry_math, "
            "retry_code, retry_lean or mechanism"
        )
    default: Any = OmegaConf.to_container(config.retry, resolve=True)
    if default["endpoint"] is not None:
        raise ConfigError(
            "retry.endpoint would answer in every arm's place: name it for the arm alone, "
            "+arm_definitions.cross_model.retry.endpoint={url: ..., model: ...}"
        )
    for shared in sorted({"context_tokens", "turn_tokens"} & set(given)):
        raise ConfigError(f"arm {name!r}: retry.{shared} is of the whole run: retry.{shared}=")
    merged = {**default, **given}
    found = list(problems({"retry": merged}, {"retry": default}))
    if found:
        raise ConfigError("\n".join(f"arm {name!r}: {line}" for line in found))
    _check(name, merged)
    return merged


def _check(name: str, settings: Mapping[str, Any]) -> None:
    if settings["rounds"] > ROUNDS_WITHOUT_FORCE and not settings["force"]:
        raise ConfigError(
            f"arm {name!r}: retry.rounds={settings['rounds']}. A third round lost points where it "
            "was measured (docs/retry.md): set retry.force=true to run it all the same"
        )
    low, high = settings["band"] if len(settings["band"]) == 2 else (1, 0)
    if not 0 <= low <= high <= 1:
        raise ConfigError(
            f"arm {name!r}: retry.band is [least, most] of pass rates between 0 and 1; got "
            f"{list(settings['band'])}"
        )
    if settings["allocation"] != "per_task" and not settings["budget_of"]:
        raise ConfigError(
            f"arm {name!r}: retry.allocation={settings['allocation']} gives out what another arm "
            "generated: name it in retry.budget_of"
        )
    if settings["budget_of"] and settings["scheme"] != "independent":
        raise ConfigError(
            f"arm {name!r}: a budget is for controls that sample anew: retry.scheme=independent"
        )
    endpoint = settings["endpoint"]
    if endpoint is not None and (set(endpoint) != {"url", "model"} or not all(endpoint.values())):
        raise ConfigError(
            f"arm {name!r}: which model answers? "
            f"+arm_definitions.{name}.retry.endpoint={{url: http://host:8000/v1, model: name}}; "
            f"got {endpoint!r}"
        )
    try:
        filter_settings(settings)
        ladder(settings, "none", 1, 1, 2)
    except (InvalidFilter, InvalidLadder) as error:
        raise ConfigError(f"arm {name!r}: {error}") from error


def filter_settings(settings: Mapping[str, Any]) -> FilterSettings:
    """What the filter keeps; ``binary`` is a threshold of full marks."""
    same = ("train_on", "per_task", "min_tokens", "max_tokens", "must_match", "complete")
    threshold = 1.0 if settings["filter"] == "binary" else settings["threshold"]
    return FilterSettings(threshold=threshold, **{key: settings[key] for key in same})


def ladder(
    settings: Mapping[str, Any], pi: str, round_number: int, attempt_tokens: int, context: int
) -> LadderSettings:
    """How a task is attempted in a round."""
    samples = UNTIL_THE_BUDGET if settings["budget_of"] else settings["samples"]
    return LadderSettings(
        scheme=settings["scheme"],
        retries=settings["k"],
        samples=samples,
        early_stop=settings["early_stop"],
        prompt=settings["prompt"],
        pi_prompt=settings["pi_prompt"],
        pi=pi,
        temperatures=tuple(settings["temperatures"]),
        attempt_tokens=attempt_tokens,
        context_tokens=context,
        round=round_number,
    )


def context_tokens(config: Any) -> int:
    """Of prompt and answer together: what is configured, or what all retries can come to."""
    retry = OmegaConf.select(config, "retry")
    single = config.max_prompt_tokens + config.max_response_tokens
    if retry is None:
        return single
    if retry.context_tokens is not None:
        return max(int(retry.context_tokens), single)
    most = max([int(retry.k), *(_retries(config, name) for name in config.arms)])
    # A conversation holds its earlier attempts; a control's attempts stand alone.
    return single + most * (config.max_response_tokens + int(retry.turn_tokens))


def _retries(config: Any, name: str) -> int:
    return int(OmegaConf.select(config, f"arm_definitions.{name}.retry.k") or 0)


def plain(settings: LadderSettings | FilterSettings) -> dict[str, Any]:
    values = dict(vars(settings))
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if k[0] != "_"}


def optimiser(
    config: Any, learning_rate: float | None, retry: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """verl's names for the learning rate, and for an arm's schedule and warm-up of it.

    ``retry``: the arm's settings; by default the recipe's group, where it has one.
    """
    given: Mapping[str, Any] = retry or OmegaConf.select(config, "retry") or {}
    names = {"schedule": "lr_scheduler_type", "learning_rate_warmup_steps": "lr_warmup_steps"}
    schedule = {theirs: given[ours] for ours, theirs in names.items() if ours in given}
    return {"lr": learning_rate or config.learning_rate, **schedule}
