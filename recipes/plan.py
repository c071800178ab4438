"""From a recipe's configuration to stages: warm-up, collections, arms, for every seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from algorithms import registry
from algorithms.runtime.stages import Sampling, Stage, TeacherWeights
from recipes.config import ConfigError

SOURCES = ("online", "offline", "given")
PI_OF_ARM = ("own", "none", "gibberish", "wrong_skeleton")
DEFINITION = ("description", "source", "pi", "teacher", "algorithm", "settings")


@dataclass(frozen=True)
class Arm:
    """One line of the report: where responses come from and what the teacher sees."""

    name: str
    description: str
    source: str
    pi: str
    teacher: TeacherWeights
    algorithm: str
    settings: dict[str, Any]

    @property
    def sampling_label(self) -> str:
        return {"given": "none"}.get(self.source, self.source)


@dataclass
class Plan:
    """The stages of a run, and what the report says of them."""

    stages: list[Stage] = field(default_factory=list)
    arms: list[Arm] = field(default_factory=list)
    steps: int = 0
    warmup_steps: int = 0


def arms_of(config: Any) -> list[Arm]:
    """The arms that ``config.arms`` names.

    Raises:
        ConfigError: an unknown arm, or one whose definition is off.
    """
    arms = []
    for name in config.arms:
        if name not in config.arm_definitions:
            known = ", ".join(config.arm_definitions)
            raise ConfigError(
                f"no arm {name!r}; known: {known}. Define one: +arm_definitions.{name}=..."
            )
        definition = config.arm_definitions[name]
        if not isinstance(definition, Mapping):
            raise ConfigError(f"arm {name!r}: its definition is a group of {', '.join(DEFINITION)}")
        unknown = sorted(set(definition) - set(DEFINITION))
        if unknown:
            raise ConfigError(
                f"arm {name!r}: no setting {', '.join(unknown)}; there are {', '.join(DEFINITION)}"
            )
        source = definition.get("source", "")
        arm = Arm(
            name=name,
            description=definition.get("description", name),
            source=source,
            pi=definition.get("pi", "own"),
            teacher=definition.get("teacher", config.teacher),
            algorithm=definition.get("algorithm", "sft" if source == "given" else "opsd"),
            settings=dict(definition.get("settings", {})),
        )
        if arm.source not in SOURCES or arm.pi not in PI_OF_ARM:
            raise ConfigError(
                f"arm {name!r}: source is one of {', '.join(SOURCES)} and pi one of "
                f"{', '.join(PI_OF_ARM)}; got {arm.source!r} and {arm.pi!r}"
            )
        if arm.teacher not in ("frozen", "live", "none"):
            raise ConfigError(f"arm {name!r}: teacher is frozen, live or none, got {arm.teacher!r}")
        arms.append(arm)
    return arms


def build_plan(config: Any, files: dict[str, str], warm_up: bool) -> Plan:
    """All stages of the run. ``files``: train, eval, warmup_<i> and collected_<seed> paths."""
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
            evaluate={"student": None, "teacher": None},
        )
    )
    for seed in config.seeds:
        for arm in plan.arms:
            for stage in _arm_stages(config, arm, seed, files, start):
                # Offline arms of one seed share their collection.
                if all(stage.name != other.name for other in plan.stages):
                    plan.stages.append(stage)
    return plan


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
                batch_size=config.batch_size,
                optimiser={"lr": phase.learning_rate},
                start_from=start,
            )
        )
        plan.warmup_steps += phase.steps
        start = name
    return start


def _arm_stages(config: Any, arm: Arm, seed: int, files: dict[str, str], start: str) -> list[Stage]:
    kind = config.privileged.kind if arm.pi == "own" else arm.pi
    after: dict[str, int | None] = {"student": None}
    if config.evaluation.teacher_rows:
        after["teacher"] = config.evaluation.teacher_rows
    common: dict[str, Any] = {
        "arm": arm.name,
        "seed": seed,
        "data": files["train_gold" if arm.source == "given" else "train"],
        "steps": config.steps,
        "batch_size": config.batch_size,
        "optimiser": {"lr": config.learning_rate},
        "start_from": start,
    }
    name = f"{arm.name}-seed{seed}"
    if arm.source == "given":
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
    view = registry.build(arm.algorithm, **settings).sampling_view
    stages = []
    samples = config.samples_per_prompt
    source = "rollout"
    if arm.source == "offline":
        store = files[f"collected_{seed}"]
        stages.append(_collection(config, seed, store, common))
        # Every stored response is a row of its own.
        rows = config.batch_size * samples
        common |= {"data": store, "shuffle": False, "batch_size": rows}
        source, samples = "stored", 1
    stages.append(
        Stage(
            name=name,
            phase="train",
            algorithm=arm.algorithm,
            algorithm_settings=settings,
            sampling=_sampling(config, view=view, source=source, pi_kind=kind, n=samples),
            teacher=arm.teacher,
            evaluate=after,
            evaluate_every=config.evaluation.every,
            **common,
        )
    )
    return stages


def _settings(config: Any, arm: Arm) -> dict[str, Any]:
    """OPSD takes the recipe's settings; any algorithm those of the arm's definition."""
    if arm.algorithm != "opsd":
        return arm.settings
    recipe = {key: config[key] for key in ("divergence", "distill_weight", "reward_weight")}
    return {**recipe, **arm.settings}


def _collection(config: Any, seed: int, store: str, common: dict[str, Any]) -> Stage:
    return Stage(
        **{
            **common,
            "name": f"collect-seed{seed}",
            "arm": "collection",
            "phase": "collect",
            "algorithm": "sft",
            "sampling": _sampling(
                config,
                view=config.offline.sample_from,
                pi_kind=config.privileged.kind,
                n=config.samples_per_prompt,
            ),
            "store": store,
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
        **settings,
    )
