"""From a recipe's configuration to stages: warm-up, collections, arms, for every seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from omegaconf import OmegaConf

from algorithms import registry
from algorithms.approximations import SAMPLED
from algorithms.base import Algorithm
from algorithms.group_pi import GROUP_KINDS
from algorithms.hints import SELF_HINT
from algorithms.runtime.stages import Sampling, Stage
from recipes import retry_plan, retry_settings
from recipes.arms import TRAINS_TEACHER, WITHOUT_TEACHER, Arm, arms_of
from recipes.config import ConfigError


@dataclass
class Plan:
    """The stages of a run, and what the report says of them."""

    stages: list[Stage] = field(default_factory=list)
    arms: list[Arm] = field(default_factory=list)
    steps: int = 0
    warmup_steps: int = 0


def build_plan(
    config: Any, files: dict[str, str], warm_up: bool, train_rows: int | None = None
) -> Plan:
    """All stages of the run.

    ``files``: the paths of train, train_gold, eval and warmup_<i>; ``collected`` is a pattern.
    ``train_rows``: how many training rows there are; a round collects from all of them at once.
    """
    plan = Plan(arms=arms_of(config), steps=config.steps)
    start = "base"
    if warm_up:
        start = _add_warmup(plan, config, files)
    plan.stages.append(
        Stage(
            name="baseline",
            arm="baseline",
            seed=0,
            phase="evaluate",
            algorithm="sft",
            sampling=_sampling(config, pi_kind=config.privileged.kind),
            start_from=start,
            evaluate=_both_views(config, plan.arms),
        )
    )
    for seed in config.seeds:
        for arm in plan.arms:
            for stage in _arm_stages(config, arm, seed, files, start, train_rows):
                # Offline arms of one seed share their collection.
                if all(stage.name != other.name for other in plan.stages):
                    plan.stages.append(stage)
    return plan


def _both_views(config: Any, arms: list[Arm]) -> dict[str, int | None]:
    """What is evaluated at the start; PI from the group exists only while training."""
    views: dict[str, int | None] = {"student": None}
    without = config.privileged.kind in (*GROUP_KINDS, "none")
    retrying = bool(arms) and all(arm.retries(config) for arm in arms)
    return views if without or retrying else {**views, "teacher": None}


def responses_a_step(config: Any) -> int:
    """What a step samples, and as many rows as a step takes where responses are given or stored."""
    return config.batch_size * config.samples_per_prompt


def _add_warmup(plan: Plan, config: Any, files: dict[str, str]) -> str:
    start = "base"
    for number, phase in enumerate(config.warmup.phases):
        name = f"warmup{number + 1}"
        plan.stages.append(
            Stage(
                name=name,
                arm="warmup",
                seed=0,
                phase="warmup",
                algorithm="sft",
                sampling=_sampling(config, source="given", pi_kind=config.privileged.kind),
                data=files[f"warmup_{number}"],
                steps=phase.steps,
                batch_size=responses_a_step(config),
                optimiser={"lr": phase.learning_rate},
                start_from=start,
            )
        )
        plan.warmup_steps += phase.steps
        start = name
    return start


def _arm_stages(
    config: Any, arm: Arm, seed: int, files: dict[str, str], start: str, train_rows: int | None
) -> list[Stage]:
    kind = config.privileged.kind if arm.pi == "own" else arm.pi
    if arm.algorithm in WITHOUT_TEACHER and arm.source != "given" and kind == SELF_HINT:
        kind = "none"  # nobody would read the hints
    after: dict[str, int | None] = {"student": None}
    without = (*GROUP_KINDS, "none")
    if config.evaluation.teacher_rows and config.privileged.kind not in without:
        after["teacher"] = config.evaluation.teacher_rows
    common: dict[str, Any] = {
        "arm": arm.name,
        "seed": seed,
        "data": files["train_gold" if arm.source == "given" else "train"],
        "steps": config.steps,
        "batch_size": config.batch_size,
        "optimiser": retry_settings.optimiser(config, arm.learning_rate),
        "start_from": f"{arm.after}-seed{seed}" if arm.after else start,
        "mini_batches": config.mini_batches,
        "epochs": config.epochs,
    }
    name = f"{arm.name}-seed{seed}"
    if arm.source == "rounds":
        return retry_plan.round_stages(
            config, arm, seed, files, common["start_from"], train_rows or config.batch_size,
            partial(_sampling, config), after,
        )  # fmt: skip
    if arm.source == "given":
        common["batch_size"] = responses_a_step(config)
        return [
            Stage(
                name=name,
                phase="train",
                algorithm=arm.algorithm,
                algorithm_settings=arm.settings,
                sampling=_sampling(config, source="given", pi_kind=kind),
                evaluate=after,
                evaluate_every=config.evaluation.every,
                **common,
            )
        ]
    settings = _settings(config, arm)
    algorithm = registry.build(arm.algorithm, **settings)
    view = algorithm.sampling_view
    if arm.algorithm in TRAINS_TEACHER and arm.teacher != "live":
        raise ConfigError(
            f"arm {arm.name!r}: {arm.algorithm} trains its teacher, so teacher=live; got "
            f"{arm.teacher!r}"
        )
    if view == "teacher" and kind in GROUP_KINDS:
        raise ConfigError(
            f"arm {arm.name!r}: {kind} is known only after the student has answered, so a teacher "
            "cannot sample with it: use opsd, or another privileged.kind"
        )
    stages = []
    samples = config.samples_per_prompt
    source = "rollout"
    if arm.source == "offline":
        _check_offline(config, arm, algorithm, kind)
        collection = _collection(config, arm, seed, kind, files, common)
        store = str(collection.store)
        stages.append(collection)
        # Every stored response is a row of its own.
        common |= {"data": store, "shuffle": False, "batch_size": responses_a_step(config)}
        source, samples = "stored", 1
    sampled = {"view": view, "source": source, "pi_kind": kind, "n": samples}
    climbs = retry_plan.online_sampling(config, arm) if arm.retries(config) else {}
    stages.append(
        Stage(
            name=name,
            phase="train",
            algorithm=arm.algorithm,
            algorithm_settings=settings,
            sampling=_sampling(config, **{**sampled, **climbs}),
            teacher=arm.teacher,
            teacher_settings=dict(config.teacher_settings),
            evaluate=after,
            evaluate_every=config.evaluation.every,
            **common,
        )
    )
    return stages


def _settings(config: Any, arm: Arm) -> dict[str, Any]:
    """The recipe's settings, where they are that algorithm's, then those of the arm."""
    recipe: dict[str, Any] = {}
    if arm.retries(config):
        recipe = retry_plan.online_algorithm(config, arm)
    if arm.algorithm == "opsd":
        recipe = {key: config[key] for key in ("divergence", "distill_weight", "reward_weight")}
    if arm.algorithm == config.algorithm:
        recipe |= OmegaConf.to_container(config.algorithm_settings)  # type: ignore[operator]
    return {**recipe, **arm.settings}


def _check_offline(config: Any, arm: Arm, algorithm: Algorithm, kind: str) -> None:
    """Refuse stored responses of a view that the algorithm's formula does not hold for."""
    sampler = config.offline.sample_from
    settings = algorithm.loss_settings()
    bound = arm.algorithm in TRAINS_TEACHER or algorithm.sequence_kl
    if sampler != algorithm.sampling_view and (bound or settings.divergence in SAMPLED):
        raise ConfigError(
            f"arm {arm.name!r}: {arm.algorithm} with these settings needs responses of the "
            f"{algorithm.sampling_view}: offline.sample_from={algorithm.sampling_view}"
        )
    if sampler == "teacher" and kind in GROUP_KINDS:
        raise ConfigError(
            f"arm {arm.name!r}: {kind} is known only after the student has answered: "
            "offline.sample_from=student"
        )


def _collection(
    config: Any, arm: Arm, seed: int, kind: str, files: dict[str, str], common: dict[str, Any]
) -> Stage:
    """Offline arms share what the same weights sampled from the same prompts."""
    differs = config.offline.sample_from == "teacher" or kind == SELF_HINT
    shown = f"-{kind}" if differs and kind != config.privileged.kind else ""
    origin = f"-after-{arm.after}" if arm.after else ""
    return Stage(
        **{
            **common,
            "name": f"collect-seed{seed}{shown}{origin}",
            "mini_batches": 1,
            "epochs": 1,
            "arm": "collection",
            "phase": "collect",
            "algorithm": "sft",
            "sampling": _sampling(
                config,
                view=config.offline.sample_from,
                pi_kind=kind if differs else config.privileged.kind,
                n=config.samples_per_prompt,
            ),
            "store": files["collected"].format(f"seed{seed}{shown}{origin}"),
        }
    )


def _sampling(config: Any, **settings: Any) -> Sampling:
    template = {"position": config.privileged.position}
    if config.privileged.template:
        template["template"] = config.privileged.template
    return Sampling(
        temperature=config.sampling.temperature,
        top_p=config.sampling.top_p,
        max_prompt_tokens=config.max_prompt_tokens,
        template=template,
        hint_from=config.privileged.hint_from,
        hint_tokens=config.privileged.hint_tokens,
        **settings,
    )
