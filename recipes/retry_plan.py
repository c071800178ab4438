"""The stages of retry -> filter -> SFT: for every round a collection, its filter, and the training.

A retry arm is an arm of source ``rounds`` (offline: collect, store, train) or of source ``online``
with the algorithm ``retry_sft`` (every step attempts, filters and learns).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from algorithms.retry.filter import FilterSettings, InvalidFilter
from algorithms.retry.settings import FEEDBACK, InvalidLadder, LadderSettings
from algorithms.runtime.collection import attempts_file
from algorithms.runtime.stages import Sampling, Stage
from recipes.arms import Arm
from recipes.check import problems
from recipes.config import ConfigError

# Attempts of a control that only its budget ends.
UNTIL_THE_BUDGET = 4096
ROUNDS_WITHOUT_FORCE = 2


def retry_settings(config: Any, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
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


def online_sampling(config: Any, arm: Arm) -> dict[str, Any]:
    """Sampling settings of an online retry arm: every step climbs the ladder."""
    settings = retry_settings(config, arm.name, arm.retry)
    if settings["budget_of"]:
        raise ConfigError(
            f"arm {arm.name!r}: a budget is taken from a finished collection: use source: rounds"
        )
    if settings["scheme"] == "independent" and not settings["early_stop"]:
        raise ConfigError(
            f"arm {arm.name!r}: a step learns from one answer a ladder, so that samples after a "
            "pass would be thrown away: retry.early_stop=true, or source: rounds"
        )
    made = ladder(settings, arm.pi, 1, config.max_response_tokens, context_tokens(config))
    return {"source": "ladder", "ladder": _plain(made), "endpoint": settings["endpoint"]}


def online_algorithm(config: Any, arm: Arm) -> dict[str, Any]:
    """Settings of ``retry_sft`` from the group ``retry``; the arm's own go before them."""
    return _plain(filter_settings(retry_settings(config, arm.name, arm.retry)))


def _plain(settings: LadderSettings | FilterSettings) -> dict[str, Any]:
    values = dict(vars(settings))
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if k[0] != "_"}


def round_stages(
    config: Any,
    arm: Arm,
    seed: int,
    files: Mapping[str, str],
    start: str,
    tasks: int,
    sampling: Callable[..., Sampling],
    evaluate: Mapping[str, int | None],
) -> list[Stage]:
    """The stages of one arm and seed.

    ``start`` names the first weights, ``tasks`` how many training rows there are; ``sampling``
    makes settings from what differs. The last round's training has the arm's own stage name.
    """
    settings = retry_settings(config, arm.name, arm.retry)
    builder = _Rounds(config, arm, seed, files, tasks, sampling, dict(evaluate), settings)
    stages: list[Stage] = []
    weights = start
    for number in range(1, settings["rounds"] + 1):
        collected = builder.collections(number, weights)
        first = start if settings["start_from"] == "base" else weights
        before = stages[-1].name if stages else None
        trained = builder.training(number, first, collected[-1], before)
        stages += [*collected, trained]
        weights = trained.name
    return stages


@dataclass(frozen=True)
class _Rounds:
    config: Any
    arm: Arm
    seed: int
    files: Mapping[str, str]
    tasks: int
    sampling: Callable[..., Sampling]
    evaluate: dict[str, int | None]
    settings: dict[str, Any]

    def store(self, arm: str, number: int, part: str = "") -> str:
        return self.files["collected"].format(f"{arm}-seed{self.seed}-round{number}{part}")

    def collections(self, number: int, weights: str) -> list[Stage]:
        """One collection; two where tasks on the frontier are to be found first."""
        budget, probe = self._budget(number), self.settings["probe"]
        keep = _plain(filter_settings(self.settings))
        probes = self.settings["allocation"] == "frontier"
        earlier = [
            str(attempts_file(self.store(self.arm.name, earlier, part)))
            for earlier in range(1, number)
            for part in (("-probe", "") if probes else ("",))
            if self.settings["data"] == "all_rounds"
        ]
        if budget is None or self.settings["allocation"] != "frontier":
            return [self._collect(number, weights, "", {}, keep, earlier, budget)]
        probed = self.store(self.arm.name, number, "-probe")
        first = {"samples": probe, "early_stop": False}
        return [
            # At most an equal part of the total each: the probe cannot overspend it.
            self._collect(
                number, weights, "-probe", first, keep, [], {**budget, "allocation": "uniform"}
            ),
            self._collect(
                number, weights, "", {"after": probe}, keep,
                [*earlier, str(attempts_file(probed))],
                {**budget, "probe": probed, "band": list(self.settings["band"])},
            ),
        ]  # fmt: skip

    def _budget(self, number: int) -> dict[str, Any] | None:
        reference = self.settings["budget_of"]
        if not reference:
            return None
        return {"of": self.store(reference, number), "allocation": self.settings["allocation"]}

    def _collect(
        self,
        number: int,
        weights: str,
        part: str,
        differs: Mapping[str, Any],
        keep: dict[str, Any],
        also: Sequence[str],
        budget: dict[str, Any] | None,
    ) -> Stage:
        config, settings = self.config, self.settings
        made = ladder(
            settings, self.arm.pi, number, config.max_response_tokens, context_tokens(config)
        )
        name = f"{self.arm.name}-seed{self.seed}-round{number}{part}-collect"
        endpoint = settings["endpoint"]
        asked = endpoint["model"].replace("/", "--") if endpoint else weights
        folder = Path(self.files["collected"]).parent / "generations" / asked
        return Stage(
            name=name,
            arm=self.arm.name,
            seed=self.seed,
            phase="collect",
            algorithm="sft",
            sampling=self.sampling(
                source="ladder",
                pi_kind="none",
                ladder={**_plain(made), **differs},
                journal={"folder": str(folder), "stage": name},
                endpoint=endpoint,
            ),
            data=self.files["train"],
            shuffle=False,
            steps=1,
            batch_size=self.tasks,
            start_from=weights,
            store=self.store(self.arm.name, number, part),
            keep=keep,
            also=tuple(also),
            probe=part == "-probe",
            budget=budget,
            round=number,
            counts_on=self._trained(number - 1) if number > 1 else None,
        )

    def _trained(self, number: int) -> str:
        last = number == self.settings["rounds"]
        return f"{self.arm.name}-seed{self.seed}{'' if last else f'-round{number}'}"

    def training(self, number: int, weights: str, collected: Stage, before: str | None) -> Stage:
        config, settings = self.config, self.settings
        return Stage(
            name=self._trained(number),
            arm=self.arm.name,
            seed=self.seed,
            phase="train",
            algorithm="sft",
            sampling=self.sampling(source="stored", pi_kind="none", verify=False),
            data=str(collected.store),
            steps=max(round(config.steps * settings["step_factor"]), 1),
            data_epochs=settings["epochs"] and settings["epochs"] * settings["step_factor"],
            batch_size=config.batch_size,
            optimiser=optimiser(config, self.arm.learning_rate, settings),
            start_from=weights,
            mini_batches=config.mini_batches,
            epochs=config.epochs,
            evaluate=dict(self.evaluate),
            evaluate_every=config.evaluation.every,
            round=number,
            counts_on=before,
            keep_best=bool(settings["keep_best"] and config.evaluation.every),
        )


def optimiser(
    config: Any, learning_rate: float | None, retry: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """verl's names for the learning rate, and for an arm's schedule and warm-up of it.

    ``retry``: the arm's settings; by default the recipe's group, where it has one.
    """
    retry = retry or OmegaConf.select(config, "retry") or {}
    names = {"schedule": "lr_scheduler_type", "learning_rate_warmup_steps": "lr_warmup_steps"}
    schedule = {theirs: retry[ours] for ours, theirs in names.items() if ours in retry}
    return {"lr": learning_rate or config.learning_rate, **schedule}


def described(config: Any, arm: Arm) -> dict[str, Any]:
    """What ``plan.json`` says of a retry arm."""
    settings = retry_settings(config, arm.name, arm.retry)
    names = ("scheme", "budget_of", "allocation", "train_on", "filter", "data", "start_from")
    return {
        "rounds": settings["rounds"] if arm.source == "rounds" else 1,
        "ladder": {
            **{name: settings[name] for name in names},
            "retries": settings["k"],
            "pi": arm.pi,
            "tells_feedback": arm.pi == FEEDBACK,
            "endpoint": settings["endpoint"],
        },
    }
